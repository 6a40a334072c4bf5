//! The rest of the mapping protocol, where a cache can name its keys. The views are Python classes
//! (`lighter_cache/_mapping.py`).
//!
//! `pop` and `setdefault` are two steps of the core within one critical section (see `slot`), so that
//! they are atomic among the threads of this interpreter.

use lighter_cache::{AnyCache, BlockingCache, LocalCache, Ttl};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::buffer::Buffer;
use crate::cache::Cache;
use crate::key::{self, Key};
use crate::{errors, slot, view};

const NO_KEYS: &str =
    "only a LocalCache can name its keys; count() counts the entries of the others";
const TWO_STEPS: &str = "only a LocalCache can do this in one step";

/// What `pop` returns where there is nothing: missing altogether, or given (as None, for instance).
pub(crate) enum Fallback<'py> {
    Missing,
    Given(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Fallback<'py> {
    type Error = PyErr;
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Given(object.to_owned()))
    }
}

/// Runs `work` on the Local cache of `object`; `MappingError(why_not)` on another kind.
fn with_local<R>(
    object: &Bound<'_, Cache>,
    why_not: &'static str,
    work: impl FnOnce(&LocalCache) -> lighter_cache::Result<R>,
) -> PyResult<R> {
    let py = object.py();
    slot::with(object, |cache| match cache {
        AnyCache::Local(cache) => Some(work(cache)),
        _ => None,
    })?
    .ok_or_else(|| errors::no_mapping(py, why_not))?
    .map_err(|error| errors::raise(py, error))
}

pub(crate) fn len(cache: &Bound<'_, Cache>) -> PyResult<usize> {
    with_local(cache, NO_KEYS, |cache| cache.count()).map(|count| count as usize)
}

/// The keys of this moment.
fn snapshot(object: &Bound<'_, Cache>) -> PyResult<Vec<Vec<u8>>> {
    let cache = with_local(object, NO_KEYS, |cache| Ok(cache.clone()))?;
    // Copying many keys takes its time.
    Ok(object.py().detach(|| cache.keys(b"")))
}

pub(crate) fn iter<'py>(cache: &Bound<'py, Cache>) -> PyResult<Bound<'py, PyAny>> {
    let py = cache.py();
    let names = PyList::empty(py);
    for bytes in snapshot(cache)? {
        names.append(key::to_str(py, &bytes)?)?;
    }
    names.as_any().try_iter().map(Bound::into_any)
}

/// The view class `name` over `cache`.
pub(crate) fn view_of<'py>(cache: &Bound<'py, Cache>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    with_local(cache, NO_KEYS, |_| Ok(()))?;
    cache.py().import("lighter_cache._mapping")?.getattr(name)?.call1((cache,))
}

/// Takes the value of `key` out of `cache`.
fn take(cache: &LocalCache, key: &[u8]) -> lighter_cache::Result<Option<lighter_cache::Value>> {
    let value = BlockingCache::get(cache, key)?;
    if value.is_some() {
        BlockingCache::delete(cache, key)?;
    }
    Ok(value)
}

pub(crate) fn pop<'py>(
    cache: &Bound<'py, Cache>,
    key: &Bound<'py, PyAny>,
    default: Fallback<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let bytes = Key::of(key)?;
    match (with_local(cache, TWO_STEPS, |cache| take(cache, &bytes))?, default) {
        (Some(value), _) => view::copy(cache.py(), &value).map(Bound::into_any),
        (None, Fallback::Given(default)) => Ok(default),
        (None, Fallback::Missing) => Err(PyKeyError::new_err(key.clone().unbind())),
    }
}

pub(crate) fn popitem<'py>(
    cache: &Bound<'py, Cache>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
    let py = cache.py();
    for bytes in snapshot(cache)? {
        // Another thread may have been faster.
        if let Some(value) = with_local(cache, TWO_STEPS, |cache| take(cache, &bytes))? {
            return Ok((key::to_str(py, &bytes)?, view::copy(py, &value)?));
        }
    }
    Err(PyKeyError::new_err("the cache is empty"))
}

pub(crate) fn setdefault<'py>(
    cache: &Bound<'py, Cache>,
    key: &Bound<'py, PyAny>,
    default: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = cache.py();
    let (key, value) = (Key::of(key)?, Buffer::value(default)?);
    let present = with_local(cache, TWO_STEPS, |cache| {
        let present = BlockingCache::get(cache, &key)?;
        if present.is_none() {
            BlockingCache::set(cache, &key, &value, Ttl::Default)?;
        }
        Ok(present)
    })?;
    view::copy(py, present.as_deref().unwrap_or(&value))
}
