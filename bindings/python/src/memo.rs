//! `Memo`: the part of a memoized function that runs on every call: from the arguments to a key, to a
//! value. The rest (who calls the function, codecs, names) is in `lighter_cache/_memoize.py`, whose
//! classes are subclasses of this one.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::argument::{self, Text};
use crate::cache::{self, Cache};

/// A key that would be longer is shortened to a digest.
const LONGEST: usize = 512;

/// What a memoized function is made of.
#[pyclass(subclass, frozen, weakref, module = "lighter_cache._native")]
pub(crate) struct Memo {
    cache: Py<Cache>,
    /// What every key begins with.
    head: Vec<u8>,
    /// What completes a key after so many positional arguments: the defaults of the others, as text, and
    /// the end. None where an argument is missing.
    tails: Vec<Option<Vec<u8>>>,
    /// Whether the last tail is also that of more arguments.
    variadic: bool,
    typed: bool,
    /// From the bytes of a hit to what the call returns.
    decode: Option<Py<PyAny>>,
    hits: AtomicU64,
}

#[pymethods]
impl Memo {
    #[new]
    #[pyo3(signature = (cache, head, tails, variadic, typed, decode))]
    fn new(
        cache: Py<Cache>,
        head: Vec<u8>,
        tails: Vec<Option<Vec<u8>>>,
        variadic: bool,
        typed: bool,
        decode: Option<Py<PyAny>>,
    ) -> Self {
        Self { cache, head, tails, variadic, typed, decode, hits: AtomicU64::new(0) }
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let mut text = Text::new();
        let general;
        let key = if this.plain(&mut text, args, kwargs)? {
            text.as_bytes()
        } else {
            general = Self::general(slf, args, kwargs)?;
            general.as_bytes()
        };
        let error = match cache::read_bytes(this.cache.bind(py), key) {
            Ok(Some(bytes)) => {
                this.hits.fetch_add(1, Ordering::Relaxed);
                return match &this.decode {
                    None => Ok(bytes.into_any()),
                    Some(decode) => decode.bind(py).call1((bytes,)),
                };
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        slf.call_method1("_miss", (PyBytes::new(py, key), args, kwargs, error))
    }

    /// The key for these arguments.
    fn _key<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut text = Text::new();
        if slf.get().plain(&mut text, args, kwargs)? {
            return Ok(PyBytes::new(slf.py(), text.as_bytes()));
        }
        Self::general(slf, args, kwargs)
    }

    /// Calls that were answered from the cache; `more` are added.
    #[pyo3(signature = (more=0))]
    fn _hits(&self, more: u64) -> u64 {
        self.hits.fetch_add(more, Ordering::Relaxed) + more
    }

    /// The second half of the codec, if there is one.
    #[getter]
    fn _decode(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.decode.as_ref().map(|decode| decode.clone_ref(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cache)?;
        if let Some(decode) = &self.decode {
            visit.call(decode)?;
        }
        Ok(())
    }
}

impl Memo {
    /// Writes the key where the arguments are positional and it is not too long; false where it is left
    /// to [`Memo::general`].
    #[inline]
    fn plain(
        &self,
        text: &mut Text,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<bool> {
        if kwargs.is_some_and(|kwargs| !kwargs.is_empty()) {
            return Ok(false);
        }
        let tail = match self.tails.get(args.len()) {
            Some(tail) => tail.as_deref(),
            None if self.variadic => self.tails.last().and_then(|tail| tail.as_deref()),
            None => None,
        };
        let Some(tail) = tail else { return Ok(false) };
        text.push(&self.head);
        for arg in args.iter_borrowed() {
            argument::write(text, &arg, self.typed)?;
        }
        text.push(tail);
        Ok(text.as_bytes().len() <= LONGEST)
    }

    /// The key in all other cases.
    #[cold]
    fn general<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let name = PyString::intern(slf.py(), "_general_key");
        Ok(slf.call_method1(name, (args, kwargs))?.cast_into::<PyBytes>()?)
    }
}

/// `object` as text that can be part of a key; TypeError where it has none.
#[pyfunction]
#[pyo3(signature = (object, typed, depth=None))]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    object: &Bound<'py, PyAny>,
    typed: bool,
    depth: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    argument::encoded(object, typed, depth).map(|text| PyBytes::new(py, &text))
}
