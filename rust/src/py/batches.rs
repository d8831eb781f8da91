//! Records of a batch as they are given to a `log_sink`: taken apart only as far as they are asked.

use std::sync::Arc;

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice, PyString};

use super::fields::decode_fields;
use super::records::number;
use crate::hclog::Record;
use crate::hclog::batch::Batch;

/// Lines of one plugin.
#[pyclass(frozen, sequence, module = "pyplugin", name = "LogBatch")]
pub(super) struct LogBatch {
    batch: Arc<Batch>,
    #[pyo3(get)]
    plugin: Py<PyString>,
}

impl LogBatch {
    pub(super) fn new(batch: Batch, plugin: Py<PyString>) -> Self {
        Self { batch: Arc::new(batch), plugin }
    }

    fn entry(&self, py: Python<'_>, index: usize) -> LogEntry {
        LogEntry { batch: Arc::clone(&self.batch), index, plugin: self.plugin.clone_ref(py) }
    }
}

#[pymethods]
impl LogBatch {
    fn __len__(&self) -> usize {
        self.batch.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let length = self.batch.len().cast_signed();
        if let Ok(slice) = key.cast::<PySlice>() {
            let range = slice.indices(length)?;
            let indices = std::iter::successors(Some(range.start), |at| at.checked_add(range.step));
            let entries = indices
                .take(range.slicelength)
                .map(|at| Bound::new(py, self.entry(py, at.cast_unsigned())))
                .collect::<PyResult<Vec<_>>>()?;
            return Ok(PyList::new(py, entries)?.into_any());
        }
        let index: isize = key.extract()?;
        let index = if index < 0 { index.saturating_add(length) } else { index };
        if (0..length).contains(&index) {
            return Ok(Bound::new(py, self.entry(py, index.cast_unsigned()))?.into_any());
        }
        Err(PyIndexError::new_err("batch index out of range"))
    }

    fn __iter__(slf: Bound<'_, Self>) -> LogEntries {
        LogEntries { batch: slf.unbind(), next: 0 }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let plugin = self.plugin.bind(py).repr()?;
        Ok(format!("<LogBatch of {} entries of plugin {plugin}>", self.batch.len()))
    }
}

/// Goes through a batch.
#[pyclass(module = "pyplugin._rust")]
pub(super) struct LogEntries {
    batch: Py<LogBatch>,
    next: usize,
}

#[pymethods]
impl LogEntries {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> Option<LogEntry> {
        let batch = self.batch.get();
        let index = self.next;
        if index >= batch.batch.len() {
            return None;
        }
        self.next = index.saturating_add(1);
        Some(batch.entry(py, index))
    }
}

/// One line.
#[pyclass(frozen, module = "pyplugin", name = "LogEntry")]
pub(super) struct LogEntry {
    batch: Arc<Batch>,
    index: usize,
    #[pyo3(get)]
    plugin: Py<PyString>,
}

impl LogEntry {
    fn parts(&self) -> PyResult<(&[u8], Record<'_>)> {
        self.batch.get(self.index).ok_or_else(|| PyIndexError::new_err("no such entry"))
    }
}

#[pymethods]
impl LogEntry {
    #[getter]
    fn level(&self) -> PyResult<&'static str> {
        Ok(self.parts()?.1.level.name())
    }

    #[getter]
    fn levelno(&self) -> PyResult<i64> {
        Ok(number(self.parts()?.1.level))
    }

    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        Ok(PyString::new(py, &self.parts()?.1.message.decode()))
    }

    #[getter]
    fn module<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        Ok(PyString::new(py, &self.parts()?.1.module.decode()))
    }

    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        Ok(self.parts()?.1.timestamp.map(|text| PyString::new(py, &text.decode())))
    }

    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (line, record) = self.parts()?;
        if record.has_fields { decode_fields(py, line) } else { Ok(PyDict::new(py)) }
    }

    #[getter]
    fn line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.parts()?.0))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let message = self.message(py)?.repr()?.to_string();
        Ok(format!("<LogEntry {} {message}>", self.level()?))
    }
}
