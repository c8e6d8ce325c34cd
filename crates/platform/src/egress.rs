//! Counters of the frames that leave by one transport: its tasks count, metrics and reports read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::report::Percentiles;

/// Counters of one transport since the start.
#[derive(Debug, Default)]
pub struct EgressStats {
    sent: AtomicU64,
    annotated: AtomicU64,
    skipped: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    viewers: AtomicUsize,
    waits: Mutex<Percentiles>,
}

/// [`EgressStats`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EgressSnapshot {
    /// Frames that left for one viewer each.
    pub sent: u64,
    /// Those of them with boxes drawn in.
    pub annotated: u64,
    /// Frames that a viewer did not get because a newer one replaced them or its send buffer was full.
    pub skipped: u64,
    /// Frames that left and were given up on the way.
    pub expired: u64,
    /// Frames that left and were larger than their receiver takes.
    pub refused: u64,
    /// Bytes of the frames that left.
    pub bytes: u64,
    /// Viewers now.
    pub viewers: usize,
}

impl EgressStats {
    /// Counts a frame of `bytes` that left for a viewer as it was received.
    pub fn on_sent(&self, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a frame of `bytes` that left for a viewer with boxes drawn in, or held for them.
    pub fn on_annotated_sent(&self, bytes: usize) {
        self.on_sent(bytes);
        self.annotated.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts frames that a viewer did not get.
    pub fn on_skipped(&self, frames: u64) {
        self.skipped.fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts a frame that was given up on the way.
    pub fn on_expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame that left and was larger than its receiver takes.
    pub fn on_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a viewer in.
    pub fn on_joined(&self) {
        self.viewers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a viewer out.
    pub fn on_left(&self) {
        self.viewers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records how long a frame waited from its arrival to its turn.
    pub fn record_wait(&self, wait: Duration) {
        self.waits().record(wait);
    }

    /// Returns the waits from a frame's arrival to its turn, locked: no frame is recorded meanwhile.
    pub fn waits(&self) -> MutexGuard<'_, Percentiles> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of this moment.
    pub fn snapshot(&self) -> EgressSnapshot {
        EgressSnapshot {
            sent: self.sent.load(Ordering::Relaxed),
            annotated: self.annotated.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            viewers: self.viewers.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_viewers_are_counted_and_annotated_ones_are_a_part_of_those_sent() {
        let stats = EgressStats::default();
        stats.on_sent(10);
        stats.on_annotated_sent(20);
        stats.on_annotated_sent(20);
        stats.on_skipped(4);
        stats.on_expired();
        stats.on_refused();
        stats.on_joined();
        stats.on_joined();
        stats.on_left();
        stats.record_wait(Duration::from_millis(5));
        let expected = EgressSnapshot {
            sent: 3,
            annotated: 2,
            skipped: 4,
            expired: 1,
            refused: 1,
            bytes: 50,
            viewers: 1,
        };
        assert_eq!(stats.snapshot(), expected);
        assert_eq!(stats.waits().at(50.0).map(|wait| wait.as_millis()), Some(5));
    }
}
