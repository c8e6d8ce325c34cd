//! Where detections and events go besides viewers. A new output of detections is a file here and a line in [`Outputs`];
//! those of events are in [`events`].

pub mod events;
pub mod jsonl;

use std::time::Instant;

use protocol::detections::{Detections, Kind};

use crate::threads::Worker;

/// All outputs.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Lines of JSON in a file or on standard output (`--detections`).
    pub jsonl: Option<Worker<String>>,
    /// Messages that an output had no room for.
    pub lost: u64,
}

impl Outputs {
    /// Sends a detections message to the outputs; `json` is its text. They get what the model found, and not the tracker's
    /// boxes of the frames between.
    pub fn publish(&mut self, message: &Detections, json: String) {
        if let Some(jsonl) = &self.jsonl
            && message.kind == Kind::Inferred
        {
            self.lost += u64::from(!jsonl.send(json));
        }
    }

    /// Lets the outputs write what they hold, until `deadline`.
    pub fn close(self, deadline: Instant) {
        if let Some(jsonl) = self.jsonl {
            jsonl.close(deadline);
        }
    }
}
