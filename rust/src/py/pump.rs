//! The log pump: `LogReader`, `LogQueue` and `LogSource`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::batches::LogBatch;
use super::descriptor::duplicate;
use super::handlers::or_report;
use super::records::{LoggerSink, enabled_for};
use crate::forward::{Encoder, Format, Target};
use crate::hclog::Level;
use crate::hclog::batch::{Batch, LogStream};
use crate::pump::{Event, Progress, Queue, READ_BYTES, Reader, Sink, Source, SourceId};

// Where the lines of a source go that are not forwarded, and what they are copied to.
struct Outlet {
    source: Arc<Source>,
    reader: Arc<Reader>,
    sink: PythonSink,
    copy: Option<Py<PyAny>>,
    least: Least,
}

// The least level that is wanted.
enum Least {
    Fixed(Level),
    // That which this logger is enabled for now.
    Followed(Py<PyAny>),
}

enum PythonSink {
    Nowhere,
    Logger(LoggerSink),
    Batches { call: Py<PyAny>, plugin: Py<PyString> },
}

impl Outlet {
    fn refresh(&self, py: Python<'_>) -> PyResult<Level> {
        let least = match &self.least {
            Least::Fixed(level) => *level,
            Least::Followed(logger) => enabled_for(logger.bind(py))?,
        };
        self.source.set_least(least);
        Ok(least)
    }

    fn deliver(
        &self,
        py: Python<'_>,
        batch: &mut Batch,
        deadline: Instant,
        report: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !batch.copy.is_empty() {
            let bytes = PyBytes::new(py, &std::mem::take(&mut batch.copy));
            if let Some(copy) = &self.copy {
                let result = copy.bind(py).call_method1(intern!(py, "write"), (bytes,));
                or_report(result.map(drop), report)?;
            }
        }
        let least = self.refresh(py)?;
        match &self.sink {
            PythonSink::Nowhere => batch.used = batch.len(),
            PythonSink::Logger(sink) => sink.deliver(py, batch, least, deadline, report)?,
            PythonSink::Batches { call, plugin } => {
                let batch = std::mem::take(batch);
                if !batch.is_empty() {
                    let batch = LogBatch::new(batch, plugin.clone_ref(py));
                    or_report(call.bind(py).call1((batch,)).map(drop), report)?;
                }
            }
        }
        Ok(())
    }
}

/// The thread that reads for all loops of the process.
#[pyclass(frozen, module = "pyplugin._rust")]
pub(super) struct LogReader {
    reader: Arc<Reader>,
}

#[pymethods]
impl LogReader {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { reader: Arc::new(Reader::new()?) })
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.reader.end());
    }
}

/// What waits for one loop.
#[pyclass(frozen, module = "pyplugin._rust")]
pub(super) struct LogQueue {
    queue: Arc<Queue>,
    outlets: Mutex<HashMap<SourceId, Arc<Outlet>>>,
    buffer: Mutex<Vec<u8>>,
}

#[pymethods]
impl LogQueue {
    #[new]
    #[pyo3(signature = (has_waiter, /))]
    fn new(has_waiter: bool) -> PyResult<Self> {
        Ok(Self {
            queue: Queue::new(has_waiter)?,
            outlets: Mutex::default(),
            buffer: Mutex::new(vec![0; READ_BYTES]),
        })
    }

    #[cfg(unix)]
    fn fileno(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.queue.sleeper().as_raw_fd()
    }

    fn wait(&self, py: Python<'_>) -> bool {
        py.detach(|| self.queue.wait())
    }

    fn close(&self) {
        self.queue.end();
    }

    #[pyo3(signature = (budget, report, /))]
    fn drain(&self, py: Python<'_>, budget: f64, report: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.queue.sleep();
        let deadline = Instant::now()
            .checked_add(Duration::try_from_secs_f64(budget).unwrap_or_default())
            .ok_or_else(|| PyValueError::new_err("the budget is too long"))?;
        while let Some((id, mut batch)) = self.queue.take() {
            let outlet = lock(&self.outlets).get(&id).map(Arc::clone);
            if let Some(outlet) = outlet {
                outlet.deliver(py, &mut batch, deadline, report)?;
                if batch.used < batch.len() {
                    self.queue.put_back(id, batch);
                }
                if self.queue.restarts(id) {
                    outlet.reader.restart(&outlet.source)?;
                }
            }
            if Instant::now() >= deadline {
                return Ok(!self.queue.is_empty());
            }
        }
        Ok(false)
    }

    fn events(&self) -> Vec<(SourceId, u8, Option<i32>)> {
        let events = self.queue.events().into_iter();
        events
            .map(|(id, event)| match event {
                Event::Returned => (id, 0, None),
                Event::Ended => (id, 1, None),
                Event::Failed(error) => (id, 2, error.raw_os_error()),
            })
            .collect()
    }
}

