//! The table of a Local cache: a DashMap whose shards hold pointers to blocks (`value`), and beside
//! each shard the registrations of expiry (`wheel`) and the queues of the eviction policy (`policy`).
//! How a shard is changed is in `change`, what is evicted in `eviction`, what an operation means in
//! `operations`.
//!
//! ```text
//! shard:  lock | table of (tag, pointer) ──▶ block: refs, lengths, hash, policy byte, expiry, key, value
//!              | Side: wheel  (hashes by tick of expiry)
//!              |       queues (hashes by turn), ghosts (hashes that were evicted)
//! ```
//! Only the table points to blocks. Wheel and queues name them by hash, four bytes each, and are looked
//! up when an entry's time or turn has come; what they name may be gone by then.
//!
//! # Memory per entry
//! | part | bytes |
//! |---|---|
//! | block | `24 + key + value + 8`, rounded up to 16 |
//! | table | 9 per bucket, at a load of 7/16 to 7/8: 10.3 to 20.6 |
//! | expiry, where there is a TTL | 4 to 5 |
//! | queue, where there is a bound | 4 to 4.5, and 4 to 0.01 for the mark in main, by size |
//! | ghost, once something was evicted | 4 |
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
//! - For each entry with an expiry the wheel has a registration in time (see there).
//! - With a bound, each entry is in the queue that its policy byte names, at the place that it notes;
//!   and at no time are there more entries or bytes in a shard than its share, but for the insertion
//!   that is under way.
//! - A block gets another holder only under its shard's lock or from a holder outside of the table. So
//!   under the write lock, a block whose only holder is the table stays so.

use std::cell::UnsafeCell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;

use dashmap::SharedValue;
use hashbrown::raw::{Bucket, RawTable};

use super::eviction;
use super::policy::{Ghosts, Queue};
use super::wheel::Wheel;
use crate::hash::{self, RandomState};
use crate::sync::{AtomicU32, AtomicUsize, DashMap, Mutex, RwLockReadGuard, RwLockWriteGuard};
use crate::value::{Value, drop_many, prefetch};

/// Most shards.
pub(super) const SHARDS_MAX: usize = 1 << 16;

/// Slots in a cache line.
const NEAR: usize = 64 / size_of::<Place>();

/// What a shard holds; the unit is DashMap's value.
pub(super) type Table = RawTable<Place>;

type Place = (Slot, SharedValue<()>);

/// A block in a table. Equal where the keys are, as a DashMap wants it.
pub(super) struct Slot(pub(super) Value);

impl Deref for Slot {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

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
pub(super) struct Side {
    pub(super) wheel: Wheel,
    /// Sum of the footprints of the blocks.
    pub(super) bytes: usize,
    pub(super) bound: Option<Box<Bound>>,
}

/// What a shard with a bound has besides.
pub(super) struct Bound {
    /// This shard's share of the most entries; `usize::MAX` for no such bound.
    pub(super) entries: usize,
    /// This shard's share of the most bytes; `usize::MAX` for no such bound.
    pub(super) bytes: usize,
    pub(super) small: Queue,
    pub(super) main: Queue,
    pub(super) ghosts: Ghosts,
    /// Evictions from small until main is aged, and whether that took an entry out.
    pub(super) until_ageing: u8,
    pub(super) aged: bool,
    /// Bytes that it may hold beyond its share, see `oversize`.
    pub(super) allowance: usize,
}

/// How much a cache may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) entries: Option<usize>,
    /// Of the blocks, tables, queues and registrations.
    pub(super) bytes: Option<usize>,
}

/// What the shards of a bounded cache share.
pub(super) struct Shared {
    pub(super) bounds: Bounds,
    /// The small queues' share of the capacity, an `f32`'s bits. Changed seldom, and an update may be
    /// lost to another.
    pub(super) small_share: AtomicU32,
    pub(super) shards: usize,
    /// Entries from this footprint on go the way of `oversize`.
    pub(super) oversize: usize,
    /// Sum of the shards' allowances.
    pub(super) borrowed: AtomicUsize,
    /// Held during a grant.
    pub(super) granting: Mutex<()>,
}

