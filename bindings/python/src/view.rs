//! [`Pinned`]: a value of a cache as an exporter of its own bytes. `get_view` wraps it in a memoryview.

use std::ffi::c_int;

use lighter_cache::Value;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

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
