//! The caches that are open through the C API, and the way from a handle to one of them.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::pointers;
use super::types::{LCACHE_TTL_DEFAULT, LCACHE_TTL_NONE, lc_cache};
use crate::cache::AnyCache;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, Inside};
use crate::handle::{Held, Table};
use crate::local::LocalCache;
use crate::ops::{BlockingCache, Kind, Ttl};
use crate::runtime;
use crate::value::Value;

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
    operation: impl FnOnce(&Reached) -> Result<R>,
) -> Result<R> {
    let held = CACHES.get(fork::enter(), handle).ok_or_else(unknown)?;
    let reached = match *held {
        AnyCache::Local(_) => Reached::Inside(held),
        _ => Reached::Outside(leave_with(held)?),
    };
    // At one place, so that it is inlined there.
    operation(&reached)
}

/// Leaves the gate with a reference to a cache that may wait.
fn leave_with(held: Held<AnyCache>) -> Result<Arc<AnyCache>> {
    let shared = held.share();
    drop(held);
    runtime::refuse_library_thread()?;
    Ok(shared)
}

/// A cache as an operation reaches it.
pub(super) enum Reached {
    /// A Local cache, inside the gate.
    Inside(Held<AnyCache>),
    /// Another one, outside.
    Outside(Arc<AnyCache>),
}

impl Deref for Reached {
    type Target = AnyCache;

    #[inline]
    fn deref(&self) -> &AnyCache {
        match self {
            Self::Inside(held) => held,
            Self::Outside(shared) => shared,
        }
    }
}

/// The frequent operations, which need not enter the gate once more.
impl Reached {
    #[inline]
    fn local(&self) -> Option<(&LocalCache, &Inside)> {
        match self {
            Self::Inside(held) => match &**held {
                AnyCache::Local(local) => Some((local, held.inside())),
                _ => None,
            },
            Self::Outside(_) => None,
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        match self.local() {
            Some((local, inside)) => local.get_inside(inside, key),
            None => AnyCache::get(self, key),
        }
    }

    #[inline]
    pub(super) fn get_into(
        &self,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
    ) -> Result<Option<usize>> {
        match self.local() {
            Some((local, inside)) => local.get_into_inside(inside, key, buf),
            None => AnyCache::get_into(self, key, buf),
        }
    }

    #[inline]
    pub(super) fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        match self.local() {
            Some((local, inside)) => local.set_inside(inside, key, value, ttl),
            None => AnyCache::set(self, key, value, ttl),
        }
    }
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
