//! The threads beside the loop. Each takes one piece of work at a time and answers by event, if at all, so the loop that
//! forwards frames never waits for any of them.
//!
//! ```text
//!           +--> model:      JPEGs -> detections          --> Completion::Inferred
//!   loop ---+--> tracking:   JPEG, detections -> boxes    --> Completion::Tracked
//!           +--> annotation: JPEG, boxes -> JPEG          --> Completion::Annotated
//!           +--> writers:    lines and leases to files
//! ```

pub mod annotation;
pub mod model;
pub mod tracking;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tracing::warn;

/// A thread with a bounded queue of work.
#[derive(Debug)]
pub struct Worker<T> {
    queue: SyncSender<T>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread that works off its queue; at most `waiting` pieces of work wait.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        name: &str,
        waiting: usize,
        work: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (queue, receiver) = sync_channel(waiting);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(receiver))
            .with_context(|| format!("starting the {name} thread"))?;
        Ok(Self { queue, thread })
    }

    /// Starts a thread that writes what it is sent. A failure is logged once, with `lost` as its consequence, and again
    /// only after a success.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn writer(
        name: &str,
        waiting: usize,
        lost: &'static str,
        mut write: impl FnMut(T) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        Self::start(name, waiting, move |receiver| {
            let mut failed = false;
            for item in receiver {
                let result = write(item);
                if let Err(err) = &result
                    && !failed
                {
                    warn!("{lost}: {err:#}");
                }
                failed = result.is_err();
            }
        })
    }

    /// Sends the thread a piece of work. Returns whether there was room for it.
    pub fn send(&self, work: T) -> bool {
        self.queue.try_send(work).is_ok()
    }

    /// Lets the thread finish its queue, until `deadline`.
    ///
    /// To be done before the process ends: the libraries' own clean-up at exit crashes under a thread that still works
    /// with them.
    pub fn close(self, deadline: Instant) {
        drop(self.queue);
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
