//! The vocabulary of the operations: how long a value lives ([`Ttl`], [`Remaining`]), the three kinds
//! of cache ([`Kind`]), and the two traits that every kind implements over plain bytes:
//! [`ByteCache`] for callers with an event loop and [`BlockingCache`] for callers without one.
//!
//! Typed access and opening by URL are built on these, in `cache`.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::stats::CacheStats;
use crate::value::Value;

/// The longest TTL, 100 years, in milliseconds. Longer ones are [`ErrorKind::Invalid`].
pub const TTL_MAX_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// How long a value is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The cache's `default_ttl`.
    Default,
    /// Until it is deleted or evicted.
    Never,
    /// For this long. Zero has already expired: nothing is stored, an old value is removed.
    /// Sub-millisecond rests are rounded up.
    After(Duration),
}

impl Ttl {
    /// The TTL in whole milliseconds, `None` where it never expires; `default` stands in for
    /// [`Ttl::Default`]. [`ErrorKind::Invalid`] above 100 years.
    pub(crate) fn resolve(self, default: Option<Duration>) -> Result<Option<u64>> {
        let duration = match self {
            Self::Never => return Ok(None),
            Self::Default => match default {
                None => return Ok(None),
                Some(duration) => duration,
            },
            Self::After(duration) => duration,
        };
        match u64::try_from(duration.as_nanos().div_ceil(1_000_000)) {
            Ok(ms) if ms <= TTL_MAX_MS => Ok(Some(ms)),
            _ => Err(Error::new(ErrorKind::Invalid, "a TTL can't be longer than 100 years")),
        }
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

/// `None` never expires.
impl From<Option<Duration>> for Ttl {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Never, Self::After)
    }
}

/// How long a stored value has still to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// It never expires.
    Forever,
    /// It expires after this time.
    For(Duration),
}

/// The three kinds of cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// In this process.
    Local,
    /// In Redis or Valkey.
    Redis,
    /// Local (L1) over Redis (L2).
    Hybrid,
}

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A cache of opaque bytes for asynchronous callers. Object safe.
///
/// Keys are 1 to 65,536 bytes and do not begin with `__lc:`; every method answers a key outside of
/// that with [`ErrorKind::Invalid`] or [`ErrorKind::TooBig`]. On a [`Kind::Local`] cache every future
/// is ready at its first poll.
pub trait ByteCache: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> Kind;
    /// The value of `key`, `None` where it is absent or has expired.
    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>>;
    /// Stores `value`; a TTL of zero stores nothing and removes the old value.
    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>>;
    /// Removes `key`; true if there was one.
    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>>;
    /// Whether `key` is there. Counts as neither hit nor miss.
    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>>;
    /// Removes everything that belongs to this cache, and nothing else.
    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>>;
    /// The values of `keys` in their order, `None` for a miss or a corrupt value. Not atomic.
    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>>;
    /// Stores all pairs with one TTL. Not atomic.
    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>>;
    /// Removes `keys`; returns how many were there. Not atomic.
    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>>;
    /// How long `key` has still to live, `None` where it is absent.
    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>>;
    /// Gives `key` a new TTL and keeps its value; false where it is absent.
    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>>;
    /// How many entries there are (on Redis by a scan).
    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>>;
    /// The counters of this cache.
    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>>;
    /// Reaches the server; always succeeds where there is none to reach.
    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>>;
}

/// The same operations for callers without an event loop (C, C++, Python).
///
/// A call returns by its deadline, and on a thread of the library itself at once, with
/// [`ErrorKind::Reentrant`], if it would have to wait.
pub trait BlockingCache: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> Kind;
    /// As [`ByteCache::get_bytes`].
    fn get(&self, key: &[u8]) -> Result<Option<Value>>;
    /// Copies the value of `key` to the front of `buf` if it fits. Returns the value's length, which
    /// is larger than `buf` if nothing was copied; `None` on a miss.
    fn get_into(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Option<usize>> {
        Ok(self.get(key)?.map(|value| value.copy_into(buf)))
    }
    /// As [`ByteCache::set_bytes`].
    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()>;
    /// As [`ByteCache::delete_bytes`].
    fn delete(&self, key: &[u8]) -> Result<bool>;
    /// As [`ByteCache::exists_bytes`].
    fn exists(&self, key: &[u8]) -> Result<bool>;
    /// As [`ByteCache::clear_bytes`].
    fn clear(&self) -> Result<()>;
    /// As [`ByteCache::get_many_bytes`].
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>>;
    /// As [`ByteCache::set_many_bytes`].
    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()>;
    /// As [`ByteCache::delete_many_bytes`].
    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64>;
    /// As [`ByteCache::ttl_bytes`].
    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>>;
    /// As [`ByteCache::expire_bytes`].
    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool>;
    /// As [`ByteCache::count_bytes`].
    fn count(&self) -> Result<u64>;
    /// As [`ByteCache::stats_bytes`].
    fn stats(&self) -> Result<CacheStats>;
    /// As [`ByteCache::ping_bytes`].
    fn ping(&self) -> Result<()>;
}
