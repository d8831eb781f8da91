//! What of Python's `logging`, and of our side of it, is asked for all the time.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

pub(super) struct Stock {
    pub(super) record: Py<PyAny>,
    pub(super) get_factory: Py<PyAny>,
    pub(super) logger_handle: Py<PyAny>,
    pub(super) call_handlers: Py<PyAny>,
    pub(super) make_record: Py<PyAny>,
    pub(super) filter: Py<PyAny>,
    pub(super) handler_handle: Py<PyAny>,
    pub(super) stream_handler: Py<PyAny>,
    pub(super) file_handler: Py<PyAny>,
    pub(super) formatter: Py<PyAny>,
    pub(super) percent_style: Py<PyAny>,
    pub(super) plugin_record: Py<PyType>,
    pub(super) template: Py<PyAny>,
    pub(super) make: Py<PyAny>,
    pub(super) write: Py<PyAny>,
}

pub(super) fn stock(py: Python<'_>) -> PyResult<&Stock> {
    static STOCK: PyOnceLock<Stock> = PyOnceLock::new();
    STOCK.get_or_try_init(py, || {
        let logging = py.import("logging")?;
        // A method that a program has put in the place of logging's own counts as none of them.
        let own = |class: &str, method: &str| -> PyResult<Py<PyAny>> {
            let method = logging.getattr(class)?.getattr(method)?;
            let module = method.getattr("__module__")?;
            Ok(if module.eq("logging")? { method.unbind() } else { py.None() })
        };
        let bridge = py.import("pyplugin.logging_bridge")?;
        Ok(Stock {
            record: logging.getattr("LogRecord")?.unbind(),
            get_factory: logging.getattr("getLogRecordFactory")?.unbind(),
            logger_handle: own("Logger", "handle")?,
            call_handlers: own("Logger", "callHandlers")?,
            make_record: own("Logger", "makeRecord")?,
            filter: own("Filterer", "filter")?,
            handler_handle: own("Handler", "handle")?,
            stream_handler: logging.getattr("StreamHandler")?.unbind(),
            file_handler: logging.getattr("FileHandler")?.unbind(),
            formatter: logging.getattr("Formatter")?.unbind(),
            percent_style: logging.getattr("PercentStyle")?.unbind(),
            plugin_record: bridge.getattr("PluginLogRecord")?.cast_into::<PyType>()?.unbind(),
            template: bridge.getattr("template")?.unbind(),
            make: bridge.getattr("make_record")?.unbind(),
            write: bridge.getattr("write_lines")?.unbind(),
        })
    })
}
