//! The session: what its user calls, and what it knows.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::error::{LocalError, RemoteError, SessionError};
use super::event::Event;
use super::header::{GoAway, HEADER_BYTES};
use super::receive::Payload;
use super::stream::{Finish, Opening, Outgoing, Stream};
use super::timers::KeepAlive;
use super::transmit::Frame;
use super::window::INITIAL_WINDOW;
use super::{Config, Side, StreamId};

// How many answers may wait for a peer that does not read. A peer that keeps the rules has no more
// than its backlog of streams to refuse, and a ping or two.
pub(super) const REFUSALS: usize = 1024;
pub(super) const PONGS: usize = 64;

/// One end of a yamux connection. `B` is what is sent: it is kept until it was, and never copied
/// before.
#[derive(Debug)]
pub struct Session<B> {
    pub(super) side: Side,
    pub(super) config: Config,
    pub(super) streams: HashMap<StreamId, Stream<B>>,
    pub(super) next_id: Option<StreamId>,
    pub(super) failure: Option<SessionError>,
    // What happened and was not told.
    pub(super) events: VecDeque<Event<'static>>,
    // We take no more streams; the peer takes no more.
    pub(super) is_going_away: bool,
    pub(super) is_refused: bool,

    // The header under way, and how much of it came.
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) header_bytes: usize,
    // The data frame under way.
    pub(super) payload: Option<Payload>,

    // Streams of the peer that nobody has accepted, and of ours that it has not.
    pub(super) unaccepted: usize,
    pub(super) unacknowledged: usize,
    // By when ours must be, oldest first.
    pub(super) opens: VecDeque<(Duration, StreamId)>,
    // By when the peer must have finished those that we have.
    pub(super) closes: BTreeSet<(Duration, StreamId)>,
    pub(super) keep_alive: KeepAlive,

    // What is to be sent, in this order. Both queues of streams may name some that are gone.
    pub(super) go_away: Option<GoAway>,
    pub(super) pongs: VecDeque<u32>,
    pub(super) ping: Option<u32>,
    pub(super) resets: VecDeque<StreamId>,
    pub(super) updates: VecDeque<StreamId>,
    pub(super) senders: VecDeque<StreamId>,
    // Frames that were chosen, and not written yet.
    pub(super) plan: Vec<Frame>,
}

impl<B: AsRef<[u8]>> Session<B> {
    /// A session over a connection that is new.
    #[must_use]
    pub fn new(side: Side, mut config: Config, now: Duration) -> Self {
        config.receive_window = config.receive_window.max(INITIAL_WINDOW);
        Self {
            side,
            keep_alive: KeepAlive::new(config.keep_alive, now),
            config,
            streams: HashMap::new(),
            next_id: Some(if side == Side::Client { 1 } else { 2 }),
            failure: None,
            events: VecDeque::new(),
            is_going_away: false,
            is_refused: false,
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            payload: None,
            unaccepted: 0,
            unacknowledged: 0,
            opens: VecDeque::new(),
            closes: BTreeSet::new(),
            go_away: None,
            pongs: VecDeque::new(),
            ping: None,
            resets: VecDeque::new(),
            updates: VecDeque::new(),
            senders: VecDeque::new(),
            plan: Vec::new(),
        }
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<SessionError> {
        self.failure
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// What happened apart from what came.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        self.events.pop_front()
    }

    /// Opens a stream. It can be sent on at once.
    ///
    /// # Errors
    ///
    /// The session is over or going away, too many streams wait to be acknowledged, or no id is
    /// left.
    pub fn open(&mut self, now: Duration) -> Result<StreamId, LocalError> {
        self.check()?;
        if self.is_refused || self.is_going_away {
            return Err(LocalError::GoingAway);
        }
        if self.unacknowledged >= self.config.accept_backlog {
            return Err(LocalError::TooManyUnacknowledged);
        }
        let id = self.next_id.ok_or(LocalError::IdsExhausted)?;
        self.next_id = id.checked_add(2);
        self.streams.insert(id, Stream::new(Opening::SynDue));
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.opens.push_back((now.saturating_add(self.config.open_timeout), id));
        self.queue_update(id);
        Ok(id)
    }

    /// Acknowledges a stream that the peer opened; nothing when it is gone.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn accept(&mut self, id: StreamId) -> Result<(), LocalError> {
        self.check()?;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.opening == Opening::Unaccepted
        {
            stream.opening = Opening::AckDue;
            self.unaccepted = self.unaccepted.saturating_sub(1);
            self.queue_update(id);
        }
        Ok(())
    }

    /// Queues bytes to be sent on a stream, which is accepted thereby.
    ///
    /// Returns how many bytes are queued on it now.
    ///
    /// # Errors
    ///
    /// The session is over, the stream is gone, or our half of it is finished.
    pub fn send(&mut self, id: StreamId, chunk: B) -> Result<usize, LocalError> {
        self.check()?;
        let low_mark = self.config.low_mark;
        let stream = self.streams.get_mut(&id).ok_or(LocalError::NoStream { stream: id })?;
        if stream.finish != Finish::No {
            return Err(LocalError::Finished { stream: id });
        }
        stream.push(chunk);
        let queued = stream.queued();
        stream.is_full |= queued > low_mark;
        if stream.opening == Opening::Unaccepted {
            self.accept(id)?;
        }
        self.queue_turn(id);
        Ok(queued)
    }

