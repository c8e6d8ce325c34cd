//! From a picture to the bytes of a frame: passed through where that is possible, else resized and encoded; then labelled.

use std::time::Instant;

use opencv::core::Mat;
use platform::report::Percentiles;
use protocol::datagram::MAX_DATAGRAM;
use protocol::geometry::Size;
use protocol::jpeg::{self, Limits};
use protocol::label::Label;
use tracing::{info, warn};

use crate::ladder::{Ladder, Rung};
use crate::source::Picture;

/// Makes frames, on the rung of the ladder that is in force.
#[derive(Debug)]
pub(crate) struct Maker {
    ladder: Ladder,
    form: Form,
    encode: Percentiles,
    warned_too_large: bool,
}

/// What a frame is like, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// JPEG quality; `None` for a camera's JPEG that is passed through.
    pub(crate) quality: Option<u8>,
    pub(crate) size: Size,
}

impl Maker {
    /// Makes frames like `top`, and lesser ones where they do not get through. Where it is `fixed`, only a datagram's
    /// size can make it do so.
    pub(crate) fn new(top: Rung, fixed: bool) -> Self {
        Self {
            ladder: Ladder::new(top, fixed),
            form: top.into(),
            encode: Percentiles::default(),
            warned_too_large: false,
        }
    }

    /// How long resizing, encoding and labelling took.
    pub(crate) fn encode_times(&self) -> &Percentiles {
        &self.encode
    }

    /// What the last frame is like; before the first one, what was asked for.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The labelled frame; `None` where it fits into no datagram even on the lowest rung.
    ///
    /// # Errors
    /// Where a JPEG that has to be decoded cannot be.
    pub(crate) fn make(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let made = match self.pass_through(picture, label) {
            Some(whole) if self.ladder.is_top() => Some(whole),
            whole => {
                let start = Instant::now();
                let encoded = self.encode(picture, label, now)?;
                self.encode.record(start.elapsed());
                // To encode again what a camera compressed harder than this rung would be no relief.
                let both = encoded.into_iter().chain(whole);
                both.min_by_key(|(frame, _)| frame.len())
            }
        };
        let frame = made.map(|(frame, form)| {
            self.form = form;
            frame
        });
        self.say_once(frame.as_deref());
        Ok(frame)
    }

    /// The same picture in a frame that is as small as can be.
    ///
    /// # Errors
    /// Where a JPEG that has to be decoded cannot be.
    pub(crate) fn small(&self, picture: &Picture, label: &Label) -> anyhow::Result<Vec<u8>> {
        let Rung { quality, size } = self.ladder.lowest();
        let picture = match picture {
            Picture::Jpeg(jpeg) => &imaging::jpeg::decode(jpeg)?,
            Picture::Raw(picture) => picture,
        };
        let picture = imaging::jpeg::resize(picture, size)?;
        Ok(label.write(&imaging::jpeg::encode(&picture, quality)?))
    }

    /// A JPEG as it came, where its size is near the one that was asked for and it fits.
    fn pass_through(&self, picture: &Picture, label: &Label) -> Option<(Vec<u8>, Form)> {
        let Picture::Jpeg(jpeg) = picture else {
            return None;
        };
        let header = jpeg::scan(jpeg, Limits::default()).ok()?;
        let size = Size {
            width: header.width,
            height: header.height,
        };
        let form = Form {
            quality: None,
            size,
        };
        let frame = near(size, self.ladder.top().size).then(|| label.write(jpeg))?;
        (frame.len() <= MAX_DATAGRAM).then_some((frame, form))
    }

    fn encode(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Form)>> {
        let picture = match picture {
            Picture::Jpeg(jpeg) => &imaging::jpeg::decode(jpeg)?,
            Picture::Raw(picture) => picture,
        };
        let before = self.ladder.rung();
        let made = self.fit(picture, label, now)?;
        self.tell(before, "datagram");
        Ok(made)
    }

    /// Encodes on ever lower rungs until the frame fits.
    fn fit(
        &mut self,
        picture: &Mat,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Form)>> {
        loop {
            let rung = self.ladder.rung();
            let picture = imaging::jpeg::resize(picture, rung.size)?;
            let frame = label.write(&imaging::jpeg::encode(&picture, rung.quality)?);
            if frame.len() <= MAX_DATAGRAM {
                self.ladder.fitted(frame.len(), now);
                return Ok(Some((frame, rung.into())));
            }
            if self.ladder.too_large(now).is_none() {
                return Ok(None);
            }
        }
    }

