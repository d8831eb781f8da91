//! The 9 bytes that every frame begins with (RFC 9113 §4.1).

use super::StreamId;

/// Length of a frame's header.
pub const HEADER_BYTES: usize = 9;
/// Most payload that a peer must take before it says otherwise.
pub const FRAME_BYTES: u32 = 16_384;

/// Kind: payload of a stream.
pub const DATA: u8 = 0;
/// Kind: opens a stream, or ends it with trailers.
pub const HEADERS: u8 = 1;
/// Kind: of no meaning any more.
pub const PRIORITY: u8 = 2;
/// Kind: a stream is gone.
pub const RST_STREAM: u8 = 3;
/// Kind: what the sender can take.
pub const SETTINGS: u8 = 4;
/// Kind: announces a stream of the server's; never sent, and refused.
pub const PUSH_PROMISE: u8 = 5;
/// Kind: eight bytes that are sent back.
pub const PING: u8 = 6;
/// Kind: the sender takes no more streams.
pub const GOAWAY: u8 = 7;
/// Kind: the receiver may send so much more.
pub const WINDOW_UPDATE: u8 = 8;
/// Kind: more of a header block.
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS: the last of the stream.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING: it is an answer.
pub const ACK: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the last of the block.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA and HEADERS: there are bytes of no meaning behind.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: five bytes of no meaning are before the block.
pub const PRIORITIZED: u8 = 0x20;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload; 24 bits of it are sent.
    pub length: u32,
    /// What the frame is; unknown kinds are skipped.
    pub kind: u8,
    /// Its flags; unknown ones mean nothing.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: StreamId,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Whether it has this flag.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The number in four bytes; 0 when they are fewer.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
