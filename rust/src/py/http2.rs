//! `Http2Connection`, and what it tells.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyString};

use super::pieces::Pieces;
use crate::http2::{Config, Connection, Event, Headers, Side, StreamId};

// How much data one call sends: what is beyond waits for the transport to have room again.
const CHUNK_BYTES: usize = 256 * 1024;

/// What happened on a connection.
#[pyclass(frozen, module = "pyplugin._rust")]
pub(super) struct Http2Event {
    #[pyo3(get)]
    kind: u8,
    #[pyo3(get)]
    stream_id: StreamId,
    #[pyo3(get)]
    headers: Option<Py<PyList>>,
    #[pyo3(get)]
    data: Option<Py<PyBytes>>,
    #[pyo3(get)]
    flow_controlled_length: usize,
    #[pyo3(get)]
    error_code: u32,
    #[pyo3(get)]
    remote_reset: bool,
    #[pyo3(get)]
    reason: Option<String>,
}

#[pymethods]
impl Http2Event {
    #[classattr]
    const REQUEST: u8 = 0;
    #[classattr]
    const RESPONSE: u8 = 1;
    #[classattr]
    const DATA: u8 = 2;
    #[classattr]
    const TRAILERS: u8 = 3;
    #[classattr]
    const ENDED: u8 = 4;
    #[classattr]
    const RESET: u8 = 5;
    #[classattr]
    const WRITABLE: u8 = 6;
    #[classattr]
    const SETTINGS: u8 = 7;
    #[classattr]
    const PONG: u8 = 8;
    #[classattr]
    const GO_AWAY: u8 = 9;
    #[classattr]
    const FAILED: u8 = 10;

    #[getter]
    fn last_stream_id(&self) -> StreamId {
        self.stream_id
    }

    fn __repr__(&self) -> String {
        format!("Http2Event(kind={}, stream_id={})", self.kind, self.stream_id)
    }
}

/// One end of an HTTP/2 connection.
#[pyclass(module = "pyplugin._rust")]
pub(super) struct Http2Connection {
    connection: Connection,
}

