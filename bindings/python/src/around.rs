//! Which loads the running code is inside of, where a loader is a coroutine or has gone on in another thread:
//! a context variable says so, as a thread's own list can't.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lighter_cache::Loaders;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The value of the variable: a load, until it is over, for whatever goes on in its context.
#[pyclass(frozen, module = "lighter_cache._native")]
struct Around {
    loaders: Loaders,
    over: Arc<AtomicBool>,
    /// The load that this one is inside of.
    outer: Option<Py<Self>>,
}

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("lighter_cache.loaders",)).map(Bound::unbind)
    };
    VARIABLE.get_or_try_init(py, make).map(|variable| variable.bind(py))
}

/// Says to the code of a context, by its method `run`, that it is inside of `loaders` until they are `over`.
pub(crate) fn mark(
    run: &Bound<'_, PyAny>,
    loaders: Loaders,
    over: Arc<AtomicBool>,
) -> PyResult<()> {
    let py = run.py();
    let variable = variable(py)?;
    let outer = run.call1((variable.getattr(intern!(py, "get"))?, py.None()))?;
    let outer = outer.cast::<Around>().ok().map(|outer| outer.clone().unbind());
    let around = Bound::new(py, Around { loaders, over, outer })?;
    run.call1((variable.getattr(intern!(py, "set"))?, around)).map(drop)
}

/// The loads that the running code is inside of.
pub(crate) fn here(py: Python<'_>) -> PyResult<Option<Loaders>> {
    let found = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
    let mut around = found.cast::<Around>().ok().map(|around| around.clone().unbind());
    // A task that a loader has begun may outlive it.
    while let Some(inner) = around.take_if(|around| around.get().over.load(Ordering::Acquire)) {
        around = inner.get().outer.as_ref().map(|outer| outer.clone_ref(py));
    }
    Ok(around.map(|around| around.get().loaders.clone()))
}
