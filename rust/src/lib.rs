//! The Rust core of pyplugin: go-plugin's protocol where it must be fast.
//!
//! Everything outside the `py` module is plain Rust that knows neither Python, nor a socket, nor a
//! clock: bytes go in, values come out. The `python` feature adds the extension module
//! `pyplugin._rust` on top. Bytes from another process are hostile: no function here panics on any
//! input, and none holds more memory than a small multiple of what it was given.

pub mod forward;
pub mod handshake;
pub mod hclog;
pub mod http2;
pub mod lines;
pub mod pump;
#[cfg(feature = "python")]
mod py;
#[cfg(unix)]
pub mod stdio;
pub mod yamux;
