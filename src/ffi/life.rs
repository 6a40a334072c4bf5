//! The life of a cache: opened, duplicated, asked for its kind, closed; and of the library: shut down.

use std::ffi::c_char;
use std::time::Duration;

use super::guard::guard;
use super::open_caches::{CACHES, config_of, open, publish, share, unknown, url_of, with_shared};
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{LCACHE_HYBRID, LCACHE_LOCAL, LCACHE_REDIS, lc_cache, lc_status};
use crate::cache::AnyCache;
use crate::config::{Config, HybridOptions};
use crate::ops::{BlockingCache, Kind};
use crate::runtime;

/// Opens a cache. Two opens share nothing, even of the same URL.
///
/// url: "local:", "redis://host?prefix=app", "hybrid+redis://host?prefix=app", ... (all forms and options
/// are in docs/configuration.md); NULL takes LIGHTER_CACHE_URL, else REDIS_URL (as a Hybrid), else
/// "local:" with a warning to the log.
/// out: receives the handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_ECONFIG (the message names what is wrong and
/// the nearest valid option); LCACHE_ENOMEM; LCACHE_EPANIC; where a server is needed also LCACHE_ECONNECT
/// (also where it answers but refuses the connection: the message has its answer), LCACHE_ETIMEOUT,
/// LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT. A Hybrid opens without its server,
/// unless require_l2=true.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to connect_timeout and timeout.
/// Ownership: the caller closes *out once, with lc_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_open(url: *const c_char, out: *mut lc_cache) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (out, url) = unsafe { (Out::new(out, "out")?, url_of(url)?) };
        out.put(open(&config_of(url)?)?);
        Ok(LCACHE_OK)
    })
}

/// Says whether lc_open would understand a URL. Opens nothing and reaches no server.
///
/// url: as for lc_open.
/// message: receives what is wrong, in one line, NUL-terminated and cut to cap; "" where nothing is. NULL
/// where it is not wanted.
/// cap: bytes of message; 0 where message is NULL.
///
/// Returns: LCACHE_OK; LCACHE_ECONFIG; LCACHE_EINVAL (message is NULL and cap is not 0); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: message stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_check(
    url: *const c_char,
    message: *mut c_char,
    cap: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let message = unsafe { pointers::buffer(message.cast(), cap)? };
        // SAFETY: as above.
        let checked = unsafe { url_of(url) }.and_then(config_of);
        pointers::copy_text(checked.as_ref().map_or_else(|error| error.message(), |_| ""), message);
        checked.map(|_| LCACHE_OK)
    })
}

/// Makes a Hybrid of two open caches.
///
/// l1: a Local cache.
/// l2_or_0: a Redis cache, or 0: then the Hybrid works on l1 alone, which is no outage.
/// options: the Hybrid's options as a query string, "watchdog=2s&l2_timeout=100ms"; NULL takes the
/// defaults.
/// out: receives the handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ECONFIG (an option, or a cache
/// of the wrong kind); LCACHE_EUNSUPPORTED; LCACHE_ENOMEM; LCACHE_EPANIC; with an l2 also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT. Without its server it
/// goes on with l1, unless require_l2=true.
/// Threads: any.
/// Blocks: up to l2_timeout where there is an l2, and as long again with require_l2=true.
/// Ownership: the Hybrid takes references of its own: l1 and l2 stay the caller's, who may close them
/// at any time. The caller closes *out once, with lc_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_open_hybrid(
    l1: lc_cache,
    l2_or_0: lc_cache,
    options: *const c_char,
    out: *mut lc_cache,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (out, options) = unsafe { (Out::new(out, "out")?, url_of(options)?) };
        let options =
            options.map_or_else(|| Ok(HybridOptions::default()), Config::hybrid_options)?;
        let l1 = share(l1)?;
        let l2 = if l2_or_0 == 0 { None } else { Some(share(l2_or_0)?) };
        if l2.is_some() {
            runtime::refuse_library_thread()?;
        }
        out.put(publish(AnyCache::compose(&l1, l2.as_deref(), options)?)?);
        Ok(LCACHE_OK)
    })
}

/// Gives a cache another handle. Each handle is closed once; the cache lives until its last is closed.
///
/// cache: an open handle.
/// out: receives the new handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller closes *out once, with lc_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_dup(cache: lc_cache, out: *mut lc_cache) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { Out::new(out, "out")? };
        out.put(CACHES.insert(share(cache)?)?);
        Ok(LCACHE_OK)
    })
}

/// Closes a handle, at once. The last handle of a cache frees its content now. Calls in flight on other
/// threads finish safely, later ones get LCACHE_EHANDLE; values that were read stay valid.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE (also for the second close of one handle); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never for a server; briefly for calls that other threads have in flight on Local caches.
/// Ownership: the handle is given up.
#[unsafe(no_mangle)]
pub extern "C" fn lc_close(cache: lc_cache) -> lc_status {
    guard(|| {
        let closed = CACHES.remove(cache).ok_or_else(unknown)?;
        // Calls in flight hold references too: it is the handles that count.
        if !CACHES.names(&closed) {
            closed.close();
        }
        Ok(LCACHE_OK)
    })
}

/// Closes every handle and stops the library's threads. The program's to call, never a library's: it
/// ends the caches of all. Calls that wait for a server end with LCACHE_ECLOSED. Opening again is fine.
/// A program that just exits need not call it.
///
/// timeout_ms: how long to wait for the threads, in milliseconds.
///
/// Returns: LCACHE_OK; LCACHE_EREENTRANT; LCACHE_EPANIC.
/// Threads: any, but not a callback's.
/// Blocks: up to timeout_ms.
/// Ownership: all handles are given up; values that were read stay valid.
#[unsafe(no_mangle)]
pub extern "C" fn lc_shutdown(timeout_ms: u32) -> lc_status {
    guard(|| {
        runtime::refuse_library_thread()?;
        CACHES.remove_all().iter().for_each(|cache| cache.close());
        runtime::shutdown(Duration::from_millis(timeout_ms.into()))?;
        Ok(LCACHE_OK)
    })
}

/// Which kind of cache this is.
///
/// cache: an open handle.
/// out: receives LCACHE_LOCAL, LCACHE_REDIS or LCACHE_HYBRID.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_kind(cache: lc_cache, out: *mut i32) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { Out::new(out, "out")? };
        out.put(match BlockingCache::kind(&*share(cache)?) {
            Kind::Local => LCACHE_LOCAL,
            Kind::Redis => LCACHE_REDIS,
            Kind::Hybrid => LCACHE_HYBRID,
        });
        Ok(LCACHE_OK)
    })
}

/// Reaches the server. A Local cache, and a Hybrid without an L2, have none to reach: LCACHE_OK.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
#[unsafe(no_mangle)]
pub extern "C" fn lc_ping(cache: lc_cache) -> lc_status {
    guard(|| {
        with_shared(cache, |cache| cache.ping())?;
        Ok(LCACHE_OK)
    })
}
