//! A Local cache's entries, written to a file and read back.

use std::ffi::c_char;
use std::path::Path;

use super::guard::guard;
use super::open_caches::with_shared;
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_cache, lc_status};
use crate::error::Result;
use crate::ops::BlockingCache;

/// Writes all live entries of a Local cache to a file. It appears complete or not at all: what had that
/// name is there until the new one takes its place.
///
/// cache: an open handle of a Local cache.
/// path: the file, NUL-terminated, in the bytes of the file system.
/// entries: receives how many were written.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Local); LCACHE_EIO (the message has the
/// system's reason); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid
/// LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: for the file.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_save(
    cache: lc_cache,
    path: *const c_char,
    entries: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    unsafe { with_file(cache, path, entries, |cache, path| cache.save(path)) }
}

/// Stores the entries of a file that lc_save wrote, beside those that are there. The time that has passed
/// since is deducted from their times to live, by the wall clock, and never added; what has expired is
/// not stored. A damaged file stores nothing.
///
/// cache: an open handle of a Local cache.
/// path: the file, NUL-terminated, in the bytes of the file system.
/// entries: receives how many were stored.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Local); LCACHE_EIO (the message has the
/// system's reason); LCACHE_ECORRUPT (the file is damaged, or no such file; the message says what is
/// wrong); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid
/// LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: for the file.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_load(
    cache: lc_cache,
    path: *const c_char,
    entries: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    unsafe { with_file(cache, path, entries, |cache, path| cache.load(path)) }
}

/// # Safety
/// `path` is NULL or points to a NUL-terminated text that nobody writes to during the call; `entries` is
/// NULL or a writable place that nobody else uses during the call.
unsafe fn with_file(
    cache: lc_cache,
    path: *const c_char,
    entries: *mut usize,
    operation: impl FnOnce(&dyn BlockingCache, &Path) -> Result<u64>,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller's promise is the same.
        let (entries, path) = unsafe { (Out::new(entries, "entries")?, pointers::path(path)?) };
        let count = with_shared(cache, |cache| operation(cache, path))?;
        entries.put(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(LCACHE_OK)
    })
}
