#![no_main]

#[path = "../../tests/differential/mod.rs"]
mod differential;

use differential::upstream_response;

libfuzzer_sys::fuzz_target!(
    init: upstream_response::begin(),
    |input: &[u8]| upstream_response::compare(input)
);
