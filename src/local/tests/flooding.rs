//! Keys that were crafted against a hash whose key is known cost no more than others, counted in what a
//! look-up looks at.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hashbrown::raw::RawTable;

use crate::hash::RandomState;
use crate::local::LocalCache;
use crate::local::store::{Table, spread};
use crate::ops::{BlockingCache, Ttl};

const KEYS: usize = 100_000;
const SHARDS: usize = 128;
/// Low bits in which the hashes of the crafted keys agree: they choose the first bucket to look at.
const BITS: u32 = 7;
/// Buckets that are looked at together.
const GROUP: usize = 16;

/// What look-ups cost.
#[derive(Debug, Default)]
struct Cost {
    /// Groups of buckets that were looked at.
    groups: usize,
    /// Keys that were compared.
    compared: usize,
}

impl Cost {
    fn all(&self) -> f64 {
        (self.groups + self.compared) as f64
    }

    /// Adds that of one look-up, which finds what it looks for.
    fn add<T>(&mut self, table: &RawTable<T>, hash: u64, mut is: impl FnMut(&T) -> bool) {
        let mut compared = 0;
        let found = table.find(hash, |slot| {
            compared += 1;
            is(slot)
        });
        let found = found.expect("the key is there");
        // SAFETY: the bucket is one of this table.
        let place = unsafe { table.bucket_index(&found) };
        let mask = table.buckets() - 1;
        // As the table does: groups at distances of 1, 3, 6, 10, ... groups from the first.
        let (mut at, mut stride) = (hash as usize & mask, 0);
        let mut groups = 1;
        while (place.wrapping_sub(at) & mask) >= GROUP {
            stride += GROUP;
            at = (at + stride) & mask;
            groups += 1;
        }
        self.groups += groups;
        self.compared += compared;
    }
}

/// In a cache, whose hash has a key that nobody knows.
fn cost_in_cache(keys: &[[u8; 8]]) -> Cost {
    let cache = LocalCache::with_shard_count(SHARDS);
    keys.iter().for_each(|key| BlockingCache::set(&cache, key, b"", Ttl::Never).unwrap());
    let mut cost = Cost::default();
    for key in keys {
        let hash = cache.0.store.hash(key);
        let table: &Table = &cache.0.store.read(hash).table;
        cost.add(table, spread(hash.in_shard()), |(slot, _)| slot.has_key(key));
    }
    cost
}

/// In tables of the same sort, by a hash whose key is known.
fn cost_by(hasher: &RandomState, keys: &[[u8; 8]]) -> Cost {
    let hash = |key: &[u8; 8]| hash_of(hasher, key);
    let mut tables: HashMap<usize, RawTable<[u8; 8]>> = HashMap::new();
    let shard = |key: &[u8; 8]| (hash(key) >> 40) as usize % SHARDS;
    let place = |key: &[u8; 8]| spread(hash(key) as u32);
    for key in keys {
        tables.entry(shard(key)).or_default().insert(place(key), *key, place);
    }
    let mut cost = Cost::default();
    keys.iter().for_each(|key| cost.add(&tables[&shard(key)], place(key), |slot| slot == key));
    cost
}

/// As a store hashes a key.
fn hash_of(hasher: &RandomState, key: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut state = hasher.build_hasher();
    state.write(key);
    state.finish()
}

#[test]
fn crafted_keys_cost_no_more_than_others() {
    let known = RandomState::with_seeds(1, 2, 3, 4);
    let numbers = || (0..u64::MAX).map(u64::to_le_bytes);
    let meets = |key: &[u8; 8]| hash_of(&known, key).trailing_zeros() >= BITS;
    let crafted: Vec<[u8; 8]> = numbers().filter(meets).take(KEYS).collect();
    let others: Vec<[u8; 8]> = numbers().take(KEYS).collect();

    let (crafted_cost, cost) = (cost_in_cache(&crafted), cost_in_cache(&others));
    let ratio = crafted_cost.all() / cost.all();
    assert!(ratio < 1.1, "{ratio:.2}: {crafted_cost:?} against {cost:?}");
    // They do harm where the hash's key is known: the test of the test.
    let (crafted_cost, cost) = (cost_by(&known, &crafted), cost_by(&known, &others));
    let ratio = crafted_cost.all() / cost.all();
    assert!(ratio > 2.0, "{ratio:.2}: {crafted_cost:?} against {cost:?}");
}
