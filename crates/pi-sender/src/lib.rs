//! Sends a camera's newest picture, at an even pace, as labelled JPEG frames to a relay.
//!
//! ```text
//! source --> pacer --> encoder ------------------------> send --> relay
//! newest     when      passes through, or resizes and    by UDP or QUIC,
//! picture              encodes; then labels              or skipped
//!                         ^ ladder: which quality and size
//! ```
//!
//! The main thread runs this as one loop and never waits for the network. Cameras have a thread of their own ([`source`]);
//! QUIC, signals and the resolution of the relay's name run in a small runtime beside it.

pub mod args;
mod bandwidth;
pub mod doctor;
mod encoder;
pub mod frame_goal;
mod health;
mod ladder;
mod pacer;
pub mod preview;
mod run;
mod send;
mod service_state;
pub mod source;

pub use run::run;
