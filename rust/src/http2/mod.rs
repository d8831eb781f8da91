//! An HTTP/2 connection (RFC 9113), as gRPC needs it: requests, answers, trailers, no pushes.
//!
//! No I/O and no clock: what came from the peer goes into [`Connection::receive`], and what is to go
//! to it comes from [`Connection::take_out`].
//!
//! As strict as the RFC, but for these: white space around a header's value is left alone, frames
//! for streams that ended long ago are ignored, priorities are read only to be checked.

mod connection;
mod error;
mod event;
mod frame;
mod hpack;
mod receive;
mod rules;
mod send;
mod settings;
mod stream;
mod window;

pub use connection::Connection;
pub use error::{ConnectionError, ErrorCode, LocalError};
pub use event::Event;
pub use frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, GOAWAY, HEADER_BYTES, HEADERS,
    Header, PADDED, PING, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
pub use hpack::{Decoder, Encoder, Headers, TABLE_BYTES};
pub use window::{INITIAL_WINDOW, MAX_WINDOW};

/// What names a stream: odd, since only clients open them.
pub type StreamId = u32;

/// What a client's connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Client,
    /// Answers on them.
    Server,
}

/// What can be tuned.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much the peer may send on a stream ahead of its reader; at most [`MAX_WINDOW`].
    pub stream_window: u32,
    /// How much it may send on all of them; [`INITIAL_WINDOW`] at least, [`MAX_WINDOW`] at most.
    pub connection_window: u32,
    /// How many streams the peer may have at once; it is told, unless that is [`u32::MAX`].
    pub max_streams: u32,
    /// How long a header list may be, each field counted with 32 bytes more than its text.
    pub max_header_list: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: INITIAL_WINDOW,
            connection_window: INITIAL_WINDOW,
            max_streams: 100,
            max_header_list: 1 << 16,
        }
    }
}
