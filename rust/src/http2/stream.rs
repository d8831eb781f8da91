//! One stream (RFC 9113 §5.1), and those that were.
//!
//! It is here from its headers until both its halves have ended, or one side resets it:
//!
//! ```text
//! sending    Headers → Data → Ended      a client's request is sent with the opening of its stream
//! receiving  Headers → Data → Ended      a client's request came with the opening of its stream
//! ```

use std::collections::VecDeque;

use super::StreamId;
use super::window::{ReceiveWindow, SendWindow};

// How many streams that ended are remembered, so that what comes late for them is understood.
const REMEMBERED: usize = 256;

/// What comes next on a half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Headers,
    Data,
    Ended,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sending: Half,
    pub(super) receiving: Half,
    pub(super) credit: SendWindow,
    pub(super) window: ReceiveWindow,
    // How much data is to come, where the peer said so.
    pub(super) missing: Option<u64>,
}

impl Stream {
    pub(super) fn can_receive(&self) -> bool {
        self.receiving != Half::Ended
    }
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    // Both halves did.
    Ended,
    ResetByPeer,
    ResetByUs,
}

/// The last streams that ended.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(StreamId, How)>);

impl Past {
    pub(super) fn note(&mut self, id: StreamId, how: How) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((id, how));
    }

    pub(super) fn reset_by_peer(&mut self, id: StreamId) {
        for (past, how) in &mut self.0 {
            if *past == id {
                *how = How::ResetByPeer;
            }
        }
    }

    pub(super) fn find(&self, id: StreamId) -> Option<How> {
        self.0.iter().rev().find_map(|(past, how)| (*past == id).then_some(*how))
    }
}
