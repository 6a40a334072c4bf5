//! Many keys in one call: one round trip on a server.

use lighter_cache::{BlockingCache, Ttl};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

use crate::buffer::Buffer;
use crate::cache::Cache;
use crate::key::Key;
use crate::{view, wait};

/// The objects of an iterable of keys. A single key is iterable too, but never what was meant.
pub(crate) fn objects<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if keys.is_instance_of::<PyString>() || Buffer::of(keys)?.is_some() {
        return Err(PyTypeError::new_err("an iterable of keys is needed, not one key"));
    }
    keys.try_iter()?.collect()
}

/// The keys that `objects` mean.
fn keys_of<'a>(objects: &'a [Bound<'_, PyAny>]) -> PyResult<Vec<Key<'a>>> {
    objects.iter().map(Key::of).collect()
}

/// Their bytes, copied.
pub(crate) fn copies_of(objects: &[Bound<'_, PyAny>]) -> PyResult<Vec<Vec<u8>>> {
    objects.iter().map(|object| Ok(Key::of(object)?.to_vec())).collect()
}

pub(crate) fn get_many<'py>(
    cache: &Bound<'py, Cache>,
    keys: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = cache.py();
    let objects = objects(keys)?;
    let keys = keys_of(&objects)?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    // The values come first and Python's objects after: making a dict may run Python code.
    let values = wait::operate(cache, |cache| cache.get_many(&keys))?;
    let found = PyDict::new(py);
    for (object, value) in objects.iter().zip(values) {
        if let Some(value) = value {
            found.set_item(object, view::copy(py, &value)?)?;
        }
    }
    Ok(found)
}

pub(crate) fn set_many(
    cache: &Bound<'_, Cache>,
    items: &Bound<'_, PyAny>,
    ttl: Ttl,
) -> PyResult<()> {
    let pairs = pairs(items)?;
    let bytes: Vec<(Key<'_>, Buffer<'_>)> = pairs
        .iter()
        .map(|(key, value)| Ok((Key::of(key)?, Buffer::value(value)?)))
        .collect::<PyResult<_>>()?;
    let items: Vec<(&[u8], &[u8])> = bytes.iter().map(|(key, value)| (&**key, &**value)).collect();
    wait::operate(cache, |cache| cache.set_many(&items, ttl))
}

pub(crate) fn delete_many(cache: &Bound<'_, Cache>, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
    let objects = objects(keys)?;
    let keys = keys_of(&objects)?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    wait::operate(cache, |cache| cache.delete_many(&keys))
}

pub(crate) fn warm(cache: &Bound<'_, Cache>, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
    let objects = objects(keys)?;
    let keys = keys_of(&objects)?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    wait::operate(cache, |cache| cache.warm(&keys))
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The items of a mapping, or the pairs of an iterable.
pub(crate) fn pairs<'py>(items: &Bound<'py, PyAny>) -> PyResult<Vec<Pair<'py>>> {
    if let Ok(dict) = items.cast_exact::<PyDict>() {
        return Ok(dict.iter().collect());
    }
    let iterable = match items.cast::<PyMapping>() {
        Ok(mapping) => mapping.items()?.into_any(),
        Err(_) => items.clone(),
    };
    iterable
        .try_iter()?
        .map(|pair| {
            let pair = pair?;
            let parts: Vec<Bound<'py, PyAny>> = match pair.cast_exact::<PyTuple>() {
                Ok(parts) => parts.iter().collect(),
                Err(_) => pair.try_iter()?.collect::<PyResult<_>>()?,
            };
            <[_; 2]>::try_from(parts).map(Into::into).map_err(|parts| {
                PyValueError::new_err(format!("a pair is needed, not {} elements", parts.len()))
            })
        })
        .collect()
}
