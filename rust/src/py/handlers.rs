//! The handlers that a logger's records reach, found once for many records.

use std::ops::Range;

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::records::{Maker, number};
use super::stock::stock;
use crate::hclog::batch::Batch;

/// How the records of a logger are handed on.
pub(super) enum Way<'py> {
    /// By the logger itself: it, or what it has, is none of `logging`'s own.
    Logger,
    /// By what `Logger.handle` would come to, for many records at once; by nothing where it is
    /// disabled.
    Handlers(Vec<Output<'py>>),
}

/// A handler.
pub(super) struct Output<'py> {
    handler: Bound<'py, PyAny>,
    level: i64,
    kind: Kind<'py>,
}

enum Kind<'py> {
    // With filters, or a `handle` of its own.
    Handle,
    // Its lock is taken once for many records.
    Emit(Bound<'py, PyAny>),
    // `StreamHandler` or `FileHandler` with a `Formatter`, all of `logging` itself: many lines are
    // written and flushed at once, and no record is made for them.
    Stream(Formatting<'py>),
}

struct Formatting<'py> {
    formatter: Bound<'py, PyAny>,
    format: Bound<'py, PyAny>,
    // `%(asctime)s`, the same for all records of a turn.
    has_time: bool,
    time: Option<Bound<'py, PyAny>>,
    has_fields: bool,
}

impl<'py> Way<'py> {
    pub(super) fn of(logger: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = logger.py();
        let stock = stock(py)?;
        let is_stock = has(logger, intern!(py, "handle"), &stock.logger_handle)?
            && has(logger, intern!(py, "callHandlers"), &stock.call_handlers)?
            && has(logger, intern!(py, "filter"), &stock.filter)?;
        if !is_stock || is_filtered(logger)? {
            return Ok(Self::Logger);
        }
        let mut outputs = Vec::new();
        if logger.getattr(intern!(py, "disabled"))?.is_truthy()? {
            return Ok(Self::Handlers(outputs));
        }
        let mut next = Some(logger.clone());
        while let Some(current) = next {
            for handler in current.getattr(intern!(py, "handlers"))?.try_iter()? {
                outputs.push(Output::of(handler?)?);
            }
            let propagates = current.getattr(intern!(py, "propagate"))?.is_truthy()?;
            let parent = current.getattr(intern!(py, "parent"))?;
            next = (propagates && !parent.is_none()).then_some(parent);
        }
        // Without any, `logging` has a handler of last resort.
        Ok(if outputs.is_empty() { Self::Logger } else { Self::Handlers(outputs) })
    }
}

impl<'py> Output<'py> {
    fn of(handler: Bound<'py, PyAny>) -> PyResult<Self> {
        let py = handler.py();
        let level = handler.getattr(intern!(py, "level"))?.extract()?;
        let stock = stock(py)?;
        let is_stock = has(&handler, intern!(py, "handle"), &stock.handler_handle)?
            && has(&handler, intern!(py, "filter"), &stock.filter)?;
        let kind = if !is_stock || is_filtered(&handler)? {
            Kind::Handle
        } else if let Some(formatting) = Formatting::of(&handler)? {
            Kind::Stream(formatting)
        } else {
            Kind::Emit(handler.getattr(intern!(py, "emit"))?)
        };
        Ok(Self { handler, level, kind })
    }

