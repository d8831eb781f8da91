//! The 12 bytes that every frame begins with (`const.go`).

use super::error::RemoteError;

/// Length of a header.
pub const HEADER_BYTES: usize = 12;
/// The only version of the protocol.
pub const VERSION: u8 = 0;

/// Flag: opens a stream, or asks for the answer to a ping.
pub const SYN: u16 = 1;
/// Flag: acknowledges a stream, or answers a ping.
pub const ACK: u16 = 2;
/// Flag: the sender's half of the stream ends.
pub const FIN: u16 = 4;
/// Flag: the stream is gone.
pub const RST: u16 = 8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Payload of a stream, as long as the header says.
    Data,
    /// The receiver may send so much more on this stream.
    WindowUpdate,
    /// A number that is sent back.
    Ping,
    /// The sender takes no more streams, for this reason.
    GoAway,
}

/// Why a session ends, as it is told to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAway {
    /// It is no longer needed.
    Normal = 0,
    /// The peer broke the rules.
    ProtocolError = 1,
    /// This end failed.
    InternalError = 2,
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Its flags; unknown ones mean nothing.
    pub flags: u16,
    /// Its stream, 0 for the session.
    pub stream: u32,
    /// Bytes of payload, more window, the number of a ping, or why the peer goes away.
    pub length: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// It is of another version, or of no kind that there is.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, RemoteError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != VERSION {
            return Err(RemoteError::Version { found: version });
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            found => return Err(RemoteError::Kind { found }),
        };
        Ok(Self {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [VERSION, self.kind as u8, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// Whether it has this flag.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}
