//! Events: what happens to a cache and its keys without a call goes to functions of the program.

use std::ffi::c_void;
use std::ptr;

use super::context::Context;
use super::guard::guard;
use super::open_caches::share;
use super::pointers::{self, Out};
use super::status::{LCACHE_OK, ok_or_miss};
use super::types::{lc_cache, lc_event_fn, lc_status};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, Event, Events};
use crate::runtime;

/// Subscribes a function to events of one cache, from now on until lc_unsubscribe, or until the last
/// handle of the cache is closed. Events that come faster than the function hears them are dropped.
///
/// cache: an open handle.
/// event_mask: the LCACHE_EVENT_... to hear of, combined with |; at least one.
/// callback: the function. It may be called before this returns. It may call what never blocks; the rest
/// gives LCACHE_EREENTRANT.
/// ctx: passed to callback and destroy; may be NULL.
/// destroy: is called with ctx, once, when callback will not be called any more; at once where this call
/// fails. May be NULL.
/// id: receives the number of the subscription, for lc_unsubscribe.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any, also from within a callback.
/// Blocks: never.
/// Ownership: ctx belongs to the library until destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_subscribe(
    cache: lc_cache,
    event_mask: u32,
    callback: lc_event_fn,
    ctx: *mut c_void,
    destroy: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    id: *mut u64,
) -> lc_status {
    guard(|| {
        let ctx = Context::new(ctx, destroy);
        // SAFETY: the caller passes NULL or what the header asks for.
        let id = unsafe { Out::new(id, "id")? };
        let function = callback.ok_or_else(|| pointers::null("callback"))?;
        let events = events_of(event_mask)?;
        let callback = Callback { function, ctx };
        let listener = Box::new(move |event, key: &[u8]| callback.hear(event, key));
        id.put(share(cache)?.subscribe(events, listener)?);
        Ok(LCACHE_OK)
    })
}

/// Ends a subscription. Once this has returned, its function is not running and is not called again; where
/// the function itself calls this, it is not called again.
///
/// cache: an open handle of the cache that was subscribed to, not necessarily the same handle.
/// id: the number of the subscription.
///
/// Returns: LCACHE_OK; LCACHE_MISS (there is no such subscription); LCACHE_EHANDLE; LCACHE_EREENTRANT;
/// LCACHE_EUNSUPPORTED (this kind of cache has none); LCACHE_EPANIC.
/// Threads: any, also from within the function.
/// Blocks: for a call of the function that is running on another thread.
/// Ownership: the subscription's ctx is given back by its destroy.
#[unsafe(no_mangle)]
pub extern "C" fn lc_unsubscribe(cache: lc_cache, id: u64) -> lc_status {
    guard(|| share(cache)?.unsubscribe(id).map(ok_or_miss))
}

fn events_of(mask: u32) -> Result<Events> {
    Events::from_bits(mask).filter(|events| events.bits() != 0).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "event_mask is no combination of LCACHE_EVENT_...")
    })
}

struct Callback {
    function: unsafe extern "C" fn(*mut c_void, i32, *const c_void, usize),
    ctx: Context,
}

impl Callback {
    fn hear(&self, event: Event, key: &[u8]) {
        let data = if key.is_empty() { ptr::null() } else { key.as_ptr() };
        let _scope = runtime::library_thread_scope();
        // SAFETY: the program promised a function of this type that does not unwind; the key lives until
        // it has returned.
        unsafe { (self.function)(self.ctx.pointer(), event as i32, data.cast(), key.len()) };
    }
}

const _: () = {
    use super::types::*;
    assert!(LCACHE_EVENT_INVALIDATED == Event::Invalidated as u32);
    assert!(LCACHE_EVENT_EVICTED == Event::Evicted as u32);
    assert!(LCACHE_EVENT_EXPIRED == Event::Expired as u32);
    assert!(LCACHE_EVENT_DEGRADED == Event::Degraded as u32);
    assert!(LCACHE_EVENT_RECOVERED == Event::Recovered as u32);
};

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    /// Counts calls in the lower half, destructions in the upper one.
    unsafe extern "C" fn hear(ctx: *mut c_void, event: i32, key: *const c_void, key_len: usize) {
        assert_eq!(key.is_null(), key_len == 0);
        assert_eq!(event, if key_len == 0 { 8 } else { 2 });
        assert!(runtime::on_library_thread());
        // SAFETY: the test passes such a counter.
        unsafe { &*ctx.cast::<AtomicU32>() }.fetch_add(1, Relaxed);
    }

    unsafe extern "C" fn destroy(ctx: *mut c_void) {
        // SAFETY: the test passes such a counter.
        unsafe { &*ctx.cast::<AtomicU32>() }.fetch_add(1 << 16, Relaxed);
    }

    #[test]
    fn a_listener_is_called_and_destroyed_once() {
        let count = AtomicU32::new(0);
        let ctx = Context::new((&raw const count).cast_mut().cast(), Some(destroy));
        let callback = Callback { function: hear, ctx };
        let listener: crate::ops::Listener =
            Box::new(move |event, key: &[u8]| callback.hear(event, key));
        listener(Event::Evicted, b"key");
        listener(Event::Degraded, b"");
        assert_eq!(count.load(Relaxed), 2);
        assert!(!runtime::on_library_thread());
        drop(listener);
        assert_eq!(count.load(Relaxed), 2 + (1 << 16));
    }

    #[test]
    fn a_mask_names_events() {
        assert!(events_of(0).is_err() && events_of(32).is_err() && events_of(u32::MAX).is_err());
        assert_eq!(events_of(31).unwrap(), Events::ALL);
        assert!(events_of(8).unwrap().contains(Event::Degraded));
    }
}
