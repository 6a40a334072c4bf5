//! [`Answer`]: what operations come to, before there is an object for it.

use lighter_cache::{Found, Remaining, Swap, Value};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::lock::Attempt;
use crate::{found, lock, ttl, view};

/// Made where the core's future ends, and turned into Python where the operation is awaited.
pub(super) enum Answer {
    Nothing,
    Flag(bool),
    Swapped(Swap),
    Number(i64),
    Count(u64),
    /// A value, or what is given instead where there is none.
    Value(Option<Value>, Option<Py<PyAny>>),
    View(Option<Value>),
    Found(Option<Found>),
    Left(Option<Remaining>),
    Attempt(Attempt),
    LockLost,
    /// The keys that were asked for, and their values.
    Values(Vec<Py<PyAny>>, Vec<Option<Value>>),
}

impl Answer {
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let none = || Ok(py.None().into_bound(py));
        match self {
            Self::Nothing | Self::View(None) | Self::Found(None) | Self::Left(None) => none(),
            Self::Flag(flag) => Ok(flag.into_pyobject(py)?.to_owned().into_any()),
            Self::Swapped(Swap::Absent) => none(),
            Self::Swapped(swap) => {
                Ok((swap == Swap::Done).into_pyobject(py)?.to_owned().into_any())
            }
            Self::Number(number) => Ok(number.into_pyobject(py)?.into_any()),
            Self::Count(count) => Ok(count.into_pyobject(py)?.into_any()),
            Self::Value(Some(value), _) => view::copy(py, &value).map(Bound::into_any),
            Self::Value(None, Some(instead)) => Ok(instead.into_bound(py)),
            Self::Value(None, None) => none(),
            Self::View(Some(value)) => view::view(py, value).map(Bound::into_any),
            Self::Found(Some(found)) => found::to_python(py, &found),
            Self::Left(Some(left)) => Ok(ttl::seconds(left).into_pyobject(py)?.into_any()),
            Self::Attempt(attempt) => attempt.into_python(py),
            Self::LockLost => Err(lock::lost(py)),
            Self::Values(keys, values) => {
                let found = PyDict::new(py);
                for (key, value) in keys.iter().zip(values) {
                    if let Some(value) = value {
                        found.set_item(key, view::copy(py, &value)?)?;
                    }
                }
                Ok(found.into_any())
            }
        }
    }
}
