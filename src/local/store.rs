//! The table of a Local cache: a DashMap whose shards hold pointers to blocks (`value`), and beside
//! each shard the registrations of expiry (`wheel`). What an operation means is said in `operations`.
//!
//! # Protocol
//! - A look-up takes the shard's read lock, and either copies a small value out or pins the block.
//! - A change takes the write lock. New blocks are made, and old ones freed, outside of it.
//! - No lock is taken while a shard's lock is held, and no foreign code runs under one.
//! - Every section under a lock lies inside the fork gate: callers enter it first.
//!
//! # Invariants
//! - A block is in the shard that its hash names, at most one per key.
//! - `Side` is touched under its shard's lock only: changed under the write lock, read under either.
//! - An entry with an expiry has a registration under its `tick`, which is not after the tick of the
//!   expiry. (But one that found no memory to be registered again is left without: it is absent when it
//!   expires all the same, and freed when it is overwritten.)
//! - A block gets another holder only under its shard's lock or from a holder outside of the table. So
//!   under the write lock, a block whose only holder is the table stays so.

use std::cell::UnsafeCell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem;
use std::sync::OnceLock;

use dashmap::{DashMap, RwLockReadGuard, RwLockWriteGuard, SharedValue};
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::raw::RawTable;

use super::wheel::Wheel;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{NEVER, Value};

/// What a shard holds; the unit is DashMap's value.
type Table = RawTable<(Slot, SharedValue<()>)>;

/// A block in a table. Equal where the keys are, as a DashMap wants it.
struct Slot(Value);

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.key());
    }
}

/// What belongs to a shard besides its table.
struct Side {
    wheel: Wheel,
    /// Sum of the footprints of the blocks.
    bytes: usize,
}

/// Bytes of an empty shard.
pub(super) const SHARD_BYTES: usize = 128 + size_of::<Side>();

/// On a cache line of its own: every operation looks at all of it.
#[repr(C, align(64))]
pub(super) struct Store {
    map: DashMap<Slot, (), SeedableRandomState>,
    /// One per shard, guarded by the shard's lock.
    sides: Box<[UnsafeCell<Side>]>,
}

// SAFETY: the cells are touched under the locks of their shards only, and hold plain data.
unsafe impl Sync for Store {}

/// A shard under its read lock.
pub(super) struct Reading<'a> {
    table: RwLockReadGuard<'a, Table>,
    side: &'a Side,
}

/// A shard under its write lock.
pub(super) struct Writing<'a> {
    table: RwLockWriteGuard<'a, Table>,
    side: &'a mut Side,
}

/// What a sweep through one shard found.
#[derive(Default)]
pub(super) struct Swept {
    /// The expired entries, to be dropped outside of the lock.
    pub(super) expired: Vec<Value>,
    /// There is more to do.
    pub(super) more: bool,
}

impl Store {
    /// `shards` is rounded up to a power of two of at least 2.
    pub(super) fn new(shards: usize, tick_ms: u64, now: u64) -> Self {
        let shards = shards.clamp(2, 1 << 16).next_power_of_two();
        let side = || UnsafeCell::new(Side { wheel: Wheel::new(tick_ms, now), bytes: 0 });
        Self {
            map: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher(), shards),
            sides: (0..shards).map(|_| side()).collect(),
        }
    }

    pub(super) fn shard_count(&self) -> usize {
        self.sides.len()
    }

    /// The keyed hash of `key`.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.map.hasher().build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        self.map.determine_shard(hash as usize)
    }

    /// Locks the shard of `hash` for reading.
    #[inline]
    pub(super) fn read(&self, hash: u64) -> Reading<'_> {
        // SAFETY: `shard_of` answers with the number of a shard.
        unsafe { self.read_unchecked(self.shard_of(hash)) }
    }

    /// Locks the shard of `hash` for writing.
    #[inline]
    pub(super) fn write(&self, hash: u64) -> Writing<'_> {
        // SAFETY: `shard_of` answers with the number of a shard.
        unsafe { self.write_unchecked(self.shard_of(hash)) }
    }

    /// Locks the shard of that number for reading.
    pub(super) fn read_shard(&self, shard: usize) -> Reading<'_> {
        assert!(shard < self.shard_count());
        // SAFETY: checked.
        unsafe { self.read_unchecked(shard) }
    }

    /// Locks the shard of that number for writing.
    pub(super) fn write_shard(&self, shard: usize) -> Writing<'_> {
        assert!(shard < self.shard_count());
        // SAFETY: checked.
        unsafe { self.write_unchecked(shard) }
    }

    /// # Safety
    /// There is a shard of that number.
    #[inline]
    unsafe fn read_unchecked(&self, shard: usize) -> Reading<'_> {
        // SAFETY: there are as many sides as shards, and under the read lock a side is read only.
        unsafe {
            let table = self.map.shards().get_unchecked(shard).read();
            Reading { table, side: &*self.sides.get_unchecked(shard).get() }
        }
    }

    /// # Safety
    /// There is a shard of that number.
    #[inline]
    unsafe fn write_unchecked(&self, shard: usize) -> Writing<'_> {
        // SAFETY: there are as many sides as shards, and under the write lock this is the only reference
        // to the side; it does not outlive the lock's guard.
        unsafe {
            let table = self.map.shards().get_unchecked(shard).write();
            Writing { table, side: &mut *self.sides.get_unchecked(shard).get() }
        }
    }
}

