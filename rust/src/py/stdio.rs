//! What a plugin prints: `OutputPump`.

use std::os::fd::AsRawFd;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::descriptor::duplicate;
use crate::stdio::Output;

/// What was printed and waits for the host.
#[pyclass(frozen, module = "pyplugin._rust")]
pub(super) struct OutputPump {
    output: Output,
}

#[pymethods]
impl OutputPump {
    #[new]
    #[pyo3(signature = (stdout, stderr, /))]
    fn new(stdout: isize, stderr: isize) -> PyResult<Self> {
        Ok(Self { output: Output::new(duplicate(stdout)?, duplicate(stderr)?)? })
    }

    fn fileno(&self) -> i32 {
        self.output.sleeper().as_raw_fd()
    }

    fn look(&self) -> bool {
        self.output.look()
    }

    #[pyo3(signature = (most, chunk, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize, chunk: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.output.take(most, chunk))
    }

    fn flush(&self) {
        self.output.flush();
    }

    fn is_flushed(&self) -> bool {
        self.output.is_flushed()
    }

    fn lost(&self) -> u64 {
        self.output.lost()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.output.end());
    }
}
