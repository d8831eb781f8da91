//! What comes from the peer.

use super::connection::Connection;
use super::error::{ConnectionError, ErrorCode, Fault};
use super::event::Event;
use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, GOAWAY, HEADER_BYTES, HEADERS,
    Header, PADDED, PING, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    number,
};
use super::rules::{self, Role};
use super::stream::{Half, How};
use super::{PREFACE, Side, StreamId};

// How many frames a header block may be in.
const CONTINUATIONS: usize = 1024;
// How many streams a peer may open and reset in one chunk: each is work for whoever answers.
const RAPID_RESETS: usize = 1024;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Intake {
    // How much of the client's preface came, and whether the peer's first SETTINGS did.
    preface: usize,
    is_settled: bool,
    // The header under way, and how much of it came.
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    // The stream of the frame that is looked at.
    stream: StreamId,
    // The frame under way, and what came of one that is looked at as a whole.
    body: Option<Body>,
    partial: Vec<u8>,
    block: Option<Block>,
    // The last stream before this chunk, and how many of its own were reset.
    last_before: StreamId,
    rapid_resets: usize,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Whole(Header),
    Skipped(u32),
    Data(Payload),
}

// A DATA frame.
#[derive(Debug, Clone, Copy)]
struct Payload {
    stream: StreamId,
    // How much of it has not come.
    left: u32,
    // Its first byte, which has not come, is how long its padding is.
    is_padded: bool,
    // How much of it is padding.
    padding: u32,
    is_last: bool,
}

// A header block that goes on in other frames.
#[derive(Debug)]
struct Block {
    opening: Opening,
    bytes: Vec<u8>,
    frames: usize,
}

// What the frame says that a header block begins in.
#[derive(Debug, Clone, Copy)]
struct Opening {
    stream: StreamId,
    is_last: bool,
    depends_on_itself: bool,
}

enum Step<'a> {
    // There is no more to look at.
    Starved,
    On,
    Data(StreamId, &'a [u8]),
}

