//! Makes the bytes of a frame of a picture: passes a JPEG through if possible, else resizes and encodes; then labels it.

use std::time::Instant;

use opencv::core::Mat;
use platform::report::Percentiles;
use protocol::datagram::MAX_DATAGRAM;
use protocol::geometry::Size;
use protocol::label::Label;
use tracing::{info, warn};

use crate::ladder::{Ladder, Rung};
use crate::send::NetworkFeedback;
use crate::source::Picture;

/// Makes frames at the quality and size that the ladder chooses.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    ladder: Ladder,
    encoding: Encoding,
    encode_times: Percentiles,
    warned_too_large: bool,
}

/// How a frame was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// JPEG quality; `None` for a camera's JPEG that is passed through.
    pub(crate) quality: Option<u8>,
    pub(crate) size: Size,
}

impl FrameEncoder {
    /// Returns an encoder of frames like `top`, and of lesser ones if those do not get through. If it is `fixed`, only a
    /// datagram's size lowers them, not the network.
    pub(crate) fn new(top: Rung, fixed: bool) -> Self {
        Self {
            ladder: Ladder::new(top, fixed),
            encoding: top.into(),
            encode_times: Percentiles::default(),
            warned_too_large: false,
        }
    }

    /// Returns how long resizing, encoding and labelling took.
    pub(crate) fn encode_times(&self) -> &Percentiles {
        &self.encode_times
    }

    /// Returns how the last frame was made; before the first one, what the command line names.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the labelled frame; `None` if it fits into no datagram even on the lowest rung.
    ///
    /// # Errors
    /// If a JPEG that has to be decoded is broken.
    pub(crate) fn encode(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let made = match self.pass_through(picture, label) {
            Some(whole) if self.ladder.is_top() => Some(whole),
            whole => {
                let start = Instant::now();
                let encoded = self.encode_on_rung(picture, label, now)?;
                self.encode_times.record(start.elapsed());
                // A JPEG that the camera compressed harder than this rung would only grow.
                let both = encoded.into_iter().chain(whole);
                both.min_by_key(|(frame, _)| frame.len())
            }
        };
        let frame = made.map(|(frame, encoding)| {
            self.encoding = encoding;
            frame
        });
        if frame.is_none() {
            self.warn_too_large_once();
        }
        Ok(frame)
    }

    /// Returns the same picture in the smallest frame that the ladder allows.
    ///
    /// # Errors
    /// If a JPEG that has to be decoded is broken.
    pub(crate) fn encode_smallest(
        &self,
        picture: &Picture,
        label: &Label,
    ) -> anyhow::Result<Vec<u8>> {
        let rung = self.ladder.lowest();
        match picture {
            Picture::Jpeg { jpeg, .. } => encode_at(rung, &imaging::jpeg::decode(jpeg)?, label),
            Picture::Raw(picture) => encode_at(rung, picture, label),
        }
    }

    /// Adapts quality and size to what is known of the network. Call it once a frame.
    pub(crate) fn on_feedback(&mut self, feedback: NetworkFeedback, now: Instant) {
        let before = self.ladder.rung();
        match feedback {
            NetworkFeedback::Connected { offered, skipped } => {
                self.ladder.on_network(offered, skipped, now);
            }
            NetworkFeedback::Unknown => self.ladder.forget_network(),
            NetworkFeedback::Disconnected => self.ladder.pause(),
        }
        self.log_step(before, "network");
    }

    /// Returns a JPEG as it came, if its size is near the wanted one, a relay accepts it and it fits into a datagram.
    fn pass_through(&self, picture: &Picture, label: &Label) -> Option<(Vec<u8>, Encoding)> {
        let Picture::Jpeg {
            jpeg,
            size,
            sendable: true,
        } = picture
        else {
            return None;
        };
        let encoding = Encoding {
            quality: None,
            size: *size,
        };
        let frame = is_near(*size, self.ladder.top().size).then(|| label.write(jpeg))?;
        (frame.len() <= MAX_DATAGRAM).then_some((frame, encoding))
    }

    fn encode_on_rung(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Encoding)>> {
        let before = self.ladder.rung();
        let made = match picture {
            Picture::Jpeg { jpeg, .. } => self.fit(&imaging::jpeg::decode(jpeg)?, label, now),
            Picture::Raw(picture) => self.fit(picture, label, now),
        }?;
        self.log_step(before, "datagram");
        Ok(made)
    }

    /// Encodes on ever lower rungs until the frame fits into a datagram.
    fn fit(
        &mut self,
        picture: &Mat,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Encoding)>> {
        loop {
            let rung = self.ladder.rung();
            let frame = encode_at(rung, picture, label)?;
            if frame.len() <= MAX_DATAGRAM {
                self.ladder.on_fitted(frame.len(), now);
                return Ok(Some((frame, rung.into())));
            }
            if self.ladder.on_too_large(now).is_none() {
                return Ok(None);
            }
        }
    }