/// Keyed by the system's randomness: one seed per process, one per cache.
fn hasher() -> SeedableRandomState {
    static SEED: OnceLock<SharedSeed> = OnceLock::new();
    let random = || std::hash::RandomState::new().build_hasher().finish();
    let shared = SEED.get_or_init(|| SharedSeed::from_u64(random()));
    SeedableRandomState::with_seed(random(), shared)
}

#[inline]
fn rehash(slot: &(Slot, SharedValue<()>)) -> u64 {
    slot.0.0.hash()
}

impl Reading<'_> {
    /// The entry of `key`, expired or not.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<&Value> {
        self.table.get(hash, |slot| slot.0.0.has_key(key)).map(|slot| &slot.0.0)
    }

    /// All entries, expired or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        // SAFETY: the table lives and does not change as long as `self` is borrowed.
        unsafe { self.table.iter().map(|bucket| &bucket.as_ref().0.0) }
    }

    /// Number of entries, expired or not.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of entries, table and registrations.
    pub(super) fn bytes(&self) -> usize {
        let table =
            if self.table.buckets() > 1 { self.table.allocation_info().1.size() } else { 0 };
        self.side.bytes + table + self.side.wheel.footprint()
    }

    /// Whether a sweep would find something to look at: in the ticks that are over, or in the present
    /// one too.
    pub(super) fn is_due(&self, now: u64, present: bool) -> bool {
        self.side.wheel.is_due(last_tick(&self.side.wheel, now, present))
    }

    /// Whether no entry of the shard is registered for expiry.
    pub(super) fn nothing_registered(&self) -> bool {
        self.side.wheel.is_empty()
    }
}

