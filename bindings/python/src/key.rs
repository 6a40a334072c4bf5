//! Keys: `str` (as UTF-8, lone surrogates by *surrogateescape*) or anything bytes-like; and the class
//! `CacheKey`.

use std::ops::Deref;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::buffer::Buffer;

/// The bytes of a key, borrowed from the Python object where that cannot change.
pub(crate) enum Key<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Deref for Key<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl<'a> Key<'a> {
    /// The key that `object` means.
    #[inline]
    pub(crate) fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return match text.to_str() {
                Ok(text) => Ok(Self::Borrowed(text.as_bytes())),
                Err(_) => escaped(text),
            };
        }
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Borrowed(bytes.as_bytes()));
        }
        other(object)
    }
}

/// A `str` with surrogates in it.
#[cold]
fn escaped<'a>(text: &Bound<'_, PyString>) -> PyResult<Key<'a>> {
    let bytes = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(Key::Owned(bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
}

/// Neither `str` nor `bytes`: a copy, because its owner may change it at any time.
#[cold]
fn other<'a>(object: &Bound<'_, PyAny>) -> PyResult<Key<'a>> {
    match Buffer::of(object)? {
        Some(buffer) => Ok(Key::Owned(buffer.to_vec())),
        None => Err(PyTypeError::new_err(format!(
            "a key must be str or bytes-like, not {}",
            object.get_type().fully_qualified_name()?
        ))),
    }
}

/// The `str` whose key is `bytes`: the inverse of [`Key::of`].
pub(crate) fn to_str<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogateescape")),
    }
}

/// Names the keys of common things the same way in every language.
///
/// Each method returns the key as str. An id is anything with a text form: int, str, UUID, …
#[pyclass(frozen, module = "lighter_cache")]
pub(crate) struct CacheKey;

/// The text of an id. `None` and bytes have one too, but never the one that was meant.
fn id_text(id: &Bound<'_, PyAny>) -> PyResult<String> {
    if id.is_none() || Buffer::of(id)?.is_some() {
        return Err(PyTypeError::new_err(format!(
            "an id must be int, str or the like, not {}",
            id.get_type().name()?
        )));
    }
    Ok(id.str()?.to_str()?.to_owned())
}

#[pymethods]
impl CacheKey {
    /// ``user:ID``
    #[staticmethod]
    fn user(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::user(id_text(id)?).into())
    }

    /// ``token:ID``
    #[staticmethod]
    fn token(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::token(id_text(id)?).into())
    }

    /// ``permission:ID``
    #[staticmethod]
    fn permission(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::permission(id_text(id)?).into())
    }

    /// ``role:ID``
    #[staticmethod]
    fn role(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::role(id_text(id)?).into())
    }

    /// ``session:ID``
    #[staticmethod]
    fn session(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::session(id_text(id)?).into())
    }

    /// ``user:ID:permissions``
    #[staticmethod]
    fn user_permissions(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::user_permissions(id_text(id)?).into())
    }

    /// ``user:ID:roles``
    #[staticmethod]
    fn user_roles(id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::user_roles(id_text(id)?).into())
    }

    /// ``NAMESPACE:ID``
    #[staticmethod]
    fn custom(namespace: &Bound<'_, PyAny>, id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(lighter_cache::CacheKey::custom(id_text(namespace)?, id_text(id)?).into())
    }
}
