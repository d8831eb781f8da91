//! One stream.
//!
//! Its two halves end separately, and it is gone when both have, or by a reset from either side:
//!
//! ```text
//! opening   SynDue → SynSent → Open        ours: SYN is sent, ACK comes
//!           Unaccepted → AckDue → Open     the peer's: accepted, ACK is sent
//! sending   Open → Due → Planned → Done    finished, FIN is chosen, FIN is out
//! receiving has_ended                      the peer's FIN came
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::window::{ReceiveWindow, SendWindow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    SynDue,
    SynSent,
    Unaccepted,
    AckDue,
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    No,
    Due,
    Planned,
}

// In one place, since what is sent first of a stream's last frames can be queued no longer: a stream
// without either is as small as it gets.
#[derive(Debug)]
pub(super) enum Outgoing<B> {
    Nothing,
    Queued(Box<Queue<B>>),
    // FIN is out; the peer's has to come by then.
    Done { close_at: Duration },
}

// What waits to be sent.
#[derive(Debug)]
pub(super) struct Queue<B> {
    chunks: VecDeque<B>,
    // What was sent of the first chunk.
    start: usize,
    bytes: usize,
    // What no frame was made for yet.
    pub(super) unplanned: usize,
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "none of them says anything of another")]
pub(super) struct Stream<B> {
    pub(super) outgoing: Outgoing<B>,
    pub(super) credit: SendWindow,
    pub(super) window: ReceiveWindow,
    pub(super) opening: Opening,
    pub(super) finish: Finish,
    pub(super) has_ended: bool,
    // Whether it is in the session's queue of updates, and in that of senders.
    pub(super) has_update: bool,
    pub(super) has_turn: bool,
    // More than the low mark was queued, and its writer waits.
    pub(super) is_full: bool,
}

impl<B: AsRef<[u8]>> Stream<B> {
    pub(super) fn new(opening: Opening) -> Self {
        Self {
            outgoing: Outgoing::Nothing,
            credit: SendWindow::new(),
            window: ReceiveWindow::new(),
            opening,
            finish: Finish::No,
            has_ended: false,
            has_update: false,
            has_turn: false,
            is_full: false,
        }
    }

    pub(super) fn push(&mut self, chunk: B) {
        let length = chunk.as_ref().len();
        if length == 0 {
            return;
        }
        if !matches!(self.outgoing, Outgoing::Queued(_)) {
            let chunks = VecDeque::with_capacity(1);
            let queue = Queue { chunks, start: 0, bytes: 0, unplanned: 0 };
            self.outgoing = Outgoing::Queued(Box::new(queue));
        }
        if let Outgoing::Queued(queue) = &mut self.outgoing {
            queue.chunks.push_back(chunk);
            queue.bytes = queue.bytes.saturating_add(length);
            queue.unplanned = queue.unplanned.saturating_add(length);
        }
    }

    pub(super) fn queued(&self) -> usize {
        if let Outgoing::Queued(queue) = &self.outgoing { queue.bytes } else { 0 }
    }

    pub(super) fn unplanned(&self) -> usize {
        if let Outgoing::Queued(queue) = &self.outgoing { queue.unplanned } else { 0 }
    }

    /// Whether there is a frame to send that is no update.
    pub(super) fn can_send(&self) -> bool {
        match self.unplanned() {
            0 => self.finish == Finish::Due,
            _ => self.credit.left() > 0,
        }
    }

    /// How much the next data frame carries, at most `most`; it is as good as sent.
    pub(super) fn plan(&mut self, most: u32) -> u32 {
        let Outgoing::Queued(queue) = &mut self.outgoing else { return 0 };
        let wanted = u32::try_from(queue.unplanned).unwrap_or(u32::MAX).min(most);
        let length = self.credit.take(wanted);
        queue.unplanned = queue.unplanned.saturating_sub(length as usize);
        length
    }

    /// Hands on `length` bytes of what is queued, or as much as there is; what is left to find.
    pub(super) fn take(&mut self, length: usize, put: &mut impl FnMut(&[u8])) -> usize {
        let Outgoing::Queued(queue) = &mut self.outgoing else { return length };
        let left = queue.take(length, put);
        if queue.bytes == 0 {
            self.outgoing = Outgoing::Nothing;
        }
        left
    }
}

impl<B: AsRef<[u8]>> Queue<B> {
    fn take(&mut self, mut length: usize, put: &mut impl FnMut(&[u8])) -> usize {
        while length > 0
            && let Some(chunk) = self.chunks.front()
        {
            let rest = chunk.as_ref().get(self.start..).unwrap_or_default();
            if let Some((piece, _)) = rest.split_at_checked(length)
                && length < rest.len()
            {
                put(piece);
                self.start = self.start.saturating_add(length);
                self.bytes = self.bytes.saturating_sub(length);
                return 0;
            }
            put(rest);
            length = length.saturating_sub(rest.len());
            self.bytes = self.bytes.saturating_sub(rest.len());
            self.start = 0;
            self.chunks.pop_front();
        }
        length
    }
}
