//! See `pyplugin_fuzz::yamux_ops`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyplugin_fuzz::yamux_ops(data));

#[cfg(not(fuzzing))]
fn main() {}