impl Bounds {
    pub(super) fn any(&self) -> bool {
        self.entries.is_some() || self.bytes.is_some()
    }

    /// The part of the shard of this number.
    fn part(&self, shard: usize, shards: usize) -> Option<Box<Bound>> {
        let part = |of: Option<usize>| {
            of.map_or(usize::MAX, |all| all / shards + usize::from(shard < all % shards))
        };
        let (entries, bytes) = (part(self.entries), part(self.bytes));
        self.any().then(|| {
            // Of entries that are bounded by their bytes alone the number is not known yet; they are
            // taken for small ones.
            let capacity = entries.min(bytes / 256);
            Box::new(Bound {
                entries,
                bytes,
                small: Queue::new(capacity),
                main: Queue::new(capacity),
                ghosts: Ghosts::new(),
                until_ageing: eviction::AGEING,
                aged: false,
                allowance: 0,
            })
        })
    }
}

/// On a cache line of its own: every operation looks at all of it.
#[repr(C, align(64))]
pub(super) struct Store {
    map: DashMap<Slot, (), RandomState>,
    /// One per shard, guarded by the shard's lock.
    sides: Box<[UnsafeCell<Side>]>,
    pub(super) shared: Shared,
    bounded: bool,
}

// SAFETY: the cells are touched under the locks of their shards only, and hold plain data.
unsafe impl Sync for Store {}

/// A shard under its read lock.
pub(super) struct Reading<'a> {
    pub(super) table: RwLockReadGuard<'a, Table>,
    pub(super) side: &'a Side,
}

/// A shard under its write lock.
pub(super) struct Writing<'a> {
    pub(super) table: RwLockWriteGuard<'a, Table>,
    pub(super) side: &'a mut Side,
    pub(super) shared: &'a Shared,
}

/// A key's hash: 64 bits to begin with, of which the table of a shard needs the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    /// The half that tells entries of one shard apart.
    #[inline]
    pub(super) fn in_shard(self) -> u32 {
        self.0 as u32
    }
}

/// The hash in a shard as a table wants it, which takes the place of a bucket from the low bits and a tag
/// from the high ones.
#[inline]
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash >> 25) << 57
}

impl Store {
    /// `shards` is rounded up to a power of two.
    pub(super) fn new(shards: usize, tick_ms: u64, now: u64, bounds: Bounds) -> Self {
        let shards = shards.clamp(1, SHARDS_MAX).next_power_of_two();
        let side = |shard| {
            let bound = bounds.part(shard, shards);
            UnsafeCell::new(Side { wheel: Wheel::new(tick_ms, now), bytes: 0, bound })
        };
        // A DashMap has two shards at least; a single one leaves the other empty.
        let map =
            DashMap::with_capacity_and_hasher_and_shard_amount(0, hash::keyed(), shards.max(2));
        let small_share = AtomicU32::new(eviction::SMALL_SHARE_MIN.to_bits());
        let shared = Shared {
            bounds,
            small_share,
            shards,
            oversize: bounds.bytes.map_or(usize::MAX, |all| all / shards / 2),
            borrowed: AtomicUsize::new(0),
            granting: Mutex::new(()),
        };
        let sides = (0..shards).map(side).collect();
        Self { map, sides, shared, bounded: bounds.any() }
    }

    /// Whether there is a bound, so that hits are to be noted.
    #[inline]
    pub(super) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// The bounds of all shards together.
    pub(super) fn bounds(&self) -> Bounds {
        self.shared.bounds
    }

    pub(super) fn shard_count(&self) -> usize {
        self.sides.len()
    }

