//! Keys by what they have in common: a prefix, or a tag.

use std::ffi::c_void;
use std::ops::ControlFlow;

use super::guard::guard;
use super::open_caches::with_shared;
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_cache, lc_status, lc_visit_fn};
use crate::ops::BlockingCache;

/// Makes all values that carry a tag (lc_set_options) absent, at a cost that does not grow with their
/// number. Values that are stored with it later are not affected.
///
/// cache: an open handle.
/// tag, tag_len: 1 to LCACHE_KEY_MAX bytes, any bytes.
///
/// Returns: LCACHE_OK, also where no value carries it; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and
/// Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the tag is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_invalidate_tag(
    cache: lc_cache,
    tag: *const c_void,
    tag_len: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let tag = unsafe { pointers::name(tag, tag_len, "tag")? };
        with_shared(cache, |cache| cache.invalidate_tag(tag))?;
        Ok(LCACHE_OK)
    })
}

/// Removes all keys that begin with a prefix, and nothing else. Not atomic.
///
/// cache: an open handle.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 remove all keys.
/// deleted: receives how many there were.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of
/// cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_delete_prefix(
    cache: lc_cache,
    prefix: *const c_void,
    prefix_len: usize,
    deleted: *mut usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (deleted, prefix) =
            unsafe { (Out::new(deleted, "deleted")?, pointers::prefix(prefix, prefix_len)?) };
        let count = with_shared(cache, |cache| cache.delete_prefix(prefix))?;
        deleted.put(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(LCACHE_OK)
    })
}

/// Shows visit all keys that begin with a prefix, in no order. It runs on the caller's thread, without
/// any lock, and may call the library, for this cache too. Keys that come or go meanwhile may be shown or
/// not; Redis may show a key twice.
///
/// cache: an open handle.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 show all keys.
/// visit: is called with ctx and a key, whose bytes are valid during the call only; a result that is not
/// 0 ends the enumeration. Must not throw or longjmp.
/// ctx: passed to visit; may be NULL.
///
/// Returns: LCACHE_OK, also where visit ended it; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and
/// Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT. After an error visit may have been shown some keys.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many; and for what visit does.
/// Ownership: ctx stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_foreach_key(
    cache: lc_cache,
    prefix: *const c_void,
    prefix_len: usize,
    visit: lc_visit_fn,
    ctx: *mut c_void,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let prefix = unsafe { pointers::prefix(prefix, prefix_len)? };
        let visit = visit.ok_or_else(|| pointers::null("visit"))?;
        let mut show = |key: &[u8]| {
            // SAFETY: the program promised a function of this type that does not unwind; the key lives
            // until it has returned.
            let stop = unsafe { visit(ctx, key.as_ptr().cast(), key.len()) };
            if stop == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        with_shared(cache, |cache| cache.for_each_key(prefix, &mut show))?;
        Ok(LCACHE_OK)
    })
}
