//! See `pyplugin_fuzz::http2_ops`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::http2_ops(data));

#[cfg(not(fuzzing))]
fn main() {}