    /// Logs a change of the rung, once for however many steps.
    fn log_step(&self, before: Rung, cause: &str) {
        let rung = self.ladder.rung();
        if rung != before {
            let Rung { quality, size } = rung;
            let lower = (size.width, quality) < (before.size.width, before.quality);
            let direction = if lower { "down" } else { "up" };
            info!(cause, quality, %size, "a step {direction} in quality or size");
        }
    }

    fn warn_too_large_once(&mut self) {
        if !std::mem::replace(&mut self.warned_too_large, true) {
            warn!(size = %self.ladder.top().size, "frames fit into no datagram even at the lowest quality and size and are skipped; choose a smaller --size");
        }
    }
}

impl From<Rung> for Encoding {
    fn from(Rung { quality, size }: Rung) -> Self {
        Self {
            quality: Some(quality),
            size,
        }
    }
}

fn encode_at(rung: Rung, picture: &Mat, label: &Label) -> anyhow::Result<Vec<u8>> {
    let picture = imaging::jpeg::resize(picture, rung.size)?;
    Ok(label.write(&imaging::jpeg::encode(&picture, rung.quality)?))
}

/// Whether both sides are within a quarter of the wanted ones, so that resizing would gain nothing.
fn is_near(size: Size, wanted: Size) -> bool {
    let near = |side: u16, wanted: u16| 4 * side.abs_diff(wanted) <= wanted;
    near(size.width, wanted.width) && near(size.height, wanted.height)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opencv::core::{self, CV_8UC3, Scalar};
    use protocol::jpeg;
    use protocol::label::StreamId;
    use testkit::jpeg::Sketch;
    use testkit::jpeg::bombs::{self, Forged};

    use super::*;

    fn label() -> Label {
        Label {
            stream: StreamId(1),
            seq: 2,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        }
    }

    fn top(size: &str, quality: u8) -> Rung {
        Rung {
            quality,
            size: size.parse().unwrap(),
        }
    }

    fn noise(size: &str) -> Mat {
        let size: Size = size.parse().unwrap();
        let (rows, cols) = (size.height.into(), size.width.into());
        let mut picture =
            Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0)).unwrap();
        core::randu(&mut picture, &0.0, &255.0).unwrap();
        picture
    }

    /// An encoder that the network has brought so many rungs down.
    fn down(top: Rung, steps: u64, now: Instant) -> FrameEncoder {
        let mut encoder = FrameEncoder::new(top, false);
        skip_all(&mut encoder, 3 * steps, now);
        encoder
    }

    fn connected(offered: u64, skipped: u64) -> NetworkFeedback {
        NetworkFeedback::Connected { offered, skipped }
    }

    fn skip_all(encoder: &mut FrameEncoder, seconds: u64, now: Instant) {
        for second in 0..=seconds {
            let frames = 10 * second;
            encoder.on_feedback(connected(frames, frames), now + Duration::from_secs(second));
        }
    }

    #[test]
    fn near_is_within_a_quarter_on_both_sides() {
        let size = |(width, height)| Size { width, height };
        let wanted = size((300, 200));
        for good in [(300, 200), (320, 240), (375, 250), (225, 150)] {
            assert!(is_near(size(good), wanted), "{good:?}");
        }
        for bad in [(376, 200), (300, 251), (224, 200), (640, 480), (200, 300)] {
            assert!(!is_near(size(bad), wanted), "{bad:?}");
        }
    }

    #[test]
    fn a_jpeg_near_the_size_is_passed_through_to_the_byte() {
        let mut encoder = FrameEncoder::new(top("300x200", 80), false);
        let jpeg = Sketch::new(320, 240).bytes();
        let picture = camera_jpeg(&jpeg);
        let frame = encoder.encode(&picture, &label(), Instant::now()).unwrap();
        assert!(frame == Some(label().write(&jpeg)));
        assert_eq!(encoder.encode_times().at(50.0), None);
        let size = "320x240".parse().unwrap();
        let passed = Encoding {
            quality: None,
            size,
        };
        assert_eq!(encoder.encoding(), passed);
    }

    #[test]
    fn a_jpeg_of_another_size_is_resized() {
        let jpeg = imaging::jpeg::encode(&noise("640x480"), 50).unwrap();
        let mut encoder = FrameEncoder::new(top("300x200", 80), false);
        let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), Instant::now());
        assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "300x200");
        assert_eq!(encoder.encoding(), top("300x200", 80).into());
    }

    #[test]
    fn a_cameras_jpeg_above_the_networks_limits_is_scaled_down_into_them() {
        let dark = Mat::new_rows_cols_with_default(2592, 4608, CV_8UC3, Scalar::all(9.0)).unwrap();
        let jpeg = imaging::jpeg::encode(&dark, 80).unwrap();
        let mut encoder = FrameEncoder::new(top("640x360", 80), false);
        let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), Instant::now());
        assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "640x360");
        let smallest = encoder.encode_smallest(&camera_jpeg(&jpeg), &label());
        assert!(size(&smallest.unwrap()).width < 640);
        // Near the wanted size, which no relay accepts.
        let mut encoder = FrameEncoder::new(top("4096x8", 80), false);
        let wide = camera_jpeg(&bombs::flat(4200, 8));
        let frame = encoder.encode(&wide, &label(), Instant::now());
        assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "4096x8");
    }

    #[test]
    fn a_jpeg_that_a_relay_refuses_is_encoded_again_even_near_the_size() {
        let cmyk =
            Forged::new(0xC0, (64, 48), &[0x11; 4]).scan(&[1, 2, 3, 4], [0, 63, 0], &[0; 64]);
        let mut encoder = FrameEncoder::new(top("64x48", 80), false);
        let frame = encoder.encode(&camera_jpeg(&cmyk.bytes()), &label(), Instant::now());
        assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "64x48");
    }

    #[test]
    fn on_a_lower_rung_a_jpeg_is_encoded_again_and_smaller() {
        let now = Instant::now();
        let jpeg = imaging::jpeg::encode(&noise("320x240"), 70).unwrap();
        let picture = camera_jpeg(&jpeg);
        let mut last = usize::MAX;
        for (steps, encoding) in [
            (0, None),
            (1, Some(top("300x200", 65))),
            (2, Some(top("300x200", 40))),
            (3, Some(top("226x150", 40))),
        ] {
            let mut encoder = down(top("300x200", 80), steps, now);
            let frame = encoder.encode(&picture, &label(), now).unwrap().unwrap();
            let encoding = encoding.map_or(
                Encoding {
                    quality: None,
                    size: "320x240".parse().unwrap(),
                },
                Encoding::from,
            );
            assert_eq!(encoder.encoding(), encoding);
            assert_eq!(size(&frame), encoding.size);
            assert!(frame.len() < last);
            last = frame.len();
        }
    }

    #[test]
    fn a_jpeg_that_is_smaller_than_the_rung_makes_it_is_passed_through_on_any() {
        let now = Instant::now();
        let jpeg = imaging::jpeg::encode(&noise("300x200"), 1).unwrap();
        let mut encoder = down(top("300x200", 80), 3, now);
        let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), now);
        assert!(frame.unwrap() == Some(label().write(&jpeg)));
        assert_eq!(encoder.encoding().quality, None);
    }

    #[test]
    fn the_rung_stays_over_an_outage_and_rises_again_by_udp() {
        let mut now = Instant::now();
        let mut encoder = down(top("300x200", 80), 1, now);
        let lower = Encoding::from(top("300x200", 65));
        let picture = Picture::Raw(noise("300x200"));
        for second in 0..60 {
            encoder.on_feedback(NetworkFeedback::Disconnected, now);
            encoder.on_feedback(connected(second, second), now);
            encoder.encode(&picture, &label(), now).unwrap();
            assert_eq!(encoder.encoding(), lower);
            now += Duration::from_secs(1);
        }
        encoder.on_feedback(NetworkFeedback::Unknown, now);
        for _ in 0..2 {
            encoder.encode(&picture, &label(), now).unwrap();
            now += Duration::from_secs(1);
        }
        assert_eq!(encoder.encoding(), top("300x200", 80).into());
    }

    #[test]
    fn where_it_is_fixed_the_network_changes_nothing() {
        let now = Instant::now();
        let mut encoder = FrameEncoder::new(top("300x200", 80), true);
        skip_all(&mut encoder, 60, now);
        let picture = Picture::Raw(noise("300x200"));
        encoder.encode(&picture, &label(), now).unwrap();
        assert_eq!(encoder.encoding(), top("300x200", 80).into());
    }

    #[test]
    fn a_frame_too_large_for_a_datagram_steps_down_and_stays_there() {
        let now = Instant::now();
        for fixed in [false, true] {
            let mut encoder = FrameEncoder::new(top("500x400", 95), fixed);
            let picture = Picture::Raw(noise("500x400"));
            let frame = encoder.encode(&picture, &label(), now).unwrap().unwrap();
            assert!(frame.len() <= MAX_DATAGRAM);
            let encoding = encoder.encoding();
            assert!(encoding.quality.unwrap() < 95);
            encoder.encode(&picture, &label(), now).unwrap();
            assert_eq!(encoder.encoding(), encoding);
        }
    }

    #[test]
    fn where_the_lowest_quality_is_too_large_for_a_datagram_the_size_goes_down() {
        let mut encoder = FrameEncoder::new(top("1000x800", 80), false);
        let picture = Picture::Raw(noise("1000x800"));
        let frame = encoder.encode(&picture, &label(), Instant::now()).unwrap();
        let encoding = encoder.encoding();
        assert!(encoding.size.width < 1000);
        assert_eq!(size(&frame.unwrap()), encoding.size);
    }

    #[test]
    fn a_frame_that_fits_on_no_rung_is_none() {
        let mut encoder = FrameEncoder::new(top("3000x3000", 80), false);
        let picture = Picture::Raw(noise("3000x3000"));
        let frame = encoder.encode(&picture, &label(), Instant::now());
        assert!(frame.unwrap().is_none());
    }

    fn camera_jpeg(jpeg: &[u8]) -> Picture {
        Picture::from_jpeg(jpeg.to_vec()).unwrap()
    }

    fn size(frame: &[u8]) -> Size {
        jpeg::scan(frame, jpeg::Limits::default()).unwrap()
    }
}
