//! A line of the native door, whoever said it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::words(bytes));
