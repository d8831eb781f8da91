//! See `pyplugin_fuzz::hclog_chunks`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::hclog_chunks(data));

#[cfg(not(fuzzing))]
fn main() {}
