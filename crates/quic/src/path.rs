//! What the packets of a connection tell of its path: round trips, and from them the queue. quinn's congestion window
//! itself is fixed and large, since frames are what is controlled ([`crate::frame_window`]).
//!
//! Measured at 5 % loss, quinn's CUBIC delivers a fifth of 40 kB frames, and its BBR collapses on a 3 Mbit/s uplink.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::Connection;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use crate::frame_window::PathSample;

/// Bytes in flight that are never reached: the gate lets at most 0.4 s of frames out.
const WINDOW: u64 = 16 << 20;
/// Round trips kept: two of the largest frames.
const SAMPLES: usize = 128;
/// The shortest round trip is that of the last one to two of these: routes change. Longer than a path is kept busy
/// without a pause ([`crate::frame_window`]).
const MEMORY: Duration = Duration::from_secs(15);

/// What packets met that were sent at `since` or later, on the connection's path as it is now; `None` where none of them
/// has been acknowledged.
pub fn sample(connection: &Connection, since: Instant) -> Option<PathSample> {
    let state = connection.congestion_state().into_any();
    let window = state.downcast::<Window>().ok()?;
    let samples = window
        .samples
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    samples.met(since)
}

/// Makes the controllers.
#[derive(Debug)]
pub(crate) struct Fixed;

impl ControllerFactory for Fixed {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Window::default())
    }
}

/// A congestion controller that controls nothing and takes notes; clones share them.
#[derive(Debug, Clone, Default)]
struct Window {
    samples: Arc<Mutex<Samples>>,
}

impl Controller for Window {
    fn on_ack(&mut self, now: Instant, sent: Instant, _: u64, _: bool, _: &RttEstimator) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.add(sent, now);
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The last round trips. Pure.
#[derive(Debug, Default)]
struct Samples {
    recent: VecDeque<(Instant, Duration)>,
    /// The shortest of this stretch of time and of the one before.
    shortest: Option<(Instant, Duration, Duration)>,
}

impl Samples {
    fn add(&mut self, sent: Instant, now: Instant) {
        let trip = now.saturating_duration_since(sent);
        if self.recent.len() == SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back((sent, trip));
        self.shortest = Some(match self.shortest {
            None => (now, trip, trip),
            Some((start, this, _)) if now - start >= MEMORY => (now, trip, this),
            Some((start, this, last)) => (start, this.min(trip), last),
        });
    }

    fn met(&self, since: Instant) -> Option<PathSample> {
        let (_, this, last) = self.shortest?;
        let met = self.recent.iter().filter(|(sent, _)| *sent >= since);
        let shortest = met.map(|(_, trip)| *trip).min()?;
        let round_trip = this.min(last);
        Some(PathSample {
            round_trip,
            queue: shortest.saturating_sub(round_trip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Samples {
        fn queue_since(&self, since: Instant) -> Option<Duration> {
            self.met(since).map(|met| met.queue)
        }
    }

    #[test]
    fn the_queue_is_what_the_luckiest_packet_met_above_the_shortest_round_trip() {
        let (mut samples, start) = (Samples::default(), testkit::time::start());
        samples.add(start, start + 50 * MS);
        let frame = start + 100 * MS;
        for (sent, took) in [(0, 90), (1, 130), (40, 160)] {
            samples.add(frame + sent * MS, frame + (sent + took) * MS);
        }
        assert_eq!(samples.queue_since(frame), Some(40 * MS));
        assert_eq!(samples.queue_since(start), Some(Duration::ZERO));
        assert_eq!(
            samples.queue_since(frame + 50 * MS),
            None,
            "none is acknowledged"
        );
    }

    #[test]
    fn a_path_that_became_longer_is_not_taken_for_a_queue_for_ever() {
        let (mut samples, start) = (Samples::default(), testkit::time::start());
        samples.add(start, start + 20 * MS);
        let queue_at = |samples: &mut Samples, second: u32| {
            let sent = start + 1000 * second * MS;
            samples.add(sent, sent + 200 * MS);
            samples.queue_since(sent)
        };
        assert_eq!(queue_at(&mut samples, 1), Some(180 * MS));
        let later: Vec<_> = (2..40).map(|s| queue_at(&mut samples, s)).collect();
        assert_eq!(later.last(), Some(&Some(Duration::ZERO)));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut samples, start) = (Samples::default(), testkit::time::start());
        for n in 0..10 * SAMPLES as u32 {
            samples.add(start + n * MS, start + (n + 50) * MS);
        }
        assert_eq!(samples.recent.len(), SAMPLES);
    }
}
