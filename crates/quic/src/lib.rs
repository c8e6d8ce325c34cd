//! The native door's common half: what the relay's side and its peers' side both need to speak QUIC.
//!
//! ```text
//!   sender                                 relay                                          viewer
//!   newest frame --> [slot of one] --> gate ==stream per frame==> relay --> [slot of one] --> gate ==> newest frame
//!        ^                              |                                       (each viewer its own)
//!        | ladder: quality, size        | frames in flight, acknowledged or given up after 0.4 s
//!        +---- share of frames skipped -+
//!
//!   hello, answer, clocks: lines of JSON on the first bidirectional stream (`protocol::native`)
//! ```
//!
//! `gate` and `clock` are pure and decide; `frames`, `lines` and `client` move bytes; `endpoint`, `identity` and `path`
//! set up quinn and rustls. Nothing here knows what a camera is.

pub mod client;
pub mod clock;
pub mod doctor;
pub mod endpoint;
pub mod frame_window;
pub mod frames;
pub mod identity;
pub mod lines;
pub mod path;
