//! The `quic` transport's common half, which the relay and its peers share.
//!
//! ```text
//!   sender                                          relay                             viewer
//!   newest frame --> [slot] --> frame window =====> fan-out --> [slot] --> frame window =====> newest frame
//!        ^                       |             ^                (one of each per viewer)
//!        | ladder: quality, size |             | a stream per frame,
//!        +---- share of frames --+             | acknowledged or given up after 0.4 s
//!              skipped
//!
//!   hello, answer, clocks: lines of JSON on the first bidirectional stream (`protocol::quic`)
//! ```
//!
//! `frame_window` and `clock` are pure and decide; `frames`, `receive`, `lines` and `client` move bytes, `room` bounds them; `endpoint`, `identity`
//! and `path` set up quinn and rustls; `doctor` checks a relay for the other programs' `doctor`. Apart from `doctor`,
//! nothing here knows what a camera is.

pub mod client;
pub mod clock;
pub mod doctor;
pub mod endpoint;
pub mod frame_window;
pub mod frames;
pub mod identity;
pub mod lines;
pub mod path;
mod readers;
pub mod receive;
pub mod room;

use std::fmt::Display;

use protocol::text::{MAX_SHOWN, printable};

/// Returns quinn's error as text for the log. Its own text has the peer's close reason in it, as long and as hostile as the
/// peer likes.
pub fn shown(err: &impl Display) -> String {
    printable(&err.to_string(), MAX_SHOWN)
}
