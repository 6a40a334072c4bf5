//! A Hybrid's L1, filled from L2 before it is asked.

use std::ffi::c_void;

use super::batch::keys_of;
use super::guard::guard;
use super::open_caches::with_shared;
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_bytes, lc_cache, lc_status};
use crate::ops::BlockingCache;

/// Reads keys from L2 into L1. Counts as neither hits nor misses.
///
/// cache: an open handle of a Hybrid.
/// keys, n: the keys and their number; NULL where n is 0.
/// loaded: receives how many were there.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Hybrid, or this version can't do it);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ECONNECT; LCACHE_ETIMEOUT; LCACHE_EAUTH;
/// LCACHE_ESERVER; LCACHE_ECLOSED; LCACHE_EREENTRANT; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: up to l2_timeout per round trip, of which a very large batch takes several.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_warm(
    cache: lc_cache,
    keys: *const lc_bytes,
    n: usize,
    loaded: *mut usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (loaded, keys) = unsafe { (Out::new(loaded, "loaded")?, keys_of(keys, n)?) };
        let count = with_shared(cache, |cache| cache.warm(&keys))?;
        loaded.put(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(LCACHE_OK)
    })
}

/// Reads keys that begin with a prefix from L2 into L1. Counts as neither hits nor misses.
///
/// cache: an open handle of a Hybrid.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 read any keys.
/// limit: how many at most; SIZE_MAX for all.
/// loaded: receives how many were read.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Hybrid, or this version can't do it);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ECONNECT; LCACHE_ETIMEOUT; LCACHE_EAUTH;
/// LCACHE_ESERVER; LCACHE_ECLOSED; LCACHE_EREENTRANT; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: up to l2_timeout per round trip, of which a large cache takes many.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_warm_prefix(
    cache: lc_cache,
    prefix: *const c_void,
    prefix_len: usize,
    limit: usize,
    loaded: *mut usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (loaded, prefix) =
            unsafe { (Out::new(loaded, "loaded")?, pointers::prefix(prefix, prefix_len)?) };
        let count = with_shared(cache, |cache| cache.warm_prefix(prefix, limit as u64))?;
        loaded.put(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(LCACHE_OK)
    })
}
