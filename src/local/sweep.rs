//! What is done in a shard when times come due: expired entries leave, others are registered anew.

use super::change::Removed;
use super::store::{Writing, entries, prefetch_entries, spread};
use crate::value::{NEVER, Value};

/// What a sweep through one shard found.
#[derive(Default)]
pub(super) struct Swept {
    /// The expired entries, to be dropped outside of the lock; and any that had to make room for the
    /// registrations of others.
    pub(super) removed: Removed,
    /// There is more to do.
    pub(super) more: bool,
}

impl Writing<'_> {
    /// Looks at up to `most` registrations of ticks that are over, and with `present` of the present
    /// tick too, and takes out what has expired.
    pub(super) fn sweep(&mut self, now: u64, present: bool, most: usize) -> Swept {
        let mut swept = Swept::default();
        let this_tick = self.side.wheel.tick_of(now);
        let last = self.side.wheel.last_tick(now, present);
        let mut kept = Vec::new();
        let mut left = most;
        while left > 0 {
            let Some((tick, mut hashes)) = self.side.wheel.take_due(last, left) else { break };
            left -= hashes.len();
            // Registrations of one entry become one again here.
            hashes.sort_unstable();
            hashes.dedup();
            prefetch_entries(&self.table, &hashes);
            for hash in hashes {
                while let Some(entry) = self.take_where(hash, |entry| is_over(entry, hash, now)) {
                    swept.removed.push(entry);
                }
                let Some(at) = self.next_expiry(hash) else { continue };
                if tick == this_tick && self.side.wheel.tick_of(at) == tick {
                    kept.push(hash);
                } else {
                    // No memory: the invariant allows it.
                    let _ = self.side.wheel.register(hash, NEVER, at, now);
                }
            }
        }
        swept.more = self.side.wheel.is_due(last);
        for hash in kept {
            let _ = self.side.wheel.push(this_tick, hash);
        }
        self.compact(now);
        self.shrink(&mut swept.removed);
        swept
    }

    /// The first expiry of the entries of this hash that have one. Two keys may share a hash.
    fn next_expiry(&self, hash: u32) -> Option<u64> {
        let mut first = NEVER;
        // The condition is never met, so every entry of this hash is looked at.
        self.table.get(spread(hash), |slot| {
            if slot.0.hash() == hash {
                first = first.min(slot.0.expires_at());
            }
            false
        });
        (first != NEVER).then_some(first)
    }

    /// Builds the wheel anew if there are too many registrations without an entry. To be called where
    /// one may have been added; `now` must be right.
    #[inline]
    pub(super) fn compact(&mut self, now: u64) {
        if self.side.wheel.is_overfull(self.table.len(), now) {
            self.rebuild(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, now: u64) {
        let mut wheel = self.side.wheel.renewed(now);
        let mut all = entries(&self.table);
        // Without memory the old wheel stays as it is.
        if all.all(|entry| wheel.register(entry.hash(), NEVER, entry.expires_at(), now).is_ok()) {
            drop(all);
            self.side.wheel = wheel;
        }
    }
}

fn is_over(entry: &Value, hash: u32, now: u64) -> bool {
    entry.hash() == hash && entry.expires_at() <= now
}
