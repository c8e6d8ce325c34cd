//! Hostile peers beside the real programs: an honest camera's frames reach an honest viewer whatever they do.
//!
//! The rules alone stand in `relay-core`'s property tests; `scripts/bench --attack` measures what is only bounded here.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod honest;
mod ipv6;
mod memory;
mod names;
mod viewers;
mod work;
