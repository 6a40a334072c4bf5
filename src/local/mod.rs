//! The Local cache: this process's memory, in a DashMap, with a TTL per entry.
//!
//! - `store`: the table of blocks, its locks and their protocol
//! - `wheel`: which entries of a shard expire when
//! - `sweeper`: the one background thread that frees what has expired
//! - `operations`: what get, set and the rest mean
//! - `locks`: named locks with a lease and a fence
//! - `l1`: what a Hybrid needs besides
//! - `options`: how a cache is made
//!
//! An entry is one allocation that holds key and value (`value` has the layout), so a hit is a look-up of
//! one pointer, and pins the entry or copies it out. Nothing here waits, and nothing knows of a server.

mod l1;
#[allow(dead_code, reason = "joined to the cache with its other operations")]
mod locks;
mod operations;
mod options;
mod store;
mod sweeper;
#[cfg(test)]
mod tests;
mod wheel;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub(crate) use self::l1::Stamped;
pub use self::options::LocalCacheBuilder;
use self::store::Store;
use crate::error::Result;
use crate::fork;
use crate::ops::Ttl;
use crate::stats::Counters;

/// A cache in this process's memory, shared by all its threads. Cloning makes another handle to the same
/// cache; its content is freed with the last one.
///
/// ```
/// use std::time::Duration;
/// use lighter_cache::{BlockingCache, LocalCache, Ttl};
///
/// let cache = LocalCache::new();
/// BlockingCache::set(&cache, b"user:7", b"Ada", Ttl::After(Duration::from_secs(300)))?;
/// let value = BlockingCache::get(&cache, b"user:7")?;
/// assert_eq!(value.as_deref(), Some(&b"Ada"[..]));
/// # Ok::<(), lighter_cache::Error>(())
/// ```
#[derive(Clone)]
pub struct LocalCache(Arc<Inner>);

struct Inner {
    store: Store,
    counters: Counters,
    default_ttl: Option<Duration>,
    max_value_bytes: usize,
    sweep_interval: Duration,
    name: Option<String>,
    /// The process generation (plus one) whose sweeper knows this cache.
    watched_in: AtomicU32,
    clock: Clock,
}

/// Where the time comes from.
enum Clock {
    System,
    #[cfg(test)]
    Virtual(Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    #[inline]
    fn now(&self) -> u64 {
        match self {
            Self::System => crate::clock::now_ms(),
            #[cfg(test)]
            Self::Virtual(now) => now.load(std::sync::atomic::Ordering::SeqCst),
        }
    }
}

impl LocalCache {
    /// A cache without a default TTL, its shards chosen from the processors.
    pub fn new() -> Self {
        Self::builder().build_checked()
    }

    /// As [`LocalCache::new`], with a number of shards: rounded up to a power of two, 2 to 65,536. More
    /// let more threads write at once.
    pub fn with_shard_count(shards: usize) -> Self {
        Self::builder().shards(shards).build_checked()
    }

    /// To set more than that.
    pub fn builder() -> LocalCacheBuilder {
        LocalCacheBuilder::default()
    }

    /// The name in metrics and logs.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The number of shards.
    pub fn shard_count(&self) -> usize {
        self.0.store.shard_count()
    }

    /// Number of entries.
    ///
    /// Locking: one shard at a time, for writing where something has expired.
    pub fn len(&self) -> usize {
        self.purge();
        (0..self.shard_count()).map(|shard| self.reading_shard(shard, |shard| shard.len())).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that begin with `prefix`, in no order: a snapshot shard by shard.
    ///
    /// Locking: one shard at a time, for reading.
    pub fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let now = self.0.clock.now();
        let mut keys = Vec::new();
        for shard in 0..self.shard_count() {
            // Pinned under the lock, copied outside of it.
            let entries = self.reading_shard(shard, |shard| {
                let wanted = shard
                    .iter()
                    .filter(|entry| entry.expires_at() > now && entry.key().starts_with(prefix));
                wanted.cloned().collect::<Vec<_>>()
            });
            keys.extend(entries.iter().map(|entry| entry.key().to_vec()));
        }
        keys
    }

    fn reading_shard<R>(&self, shard: usize, read: impl FnOnce(store::Reading<'_>) -> R) -> R {
        let _inside = fork::enter();
        read(self.0.store.read_shard(shard))
    }

    /// Bytes of entries, tables and registrations, what the allocator adds included.
    fn bytes(&self) -> usize {
        let fixed = size_of::<Inner>() + self.shard_count() * store::SHARD_BYTES;
        let shards = 0..self.shard_count();
        fixed + shards.map(|shard| self.reading_shard(shard, |shard| shard.bytes())).sum::<usize>()
    }

    /// When something with this TTL expires, given that it is stored now. `None`: at once.
    #[inline]
    fn expiry(&self, ttl: Ttl) -> Result<Option<u64>> {
        Ok(self.expiry_in(ttl.resolve(self.0.default_ttl)?))
    }

    #[inline]
    fn expiry_in(&self, ttl_ms: Option<u64>) -> Option<u64> {
        match ttl_ms {
            None => Some(crate::value::NEVER),
            Some(0) => None,
            // No time is near the end of its range: a TTL has at most 100 years.
            Some(ms) => Some(self.0.clock.now().saturating_add(ms).min(crate::value::NEVER - 1)),
        }
    }
}

impl Default for LocalCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCache")
            .field("name", &self.0.name)
            .field("shards", &self.shard_count())
            .finish_non_exhaustive()
    }
}
