//! Which loads the running code is inside of, where a loader is a coroutine or has gone on in another thread:
//! a context variable says so, as a thread's own list can't.

use lighter_cache::Loaders;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The value of the variable.
#[pyclass(frozen, module = "lighter_cache._native")]
struct Around(Loaders);

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("lighter_cache.loaders",)).map(Bound::unbind)
    };
    VARIABLE.get_or_try_init(py, make).map(|variable| variable.bind(py))
}

/// Says to the code of a context, by its method `run`, that it is inside of `loaders`.
pub(crate) fn mark(py: Python<'_>, run: &Bound<'_, PyAny>, loaders: Loaders) -> PyResult<()> {
    let set = variable(py)?.getattr(intern!(py, "set"))?;
    run.call1((set, Bound::new(py, Around(loaders))?)).map(drop)
}

/// The loads that the running code is inside of.
pub(crate) fn here(py: Python<'_>) -> PyResult<Option<Loaders>> {
    let found = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
    Ok(found.cast::<Around>().ok().map(|around| around.get().0.clone()))
}
