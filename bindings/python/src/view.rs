//! Values on their way out: copied into a `bytes`, or [`Pinned`] as an exporter of its own bytes, which
//! `get_view` wraps in a memoryview.

use std::ffi::c_int;

use lighter_cache::Value;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// A value that stays as it is and where it is, also after it was overwritten, deleted, or its cache
/// was closed. Only its memoryview is of use: ``memoryview(pinned)``.
#[pyclass(frozen, module = "lighter_cache._native")]
pub(crate) struct Pinned(Value);

#[pymethods]
impl Pinned {
    /// Fills in `view` for a read-only export.
    ///
    /// # Safety
    /// Python calls it with a view to fill, or with null where the exporter is probed.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no buffer view to fill"));
        }
        let bytes: &[u8] = &slf.get().0;
        // SAFETY: `view` is writable. The bytes of a pinned value neither move nor change while the
        // value lives, and the view gets its own reference to `slf`, which owns the value.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                bytes.len() as isize,
                1,
                flags,
            )
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// A read-only memoryview of `value`, which it keeps alive.
pub(crate) fn view(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyMemoryView>> {
    PyMemoryView::from(Bound::new(py, Pinned(value))?.as_any())
}

/// A copy of `value`; `MemoryError` where there is no memory for it.
#[inline]
pub(crate) fn copy<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: a new reference to a bytes object, or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(py, copy_raw(py, value))
            .map(|object| object.cast_into_unchecked())
    }
}

/// As [`copy`]: a new reference, or null with an exception set.
#[inline]
pub(crate) fn copy_raw(_py: Python<'_>, value: &[u8]) -> *mut ffi::PyObject {
    // SAFETY: attached; the pointer is valid for that many bytes, which are copied, and no value comes
    // near isize::MAX.
    unsafe { ffi::PyBytes_FromStringAndSize(value.as_ptr().cast(), value.len() as ffi::Py_ssize_t) }
}
