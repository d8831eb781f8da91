//! See `pyplugin_fuzz::http2_bytes`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::http2_bytes(data));

#[cfg(not(fuzzing))]
fn main() {}
