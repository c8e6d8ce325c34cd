//! Tests and benchmarks of whole chains: the real programs with each other, with the tutorial's scripts, with a browser.
//!
//! `tests/` runs them over loopback and over a bad network made of software; `benches/` measures them (`scripts/bench`).
//! [`attack`] is what both let loose on a relay.

#[cfg(target_os = "linux")]
pub mod attack;