    /// How many bytes are queued on a stream.
    #[must_use]
    pub fn queued(&self, id: StreamId) -> usize {
        self.streams.get(&id).map_or(0, Stream::queued)
    }

    /// The reader took so much of a stream's data; nothing when the stream is gone.
    ///
    /// # Errors
    ///
    /// The session is over, or less had come.
    pub fn consume(&mut self, id: StreamId, length: usize) -> Result<(), LocalError> {
        self.check()?;
        let limit = self.config.receive_window;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let held = stream.window.held();
        u32::try_from(length)
            .ok()
            .and_then(|length| stream.window.consume(length))
            .ok_or(LocalError::ConsumedTooMuch { stream: id, held })?;
        if stream.window.is_due(limit) && !stream.has_ended {
            self.queue_update(id);
        }
        Ok(())
    }

    /// Ends our half of a stream behind what is queued; nothing when that was done, or the stream
    /// is gone.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn finish(&mut self, id: StreamId) -> Result<(), LocalError> {
        self.accept(id)?;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.finish == Finish::No
        {
            stream.finish = Finish::Due;
            // Go acknowledges no stream that was finished before it was accepted.
            self.forget_open(id);
            self.queue_turn(id);
        }
        Ok(())
    }

    /// Drops a stream, and what is queued on it; nothing when it is gone.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn reset(&mut self, id: StreamId) -> Result<(), LocalError> {
        self.check()?;
        // The peer need not hear of a stream that it knows nothing of.
        if self.remove(id).is_some_and(|stream| stream.opening != Opening::SynDue) {
            self.resets.push_back(id);
        }
        Ok(())
    }

    /// Takes no more streams; those that are there go on.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn go_away(&mut self) -> Result<(), LocalError> {
        self.check()?;
        if !self.is_going_away {
            self.is_going_away = true;
            self.go_away = Some(GoAway::Normal);
        }
        Ok(())
    }

    /// Asks the peer for a sign of life, which must come in time. One question is asked at a time.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn ping(&mut self, now: Duration) -> Result<(), LocalError> {
        self.check()?;
        let value = self.keep_alive.ask(now, self.config.ping_timeout);
        self.ping = value.or(self.ping);
        Ok(())
    }

    /// The connection ended.
    pub fn receive_eof(&mut self) {
        if self.failure.is_none() {
            self.fail(SessionError::Closed);
        }
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        self.failure.map_or(Ok(()), Err)
    }

    pub(super) fn fail(&mut self, error: SessionError) {
        self.failure = Some(error);
        self.streams = HashMap::new();
        self.payload = None;
        self.opens = VecDeque::new();
        self.closes = BTreeSet::new();
        self.pongs = VecDeque::new();
        self.ping = None;
        self.resets = VecDeque::new();
        self.updates = VecDeque::new();
        self.senders = VecDeque::new();
        self.plan = Vec::new();
        self.go_away = error.code();
        self.events.push_back(Event::SessionFailed(error));
    }

    pub(super) fn fail_remote(&mut self, error: RemoteError) {
        self.fail(SessionError::Remote(error));
    }

    pub(super) fn queue_update(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.has_update
            && stream.opening != Opening::Unaccepted
        {
            stream.has_update = true;
            self.updates.push_back(id);
            tidy(&mut self.updates, &mut self.streams, |stream| &mut stream.has_update);
        }
    }

    pub(super) fn queue_turn(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.has_turn
            && stream.can_send()
        {
            stream.has_turn = true;
            self.senders.push_back(id);
            tidy(&mut self.senders, &mut self.streams, |stream| &mut stream.has_turn);
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream<B>> {
        let stream = self.streams.remove(&id)?;
        match stream.opening {
            Opening::SynDue | Opening::SynSent => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.forget_open(id);
            }
            Opening::Unaccepted => self.unaccepted = self.unaccepted.saturating_sub(1),
            Opening::AckDue | Opening::Open => {}
        }
        if let Outgoing::Done { close_at } = stream.outgoing {
            self.closes.remove(&(close_at, id));
        }
        Some(stream)
    }

    pub(super) fn forget_open(&mut self, id: StreamId) {
        if let Some(index) = self.opens.iter().position(|(_, opened)| *opened == id) {
            self.opens.remove(index);
        }
    }
}

// Streams that come and go while nothing is sent leave their ids behind in a queue, some of them
// twice: too many of those are dropped. `is_queued` is a stream's mark of being in it.
fn tidy<B>(
    queue: &mut VecDeque<StreamId>,
    streams: &mut HashMap<StreamId, Stream<B>>,
    is_queued: impl Fn(&mut Stream<B>) -> &mut bool,
) {
    if queue.len() <= streams.len().saturating_mul(2).saturating_add(64) {
        return;
    }
    queue.retain(|id| streams.get_mut(id).is_some_and(|it| std::mem::take(is_queued(it))));
    for id in queue {
        if let Some(stream) = streams.get_mut(id) {
            *is_queued(stream) = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_end() {
        for (side, last) in [(Side::Client, u32::MAX), (Side::Server, u32::MAX.wrapping_sub(1))] {
            let mut session = Session::<Vec<u8>>::new(side, Config::default(), Duration::ZERO);
            session.next_id = Some(last);
            assert_eq!(session.open(Duration::ZERO), Ok(last));
            assert_eq!(session.open(Duration::ZERO), Err(LocalError::IdsExhausted));
        }
    }
}
