//! What the loop counts for its metrics and for nothing else. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use protocol::health::Health;
use protocol::label::CameraName;
use protocol::quic::{MAX_CAMERAS, SenderInfo};
use quic::clock;

use super::distribution::{AGE, BucketHistogram};
use protocol::detections::Found;
use relay_core::CameraFrame;

/// Range of ages that are recorded, in microseconds. Another one is a wrong clock's, and with its hour or half a century
/// the sum of all ages would be worth nothing for good. What lies a little below zero is the clocks' error.
const AGES_US: RangeInclusive<i64> = -50_000..=60_000_000;
/// A comparison with a larger error tells nothing, in microseconds: as in the viewer.
const MAX_ERROR_US: u64 = 1_000_000;

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// By name.
    pub cameras: BTreeMap<String, CameraMetrics>,
    /// What the model found, by class.
    pub detections: BTreeMap<String, u64>,
}

/// The frames of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraMetrics {
    /// How many were accepted.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came, in microseconds since the Unix epoch.
    pub last_us: u64,
    /// How old they were when they came.
    pub age: BucketHistogram,
    /// The relay's steady clock less the labels', in microseconds, if its sender has compared them.
    pub offset_us: Option<i64>,
    /// Bound of the error of `offset_us`, in microseconds.
    pub error_us: u64,
    /// State of the sender's machine; nothing while the camera is not live.
    pub health: Health,
}

impl Default for CameraMetrics {
    fn default() -> Self {
        Self {
            frames: 0,
            bytes: 0,
            last_us: 0,
            age: BucketHistogram::new(AGE),
            offset_us: None,
            error_us: 0,
            health: Health::default(),
        }
    }
}

impl Tally {
    /// Counts a frame that was accepted at `wall_us` microseconds since the Unix epoch, and at `steady_us` by the steady
    /// clock. The age of a frame without a label of its own is unknown, and by clocks that cannot both be right.
    pub fn on_received(&mut self, frame: &CameraFrame, wall_us: u64, steady_us: u64) {
        let camera = self.camera(frame.label.camera.as_str());
        camera.frames += 1;
        camera.bytes += frame.jpeg().len() as u64;
        camera.last_us = wall_us;
        if let Some(label) = &frame.frame.label {
            let (offset, now) = match camera.offset_us {
                Some(offset) => (offset, steady_us),
                None => (0, wall_us),
            };
            let age = clock::age_us(label.captured_us, offset, now, 0);
            if AGES_US.contains(&age) && camera.error_us <= MAX_ERROR_US {
                let age = u64::try_from(age).unwrap_or(0);
                camera.age.add(Duration::from_micros(age));
            }
        }
    }

    /// Takes what a camera's sender reports of its clock and its machine.
    pub fn on_sender_info(&mut self, camera: &str, info: SenderInfo) {
        let camera = self.camera(camera);
        camera.offset_us = info.offset_us;
        camera.error_us = info.error_us.unwrap_or(0);
        camera.health = info.health;
    }

    /// Takes which cameras are live, and forgets the health of the others: what was last known of a machine is not its state,
    /// and another machine may be the next to send as that camera.
    pub fn on_live(&mut self, live: &[CameraName]) {
        for (name, camera) in &mut self.cameras {
            if !live.iter().any(|live| live.as_str() == name) {
                camera.health = Health::default();
            }
        }
    }

    /// Returns the state of a camera's machine.
    pub fn health(&self, camera: &str) -> Health {
        let camera = self.cameras.get(camera);
        camera.map(|camera| camera.health).unwrap_or_default()
    }

    /// Counts what the model found.
    pub fn on_found(&mut self, found: &Found) {
        for detection in &found.detections {
            match self.detections.get_mut(&detection.label) {
                Some(count) => *count += 1,
                None => drop(self.detections.insert(detection.label.clone(), 1)),
            }
        }
    }

