//! Calls that may wait: they give the GIL away, and a signal (Ctrl-C) ends them.
//!
//! The core asks [`interrupted`] at least every 100 ms while a thread of ours waits in it. A handler
//! that raised leaves its exception in [`RAISED`], from where [`detached`] takes it as soon as the call
//! has come back: an exception is never lost, even where the call succeeded at the last moment.

use std::cell::RefCell;
use std::time::Duration;

use lighter_cache::{AnyCache, Result, runtime};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::cache::Cache;
use crate::errors;
use crate::slot;

thread_local! {
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs Python's signal handlers (on the main thread; elsewhere there are none to run) and says
/// whether one of them raised.
fn interrupted() -> bool {
    // An interpreter that is shutting down can't be attached to: then there is nobody to tell.
    Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(error) => {
            RAISED.with(|raised| raised.replace(Some(error)));
            true
        }
    })
    .unwrap_or(false)
}

/// Runs `call` without the GIL, interruptibly.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    call: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    detached_result(py, call)?.map_err(|error| errors::raise(py, error))
}

/// As [`detached`], with the core's own error for whoever has to look at it. The outer error is the
/// exception of a signal's handler.
pub(crate) fn detached_result<T: Send>(
    py: Python<'_>,
    call: impl FnOnce() -> Result<T> + Send,
) -> PyResult<Result<T>> {
    let result = py.detach(|| runtime::interruptible(interrupted, call));
    match RAISED.take() {
        Some(raised) => Err(raised),
        None => Ok(result),
    }
}

/// Runs `call` without the GIL and uninterruptibly, for the end of an object's life: nobody is there to
/// hear of an exception.
pub(crate) fn quietly(py: Python<'_>, call: impl FnOnce() + Send) {
    py.detach(call);
}

/// Runs one operation on the cache of `object`: attached on a Local cache, which never waits, and
/// detached on the others.
#[inline]
pub(crate) fn operate<T: Send>(
    object: &Bound<'_, Cache>,
    operation: impl FnOnce(&AnyCache) -> Result<T> + Send,
) -> PyResult<T> {
    let py = object.py();
    if object.get().is_local() {
        return slot::with(object, operation)?.map_err(|error| errors::raise(py, error));
    }
    let cache = slot::share(object)?;
    detached(py, || operation(&cache))
}

/// As [`operate`], for what takes long on a large Local cache as well: always detached.
pub(crate) fn operate_detached<T: Send>(
    object: &Bound<'_, Cache>,
    operation: impl FnOnce(&AnyCache) -> Result<T> + Send,
) -> PyResult<T> {
    let cache = slot::share(object)?;
    detached(object.py(), || operation(&cache))
}

/// Stops the library's threads; waits for them for at most `timeout` seconds.
#[pyfunction]
pub(crate) fn shutdown(py: Python<'_>, timeout: f64) -> PyResult<()> {
    let timeout = Duration::try_from_secs_f64(timeout)
        .map_err(|_| PyValueError::new_err("timeout must be a number of seconds, 0 or more"))?;
    py.detach(|| runtime::shutdown(timeout)).map_err(|error| errors::raise(py, error))
}