    /// Logs a change of the rung, once for however many steps.
    fn tell(&self, before: Rung, cause: &str) {
        let rung = self.ladder.rung();
        if rung != before {
            let Rung { quality, size } = rung;
            let lower = (size.width, quality) < (before.size.width, before.quality);
            let way = if lower { "down" } else { "up" };
            info!(cause, quality, %size, "a step {way} in quality or size");
        }
    }

    fn say_once(&mut self, frame: Option<&[u8]>) {
        if frame.is_none() && !std::mem::replace(&mut self.warned_too_large, true) {
            warn!(size = %self.ladder.top().size, "frames fit into no datagram even at the lowest quality and size and are skipped; choose a smaller --size");
        }
    }
}

/// What the link tells.
impl Maker {
    /// So many frames were offered to the link, and so many of them skipped, since it was opened; to be told at each
    /// frame, but not while there is no connection.
    pub(crate) fn network(&mut self, offered: u64, skipped: u64, now: Instant) {
        let before = self.ladder.rung();
        self.ladder.network(offered, skipped, now);
        self.tell(before, "network");
    }

    /// The connection is lost: what comes until the next call of [`Self::network`] is no slow network.
    pub(crate) fn pause(&mut self) {
        self.ladder.pause();
    }

    /// Frames go out as plain datagrams from here on, of which nobody knows what becomes.
    pub(crate) fn plain(&mut self) {
        self.ladder.plain();
    }
}

impl From<Rung> for Form {
    fn from(Rung { quality, size }: Rung) -> Self {
        Self {
            quality: Some(quality),
            size,
        }
    }
}

