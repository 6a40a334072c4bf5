//! [`BlockingCache`]: the operations for callers without an event loop.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

#[cfg(doc)]
use super::ByteCache;
use super::{
    Events, Found, GetOptions, Kind, Listener, Loader, Lock, OwnedLoader, Remaining, SetOptions,
    Swap, Ttl,
};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::stats::CacheStats;
use crate::value::Value;

/// The operations of [`ByteCache`] for callers without an event loop (C, C++, Python), and those that
/// call back.
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
    /// As [`ByteCache::get_ex_bytes`].
    fn get_ex(&self, key: &[u8], options: GetOptions) -> Result<Option<Found>> {
        let _ = (key, options);
        unsupported(self.kind(), "get_ex")
    }
    /// As [`ByteCache::set_ex_bytes`].
    fn set_ex(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<()> {
        let _ = (key, value, options);
        unsupported(self.kind(), "set_ex")
    }
    /// As [`ByteCache::add_bytes`].
    fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _ = (key, value, ttl);
        unsupported(self.kind(), "add")
    }
    /// As [`ByteCache::replace_bytes`].
    fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _ = (key, value, ttl);
        unsupported(self.kind(), "replace")
    }
    /// As [`ByteCache::compare_and_set_bytes`].
    fn compare_and_set(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        let _ = (key, expected, value, ttl);
        unsupported(self.kind(), "compare_and_set")
    }
    /// As [`ByteCache::incr_bytes`].
    fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        let _ = (key, delta, ttl);
        unsupported(self.kind(), "incr")
    }
    /// As [`ByteCache::delete_prefix_bytes`].
    fn delete_prefix(&self, prefix: &[u8]) -> Result<u64> {
        let _ = prefix;
        unsupported(self.kind(), "delete_prefix")
    }
    /// Shows `visit` the keys that begin with `prefix`, in no order, until it breaks. No lock is held
    /// while it runs. Of a Local cache each shard is seen as it was at one moment; Redis may name a key
    /// twice.
    fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = (prefix, visit);
        unsupported(self.kind(), "for_each_key")
    }
    /// As [`ByteCache::invalidate_tag_bytes`].
    fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        let _ = tag;
        unsupported(self.kind(), "invalidate_tag")
    }
    /// The value of `key`; where there is none, `load` is called and its answer stored with `options`
    /// (or those that it names). However many ask for one key, one loads, on its own thread before its
    /// call returns, and the others get what it got. `None` where the loader says that there is none.
    ///
    /// A failed load is every waiter's error, and is not remembered. A loader may use the cache, but
    /// its own key again is [`ErrorKind::Reentrant`]; inside of a loader other keys are loaded without
    /// waiting for anybody.
    fn get_or_load(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let _ = (key, options, load);
        unsupported(self.kind(), "get_or_load")
    }
    /// As [`BlockingCache::get_or_load`], with a loader that owns what it needs: where `refresh_ahead`
    /// asks for a reload, it runs in the background.
    fn get_or_load_owned(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: OwnedLoader,
    ) -> Result<Option<Value>> {
        self.get_or_load(key, options, &mut |key| load(key))
    }
    /// Takes the lock `name` for `lease`, and waits for it up to `wait`; `None` where others held it
    /// all that time. [`ErrorKind::Invalid`] where `lease` is zero.
    fn lock(&self, name: &[u8], lease: Duration, wait: Duration) -> Result<Option<Lock>> {
        let _ = (name, lease, wait);
        unsupported(self.kind(), "lock")
    }
    /// Reads `keys` from L2 into L1; returns how many were there. On a Hybrid only.
    fn warm(&self, keys: &[&[u8]]) -> Result<u64> {
        let _ = keys;
        unsupported(self.kind(), "warm")
    }
    /// As [`BlockingCache::warm`], for up to `limit` keys that begin with `prefix`.
    fn warm_prefix(&self, prefix: &[u8], limit: u64) -> Result<u64> {
        let _ = (prefix, limit);
        unsupported(self.kind(), "warm_prefix")
    }
    /// Writes all live entries to a file, which appears complete or not at all; returns how many. On a
    /// Local cache only.
    fn save(&self, path: &Path) -> Result<u64> {
        let _ = path;
        unsupported(self.kind(), "save")
    }
    /// Stores the entries of a file that [`BlockingCache::save`] wrote; returns how many. The time
    /// since then is deducted from their TTLs. A damaged file loads nothing: [`ErrorKind::Corrupt`].
    fn load(&self, path: &Path) -> Result<u64> {
        let _ = path;
        unsupported(self.kind(), "load")
    }
    /// The counters in the Prometheus text format.
    fn metrics(&self) -> Result<String> {
        unsupported(self.kind(), "metrics")
    }
    /// Calls `listener` for each of `events` from now on, on a thread of the library; returns a number
    /// for [`BlockingCache::unsubscribe`]. Events that come faster than they are heard are dropped.
    fn subscribe(&self, events: Events, listener: Listener) -> Result<u64> {
        let _ = (events, listener);
        unsupported(self.kind(), "subscribe")
    }
    /// Ends a subscription; once it has returned, the listener is not running and is not called again
    /// (but may be, where it is called by the listener itself). False for a number that names none.
    fn unsubscribe(&self, id: u64) -> Result<bool> {
        let _ = id;
        unsupported(self.kind(), "unsubscribe")
    }
}

#[cold]
fn unsupported<T>(kind: Kind, operation: &str) -> Result<T> {
    Err(kind.unsupported(operation))
}
