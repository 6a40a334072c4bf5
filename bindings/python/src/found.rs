//! What `get_ex` found, as the Python class `Found` (`lighter_cache/_found.py`).

use lighter_cache::{Found, Tier};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::{ttl, view};

/// The `Found` for what a read found.
pub(crate) fn to_python<'py>(py: Python<'py>, found: &Found) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let tier = match found.tier {
        Tier::L1 => "l1",
        Tier::L2 => "l2",
    };
    let fields = (view::copy(py, &found.value)?, ttl::seconds(found.remaining), tier, found.stale);
    CLASS.import(py, "lighter_cache._found", "Found")?.call1(fields)
}
