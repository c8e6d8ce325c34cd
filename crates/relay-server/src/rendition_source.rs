//! The frames of one QUIC viewer: originals, or renditions where its path does not carry those.

use std::sync::Arc;
use std::time::Instant;

use protocol::geometry::Size;
use quic::frames::{FrameSource, OutgoingFrame};
use relay_core::rendition_ladder::{RenditionLadder, SmallerForm};
use tokio::sync::watch;

use crate::fanout::{FrameReceiver, PublishedFrame};
use crate::rendition::Rendition;
use crate::shared_renditions::SharedRenditions;

/// A newest-wins source of frames in the form that the viewer's path carries.
#[derive(Debug)]
pub struct RenditionSource {
    frames: FrameReceiver,
    /// `None` for a viewer that takes originals alone.
    ladder: Option<RenditionLadder>,
    renditions: Arc<SharedRenditions>,
    /// The frame of which a rendition is being made.
    pending: Option<PublishedFrame>,
    /// Number of the last frame.
    last: Option<u64>,
    rendition_of: watch::Sender<Option<Size>>,
}

impl RenditionSource {
    /// Returns the source of a viewer, which may take `originals` alone. `rendition_of` receives the size of the originals
    /// while renditions are sent.
    pub fn new(
        frames: FrameReceiver,
        renditions: Arc<SharedRenditions>,
        originals: bool,
        rendition_of: watch::Sender<Option<Size>>,
    ) -> Self {
        Self {
            frames,
            ladder: (!originals).then(RenditionLadder::default),
            renditions,
            pending: None,
            last: None,
            rendition_of,
        }
    }

    /// Counts the frames that the viewer missed before this one.
    fn count(&mut self, frame: &PublishedFrame) {
        let missed = self
            .last
            .map_or(0, |last| frame.number.saturating_sub(last + 1));
        self.last = self.last.max(Some(frame.number));
        if let Some(ladder) = &mut self.ladder {
            let now = Instant::now();
            ladder.on_lost(missed, now);
            ladder.on_sent(now);
        }
    }
}

impl FrameSource for RenditionSource {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        loop {
            let frame = match &self.pending {
                Some(frame) => frame.clone(),
                None => self.pending.insert(self.frames.recv().await?).clone(),
            };
            let form = self
                .ladder
                .as_mut()
                .and_then(|ladder| ladder.form(frame.size.width));
            let made = match form {
                None => Ok(frame.jpeg.clone()),
                Some(form) => self.renditions.of_viewer(&frame, form.into()).await,
            };
            self.pending = None;
            let Ok(jpeg) = made else {
                // The maker has too much to do, which says nothing of the path.
                self.last = self.last.max(Some(frame.number));
                continue;
            };
            self.count(&frame);
            set(&self.rendition_of, form.map(|_| frame.size));
            return Some(OutgoingFrame {
                number: frame.number,
                jpeg,
                // A rendition could not be sent before it was made.
                ready_at: form.map_or(frame.received, |_| Instant::now()),
            });
        }
    }

    fn on_expired(&mut self) {
        if let Some(ladder) = &mut self.ladder {
            ladder.on_lost(1, Instant::now());
        }
    }
}

/// Publishes the size of the originals, if it has changed.
pub fn set(rendition_of: &watch::Sender<Option<Size>>, size: Option<Size>) {
    rendition_of.send_if_modified(|known| std::mem::replace(known, size) != size);
}

impl From<SmallerForm> for Rendition {
    fn from(SmallerForm { width, quality }: SmallerForm) -> Self {
        Self {
            width: Some(width),
            quality: Some(quality),
        }
    }
}
