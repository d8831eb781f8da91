//! The extension module `pyplugin._rust`: conversions only, no logic. Its reference is `_rust.pyi`.

mod batches;
mod descriptor;
mod errors;
mod fields;
mod handlers;
mod handshake;
mod http2;
mod lines;
mod pieces;
mod pump;
mod records;
#[cfg(unix)]
mod stdio;
mod stock;
mod yamux;

/// The Rust core of pyplugin.
#[pyo3::pymodule(gil_used = false)]
mod _rust {
    #[pymodule_export]
    use super::batches::{LogBatch, LogEntry};
    #[pymodule_export]
    use super::fields::decode_fields;
    #[pymodule_export]
    use super::handshake::{format_handshake, parse_handshake};
    #[pymodule_export]
    use super::http2::{Http2Connection, Http2Event};
    #[pymodule_export]
    use super::lines::parse_log_line;
    #[pymodule_export]
    use super::pump::{LogQueue, LogReader, LogSource, LogTarget};
    #[cfg(unix)]
    #[pymodule_export]
    use super::stdio::OutputPump;
    #[pymodule_export]
    use super::yamux::MuxSession;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