impl Writing<'_> {
    /// The entry of `key`, expired or not.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<&Value> {
        self.table.get(hash, |slot| slot.0.0.has_key(key)).map(|slot| &slot.0.0)
    }

    /// Replaces the value of `key` in place if there is an entry that allows it, and `valid` agrees.
    #[inline]
    pub(super) fn overwrite<V: FnOnce() -> bool>(
        &mut self,
        hash: u64,
        key: &[u8],
        new: &Change<'_>,
        valid: V,
    ) -> Result<Overwrite<V>> {
        let Some((slot, _)) = self.table.get_mut(hash, |slot| slot.0.0.has_key(key)) else {
            return Ok(Overwrite::Impossible(valid));
        };
        let entry = &mut slot.0;
        if !entry.can_overwrite(new.value.len()) {
            return Ok(Overwrite::Impossible(valid));
        }
        if !valid() {
            return Ok(Overwrite::Refused);
        }
        let old_expiry = entry.expires_at();
        let tick = self.side.wheel.register(entry.tick(), entry.hash(), new.expires_at, new.now)?;
        entry.set_tick(tick);
        // SAFETY: the shard is locked for writing, see the last invariant.
        unsafe { entry.overwrite(new.value, new.expires_at, new.stamp) };
        if new.expires_at != NEVER {
            self.compact(new.now);
        }
        Ok(Overwrite::Done { old_expiry })
    }

    /// Puts `new` in, and returns the entry that it replaces. `now` matters only where `new` expires.
    pub(super) fn put(&mut self, new: Value, now: u64) -> Result<Option<Value>> {
        let (hash, at) = (new.hash(), new.expires_at());
        let old =
            if let Some((slot, _)) = self.table.get_mut(hash, |slot| slot.0.0.has_key(new.key())) {
                let tick = self.side.wheel.register(slot.0.tick(), hash, at, now)?;
                new.set_tick(tick);
                self.side.bytes += new.footprint();
                self.side.bytes -= slot.0.footprint();
                Some(mem::replace(&mut slot.0, new))
            } else {
                self.table
                    .try_reserve(1, rehash)
                    .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for the table"))?;
                let tick = self.side.wheel.register(0, hash, at, now)?;
                new.set_tick(tick);
                self.side.bytes += new.footprint();
                self.table.insert(hash, (Slot(new), SharedValue::new(())), rehash);
                None
            };
        if at != NEVER {
            self.compact(now);
        }
        Ok(old)
    }

    /// Takes the entry of `key` out, expired or not.
    pub(super) fn take(&mut self, hash: u64, key: &[u8]) -> Option<Value> {
        let (slot, _) = self.table.remove_entry(hash, |slot| slot.0.0.has_key(key))?;
        self.side.bytes -= slot.0.footprint();
        Some(slot.0)
    }

    /// Gives the entry of `key`, which is there, another expiry.
    pub(super) fn set_expiry(&mut self, hash: u64, key: &[u8], at: u64, now: u64) -> Result<()> {
        if let Some((slot, _)) = self.table.get(hash, |slot| slot.0.0.has_key(key)) {
            let tick = self.side.wheel.register(slot.0.tick(), slot.0.hash(), at, now)?;
            slot.0.set_tick(tick);
            slot.0.set_expires_at(at);
            self.compact(now);
        }
        Ok(())
    }

    /// Takes everything out, to be dropped outside of the lock.
    pub(super) fn take_all(&mut self, now: u64) -> impl Sized + use<> {
        self.side.bytes = 0;
        let wheel = self.side.wheel.renewed(now);
        (mem::replace(&mut *self.table, RawTable::new()), mem::replace(&mut self.side.wheel, wheel))
    }

    /// Looks at up to `most` registrations of ticks that are over, and with `present` of the present
    /// tick too, and takes out what has expired.
    pub(super) fn sweep(&mut self, now: u64, present: bool, most: usize) -> Swept {
        let mut swept = Swept::default();
        let (this_tick, last) = {
            let wheel = &self.side.wheel;
            (wheel.tick_of(now), last_tick(wheel, now, present))
        };
        let mut kept = Vec::new();
        let mut left = most;
        while left > 0 {
            let Some((tick, hashes)) = self.side.wheel.take_due(last, left) else { break };
            left -= hashes.len();
            for hash in hashes {
                let expired = |slot: &(Slot, SharedValue<()>)| {
                    let entry = &slot.0.0;
                    entry.tick() == tick && entry.hash() == hash && entry.expires_at() <= now
                };
                // Two keys may share a hash.
                while let Some((slot, _)) = self.table.remove_entry(hash, expired) {
                    self.side.bytes -= slot.0.footprint();
                    swept.expired.push(slot.0);
                }
                let alive = |slot: &(Slot, SharedValue<()>)| {
                    slot.0.0.tick() == tick && slot.0.0.hash() == hash
                };
                if tick == this_tick {
                    if self.table.get(hash, alive).is_some() {
                        kept.push(hash);
                    }
                    continue;
                }
                while let Some((slot, _)) = self.table.get(hash, alive) {
                    let at = slot.0.expires_at();
                    slot.0.set_tick(self.side.wheel.register(0, hash, at, now).unwrap_or(0));
                }
            }
        }
        swept.more = self.side.wheel.is_due(last);
        for hash in kept {
            // No memory: the invariant allows it, and the tick may stay.
            let _ = self.side.wheel.push(this_tick, hash);
        }
        self.compact(now);
        swept
    }

    /// Builds the wheel anew if there are too many registrations without an entry. To be called where
    /// one may have been added; `now` must be right.
    #[inline]
    fn compact(&mut self, now: u64) {
        if self.side.wheel.is_overfull(self.table.len(), now) {
            self.rebuild(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, now: u64) {
        let mut wheel = self.side.wheel.renewed(now);
        // SAFETY: the table lives and is not changed in this function.
        let entries = || unsafe { self.table.iter().map(|bucket| &bucket.as_ref().0.0) };
        let ticks = entries().map(|entry| wheel.register(0, entry.hash(), entry.expires_at(), now));
        // Without memory the old wheel stays as it is.
        if let Ok(ticks) = ticks.collect::<Result<Vec<u32>>>() {
            entries().zip(ticks).for_each(|(entry, tick)| entry.set_tick(tick));
            self.side.wheel = wheel;
        }
    }
}

/// What is to be stored, and when.
pub(super) struct Change<'a> {
    pub(super) value: &'a [u8],
    pub(super) expires_at: u64,
    pub(super) stamp: u32,
    /// Meaningless where nothing expires.
    pub(super) now: u64,
}

/// The outcome of [`Writing::overwrite`].
pub(super) enum Overwrite<V> {
    /// No entry, or one that is pinned or of another size: put a new block. Gives the condition back.
    Impossible(V),
    /// Refused by the caller's condition.
    Refused,
    /// Done.
    Done {
        /// When the old value was to expire.
        old_expiry: u64,
    },
}

fn last_tick(wheel: &Wheel, now: u64, present: bool) -> u32 {
    wheel.tick_of(now) - u32::from(!present)
}

#[cfg(test)]
impl Store {
    /// Checks the invariants of this file.
    pub(super) fn validate(&self) {
        for shard in 0..self.shard_count() {
            let reading = self.read_shard(shard);
            let registered = reading.side.wheel.validate();
            let mut keys = std::collections::HashSet::new();
            let mut bytes = 0;
            for entry in reading.iter() {
                let hash = self.hash(entry.key());
                assert_eq!(self.shard_of(hash), shard);
                assert_eq!(entry.hash(), hash & (0xff << 56 | 0xffff_ffff));
                assert!(keys.insert(entry.key().to_vec()), "a key is there twice");
                bytes += entry.footprint();
                if entry.expires_at() != NEVER {
                    assert!(entry.tick() <= reading.side.wheel.tick_of(entry.expires_at()));
                    assert!(registered.contains(&(entry.tick(), entry.hash())));
                }
            }
            assert_eq!(keys.len(), reading.len());
            assert_eq!(bytes, reading.side.bytes);
        }
    }
}
