//! Makes the bytes of a frame of a picture: passes a JPEG through if possible, else resizes and encodes; then labels it.

#[cfg(test)]
mod tests;

use std::time::Instant;

use opencv::core::Mat;
use platform::report::Percentiles;
use protocol::geometry::Size;
use protocol::label::Label;
use tracing::{info, warn};

use crate::frame_goal::FrameGoal;
use crate::ladder::{Ladder, Rung};
use crate::send::NetworkFeedback;
use crate::source::Picture;

/// Makes frames at the quality and size that the ladder chooses.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    ladder: Ladder,
    encoding: Encoding,
    /// Whether decoding turned the last JPEG on its side, as its Exif data said.
    turned: bool,
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
    /// Returns an encoder of frames like these, and of lesser ones if those do not get through.
    pub(crate) fn new(goal: FrameGoal) -> Self {
        let ladder = Ladder::new(goal);
        Self {
            encoding: ladder.rung().into(),
            ladder,
            turned: false,
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

    /// Returns the labelled frame; `None` if the transport takes none even of the lowest rung.
    ///
    /// # Errors
    /// If a JPEG that has to be decoded is broken.
    pub(crate) fn encode(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        if let Picture::Jpeg { size, .. } = picture {
            self.ladder.fit_to(self.displayed(*size));
        }
        let made = match self.pass_through(picture, label) {
            Some(whole) if self.wants_it_whole(whole.1.size) => Some(whole),
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
        encode_picture_at(self.ladder.lowest(), picture, label)
    }

    /// Returns the same picture in the largest frame that a good network leads to, and how it is made; `None` if frames get
    /// no larger than at the start. Call it after the first frame.
    ///
    /// # Errors
    /// If a JPEG that has to be decoded is broken.
    pub(crate) fn encode_grown(
        &self,
        picture: &Picture,
        label: &Label,
    ) -> anyhow::Result<Option<(Vec<u8>, Encoding)>> {
        let Some(rung) = self.ladder.growth() else {
            return Ok(None);
        };
        let frame = encode_picture_at(rung, picture, label)?;
        Ok(Some((frame, rung.into())))
    }

    /// Adapts quality and size to what is known of the network. Call it once a frame, before the frame is made.
    pub(crate) fn on_feedback(&mut self, feedback: NetworkFeedback, now: Instant) {
        let before = self.ladder.rung();
        match feedback {
            NetworkFeedback::Connected { offered, skipped } => {
                self.ladder.on_network(offered, skipped, now);
            }
            NetworkFeedback::Unknown => self.ladder.forget_network(),
            NetworkFeedback::Disconnected => {
                self.ladder.set_by_udp(false);
                self.ladder.pause();
            }
        }
        self.log_step(before, "network");
    }

    /// Returns a JPEG as it came, if its size is near the wanted one, a relay accepts it and the transport takes so many bytes.
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
        let near = is_near(self.displayed(*size), self.ladder.top().size);
        let frame = near.then(|| label.write(jpeg))?;
        (frame.len() <= self.ladder.max_frame()).then_some((frame, encoding))
    }

    /// Whether a JPEG of this size that may pass through is what the rung in force is for. Between the start and the top a
    /// camera's JPEG would be a step of several rungs at once.
    fn wants_it_whole(&self, size: Size) -> bool {
        let is_wanted = self.ladder.is_top() || self.ladder.is_start();
        is_wanted && is_near(self.displayed(size), self.ladder.rung().size)
    }

    /// Returns the size of a JPEG's picture as it is displayed.
    fn displayed(&self, size: Size) -> Size {
        match self.turned {
            true => Size {
                width: size.height,
                height: size.width,
            },
            false => size,
        }
    }

    fn encode_on_rung(
        &mut self,
        picture: &Picture,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Encoding)>> {
        match picture {
            Picture::Jpeg { jpeg, size, .. } => {
                let decoded = imaging::jpeg::decode(jpeg)?;
                self.turned = imaging::jpeg::size(&decoded)? != *size;
                self.fit(&decoded, label, now)
            }
            Picture::Raw(picture) => self.fit(picture, label, now),
        }
    }

    /// Encodes on ever lower rungs until the transport takes the frame.
    fn fit(
        &mut self,
        picture: &Mat,
        label: &Label,
        now: Instant,
    ) -> anyhow::Result<Option<(Vec<u8>, Encoding)>> {
        self.ladder.fit_to(imaging::jpeg::size(picture)?);
        let before = self.ladder.rung();
        let made = loop {
            let rung = self.ladder.rung();
            let frame = encode_at(rung, picture, label)?;
            if frame.len() <= self.ladder.max_frame() {
                self.ladder.on_fitted(frame.len(), now);
                break Some((frame, rung.into()));
            }
            if self.ladder.on_too_large(now).is_none() {
                break None;
            }
        };
        self.log_step(before, "frame size");
        Ok(made)
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
            let (size, most) = (self.ladder.top().size, self.ladder.max_frame());
            warn!(%size, "frames have more than {most} bytes even at the lowest quality and size and are skipped; choose a smaller --size");
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

fn encode_picture_at(rung: Rung, picture: &Picture, label: &Label) -> anyhow::Result<Vec<u8>> {
    match picture {
        Picture::Jpeg { jpeg, .. } => encode_at(rung, &imaging::jpeg::decode(jpeg)?, label),
        Picture::Raw(picture) => encode_at(rung, picture, label),
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
