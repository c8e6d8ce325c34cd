//! The class names in a model file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::names_metadata(bytes));
