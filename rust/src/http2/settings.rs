//! What each side can take (RFC 9113 §6.5).

use super::error::{ErrorCode, Fault};
use super::frame::{FRAME_BYTES, number};
use super::hpack::TABLE_BYTES;
use super::window::{INITIAL_WINDOW, MAX_WINDOW};
use super::{Config, Side};

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENTRY_BYTES: usize = 6;

/// Those of the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) table_bytes: u32,
    pub(super) max_streams: u32,
    pub(super) window: u32,
    pub(super) frame_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            table_bytes: u32::try_from(TABLE_BYTES).unwrap_or(0),
            max_streams: u32::MAX,
            window: INITIAL_WINDOW,
            frame_bytes: FRAME_BYTES,
        }
    }
}

impl Settings {
    /// Takes in what the peer, which is not on this `side`, says.
    pub(super) fn update(&mut self, payload: &[u8], side: Side) -> Result<(), Fault> {
        let (entries, rest) = payload.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(Fault::Connection(
                ErrorCode::FrameSizeError,
                "a SETTINGS frame of the wrong length",
            ));
        }
        let wrong = |reason| Err(Fault::Connection(ErrorCode::ProtocolError, reason));
        for [k0, k1, value @ ..] in entries {
            let value = number(value);
            match u16::from_be_bytes([*k0, *k1]) {
                HEADER_TABLE_SIZE => self.table_bytes = value,
                ENABLE_PUSH if value > 1 || (value == 1 && side == Side::Client) => {
                    return wrong("a value of ENABLE_PUSH that is not allowed");
                }
                MAX_CONCURRENT_STREAMS => self.max_streams = value,
                INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return Err(Fault::Connection(
                        ErrorCode::FlowControlError,
                        "a value of INITIAL_WINDOW_SIZE that is too large",
                    ));
                }
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE if !(FRAME_BYTES..1 << 24).contains(&value) => {
                    return wrong("a value of MAX_FRAME_SIZE that is not allowed");
                }
                MAX_FRAME_SIZE => self.frame_bytes = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The payload of the frame that tells the peer of ours.
pub(super) fn payload(config: &Config, side: Side) -> Vec<u8> {
    let push = (side == Side::Client).then_some((ENABLE_PUSH, 0));
    let limit =
        (config.max_streams < u32::MAX).then_some((MAX_CONCURRENT_STREAMS, config.max_streams));
    let all = [
        (INITIAL_WINDOW_SIZE, config.stream_window),
        (MAX_HEADER_LIST_SIZE, config.max_header_list),
    ];
    let mut payload = Vec::new();
    for (key, value) in push.into_iter().chain(limit).chain(all) {
        payload.extend_from_slice(&key.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    payload
}
