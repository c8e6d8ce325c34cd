//! From a picture to the bytes of a frame: passed through where that is possible, else resized and encoded; then labelled.

use std::time::Instant;

use opencv::core::Mat;
use platform::config::Size;
use platform::report::Percentiles;
use protocol::datagram::MAX_DATAGRAM;
use protocol::jpeg::{self, Limits};
use protocol::label::Label;
use tracing::{info, warn};

use crate::quality::Ladder;
use crate::source::Picture;

/// Frames above this travel in so many fragments that a lossy path seldom delivers all of them (Linux, which keeps the
/// rest for 30 s, then takes none at all for a while).
const LOSSY: usize = 15_000;

/// Makes frames.
#[derive(Debug)]
pub(crate) struct Maker {
    size: Size,
    ladder: Ladder,
    encode: Percentiles,
    warned_large: bool,
    warned_too_large: bool,
}

impl Maker {
    pub(crate) fn new(size: Size, quality: u8, fps: f64) -> Self {
        Self {
            size,
            ladder: Ladder::new(quality, fps),
            encode: Percentiles::default(),
            warned_large: false,
            warned_too_large: false,
        }
    }

    /// How long resizing, encoding and labelling took.
    pub(crate) fn encode_times(&self) -> &Percentiles {
        &self.encode
    }

    /// The labelled frame; `None` where it fits into no datagram even at the lowest quality.
    ///
    /// # Errors
    /// Where a JPEG that has to be decoded cannot be.
    pub(crate) fn make(
        &mut self,
        picture: &Picture,
        label: &Label,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let frame = match self.pass_through(picture, label) {
            Some(frame) => Some(frame),
            None => {
                let start = Instant::now();
                let frame = self.encode(picture, label)?;
                self.encode.add(start.elapsed());
                frame
            }
        };
        self.say_once(frame.as_deref());
        Ok(frame)
    }

    /// A JPEG as it came, where its size is near the one that was asked for and it fits.
    fn pass_through(&self, picture: &Picture, label: &Label) -> Option<Vec<u8>> {
        let Picture::Jpeg(jpeg) = picture else {
            return None;
        };
        let header = jpeg::scan(jpeg, Limits::default()).ok()?;
        let size = (header.width, header.height);
        let frame = near(size, self.size).then(|| label.write(jpeg))?;
        (frame.len() <= MAX_DATAGRAM).then_some(frame)
    }

    fn encode(&mut self, picture: &Picture, label: &Label) -> anyhow::Result<Option<Vec<u8>>> {
        let picture = match picture {
            Picture::Jpeg(jpeg) => &platform::jpeg::decode(jpeg)?,
            Picture::Raw(picture) => picture,
        };
        let picture = platform::jpeg::resize(picture, self.size)?;
        self.fit(&picture, label)
    }

    /// Encodes at ever lower quality until the frame fits.
    fn fit(&mut self, picture: &Mat, label: &Label) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            let frame = label.write(&platform::jpeg::encode(picture, self.ladder.quality())?);
            if frame.len() <= MAX_DATAGRAM {
                if self.ladder.fitted(frame.len()) {
                    info!(
                        quality = self.ladder.quality(),
                        "frames have room again: a step up in quality"
                    );
                }
                return Ok(Some(frame));
            }
            if !self.ladder.down() {
                return Ok(None);
            }
            info!(
                bytes = frame.len(),
                quality = self.ladder.quality(),
                "a frame does not fit into a datagram: a step down in quality"
            );
        }
    }

    fn say_once(&mut self, frame: Option<&[u8]>) {
        match frame {
            None if !self.warned_too_large => {
                self.warned_too_large = true;
                warn!(size = %self.size, "frames fit into no datagram even at the lowest quality and are skipped; choose a smaller --size");
            }
            Some(frame) if frame.len() > LOSSY && !self.warned_large => {
                self.warned_large = true;
                warn!(
                    bytes = frame.len(),
                    "frames above 15 kB often get lost on a lossy path such as Wi-Fi; a lower --quality or --size helps"
                );
            }
            _ => {}
        }
    }
}

/// Whether both sides are within a quarter of the wanted ones, so that resizing would gain nothing.
fn near((width, height): (u16, u16), wanted: Size) -> bool {
    let near = |side: u16, wanted: u16| 4 * side.abs_diff(wanted) <= wanted;
    near(width, wanted.width) && near(height, wanted.height)
}

#[cfg(test)]
mod tests {
    use opencv::core::{self, CV_8UC3, Scalar};
    use protocol::label::StreamId;
    use testkit::jpeg::Sketch;

    use super::*;

    fn label() -> Label {
        Label {
            stream: StreamId(1),
            seq: 2,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        }
    }

    fn size(text: &str) -> Size {
        text.parse().unwrap()
    }

    fn noise(size: Size) -> Picture {
        let (rows, cols) = (size.height.into(), size.width.into());
        let mut picture =
            Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0)).unwrap();
        core::randu(&mut picture, &0.0, &255.0).unwrap();
        Picture::Raw(picture)
    }

    #[test]
    fn near_is_within_a_quarter_on_both_sides() {
        let wanted = size("300x200");
        for good in [(300, 200), (320, 240), (375, 250), (225, 150)] {
            assert!(near(good, wanted), "{good:?}");
        }
        for bad in [(376, 200), (300, 251), (224, 200), (640, 480), (200, 300)] {
            assert!(!near(bad, wanted), "{bad:?}");
        }
    }

    #[test]
    fn a_jpeg_near_the_size_is_passed_through_to_the_byte() {
        let mut maker = Maker::new(size("300x200"), 80, 10.0);
        let jpeg = Sketch::new(320, 240).bytes();
        let frame = maker.make(&Picture::Jpeg(jpeg.clone()), &label()).unwrap();
        assert_eq!(frame, Some(label().write(&jpeg)));
        assert_eq!(maker.encode_times().at(50.0), None);
    }

    #[test]
    fn a_jpeg_of_another_size_is_resized() {
        let Picture::Raw(large) = noise(size("640x480")) else {
            unreachable!("noise is raw");
        };
        let jpeg = platform::jpeg::encode(&large, 50).unwrap();
        let mut maker = Maker::new(size("300x200"), 80, 10.0);
        let frame = maker.make(&Picture::Jpeg(jpeg), &label()).unwrap().unwrap();
        let header = jpeg::scan(&frame, Limits::default()).unwrap();
        assert_eq!((header.width, header.height), (300, 200));
    }

    #[test]
    fn a_frame_too_large_for_a_datagram_steps_down_and_stays_there() {
        let mut maker = Maker::new(size("500x400"), 95, 10.0);
        let picture = noise(size("500x400"));
        let frame = maker.make(&picture, &label()).unwrap().unwrap();
        assert!(frame.len() <= MAX_DATAGRAM);
        let quality = maker.ladder.quality();
        assert!(quality < 95);
        maker.make(&picture, &label()).unwrap();
        assert_eq!(maker.ladder.quality(), quality);
    }

    #[test]
    fn a_frame_that_fits_at_no_quality_is_none() {
        let mut maker = Maker::new(size("2000x2000"), 80, 10.0);
        let frame = maker.make(&noise(size("2000x2000")), &label());
        assert_eq!(frame.unwrap(), None);
    }
}
