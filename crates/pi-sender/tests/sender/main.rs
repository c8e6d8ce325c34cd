//! The real program against plain sockets: what arrives, what ends it, and what it reports.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test may"
)]

mod close_reason;
mod frames;
mod http;
#[cfg(feature = "window")]
mod preview;
mod programs;
mod service;
mod sources;
mod support;
mod usage;
mod videos;
