//! Operations on all keys, or those that begin alike: shard by shard. A shard's entries are pinned under
//! its lock, and looked at outside of it.

use std::ops::ControlFlow;

use super::LocalCache;
use crate::fork;
use crate::value::{Value, drop_many};

/// Entries that are taken out under one lock.
const PORTION: usize = 64;

impl LocalCache {
    /// The keys that begin with `prefix`, in no order: a snapshot shard by shard.
    ///
    /// Locking: one shard at a time, for reading.
    pub fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for shard in 0..self.shard_count() {
            keys.extend(self.pinned(shard, prefix).iter().map(|entry| entry.key().to_vec()));
        }
        keys
    }

    /// The entries of one shard whose keys begin with `prefix`.
    pub(super) fn pinned(&self, shard: usize, prefix: &[u8]) -> Vec<Value> {
        self.reading_shard(shard, |shard| {
            let wanted = |entry: &&Value| entry.key().starts_with(prefix) && self.lives(entry);
            shard.iter().filter(wanted).cloned().collect()
        })
    }

    pub(super) fn visit_keys(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        for shard in 0..self.shard_count() {
            for entry in self.pinned(shard, prefix) {
                if visit(entry.key()).is_break() {
                    return;
                }
            }
        }
    }

    pub(super) fn remove_prefix(&self, prefix: &[u8]) -> u64 {
        let mut deleted = 0;
        self.0.voids.add_all();
        for shard in 0..self.shard_count() {
            let pinned = self.pinned(shard, prefix);
            for portion in pinned.chunks(PORTION) {
                let inside = fork::enter();
                let mut writing = self.0.store.write_shard(shard);
                let taken: Vec<Value> = portion
                    .iter()
                    .filter_map(|entry| {
                        writing.take_where(entry.hash(), |found| found.has_key(entry.key()))
                    })
                    .collect();
                let lived = self.living(&taken);
                drop(writing);
                deleted += lived;
                self.count_taken(&inside, &taken, lived);
            }
            drop_many(pinned);
        }
        deleted
    }
}
