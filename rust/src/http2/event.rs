//! What happened.

use super::StreamId;
use super::error::ConnectionError;
use super::hpack::Headers;

/// What happened, in order. The events of a stream end with `Reset`, or with `Ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer opened a stream.
    Request(StreamId, Headers),
    /// The peer answers on a stream of ours; informational answers are not told.
    Response(StreamId, Headers),
    /// Data of a stream, never empty, to be acknowledged.
    Data(StreamId, &'a [u8]),
    /// What comes behind the data; `Ended` follows.
    Trailers(StreamId, Headers),
    /// The peer sends no more on a stream.
    Ended(StreamId),
    /// The stream is gone.
    Reset {
        /// Its id.
        stream: StreamId,
        /// Why: a number of [`ErrorCode`](super::ErrorCode), or any other.
        code: u32,
        /// The peer did it; or else it broke a rule on it, and is told so.
        by_peer: bool,
    },
    /// Something can be sent on a stream again, or on the connection (0), where nothing could.
    Writable(StreamId),
    /// The peer has new settings.
    Settings,
    /// The peer answered a ping.
    Pong([u8; 8]),
    /// The peer takes no more streams; those up to `last_stream` go on.
    GoAway {
        /// The last stream that it deals with.
        last_stream: StreamId,
        /// Why: a number of [`ErrorCode`](super::ErrorCode), or any other.
        code: u32,
    },
    /// The connection is over, and with it every stream.
    Failed(ConnectionError),
}
