//! Locks. An `lc_lock *` is a [`Lock`] on the heap, which its release frees.

use std::ffi::c_void;
use std::panic::catch_unwind;
use std::ptr::NonNull;
use std::time::Duration;

use super::guard::guard;
use super::open_caches::with_shared;
use super::pointers::{self, Out};
use super::status::{LCACHE_BUSY, LCACHE_LOST, LCACHE_OK};
use super::types::{lc_cache, lc_lock, lc_status};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, Lock, TTL_MAX_MS};

/// Takes a lock: on Local among the threads of this process, on Redis and Hybrid among all that share the
/// server and the prefix. Locks are apart from keys: a name may be that of a key.
///
/// A lock is held for its lease and no longer: a holder that is late no longer holds it, and who has it
/// then has a larger fence.
///
/// cache: an open handle.
/// name, name_len: 1 to LCACHE_KEY_MAX bytes, any bytes.
/// lease_ms: how long it is held at most, in milliseconds; at least 1, at most 100 years.
/// wait_ms: how long to wait for it, in milliseconds; 0 tries once.
/// out: receives the lock.
///
/// Returns: LCACHE_OK; LCACHE_BUSY (others held it all that time); LCACHE_EINVAL; LCACHE_EHANDLE;
/// LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_EREENTRANT;
/// LCACHE_ECLOSED; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER.
/// Threads: any.
/// Blocks: up to wait_ms; Redis and Hybrid besides up to timeout or l2_timeout per round trip.
/// Ownership: the caller gives *out back with lc_lock_release; the name is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_lock_acquire(
    cache: lc_cache,
    name: *const c_void,
    name_len: usize,
    lease_ms: u64,
    wait_ms: u64,
    out: *mut *mut lc_lock,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (out, name) =
            unsafe { (Out::new(out, "out")?, pointers::name(name, name_len, "name")?) };
        let lease = lease(lease_ms)?;
        // 100 years are as good as for ever, and no sum of times overflows.
        let wait = Duration::from_millis(wait_ms.min(TTL_MAX_MS));
        match with_shared(cache, |cache| cache.lock(name, lease, wait))? {
            Some(lock) => out.put(Box::into_raw(Box::new(lock)).cast()),
            None => return Ok(LCACHE_BUSY),
        }
        Ok(LCACHE_OK)
    })
}

/// The fence of a lock: a number that grows with every acquisition of its name. Storage that remembers the
/// largest it has seen can refuse a holder that does not know that it lost the lock.
///
/// lock: a lock that was not released; NULL is allowed.
///
/// Returns: the number; 0 for NULL.
/// Threads: any, several at once, but not while it is being released.
/// Blocks: never.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_lock_fence(lock: *const lc_lock) -> u64 {
    let fence = || {
        // SAFETY: the caller passes NULL or a lock that it has not released.
        unsafe { lock_of(lock) }.map_or(0, Lock::fence)
    };
    catch_unwind(std::panic::AssertUnwindSafe(fence)).unwrap_or(0)
}

/// Begins a new lease, from now on.
///
/// lock: a lock that was not released.
/// lease_ms: how long it is held at most, in milliseconds; at least 1, at most 100 years.
///
/// Returns: LCACHE_OK; LCACHE_LOST (the lease had run out, or the process was forked since: it is not held
/// any more, and still to be released); LCACHE_EINVAL; LCACHE_EPANIC; on Redis and Hybrid also
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any, several at once, but not while it is being released.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the lock stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_lock_extend(lock: *mut lc_lock, lease_ms: u64) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or a lock that it has not released.
        let lock = unsafe { lock_of(lock) }.ok_or_else(|| pointers::null("lock"))?;
        lock.extend(lease(lease_ms)?).map(ok_or_lost)
    })
}

