//! Records of a batch as `logging.LogRecord`s, handed to a logger.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};

use super::fields::decode_fields;
use crate::hclog::batch::Batch;
use crate::hclog::{Level, Record};

// How many records of a plugin are handed on before it is another's turn.
const QUANTUM: usize = 64;

/// A logger that gets the records of one plugin.
pub(super) struct LoggerSink {
    logger: Py<PyAny>,
    // What records of each level have in common, by `Level`; refreshed before it is used.
    templates: Vec<Py<PyDict>>,
    // The time that `relativeCreated` counts from, in seconds.
    start: f64,
}

impl LoggerSink {
    pub(super) fn new(py: Python<'_>, logger: Py<PyAny>) -> PyResult<Self> {
        let name = logger.bind(py).getattr(intern!(py, "name"))?;
        let mut templates = Vec::new();
        for level in Level::ALL {
            let template = python(py)?.template.bind(py).call1((&name, level.name()))?;
            templates.push(template.cast_into::<PyDict>()?.unbind());
        }
        let template = python(py)?.template.bind(py).call1((&name, Level::Info.name()))?;
        let created: f64 = template.get_item("created")?.extract()?;
        let relative: f64 = template.get_item("relativeCreated")?.extract()?;
        Ok(Self { logger, templates, start: created - relative / 1000.0 })
    }

    /// Hands on the next records of `batch`: few enough for the others to get their turn, and none
    /// after `deadline`. What a handler raises goes to `report`.
    pub(super) fn deliver(
        &self,
        py: Python<'_>,
        batch: &mut Batch,
        least: Level,
        deadline: Instant,
        report: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let logger = self.logger.bind(py);
        let way = Way::of(logger)?;
        let mut maker = Maker::new(py, self)?;
        let end = batch.used.saturating_add(QUANTUM).min(batch.len());
        if let Way::Handler { handler, .. } = &way {
            handler.call_method0(intern!(py, "acquire"))?;
        }
        while batch.used < end {
            let index = batch.used;
            batch.used = index.saturating_add(1);
            let Some((line, record)) = batch.get(index) else { continue };
            if record.level < least {
                continue;
            }
            let result = match &way {
                Way::Nowhere => Ok(()),
                Way::Handler { level, .. } if number(record.level) < *level => Ok(()),
                Way::Handler { emit, .. } => {
                    maker.make(line, &record).and_then(|made| emit.call1((made,)).map(drop))
                }
                Way::Logger => maker
                    .make(line, &record)
                    .and_then(|made| logger.call_method1(intern!(py, "handle"), (made,)).map(drop)),
            };
            if let Err(error) = result {
                report.call1((error,))?;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        if let Way::Handler { handler, .. } = &way {
            handler.call_method0(intern!(py, "release"))?;
        }
        Ok(())
    }
}

/// The least level that a logger is enabled for.
pub(super) fn enabled_for(logger: &Bound<'_, PyAny>) -> PyResult<Level> {
    let is_enabled = intern!(logger.py(), "isEnabledFor");
    // hclog's trace is Python's debug.
    for level in [Level::Trace, Level::Info, Level::Warn, Level::Error] {
        if logger.call_method1(is_enabled, (number(level),))?.is_truthy()? {
            return Ok(level);
        }
    }
    Ok(Level::Off)
}

/// The number that `logging` gives to a level.
pub(super) fn number(level: Level) -> i64 {
    match level {
        Level::Trace | Level::Debug => 10,
        Level::Info => 20,
        Level::Warn => 30,
        Level::Error => 40,
        Level::Off => 50,
    }
}

// How a logger's records reach their handlers. Nearly all loggers have one handler and no filter:
// its lock is taken once for many records then, and `Logger.handle` left out.
enum Way<'py> {
    Nowhere,
    Handler { handler: Bound<'py, PyAny>, emit: Bound<'py, PyAny>, level: i64 },
    Logger,
}

impl<'py> Way<'py> {
    fn of(logger: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = logger.py();
        let stock = python(py)?;
        let is_stock = has(logger, intern!(py, "handle"), &stock.logger_handle)?
            && has(logger, intern!(py, "callHandlers"), &stock.call_handlers)?;
        if !is_stock || is_filtered(logger)? {
            return Ok(Self::Logger);
        }
        if logger.getattr(intern!(py, "disabled"))?.is_truthy()? {
            return Ok(Self::Nowhere);
        }
        let mut only = None;
        let mut next = Some(logger.clone());
        while let Some(current) = next {
            for handler in current.getattr(intern!(py, "handlers"))?.try_iter()? {
                if only.replace(handler?).is_some() {
                    return Ok(Self::Logger);
                }
            }
            let propagates = current.getattr(intern!(py, "propagate"))?.is_truthy()?;
            let parent = current.getattr(intern!(py, "parent"))?;
            next = (propagates && !parent.is_none()).then_some(parent);
        }
        // Without a handler `logging` has one of last resort.
        let Some(handler) = only else { return Ok(Self::Logger) };
        if is_filtered(&handler)? || !has(&handler, intern!(py, "handle"), &stock.handler_handle)? {
            return Ok(Self::Logger);
        }
        let emit = handler.getattr(intern!(py, "emit"))?;
        let level = handler.getattr(intern!(py, "level"))?.extract()?;
        Ok(Self::Handler { handler, emit, level })
    }
}

fn has(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    method: &Py<PyAny>,
) -> PyResult<bool> {
    Ok(object.get_type().getattr(name)?.is(method.bind(object.py())))
}

fn is_filtered(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object.getattr(intern!(object.py(), "filters"))?.is_truthy()
}

// Makes the records of one turn.
struct Maker<'a, 'py> {
    py: Python<'py>,
    sink: &'a LoggerSink,
    stock: &'py Stock,
    is_stock: bool,
    // The templates that have the time of this turn already.
    fresh: [bool; 6],
}

impl<'a, 'py> Maker<'a, 'py> {
    fn new(py: Python<'py>, sink: &'a LoggerSink) -> PyResult<Self> {
        let stock = python(py)?;
        let factory = stock.get_factory.bind(py).call0()?;
        let is_stock = factory.is(stock.record.bind(py))
            && has(sink.logger.bind(py), intern!(py, "makeRecord"), &stock.make_record)?;
        Ok(Self { py, sink, stock, is_stock, fresh: [false; 6] })
    }

