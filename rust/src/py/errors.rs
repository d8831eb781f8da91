//! Core errors as the exceptions that `pyplugin.errors` defines.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

use crate::handshake;

mod python {
    #![allow(missing_docs, reason = "documented where Python defines them")]
    pyo3::import_exception!(pyplugin.errors, CoreProtocolMismatch);
    pyo3::import_exception!(pyplugin.errors, HandshakeError);
}

impl From<handshake::Error> for PyErr {
    fn from(error: handshake::Error) -> Self {
        let message = error.to_string();
        match error {
            handshake::Error::CoreVersion { .. } => python::CoreProtocolMismatch::new_err(message),
            _ => python::HandshakeError::new_err(message),
        }
    }
}

impl From<handshake::FormatError> for PyErr {
    fn from(error: handshake::FormatError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}
