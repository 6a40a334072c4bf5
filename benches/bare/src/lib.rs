//! A `DashMap<Box<[u8]>, Arc<[u8]>>` with foldhash and 64 shards behind one-line C functions and a raw
//! pointer: no handle, no limits, no expiry, no counters, no care for fork. `benches/local` measures
//! the library against it.

use std::ffi::c_void;
use std::slice::from_raw_parts;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;

/// The map.
pub struct Bare(DashMap<Box<[u8]>, Arc<[u8]>, RandomState>);

/// A map with 64 shards, to be freed by [`bare_drop`].
#[unsafe(no_mangle)]
pub extern "C" fn bare_new() -> *mut Bare {
    let map = DashMap::with_hasher_and_shard_amount(RandomState::default(), 64);
    Box::into_raw(Box::new(Bare(map)))
}

/// Frees a map.
///
/// # Safety
/// `map` came from [`bare_new`] and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bare_drop(map: *mut Bare) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(map) });
}

/// Copies the value if it fits; 0, or 1 for a miss.
///
/// # Safety
/// All pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bare_get_into(
    map: *const Bare,
    key: *const u8,
    key_len: usize,
    buf: *mut u8,
    cap: usize,
    len: *mut usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(value) = (*map).0.get(from_raw_parts(key, key_len)) else { return 1 };
        *len = value.len();
        if value.len() <= cap {
            buf.copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
    }
    0
}

/// Pins the value; 0, or 1 for a miss.
///
/// # Safety
/// All pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bare_get(
    map: *const Bare,
    key: *const u8,
    key_len: usize,
    data: *mut *const u8,
    len: *mut usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(value) = (*map).0.get(from_raw_parts(key, key_len)).map(|value| value.clone())
        else {
            return 1;
        };
        *len = value.len();
        *data = Arc::into_raw(value).cast();
    }
    0
}

/// Gives a pinned value back.
///
/// # Safety
/// `data` and `len` came from [`bare_get`], and are given back once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bare_free(data: *const u8, len: usize) {
    // SAFETY: the caller's promise.
    drop(unsafe { Arc::from_raw(std::ptr::slice_from_raw_parts(data, len)) });
}

/// Stores a value.
///
/// # Safety
/// All pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bare_set(
    map: *const Bare,
    key: *const u8,
    key_len: usize,
    value: *const c_void,
    len: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let key = from_raw_parts(key, key_len).into();
        (*map).0.insert(key, from_raw_parts(value.cast::<u8>(), len).into());
    }
}
