//! The caches that are open through the C API, and the way from a handle to one of them.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use super::guard::Failed;
use super::pointers;
use super::types::{LCACHE_TTL_DEFAULT, LCACHE_TTL_NONE, lc_cache, lc_status};
use crate::cache::AnyCache;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, Inside};
use crate::handle::{Held, Table};
use crate::hybrid::HybridCache;
use crate::local::LocalCache;
use crate::ops::{Kind, Ttl};
use crate::runtime;

pub(super) static CACHES: Table<AnyCache> = Table::new();

/// Opens the cache of a checked configuration and gives it a handle.
pub(super) fn open(config: &Config) -> Result<lc_cache> {
    if config.kind != Kind::Local {
        runtime::refuse_library_thread()?;
    }
    publish(AnyCache::open(config)?)
}

/// The configuration that a URL, or for `None` the environment, describes.
pub(super) fn config_of(url: Option<&str>) -> Result<Config> {
    url.map_or_else(Config::from_env, Config::parse)
}

/// A URL, or options as a query string; NULL is legal. What is no text is no URL.
///
/// # Safety
/// `url` is NULL or points to a NUL-terminated text that nobody writes to during the call.
pub(super) unsafe fn url_of<'a>(url: *const c_char) -> Result<Option<&'a str>> {
    if url.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise is the same.
    let text = unsafe { pointers::text(url, "URL") };
    text.map(Some).map_err(|error| Error::new(ErrorKind::Config, error.message().to_owned()))
}

/// Gives a cache a handle.
pub(super) fn publish(cache: AnyCache) -> Result<lc_cache> {
    CACHES.insert(Arc::new(cache))
}

/// Runs an operation of one key on the cache that `handle` names.
///
/// On a Local cache it never waits and is short: it runs inside the fork gate, by reference, so that
/// nothing shared is written. On the others see [`with_shared`].
#[inline]
pub(super) fn with_cache<R>(
    handle: lc_cache,
    operation: impl FnOnce(&AnyCache) -> Result<R>,
) -> Result<R> {
    let held = CACHES.get(fork::enter(), handle).ok_or_else(unknown)?;
    match *held {
        AnyCache::Local(_) => operation(&held),
        _ => operation(&*leave_with(held)?),
    }
}

/// The cache that `handle` names, inside the gate: for the frequent operations, which on a Local cache
/// need not enter it once more ([`local`]), and go [`elsewhere`] on another.
#[inline(always)]
pub(super) fn held(handle: lc_cache) -> Option<Held<AnyCache>> {
    CACHES.get(fork::enter(), handle)
}

/// The same of a Hybrid, whose L1 may have the answer.
#[inline(always)]
pub(super) fn hybrid(held: &Held<AnyCache>) -> Option<(&HybridCache, &Inside)> {
    match &**held {
        AnyCache::Hybrid(cache) => Some((cache, held.inside())),
        _ => None,
    }
}

#[inline(always)]
pub(super) fn local(held: &Held<AnyCache>) -> Option<(&LocalCache, &Inside)> {
    match &**held {
        AnyCache::Local(cache) => Some((cache, held.inside())),
        _ => None,
    }
}

#[cold]
#[inline(never)]
pub(super) fn elsewhere(
    held: Held<AnyCache>,
    operation: impl FnOnce(&AnyCache) -> Result<lc_status, Failed>,
) -> Result<lc_status, Failed> {
    operation(&*leave_with(held)?)
}

/// Leaves the gate with a reference to a cache that may wait.
fn leave_with(held: Held<AnyCache>) -> Result<Arc<AnyCache>> {
    let shared = held.share();
    drop(held);
    runtime::refuse_library_thread()?;
    Ok(shared)
}

/// As [`with_cache`], for what may take long on every kind of cache: the operation has a reference of its
/// own and runs outside the gate, which must cover neither a wait nor long work. What may wait for a
/// server is refused on the library's own threads and in its callbacks.
pub(super) fn with_shared<R>(
    handle: lc_cache,
    operation: impl FnOnce(&AnyCache) -> Result<R>,
) -> Result<R> {
    let cache = share(handle)?;
    if !matches!(&*cache, AnyCache::Local(_)) {
        runtime::refuse_library_thread()?;
    }
    operation(&cache)
}

/// A reference to the cache that `handle` names, for what neither waits nor belongs inside the gate.
pub(super) fn share(handle: lc_cache) -> Result<Arc<AnyCache>> {
    Ok(CACHES.get(fork::enter(), handle).ok_or_else(unknown)?.share())
}

#[cold]
pub(super) fn unknown() -> Error {
    Error::new(ErrorKind::Handle, "the handle names no open cache")
}

/// A `ttl_ms` of the C API.
#[inline]
pub(super) const fn ttl(ttl_ms: u64) -> Ttl {
    match ttl_ms {
        LCACHE_TTL_NONE => Ttl::Never,
        LCACHE_TTL_DEFAULT => Ttl::Default,
        ms => Ttl::After(Duration::from_millis(ms)),
    }
}
