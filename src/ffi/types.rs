//! The types and plain constants of the C API.

#![allow(dead_code, reason = "some of these are used by C alone")]

use std::ffi::{c_char, c_void};

/// 0 ok, > 0 a normal outcome, < 0 an error. Numbers are never reused.
pub type lc_status = i32;

/// A handle of an open cache: slot | generation. 0 is never valid. A plain integer: copying it adds no
/// reference, and using it after lc_close gives LCACHE_EHANDLE.
pub type lc_cache = u64;

/// Pinned, immutable, reference-counted bytes of a value. Freed with lc_value_free.
pub struct lc_value {
    _opaque: [u8; 0],
}

/// A configuration that is being put together. Freed with lc_config_free.
pub struct lc_config {
    _opaque: [u8; 0],
}

/// A lock that is held. Given back, and freed, with lc_lock_release.
pub struct lc_lock {
    _opaque: [u8; 0],
}

/// Where a loader puts the value that it has loaded. Valid while the loader runs, and no longer.
pub struct lc_sink {
    _opaque: [u8; 0],
}

/// Bytes of the caller. `data` may be NULL where `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lc_bytes {
    /// The first byte.
    pub data: *const c_void,
    /// How many there are.
    pub len: usize,
}

/// Longest key, in bytes.
pub const LCACHE_KEY_MAX: usize = 65536;
/// Largest value, in bytes (511 MiB).
pub const LCACHE_VALUE_MAX: usize = 535822336;

/// A ttl_ms that never ends.
pub const LCACHE_TTL_NONE: u64 = u64::MAX;
/// A ttl_ms that stands for the cache's `default_ttl`.
pub const LCACHE_TTL_DEFAULT: u64 = u64::MAX - 1;
/// A stale_ms that stands for the cache's `stale_ttl`.
pub const LCACHE_STALE_DEFAULT: u64 = u64::MAX - 1;

/// The cache lives in this process.
pub const LCACHE_LOCAL: i32 = 1;
/// The cache lives in Redis or Valkey.
pub const LCACHE_REDIS: i32 = 2;
/// Local (L1) over Redis (L2).
pub const LCACHE_HYBRID: i32 = 3;

/// lc_get_result: L1, this process's memory, answered.
pub const LCACHE_FROM_L1: u32 = 1;
/// lc_get_result: L2, the server, answered.
pub const LCACHE_FROM_L2: u32 = 2;
/// lc_get_result: the value is past its proven freshness.
pub const LCACHE_STALE: u32 = 4;

/// Something is broken.
pub const LCACHE_LOG_ERROR: i32 = 1;
/// Something is off, and the library goes on.
pub const LCACHE_LOG_WARN: i32 = 2;
/// A change of state that an operator wants to see.
pub const LCACHE_LOG_INFO: i32 = 3;
/// For those who look for a fault.
pub const LCACHE_LOG_DEBUG: i32 = 4;
/// Everything.
pub const LCACHE_LOG_TRACE: i32 = 5;

/// Another process's write removed the key from L1.
pub const LCACHE_EVENT_INVALIDATED: u32 = 1;
/// A bound pushed the key out.
pub const LCACHE_EVENT_EVICTED: u32 = 2;
/// The key's time was over.
pub const LCACHE_EVENT_EXPIRED: u32 = 4;
/// The Hybrid lost its server, or the proof that it hears of other processes' writes.
pub const LCACHE_EVENT_DEGRADED: u32 = 8;
/// It has both again.
pub const LCACHE_EVENT_RECOVERED: u32 = 16;

/// Options of one read. Start from LCACHE_GET_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lc_get_options {
    /// Bound of the call in milliseconds; 0 takes the cache's.
    pub timeout_ms: u32,
    /// 0.
    pub flags: u32,
}

/// What one read found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lc_get_result {
    /// The pinned value, to be freed with lc_value_free.
    pub value: *mut lc_value,
    /// Its bytes, valid as long as the value is held.
    pub data: *const c_void,
    /// How many bytes.
    pub len: usize,
    /// Time to live in milliseconds; LCACHE_TTL_NONE where it never expires. Of a value past its proven
    /// freshness: how long it may still be served.
    pub ttl_ms: u64,
    /// LCACHE_FROM_L1 or LCACHE_FROM_L2, and LCACHE_STALE.
    pub flags: u32,
    /// 0.
    pub _reserved: u32,
}

/// Options of one write. Start from LCACHE_SET_OPTIONS_INIT: a zeroed ttl_ms means "already expired".
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lc_set_options {
    /// Time to live in milliseconds, LCACHE_TTL_NONE or LCACHE_TTL_DEFAULT.
    pub ttl_ms: u64,
    /// How long past its TTL the value may be served when a reload fails, in milliseconds; 0 for not at
    /// all, LCACHE_STALE_DEFAULT for as long as the cache's `stale_ttl` says.
    pub stale_ms: u64,
    /// Tags of the value, 1 to LCACHE_KEY_MAX bytes each, for lc_invalidate_tag; NULL where tag_count is 0.
    pub tags: *const lc_bytes,
    /// How many tags.
    pub tag_count: usize,
    /// Bound of the call in milliseconds; 0 takes the cache's.
    pub timeout_ms: u32,
    /// 0.
    pub flags: u32,
}

