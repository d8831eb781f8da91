//! What happens because time passes.

use std::time::Duration;

use super::error::SessionError;
use super::event::Event;
use super::session::Session;

/// The pings of a session, one at a time.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Option<Duration>,
    next: u32,
    // When the next one is due, where none is under way.
    due: Option<Duration>,
    waiting: Option<Waiting>,
}

// What was asked, since when, and till when it must be answered.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    value: u32,
    since: Duration,
    deadline: Duration,
}

impl KeepAlive {
    pub(super) fn new(interval: Option<Duration>, now: Duration) -> Self {
        let due = interval.map(|interval| now.saturating_add(interval));
        Self { interval, next: 0, due, waiting: None }
    }

    /// The number to ask with; `None` when that was done.
    pub(super) fn ask(&mut self, now: Duration, timeout: Duration) -> Option<u32> {
        if self.waiting.is_some() {
            return None;
        }
        let value = self.next;
        self.next = value.wrapping_add(1);
        self.due = None;
        self.waiting = Some(Waiting { value, since: now, deadline: now.saturating_add(timeout) });
        Some(value)
    }

    /// How long the peer took, if that is its answer.
    pub(super) fn answer(&mut self, value: u32, now: Duration) -> Option<Duration> {
        let waiting = self.waiting.take_if(|waiting| waiting.value == value)?;
        self.due = self.interval.map(|interval| now.saturating_add(interval));
        Some(now.saturating_sub(waiting.since))
    }

    fn timeout(&self) -> Option<Duration> {
        self.waiting.map(|waiting| waiting.deadline).or(self.due)
    }
}

impl<B: AsRef<[u8]>> Session<B> {
    /// When [`Session::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.failure.is_some() {
            return None;
        }
        let open = self.opens.front().map(|(deadline, _)| *deadline);
        let close = self.closes.first().map(|(deadline, _)| *deadline);
        [self.keep_alive.timeout(), open, close].into_iter().flatten().min()
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// The session is over, and was before.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), SessionError> {
        self.check()?;
        if self.keep_alive.timeout().is_some_and(|deadline| deadline <= now) {
            if self.keep_alive.waiting.is_some() {
                self.fail(SessionError::PingTimeout);
                return Ok(());
            }
            self.ping = self.keep_alive.ask(now, self.config.ping_timeout);
        }
        if let Some((deadline, stream)) = self.opens.front()
            && *deadline <= now
        {
            self.fail(SessionError::OpenTimeout { stream: *stream });
            return Ok(());
        }
        while let Some((deadline, id)) = self.closes.first().copied()
            && deadline <= now
        {
            self.remove(id);
            self.resets.push_back(id);
            self.events.push_back(Event::StreamReset(id));
        }
        Ok(())
    }
}
