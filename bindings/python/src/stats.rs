//! Counters as the Python dataclass `Stats` (`lighter_cache/_stats.py`), field by field.

use lighter_cache::CacheStats;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};

/// The `Stats` for a snapshot.
pub(crate) fn to_python<'py>(py: Python<'py>, stats: &CacheStats) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = [
        ("bytes", stats.bytes),
        ("hits", stats.hits),
        ("misses", stats.misses),
        ("sets", stats.sets),
        ("deletes", stats.deletes),
        ("evictions", stats.evictions),
        ("expirations", stats.expirations),
        ("l1_hits", stats.l1_hits),
        ("l2_hits", stats.l2_hits),
        ("backfills", stats.backfills),
        ("invalidations", stats.invalidations),
        ("coalesced", stats.coalesced),
        ("stale_served", stats.stale_served),
        ("errors", stats.errors),
        ("queued_writes", stats.queued_writes),
        ("replayed_writes", stats.replayed_writes),
        ("dropped_writes", stats.dropped_writes),
    ]
    .into_py_dict(py)?;
    // The core says "unknown without a scan" by the largest number.
    fields.set_item("entries", (stats.size != u64::MAX).then_some(stats.size))?;
    fields.set_item("degraded", stats.degraded)?;
    fields.set_item("hit_rate", stats.hit_rate)?;
    CLASS.import(py, "lighter_cache._stats", "Stats")?.call((), Some(&fields))
}
