//! What can go wrong, and whose fault it is.

use std::fmt;

use super::StreamId;

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the RFC has their meaning")]
pub enum ErrorCode {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    SettingsTimeout = 4,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    ConnectError = 10,
    EnhanceYourCalm = 11,
    InadequateSecurity = 12,
    Http11Required = 13,
}

/// The peer broke the rules, and the connection is over. It stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionError {
    /// What the peer is told.
    pub code: ErrorCode,
    /// The stream of the frame that did it, 0 for the connection.
    pub stream: StreamId,
    /// What it did.
    pub reason: &'static str,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        if self.stream != 0 {
            write!(f, ", stream {}", self.stream)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectionError {}

/// What a frame of the peer breaks: the connection, or only its stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Connection(ErrorCode, &'static str),
    Stream(ErrorCode, &'static str),
}

/// A call cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalError {
    /// The connection is over.
    Connection(ConnectionError),
    /// The peer takes no more streams.
    GoingAway,
    /// The peer takes no more streams until others end.
    TooManyStreams {
        /// How many it takes.
        limit: u32,
    },
    /// Every id was used.
    IdsExhausted,
    /// The stream is gone, or never was.
    NoStream {
        /// Its id.
        stream: StreamId,
    },
    /// Our half of the stream is finished.
    Finished {
        /// Its id.
        stream: StreamId,
    },
    /// The stream has had its headers, and what comes second ends it; or it has not had them.
    Order {
        /// Its id.
        stream: StreamId,
    },
    /// More was acknowledged than had come.
    AcknowledgedTooMuch {
        /// The stream.
        stream: StreamId,
    },
}

impl From<ConnectionError> for LocalError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::GoingAway => f.write_str("the peer takes no new streams"),
            Self::TooManyStreams { limit } => {
                write!(f, "the peer takes no more than {limit} streams at once")
            }
            Self::IdsExhausted => f.write_str("every stream id was used"),
            Self::NoStream { stream } => write!(f, "stream {stream} is gone"),
            Self::Finished { stream } => write!(f, "stream {stream} is finished"),
            Self::Order { stream } => {
                write!(f, "stream {stream}: headers come first, and trailers end it")
            }
            Self::AcknowledgedTooMuch { stream } => {
                write!(f, "stream {stream}: more was acknowledged than had come")
            }
        }
    }
}

impl std::error::Error for LocalError {}
