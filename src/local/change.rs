//! How a shard is changed under its write lock: entries put in, overwritten, taken out, given another
//! expiry. Where there is a bound, each change keeps the queues of `eviction` true.
//!
//! Nothing is freed here: what leaves the table is handed out in [`Removed`], to be dropped after the
//! lock.

use std::iter::Chain;
use std::{mem, option, vec};

use dashmap::SharedValue;
use hashbrown::raw::RawTable;

use super::policy::{Ghosts, Queue};
use super::store::{KeyHash, Slot, Table, Writing, find, find_mut, full_at, spread, table_bytes};
use super::wheel::Wheel;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{NEVER, Value, prefetch};

/// What is to be stored in place, and when.
pub(super) struct Change<'a> {
    pub(super) value: &'a [u8],
    pub(super) expires_at: u64,
    /// A Hybrid's epoch, where it is one.
    pub(super) stamp: Option<u32>,
    /// Meaningless where nothing expires.
    pub(super) now: u64,
}

/// The outcome of [`Writing::overwrite`].
pub(super) enum Overwrite<V> {
    /// No entry, or one that is pinned or of another size: put a new block. Gives the condition back.
    Impossible(V),
    /// Refused by the caller's condition.
    Refused,
    /// No memory to register the expiry: nothing has changed.
    NoMemory,
    /// Done.
    Done {
        /// When the old value was to expire.
        old_expiry: u64,
        /// What had to go because of it, where something had.
        removed: Option<Box<Removed>>,
    },
}

/// Entries that a bound or their time pushed out, to be dropped outside of the lock. Mostly one at most.
#[derive(Default)]
pub(super) struct Removed {
    first: Option<Value>,
    more: Vec<Value>,
}