    /// Gives it some records of a batch. `made` are those that were made for another output.
    pub(super) fn take(
        &mut self,
        maker: &mut Maker<'_, 'py>,
        batch: &Batch,
        range: Range<usize>,
        made: &mut [Option<Bound<'py, PyAny>>],
        report: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if matches!(self.kind, Kind::Handle) {
            return self.take_all(maker, batch, range, made, report);
        }
        let py = self.handler.py();
        self.handler.call_method0(intern!(py, "acquire"))?;
        let result = self.take_all(maker, batch, range, made, report);
        self.handler.call_method0(intern!(py, "release"))?;
        result
    }

    fn take_all(
        &mut self,
        maker: &mut Maker<'_, 'py>,
        batch: &Batch,
        range: Range<usize>,
        made: &mut [Option<Bound<'py, PyAny>>],
        report: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = self.handler.py();
        let lines = PyList::empty(py);
        for (index, made) in range.zip(made) {
            let Some((line, record)) = batch.get(index) else { continue };
            if !maker.is_wanted(record.level) || number(record.level) < self.level {
                continue;
            }
            let result = match &mut self.kind {
                // The handler's own way tells, as the program has it told, what is wrong.
                Kind::Stream(formatting) => {
                    formatting.format(maker, line, &record, &lines).or_else(|_| {
                        let record = maker.make_once(line, &record, made)?;
                        self.handler.call_method1(intern!(py, "emit"), (record,)).map(drop)
                    })
                }
                Kind::Emit(emit) => maker
                    .make_once(line, &record, made)
                    .and_then(|record| emit.call1((record,)).map(drop)),
                Kind::Handle => maker.make_once(line, &record, made).and_then(|record| {
                    self.handler.call_method1(intern!(py, "handle"), (record,)).map(drop)
                }),
            };
            or_report(result, report)?;
        }
        if !lines.is_empty() {
            let result = stock(py)?.write.bind(py).call1((&self.handler, lines));
            or_report(result.map(drop), report)?;
        }
        Ok(())
    }
}

impl<'py> Formatting<'py> {
    // The formatting of a handler that is none but `logging`'s own in every respect.
    fn of(handler: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = handler.py();
        let stock = stock(py)?;
        let kind = handler.get_type();
        let is_stream =
            kind.is(stock.stream_handler.bind(py)) || kind.is(stock.file_handler.bind(py));
        // One that opens its file late has no stream yet.
        if !is_stream
            || is_patched(handler, &["emit", "format", "flush"])?
            || handler.getattr(intern!(py, "stream"))?.is_none()
        {
            return Ok(None);
        }
        let formatter = handler.getattr(intern!(py, "formatter"))?;
        if !formatter.get_type().is(stock.formatter.bind(py))
            || is_patched(&formatter, &["format", "formatMessage", "formatTime", "usesTime"])?
        {
            return Ok(None);
        }
        let style = formatter.getattr(intern!(py, "_style"))?;
        if !style.get_type().is(stock.percent_style.bind(py))
            || style.getattr(intern!(py, "_defaults"))?.is_truthy()?
        {
            return Ok(None);
        }
        let format = style.getattr(intern!(py, "_fmt"))?;
        Ok(Some(Self {
            has_time: formatter.call_method0(intern!(py, "usesTime"))?.is_truthy()?,
            time: None,
            has_fields: format.contains(intern!(py, "fields"))?,
            formatter,
            format,
        }))
    }

    fn format(
        &mut self,
        maker: &mut Maker<'_, 'py>,
        line: &[u8],
        record: &crate::hclog::Record<'_>,
        lines: &Bound<'py, PyList>,
    ) -> PyResult<()> {
        let py = lines.py();
        let attributes = maker.attributes(record)?;
        if let Some(message) = attributes.get_item(intern!(py, "msg"))? {
            attributes.set_item(intern!(py, "message"), message)?;
        }
        if self.has_fields {
            attributes.set_item(intern!(py, "fields"), maker.fields(line, record)?)?;
        }
        if self.has_time {
            let time = match &self.time {
                Some(time) => time,
                None => self.time.insert(self.time_of(maker, &attributes)?),
            };
            attributes.set_item(intern!(py, "asctime"), time)?;
        }
        lines.append(self.format.rem(&attributes)?)
    }

    fn time_of(
        &self,
        maker: &Maker<'_, 'py>,
        attributes: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = attributes.py();
        let record = maker.record(attributes)?;
        let form = self.formatter.getattr(intern!(py, "datefmt"))?;
        self.formatter.call_method1(intern!(py, "formatTime"), (record, form))
    }
}

/// Reports what a handler or a sink raised, so that it loses its line alone; what ends a program, such
/// as `KeyboardInterrupt`, is let through.
pub(super) fn or_report(result: PyResult<()>, report: &Bound<'_, PyAny>) -> PyResult<()> {
    match result {
        Err(error) if error.is_instance_of::<PyException>(report.py()) => {
            report.call1((error,)).map(drop)
        }
        result => result,
    }
}

/// Whether the method of this name is that of `logging`, in a class or in the object.
pub(super) fn has(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    method: &Py<PyAny>,
) -> PyResult<bool> {
    let function = object.getattr(name)?.getattr_opt(intern!(object.py(), "__func__"))?;
    Ok(function.is_some_and(|function| function.is(method.bind(object.py()))))
}

fn is_filtered(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object.getattr(intern!(object.py(), "filters"))?.is_truthy()
}

// Whether an object has methods of its own.
fn is_patched(object: &Bound<'_, PyAny>, methods: &[&str]) -> PyResult<bool> {
    let own = object.getattr(intern!(object.py(), "__dict__"))?;
    for method in methods {
        if own.contains(method)? {
            return Ok(true);
        }
    }
    Ok(false)
}
