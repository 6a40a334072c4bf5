//! The Local cache, by its public interface.

use lighter_cache::{BlockingCache, LocalCache, Ttl};

use super::Contender;

/// A Local cache of so many entries.
#[derive(Clone)]
pub struct Ours(LocalCache);

impl Ours {
    /// As a program makes it, with nothing but the bound.
    pub fn new(capacity: usize) -> Self {
        let cache = LocalCache::builder().max_entries(capacity).build();
        Self(cache.expect("any bound but 0 will do"))
    }

    /// As [`Contender::get_or_insert`], for many threads at once.
    pub fn get_or_insert(&self, key: u64) -> bool {
        let key = key.to_le_bytes();
        if BlockingCache::get(&self.0, &key).expect("a Local cache answers").is_some() {
            return true;
        }
        BlockingCache::set(&self.0, &key, &key, Ttl::Never).expect("the entry is small");
        false
    }
}

impl Contender for Ours {
    fn get_or_insert(&mut self, key: u64) -> bool {
        Self::get_or_insert(self, key)
    }
}
