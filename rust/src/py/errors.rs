//! Core errors as the exceptions that `pyplugin.errors` defines.

use pyo3::PyErr;
use pyo3::exceptions::{PyRuntimeError, PyValueError};

use crate::handshake;
use crate::http2;
use crate::yamux::{LocalError, SessionError};

mod python {
    #![allow(missing_docs, reason = "documented where Python defines them")]
    pyo3::import_exception!(pyplugin.errors, CoreProtocolMismatch);
    pyo3::import_exception!(pyplugin.errors, HandshakeError);
    pyo3::import_exception!(pyplugin.errors, MuxClosed);
    pyo3::import_exception!(pyplugin.errors, MuxError);
    pyo3::import_exception!(pyplugin.errors, MuxProtocolError);
}

// Not ours: what grpclib catches.
mod h2 {
    #![allow(missing_docs, reason = "documented where Python defines them")]
    pyo3::import_exception!(h2.exceptions, NoAvailableStreamIDError);
    pyo3::import_exception!(h2.exceptions, ProtocolError);
    pyo3::import_exception!(h2.exceptions, StreamClosedError);
    pyo3::import_exception!(h2.exceptions, TooManyStreamsError);
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

impl From<SessionError> for PyErr {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        match error {
            SessionError::Remote(_) => python::MuxProtocolError::new_err(message),
            _ => python::MuxClosed::new_err(message),
        }
    }
}

impl From<LocalError> for PyErr {
    fn from(error: LocalError) -> Self {
        let message = error.to_string();
        match error {
            LocalError::Session(error) => error.into(),
            LocalError::GoingAway | LocalError::NoStream { .. } => {
                python::MuxClosed::new_err(message)
            }
            LocalError::TooManyUnacknowledged | LocalError::IdsExhausted => {
                python::MuxError::new_err(message)
            }
            LocalError::Finished { .. } => PyRuntimeError::new_err(message),
            LocalError::ConsumedTooMuch { .. } => PyValueError::new_err(message),
        }
    }
}

impl From<http2::ConnectionError> for PyErr {
    fn from(error: http2::ConnectionError) -> Self {
        h2::ProtocolError::new_err(error.to_string())
    }
}

impl From<http2::LocalError> for PyErr {
    fn from(error: http2::LocalError) -> Self {
        use http2::LocalError;
        let message = error.to_string();
        match error {
            LocalError::Connection(error) => error.into(),
            LocalError::TooManyStreams { .. } => h2::TooManyStreamsError::new_err(message),
            LocalError::IdsExhausted => h2::NoAvailableStreamIDError::new_err(message),
            LocalError::NoStream { stream } => h2::StreamClosedError::new_err(stream),
            LocalError::GoingAway | LocalError::Finished { .. } | LocalError::Order { .. } => {
                h2::ProtocolError::new_err(message)
            }
            LocalError::AcknowledgedTooMuch { .. } => PyValueError::new_err(message),
        }
    }
}
