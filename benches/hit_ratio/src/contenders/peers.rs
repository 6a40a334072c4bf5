//! Other caches for Rust, as they are shipped: their own shards, their own hashes, nothing tuned.

use foyer_memory::{CacheBuilder, EvictionConfig};
use moka::policy::EvictionPolicy;

use super::Contender;

/// quick_cache: a CLOCK with two queues.
pub fn quick(capacity: usize) -> quick_cache::sync::Cache<u64, ()> {
    quick_cache::sync::Cache::new(capacity)
}

impl Contender for quick_cache::sync::Cache<u64, ()> {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if self.get(&key).is_some() {
            return true;
        }
        self.insert(key, ());
        false
    }
}

/// The same without shards, for one thread.
pub fn quick_unsync(capacity: usize) -> quick_cache::unsync::Cache<u64, ()> {
    quick_cache::unsync::Cache::new(capacity)
}

impl Contender for quick_cache::unsync::Cache<u64, ()> {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if self.get(&key).is_some() {
            return true;
        }
        self.insert(key, ());
        false
    }
}

/// moka: W-TinyLFU or LRU. It evicts in batches, and holds more than its capacity in between.
pub fn moka(capacity: usize, policy: EvictionPolicy) -> moka::sync::Cache<u64, ()> {
    moka::sync::Cache::builder().max_capacity(capacity as u64).eviction_policy(policy).build()
}

impl Contender for moka::sync::Cache<u64, ()> {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if self.get(&key).is_some() {
            return true;
        }
        self.insert(key, ());
        false
    }
}

/// foyer's cache in memory, with one of its policies.
pub fn foyer(capacity: usize, policy: impl Into<EvictionConfig>) -> Foyer {
    Foyer(CacheBuilder::new(capacity).with_eviction_config(policy).build())
}

/// A foyer cache.
pub struct Foyer(foyer_memory::Cache<u64, ()>);

impl Contender for Foyer {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if self.0.get(&key).is_some() {
            return true;
        }
        self.0.insert(key, ());
        false
    }
}