/// Gives a lock back, and frees it on every outcome. Also after its cache was closed.
///
/// lock: a lock that was not released.
///
/// Returns: LCACHE_OK; LCACHE_LOST (the lease had run out, or the process was forked since: others may hold
/// it); LCACHE_EINVAL (lock is NULL: nothing happens); LCACHE_EPANIC; on Redis and Hybrid also
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT:
/// where the server did not hear of it, the lock is free when its lease runs out.
/// Threads: any, also another than the one that took it; once.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the lock is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_lock_release(lock: *mut lc_lock) -> lc_status {
    guard(|| {
        if lock.is_null() {
            return Err(pointers::null("lock"));
        }
        // SAFETY: the pointer came from `Box::into_raw` in `lc_lock_acquire`, and the caller gives it up.
        let lock = unsafe { Box::from_raw(lock.cast::<Lock>()) };
        lock.release().map(ok_or_lost)
    })
}

/// # Safety
/// `lock` is NULL or came from `lc_lock_acquire` and is not released during the call.
unsafe fn lock_of<'a>(lock: *const lc_lock) -> Option<&'a Lock> {
    // SAFETY: not NULL, so the pointer came from `lc_lock_acquire`, where it was a `Lock`.
    NonNull::new(lock.cast_mut()).map(|lock| unsafe { lock.cast().as_ref() })
}

fn lease(lease_ms: u64) -> Result<Duration> {
    if lease_ms == 0 || lease_ms > TTL_MAX_MS {
        return Err(Error::new(
            ErrorKind::Invalid,
            "lease_ms has to be at least 1 and at most 100 years",
        ));
    }
    Ok(Duration::from_millis(lease_ms))
}

const fn ok_or_lost(held: bool) -> lc_status {
    if held { LCACHE_OK } else { LCACHE_LOST }
}

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::ffi::status::{LCACHE_ECONNECT, LCACHE_EINVAL};
    use crate::ops::HeldLock;

    /// Lost where a lease of 3 ms or more is asked for. Counts how often it was dropped.
    struct Held(Arc<AtomicU32>, Result<bool>);

    impl HeldLock for Held {
        fn fence(&self) -> u64 {
            7
        }
        fn extend(&self, lease: Duration) -> Result<bool> {
            Ok(lease < Duration::from_millis(3))
        }
        fn release(&self) -> Result<bool> {
            self.1.clone()
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_release_frees_on_every_outcome() {
        let dropped = Arc::new(AtomicU32::new(0));
        for (n, (answer, expected)) in [
            (Ok(true), LCACHE_OK),
            (Ok(false), LCACHE_LOST),
            (Err(ErrorKind::Connect.into()), LCACHE_ECONNECT),
        ]
        .into_iter()
        .enumerate()
        {
            let held = Lock::new(Held(dropped.clone(), answer));
            let lock: *mut lc_lock = Box::into_raw(Box::new(held)).cast();
            // SAFETY: the lock is a `Lock` on the heap, and not used after its release.
            unsafe {
                assert_eq!(lc_lock_fence(lock), 7);
                assert_eq!(lc_lock_extend(lock, 2), LCACHE_OK);
                assert_eq!(lc_lock_extend(lock, 3), LCACHE_LOST);
                assert_eq!(lc_lock_extend(lock, 0), LCACHE_EINVAL);
                assert_eq!(lc_lock_extend(lock, TTL_MAX_MS + 1), LCACHE_EINVAL);
                assert_eq!(lc_lock_release(lock), expected);
            }
            assert_eq!(dropped.load(Relaxed), n as u32 + 1);
        }
    }

    #[test]
    fn no_lock_is_refused() {
        // SAFETY: NULL is allowed.
        unsafe {
            assert_eq!(lc_lock_fence(ptr::null()), 0);
            assert_eq!(lc_lock_extend(ptr::null_mut(), 1), LCACHE_EINVAL);
            assert_eq!(lc_lock_release(ptr::null_mut()), LCACHE_EINVAL);
        }
    }
}
