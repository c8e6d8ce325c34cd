//! Where detections go besides viewers. A new output is a file here and a line in [`Outputs`].

pub mod fields;
pub(crate) mod hex;
pub mod hook;
pub mod hub;
pub mod jsonl;
pub mod mqtt;
pub mod picture_url;
pub mod queue;
pub mod retry;
pub mod webhook;

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

/// Returns the seconds since the Unix epoch.
fn unix_s() -> u64 {
    platform::clock::unix_micros() / 1_000_000
}
