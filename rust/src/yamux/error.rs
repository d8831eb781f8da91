//! What can go wrong, and whose fault it is.

use std::fmt;

use super::StreamId;
use super::header::GoAway;

/// The peer broke the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteError {
    /// A frame of another version of the protocol.
    Version {
        /// Its version.
        found: u8,
    },
    /// A frame of an unknown kind.
    Kind {
        /// Its number.
        found: u8,
    },
    /// A frame of a stream says that it is the session's.
    NoStream,
    /// The peer opened a stream with an id that is ours to give.
    Parity {
        /// The id.
        stream: StreamId,
    },
    /// The peer opened a stream that is open.
    Duplicate {
        /// The id.
        stream: StreamId,
    },
    /// More data than the window allowed.
    WindowExceeded {
        /// The stream.
        stream: StreamId,
        /// What it may have sent.
        window: u32,
        /// What it did send.
        found: u32,
    },
    /// The peer granted a window that has no number.
    WindowOverflow {
        /// The stream.
        stream: StreamId,
        /// The window before.
        window: u32,
        /// What was to be added.
        found: u32,
    },
    /// The peer finished its half of a stream twice.
    FinishedTwice {
        /// The stream.
        stream: StreamId,
    },
    /// The peer opens streams without reading that they were refused.
    Flood {
        /// How many refusals wait for it.
        refusals: usize,
    },
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(f, "expected yamux version 0, got {found}"),
            Self::Kind { found } => write!(f, "expected a frame type from 0 to 3, got {found}"),
            Self::NoStream => f.write_str("a data or window frame for stream 0"),
            Self::Parity { stream } => {
                write!(f, "the peer opened stream {stream}, an id of this side")
            }
            Self::Duplicate { stream } => {
                write!(f, "the peer opened stream {stream}, which is open")
            }
            Self::WindowExceeded { stream, window, found } => {
                write!(f, "stream {stream}: {found} bytes came, {window} were allowed")
            }
            Self::WindowOverflow { stream, window, found } => {
                write!(f, "stream {stream}: a window of {window} cannot grow by {found}")
            }
            Self::FinishedTwice { stream } => write!(f, "stream {stream} was finished twice"),
            Self::Flood { refusals } => {
                write!(f, "the peer opens streams while {refusals} refusals wait for it")
            }
        }
    }
}

impl std::error::Error for RemoteError {}

/// Why the session is over. It stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// The peer broke the rules.
    Remote(RemoteError),
    /// The peer says that we did, or that it failed.
    GaveUp {
        /// Its reason.
        code: u32,
    },
    /// A ping had no answer.
    PingTimeout,
    /// A stream was not acknowledged.
    OpenTimeout {
        /// The stream.
        stream: StreamId,
    },
    /// The connection ended.
    Closed,
}

impl SessionError {
    // What the peer is told, if anything.
    pub(super) fn code(self) -> Option<GoAway> {
        match self {
            Self::Remote(_) => Some(GoAway::ProtocolError),
            Self::PingTimeout | Self::OpenTimeout { .. } => Some(GoAway::InternalError),
            Self::GaveUp { .. } | Self::Closed => None,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => error.fmt(f),
            Self::GaveUp { code: 1 } => f.write_str("the peer reports a protocol error of ours"),
            Self::GaveUp { code } => write!(f, "the peer gave up the session, code {code}"),
            Self::PingTimeout => f.write_str("the peer did not answer a ping in time"),
            Self::OpenTimeout { stream } => {
                write!(f, "the peer did not acknowledge stream {stream} in time")
            }
            Self::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for SessionError {}

/// A call cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalError {
    /// The session is over.
    Session(SessionError),
    /// One of the two ends takes no new streams.
    GoingAway,
    /// The peer has to acknowledge a stream first.
    TooManyUnacknowledged,
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
    /// More was consumed than had come.
    ConsumedTooMuch {
        /// The stream.
        stream: StreamId,
        /// What had come and was not consumed.
        held: u32,
    },
}

impl From<SessionError> for LocalError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::GoingAway => f.write_str("the session takes no new streams"),
            Self::TooManyUnacknowledged => {
                f.write_str("too many streams wait for the peer to acknowledge them")
            }
            Self::IdsExhausted => f.write_str("every stream id was used"),
            Self::NoStream { stream } => write!(f, "stream {stream} is gone"),
            Self::Finished { stream } => write!(f, "stream {stream} is finished"),
            Self::ConsumedTooMuch { stream, held } => {
                write!(f, "stream {stream}: no more than {held} bytes can be consumed")
            }
        }
    }
}

impl std::error::Error for LocalError {}
