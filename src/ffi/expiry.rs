//! How long a key has still to live: asked for and changed.

use std::ffi::c_void;

use super::guard::guard;
use super::open_caches::{ttl, with_cache};
use super::pointers::{self, Out};
use super::status::{LCACHE_MISS, LCACHE_OK, ok_or_miss};
use super::types::{LCACHE_TTL_NONE, lc_cache, lc_status};
use crate::ops::{BlockingCache, Remaining};

/// How long a key has still to live. Counts as neither hit nor miss.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// ttl_ms: receives the time in milliseconds, at least 1; LCACHE_TTL_NONE where it never expires.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EPANIC; on
/// Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A Hybrid whose server is away answers from L1, else
/// LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_ttl(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    ttl_ms: *mut u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (ttl_ms, key) = unsafe { (Out::new(ttl_ms, "ttl_ms")?, pointers::key(key, key_len)?) };
        let Some(remaining) = with_cache(cache, |cache| cache.ttl(key))? else {
            return Ok(LCACHE_MISS);
        };
        ttl_ms.put(milliseconds(remaining));
        Ok(LCACHE_OK)
    })
}

/// Gives a key a new time to live and keeps its value.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// ttl_ms: as for lc_set; 0 removes the key.
///
/// Returns: LCACHE_OK; LCACHE_MISS (there is none); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_expire(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    ttl_ms: u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let key = unsafe { pointers::key(key, key_len)? };
        with_cache(cache, |cache| cache.expire(key, ttl(ttl_ms))).map(ok_or_miss)
    })
}

/// Rounded up: a key that is still there has at least a millisecond to live.
pub(super) fn milliseconds(remaining: Remaining) -> u64 {
    match remaining {
        Remaining::Forever => LCACHE_TTL_NONE,
        Remaining::For(time) => {
            u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
        }
    }
}
