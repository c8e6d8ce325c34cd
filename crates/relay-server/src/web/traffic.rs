//! What became of the frames to all who watch at the web door.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use platform::report::Percentiles;

use super::show::Shown;
use crate::metrics;
use crate::metrics::distribution::{Distribution, FORWARDING};

/// Figures since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    skipped: AtomicU64,
    bytes: AtomicU64,
    viewers: AtomicUsize,
    /// How long frames waited from their arrival to their turn.
    pub forward: Mutex<Percentiles>,
}

impl Traffic {
    /// Frames that left.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Frames that a newer one replaced before their viewer was ready for them.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Bytes of the frames that left.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Who watches now: streams, sockets and readers of detections.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// The same for whoever graphs them.
    pub fn door(&self) -> metrics::Door {
        let waited = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        metrics::Door {
            name: "web",
            viewers: self.viewers(),
            forwarded: vec![("at_once", self.sent())],
            bytes: self.bytes(),
            unsent: vec![("skipped", self.skipped())],
            forwarding: Distribution::of(FORWARDING, &waited),
        }
    }

    pub(super) fn joined(&self) {
        self.viewers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.viewers.fetch_sub(1, Ordering::Relaxed);
    }

    /// A frame leaves, the viewer's `last` was another.
    pub(super) fn leaves(&self, shown: &Shown, last: Option<u64>) {
        let skipped = last.map_or(0, |last| shown.number.saturating_sub(last + 1));
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.bytes
            .fetch_add(shown.jpeg.len() as u64, Ordering::Relaxed);
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        forward.record(shown.since.elapsed());
    }
}
