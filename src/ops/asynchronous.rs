//! [`ByteCache`]: a cache of opaque bytes for callers with an event loop.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Found, GetOptions, Kind, Loaded, Lock, Remaining, SetOptions, Swap, Ttl};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::stats::CacheStats;
use crate::value::Value;

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
    /// As [`ByteCache::get_bytes`], and says how long the value has still to live, which tier answered
    /// and whether it is past its proven freshness.
    fn get_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: GetOptions,
    ) -> BoxFuture<'a, Result<Option<Found>>> {
        let _ = (key, options);
        unsupported(self.kind(), "get_ex")
    }
    /// As [`ByteCache::set_bytes`], with a stale window, tags and a deadline of its own.
    fn set_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        options: &'a SetOptions,
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (key, value, options);
        unsupported(self.kind(), "set_ex")
    }
    /// Stores `value` only where `key` is absent; false where it was there. Atomic.
    fn add_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        let _ = (key, value, ttl);
        unsupported(self.kind(), "add")
    }
    /// Stores `value` only where `key` is there; false where it was absent. Atomic.
    fn replace_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        let _ = (key, value, ttl);
        unsupported(self.kind(), "replace")
    }
    /// Stores `value` only where the present value is `expected`. Atomic.
    fn compare_and_set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        expected: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<Swap>> {
        let _ = (key, expected, value, ttl);
        unsupported(self.kind(), "compare_and_set")
    }
    /// The value of `key`; where there is none, `load` is awaited and its answer stored with `options`.
    /// However many ask for one key, one loads and the others get what it got; where that one is
    /// cancelled, another loads. Otherwise as
    /// [`BlockingCache::get_or_load`](super::BlockingCache::get_or_load).
    fn get_or_load_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: &'a SetOptions,
        load: BoxFuture<'a, Result<Option<Loaded>>>,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        let _ = (key, options, load);
        unsupported(self.kind(), "get_or_load")
    }
    /// Adds `delta` to a decimal number and returns the sum; an absent key counts as 0 and is given
    /// `ttl`, a present one keeps its own. Atomic. [`ErrorKind::Type`] where the value is no canonical
    /// 64-bit decimal, or the sum overflows.
    fn incr_bytes<'a>(&'a self, key: &'a [u8], delta: i64, ttl: Ttl) -> BoxFuture<'a, Result<i64>> {
        let _ = (key, delta, ttl);
        unsupported(self.kind(), "incr")
    }
    /// Removes all keys that begin with `prefix`; returns how many there were.
    fn delete_prefix_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<u64>> {
        let _ = prefix;
        unsupported(self.kind(), "delete_prefix")
    }
    /// Takes the lock `name` for `lease`, and waits for it up to `wait`; `None` where others had it all that
    /// time. Otherwise as [`BlockingCache::lock`](super::BlockingCache::lock). Where the future is dropped,
    /// the lock is given back.
    fn lock_bytes<'a>(
        &'a self,
        name: &'a [u8],
        lease: Duration,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Lock>>> {
        let _ = (name, lease, wait);
        unsupported(self.kind(), "lock")
    }
    /// All keys that begin with `prefix`, in no order.
    fn keys_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        let _ = prefix;
        unsupported(self.kind(), "keys")
    }
    /// Makes all values that carry `tag` absent, at a cost that does not grow with their number.
    fn invalidate_tag_bytes<'a>(&'a self, tag: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let _ = tag;
        unsupported(self.kind(), "invalidate_tag")
    }
}

#[cold]
fn unsupported<'a, T: Send + 'a>(kind: Kind, operation: &str) -> BoxFuture<'a, Result<T>> {
    let error = kind.unsupported(operation);
    Box::pin(async { Err(error) })
}
