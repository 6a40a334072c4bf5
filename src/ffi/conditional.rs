//! Writes that depend on what is there: add, replace, compare-and-set, and counting. Each is atomic.

use std::ffi::c_void;

use super::guard::guard;
use super::open_caches::{ttl, with_cache};
use super::pointers::{self, Out};
use super::status::{LCACHE_CONFLICT, LCACHE_EXISTS, LCACHE_MISS, LCACHE_OK, ok_or_miss};
use super::types::{lc_cache, lc_status};
use crate::ops::{BlockingCache, Swap};

/// Stores a value where the key is absent. Atomic: of many callers, on Redis in many processes, one stores.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 stores nothing, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_EXISTS (the key was there: nothing stored); LCACHE_EINVAL;
/// LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_add(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (key, value) =
            unsafe { (pointers::key(key, key_len)?, pointers::value(value, value_len)?) };
        let stored = with_cache(cache, |cache| cache.add(key, value, ttl(ttl_ms)))?;
        Ok(if stored { LCACHE_OK } else { LCACHE_EXISTS })
    })
}

/// Stores a value where the key is there. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 removes the key, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_MISS (there is none: nothing stored); LCACHE_EINVAL;
/// LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_replace(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (key, value) =
            unsafe { (pointers::key(key, key_len)?, pointers::value(value, value_len)?) };
        with_cache(cache, |cache| cache.replace(key, value, ttl(ttl_ms))).map(ok_or_miss)
    })
}

/// Stores a value where the present one is, byte for byte, the one that is expected. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// expected, expected_len: the value that has to be there; NULL and 0 expect an empty value, which is
/// not the same as none (lc_add).
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 removes the key, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_CONFLICT (the value is another: nothing stored); LCACHE_MISS (there
/// is none: nothing stored); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind
/// of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECORRUPT, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_compare_and_set(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    expected: *const c_void,
    expected_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (key, expected, value) = unsafe {
            (
                pointers::key(key, key_len)?,
                pointers::value(expected, expected_len)?,
                pointers::value(value, value_len)?,
            )
        };
        let swap =
            with_cache(cache, |cache| cache.compare_and_set(key, expected, value, ttl(ttl_ms)))?;
        Ok(match swap {
            Swap::Done => LCACHE_OK,
            Swap::Conflict => LCACHE_CONFLICT,
            Swap::Absent => LCACHE_MISS,
        })
    })
}

/// Adds to a number. Its value is the digits of a 64-bit integer in decimal ("42", "-7"), as lc_set
/// may store and lc_get reads them. An absent key counts as 0. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// delta: what to add; negative to subtract.
/// ttl_ms: as for lc_set, for a key that this call creates; one that is there keeps its own.
/// out: receives the sum.
///
/// Returns: LCACHE_OK; LCACHE_ETYPE (the value is no such number, or the sum overflows: nothing stored);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT (it may have
/// counted), LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the key is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_incr(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    delta: i64,
    ttl_ms: u64,
    out: *mut i64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (out, key) = unsafe { (Out::new(out, "out")?, pointers::key(key, key_len)?) };
        out.put(with_cache(cache, |cache| cache.incr(key, delta, ttl(ttl_ms)))?);
        Ok(LCACHE_OK)
    })
}
