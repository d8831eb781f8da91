//! A yamux session (`hashicorp/yamux` 0.1.2): many streams over one connection.
//!
//! No I/O and no clock: what came from the peer goes into [`Session::receive`], what is to go to it
//! comes from [`Session::poll_transmit`], and every call that starts or checks a timer is told the
//! time, as the duration since any fixed moment.
//!
//! Stricter than Go, which lets these pass: the parity of stream ids, a send window past 32 bits,
//! stream frames for stream 0. As lenient as Go: frames for streams that are gone, unknown flags,
//! ACK of an open stream, data behind a FIN (Go sends that when a write races with a close).

mod error;
mod event;
mod header;
mod receive;
mod session;
mod stream;
mod timers;
mod transmit;
mod window;

use std::time::Duration;

pub use error::{LocalError, RemoteError, SessionError};
pub use event::Event;
pub use header::{ACK, FIN, GoAway, HEADER_BYTES, Header, Kind, RST, SYN, VERSION};
pub use session::Session;
pub use transmit::Transmit;
pub use window::INITIAL_WINDOW;

/// What names a stream: odd when the client opened it, even when the server did.
pub type StreamId = u32;

/// Most payload of one data frame. Go reads a frame of any length; what is fair between streams is
/// to take turns after this much.
pub const FRAME_BYTES: u32 = 64 * 1024;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams with odd ids: go-plugin's host.
    Client,
    /// Opens streams with even ids: the plugin.
    Server,
}

/// What can be tuned; the default is `DefaultConfig` of Go (`mux.go`).
#[derive(Debug, Clone)]
pub struct Config {
    /// How much the peer may send on a stream ahead of its reader; at least [`INITIAL_WINDOW`].
    pub receive_window: u32,
    /// How many streams may wait to be accepted here, and to be acknowledged by the peer.
    pub accept_backlog: usize,
    /// How many streams there may be when the peer opens one more. Go knows no such limit.
    pub stream_limit: usize,
    /// How long the session is left without a ping, or `None` for no pings.
    pub keep_alive: Option<Duration>,
    /// How long the peer may take to answer a ping (`ConnectionWriteTimeout`).
    pub ping_timeout: Duration,
    /// How long the peer may take to acknowledge a stream.
    pub open_timeout: Duration,
    /// How long the peer may keep its half of a stream open when ours is finished.
    pub close_timeout: Duration,
    /// A stream becomes writable again when no more than this is queued.
    pub low_mark: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_window: INITIAL_WINDOW,
            accept_backlog: 256,
            stream_limit: 1 << 16,
            keep_alive: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(5 * 60),
            low_mark: 64 * 1024,
        }
    }
}
