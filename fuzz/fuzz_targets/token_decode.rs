#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tollgate::auth::differential::token_decode(input));