/// A descriptor that lines are forwarded to.
#[pyclass(frozen, weakref, module = "pyplugin._rust")]
pub(super) struct LogTarget {
    target: Arc<Mutex<Target>>,
}

#[pymethods]
impl LogTarget {
    #[new]
    #[pyo3(signature = (descriptor, /))]
    fn new(descriptor: isize) -> PyResult<Self> {
        Ok(Self { target: Arc::new(Mutex::new(Target::new(duplicate(descriptor)?))) })
    }
}

/// The stderr of one plugin.
#[pyclass(frozen, module = "pyplugin._rust")]
pub(super) struct LogSource {
    outlet: Arc<Outlet>,
    queue: Py<LogQueue>,
}

#[pymethods]
impl LogSource {
    #[new]
    #[pyo3(signature = (reader, queue, descriptor, plugin, limit, level, *, logger, sink, copy, forward))]
    #[allow(clippy::too_many_arguments, reason = "Python names them")]
    fn new(
        py: Python<'_>,
        reader: &LogReader,
        queue: Bound<'_, LogQueue>,
        descriptor: isize,
        plugin: Bound<'_, PyString>,
        limit: usize,
        level: Bound<'_, PyAny>,
        logger: Option<Py<PyAny>>,
        sink: Option<Py<PyAny>>,
        copy: Option<Py<PyAny>>,
        forward: Option<(PyRef<'_, LogTarget>, &str)>,
    ) -> PyResult<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let pipe = duplicate(descriptor)?;
        let (lines, is_verbatim) = match forward {
            None => (Sink::Queue, false),
            Some((target, format)) => {
                let format = named_format(format)?;
                let encoder = Box::new(Encoder::new(format, plugin.to_str()?));
                let target = Arc::clone(&target.target);
                (Sink::Forward(encoder, target), format == Format::Verbatim)
            }
        };
        let sink = match (sink, logger) {
            (Some(call), _) => PythonSink::Batches { call, plugin: plugin.unbind() },
            (None, Some(logger)) => PythonSink::Logger(LoggerSink::new(py, logger)?),
            (None, None) => PythonSink::Nowhere,
        };
        let (least, is_followed) = match level.cast::<PyString>() {
            Ok(name) => (Least::Fixed(named_level(name.to_str()?)?), false),
            Err(_) => (Least::Followed(level.unbind()), true),
        };
        // Where all lines are wanted as they are, their levels are not.
        let stream = if is_verbatim && matches!(least, Least::Fixed(Level::Trace)) {
            LogStream::unparsed(limit)
        } else {
            LogStream::new(limit)
        };
        let queue_of_loop = &queue.get().queue;
        let source =
            Source::new(id, pipe, queue_of_loop, stream, lines, copy.is_some(), is_followed);
        let reader = Arc::clone(&reader.reader);
        let outlet = Arc::new(Outlet { source, reader, sink, copy, least });
        outlet.refresh(py)?;
        lock(&queue.get().outlets).insert(id, Arc::clone(&outlet));
        Ok(Self { outlet, queue: queue.unbind() })
    }

    #[getter]
    fn id(&self) -> SourceId {
        self.outlet.source.id()
    }

    #[cfg(unix)]
    fn fileno(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.outlet.source.pipe().as_raw_fd()
    }

    fn read(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.outlet.refresh(py)?;
        let mut buffer = lock(&self.queue.get().buffer);
        Ok(match self.outlet.source.read(&mut buffer) {
            Progress::Read(count) => Some(count),
            Progress::Nothing | Progress::Ended => None,
        })
    }

    fn read_to_end(&self, py: Python<'_>) {
        py.detach(|| self.outlet.source.read_to_end());
    }

    fn hand_over(&self) -> PyResult<()> {
        Ok(self.outlet.reader.hand_over(&self.outlet.source)?)
    }

    #[pyo3(signature = (most, /))]
    fn finish(&self, most: usize) -> PyResult<()> {
        if !self.outlet.reader.finish(&self.outlet.source, most)? {
            self.outlet.source.drain(&mut lock(&self.queue.get().buffer), most);
        }
        Ok(())
    }

    fn close(&self) {
        self.outlet.reader.close(&self.outlet.source);
        lock(&self.queue.get().outlets).remove(&self.outlet.source.id());
    }

    fn tail<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.outlet.source.tail().iter().map(|line| PyBytes::new(py, line)).collect()
    }
}

fn named_level(name: &str) -> PyResult<Level> {
    Level::ALL
        .into_iter()
        .find(|level| level.name() == name)
        .ok_or_else(|| PyValueError::new_err(format!("no level of hclog: {name:?}")))
}

fn named_format(name: &str) -> PyResult<Format> {
    match name {
        "hclog" => Ok(Format::Hclog),
        "logfmt" => Ok(Format::Logfmt),
        "verbatim" => Ok(Format::Verbatim),
        _ => Err(PyValueError::new_err(format!("no format of forwarded lines: {name:?}"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
