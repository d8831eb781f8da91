//! `MuxSession`.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::pieces::{Pieces, put};
use crate::yamux::{Config, Event, Session, Side, StreamId};

// Kind, stream (0 for the session), and what there is to say.
type Told<'py> = (u8, StreamId, Option<Payload<'py>>);

#[derive(IntoPyObject)]
enum Payload<'py> {
    Bytes(Bound<'py, PyBytes>),
    Seconds(f64),
}

/// One end of a yamux connection.
#[pyclass(module = "pyplugin._rust")]
pub(super) struct MuxSession {
    session: Session<PyBackedBytes>,
}

#[pymethods]
impl MuxSession {
    #[classattr]
    const STREAM_OPENED: u8 = 0;
    #[classattr]
    const STREAM_ACKED: u8 = 1;
    #[classattr]
    const DATA: u8 = 2;
    #[classattr]
    const STREAM_FINISHED: u8 = 3;
    #[classattr]
    const STREAM_RESET: u8 = 4;
    #[classattr]
    const WRITABLE: u8 = 5;
    #[classattr]
    const PONG: u8 = 6;
    #[classattr]
    const GO_AWAY: u8 = 7;
    #[classattr]
    const SESSION_FAILED: u8 = 8;

    #[new]
    #[pyo3(signature = (
        is_client, now, /, *, receive_window=262_144, accept_backlog=256, stream_limit=65_536,
        low_mark=65_536, keep_alive=30.0, ping_timeout=10.0, open_timeout=75.0, close_timeout=300.0,
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python names them")]
    fn new(
        is_client: bool,
        now: f64,
        receive_window: u32,
        accept_backlog: usize,
        stream_limit: usize,
        low_mark: usize,
        keep_alive: Option<f64>,
        ping_timeout: f64,
        open_timeout: f64,
        close_timeout: f64,
    ) -> PyResult<Self> {
        let side = if is_client { Side::Client } else { Side::Server };
        let config = Config {
            receive_window,
            accept_backlog,
            stream_limit,
            keep_alive: keep_alive.map(seconds).transpose()?,
            ping_timeout: seconds(ping_timeout)?,
            open_timeout: seconds(open_timeout)?,
            close_timeout: seconds(close_timeout)?,
            low_mark,
        };
        Ok(Self { session: Session::new(side, config, seconds(now)?) })
    }

