//! Events of whole scenes against the truth: pictures through the model, the tracker and the rules, in virtual time.
//!
//! `truth/` holds what happens in two real streams, written down from the pictures before a rule for events existed. The
//! demo scene's truth is exact.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod chain;
mod demo;
mod still;
mod streams;
mod truth;
