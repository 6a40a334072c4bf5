//! What a write says besides key, value and TTL: the arguments `stale` and `tags`.

use std::time::Duration;

use lighter_cache::{SetOptions, Stale, Ttl};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::Buffer;
use crate::key::Key;
use crate::ttl;

/// The argument `stale`.
#[derive(Clone, Copy)]
pub(crate) struct StaleArg(Stale);

impl StaleArg {
    /// What an omitted `stale` means.
    pub(crate) const DEFAULT: Self = Self(Stale::Default);
}

impl<'py> FromPyObject<'_, 'py> for StaleArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let window = if object.is_none() { Some(Duration::ZERO) } else { ttl::duration(&object)? };
        Ok(Self(Stale::For(window.unwrap_or(ttl::TOO_LONG))))
    }
}

/// The argument `tags`: an iterable of `str` or bytes-like, or a single one.
#[derive(Default)]
pub(crate) struct Tags(Vec<Vec<u8>>);

impl<'py> FromPyObject<'_, 'py> for Tags {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let object: &Bound<'py, PyAny> = &object;
        if object.is_instance_of::<PyString>() || Buffer::of(object)?.is_some() {
            return Ok(Self(vec![Key::of(object)?.to_vec()]));
        }
        if object.is_none() {
            return Err(PyTypeError::new_err("tags: an iterable of str or bytes-like, not None"));
        }
        let tags = object.try_iter()?.map(|tag| Ok(Key::of(&tag?)?.to_vec()));
        Ok(Self(tags.collect::<PyResult<_>>()?))
    }
}

/// The options of a write; `None` where it says nothing besides its TTL.
pub(crate) fn beyond_ttl(ttl: Ttl, stale: StaleArg, tags: Tags) -> Option<SetOptions> {
    (stale.0 != Stale::Default || !tags.0.is_empty()).then(|| options(ttl, stale, tags))
}

/// The options of a write.
pub(crate) fn options(ttl: Ttl, stale: StaleArg, tags: Tags) -> SetOptions {
    let mut options = SetOptions::new(ttl);
    options.stale = stale.0;
    options.tags = tags.0;
    options
}