    /// The keyed hash of `key`.
    #[inline(always)]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.map.hasher().build_hasher();
        hasher.write(key);
        KeyHash(hasher.finish())
    }

    /// Bits that neither half of the hash in a table has.
    #[inline]
    pub(super) fn shard_of(&self, hash: KeyHash) -> usize {
        (hash.0 >> 40) as usize & (self.sides.len() - 1)
    }

    /// Locks the shard of `hash` for reading.
    #[inline]
    pub(super) fn read(&self, hash: KeyHash) -> Reading<'_> {
        // SAFETY: `shard_of` answers with the number of a shard.
        unsafe { self.read_unchecked(self.shard_of(hash)) }
    }

    /// Locks the shard of `hash` for writing.
    #[inline]
    pub(super) fn write(&self, hash: KeyHash) -> Writing<'_> {
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
            let side = &mut *self.sides.get_unchecked(shard).get();
            Writing { table, side, shared: &self.shared }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for shard in self.map.shards_mut() {
            let table = std::mem::replace(shard.get_mut(), RawTable::new());
            drop_many(table.into_iter().map(|(slot, _)| slot.0));
        }
    }
}

impl Reading<'_> {
    /// The entry of `key`, expired or not.
    #[inline(always)]
    pub(super) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<&Value> {
        find(&self.table, hash.in_shard(), key)
    }

    /// All entries, expired or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        entries(&self.table)
    }

    /// Number of entries, expired or not.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of entries, table, registrations and queues.
    pub(super) fn bytes(&self) -> usize {
        self.side.bytes + self.side.structures(&self.table)
    }

    /// Whether a sweep would find something to look at: in the ticks that are over, or in the present
    /// one too.
    pub(super) fn is_due(&self, now: u64, present: bool) -> bool {
        self.side.wheel.is_due(self.side.wheel.last_tick(now, present))
    }

    /// Whether no entry of the shard is registered for expiry.
    pub(super) fn nothing_registered(&self) -> bool {
        self.side.wheel.is_empty()
    }
}

/// The entry of `key`, whose hash in the shard is `hash`; expired or not.
///
/// In a table that is larger than the caches of the processor a look-up is three misses one after the
/// other: the tags, the slot, the block. The slot's place is guessed from the hash, so that its line is
/// under way while the tags are; and the block's further lines while the key is compared.
#[inline(always)]
pub(super) fn find<'a>(table: &'a Table, hash: u32, key: &[u8]) -> Option<&'a Value> {
    // SAFETY: the bucket is of this table, which is borrowed as long as the result.
    place_of(table, hash, key).map(|place| unsafe { &place.as_ref().0.0 })
}

/// As [`find`], to change the entry.
#[inline(always)]
pub(super) fn find_mut<'a>(table: &'a mut Table, hash: u32, key: &[u8]) -> Option<&'a mut Value> {
    // SAFETY: as in `find`, and the table is borrowed uniquely.
    place_of(table, hash, key).map(|place| unsafe { &mut place.as_mut().0.0 })
}

/// Where the entry of `key` stands. The search compares hashes alone, and the key is compared once, after
/// it: so the search is short enough to be inlined.
#[inline(always)]
fn place_of(table: &Table, hash: u32, key: &[u8]) -> Option<Bucket<Place>> {
    prefetch_slot(table, hash);
    let place = table.find(spread(hash), |(slot, _)| {
        slot.0.prefetch();
        slot.0.hash() == hash
    })?;
    // SAFETY: the bucket is of this table, which is borrowed.
    if unsafe { place.as_ref() }.0.has_key(key) {
        Some(place)
    } else {
        place_among(table, hash, key)
    }
}

/// As [`place_of`], where the first entry of this hash has another key.
#[cold]
#[inline(never)]
fn place_among(table: &Table, hash: u32, key: &[u8]) -> Option<Bucket<Place>> {
    table.find(spread(hash), |(slot, _)| slot.0.hash() == hash && slot.has_key(key))
}

