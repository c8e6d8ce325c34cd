//! Outputs of events. Each is a subscriber with a bounded queue and a thread of its own, so that none delays another; a new
//! one is a file here and a line in [`EventOutputs::open`].

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::jsonl;
use crate::events::SentEvent;
use crate::threads::Worker;

/// All outputs of events.
#[derive(Debug, Default)]
pub struct EventOutputs(Vec<EventOutput>);

#[derive(Debug)]
struct EventOutput {
    /// Name in metrics.
    name: &'static str,
    queue: Worker<Arc<SentEvent>>,
}

impl EventOutputs {
    /// Opens the outputs that the flags name: `file` is that of `--events`.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut outputs = Vec::new();
        if let Some(file) = file {
            outputs.push(EventOutput {
                name: "jsonl",
                queue: jsonl::open_events(file)?,
            });
        }
        Ok(Self(outputs))
    }

    /// Sends a message to all outputs. Returns the names of those that had no room for it.
    pub(crate) fn publish(&self, event: &Arc<SentEvent>) -> Vec<&'static str> {
        let full = |output: &&EventOutput| !output.queue.send(event.clone());
        self.0
            .iter()
            .filter(full)
            .map(|output| output.name)
            .collect()
    }

    /// Lets the outputs write what they hold, until `deadline`.
    pub(crate) fn close(self, deadline: Instant) {
        for output in self.0 {
            output.queue.close(deadline);
        }
    }
}