/// Whether both sides are within a quarter of the wanted ones, so that resizing would gain nothing.
fn near(size: Size, wanted: Size) -> bool {
    let near = |side: u16, wanted: u16| 4 * side.abs_diff(wanted) <= wanted;
    near(size.width, wanted.width) && near(size.height, wanted.height)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    /// A maker that the network has brought so many rungs down.
    fn down(top: Rung, steps: u64, now: Instant) -> Maker {
        let mut maker = Maker::new(top, false);
        skip_all(&mut maker, 3 * steps, now);
        maker
    }

    fn skip_all(maker: &mut Maker, seconds: u64, now: Instant) {
        for second in 0..=seconds {
            let frames = 10 * second;
            maker.network(frames, frames, now + Duration::from_secs(second));
        }
    }

    #[test]
    fn near_is_within_a_quarter_on_both_sides() {
        let size = |(width, height)| Size { width, height };
        let wanted = size((300, 200));
        for good in [(300, 200), (320, 240), (375, 250), (225, 150)] {
            assert!(near(size(good), wanted), "{good:?}");
        }
        for bad in [(376, 200), (300, 251), (224, 200), (640, 480), (200, 300)] {
            assert!(!near(size(bad), wanted), "{bad:?}");
        }
    }

    #[test]
    fn a_jpeg_near_the_size_is_passed_through_to_the_byte() {
        let mut maker = Maker::new(top("300x200", 80), false);
        let jpeg = Sketch::new(320, 240).bytes();
        let picture = Picture::Jpeg(jpeg.clone());
        let frame = maker.make(&picture, &label(), Instant::now()).unwrap();
        assert!(frame == Some(label().write(&jpeg)));
        assert_eq!(maker.encode_times().at(50.0), None);
        let size = "320x240".parse().unwrap();
        let passed = Form {
            quality: None,
            size,
        };
        assert_eq!(maker.form(), passed);
    }

    #[test]
    fn a_jpeg_of_another_size_is_resized() {
        let jpeg = imaging::jpeg::encode(&noise("640x480"), 50).unwrap();
        let mut maker = Maker::new(top("300x200", 80), false);
        let frame = maker.make(&Picture::Jpeg(jpeg), &label(), Instant::now());
        assert_eq!(sides(&frame.unwrap().unwrap()), (300, 200));
        assert_eq!(maker.form(), top("300x200", 80).into());
    }

    #[test]
    fn on_a_lower_rung_a_jpeg_is_encoded_again_and_smaller() {
        let now = Instant::now();
        let jpeg = imaging::jpeg::encode(&noise("320x240"), 70).unwrap();
        let picture = Picture::Jpeg(jpeg);
        let mut last = usize::MAX;
        for (steps, form) in [
            (0, None),
            (1, Some(top("300x200", 65))),
            (2, Some(top("300x200", 40))),
            (3, Some(top("226x150", 40))),
        ] {
            let mut maker = down(top("300x200", 80), steps, now);
            let frame = maker.make(&picture, &label(), now).unwrap().unwrap();
            let form = form.map_or(
                Form {
                    quality: None,
                    size: "320x240".parse().unwrap(),
                },
                Form::from,
            );
            assert_eq!(maker.form(), form);
            assert_eq!(sides(&frame), (form.size.width, form.size.height));
            assert!(frame.len() < last);
            last = frame.len();
        }
    }

    #[test]
    fn a_jpeg_that_is_smaller_than_the_rung_makes_it_is_passed_through_on_any() {
        let now = Instant::now();
        let jpeg = imaging::jpeg::encode(&noise("300x200"), 1).unwrap();
        let mut maker = down(top("300x200", 80), 3, now);
        let frame = maker.make(&Picture::Jpeg(jpeg.clone()), &label(), now);
        assert!(frame.unwrap() == Some(label().write(&jpeg)));
        assert_eq!(maker.form().quality, None);
    }

    #[test]
    fn the_rung_stays_over_an_outage_and_rises_again_on_the_plain_door() {
        let mut now = Instant::now();
        let mut maker = down(top("300x200", 80), 1, now);
        let lower = Form::from(top("300x200", 65));
        let picture = Picture::Raw(noise("300x200"));
        for second in 0..60 {
            maker.pause();
            maker.network(second, second, now);
            maker.make(&picture, &label(), now).unwrap();
            assert_eq!(maker.form(), lower);
            now += Duration::from_secs(1);
        }
        maker.plain();
        for _ in 0..2 {
            maker.make(&picture, &label(), now).unwrap();
            now += Duration::from_secs(1);
        }
        assert_eq!(maker.form(), top("300x200", 80).into());
    }

    #[test]
    fn where_it_is_fixed_the_network_changes_nothing() {
        let now = Instant::now();
        let mut maker = Maker::new(top("300x200", 80), true);
        skip_all(&mut maker, 60, now);
        let picture = Picture::Raw(noise("300x200"));
        maker.make(&picture, &label(), now).unwrap();
        assert_eq!(maker.form(), top("300x200", 80).into());
    }

    #[test]
    fn a_frame_too_large_for_a_datagram_steps_down_and_stays_there() {
        let now = Instant::now();
        for fixed in [false, true] {
            let mut maker = Maker::new(top("500x400", 95), fixed);
            let picture = Picture::Raw(noise("500x400"));
            let frame = maker.make(&picture, &label(), now).unwrap().unwrap();
            assert!(frame.len() <= MAX_DATAGRAM);
            let form = maker.form();
            assert!(form.quality.unwrap() < 95);
            maker.make(&picture, &label(), now).unwrap();
            assert_eq!(maker.form(), form);
        }
    }

    #[test]
    fn where_the_lowest_quality_is_too_large_for_a_datagram_the_size_goes_down() {
        let mut maker = Maker::new(top("1000x800", 80), false);
        let picture = Picture::Raw(noise("1000x800"));
        let frame = maker.make(&picture, &label(), Instant::now()).unwrap();
        let form = maker.form();
        assert!(form.size.width < 1000);
        assert_eq!(sides(&frame.unwrap()), (form.size.width, form.size.height));
    }

    #[test]
    fn a_frame_that_fits_on_no_rung_is_none() {
        let mut maker = Maker::new(top("3000x3000", 80), false);
        let picture = Picture::Raw(noise("3000x3000"));
        let frame = maker.make(&picture, &label(), Instant::now());
        assert!(frame.unwrap().is_none());
    }

    fn sides(frame: &[u8]) -> (u16, u16) {
        let header = jpeg::scan(frame, Limits::default()).unwrap();
        (header.width, header.height)
    }
}
