//! Frames and boxes of a hostile relay in a row, over hours of virtual time.
#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

/// Only differences to it matter.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::overlay(bytes, *START));
