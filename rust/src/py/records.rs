//! Records of a batch as `logging.LogRecord`s, handed to a logger.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use super::fields::decode_fields;
use super::handlers::{Way, has, or_report};
use super::stock::{Stock, stock};
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
        let mut start = 0.0;
        for level in Level::ALL {
            let template = stock(py)?.template.bind(py).call1((&name, level.name()))?;
            let created: f64 = template.get_item("created")?.extract()?;
            let relative: f64 = template.get_item("relativeCreated")?.extract()?;
            start = created - relative / 1000.0;
            templates.push(template.cast_into::<PyDict>()?.unbind());
        }
        Ok(Self { logger, templates, start })
    }

    /// Hands on the next records of `batch`: few enough for the others to get their turn, and none
    /// long after `deadline`. What a handler raises goes to `report`.
    pub(super) fn deliver<'py>(
        &self,
        py: Python<'py>,
        batch: &mut Batch,
        least: Level,
        deadline: Instant,
        report: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let mut maker = Maker::new(py, self, least)?;
        let mut way = Way::of(self.logger.bind(py))?;
        let end = batch.used.saturating_add(QUANTUM).min(batch.len());
        // A handler may be slow: it gets twice as many whenever there is time left.
        let mut count = 1_usize;
        while batch.used < end {
            let next = batch.used.saturating_add(count).min(end);
            let range = batch.used..next;
            count = count.saturating_mul(2);
            batch.used = next;
            let mut made = vec![None; range.len()];
            match &mut way {
                Way::Logger => {
                    for (index, made) in range.zip(&mut made) {
                        self.handle(&mut maker, batch, index, made, report)?;
                    }
                }
                Way::Handlers(outputs) => {
                    for output in outputs {
                        output.take(&mut maker, batch, range.clone(), &mut made, report)?;
                    }
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Ok(())
    }

    fn handle<'py>(
        &self,
        maker: &mut Maker<'_, 'py>,
        batch: &Batch,
        index: usize,
        made: &mut Option<Bound<'py, PyAny>>,
        report: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = maker.py;
        let Some((line, record)) = batch.get(index) else { return Ok(()) };
        if !maker.is_wanted(record.level) {
            return Ok(());
        }
        let result = maker.make_once(line, &record, made).and_then(|record| {
            self.logger.bind(py).call_method1(intern!(py, "handle"), (record,)).map(drop)
        });
        or_report(result, report)
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

/// Makes the records of one turn, which have one time.
pub(super) struct Maker<'a, 'py> {
    py: Python<'py>,
    sink: &'a LoggerSink,
    stock: &'py Stock,
    // The program has not asked for records of another kind.
    is_stock: bool,
    least: Level,
    now: Duration,
    // The templates that have the time already.
    fresh: [bool; Level::ALL.len()],
}

impl<'a, 'py> Maker<'a, 'py> {
    fn new(py: Python<'py>, sink: &'a LoggerSink, least: Level) -> PyResult<Self> {
        let stock = stock(py)?;
        let factory = stock.get_factory.bind(py).call0()?;
        let is_stock = factory.is(stock.record.bind(py))
            && has(sink.logger.bind(py), intern!(py, "makeRecord"), &stock.make_record)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { py, sink, stock, is_stock, least, now, fresh: Default::default() })
    }

    /// Whether lines of this level are still wanted; they were when they were read.
    pub(super) fn is_wanted(&self, level: Level) -> bool {
        level >= self.least
    }

    /// The record, made unless it was.
    pub(super) fn make_once<'b>(
        &mut self,
        line: &[u8],
        record: &Record<'_>,
        made: &'b mut Option<Bound<'py, PyAny>>,
    ) -> PyResult<&'b Bound<'py, PyAny>> {
        match made {
            Some(made) => Ok(made),
            None => Ok(made.insert(self.make(line, record)?)),
        }
    }

    fn make(&mut self, line: &[u8], record: &Record<'_>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_stock {
            let attributes = self.attributes(record)?;
            if record.has_fields {
                attributes.set_item(intern!(self.py, "_line"), PyBytes::new(self.py, line))?;
            }
            return self.record(&attributes);
        }
        self.stock.make.bind(self.py).call1((
            &self.sink.logger,
            record.level.name(),
            record.message.decode(),
            record.module.decode(),
            self.fields(line, record)?,
            record.timestamp.map(|text| text.decode()),
        ))
    }

    /// The fields of a record.
    pub(super) fn fields(&self, line: &[u8], record: &Record<'_>) -> PyResult<Bound<'py, PyDict>> {
        if record.has_fields { decode_fields(self.py, line) } else { Ok(PyDict::new(self.py)) }
    }

    /// The attributes of a record, its fields left out.
    pub(super) fn attributes(&mut self, record: &Record<'_>) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let attributes = self.template(record.level)?;
        attributes.set_item(intern!(py, "msg"), record.message.decode())?;
        if !record.module.raw().is_empty() {
            attributes.set_item(intern!(py, "plugin"), record.module.decode())?;
        }
        if let Some(timestamp) = record.timestamp {
            attributes.set_item(intern!(py, "plugin_timestamp"), timestamp.decode())?;
        }
        Ok(attributes)
    }

    /// A record with these attributes.
    pub(super) fn record(&self, attributes: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        allocate(self.stock.plugin_record.bind(self.py), attributes)
    }

    // A copy of what the records of a level have in common.
    fn template(&mut self, level: Level) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let index = level as usize;
        let (Some(template), Some(is_fresh)) =
            (self.sink.templates.get(index), self.fresh.get_mut(index))
        else {
            return Err(PyIndexError::new_err("no such level"));
        };
        let template = template.bind(py);
        if !std::mem::replace(is_fresh, true) {
            let created = self.now.as_secs_f64();
            template.set_item(intern!(py, "created"), created)?;
            template.set_item(intern!(py, "msecs"), f64::from(self.now.subsec_millis()))?;
            let relative = (created - self.sink.start) * 1000.0;
            template.set_item(intern!(py, "relativeCreated"), relative)?;
        }
        template.copy()
    }
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
    // return what they own, or null with an exception set.
    let (object, own) = unsafe {
        let object = ffi::PyType_GenericAlloc(class.as_type_ptr(), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let own = ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        (object, Bound::from_owned_ptr_or_err(py, own)?)
    };
    // Setting the dict itself would be quicker, but Python 3.13.0 goes on to look in the old one.
    own.cast_into::<PyDict>()?.update(attributes.as_mapping())?;
    Ok(object)
}
