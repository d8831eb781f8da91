//! What goes to the peer.
//!
//! Frames are chosen first and written then, so that whoever writes them can make room of the right
//! size, and payload is copied once: to where it is sent from.

use std::time::Duration;

use super::event::Event;
use super::header::{ACK, FIN, HEADER_BYTES, Header, Kind, RST, SYN};
use super::session::Session;
use super::stream::{Finish, Opening, Outgoing};
use super::{FRAME_BYTES, StreamId};

// Less payload than this is not cut off to fill up what is sent at once.
const LEAST_PIECE: usize = 1024;
// The least that is sent at once: any header, or one with some payload.
const LEAST: usize = 64;

// A frame that was chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    header: Header,
    is_finish: bool,
}

impl Frame {
    fn bytes(&self) -> usize {
        let payload = if self.header.kind == Kind::Data { self.header.length } else { 0 };
        HEADER_BYTES.saturating_add(payload as usize)
    }
}

/// Frames to be written. When they are not, they are the next ones again.
#[derive(Debug)]
pub struct Transmit<'a, B> {
    session: &'a mut Session<B>,
    bytes: usize,
    now: Duration,
}

impl<B: AsRef<[u8]>> Transmit<'_, B> {
    /// How many bytes they are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is none that is empty")]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Hands on all of their bytes, in pieces.
    pub fn write(self, mut put: impl FnMut(&[u8])) {
        let Self { session, now, .. } = self;
        let mut plan = std::mem::take(&mut session.plan);
        for frame in plan.drain(..) {
            put(&frame.header.encode());
            if frame.is_finish {
                session.finished(frame.header.stream, now);
            } else if frame.header.kind == Kind::Data {
                session.write_payload(frame.header, &mut put);
            }
        }
        session.plan = plan;
    }
}

impl<B: AsRef<[u8]>> Session<B> {
    /// The next frames, of about `most` bytes, or `None` when there is nothing to send.
    ///
    /// Streams take turns, a frame each. Also when the session is over: the peer is told why.
    pub fn poll_transmit(&mut self, most: usize, now: Duration) -> Option<Transmit<'_, B>> {
        if self.plan.is_empty() {
            self.choose(most.max(LEAST));
        }
        let bytes = self.plan.iter().fold(0_usize, |sum, frame| sum.saturating_add(frame.bytes()));
        (bytes > 0).then_some(Transmit { session: self, bytes, now })
    }

    fn choose(&mut self, mut room: usize) {
        while room >= HEADER_BYTES
            && let Some(header) = self.next_control()
        {
            self.plan.push(Frame { header, is_finish: false });
            room = room.saturating_sub(HEADER_BYTES);
        }
        while room > HEADER_BYTES
            && let Some(id) = self.senders.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if !std::mem::take(&mut stream.has_turn) {
                continue;
            }
            let fits = room.saturating_sub(HEADER_BYTES);
            if stream.unplanned() > fits && fits < LEAST_PIECE && !self.plan.is_empty() {
                stream.has_turn = true;
                self.senders.push_front(id);
                return;
            }
            let length = stream.plan(u32::try_from(fits).unwrap_or(u32::MAX).min(FRAME_BYTES));
            if length > 0 {
                let header = Header { kind: Kind::Data, flags: 0, stream: id, length };
                let frame = Frame { header, is_finish: false };
                room = room.saturating_sub(frame.bytes());
                self.plan.push(frame);
            }
            // Not on a data frame, though that is allowed: Go's reader can see the end before the
            // payload of the same frame, and then misses it.
            if stream.unplanned() == 0 && stream.finish == Finish::Due && room >= HEADER_BYTES {
                stream.finish = Finish::Planned;
                let header = Header { kind: Kind::WindowUpdate, flags: FIN, stream: id, length: 0 };
                self.plan.push(Frame { header, is_finish: true });
                room = room.saturating_sub(HEADER_BYTES);
            }
            self.queue_turn(id);
        }
    }

    // The next frame that carries no data.
    fn next_control(&mut self) -> Option<Header> {
        let session = |kind, flags, length| Header { kind, flags, stream: 0, length };
        if let Some(code) = self.go_away.take() {
            return Some(session(Kind::GoAway, 0, code as u32));
        }
        if let Some(value) = self.pongs.pop_front() {
            return Some(session(Kind::Ping, ACK, value));
        }
        if let Some(value) = self.ping.take() {
            return Some(session(Kind::Ping, SYN, value));
        }
        if let Some(stream) = self.resets.pop_front() {
            return Some(Header { kind: Kind::WindowUpdate, flags: RST, stream, length: 0 });
        }
        while let Some(id) = self.updates.pop_front() {
            if let Some(header) = self.update(id) {
                return Some(header);
            }
        }
        None
    }

    fn update(&mut self, id: StreamId) -> Option<Header> {
        let limit = self.config.receive_window;
        let stream = self.streams.get_mut(&id)?;
        if !std::mem::take(&mut stream.has_update) {
            return None;
        }
        let (flags, opening) = match stream.opening {
            Opening::SynDue => (SYN, Opening::SynSent),
            Opening::AckDue => (ACK, Opening::Open),
            opening => (0, opening),
        };
        stream.opening = opening;
        if flags == 0 && (stream.has_ended || !stream.window.is_due(limit)) {
            return None;
        }
        let length = stream.window.grant(limit);
        Some(Header { kind: Kind::WindowUpdate, flags, stream: id, length })
    }

    fn write_payload(&mut self, header: Header, put: &mut impl FnMut(&[u8])) {
        let low_mark = self.config.low_mark;
        let mut missing = header.length as usize;
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            missing = stream.take(missing, put);
            if stream.queued() <= low_mark && std::mem::take(&mut stream.is_full) {
                self.events.push_back(Event::Writable(header.stream));
            }
        }
        // The stream was reset since the frame was chosen: the peer is to read none of it.
        if missing > 0 {
            put(&vec![0; missing]);
        }
    }

    // Our half of a stream is over.
    fn finished(&mut self, id: StreamId, now: Duration) {
        let close_at = now.saturating_add(self.config.close_timeout);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.outgoing = Outgoing::Done { close_at };
            if stream.has_ended {
                self.remove(id);
            } else {
                self.closes.insert((close_at, id));
            }
        }
    }
}
