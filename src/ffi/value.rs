//! Pinned values. An `lc_value *` is the value's own block: taking one costs a reference count, no
//! allocation and no copy.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::types::lc_value;
use crate::value::Value;

/// The bytes of a value.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the first byte, not NULL where the value is not empty; NULL for NULL.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: the bytes belong to the value and are valid until its last reference is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_value_data(value: *const lc_value) -> *const c_void {
    // SAFETY: the caller passes NULL or a value that it holds.
    unsafe { with(value, ptr::null(), |value| value.as_ptr().cast()) }
}

/// How many bytes a value has.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the number of bytes; 0 for NULL.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_value_size(value: *const lc_value) -> usize {
    // SAFETY: the caller passes NULL or a value that it holds.
    unsafe { with(value, 0, |value| value.len()) }
}

/// Takes one more reference to a value.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the same pointer.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: each reference is freed once, with lc_value_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_value_ref(value: *mut lc_value) -> *mut lc_value {
    // SAFETY: the caller passes NULL or a value that it holds.
    unsafe { with(value, ptr::null_mut(), |value| into_raw(value.clone())) }
}

/// Gives one reference to a value up. Its last one frees it, also after the cache was closed.
///
/// value: a value that is held; NULL does nothing.
///
/// Threads: any.
/// Blocks: never.
/// Ownership: the reference is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_value_free(value: *mut lc_value) {
    if let Some(value) = NonNull::new(value) {
        // SAFETY: the caller gives up a reference that came from `into_raw`.
        drop(unsafe { Value::from_raw(value.cast()) });
    }
}

/// Gives a value away to C.
#[inline]
pub(super) fn into_raw(value: Value) -> *mut lc_value {
    value.into_raw().as_ptr().cast()
}

/// # Safety
/// `value` is NULL or came from [`into_raw`] and is held by the caller.
#[inline]
unsafe fn with<R>(value: *const lc_value, null: R, read: impl FnOnce(&Value) -> R) -> R {
    let Some(value) = NonNull::new(value.cast_mut()) else { return null };
    let block = value.cast();
    // SAFETY: the caller holds the value during the call.
    read(unsafe { Value::borrow_raw(&block) })
}