    /// One too many takes the place of the one that has been silent for longest, as in the relay.
    fn camera(&mut self, name: &str) -> &mut CameraMetrics {
        if !self.cameras.contains_key(name) {
            if self.cameras.len() == MAX_CAMERAS {
                let silent = self.cameras.iter().min_by_key(|(_, camera)| camera.last_us);
                let silent = silent.map(|(name, _)| name.clone());
                silent.and_then(|name| self.cameras.remove(&name));
            }
            self.cameras
                .insert(name.to_owned(), CameraMetrics::default());
        }
        self.cameras
            .get_mut(name)
            .expect("it was inserted if it was not there")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use protocol::detections::Detection;
    use protocol::frame::Frame;
    use protocol::health::Temperature;
    use protocol::label::{Label, StreamId};
    use relay_core::CameraId;
    use testkit::jpeg::Sketch;

    use protocol::geometry::Size;

    use super::*;

    const NOW: u64 = 1_763_820_000_000_000;
    const HOUR: u64 = 3_600_000_000;

    /// A frame of a camera; with a label of its own if it tells when it was captured.
    fn frame(camera: &str, captured_us: Option<u64>) -> CameraFrame {
        let label = Label {
            stream: StreamId(1),
            seq: 1,
            captured_us: captured_us.unwrap_or_default(),
            camera: camera.parse().unwrap(),
        };
        let frame = Frame {
            jpeg: Sketch::new(300, 200).bytes().into(),
            size: Size {
                width: 300,
                height: 200,
            },
            label: captured_us.map(|_| label.clone()),
        };
        CameraFrame {
            camera: CameraId(0),
            count: 1,
            frame,
            label,
            received_at: Instant::now(),
            transport: protocol::transport::Transport::Udp,
            payer: relay_core::Payer::default(),
        }
    }

    #[test]
    fn frames_are_counted_by_their_camera_with_bytes_and_time() {
        let mut tally = Tally::default();
        tally.on_received(&frame("yard", None), NOW, NOW);
        tally.on_received(&frame("yard", None), NOW + 5, NOW);
        tally.on_received(&frame("drive", None), NOW, NOW);
        let yard = &tally.cameras["yard"];
        let size = frame("yard", None).frame.jpeg.len() as u64;
        assert_eq!(
            (yard.frames, yard.bytes, yard.last_us),
            (2, 2 * size, NOW + 5)
        );
        assert_eq!(tally.cameras["drive"].frames, 1);
    }

    fn ages(tally: &Tally) -> (u64, f64) {
        let age = &tally.cameras["yard"].age;
        (age.count(), age.sum())
    }

    #[test]
    fn age_is_by_the_relays_clock_and_unknown_without_a_label() {
        let mut tally = Tally::default();
        tally.on_received(&frame("yard", None), NOW, NOW);
        assert_eq!(tally.cameras["yard"].age.count(), 0);
        let an_hour_ahead = SenderInfo {
            offset_us: Some(-3_600_000_000),
            ..SenderInfo::default()
        };
        tally.on_sender_info("yard", an_hour_ahead);
        for captured in [NOW + HOUR - 40_000, NOW + HOUR + 40_000] {
            tally.on_received(&frame("yard", Some(captured)), NOW, NOW);
        }
        let (count, sum) = ages(&tally);
        assert!(count == 2 && (sum - 0.04).abs() < 1e-9, "{count} {sum}");
    }

    #[test]
    fn a_clock_that_steps_or_was_never_set_makes_no_age_of_an_hour() {
        let mut tally = Tally::default();
        // By UDP, without a comparison: either wall clock may be wrong.
        for captured in [0, NOW - HOUR, NOW + HOUR, NOW - 61_000_000, NOW + 51_000] {
            tally.on_received(&frame("yard", Some(captured)), NOW, NOW);
        }
        assert_eq!(ages(&tally).0, 0);
        tally.on_received(&frame("yard", Some(NOW - 40_000)), NOW, NOW - HOUR);
        assert_eq!(ages(&tally), (1, 0.04), "the wall clock is right by now");
        let compared = |error_us| SenderInfo {
            offset_us: Some(0),
            error_us: Some(error_us),
            ..SenderInfo::default()
        };
        tally.on_sender_info("yard", compared(1000));
        tally.on_received(&frame("yard", Some(NOW - 40_000)), NOW + HOUR, NOW);
        assert_eq!(ages(&tally), (2, 0.08), "the relay's wall clock stepped");
        tally.on_received(&frame("yard", Some(NOW - HOUR)), NOW, NOW);
        tally.on_sender_info("yard", compared(3_600_000_000));
        tally.on_received(&frame("yard", Some(NOW - 40_000)), NOW, NOW);
        assert_eq!(ages(&tally).0, 2, "the sender's steps now");
    }

    #[test]
    fn the_health_of_a_machine_lasts_as_long_as_its_camera_is_live() {
        let mut tally = Tally::default();
        let hot = Health {
            temperature: Temperature::celsius(81.0),
            ..Health::default()
        };
        let info = SenderInfo {
            health: hot,
            ..SenderInfo::default()
        };
        let live = |names: &[&str]| -> Vec<CameraName> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        tally.on_sender_info("yard", info);
        tally.on_sender_info("drive", info);
        tally.on_live(&live(&["yard", "drive"]));
        assert_eq!((tally.health("yard"), tally.health("drive")), (hot, hot));
        tally.on_live(&live(&["drive"]));
        assert_eq!(tally.health("yard"), Health::default());
        assert_eq!(tally.health("drive"), hot);
        assert_eq!(tally.health("porch"), Health::default());
    }

    #[test]
    fn however_many_names_strangers_think_of_there_is_an_end() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.on_received(&frame("live", None), NOW + n, NOW);
            tally.on_received(&frame(&n.to_string(), None), NOW + n, NOW);
            tally.on_sender_info(&format!("x{n}"), SenderInfo::default());
        }
        assert_eq!(tally.cameras.len(), MAX_CAMERAS);
        assert_eq!(tally.cameras["live"].frames, 1000);
        assert!(
            tally.cameras.contains_key("999"),
            "and who comes late is counted"
        );
    }

    #[test]
    fn what_the_model_finds_is_counted_by_its_class() {
        let found = |labels: &[&str]| Found {
            size: Size {
                width: 300,
                height: 200,
            },
            took: Duration::ZERO,
            detections: labels.iter().map(|label| detection(label)).collect(),
        };
        let mut tally = Tally::default();
        tally.on_found(&found(&["person", "dog", "person"]));
        tally.on_found(&found(&["dog"]));
        let counts = [("dog".to_owned(), 2), ("person".to_owned(), 2)];
        assert_eq!(tally.detections, counts.into());
    }

    fn detection(label: &str) -> Detection {
        Detection {
            id: None,
            class: 0,
            label: label.to_owned(),
            score: 0.9,
            fading: false,
            bbox: [0.0, 0.0, 1.0, 1.0].into(),
        }
    }
}
