//! One picture from any source, before a decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::jpeg_cost(bytes));