/// The counters of one cache, since it was opened.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct lc_stats {
    /// Live entries. Redis: UINT64_MAX, unknown without a scan; lc_count asks. Hybrid: of L1.
    pub entries: u64,
    /// Bytes held in this process: keys, values and overhead.
    pub bytes: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values stored.
    pub sets: u64,
    /// Values removed by a call: those that were there, also by a TTL of zero, and by a clear (not of a Hybrid).
    pub deletes: u64,
    /// Entries that a bound pushed out.
    pub evictions: u64,
    /// Entries whose time was over.
    pub expirations: u64,
    /// Hybrid: hits that L1 answered.
    pub l1_hits: u64,
    /// Hybrid: hits that L2 answered.
    pub l2_hits: u64,
    /// Hybrid: values of L2 that were stored in L1.
    pub backfills: u64,
    /// Hybrid: entries that another process's write removed from L1.
    pub invalidations: u64,
    /// Loads that were saved because another caller was loading already.
    pub coalesced: u64,
    /// Values served past their proven freshness.
    pub stale_served: u64,
    /// Calls or legs to the server that failed.
    pub errors: u64,
    /// Hybrid: writes that wait for the server.
    pub queued_writes: u64,
    /// Hybrid: queued writes that reached the server later.
    pub replayed_writes: u64,
    /// Hybrid: writes that never reached the server.
    pub dropped_writes: u64,
    /// Hybrid: 1 while L2 is bypassed or the invalidation stream is unproven, else 0.
    pub degraded: u32,
    /// 0.
    pub _reserved: u32,
    /// hits / (hits + misses), 0 where there were none.
    pub hit_rate: f64,
}

/// Is shown a key, whose bytes are valid during the call only; a result that is not 0 ends the
/// enumeration. Runs on the caller's thread and may call the library; must not throw or longjmp.
pub type lc_visit_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, key: *const c_void, key_len: usize) -> i32>;

/// Loads the value of a key into `out`: LCACHE_OK after lc_sink_set, LCACHE_MISS where there is none,
/// anything else has failed. Runs on the caller's thread and may call the library, but not load its own
/// key; must not throw or longjmp.
pub type lc_load_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        key: *const c_void,
        key_len: usize,
        out: *mut lc_sink,
    ) -> lc_status,
>;

/// Hears what the library has to say: `level` is LCACHE_LOG_ERROR (1) to LCACHE_LOG_TRACE (5),
/// `target` the part of the library ("redis"), `message` one line without keys, values or secrets. Both
/// texts are valid during the call only.
///
/// Runs on threads of the library and on threads that are inside a call, several at once, and holds no
/// lock of the library. Must not throw or longjmp. Calls that may block return LCACHE_EREENTRANT.
pub type lc_log_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        level: i32,
        target: *const c_char,
        message: *const c_char,
    ),
>;

/// Hears of an event, one of LCACHE_EVENT_...; `key` is NULL where it concerns no key, and its bytes are
/// valid during the call only. Runs on threads of the library; must not throw or longjmp. Calls that may
/// block return LCACHE_EREENTRANT.
pub type lc_event_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, event: i32, key: *const c_void, key_len: usize)>;

const _: () = {
    assert!(LCACHE_KEY_MAX == crate::key::KEY_MAX);
    assert!(LCACHE_VALUE_MAX == crate::key::VALUE_MAX);
};

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    /// The twins of these lines, in C, are in `tests/c/layout.c`.
    #[test]
    fn layout_is_that_of_the_header() {
        assert_eq!((size_of::<lc_status>(), size_of::<lc_cache>()), (4, 8));
        assert_eq!((size_of::<lc_bytes>(), offset_of!(lc_bytes, len)), (16, 8));
        assert_eq!((size_of::<lc_get_options>(), offset_of!(lc_get_options, flags)), (8, 4));
        assert_eq!(size_of::<lc_get_result>(), 40);
        assert_eq!(offset_of!(lc_get_result, len), 16);
        assert_eq!(offset_of!(lc_get_result, ttl_ms), 24);
        assert_eq!(offset_of!(lc_get_result, flags), 32);
        assert_eq!(size_of::<lc_set_options>(), 40);
        assert_eq!(offset_of!(lc_set_options, tags), 16);
        assert_eq!(offset_of!(lc_set_options, timeout_ms), 32);
        assert_eq!((size_of::<lc_stats>(), align_of::<lc_stats>()), (160, 8));
        assert_eq!(offset_of!(lc_stats, expirations), 56);
        assert_eq!(offset_of!(lc_stats, dropped_writes), 136);
        assert_eq!(offset_of!(lc_stats, degraded), 144);
        assert_eq!(offset_of!(lc_stats, hit_rate), 152);
    }
}