    #[pyo3(signature = (data, now, /))]
    // Borrowed for an event at a time, here and below: to make a list may collect garbage, and what
    // finalizers do with streams comes here.
    fn receive<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyBytes>,
        now: f64,
    ) -> PyResult<Vec<Told<'py>>> {
        let (py, now) = (data.py(), seconds(now)?);
        let mut chunk = data.as_bytes();
        let mut events = Vec::new();
        // Frames of one stream that came at once become one piece of it.
        let mut pieces = Pieces::default();
        loop {
            let event = match slf.try_borrow_mut()?.session.receive(&mut chunk, now) {
                Ok(event) => event,
                Err(error) if events.is_empty() && pieces.is_empty() => return Err(error.into()),
                // Those of a session that has just failed end with that; the next call raises it.
                Err(_) => None,
            };
            if let Some(Event::Data(id, piece)) = event {
                events.extend(pieces.push(py, id, piece)?.map(of_data));
                continue;
            }
            events.extend(pieces.take(py)?.map(of_data));
            match event {
                Some(event) => events.push(told(py, event)),
                None => return Ok(events),
            }
        }
    }

    fn receive_eof<'py>(slf: &Bound<'py, Self>) -> PyResult<Vec<Told<'py>>> {
        slf.try_borrow_mut()?.session.receive_eof();
        Self::events(slf)
    }

    #[pyo3(signature = (max_bytes, now, /))]
    fn take_out<'py>(
        &mut self,
        py: Python<'py>,
        max_bytes: usize,
        now: f64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let Some(transmit) = self.session.poll_transmit(max_bytes, seconds(now)?) else {
            return Ok(PyBytes::new(py, b""));
        };
        PyBytes::new_with(py, transmit.len(), |mut room| {
            transmit.write(|bytes| room = put(std::mem::take(&mut room), bytes));
            Ok(())
        })
    }

    fn events<'py>(slf: &Bound<'py, Self>) -> PyResult<Vec<Told<'py>>> {
        let mut session = slf.try_borrow_mut()?;
        let events: Vec<_> = std::iter::from_fn(|| session.session.poll_event()).collect();
        drop(session);
        Ok(events.into_iter().map(|event| told(slf.py(), event)).collect())
    }

    #[pyo3(signature = (now, /))]
    fn open_stream(&mut self, now: f64) -> PyResult<StreamId> {
        Ok(self.session.open(seconds(now)?)?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn accept(&mut self, stream_id: StreamId) -> PyResult<()> {
        Ok(self.session.accept(stream_id)?)
    }

    #[pyo3(signature = (stream_id, data, /))]
    fn send(&mut self, stream_id: StreamId, data: Bound<'_, PyBytes>) -> PyResult<usize> {
        Ok(self.session.send(stream_id, data.into())?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn queued(&self, stream_id: StreamId) -> usize {
        self.session.queued(stream_id)
    }

    #[pyo3(signature = (stream_id, length, /))]
    fn consume(&mut self, stream_id: StreamId, length: usize) -> PyResult<()> {
        Ok(self.session.consume(stream_id, length)?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn finish(&mut self, stream_id: StreamId) -> PyResult<()> {
        Ok(self.session.finish(stream_id)?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn reset(&mut self, stream_id: StreamId) -> PyResult<()> {
        Ok(self.session.reset(stream_id)?)
    }

    fn go_away(&mut self) -> PyResult<()> {
        Ok(self.session.go_away()?)
    }

    #[pyo3(signature = (now, /))]
    fn ping(&mut self, now: f64) -> PyResult<()> {
        Ok(self.session.ping(seconds(now)?)?)
    }

    fn next_timeout(&self) -> Option<f64> {
        self.session.poll_timeout().map(|deadline| deadline.as_secs_f64())
    }

    #[pyo3(signature = (now, /))]
    fn handle_timeout<'py>(slf: &Bound<'py, Self>, now: f64) -> PyResult<Vec<Told<'py>>> {
        slf.try_borrow_mut()?.session.handle_timeout(seconds(now)?)?;
        Self::events(slf)
    }

    fn failure(&self) -> Option<PyErr> {
        self.session.failure().map(PyErr::from)
    }

    #[getter]
    fn stream_count(&self) -> usize {
        self.session.stream_count()
    }
}

fn told<'py>(py: Python<'py>, event: Event<'_>) -> Told<'py> {
    match event {
        Event::StreamOpened(id) => (MuxSession::STREAM_OPENED, id, None),
        Event::StreamAcked(id) => (MuxSession::STREAM_ACKED, id, None),
        Event::Data(id, bytes) => of_data((id, PyBytes::new(py, bytes))),
        Event::StreamFinished(id) => (MuxSession::STREAM_FINISHED, id, None),
        Event::StreamReset(id) => (MuxSession::STREAM_RESET, id, None),
        Event::Writable(id) => (MuxSession::WRITABLE, id, None),
        Event::Pong(after) => (MuxSession::PONG, 0, Some(Payload::Seconds(after.as_secs_f64()))),
        Event::GoAway => (MuxSession::GO_AWAY, 0, None),
        Event::SessionFailed(_) => (MuxSession::SESSION_FAILED, 0, None),
    }
}

fn of_data((id, data): (StreamId, Bound<'_, PyBytes>)) -> Told<'_> {
    (MuxSession::DATA, id, Some(Payload::Bytes(data)))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("not a time in seconds: {value}")))
}
