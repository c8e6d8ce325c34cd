//! The overlay between the thread that receives and the one that draws: where boxes lie ready for their frames, and where
//! a frame waits a moment for its boxes. What is drawn, and what waits, is [`Overlay`]'s to decide.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::detections::Detections;
use protocol::label::Label;

use crate::overlay::{Boxes, Overlay};

/// An overlay that two threads share.
#[derive(Debug, Default)]
pub(crate) struct Board {
    overlay: Mutex<Overlay>,
    /// Something that ends a wait.
    came: Condvar,
}

impl Board {
    /// See [`Overlay::reset`].
    pub(crate) fn reset(&self) {
        self.change(Overlay::reset);
    }

    /// A frame has come; to be said before anybody can wait for its boxes.
    pub(crate) fn frame(&self, label: &Label) {
        self.change(|overlay| overlay.frame(label, Instant::now()));
    }

    /// A message has come.
    pub(crate) fn add(&self, message: Detections) {
        self.change(|overlay| overlay.add(message, Instant::now()));
    }

    /// See [`Overlay::boxes`].
    pub(crate) fn boxes(&self, label: &Label, stale: Option<Duration>) -> Boxes {
        self.lock().boxes(label, stale)
    }

    /// Returns when the frame with this label has its boxes, or is to wait for them no longer.
    pub(crate) fn wait(&self, label: &Label) {
        let mut overlay = self.lock();
        while let Some(until) = overlay.awaits(label) {
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return;
            }
            let woken = self.came.wait_timeout(overlay, patience);
            (overlay, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Overlay)) {
        change(&mut self.lock());
        self.came.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
