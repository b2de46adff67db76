#![no_main]
//! See `strata_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| strata_fuzz::receiver::run(data));
