//! One line of the QUIC transport's first stream, from either end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::lines(bytes));
