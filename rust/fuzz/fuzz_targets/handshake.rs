//! See `pyplugin_fuzz::handshake`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::handshake(data));

#[cfg(not(fuzzing))]
fn main() {}