    fn make(&mut self, line: &[u8], record: &Record<'_>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if !self.is_stock {
            let fields = if record.has_fields { decode_fields(py, line)? } else { PyDict::new(py) };
            return self.stock.make.bind(py).call1((
                &self.sink.logger,
                record.level.name(),
                record.message.decode(),
                record.module.decode(),
                fields,
                record.timestamp.map(|text| text.decode()),
            ));
        }
        let attributes = self.template(record.level)?.copy()?;
        attributes.set_item(intern!(py, "msg"), record.message.decode())?;
        if !record.module.raw().is_empty() {
            attributes.set_item(intern!(py, "plugin"), record.module.decode())?;
        }
        if let Some(timestamp) = record.timestamp {
            attributes.set_item(intern!(py, "plugin_timestamp"), timestamp.decode())?;
        }
        if record.has_fields {
            attributes.set_item(intern!(py, "_line"), PyBytes::new(py, line))?;
        }
        allocate(self.stock.plugin_record.bind(py), &attributes)
    }

    fn template(&mut self, level: Level) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let index = level as usize;
        let template = self.sink.templates.get(index).or(self.sink.templates.first());
        let Some(template) = template else { return Err(PyMemoryError::new_err(())) };
        let template = template.bind(py).clone();
        if let Some(is_fresh) = self.fresh.get_mut(index)
            && !std::mem::replace(is_fresh, true)
        {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let created = since.as_secs_f64();
            template.set_item(intern!(py, "created"), created)?;
            template.set_item(intern!(py, "msecs"), f64::from(since.subsec_millis()))?;
            let relative = (created - self.sink.start) * 1000.0;
            template.set_item(intern!(py, "relativeCreated"), relative)?;
        }
        Ok(template)
    }
}

// What of Python's `logging` and of our side of it is asked for all the time.
struct Stock {
    record: Py<PyAny>,
    get_factory: Py<PyAny>,
    logger_handle: Py<PyAny>,
    call_handlers: Py<PyAny>,
    make_record: Py<PyAny>,
    handler_handle: Py<PyAny>,
    plugin_record: Py<PyType>,
    template: Py<PyAny>,
    make: Py<PyAny>,
}

fn python(py: Python<'_>) -> PyResult<&Stock> {
    static STOCK: PyOnceLock<Stock> = PyOnceLock::new();
    STOCK.get_or_try_init(py, || {
        let logging = py.import("logging")?;
        let logger = logging.getattr("Logger")?;
        let bridge = py.import("pyplugin.logging_bridge")?;
        Ok(Stock {
            record: logging.getattr("LogRecord")?.unbind(),
            get_factory: logging.getattr("getLogRecordFactory")?.unbind(),
            logger_handle: logger.getattr("handle")?.unbind(),
            call_handlers: logger.getattr("callHandlers")?.unbind(),
            make_record: logger.getattr("makeRecord")?.unbind(),
            handler_handle: logging.getattr("Handler")?.getattr("handle")?.unbind(),
            plugin_record: bridge.getattr("PluginLogRecord")?.cast_into::<PyType>()?.unbind(),
            template: bridge.getattr("template")?.unbind(),
            make: bridge.getattr("make_record")?.unbind(),
        })
    })
}

// An instance with these attributes, without a call of its class: a record's `__init__` takes ten
// times as long, for values that are known here.
#[allow(
    unsafe_code,
    reason = "the stable ABI has no safe way to make an instance without its class"
)]
fn allocate<'py>(
    class: &Bound<'py, PyType>,
    attributes: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: `class` is a heap type whose instances have a dict and no other state; both calls
    // return what they own, or null respectively -1 with an exception set.
    unsafe {
        let object = ffi::PyType_GenericAlloc(class.as_type_ptr(), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let status = ffi::PyObject_GenericSetDict(
            object.as_ptr(),
            attributes.as_ptr(),
            std::ptr::null_mut(),
        );
        if status == 0 { Ok(object) } else { Err(PyErr::fetch(py)) }
    }
}
