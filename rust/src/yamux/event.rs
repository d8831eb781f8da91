//! What happened.

use std::time::Duration;

use super::StreamId;
use super::error::SessionError;

/// What happened, in order. The events of a stream end with its reset, or with its finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer opened a stream, which is to be accepted or reset.
    StreamOpened(StreamId),
    /// The peer accepted a stream of ours.
    StreamAcked(StreamId),
    /// Data of a stream, never empty, to be consumed.
    Data(StreamId, &'a [u8]),
    /// The peer sends no more on a stream.
    StreamFinished(StreamId),
    /// The stream is gone, and with it what was queued.
    StreamReset(StreamId),
    /// What was queued is below the low mark again.
    Writable(StreamId),
    /// The peer answered a ping after this time.
    Pong(Duration),
    /// The peer takes no more streams; those that are there go on.
    GoAway,
    /// The session is over, and with it every stream.
    SessionFailed(SessionError),
}
