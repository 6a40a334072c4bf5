//! From the core's errors to Python's: the classes are in `lighter_cache/_errors.py`.

use lighter_cache::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// The name of the class for `kind`.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "InvalidError",
        ErrorKind::Handle => "HandleError",
        ErrorKind::Config => "ConfigError",
        ErrorKind::Connect => "ConnectError",
        ErrorKind::Timeout => "TimeoutError",
        ErrorKind::Auth => "AuthError",
        ErrorKind::Server => "ServerError",
        ErrorKind::Corrupt => "CorruptError",
        ErrorKind::TooBig => "TooBigError",
        ErrorKind::Type => "TypeError",
        ErrorKind::Unsupported => "UnsupportedError",
        ErrorKind::Loader => "LoaderError",
        ErrorKind::Reentrant => "ReentrantError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::NoMemory => "NoMemoryError",
        ErrorKind::Io => "IoError",
        ErrorKind::Panic => "PanicError",
        // Interrupted, which `wait` turns into the exception of the signal's handler, and Range, which
        // no operation here answers.
        _ => "CacheError",
    }
}

/// The exception for `error`.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    named(py, class_name(error.kind()), error.message().to_owned())
}

/// The error of a mapping operation that this kind of cache does not have.
#[cold]
pub(crate) fn no_mapping(py: Python<'_>, message: &'static str) -> PyErr {
    named(py, "MappingError", message.to_owned())
}

/// The exception of that class.
#[cold]
pub(crate) fn named(py: Python<'_>, class: &str, message: String) -> PyErr {
    static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    CLASSES
        .get_or_try_init(py, || PyModule::import(py, "lighter_cache._errors").map(Bound::unbind))
        .and_then(|classes| classes.bind(py).getattr(class)?.call1((message,)))
        .map_or_else(|error| error, PyErr::from_value)
}
