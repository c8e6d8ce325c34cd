//! Where detections and events go besides viewers.
//!
//! ```text
//!  detections --> jsonl                                a thread that writes
//!  events -----+> jsonl                                likewise
//!              +> Hub --> a queue each --+--> mqtt      tasks on one thread beside the loop; each has its own queue,
//!                                        +--> webhook   retries by the same rule and counts what is lost
//!                                        +--> hook
//! ```
//!
//! A new output of events is a room here and a line in [`plan`]; of detections, a line in [`Outputs`].

pub mod events;
pub mod fields;
pub(crate) mod hex;
pub mod hook;
pub mod hub;
pub mod jsonl;
pub mod mqtt;
pub mod picture_url;
pub mod plan;
pub mod queue;
pub mod retry;
mod secret_file;
pub mod webhook;

use std::time::Instant;

use protocol::detections::{Detections, Kind};

use self::hub::EventOutputStats;
use crate::threads::Worker;

/// All outputs.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Lines of JSON in a file or on standard output (`--detections`).
    pub jsonl: Option<Worker<String>>,
    /// Messages that an output had no room for.
    pub lost: u64,
    /// Counters of MQTT, webhook and command hook, as far as there are these.
    pub of_events: EventOutputStats,
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
