//! [`Slot`]: where an object keeps its cache until it is closed.
//!
//! # Protocol
//! The cell is read and emptied only by a thread that is attached to the interpreter and inside the
//! critical section of the owning object. With a GIL the first excludes every other thread and the
//! second costs nothing; without one the critical section is the object's own lock. Inside, no Python
//! code runs and the thread never detaches, so neither the GIL nor the section can be lost half-way.
//!
//! What needs longer takes a clone of the cache (one more reference) and works on that; a `close` that
//! comes meanwhile drops only the object's own reference.

use std::cell::UnsafeCell;

use lighter_cache::{AnyCache, ErrorKind};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;

use crate::cache::Cache;
use crate::errors;

/// A cache, or nothing once it was closed.
pub(crate) struct Slot(UnsafeCell<Option<AnyCache>>);

// SAFETY: `AnyCache` is `Send` and `Sync`, and the cell is only touched under the protocol above,
// which excludes two threads at once.
unsafe impl Sync for Slot {}

impl Slot {
    pub(crate) fn new(cache: AnyCache) -> Self {
        Self(UnsafeCell::new(Some(cache)))
    }
}

/// Runs `work` on the cache of `object`. `work` must be short, must not run Python code and must not
/// detach. `ClosedError` where the object was closed.
#[inline]
pub(crate) fn with<R>(object: &Bound<'_, Cache>, work: impl FnOnce(&AnyCache) -> R) -> PyResult<R> {
    with_critical_section(object.as_any(), || {
        // SAFETY: attached (a `Bound` proves it) and inside the object's critical section, so nobody
        // empties the cell before `work` has returned.
        match unsafe { &*object.get().slot.0.get() } {
            Some(cache) => Ok(work(cache)),
            None => Err(closed(object.py())),
        }
    })
}

/// As [`with`], for a pointer to an object of the class or a subclass of it, and with `None` where it was
/// closed.
///
/// # Safety
/// `object` points to a live instance of `Cache`.
#[inline]
pub(crate) unsafe fn peek<R>(
    py: Python<'_>,
    object: *mut ffi::PyObject,
    work: impl FnOnce(Option<&AnyCache>) -> R,
) -> R {
    // SAFETY: by the contract of this function.
    let object = unsafe { Borrowed::from_ptr(py, object).cast_unchecked::<Cache>() };
    with_critical_section(object.as_any(), || {
        // SAFETY: as in `with`.
        work(unsafe { &*object.get().slot.0.get() }.as_ref())
    })
}

/// One more reference to the cache of `object`.
pub(crate) fn share(object: &Bound<'_, Cache>) -> PyResult<AnyCache> {
    with(object, AnyCache::clone)
}

/// Empties the slot. The caller drops what was in it, outside of the critical section.
pub(crate) fn take(object: &Bound<'_, Cache>) -> Option<AnyCache> {
    with_critical_section(object.as_any(), || {
        // SAFETY: as in `with`; the reference ends with this expression.
        unsafe { &mut *object.get().slot.0.get() }.take()
    })
}

/// Whether the slot is empty.
pub(crate) fn is_closed(object: &Bound<'_, Cache>) -> bool {
    with(object, |_| ()).is_err()
}

#[cold]
fn closed(py: Python<'_>) -> PyErr {
    errors::raise(py, lighter_cache::Error::new(ErrorKind::Closed, "this cache was closed"))
}
