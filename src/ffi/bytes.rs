//! One key: get, set, delete, exists; and clear.

use std::ffi::c_void;
use std::ptr;

use super::guard::{Failed, guard, guard_frequent};
use super::open_caches::{elsewhere, held, hybrid, local, ttl, unknown, with_cache, with_shared};
use super::pointers::{self, Out};
use super::status::{LCACHE_MISS, LCACHE_OK, ok_or_miss};
use super::types::{LCACHE_TTL_DEFAULT, LCACHE_TTL_NONE, lc_cache, lc_status, lc_value};
use super::value;
use crate::error::{Error, ErrorKind};
use crate::key::{check_key, is_usual};
use crate::ops::BlockingCache;
use crate::value::Value;

/// Reads a value without copying it: pins it and shows where it is.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value: receives the pinned value; NULL is written on every outcome but LCACHE_OK.
/// data, len: receive the value's bytes and their number; each may be NULL. Valid until lc_value_free.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a stored
/// value over max_value_bytes); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT,
/// LCACHE_ECORRUPT. A Hybrid whose server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: the caller frees *value with lc_value_free; it outlives the cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_get(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut lc_value,
    data: *mut *const c_void,
    len: *mut usize,
) -> lc_status {
    guard_frequent(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (value, data, len) =
            unsafe { (Out::new(value, "value")?, Out::optional(data), Out::optional(len)) };
        value.put(ptr::null_mut());
        // SAFETY: as above.
        let key = unsafe { pointers::key(key, key_len)? };
        let answer = move |found: Option<Value>| -> Result<lc_status, Failed> {
            let Some(found) = found else { return Ok(LCACHE_MISS) };
            if let Some(data) = data {
                data.put(found.as_ptr().cast());
            }
            if let Some(len) = len {
                len.put(found.len());
            }
            value.put(value::into_raw(found));
            Ok(LCACHE_OK)
        };
        let Some(held) = held(cache) else { return Err(unknown().into()) };
        match local(&held) {
            Some((local, inside)) => {
                check_key(key)?;
                answer(local.get_checked(inside, key))
            }
            None => {
                if let Some((hybrid, inside)) = hybrid(&held)
                    && is_usual(key)
                    && let Some(hit) = hybrid.hit_with(inside, key, Value::clone)
                {
                    return answer(Some(hit));
                }
                elsewhere(held, move |other| answer(other.get_beyond(key)?))
            }
        }
    })
}

/// Reads a value into a buffer of the caller.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// buf, cap: the buffer and its size in bytes; NULL and 0 ask for the length alone.
/// len: receives the value's length; on LCACHE_ERANGE the size needed.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_ERANGE (cap is too small: nothing copied; counts as a
/// hit); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a stored value over
/// max_value_bytes); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_get_into(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    buf: *mut c_void,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    guard_frequent(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (len, buf) = unsafe { (Out::new(len, "len")?, pointers::buffer(buf, cap)?) };
        // SAFETY: as above.
        let key = unsafe { pointers::key(key, key_len)? };
        let answer = move |found: Option<usize>| -> Result<lc_status, Failed> {
            let Some(needed) = found else { return Ok(LCACHE_MISS) };
            len.put(needed);
            if needed > cap { Err(too_small(needed, cap).into()) } else { Ok(LCACHE_OK) }
        };
        let Some(held) = held(cache) else { return Err(unknown().into()) };
        match local(&held) {
            Some((local, inside)) => {
                check_key(key)?;
                answer(local.get_into_checked(inside, key, buf))
            }
            None => {
                if let Some((hybrid, inside)) = hybrid(&held)
                    && is_usual(key)
                    && let Some(hit) = hybrid.hit_with(inside, key, |value| value.copy_into(buf))
                {
                    return answer(Some(hit));
                }
                elsewhere(held, move |other| {
                    let found = other.get_beyond(key)?;
                    answer(found.map(|value| value.copy_into(buf)))
                })
            }
        }
    })
}

/// Stores a value.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: time to live in milliseconds, at most 100 years; LCACHE_TTL_NONE never expires,
/// LCACHE_TTL_DEFAULT takes the cache's default_ttl; 0 has already expired: nothing is stored, an old
/// value is removed.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A Hybrid whose server is away stores in L1.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_set(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> lc_status {
    guard_frequent(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (key, value) =
            unsafe { (pointers::key(key, key_len)?, pointers::value(value, value_len)?) };
        let Some(held) = held(cache) else { return Err(unknown().into()) };
        match local(&held) {
            Some((local, inside)) => {
                let lifetime = match ttl_ms {
                    LCACHE_TTL_NONE => None,
                    LCACHE_TTL_DEFAULT => local.default_ttl_ms(),
                    ms => Some(ms),
                };
                if !local.set_in_place(inside, key, value, lifetime) {
                    local.set_inside(inside, key, value, ttl(ttl_ms))?;
                }
                Ok(LCACHE_OK)
            }
            None => elsewhere(held, move |other| {
                other.set(key, value, ttl(ttl_ms))?;
                Ok(LCACHE_OK)
            }),
        }
    })
}

/// Removes a key.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
///
/// Returns: LCACHE_OK; LCACHE_MISS (there was none); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_delete(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let key = unsafe { pointers::key(key, key_len)? };
        with_cache(cache, |cache| cache.delete(key)).map(ok_or_miss)
    })
}

/// Whether a key is there. Counts as neither hit nor miss and refreshes nothing.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EPANIC; on
/// Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_exists(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let key = unsafe { pointers::key(key, key_len)? };
        with_cache(cache, |cache| cache.exists(key)).map(ok_or_miss)
    })
}

/// Removes everything under this cache's prefix, and nothing else; never FLUSHDB.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EUNSUPPORTED (the prefix is empty).
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
#[unsafe(no_mangle)]
pub extern "C" fn lc_clear(cache: lc_cache) -> lc_status {
    guard(|| {
        with_shared(cache, |cache| cache.clear())?;
        Ok(LCACHE_OK)
    })
}

#[cold]
fn too_small(needed: usize, cap: usize) -> Error {
    Error::new(ErrorKind::Range, format!("the value has {needed} bytes, the buffer {cap}"))
}
