//! `subscribe`: a Python callable hears of what happens to a cache, on a thread of the library.
//!
//! The thread attaches for each event. Once the interpreter is about to end, events pass unheard.

use lighter_cache::{BlockingCache, Event, Events, Listener};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::cache::Cache;
use crate::errors::named;
use crate::{foreign, key, wait};

/// Calls `listener` for each of `events` from now on; returns what `unsubscribe` takes.
pub(crate) fn subscribe(
    cache: &Bound<'_, Cache>,
    listener: &Bound<'_, PyAny>,
    events: Option<u32>,
) -> PyResult<u64> {
    let py = cache.py();
    if !listener.is_callable() {
        return Err(PyTypeError::new_err("a listener is called with an event and a key"));
    }
    let chosen = events.map_or(Some(Events::ALL), Events::from_bits);
    let Some(chosen) = chosen.filter(|events| events.bits() != 0) else {
        return Err(named(py, "InvalidError", "events: members of lighter_cache.Event".into()));
    };
    let callable = listener.clone().unbind();
    let listener: Listener = Box::new(move |event, key| {
        foreign::call(|py| {
            if let Err(error) = tell(py, &callable, event, key) {
                error.write_unraisable(py, Some(callable.bind(py)));
            }
        });
    });
    wait::operate_detached(cache, |cache| cache.subscribe(chosen, listener))
}

fn tell(py: Python<'_>, listener: &Py<PyAny>, event: Event, key: &[u8]) -> PyResult<()> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let event = CLASS.import(py, "lighter_cache._events", "Event")?.call1((event as u32,))?;
    let key = if key.is_empty() { None } else { Some(key::to_str(py, key)?) };
    listener.bind(py).call1((event, key)).map(drop)
}