/// Asks for the lines of the slots where an entry of this hash is in most cases: at the place that the
/// hash names, or among the next few.
#[inline(always)]
fn prefetch_slot(table: &Table, hash: u32) {
    // Slots are counted downwards. Near the table's end, and of a table without slots, this is another's
    // memory: no harm in asking.
    let place = hash as usize & (table.buckets() - 1);
    let slot = table.data_end().as_ptr().cast::<Place>().wrapping_sub(place + 1);
    prefetch(slot);
    prefetch(slot.wrapping_sub(NEAR));
}

/// Asks for all that look-ups of these hashes will touch, so that they wait for memory together and not
/// one after the other: for work on many entries under one lock.
pub(super) fn prefetch_entries(table: &Table, hashes: &[u32]) {
    let tags = table.data_end().as_ptr().cast::<u8>();
    for hash in hashes {
        prefetch(tags.wrapping_add(*hash as usize & (table.buckets() - 1)));
        prefetch_slot(table, *hash);
    }
    for hash in hashes {
        // The condition is never met, so every candidate is asked for.
        table.get(spread(*hash), |slot| {
            prefetch(slot.0.0.address());
            false
        });
    }
}

/// All entries of a table.
pub(super) fn entries(table: &Table) -> impl Iterator<Item = &Value> {
    // SAFETY: the table lives and does not change as long as it is borrowed.
    unsafe { table.iter().map(|bucket| &bucket.as_ref().0.0) }
}

/// Bytes of a table's buckets and tags.
#[inline]
pub(super) fn table_bytes(table: &Table) -> usize {
    // One bucket is what a table without an allocation says it has.
    if table.buckets() > 1 { table.allocation_info().1.size() } else { 0 }
}

/// How many entries fill a table of so many buckets.
pub(super) fn full_at(buckets: usize) -> usize {
    if buckets < 8 { buckets - 1 } else { buckets / 8 * 7 }
}

impl Side {
    /// Bytes of what is beside the blocks.
    #[inline]
    pub(super) fn structures(&self, table: &Table) -> usize {
        table_bytes(table)
            + self.wheel.footprint()
            + self.bound.as_deref().map_or(0, Bound::footprint)
    }
}

impl Bound {
    fn footprint(&self) -> usize {
        self.small.footprint() + self.main.footprint() + self.ghosts.footprint()
    }
}

#[cfg(test)]
impl Store {
    /// Checks the invariants of this file.
    pub(super) fn validate(&self) {
        let mut allowances = 0;
        for shard in 0..self.shard_count() {
            let reading = self.read_shard(shard);
            let registered = reading.side.wheel.validate();
            let mut keys = std::collections::HashSet::new();
            let mut bytes = 0;
            for entry in reading.iter() {
                let hash = self.hash(entry.key());
                assert_eq!(self.shard_of(hash), shard);
                assert_eq!(entry.hash(), hash.in_shard());
                assert!(keys.insert(entry.key().to_vec()), "a key is there twice");
                bytes += entry.footprint();
                let end = entry.expires_at();
                if end != crate::value::NEVER {
                    let tick = reading.side.wheel.tick_of(end);
                    let first = registered.get(&entry.hash());
                    assert!(first.is_some_and(|at| *at <= tick), "not registered in time");
                }
            }
            assert_eq!(keys.len(), reading.len());
            assert_eq!(bytes, reading.side.bytes);
            if let Some(bound) = reading.side.bound.as_deref() {
                assert!(reading.len() <= bound.entries);
                eviction::validate(&reading.table, bound);
                allowances += bound.allowance;
            }
        }
        assert_eq!(allowances, self.shared.borrowed.load(std::sync::atomic::Ordering::Relaxed));
        if let Some(most) = self.bounds().bytes {
            let held = (0..self.shard_count()).map(|shard| self.read_shard(shard).bytes());
            assert!(held.sum::<usize>() <= most);
        }
    }
}
