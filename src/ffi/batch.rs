//! Many keys at once: on a server one round trip.

use std::mem::MaybeUninit;
use std::ptr;

use super::guard::guard;
use super::open_caches::{ttl, with_shared};
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_bytes, lc_cache, lc_status, lc_value};
use super::value;
use crate::error::Result;
use crate::ops::BlockingCache;

/// Reads many values, on a server in one round trip. Not atomic.
///
/// cache: an open handle.
/// keys, n: the keys and their number; NULL where n is 0.
/// values: n places; each receives the pinned value of its key, NULL for a miss or a corrupt value. On an
/// error all are NULL.
/// hits: receives how many are not NULL.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (a key); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid for what L1 misses up to l2_timeout (per round trip
/// where a very large batch takes several).
/// Ownership: the caller frees each value that is not NULL with lc_value_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_get_many(
    cache: lc_cache,
    keys: *const lc_bytes,
    n: usize,
    values: *mut *mut lc_value,
    hits: *mut usize,
) -> lc_status {
    guard(|| {
        // Before anything is written: `n` counts the larger elements too.
        pointers::check_count::<lc_bytes>(n)?;
        // SAFETY: the caller passes NULL or what the header asks for.
        let values = unsafe { pointers::places(values, n, "values")? };
        values.fill(MaybeUninit::new(ptr::null_mut()));
        // SAFETY: as above.
        let (hits, keys) = unsafe { (Out::new(hits, "hits")?, keys_of(keys, n)?) };
        let found = with_shared(cache, |cache| cache.get_many(&keys))?;
        let mut count = 0;
        for (place, value) in values.iter_mut().zip(found) {
            if let Some(value) = value {
                place.write(value::into_raw(value));
                count += 1;
            }
        }
        hits.put(count);
        Ok(LCACHE_OK)
    })
}

/// Stores many values with one TTL, on a server in one round trip. Not atomic: where it fails, some may
/// be stored. A key or value that is refused is refused before anything is stored.
///
/// cache: an open handle.
/// keys, values, n: the keys, their values, and the number of each; NULL where n is 0.
/// ttl_ms: as for lc_set.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout (per round trip where a very large
/// batch takes several).
/// Ownership: keys and values are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_set_many(
    cache: lc_cache,
    keys: *const lc_bytes,
    values: *const lc_bytes,
    n: usize,
    ttl_ms: u64,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (keys, values) =
            unsafe { (pointers::array(keys, n, "keys")?, pointers::array(values, n, "values")?) };
        let items = pointers::collect(keys.iter().zip(values), n, |(key, value)| {
            // SAFETY: as above, for the bytes of each element.
            unsafe { Ok((pointers::key_of(key)?, pointers::value_of(value)?)) }
        })?;
        with_shared(cache, |cache| cache.set_many(&items, ttl(ttl_ms)))?;
        Ok(LCACHE_OK)
    })
}

/// Removes many keys, on a server in one round trip. Not atomic.
///
/// cache: an open handle.
/// keys, n: the keys and their number; NULL where n is 0.
/// deleted: receives how many were there.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout (per round trip where a very large
/// batch takes several).
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_delete_many(
    cache: lc_cache,
    keys: *const lc_bytes,
    n: usize,
    deleted: *mut usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (deleted, keys) = unsafe { (Out::new(deleted, "deleted")?, keys_of(keys, n)?) };
        let count = with_shared(cache, |cache| cache.delete_many(&keys))?;
        deleted.put(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(LCACHE_OK)
    })
}

/// The keys of a batch.
///
/// # Safety
/// `keys` is NULL or points to `n` elements whose bytes are there during the call.
pub(super) unsafe fn keys_of<'a>(keys: *const lc_bytes, n: usize) -> Result<Vec<&'a [u8]>> {
    // SAFETY: the caller's promise is the same.
    let keys = unsafe { pointers::array(keys, n, "keys")? };
    // SAFETY: as above, for the bytes of each element.
    pointers::collect(keys.iter(), n, |key| unsafe { pointers::key_of(key) })
}
