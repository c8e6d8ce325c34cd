//! A label written into, and read out of, any bytes that a camera yields.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::label(bytes));
