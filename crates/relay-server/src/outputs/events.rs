//! Outputs of events. Each is a subscriber with a bounded queue, so that none delays another: a file has a thread of its own,
//! and what goes over a network or to a command is the [`Hub`]'s.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::hub::{EventOutputStats, Hub, OutputEvent};
use super::jsonl;
use bytes::Bytes;

use crate::events::SentEvent;
use crate::threads::Worker;

/// All outputs of events.
#[derive(Debug, Default)]
pub struct EventOutputs {
    files: Vec<EventOutput>,
    hub: Option<Hub>,
}

#[derive(Debug)]
struct EventOutput {
    /// Name in metrics.
    name: &'static str,
    queue: Worker<Arc<SentEvent>>,
}

impl EventOutputs {
    /// Opens the outputs that the flags name: `file` is that of `--events`, `hub` has the others.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(file: Option<&Path>, hub: Option<Hub>) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        if let Some(file) = file {
            files.push(EventOutput {
                name: "jsonl",
                queue: jsonl::open_events(file)?,
            });
        }
        Ok(Self { files, hub })
    }

    /// Returns the counters of the hub's outputs.
    pub fn stats(&self) -> EventOutputStats {
        self.hub.as_ref().map(Hub::stats).unwrap_or_default()
    }

    /// Sends a message to all outputs, with the picture of its event as `picture` returns it. Returns the names of the files
    /// that had no room for it; the others count for themselves.
    pub(crate) fn publish(
        &self,
        event: &Arc<SentEvent>,
        picture: impl FnOnce() -> Option<Bytes>,
    ) -> Vec<&'static str> {
        if let Some(hub) = &self.hub {
            hub.publish(OutputEvent {
                message: event.message.clone(),
                json: event.json.clone().into(),
                picture: picture(),
            });
        }
        let full = |output: &&EventOutput| !output.queue.send(event.clone());
        self.files
            .iter()
            .filter(full)
            .map(|output| output.name)
            .collect()
    }

    /// Lets the outputs write what they hold, until `deadline`.
    pub(crate) fn close(self, deadline: Instant) {
        for output in self.files {
            output.queue.close(deadline);
        }
        if let Some(hub) = self.hub {
            hub.close(deadline);
        }
    }
}
