//! The tasks that read a connection's streams, and which of them loses its incomplete frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::task::{AbortHandle, Id, JoinSet};

/// Searches that find a reader at the same frame before it is dropped.
const SEARCHES: u8 = 2;

/// How a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It passed a frame on.
    Frame,
    /// Its frame was too large.
    TooLarge,
    /// Its stream was reset, or carried none.
    Nothing,
    /// Its frame was incomplete for too long.
    Aborted,
    /// It lost its incomplete frame because the connection held more than its part.
    Yielded,
}

/// Where a reader is: 0 while it reads no frame, else one more than the searches that found it at the same frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// Notes that a frame has begun to arrive.
    pub(crate) fn on_frame(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Notes that the frame is whole, or that the stream carries none.
    pub(crate) fn on_no_frame(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn found(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The readers of a connection.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    tasks: JoinSet<Option<Ended>>,
    /// Those that may have an incomplete frame, the oldest first.
    open: Vec<(Progress, AbortHandle)>,
    /// The one that was aborted for its room and has not ended yet.
    yielding: Option<Id>,
    /// Whether an end of the connection was seen by [`Self::abort_incomplete_at_end`].
    ending: bool,
}

impl Readers {
    /// Starts a reader.
    pub(crate) fn spawn<F>(&mut self, read: impl FnOnce(Progress) -> F)
    where
        F: Future<Output = Option<Ended>> + Send + 'static,
    {
        let progress = Progress::default();
        let reader = self.tasks.spawn(read(progress.clone()));
        self.open.push((progress, reader));
    }

    /// Returns whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for the next reader that ends; `None` if there is none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Ended> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(|err| err.id(), |(id, _)| *id);
        if self.yielding == Some(id) {
            self.yielding = None;
            return Some(Ended::Yielded);
        }
        Some(ended.map_or(Ended::Aborted, |(_, end)| end.unwrap_or(Ended::Nothing)))
    }

    /// Returns whether one was aborted for its room, which it has not given back yet.
    pub(crate) fn is_yielding(&self) -> bool {
        self.yielding.is_some()
    }

    /// Drops the newest incomplete frame.
    pub(crate) fn yield_newest(&mut self) {
        self.open.retain(|(_, reader)| !reader.is_finished());
        let newest = self
            .open
            .iter()
            .rposition(|(progress, _)| progress.found() > 0);
        if let Some(newest) = newest {
            let (_, reader) = self.open.remove(newest);
            reader.abort();
            self.yielding = Some(reader.id());
        }
    }

    /// Drops the frames that are incomplete for too long, and forgets the readers that have ended.
    pub(crate) fn abort_stale(&mut self) {
        self.open.retain(|(progress, reader)| {
            let found = progress.found();
            if found > SEARCHES {
                reader.abort();
            } else if found > 0 {
                progress.0.store(found + 1, Ordering::Relaxed);
            }
            !reader.is_finished()
        });
    }

    /// Drops all incomplete frames of a connection that has ended, at the second call: what had arrived is read by then,
    /// and nothing more comes.
    pub(crate) fn abort_incomplete_at_end(&mut self) {
        if !std::mem::replace(&mut self.ending, true) {
            return;
        }
        for (progress, reader) in &self.open {
            if progress.found() > 0 {
                reader.abort();
            }
        }
    }
}
