//! Many keys at once: grouped by shard, so that each lock is taken once for a group.
//!
//! A lock is given back after [`PORTION`] keys, for those who wait for it.

use super::LocalCache;
use crate::error::Result;
use crate::fork;
use crate::key::{check_key, check_value};
use crate::ops::{BlockingCache, Ttl};
use crate::stats::Counter;
use crate::value::{Value, drop_many};

/// Keys under one lock.
const PORTION: usize = 64;
/// Batches up to this size are not worth sorting.
const FEW: usize = 4;

impl LocalCache {
    /// The places of `keys`, those of one shard together, in groups of one shard.
    fn grouped(&self, keys: impl ExactSizeIterator<Item: AsRef<[u8]>>) -> Vec<(usize, usize)> {
        let store = &self.0.store;
        let shard_of =
            |(place, key): (usize, _)| (store.shard_of(store.hash(AsRef::as_ref(&key))), place);
        let mut places: Vec<(usize, usize)> = keys.enumerate().map(shard_of).collect();
        // The places of one shard stay in their order: of two writes to one key the later one wins.
        places.sort_unstable();
        places
    }

    pub(super) fn read_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        if keys.len() <= FEW {
            return keys.iter().map(|key| BlockingCache::get(self, key)).collect();
        }
        let mut values = vec![None; keys.len()];
        let mut hits = 0;
        let places = self.grouped(keys.iter());
        for group in places.chunk_by(|a, b| a.0 == b.0).flat_map(|group| group.chunks(PORTION)) {
            let _inside = fork::enter();
            let shard = self.0.store.read_shard(group[0].0);
            for (_, place) in group {
                let key = keys[*place];
                let found = shard.find(self.0.store.hash(key), key);
                if let Some(entry) = found.filter(|entry| self.lives(entry)) {
                    self.note_use(entry);
                    values[*place] = Some(entry.clone());
                    hits += 1;
                }
            }
        }
        let inside = fork::enter();
        self.0.counters.add_inside(&inside, Counter::Hits, hits);
        self.0.counters.add_inside(&inside, Counter::Misses, keys.len() as u64 - hits);
        Ok(values)
    }

    pub(super) fn write_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        self.expiry(ttl)?;
        for (key, value) in items {
            check_key(key)?;
            check_value(value, self.0.max_value_bytes)?;
        }
        // A set is one lock anyway, and may have to evict or to borrow; grouped by shard, the lock and
        // the table are near.
        let places = self.grouped(items.iter().map(|(key, _)| key));
        for (_, place) in places {
            let (key, value) = items[place];
            BlockingCache::set(self, key, value, ttl)?;
        }
        Ok(())
    }

    pub(super) fn remove_many(&self, keys: &[&[u8]]) -> Result<u64> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut deleted = 0;
        let places = self.grouped(keys.iter());
        for group in places.chunk_by(|a, b| a.0 == b.0).flat_map(|group| group.chunks(PORTION)) {
            let inside = fork::enter();
            group.iter().for_each(|(_, place)| self.0.voids.add(self.0.store.hash(keys[*place])));
            let mut shard = self.0.store.write_shard(group[0].0);
            let taken: Vec<Value> = group
                .iter()
                .filter_map(|(_, place)| shard.take(self.0.store.hash(keys[*place]), keys[*place]))
                .collect();
            let lived = self.living(&taken);
            drop(shard);
            deleted += lived;
            self.count_taken(&inside, &taken, lived);
            drop(inside);
            drop_many(taken);
        }
        Ok(deleted)
    }

    /// How many of the entries that a call takes out are there: to be asked under the lock, see `take`.
    pub(super) fn living(&self, taken: &[Value]) -> u64 {
        taken.iter().filter(|entry| self.lives(entry)).count() as u64
    }

    /// Counts entries that a call took out: those that were there as deleted, those that had expired as
    /// such.
    pub(super) fn count_taken(&self, inside: &fork::Inside, taken: &[Value], lived: u64) {
        self.0.counters.add_inside(inside, Counter::Deletes, lived);
        for expired in taken.iter().filter(|entry| !self.is_ahead(entry.expires_at())) {
            self.note_expired(inside, expired.key());
        }
    }
}
