//! The Local cache: this process's memory, in a DashMap, with a TTL per entry.
//!
//! The store:
//! - `store`: the table of blocks, its locks and their protocol
//! - `change`, `sweep`: how a shard is changed, by a call and when times come due
//! - `wheel`: which entries of a shard expire when
//! - `eviction`: which entry makes room; `policy`: what it remembers; `oversize`: large entries
//! - `sweeper`: the one background thread that frees what has expired
//!
//! The cache:
//! - `options`: how a cache is made
//! - `lifetime`: whether an entry is there, and how long a new one is to be; `tags`: what else ends it
//! - `operations`: what get, set and the rest mean; `atomic`, `batch`, `enumerate`: more of them;
//!   `asynchronous`: all of them as futures
//! - `saving`: to a file and back; `loading`: get_or_load; `locks`: named locks with a lease and a fence
//! - `l1`: what a Hybrid needs besides
//!
//! An entry is one allocation that holds key and value (`value` has the layout), so a hit is a look-up of
//! one pointer, and pins the entry or copies it out. Nothing here waits, and nothing knows of a server.

mod asynchronous;
mod atomic;
mod batch;
mod change;
mod enumerate;
mod eviction;
mod l1;
mod lifetime;
mod loading;
mod locks;
mod operations;
mod options;
mod oversize;
mod policy;
mod saving;
mod store;
mod sweep;
mod sweeper;
mod tags;
#[cfg(test)]
mod tests;
mod wheel;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub(crate) use self::l1::{Held, Stamped, Terms};
use self::lifetime::Lifetimes;
use self::loading::Voids;
use self::locks::Locks;
pub use self::options::LocalCacheBuilder;
use self::store::Store;
use self::tags::Tags;
use crate::events::Subscriptions;
use crate::flight::Flights;
use crate::fork;
use crate::metrics::Durations;
use crate::seal::Keyring;
use crate::stats::Counters;
use crate::value::Value;

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
    lifetimes: Lifetimes,
    tags: Tags,
    flights: Flights<Option<Value>>,
    voids: Voids,
    locks: Locks,
    subscriptions: Subscriptions,
    durations: Durations,
    /// Of snapshots.
    keyring: Option<Keyring>,
    max_value_bytes: usize,
    /// Values of fewer bytes may be written over old ones in place, unless a call asks for attributes.
    in_place_below: usize,
    sweep_interval: Duration,
    name: Option<String>,
    /// The process generation (plus one) whose sweeper knows this cache.
    watched_in: AtomicU32,
    clock: Clock,
}

/// Where the time comes from.
enum Clock {
    System,
    #[cfg(any(test, fuzzing))]
    Virtual(Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    #[inline]
    fn now(&self) -> u64 {
        match self {
            Self::System => crate::clock::now_ms(),
            #[cfg(any(test, fuzzing))]
            Self::Virtual(now) => now.load(std::sync::atomic::Ordering::SeqCst),
        }
    }

    /// Whether `at` is still to come.
    #[inline]
    fn is_ahead(&self, at: u64) -> bool {
        match self {
            Self::System => crate::clock::is_ahead(at),
            #[cfg(any(test, fuzzing))]
            Self::Virtual(_) => at > self.now(),
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

    /// If this is the only reference, frees all entries and ends all waits for loads and locks with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) fn close(&self) {
        if Arc::strong_count(&self.0) == 1 {
            self.0.flights.close();
            self.0.locks.close();
            // It cannot fail: nothing is allocated.
            let _ = crate::ops::BlockingCache::clear(self);
        }
    }

    fn reading_shard<R>(&self, shard: usize, read: impl FnOnce(store::Reading<'_>) -> R) -> R {
        let _inside = fork::enter();
        read(self.0.store.read_shard(shard))
    }

    /// Bytes of entries, tables, registrations and queues, what the allocator adds included.
    fn bytes(&self) -> usize {
        let shards = 0..self.shard_count();
        shards.map(|shard| self.reading_shard(shard, |shard| shard.bytes())).sum()
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
