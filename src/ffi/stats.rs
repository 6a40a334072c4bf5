//! Seeing inside: the counters, how many entries there are, and both as a text for Prometheus.

use std::ptr;

use super::guard::guard;
use super::open_caches::{share, with_shared};
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_cache, lc_stats, lc_status, lc_value};
use super::value;
use crate::ops::BlockingCache;
use crate::stats::CacheStats;
use crate::value::Value;

/// The counters of a cache. Asks no server.
///
/// cache: an open handle.
/// out, out_size: the structure and sizeof(lc_stats). A smaller size gets the first fields only; what a
/// larger one has behind the fields that the library knows is zeroed.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL, or out_size is beyond all reason); LCACHE_EHANDLE;
/// LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: out stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_stats_get(
    cache: lc_cache,
    out: *mut lc_stats,
    out_size: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { pointers::sized_out(out, out_size, "out")? };
        out.put(lc_stats::from(share(cache)?.stats()?));
        Ok(LCACHE_OK)
    })
}

/// How many entries there are; on Redis under the prefix, counted by a scan.
///
/// cache: an open handle.
/// out: receives the number.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid
/// also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_EUNSUPPORTED (the prefix is
/// empty), LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_count(cache: lc_cache, out: *mut u64) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { Out::new(out, "out")? };
        out.put(with_shared(cache, |cache| cache.count())?);
        Ok(LCACHE_OK)
    })
}

/// The counters of a cache in the text format of Prometheus. Asks no server.
///
/// cache: an open handle.
/// out: receives the text, not NUL-terminated; NULL is written on every outcome but LCACHE_OK.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller frees *out with lc_value_free; it outlives the cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_metrics(cache: lc_cache, out: *mut *mut lc_value) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { Out::new(out, "out")? };
        out.put(ptr::null_mut());
        let text = share(cache)?.metrics()?;
        out.put(value::into_raw(Value::from_vec(text.into_bytes(), 0)?));
        Ok(LCACHE_OK)
    })
}

impl From<CacheStats> for lc_stats {
    fn from(stats: CacheStats) -> Self {
        Self {
            entries: stats.size,
            bytes: stats.bytes,
            hits: stats.hits,
            misses: stats.misses,
            sets: stats.sets,
            deletes: stats.deletes,
            evictions: stats.evictions,
            expirations: stats.expirations,
            l1_hits: stats.l1_hits,
            l2_hits: stats.l2_hits,
            backfills: stats.backfills,
            invalidations: stats.invalidations,
            coalesced: stats.coalesced,
            stale_served: stats.stale_served,
            errors: stats.errors,
            queued_writes: stats.queued_writes,
            replayed_writes: stats.replayed_writes,
            dropped_writes: stats.dropped_writes,
            degraded: stats.degraded.into(),
            _reserved: 0,
            hit_rate: stats.hit_rate,
        }
    }
}
