//! The store of a Local cache under many schedules: its own source (`src/local/`: store, change, eviction,
//! policy, oversize, wheel, sweep; `src/value.rs`), compiled here over locks and atomics that decide at
//! each of their operations who goes on. What stands above the store there, `Cache` does here: it takes
//! the same steps in the same order, and no others.
//!
//! Each case is followed by one that takes a protection away and must fail: the test that the case bites.
//! Freed memory is overwritten, so that a block that is used after that shows it.

#![allow(dead_code, reason = "the model uses a part of the modules")]

#[path = "../src/local/change.rs"]
mod change;
#[path = "../src/local/eviction.rs"]
mod eviction;
#[path = "support/model.rs"]
mod model;
#[path = "../src/local/oversize.rs"]
mod oversize;
#[path = "../src/local/policy.rs"]
mod policy;
#[path = "../src/local/store.rs"]
mod store;
#[path = "../src/local/sweep.rs"]
mod sweep;
#[path = "../src/value.rs"]
mod value;
#[path = "../src/local/wheel.rs"]
mod wheel;

/// What `src/sync.rs` takes from the standard library and from DashMap.
mod sync {
    pub use shuttle::sync::Mutex;

    pub use crate::model::{
        AtomicU8, AtomicU32, AtomicU64, AtomicUsize, RwLock, RwLockReadGuard, RwLockWriteGuard,
        all_gone,
    };

    /// The shards of a DashMap, and its hasher.
    pub struct DashMap<K, V, S> {
        shards: Box<[RwLock<Shard<K, V>>]>,
        hasher: S,
    }

    type Shard<K, V> = hashbrown::raw::RawTable<(K, dashmap::SharedValue<V>)>;

    impl<K, V, S> DashMap<K, V, S> {
        pub fn with_capacity_and_hasher_and_shard_amount(
            capacity: usize,
            hasher: S,
            shards: usize,
        ) -> Self {
            assert_eq!(capacity, 0);
            Self { shards: (0..shards).map(|_| RwLock::default()).collect(), hasher }
        }

        pub fn hasher(&self) -> &S {
            &self.hasher
        }

        pub fn shards(&self) -> &[RwLock<Shard<K, V>>] {
            &self.shards
        }

        pub fn shards_mut(&mut self) -> &mut [RwLock<Shard<K, V>>] {
            &mut self.shards
        }
    }
}

/// The same in every run, so that a schedule can be run again.
mod hash {
    pub use ahash::RandomState;

    pub fn keyed() -> RandomState {
        RandomState::with_seeds(1, 2, 3, 4)
    }
}

mod error {
    pub use lighter_cache::{Error, ErrorKind, Result};
}

