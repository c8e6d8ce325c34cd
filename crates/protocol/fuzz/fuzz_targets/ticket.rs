//! A ticket that was pasted.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::ticket(bytes));
