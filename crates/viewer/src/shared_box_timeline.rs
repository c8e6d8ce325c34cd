//! The box timeline between the thread that receives and the one that draws. [`BoxTimeline`] decides what is drawn and which frame
//! waits for its boxes; this type locks it and blocks the thread that waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::detections::Detections;
use protocol::label::Label;

use crate::box_timeline::{BoxTimeline, OverlayBoxes};

/// A box timeline that two threads share.
#[derive(Debug, Default)]
pub(crate) struct SharedBoxTimeline {
    timeline: Mutex<BoxTimeline>,
    changed: Condvar,
}

impl SharedBoxTimeline {
    /// See [`BoxTimeline::reset`].
    pub(crate) fn reset(&self) {
        self.change(BoxTimeline::reset);
    }

    /// Notes the arrival of a frame; to be called before [`SharedBoxTimeline::wait`] for the same frame.
    pub(crate) fn on_frame(&self, label: &Label) {
        self.change(|timeline| timeline.on_frame(label, Instant::now()));
    }

    /// See [`BoxTimeline::add`].
    pub(crate) fn add(&self, message: Detections) {
        self.change(|timeline| timeline.add(message, Instant::now()));
    }

    /// See [`BoxTimeline::boxes`].
    pub(crate) fn boxes(&self, label: &Label, stale: Option<Duration>) -> OverlayBoxes {
        self.lock().boxes(label, stale)
    }

    /// Blocks until the frame with this label has its boxes, or until its time to wait for them is over.
    pub(crate) fn wait(&self, label: &Label) {
        let mut timeline = self.lock();
        while let Some(until) = timeline.awaits(label) {
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(timeline, patience);
            (timeline, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut BoxTimeline)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BoxTimeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
