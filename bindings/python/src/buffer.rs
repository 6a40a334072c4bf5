//! [`Buffer`]: the bytes of any object that exports a contiguous buffer, without a copy.

use std::ffi::c_int;
use std::ops::Deref;
use std::slice;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Borrowed bytes of a Python object.
///
/// A writable object may be written to by another thread while a call that waits reads it; as with
/// `socket.send` or `hashlib`, whoever does that gets a mixture of old and new bytes.
pub(crate) enum Buffer<'a> {
    /// Immutable: the reference is enough.
    Bytes(&'a [u8]),
    /// Whatever else.
    Exported(Export<'a>),
}

impl Deref for Buffer<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Exported(export) => export,
        }
    }
}

impl<'a> Buffer<'a> {
    /// The bytes of `object`, `None` where it exports no buffer. `BufferError` where the buffer is not
    /// contiguous.
    #[inline]
    pub(crate) fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Some(Self::Bytes(bytes.as_bytes())));
        }
        Export::of(object).map(|export| export.map(Self::Exported))
    }

    /// The value that `object` means.
    #[inline]
    pub(crate) fn value(object: &'a Bound<'_, PyAny>) -> PyResult<Self> {
        Self::of(object)?.map_or_else(|| Err(no_value(object)), Ok)
    }
}

/// An exported buffer: until it is released, its owner keeps the bytes alive and in place (a
/// `bytearray` can't be resized).
pub(crate) struct Export<'a> {
    /// Boxed, since an exporter may have it point to itself.
    view: Box<ffi::Py_buffer>,
    /// Proof that this thread is attached for as long as the export lives.
    _attached: Python<'a>,
}

impl<'a> Export<'a> {
    fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        // SAFETY: `object` is a live object, and the thread is attached.
        if unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) } == 0 {
            return Ok(None);
        }
        // Asked like this an exporter gives bytes in one piece or an error of its own choice.
        Self::request(object, ffi::PyBUF_SIMPLE).map(Some).map_err(|error| {
            match Self::request(object, ffi::PyBUF_FULL_RO) {
                Ok(_) => PyBufferError::new_err(
                    "the buffer is not contiguous: pass bytes(…) of it, or a contiguous copy",
                ),
                Err(_) => error,
            }
        })
    }

    fn request(object: &'a Bound<'_, PyAny>, flags: c_int) -> PyResult<Self> {
        let py = object.py();
        let mut view = Box::<ffi::Py_buffer>::new_uninit();
        // SAFETY: the view is writable, and filled where the call succeeds.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) } != 0 {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: the call has filled it.
        Ok(Self { view: unsafe { view.assume_init() }, _attached: py })
    }
}

impl Deref for Export<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        if self.view.len <= 0 || self.view.buf.is_null() {
            return &[];
        }
        // SAFETY: the export keeps `len` contiguous bytes at `buf` alive and in place.
        unsafe { slice::from_raw_parts(self.view.buf.cast::<u8>(), self.view.len as usize) }
    }
}

impl Drop for Export<'_> {
    fn drop(&mut self) {
        // SAFETY: the view was filled by `PyObject_GetBuffer` and is released once, attached.
        unsafe { ffi::PyBuffer_Release(&mut *self.view) };
    }
}

#[cold]
fn no_value(object: &Bound<'_, PyAny>) -> PyErr {
    let hint = if object.is_instance_of::<PyString>() {
        ": encode it first, as in value.encode()"
    } else {
        ": serialise it first, for instance as JSON"
    };
    match object.get_type().fully_qualified_name() {
        Ok(name) => PyTypeError::new_err(format!("a value must be bytes-like, not {name}{hint}")),
        Err(error) => error,
    }
}