impl Connection {
    /// Takes what came, up to the next event, off the front of `chunk`; to be called until it gives
    /// no event. Data is lent from the chunk as it comes, in pieces of its frame.
    ///
    /// # Errors
    ///
    /// The connection is over, and that was told.
    pub fn receive<'a>(
        &mut self,
        chunk: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            self.check()?;
            match self.step(chunk) {
                Ok(Step::On) => {}
                Ok(Step::Data(id, bytes)) => return Ok(Some(Event::Data(id, bytes))),
                Ok(Step::Starved) => {
                    self.intake.last_before = self.last_id;
                    self.intake.rapid_resets = 0;
                    return Ok(None);
                }
                Err(fault) => self.punish(self.intake.stream, fault),
            }
        }
    }

    fn step<'a>(&mut self, chunk: &mut &'a [u8]) -> Result<Step<'a>, Fault> {
        if self.side == Side::Server
            && let Some(expected) = PREFACE.get(self.intake.preface..)
            && !expected.is_empty()
        {
            let Some(piece) = take(chunk, expected.len()) else { return Ok(Step::Starved) };
            self.intake.preface = self.intake.preface.saturating_add(piece.len());
            if !expected.starts_with(piece) {
                return broken("a connection that does not begin as one of HTTP/2");
            }
            return Ok(Step::On);
        }
        match self.intake.body.take() {
            None => {
                let Some(header) = self.receive_header(chunk) else { return Ok(Step::Starved) };
                self.intake.stream = header.stream;
                self.begin(header)?;
                Ok(Step::On)
            }
            Some(Body::Whole(header)) => self.receive_whole(header, chunk),
            Some(Body::Skipped(left)) => {
                let piece = take(chunk, left as usize);
                let left = left.saturating_sub(length(piece.unwrap_or_default()));
                self.intake.body = (left > 0).then_some(Body::Skipped(left));
                Ok(if piece.is_some() || left == 0 { Step::On } else { Step::Starved })
            }
            Some(Body::Data(payload)) => self.receive_payload(payload, chunk),
        }
    }

    fn receive_header(&mut self, chunk: &mut &[u8]) -> Option<Header> {
        let intake = &mut self.intake;
        if intake.header_bytes == 0
            && let Some((header, rest)) = chunk.split_first_chunk()
        {
            *chunk = rest;
            return Some(Header::decode(*header));
        }
        let room = intake.header.get_mut(intake.header_bytes..)?;
        let piece = take(chunk, room.len())?;
        room.get_mut(..piece.len())?.copy_from_slice(piece);
        intake.header_bytes = intake.header_bytes.saturating_add(piece.len());
        if intake.header_bytes < HEADER_BYTES {
            return None;
        }
        intake.header_bytes = 0;
        Some(Header::decode(intake.header))
    }

    fn begin(&mut self, header: Header) -> Result<(), Fault> {
        if header.length > FRAME_BYTES {
            return Err(Fault::Connection(ErrorCode::FrameSizeError, "a frame longer than 16 KiB"));
        }
        if !self.intake.is_settled && (header.kind != SETTINGS || header.has(ACK)) {
            return broken("a first frame that is not SETTINGS");
        }
        if let Some(block) = &self.intake.block
            && (header.kind != CONTINUATION || header.stream != block.opening.stream)
        {
            return broken("another frame inside of a header block");
        }
        match header.kind {
            DATA => return self.begin_data(header),
            HEADERS..=CONTINUATION => self.intake.body = Some(Body::Whole(header)),
            _ => self.intake.body = Some(Body::Skipped(header.length)),
        }
        Ok(())
    }

    fn begin_data(&mut self, header: Header) -> Result<(), Fault> {
        let Header { length, stream, .. } = header;
        if stream == 0 {
            return broken("data of no stream");
        }
        if header.has(PADDED) && length == 0 {
            return Err(Fault::Connection(ErrorCode::FrameSizeError, "a padded frame of no bytes"));
        }
        self.window.admit(length).ok_or(Fault::Connection(
            ErrorCode::FlowControlError,
            "more data than the connection's window",
        ))?;
        let is_padded = header.has(PADDED);
        let is_last = header.has(END_STREAM);
        let admitted = self.admit(stream, length).and_then(|is_wanted| {
            if is_wanted && !is_padded {
                self.expect(stream, length)?;
            }
            Ok(is_wanted)
        });
        if !matches!(admitted, Ok(true)) {
            self.pass(stream, length);
            self.intake.body = Some(Body::Skipped(length));
            return admitted.map(drop);
        }
        let payload = Payload { stream, left: length, is_padded, padding: 0, is_last };
        self.intake.body = Some(Body::Data(payload));
        Ok(())
    }

    // Whether somebody reads this data.
    fn admit(&mut self, id: StreamId, length: u32) -> Result<bool, Fault> {
        let Some(stream) = self.streams.get_mut(&id) else {
            if self.is_idle(id) {
                return broken("data of a stream that was not opened");
            }
            self.check_late(id)?;
            return Ok(false);
        };
        match stream.receiving {
            Half::Ended => Err(CLOSED),
            Half::Headers => Err(malformed("data before headers")),
            Half::Data => {
                stream.window.admit(length).ok_or(Fault::Stream(
                    ErrorCode::FlowControlError,
                    "more data than the stream's window",
                ))?;
                Ok(true)
            }
        }
    }

    // What comes for a stream that is gone: nothing to speak of, where it may have been on its way.
    fn check_late(&self, id: StreamId) -> Result<(), Fault> {
        match self.past.find(id) {
            Some(How::Ended) => Err(Fault::Connection(
                ErrorCode::StreamClosed,
                "a frame for a stream that the peer had ended",
            )),
            Some(How::ResetByPeer) => Err(CLOSED),
            Some(How::ResetByUs) | None => Ok(()),
        }
    }

    // So much data comes, as far as content-length knows.
    fn expect(&mut self, id: StreamId, length: u32) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(missing) = &mut stream.missing else { return Ok(()) };
        *missing = missing
            .checked_sub(u64::from(length))
            .ok_or(malformed("more data than its content-length"))?;
        Ok(())
    }

    // Nobody reads so much of what came: it is as good as read.
    fn pass(&mut self, id: StreamId, length: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && let Some(more) = stream.window.acknowledge(length)
            && stream.can_receive()
        {
            self.write_update(id, more);
        }
        let more = self.window.acknowledge(length).unwrap_or(0);
        self.write_update(0, more);
    }

    fn receive_payload<'a>(
        &mut self,
        mut payload: Payload,
        chunk: &mut &'a [u8],
    ) -> Result<Step<'a>, Fault> {
        let id = payload.stream;
        if payload.is_padded {
            let Some((padding, rest)) = chunk.split_first() else {
                self.intake.body = Some(Body::Data(payload));
                return Ok(Step::Starved);
            };
            *chunk = rest;
            payload.is_padded = false;
            payload.padding = u32::from(*padding);
            payload.left =
                payload.left.checked_sub(payload.padding.saturating_add(1)).ok_or(TOO_PADDED)?;
            self.pass(id, payload.padding.saturating_add(1));
            if let Err(fault) = self.expect(id, payload.left) {
                self.pass(id, payload.left);
                let left = payload.left.saturating_add(payload.padding);
                self.intake.body = Some(Body::Skipped(left));
                return Err(fault);
            }
        }
        let piece = take(chunk, payload.left as usize);
        payload.left = payload.left.saturating_sub(length(piece.unwrap_or_default()));
        if payload.left > 0 {
            self.intake.body = Some(Body::Data(payload));
        } else {
            self.intake.body = (payload.padding > 0).then_some(Body::Skipped(payload.padding));
        }
        let is_open = self.streams.contains_key(&id);
        if payload.left == 0
            && payload.is_last
            && is_open
            && let Err(fault) = self.end(id)
        {
            // Behind the data, which is told in any case: other pieces of it were.
            self.punish(id, fault);
        }
        match piece {
            Some(piece) if is_open => Ok(Step::Data(id, piece)),
            Some(piece) => {
                // The stream was reset since the header came.
                self.pass(id, length(piece));
                Ok(Step::On)
            }
            None if payload.left == 0 => Ok(Step::On),
            None => Ok(Step::Starved),
        }
    }

    fn receive_whole<'a>(
        &mut self,
        header: Header,
        chunk: &mut &'a [u8],
    ) -> Result<Step<'a>, Fault> {
        let wanted = header.length as usize;
        if self.intake.partial.is_empty()
            && let Some((payload, rest)) = chunk.split_at_checked(wanted)
        {
            *chunk = rest;
            self.handle(header, payload)?;
            return Ok(Step::On);
        }
        let partial = &mut self.intake.partial;
        let piece = take(chunk, wanted.saturating_sub(partial.len())).unwrap_or_default();
        partial.extend_from_slice(piece);
        if partial.len() < wanted {
            self.intake.body = Some(Body::Whole(header));
            return Ok(Step::Starved);
        }
        let payload = std::mem::take(partial);
        self.handle(header, &payload)?;
        Ok(Step::On)
    }

    fn handle(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let id = header.stream;
        match header.kind {
            HEADERS => return self.handle_headers(header, payload),
            CONTINUATION => return self.handle_continuation(header, payload),
            PUSH_PROMISE => return broken("a PUSH_PROMISE frame"),
            PRIORITY => {
                let Some((dependency, [_])) = payload.split_first_chunk::<4>() else {
                    return Err(self.of_stream(id, ErrorCode::FrameSizeError, WRONG_LENGTH));
                };
                if id == 0 {
                    return broken("a priority of no stream");
                }
                if number(dependency) & 0x7fff_ffff == id {
                    let reason = "a stream that depends on itself";
                    return Err(self.of_stream(id, ErrorCode::ProtocolError, reason));
                }
                return Ok(());
            }
            SETTINGS if header.has(ACK) && !payload.is_empty() => {
                return Err(Fault::Connection(ErrorCode::FrameSizeError, WRONG_LENGTH));
            }
            _ => {}
        }
        let expected = match header.kind {
            RST_STREAM | WINDOW_UPDATE => Some(4),
            PING => Some(8),
            _ => None,
        };
        if expected.is_some_and(|expected| expected != payload.len())
            || (header.kind == GOAWAY && payload.len() < 8)
        {
            return Err(Fault::Connection(ErrorCode::FrameSizeError, WRONG_LENGTH));
        }
        match header.kind {
            RST_STREAM | WINDOW_UPDATE => {
                let is_update = header.kind == WINDOW_UPDATE;
                if (id == 0 && !is_update) || (id != 0 && self.is_idle(id)) {
                    return broken("a frame for a stream that was not opened");
                }
                if is_update {
                    self.handle_update(id, number(payload) & 0x7fff_ffff)
                } else {
                    self.handle_reset(id, number(payload))
                }
            }
            _ if id != 0 => broken("a frame of the connection for a stream"),
            SETTINGS => self.handle_settings(header, payload),
            PING if header.has(ACK) => {
                let payload = payload.first_chunk().copied().unwrap_or_default();
                self.events.push_back(Event::Pong(payload));
                Ok(())
            }
            PING => self.answer(PING, ACK, 0, payload),
            _ => {
                let (last_stream, rest) = payload.split_at_checked(4).unwrap_or_default();
                self.is_refused = true;
                let last_stream = number(last_stream) & 0x7fff_ffff;
                self.events.push_back(Event::GoAway { last_stream, code: number(rest) });
                Ok(())
            }
        }
    }

    // A fault of one stream, as long as there can be a frame to tell of it.
    fn of_stream(&self, id: StreamId, code: ErrorCode, reason: &'static str) -> Fault {
        if id == 0 || self.is_idle(id) {
            return Fault::Connection(code, reason);
        }
        Fault::Stream(code, reason)
    }

    fn handle_settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        if header.has(ACK) {
            return Ok(());
        }
        self.intake.is_settled = true;
        let before = self.peer;
        self.peer.update(payload, self.side)?;
        let change = i64::from(self.peer.window).saturating_sub(i64::from(before.window));
        for stream in self.streams.values_mut() {
            stream.credit.grow(change).ok_or(Fault::Connection(
                ErrorCode::FlowControlError,
                "a value of INITIAL_WINDOW_SIZE that is too large for its streams",
            ))?;
        }
        if self.peer.table_bytes != before.table_bytes {
            self.encoder.resize(self.peer.table_bytes as usize);
        }
        self.answer(SETTINGS, ACK, 0, &[])?;
        self.events.push_back(Event::Settings);
        Ok(())
    }

    fn handle_update(&mut self, id: StreamId, more: u32) -> Result<(), Fault> {
        let fault = |code, reason| {
            if id == 0 { Fault::Connection(code, reason) } else { Fault::Stream(code, reason) }
        };
        let credit = match self.streams.get_mut(&id) {
            _ if id == 0 => &mut self.credit,
            Some(stream) => &mut stream.credit,
            None => return Ok(()),
        };
        if more == 0 {
            return Err(fault(ErrorCode::ProtocolError, "a window that grows by nothing"));
        }
        let is_first = credit
            .grow(i64::from(more))
            .ok_or(fault(ErrorCode::FlowControlError, "a window that grows too large"))?;
        if is_first {
            self.events.push_back(Event::Writable(id));
        }
        Ok(())
    }

    fn handle_reset(&mut self, id: StreamId, code: u32) -> Result<(), Fault> {
        if !self.streams.contains_key(&id) {
            // What comes for it after this was not on its way.
            self.past.reset_by_peer(id);
            return Ok(());
        }
        self.remove(id, How::ResetByPeer);
        if self.side == Side::Server && id > self.intake.last_before {
            self.intake.rapid_resets = self.intake.rapid_resets.saturating_add(1);
            if self.intake.rapid_resets > RAPID_RESETS {
                return Err(Fault::Connection(
                    ErrorCode::EnhanceYourCalm,
                    "too many streams that are reset at once",
                ));
            }
        }
        self.events.push_back(Event::Reset { stream: id, code, by_peer: true });
        Ok(())
    }

    fn handle_headers(&mut self, header: Header, mut payload: &[u8]) -> Result<(), Fault> {
        let short = Fault::Connection(ErrorCode::FrameSizeError, WRONG_LENGTH);
        let stream = header.stream;
        if stream.is_multiple_of(2) || (self.side == Side::Client && self.is_idle(stream)) {
            return broken("headers of a stream that the peer cannot open");
        }
        let mut padding = 0;
        if header.has(PADDED) {
            let (first, rest) = payload.split_first().ok_or(short)?;
            (padding, payload) = (usize::from(*first), rest);
        }
        let mut depends_on_itself = false;
        if header.has(PRIORITIZED) {
            let (priority, rest) = payload.split_first_chunk::<5>().ok_or(short)?;
            depends_on_itself = number(priority) & 0x7fff_ffff == stream;
            payload = rest;
        }
        let end = payload.len().checked_sub(padding).ok_or(TOO_PADDED)?;
        payload = payload.get(..end).unwrap_or_default();
        let opening = Opening { stream, is_last: header.has(END_STREAM), depends_on_itself };
        if header.has(END_HEADERS) {
            return self.handle_block(opening, payload);
        }
        self.intake.block = Some(Block { opening, bytes: payload.to_vec(), frames: 1 });
        Ok(())
    }

    fn handle_continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.intake.block.take() else {
            return broken("a CONTINUATION frame outside of a header block");
        };
        block.frames = block.frames.saturating_add(1);
        let most = self.config.max_header_list.max(FRAME_BYTES) as usize;
        if block.frames > CONTINUATIONS || block.bytes.len().saturating_add(payload.len()) > most {
            return Err(Fault::Connection(
                ErrorCode::EnhanceYourCalm,
                "a header block that is too long",
            ));
        }
        block.bytes.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            return self.handle_block(block.opening, &block.bytes);
        }
        self.intake.block = Some(block);
        Ok(())
    }

    fn handle_block(&mut self, opening: Opening, block: &[u8]) -> Result<(), Fault> {
        let id = opening.stream;
        let limit = self.config.max_header_list as usize;
        // Also of a block that nobody wants: later ones refer to it.
        let headers = self
            .decoder
            .decode(block, limit)
            .map_err(|reason| Fault::Connection(ErrorCode::CompressionError, reason))?;
        let receiving = self.streams.get(&id).map(|stream| stream.receiving);
        let is_new = receiving.is_none() && self.is_idle(id);
        if is_new {
            self.last_id = id;
        }
        match receiving {
            Some(Half::Ended) => return Err(CLOSED),
            None if !is_new => {
                self.check_late(id)?;
                // A server has seen all that were opened, and remembers the last of them.
                if self.side == Side::Server && self.past.find(id).is_none() {
                    return broken("a stream with an id less than that of an earlier one");
                }
                return Ok(());
            }
            _ => {}
        }
        if opening.depends_on_itself {
            return Err(malformed("a stream that depends on itself"));
        }
        let Some(headers) = headers else {
            return Err(Fault::Stream(
                ErrorCode::EnhanceYourCalm,
                "a header list that is too long",
            ));
        };
        let role = match receiving {
            None => Role::Request,
            Some(Half::Headers) => Role::Response,
            _ => Role::Trailers,
        };
        if is_new && self.streams.len() >= self.config.max_streams as usize {
            self.past.note(id, How::ResetByUs);
            let code = ErrorCode::RefusedStream as u32;
            return self.answer(RST_STREAM, 0, id, &code.to_be_bytes());
        }
        let facts = rules::check(&headers, role).map_err(malformed)?;
        match role {
            Role::Trailers if !opening.is_last => {
                return Err(malformed("trailers that do not end their stream"));
            }
            Role::Response if facts.is_informational && opening.is_last => {
                return Err(malformed("an informational answer that ends its stream"));
            }
            Role::Request | Role::Response if opening.is_last && facts.length.unwrap_or(0) > 0 => {
                return Err(malformed(TOO_LITTLE));
            }
            _ => {}
        }
        if facts.is_informational {
            return Ok(());
        }
        let event = match role {
            Role::Request => Event::Request(id, headers),
            Role::Response => Event::Response(id, headers),
            Role::Trailers => Event::Trailers(id, headers),
        };
        if role != Role::Trailers {
            let stream = self.insert(id);
            stream.receiving = Half::Data;
            stream.missing = facts.length;
        }
        self.events.push_back(event);
        if opening.is_last {
            self.end(id)?;
        }
        Ok(())
    }

    // The peer's half of a stream is over.
    fn end(&mut self, id: StreamId) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.missing.is_some_and(|missing| missing > 0) {
            return Err(malformed(TOO_LITTLE));
        }
        stream.receiving = Half::Ended;
        if stream.sending == Half::Ended {
            self.remove(id, How::Ended);
        }
        self.events.push_back(Event::Ended(id));
        Ok(())
    }
}

const TOO_LITTLE: &str = "less data than its content-length";
const WRONG_LENGTH: &str = "a frame of the wrong length";
const TOO_PADDED: Fault =
    Fault::Connection(ErrorCode::ProtocolError, "padding longer than its frame");
const CLOSED: Fault =
    Fault::Stream(ErrorCode::StreamClosed, "a frame for a stream that the peer had ended");

fn broken<T>(reason: &'static str) -> Result<T, Fault> {
    Err(Fault::Connection(ErrorCode::ProtocolError, reason))
}

fn malformed(reason: &'static str) -> Fault {
    Fault::Stream(ErrorCode::ProtocolError, reason)
}

fn length(piece: &[u8]) -> u32 {
    u32::try_from(piece.len()).unwrap_or(u32::MAX)
}

// The next bytes of a chunk, as many as there are.
fn take<'a>(chunk: &mut &'a [u8], most: usize) -> Option<&'a [u8]> {
    let (piece, rest) = chunk.split_at_checked(most).unwrap_or((chunk, &[]));
    *chunk = rest;
    (!piece.is_empty()).then_some(piece)
}
