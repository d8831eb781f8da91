//! See `pyplugin_fuzz::hclog_line`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::hclog_line(data));

#[cfg(not(fuzzing))]
fn main() {}
