//! A camera's newest picture, at an even pace, as labelled JPEG datagrams to a relay.
//!
//! ```text
//! source --> pace --> frame --------------------------> send --> relay
//! newest     when     pass through, or resize and       one datagram,
//! picture             encode; then label                or skipped
//! ```
//!
//! The main thread runs this as one loop and never waits for the network. Cameras have a thread of their own ([`source`]);
//! signals and the relay's name live in a small runtime beside it.

pub mod args;
pub mod doctor;
mod frame;
mod ladder;
mod pace;
mod run;
mod send;
pub mod source;

pub use run::run;
