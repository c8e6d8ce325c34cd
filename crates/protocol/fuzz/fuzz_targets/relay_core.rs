#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

#[path = "../src/relay_core/mod.rs"]
mod rules;

/// One start for all inputs: the verdict hangs on times between events alone.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rules::relay_core(bytes, *START));