impl Removed {
    pub(super) fn push(&mut self, entry: Value) {
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.more.push(entry);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.first.iter().chain(&self.more)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl IntoIterator for Removed {
    type Item = Value;
    type IntoIter = Chain<option::IntoIter<Value>, vec::IntoIter<Value>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

impl Writing<'_> {
    /// The entry of `key`, expired or not.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<&Value> {
        find(&self.table, hash.in_shard(), key)
    }

    /// Replaces the value of `key` in place if there is an entry that allows it, and `valid` agrees.
    #[inline(always)]
    pub(super) fn overwrite<V: FnOnce() -> bool>(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        new: &Change<'_>,
        valid: V,
    ) -> Overwrite<V> {
        let hash = hash.in_shard();
        let Some(entry) = find_mut(&mut self.table, hash, key) else {
            return Overwrite::Impossible(valid);
        };
        if !entry.can_overwrite(new.value.len(), new.stamp.is_some()) {
            return Overwrite::Impossible(valid);
        }
        if !valid() {
            return Overwrite::Refused;
        }
        let old_expiry = entry.expires_at();
        let registered = self.side.wheel.is_registered(old_expiry, new.expires_at);
        if !registered
            && self.side.wheel.register(hash, old_expiry, new.expires_at, new.now).is_err()
        {
            return Overwrite::NoMemory;
        }
        if self.side.bound.is_some() {
            super::eviction::note_use(entry);
        }
        // SAFETY: the shard is locked for writing, see the last invariant of `store`.
        unsafe { entry.overwrite(new.value, new.expires_at, new.stamp) };
        // The registration is all that grows.
        let removed = if registered { None } else { self.tidy(new.now) };
        Overwrite::Done { old_expiry, removed }
    }

    /// To be called after something was registered; answers with what had to go, where something had.
    #[cold]
    #[inline(never)]
    fn tidy(&mut self, now: u64) -> Option<Box<Removed>> {
        let mut removed = Removed::default();
        self.compact(now);
        self.shrink(&mut removed);
        (!removed.is_empty()).then(|| Box::new(removed))
    }

    /// Puts `new` in, and returns the entry that it replaces. `now` matters only where `new` expires.
    pub(super) fn put(
        &mut self,
        new: Value,
        now: u64,
        removed: &mut Removed,
    ) -> Result<Option<Value>> {
        let (hash, at) = (new.hash(), new.expires_at());
        let old = if let Some(slot) = find_mut(&mut self.table, hash, new.key()) {
            self.side.wheel.register(hash, slot.expires_at(), at, now)?;
            super::eviction::succeed(&new, slot);
            self.side.bytes += new.footprint();
            self.side.bytes -= slot.footprint();
            Some(mem::replace(slot, new))
        } else {
            if self.table.len() == self.table.capacity() {
                self.make_place(removed)?;
            }
            self.side.wheel.register(hash, NEVER, at, now)?;
            self.admit(&new, removed);
            self.side.bytes += new.footprint();
            let slot = (Slot(new), SharedValue::new(()));
            self.table.insert(spread(hash), slot, |slot| spread(slot.0.hash()));
            None
        };
        if at != NEVER {
            self.compact(now);
        }
        self.shrink(removed);
        Ok(old)
    }

    /// Sees to it that the table takes one more entry. It is full, be it of entries or of tombstones.
    ///
    /// A RawTable of its own accord doubles in both cases. With a bound on bytes that would drive entries
    /// out: of small ones a sixth, for tombstones alone. So tombstones are cleared by moving the entries to
    /// a table of the same size, once there are enough of them to pay for it; and where a larger table
    /// does not fit in beside the entries, it is entries that give way.
    #[cold]
    #[inline(never)]
    fn make_place(&mut self, removed: &mut Removed) -> Result<()> {
        let (limit, most) = (self.limit(), full_at(self.table.buckets()));
        while self.table.len() == self.table.capacity() {
            let tombstones = most - self.table.len();
            if tombstones > self.table.len() / 8 {
                return self.renew_table(most);
            }
            // The larger table takes as much again as this one.
            let larger = self.side.bytes + table_bytes(&self.table);
            if limit == usize::MAX || !self.is_full_of(larger, limit) || !self.evict_any(removed) {
                return self.renew_table(most + 1);
            }
        }
        Ok(())
    }

    /// Moves the entries to a new table, which has room for `capacity`.
    fn renew_table(&mut self, capacity: usize) -> Result<()> {
        let mut new = Table::new();
        new.try_reserve(capacity, |_| 0)
            .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for the table"))?;
        let mut old = mem::replace(&mut *self.table, new).into_iter();
        // Their hashes stand in the blocks: a few are asked for at once.
        loop {
            let few: [_; 16] = std::array::from_fn(|_| old.next());
            for (slot, _) in few.iter().flatten() {
                prefetch(slot.address());
            }
            for slot in few {
                let Some(slot) = slot else { return Ok(()) };
                self.table.insert(spread(slot.0.hash()), slot, |slot| spread(slot.0.hash()));
            }
        }
    }

    /// Takes the entry of `key` out, expired or not.
    pub(super) fn take(&mut self, hash: KeyHash, key: &[u8]) -> Option<Value> {
        self.take_where(hash.in_shard(), |entry| entry.has_key(key))
    }

    /// Takes an entry of this hash out that `matches`.
    pub(super) fn take_where(
        &mut self,
        hash: u32,
        mut matches: impl FnMut(&Value) -> bool,
    ) -> Option<Value> {
        let (slot, _) = self.table.remove_entry(spread(hash), |slot| matches(&slot.0))?;
        self.side.bytes -= slot.footprint();
        self.forget(&slot);
        Some(slot.0)
    }

    /// Gives the entry of `key`, which is there, another expiry. One with a stale window keeps its length.
    pub(super) fn set_expiry(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        at: u64,
        now: u64,
        removed: &mut Removed,
    ) -> Result<()> {
        let hash = hash.in_shard();
        if let Some(slot) = find(&self.table, hash, key) {
            let old = slot.expires_at();
            let end = match slot.attributes() {
                None => at,
                Some(_) if at == NEVER => NEVER,
                Some(attributes) => {
                    let window = match (old, attributes.fresh_until()) {
                        (NEVER, _) => 0,
                        (end, fresh) => end.saturating_sub(fresh),
                    };
                    at.saturating_add(window).min(NEVER - 1)
                }
            };
            self.side.wheel.register(hash, old, end, now)?;
            slot.set_expires_at(end);
            if let Some(attributes) = slot.attributes() {
                attributes.set_fresh_until(at);
            }
            self.compact(now);
            self.shrink(removed);
        }
        Ok(())
    }

    /// Takes everything out, to be dropped outside of the lock.
    pub(super) fn take_all(&mut self, now: u64) -> (Table, Wheel) {
        self.side.bytes = 0;
        let renewed = self.side.wheel.renewed(now);
        let wheel = mem::replace(&mut self.side.wheel, renewed);
        let table = self.give_up_structures();
        self.settle();
        (table, wheel)
    }

    /// Replaces table and queues by new ones, and forgets all registrations.
    pub(super) fn give_up_structures(&mut self) -> Table {
        self.side.wheel.clear();
        if let Some(bound) = self.side.bound.as_deref_mut() {
            let capacity = bound.entries.min(bound.bytes / 256);
            bound.small = Queue::new(capacity);
            bound.main = Queue::new(capacity);
            bound.ghosts = Ghosts::new();
        }
        mem::replace(&mut *self.table, RawTable::new())
    }
}
