//! The connection: what it knows, and what becomes of its streams.

use std::collections::{HashMap, VecDeque};

use super::error::{ConnectionError, ErrorCode, Fault, LocalError};
use super::event::Event;
use super::frame::{GOAWAY, Header, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use super::hpack::{Decoder, Encoder};
use super::receive::Intake;
use super::settings::{self, Settings};
use super::stream::{How, Past, Stream};
use super::window::{INITIAL_WINDOW, MAX_WINDOW, ReceiveWindow, SendWindow};
use super::{Config, PREFACE, Side, StreamId};

// How many answers may wait for a peer that does not read: to SETTINGS, to PING, and to streams that
// are refused. A peer that keeps the rules waits for the first of them.
const ANSWERS: usize = 1024;
// How many rules a peer may break on its streams before the connection is over.
const FAULTS: usize = 1024;
// What is kept of the room for what is sent.
const OUT_BYTES: usize = 1 << 16;

/// One end of an HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) side: Side,
    pub(super) config: Config,
    pub(super) failure: Option<ConnectionError>,
    // What happened and was not told.
    pub(super) events: VecDeque<Event<'static>>,

    pub(super) streams: HashMap<StreamId, Stream>,
    pub(super) past: Past,
    // The next stream of ours; the last one of the peer's.
    pub(super) next_id: Option<StreamId>,
    pub(super) last_id: StreamId,
    // The peer takes no more streams.
    pub(super) is_refused: bool,

    pub(super) peer: Settings,
    pub(super) credit: SendWindow,
    pub(super) window: ReceiveWindow,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) intake: Intake,

    // Frames to be sent, how many of them the peer made us send, and what it broke so far.
    pub(super) out: Vec<u8>,
    answers: usize,
    faults: usize,
}

impl Connection {
    /// One end of a connection that is new.
    #[must_use]
    pub fn new(side: Side, mut config: Config) -> Self {
        config.stream_window = config.stream_window.clamp(INITIAL_WINDOW, MAX_WINDOW);
        config.connection_window = config.connection_window.clamp(INITIAL_WINDOW, MAX_WINDOW);
        let mut connection = Self {
            side,
            failure: None,
            events: VecDeque::new(),
            streams: HashMap::new(),
            past: Past::default(),
            next_id: (side == Side::Client).then_some(1),
            last_id: 0,
            is_refused: false,
            peer: Settings::default(),
            credit: SendWindow::new(INITIAL_WINDOW),
            window: ReceiveWindow::new(config.connection_window),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            intake: Intake::default(),
            out: if side == Side::Client { PREFACE.to_vec() } else { Vec::new() },
            answers: 0,
            faults: 0,
            config,
        };
        connection.write(SETTINGS, 0, 0, &settings::payload(&connection.config, side));
        let more = connection.config.connection_window.saturating_sub(INITIAL_WINDOW);
        connection.write_update(0, more);
        connection
    }

    /// Why the connection is over, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<ConnectionError> {
        self.failure
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Whether this stream is there: something can still come or go on it.
    #[must_use]
    pub fn is_open(&self, id: StreamId) -> bool {
        self.streams.contains_key(&id)
    }

    /// Hands on what is to be sent, which may be nothing. Also when the connection is over: the peer
    /// is told why.
    pub fn take_out<R>(&mut self, put: impl FnOnce(&[u8]) -> R) -> R {
        let result = put(&self.out);
        self.out.clear();
        self.out.shrink_to(OUT_BYTES);
        self.answers = 0;
        result
    }

    /// Whether there is anything to be sent.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// So much of a stream's data was read. The stream may be gone since.
    ///
    /// # Errors
    ///
    /// The connection is over, or less had come.
    pub fn acknowledge(&mut self, id: StreamId, length: usize) -> Result<(), LocalError> {
        self.check()?;
        let too_much = LocalError::AcknowledgedTooMuch { stream: id };
        let length = u32::try_from(length).map_err(|_| too_much)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            let more = stream.window.acknowledge(length).ok_or(too_much)?;
            if stream.can_receive() {
                self.write_update(id, more);
            }
        }
        let more = self.window.acknowledge(length).ok_or(too_much)?;
        self.write_update(0, more);
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), ConnectionError> {
        self.failure.map_or(Ok(()), Err)
    }

    pub(super) fn is_idle(&self, id: StreamId) -> bool {
        let is_ours = self.side == Side::Client;
        let was_opened = match self.next_id {
            Some(next) if is_ours => id < next,
            None if is_ours => true,
            _ => id <= self.last_id,
        };
        id.is_multiple_of(2) || !was_opened
    }

    pub(super) fn remove(&mut self, id: StreamId, how: How) -> bool {
        self.past.note(id, how);
        self.streams.remove(&id).is_some()
    }

    pub(super) fn write(&mut self, kind: u8, flags: u8, stream: StreamId, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(0);
        self.out.extend_from_slice(&Header { length, kind, flags, stream }.encode());
        self.out.extend_from_slice(payload);
    }

    pub(super) fn write_reset(&mut self, id: StreamId, code: u32) {
        self.write(RST_STREAM, 0, id, &code.to_be_bytes());
    }

    pub(super) fn write_update(&mut self, id: StreamId, more: u32) {
        if more > 0 {
            self.write(WINDOW_UPDATE, 0, id, &more.to_be_bytes());
        }
    }

    /// Writes what the peer asked for.
    pub(super) fn answer(
        &mut self,
        kind: u8,
        flags: u8,
        stream: StreamId,
        payload: &[u8],
    ) -> Result<(), Fault> {
        self.answers = self.answers.saturating_add(1);
        if self.answers > ANSWERS {
            return Err(Fault::Connection(
                ErrorCode::EnhanceYourCalm,
                "frames that ask for answers, and none of these is read",
            ));
        }
        self.write(kind, flags, stream, payload);
        Ok(())
    }

    /// Ends what the peer has broken.
    pub(super) fn punish(&mut self, stream: StreamId, fault: Fault) {
        match fault {
            Fault::Connection(code, reason) => {
                self.fail(ConnectionError { code, stream, reason });
            }
            Fault::Stream(code, reason) => {
                self.faults = self.faults.saturating_add(1);
                if self.faults > FAULTS {
                    let code = ErrorCode::EnhanceYourCalm;
                    self.fail(ConnectionError { code, stream, reason });
                    return;
                }
                if self.remove(stream, How::ResetByUs) {
                    let code = code as u32;
                    self.events.push_back(Event::Reset { stream, code, by_peer: false });
                }
                self.write_reset(stream, code as u32);
            }
        }
    }

    fn fail(&mut self, error: ConnectionError) {
        self.failure = Some(error);
        self.streams = HashMap::new();
        self.intake = Intake::default();
        let payload = [
            &self.last_id.to_be_bytes()[..],
            &(error.code as u32).to_be_bytes(),
            error.reason.as_bytes(),
        ];
        self.write(GOAWAY, 0, 0, &payload.concat());
        self.events.push_back(Event::Failed(error));
    }
}
