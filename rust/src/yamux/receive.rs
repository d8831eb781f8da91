//! What comes from the peer.

use std::time::Duration;

use super::Side;
use super::StreamId;
use super::error::{RemoteError, SessionError};
use super::event::Event;
use super::header::{ACK, FIN, HEADER_BYTES, Header, Kind, RST, SYN};
use super::session::{PONGS, REFUSALS, Session};
use super::stream::{Opening, Outgoing, Stream};

/// The data frame under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload {
    stream: StreamId,
    // How much of it has not come; never 0.
    left: u32,
    // It is of a stream that reads it.
    is_wanted: bool,
    // It has FIN, which is told behind it.
    is_last: bool,
}

impl<B: AsRef<[u8]>> Session<B> {
    /// Takes what came, up to the next event, off the front of `chunk`; to be called until it gives
    /// no event. Data is lent from the chunk as it comes, in pieces of its frame.
    ///
    /// # Errors
    ///
    /// The session is over, and that was told.
    pub fn receive<'a>(
        &mut self,
        chunk: &mut &'a [u8],
        now: Duration,
    ) -> Result<Option<Event<'a>>, SessionError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            self.check()?;
            if let Some(payload) = self.payload {
                let Some(piece) = take(chunk, payload.left as usize) else { return Ok(None) };
                if let Some(event) = self.receive_payload(payload, piece) {
                    return Ok(Some(event));
                }
            } else {
                let Some(header) = self.receive_header(chunk) else { return Ok(None) };
                let result = Header::decode(header).and_then(|header| self.handle(header, now));
                if let Err(error) = result {
                    self.fail_remote(error);
                }
            }
        }
    }

    fn receive_header(&mut self, chunk: &mut &[u8]) -> Option<[u8; HEADER_BYTES]> {
        if self.header_bytes == 0
            && let Some((header, rest)) = chunk.split_first_chunk()
        {
            *chunk = rest;
            return Some(*header);
        }
        let room = self.header.get_mut(self.header_bytes..)?;
        let piece = take(chunk, room.len())?;
        room.get_mut(..piece.len())?.copy_from_slice(piece);
        self.header_bytes = self.header_bytes.saturating_add(piece.len());
        if self.header_bytes < HEADER_BYTES {
            return None;
        }
        self.header_bytes = 0;
        Some(self.header)
    }

    fn receive_payload<'a>(&mut self, mut payload: Payload, piece: &'a [u8]) -> Option<Event<'a>> {
        let id = payload.stream;
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        payload.left = payload.left.saturating_sub(length);
        // A stream that was reset since the header came reads no more.
        let is_wanted = payload.is_wanted && self.streams.contains_key(&id);
        let is_over = payload.left == 0;
        self.payload = (!is_over).then_some(payload);
        if is_over && payload.is_last && is_wanted {
            self.end(id);
        }
        is_wanted.then_some(Event::Data(id, piece))
    }

    fn handle(&mut self, header: Header, now: Duration) -> Result<(), RemoteError> {
        match header.kind {
            Kind::Data | Kind::WindowUpdate => return self.handle_stream(header),
            Kind::Ping if header.has(SYN) => {
                // More than there should be are left without an answer.
                if self.pongs.len() < PONGS {
                    self.pongs.push_back(header.length);
                }
            }
            Kind::Ping => {
                if let Some(round_trip) = self.keep_alive.answer(header.length, now) {
                    self.events.push_back(Event::Pong(round_trip));
                }
            }
            Kind::GoAway => match header.length {
                0 if self.is_refused => {}
                0 => {
                    self.is_refused = true;
                    self.events.push_back(Event::GoAway);
                }
                code => self.fail(SessionError::GaveUp { code }),
            },
        }
        Ok(())
    }

    fn handle_stream(&mut self, header: Header) -> Result<(), RemoteError> {
        let id = header.stream;
        let is_data = header.kind == Kind::Data;
        if id == 0 {
            return Err(RemoteError::NoStream);
        }
        if header.has(SYN) {
            self.handle_syn(id)?;
        }
        let payload = |is_wanted| {
            let is_last = header.has(FIN);
            Payload { stream: id, left: header.length, is_wanted, is_last }
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            // What was on its way when the stream was reset, which cannot be more than a window.
            let window = self.config.receive_window;
            if is_data && header.length > window {
                return Err(RemoteError::WindowExceeded {
                    stream: id,
                    window,
                    found: header.length,
                });
            }
            self.payload = (is_data && header.length > 0).then(|| payload(false));
            return Ok(());
        };
        let is_read = !stream.has_ended && !header.has(RST);
        if is_data {
            stream.window.admit(header.length).ok_or(RemoteError::WindowExceeded {
                stream: id,
                window: stream.window.left(),
                found: header.length,
            })?;
        } else {
            stream.credit.grow(header.length).ok_or(RemoteError::WindowOverflow {
                stream: id,
                window: stream.credit.left(),
                found: header.length,
            })?;
        }
        if header.has(FIN) && stream.has_ended {
            return Err(RemoteError::FinishedTwice { stream: id });
        }
        if is_data && header.length > 0 {
            self.payload = Some(payload(is_read));
        }
        if header.has(ACK) && stream.opening == Opening::SynSent {
            stream.opening = Opening::Open;
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            self.forget_open(id);
            self.events.push_back(Event::StreamAcked(id));
        }
        if header.has(RST) {
            self.remove(id);
            self.events.push_back(Event::StreamReset(id));
            return Ok(());
        }
        if header.has(FIN) && self.payload.is_none() {
            self.end(id);
        }
        self.queue_turn(id);
        Ok(())
    }

    fn handle_syn(&mut self, id: StreamId) -> Result<(), RemoteError> {
        if id.is_multiple_of(2) != (self.side == Side::Client) {
            return Err(RemoteError::Parity { stream: id });
        }
        if self.streams.contains_key(&id) {
            return Err(RemoteError::Duplicate { stream: id });
        }
        let refusals = self.resets.len();
        if refusals >= REFUSALS {
            return Err(RemoteError::Flood { refusals });
        }
        if self.is_going_away
            || self.unaccepted >= self.config.accept_backlog
            || self.streams.len() >= self.config.stream_limit
        {
            self.resets.push_back(id);
            return Ok(());
        }
        self.streams.insert(id, Stream::new(Opening::Unaccepted));
        self.unaccepted = self.unaccepted.saturating_add(1);
        self.events.push_back(Event::StreamOpened(id));
        Ok(())
    }

    // The peer's half of a stream is over.
    fn end(&mut self, id: StreamId) {
        self.events.push_back(Event::StreamFinished(id));
        self.forget_open(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.has_ended = true;
            if matches!(stream.outgoing, Outgoing::Done { .. }) {
                self.remove(id);
            }
        }
    }
}

// The next bytes of a chunk, as many as there are.
fn take<'a>(chunk: &mut &'a [u8], most: usize) -> Option<&'a [u8]> {
    let (piece, rest) = chunk.split_at_checked(most).unwrap_or((chunk, &[]));
    *chunk = rest;
    (!piece.is_empty()).then_some(piece)
}