#[pymethods]
impl Http2Connection {
    #[new]
    #[pyo3(signature = (
        is_client, /, *, stream_window=65_535, connection_window=65_535, max_streams=100,
        max_header_list=65_536,
    ))]
    fn new(
        is_client: bool,
        stream_window: u32,
        connection_window: u32,
        max_streams: u32,
        max_header_list: u32,
    ) -> Self {
        let side = if is_client { Side::Client } else { Side::Server };
        let config = Config { stream_window, connection_window, max_streams, max_header_list };
        Self { connection: Connection::new(side, config) }
    }

    #[pyo3(signature = (data, /))]
    // Borrowed for an event at a time: to make a list may collect garbage, and what finalizers do
    // with streams comes here.
    fn receive_data(slf: &Bound<'_, Self>, data: &Bound<'_, PyBytes>) -> PyResult<Vec<Http2Event>> {
        let py = data.py();
        let mut chunk = data.as_bytes();
        let mut events = Vec::new();
        // Frames of one message that came at once become one piece of it.
        let mut pieces = Pieces::default();
        loop {
            let received = slf.try_borrow_mut()?.connection.receive(&mut chunk);
            let event = match received {
                Ok(event) => event,
                Err(error) if events.is_empty() && pieces.is_empty() => return Err(error.into()),
                // That was told.
                Err(_) => None,
            };
            if let Some(Event::Data(id, piece)) = event {
                events.extend(pieces.push(py, id, piece)?.map(of_data));
                continue;
            }
            events.extend(pieces.take(py)?.map(of_data));
            match event {
                Some(event) => events.push(told(py, event)?),
                None => return Ok(events),
            }
        }
    }

    fn data_to_send<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.connection.take_out(|bytes| PyBytes::new(py, bytes))
    }

    #[getter]
    fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    fn get_next_available_stream_id(&self) -> PyResult<StreamId> {
        Ok(self.connection.next_stream_id()?)
    }

    #[pyo3(signature = (stream_id, headers, /, end_stream=false))]
    #[allow(clippy::needless_pass_by_value, reason = "Python's list is taken apart anyway")]
    fn send_headers(
        slf: &Bound<'_, Self>,
        stream_id: StreamId,
        headers: Vec<(PyBackedStr, PyBackedStr)>,
        end_stream: bool,
    ) -> PyResult<()> {
        let fields = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Ok(slf.try_borrow_mut()?.connection.send_headers(stream_id, fields, end_stream)?)
    }

    #[pyo3(signature = (stream_id, data, /, end_stream=false, *, start=0))]
    fn send_data(
        &mut self,
        stream_id: StreamId,
        data: &Bound<'_, PyBytes>,
        end_stream: bool,
        start: usize,
    ) -> PyResult<usize> {
        let rest = data.as_bytes().get(start..).unwrap_or_default();
        let (chunk, later) = rest.split_at_checked(CHUNK_BYTES).unwrap_or((rest, &[]));
        Ok(self.connection.send_data(stream_id, chunk, end_stream && later.is_empty())?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn end_stream(&mut self, stream_id: StreamId) -> PyResult<()> {
        self.connection.send_data(stream_id, &[], true)?;
        Ok(())
    }

    #[pyo3(signature = (stream_id, /, error_code=0))]
    fn reset_stream(&mut self, stream_id: StreamId, error_code: u32) -> PyResult<()> {
        Ok(self.connection.reset(stream_id, error_code)?)
    }

    #[pyo3(signature = (size, stream_id, /))]
    fn acknowledge_received_data(&mut self, size: usize, stream_id: StreamId) -> PyResult<()> {
        Ok(self.connection.acknowledge(stream_id, size)?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn local_flow_control_window(&mut self, stream_id: StreamId) -> PyResult<usize> {
        Ok(self.connection.send_window(stream_id)?)
    }

    #[pyo3(signature = (data, /))]
    fn ping(&mut self, data: [u8; 8]) -> PyResult<()> {
        Ok(self.connection.ping(data)?)
    }

    #[pyo3(signature = (stream_id, /))]
    fn is_open(&self, stream_id: StreamId) -> bool {
        self.connection.is_open(stream_id)
    }

    #[getter]
    fn stream_count(&self) -> usize {
        self.connection.stream_count()
    }
}

fn told(py: Python<'_>, event: Event<'_>) -> PyResult<Http2Event> {
    let plain = |kind, stream_id| Http2Event {
        kind,
        stream_id,
        headers: None,
        data: None,
        flow_controlled_length: 0,
        error_code: 0,
        remote_reset: false,
        reason: None,
    };
    let listed = |kind, id, headers: &Headers| {
        Ok(Http2Event { headers: Some(list(py, headers)?), ..plain(kind, id) })
    };
    let event = match event {
        Event::Request(id, headers) => return listed(Http2Event::REQUEST, id, &headers),
        Event::Response(id, headers) => return listed(Http2Event::RESPONSE, id, &headers),
        Event::Trailers(id, headers) => return listed(Http2Event::TRAILERS, id, &headers),
        Event::Data(id, piece) => of_data((id, PyBytes::new(py, piece))),
        Event::Ended(id) => plain(Http2Event::ENDED, id),
        Event::Reset { stream, code, by_peer } => Http2Event {
            error_code: code,
            remote_reset: by_peer,
            ..plain(Http2Event::RESET, stream)
        },
        Event::Writable(id) => plain(Http2Event::WRITABLE, id),
        Event::Settings => plain(Http2Event::SETTINGS, 0),
        Event::Pong(payload) => Http2Event {
            data: Some(PyBytes::new(py, &payload).unbind()),
            ..plain(Http2Event::PONG, 0)
        },
        Event::GoAway { last_stream, code } => {
            Http2Event { error_code: code, ..plain(Http2Event::GO_AWAY, last_stream) }
        }
        Event::Failed(error) => Http2Event {
            error_code: error.code as u32,
            reason: Some(error.to_string()),
            ..plain(Http2Event::FAILED, error.stream)
        },
    };
    Ok(event)
}

fn of_data((stream_id, data): (StreamId, Bound<'_, PyBytes>)) -> Http2Event {
    Http2Event {
        kind: Http2Event::DATA,
        stream_id,
        headers: None,
        flow_controlled_length: data.as_bytes().len(),
        data: Some(data.unbind()),
        error_code: 0,
        remote_reset: false,
        reason: None,
    }
}

fn list(py: Python<'_>, headers: &Headers) -> PyResult<Py<PyList>> {
    let fields = headers.iter().map(|(name, value)| (text(py, name), text(py, value)));
    Ok(PyList::new(py, fields)?.unbind())
}

// What is no ASCII has no meaning of its own in HTTP: each byte is a character.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().copied().map(char::from).collect::<String>()),
    }
}