mod key {
    pub use lighter_cache::KEY_MAX;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use change::{Change, Overwrite, Removed};
use model::{AtomicU64, Fault, check, fails_with, has, switch, together};
use store::{Bounds, Store};
use value::{Entry, Extra, NEVER, Value};

/// The system's allocator, which overwrites what is freed.
struct Overwriting;

// SAFETY: all is done by the system's allocator; what is overwritten is about to be freed by its owner.
unsafe impl GlobalAlloc for Overwriting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this layout.
        unsafe {
            memory.write_bytes(0xdd, layout.size());
            System.dealloc(memory, layout);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Overwriting = Overwriting;

/// What `operations` and its neighbours do with a store.
struct Cache {
    store: Store,
    now: AtomicU64,
}

const TICK: u64 = 10;
const BEGIN: u64 = 1_000;

/// Values say whose they are and are of one byte; two lengths take the same block, the third another.
fn value_of(key: u8, version: u8) -> Vec<u8> {
    let mut value = vec![version; [16, 17, 90][usize::from(version) % 3]];
    value[0] = key;
    value
}

/// The version of a value of `key` that is whole.
fn version_of(key: u8, value: &[u8]) -> u8 {
    let version = value[1];
    assert!(value == value_of(key, version), "a torn or foreign value: {value:x?}");
    version
}

impl Cache {
    fn new(shards: usize, bounds: Bounds) -> Arc<Self> {
        let now = AtomicU64::new(BEGIN);
        Arc::new(Self { store: Store::new(shards, TICK, BEGIN, bounds), now })
    }

    fn now(&self) -> u64 {
        self.now.load(SeqCst)
    }

    fn lives(&self, entry: &Value) -> bool {
        entry.expires_at() == NEVER || entry.expires_at() > self.now()
    }

    fn pin(&self, key: u8) -> Option<Value> {
        let hash = self.store.hash(&[key]);
        let shard = self.store.read(hash);
        let found = shard.find(hash, &[key]).filter(|entry| self.lives(entry));
        found.inspect(|entry| eviction::note_use(entry)).cloned()
    }

    fn get(&self, key: u8) -> Option<u8> {
        self.pin(key).map(|value| version_of(key, &value))
    }

    /// Copies under the lock.
    fn get_into(&self, key: u8) -> Option<u8> {
        let hash = self.store.hash(&[key]);
        let shard = self.store.read(hash);
        let entry = shard.find(hash, &[key]).filter(|entry| self.lives(entry))?;
        let first = entry[..8].to_vec();
        switch();
        Some(version_of(key, &[&first[..], &entry[8..]].concat()))
    }

    fn set(&self, key: u8, version: u8, ttl: Option<u64>) {
        let value = &value_of(key, version)[..];
        let now = self.now();
        let expires_at = ttl.map_or(NEVER, |ttl| now + ttl);
        let hash = self.store.hash(&[key]);
        let change = Change { value, expires_at, stamp: None, now };
        let mut shard = self.store.write(hash);
        let done = shard.overwrite(hash, &[key], &change, || true);
        drop(shard);
        if let Overwrite::Impossible(_) = done {
            self.put(key, value, expires_at);
        }
    }

    /// False where it is larger than the cache.
    fn put(&self, key: u8, value: &[u8], expires_at: u64) -> bool {
        let hash = self.store.hash(&[key]);
        let extra = Extra::None;
        let entry = Entry { hash: hash.in_shard(), key: &[key], value, expires_at, extra };
        let new = Value::entry(entry).unwrap();
        let mut removed = Removed::default();
        self.store.put_if(hash, new, self.now(), |_| true, &mut removed).is_ok()
    }

    fn delete(&self, key: u8) -> bool {
        let hash = self.store.hash(&[key]);
        let mut shard = self.store.write(hash);
        let taken = shard.take(hash, &[key]);
        let lived = taken.as_ref().is_some_and(|entry| self.lives(entry));
        drop(shard);
        if has(Fault::JudgesTooLate) {
            taken.is_some_and(|entry| self.lives(&entry))
        } else {
            lived
        }
    }

    fn expire(&self, key: u8, ttl: Option<u64>) -> bool {
        let hash = self.store.hash(&[key]);
        let now = self.now();
        let at = ttl.map_or(NEVER, |ttl| now + ttl);
        let mut shard = self.store.write(hash);
        if !shard.find(hash, &[key]).is_some_and(|entry| self.lives(entry)) {
            return false;
        }
        shard.set_expiry(hash, &[key], at, now, &mut Removed::default()).unwrap();
        true
    }

    fn sweep(&self) {
        for shard in 0..self.store.shard_count() {
            let now = self.now();
            if !self.store.read_shard(shard).is_due(now, true) {
                continue;
            }
            if has(Fault::SweepsWithoutALook) {
                return self.sweep_without_a_look(shard, now);
            }
            self.store.write_shard(shard).sweep(now, true, usize::MAX);
        }
    }

    /// Removes what had expired when it looked.
    fn sweep_without_a_look(&self, shard: usize, now: u64) {
        let over = |entry: &&Value| entry.expires_at() <= now;
        let over: Vec<Value> = self.store.read_shard(shard).iter().filter(over).cloned().collect();
        for entry in over {
            let mut shard = self.store.write_shard(shard);
            shard.take_where(entry.hash(), |found| found.has_key(entry.key()));
        }
    }

    /// What closing does, and `clear`.
    fn clear(&self) {
        for shard in 0..self.store.shard_count() {
            let content = self.store.write_shard(shard).take_all(self.now());
            drop(content);
        }
    }

    /// What saving and going over the keys begin with: the entries of a shard as they are at one moment.
    fn look(&self, shard: usize) -> Vec<Value> {
        if has(Fault::LooksInPortions) {
            let len = self.store.read_shard(shard).len();
            let one = |n| self.store.read_shard(shard).iter().nth(n).cloned();
            return (0..len).filter_map(one).collect();
        }
        self.store.read_shard(shard).iter().cloned().collect()
    }

    /// A shard that does not hold more than it may.
    fn check_bound(&self) {
        for shard in 0..self.store.shard_count() {
            let shard = self.store.read_shard(shard);
            let bound = shard.side.bound.as_deref().map_or(usize::MAX, |bound| bound.entries);
            assert!(shard.len() <= bound);
        }
    }
}

fn entries(entries: usize) -> Bounds {
    Bounds { entries: Some(entries), bytes: None }
}

/// A thread of a case.
fn thread(
    cache: &Arc<Cache>,
    run: impl FnOnce(&Cache) + Send + 'static,
) -> Box<dyn FnOnce() + Send> {
    let cache = cache.clone();
    Box::new(move || run(&cache))
}

/// Insertions that evict, reads, a sweep as times come due, and the cache being closed.
fn insert_evict_expire_close() {
    let cache = Cache::new(1, entries(2));
    cache.set(0, 1, Some(5));
    together([
        thread(&cache, |cache| {
            cache.set(0, 2, None);
            cache.set(1, 3, Some(5));
            cache.set(2, 4, None);
        }),
        thread(&cache, |cache| {
            for key in [0, 1, 2] {
                cache.get(key);
                cache.get_into(key);
            }
            cache.check_bound();
        }),
        thread(&cache, |cache| {
            cache.now.fetch_add(2 * TICK, SeqCst);
            cache.sweep();
            cache.set(1, 5, None);
            cache.expire(1, Some(7));
            cache.delete(2);
        }),
        thread(&cache, Cache::clear),
    ]);
    cache.store.validate();
    cache.clear();
    assert_eq!(cache.store.read_shard(0).len(), 0);
}

#[test]
fn inserting_evicting_expiring_and_closing() {
    check(insert_evict_expire_close);
}

/// Nothing that was stored before comes back after a clear, and nothing that is stored after is lost.
#[test]
fn clearing_beside_a_reader() {
    fn case() {
        let cache = Cache::new(2, Bounds::default());
        (0..4).for_each(|key| cache.set(key, 1, None));
        together([
            thread(&cache, |cache| {
                cache.clear();
                assert!((0..4).all(|key| cache.get(key).is_none()));
                cache.set(1, 7, None);
                assert_eq!(cache.get(1), Some(7));
            }),
            thread(&cache, |cache| {
                let pins: Vec<_> =
                    (0..4).filter_map(|key| cache.pin(key).map(|p| (key, p))).collect();
                cache.sweep();
                for (key, pin) in &pins {
                    assert!([1, 7].contains(&version_of(*key, pin)));
                }
            }),
        ]);
        assert_eq!(cache.get(1), Some(7));
        cache.store.validate();
    }
    check(case);
}

/// Readers that pin and readers that copy, beside a writer that overwrites in place.
fn overwrite_beside_readers() {
    let cache = Cache::new(1, Bounds::default());
    cache.set(0, 3, None);
    together([
        thread(&cache, |cache| {
            // These have blocks of one size.
            cache.set(0, 6, None);
            cache.set(0, 9, None);
        }),
        thread(&cache, |cache| {
            let pin = cache.pin(0).unwrap();
            let before = version_of(0, &pin);
            switch();
            assert_eq!(version_of(0, &pin), before, "a pinned value changed");
            let again = pin.clone();
            drop(pin);
            switch();
            assert_eq!(version_of(0, &again), before, "a pinned value changed");
        }),
        thread(&cache, |cache| {
            let first = cache.get_into(0).unwrap();
            assert!(cache.get_into(0).unwrap() >= first, "an older value after a newer");
        }),
    ]);
    assert_eq!(cache.get(0), Some(9));
    cache.store.validate();
}

#[test]
fn pins_beside_overwriting() {
    check(overwrite_beside_readers);
}

#[test]
fn pins_change_if_a_pinned_block_is_overwritten() {
    fails_with(Fault::EveryBlockIsUnshared, &["a pinned value changed"], overwrite_beside_readers);
}

#[test]
fn values_are_torn_if_readers_take_no_lock() {
    let why =
        ["a torn or foreign value", "a pinned value changed", "an older value", "can_overwrite"];
    fails_with(Fault::ReadersTakeNoLock, &why, overwrite_beside_readers);
}

/// An entry whose life is prolonged or that is stored anew while the sweeper finds that it is over.
fn renew_beside_a_sweep() {
    let cache = Cache::new(1, Bounds::default());
    cache.set(0, 1, Some(5));
    cache.set(1, 1, Some(5));
    together([
        thread(&cache, |cache| {
            let renewed = cache.expire(0, None);
            cache.set(1, 2, None);
            assert_eq!(cache.get(1), Some(2), "an entry was lost");
            assert_eq!(cache.get(0), renewed.then_some(1), "an entry was lost or came back");
        }),
        thread(&cache, |cache| {
            cache.now.fetch_add(TICK, SeqCst);
            cache.sweep();
        }),
    ]);
    assert_eq!(cache.get(1), Some(2), "an entry was lost");
    cache.store.validate();
}

#[test]
fn renewing_beside_a_sweep() {
    check(renew_beside_a_sweep);
}

#[test]
fn entries_are_lost_if_a_sweep_does_not_look_again() {
    fails_with(Fault::SweepsWithoutALook, &["an entry was lost"], renew_beside_a_sweep);
}

/// Who removes an entry is told that it was there, if others missed it before its time was over.
fn delete_beside_expiry() {
    let cache = Cache::new(1, Bounds::default());
    cache.set(0, 1, Some(5));
    let told = Arc::new(AtomicU64::new(0));
    let missed = Arc::new(AtomicU64::new(0));
    let (tells, misses) = (told.clone(), missed.clone());
    together([
        thread(&cache, move |cache| tells.store(cache.delete(0).into(), SeqCst)),
        thread(&cache, move |cache| {
            misses.store(cache.get(0).is_none().into(), SeqCst);
            cache.now.fetch_add(TICK, SeqCst);
        }),
    ]);
    assert!(told.load(SeqCst) == 1 || missed.load(SeqCst) == 0, "no order explains the answers");
    cache.store.validate();
}

#[test]
fn deleting_beside_expiry() {
    check(delete_beside_expiry);
}

#[test]
fn a_delete_is_told_wrongly_if_it_judges_too_late() {
    fails_with(Fault::JudgesTooLate, &["no order explains"], delete_beside_expiry);
}

/// One writes two keys of a shard in turn; whoever looks at the shard sees both as they were at one moment,
/// and keeps what he saw.
fn look_beside_writes() {
    let cache = Cache::new(1, Bounds::default());
    cache.set(0, 1, None);
    cache.set(1, 1, None);
    together([
        thread(&cache, |cache| {
            for version in [4, 7] {
                cache.set(0, version, None);
                cache.set(1, version, None);
            }
        }),
        thread(&cache, |cache| {
            let seen = cache.look(0);
            assert_eq!(seen.len(), 2);
            switch();
            let version = |key| {
                let entry = seen.iter().find(|entry| entry.has_key(&[key])).unwrap();
                version_of(key, entry)
            };
            let seen = (version(0), version(1));
            assert!(
                [(1, 1), (4, 1), (4, 4), (7, 4), (7, 7)].contains(&seen),
                "not at one moment: {seen:?}"
            );
        }),
    ]);
    cache.store.validate();
}

#[test]
fn saving_beside_writes() {
    check(look_beside_writes);
}

#[test]
fn saving_is_not_one_moment_if_the_lock_is_given_back() {
    fails_with(Fault::LooksInPortions, &["at one moment"], look_beside_writes);
}

/// Entries that are larger than a shard's share borrow from the other shards, two at a time.
#[test]
fn large_entries_that_borrow() {
    fn case() {
        const BYTES: usize = 16 << 10;
        let cache = Cache::new(2, Bounds { entries: None, bytes: Some(BYTES) });
        (0..8).for_each(|key| cache.set(key, 2, None));
        let large = |key: u8| {
            thread(&cache, move |cache| {
                cache.put(key, &[key; BYTES * 5 / 8], NEVER);
                cache.delete(key);
                cache.set(key + 10, 1, None);
            })
        };
        together([
            large(20),
            large(21),
            thread(&cache, |cache| {
                (0..4).for_each(|key| cache.set(key, 5, None));
                assert!(!cache.put(30, &[0; BYTES], NEVER), "larger than the cache");
            }),
        ]);
        cache.store.validate();
    }
    check(case);
}
