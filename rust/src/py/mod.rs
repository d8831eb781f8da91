//! The extension module `pyplugin._rust`: conversions only, no logic. Its reference is `_rust.pyi`.

mod errors;
mod handshake;

/// The Rust core of pyplugin.
#[pyo3::pymodule(gil_used = false)]
mod _rust {
    #[pymodule_export]
    use super::handshake::{format_handshake, parse_handshake};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
