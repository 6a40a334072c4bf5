//! What the operations of a Local cache mean: limits, counting, and the frequent ones themselves. Others
//! are in `atomic`, `batch` and `enumerate`; whether an entry is there is judged in `lifetime`.
//!
//! Locking: each operation locks one shard at a time, for reading where it changes nothing.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::LocalCache;
use super::change::{Change, Overwrite, Removed};
use super::lifetime::Birth;
use super::store::{KeyHash, Writing};
use super::{eviction, sweeper, tags};
use crate::error::Result;
use crate::fork::{self, Inside};
use crate::key::{check_key, check_value};
use crate::metrics::{self, Operation};
use crate::ops::{
    BlockingCache, Event, Events, Found, GetOptions, Kind, Listener, Loader, Lock, OwnedLoader,
    Remaining, SetOptions, Swap, Tier, Ttl,
};
use crate::stats::{CacheStats, Counter};
use crate::value::{Extra, NEVER, Value, drop_many};

/// Values of at most this many bytes are copied out under the shard's lock, larger ones are pinned first.
const SMALL: usize = 1024;

/// Values of at most this many bytes may be written over the old one in place, under the shard's lock. At
/// 4 KiB that takes half the time of a new block, most of which goes into the allocator's far ends; larger
/// ones are made ready outside of the lock.
const IN_PLACE: usize = 4096;

/// How many registrations are looked at before a lock is given back: some 50 µs.
pub(super) const SWEEP_PORTION: usize = 128;

impl LocalCache {
    #[inline]
    pub(super) fn tally(&self, inside: &Inside, counter: Counter) {
        self.0.counters.count_inside(inside, counter);
    }

    /// As `get`, but hands the value to `read` instead of pinning it: for a binding that copies it into
    /// memory of its own. `read` runs inside the fork gate, and on a small value under the shard's lock:
    /// it must be short, and must neither wait nor use a cache.
    #[doc(hidden)]
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], read: impl FnOnce(&Value) -> R) -> Result<Option<R>> {
        self.get_with_inside(&fork::enter(), key, read)
    }

    /// Stores a small value in place of an old one without attributes; false where that can't be done.
    #[inline]
    fn overwrite(
        &self,
        inside: &Inside,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool> {
        let store = &self.0.store;
        // The clock is asked once.
        let now = if ttl_ms.is_some() { self.0.clock.now() } else { 0 };
        let expires_at = ttl_ms.map_or(NEVER, |ms| now.saturating_add(ms).min(NEVER - 1));
        let hash = store.hash(key);
        let change = Change { value, expires_at, stamp: None, now };
        let mut removed = Removed::default();
        let done = store.write(hash).overwrite(hash, key, &change, || true, &mut removed)?;
        let Overwrite::Done { old_expiry } = done else { return Ok(false) };
        if old_expiry <= now || now == 0 && !self.is_ahead(old_expiry) {
            self.note_expired(inside, key);
        }
        if !removed.is_empty() {
            self.note_removed(inside, &removed);
        }
        if expires_at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(true)
    }

    /// Stores a value, if `valid` agrees under the shard's lock just before. False if it did not.
    #[inline]
    pub(super) fn store(
        &self,
        inside: &Inside,
        key: &[u8],
        value: &[u8],
        birth: Birth,
        valid: impl FnOnce() -> bool,
    ) -> Result<bool> {
        let hash = self.0.store.hash(key);
        let expires_at = birth.expires_at;
        let stamp = match &birth.extra {
            Extra::None => Some(None),
            Extra::Stamp(stamp) => Some(Some(*stamp)),
            Extra::Attributes { .. } => None,
        };
        let mut removed = Removed::default();
        let done = match stamp {
            Some(stamp) if value.len() <= IN_PLACE => {
                let now = self.now_for(expires_at);
                let change = Change { value, expires_at, stamp, now };
                let mut shard = self.0.store.write(hash);
                shard.overwrite(hash, key, &change, valid, &mut removed)?
            }
            _ => Overwrite::Impossible(valid),
        };
        match done {
            Overwrite::Refused => Ok(false),
            Overwrite::Done { old_expiry } => {
                if !self.is_ahead(old_expiry) {
                    self.note_expired(inside, key);
                }
                if !removed.is_empty() {
                    self.note_removed(inside, &removed);
                }
                if expires_at != NEVER {
                    sweeper::watch(&self.0);
                }
                Ok(true)
            }
            Overwrite::Impossible(valid) => {
                self.put_if(inside, hash, birth.entry(hash, key, value)?, |_| valid())
            }
        }
    }

    /// The time, where something expires; else it does not matter.
    #[inline]
    fn now_for(&self, expires_at: u64) -> u64 {
        if expires_at == NEVER { 0 } else { self.0.clock.now() }
    }

    /// Puts a new entry where `decide` agrees, which is shown its shard under the write lock.
    pub(super) fn put_if(
        &self,
        inside: &Inside,
        hash: KeyHash,
        new: Value,
        decide: impl FnOnce(&Writing<'_>) -> bool,
    ) -> Result<bool> {
        let expires_at = new.expires_at();
        let mut removed = Removed::default();
        let put = self.0.store.put_if(hash, new, self.now_for(expires_at), decide, &mut removed);
        if !removed.is_empty() {
            self.note_removed(inside, &removed);
        }
        let Some(old) = put? else { return Ok(false) };
        if let Some(old) = old
            && !self.is_ahead(old.expires_at())
        {
            self.note_expired(inside, old.key());
        }
        if expires_at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(true)
    }

    /// Counts entries that a bound pushed out, those that had expired as such.
    #[cold]
    pub(super) fn note_removed(&self, inside: &Inside, removed: &Removed) {
        for entry in removed.iter() {
            if self.is_ahead(entry.expires_at()) {
                self.tally(inside, Counter::Evictions);
                self.0.subscriptions.emit(Event::Evicted, entry.key());
            } else {
                self.note_expired(inside, entry.key());
            }
        }
    }

    /// Counts an entry that had expired when it was overwritten or taken out.
    #[cold]
    pub(super) fn note_expired(&self, inside: &Inside, key: &[u8]) {
        self.tally(inside, Counter::Expirations);
        self.0.subscriptions.emit(Event::Expired, key);
    }

    /// Takes an entry out; true if it was there. Counts one that had expired, as an expiration.
    ///
    /// That is judged under the lock. Later its time may be over, or its tag be invalidated, and others
    /// have missed it already when neither was so: no order of the calls would explain a false.
    pub(super) fn take(&self, inside: &Inside, key: &[u8]) -> bool {
        let hash = self.0.store.hash(key);
        self.0.voids.add(hash);
        let mut shard = self.0.store.write(hash);
        let old = shard.take(hash, key);
        let lived = old.as_ref().is_some_and(|old| self.lives(old));
        drop(shard);
        if let Some(old) = old
            && !lived
            && !self.is_ahead(old.expires_at())
        {
            self.note_expired(inside, key);
        }
        lived
    }

    pub(super) fn delete_checked(&self, inside: &Inside, key: &[u8]) -> bool {
        let lived = self.take(inside, key);
        if lived {
            self.tally(inside, Counter::Deletes);
        }
        lived
    }

    /// Frees all that has expired by now.
    pub(super) fn purge(&self) {
        let now = self.0.clock.now();
        for shard in 0..self.shard_count() {
            while self.sweep_shard(shard, now, true) {}
        }
    }

    /// Frees a portion of what has expired in one shard: in ticks that are over, or with `present` in
    /// the present one too. True if there may be more.
    pub(super) fn sweep_shard(&self, shard: usize, now: u64, present: bool) -> bool {
        let inside = fork::enter();
        let store = &self.0.store;
        if !store.read_shard(shard).is_due(now, present) {
            return false;
        }
        // A portion of the present tick would find its first entries again and again.
        let most = if present { usize::MAX } else { SWEEP_PORTION };
        let swept = store.write_shard(shard).sweep(now, present, most);
        self.note_removed(&inside, &swept.removed);
        drop(inside);
        drop_many(swept.removed);
        swept.more
    }
}

/// The frequent operations for a caller that is inside the fork gate already, inlined into it.
impl LocalCache {
    /// As [`BlockingCache::get`].
    #[inline(always)]
    pub(crate) fn get_inside(&self, inside: &Inside, key: &[u8]) -> Result<Option<Value>> {
        check_key(key)?;
        let _timing = self.0.durations.sample(inside, Operation::Get);
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let found = shard.find(hash, key).filter(|entry| self.lives(entry));
        let found = found.inspect(|entry| self.note_use(entry)).cloned();
        drop(shard);
        self.tally(inside, if found.is_some() { Counter::Hits } else { Counter::Misses });
        Ok(found)
    }

    /// As [`LocalCache::get_with`].
    #[inline(always)]
    fn get_with_inside<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Result<Option<R>> {
        check_key(key)?;
        let _timing = self.0.durations.sample(inside, Operation::Get);
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let Some(entry) = shard.find(hash, key).filter(|entry| self.lives(entry)) else {
            drop(shard);
            self.tally(inside, Counter::Misses);
            return Ok(None);
        };
        self.note_use(entry);
        let result = if entry.len() <= SMALL {
            let result = read(entry);
            drop(shard);
            result
        } else {
            let pin = entry.clone();
            drop(shard);
            read(&pin)
        };
        self.tally(inside, Counter::Hits);
        Ok(Some(result))
    }

    /// As [`BlockingCache::get_into`].
    #[inline(always)]
    pub(crate) fn get_into_inside(
        &self,
        inside: &Inside,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
    ) -> Result<Option<usize>> {
        self.get_with_inside(inside, key, |value| value.copy_into(buf))
    }

    /// As [`BlockingCache::set`].
    #[inline]
    pub(crate) fn set_inside(
        &self,
        inside: &Inside,
        key: &[u8],
        value: &[u8],
        ttl: Ttl,
    ) -> Result<()> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let _timing = self.0.durations.sample(inside, Operation::Set);
        // The usual case by itself: it neither makes an entry nor moves one about.
        if value.len() <= IN_PLACE && self.0.lifetimes.is_plain() {
            let ttl_ms = self.ttl_ms(ttl)?;
            if ttl_ms != Some(0) && self.overwrite(inside, key, value, ttl_ms)? {
                self.tally(inside, Counter::Sets);
                return Ok(());
            }
        }
        match self.birth(ttl)? {
            Some(birth) => {
                self.store(inside, key, value, birth, || true)?;
                self.tally(inside, Counter::Sets);
            }
            None => {
                self.delete_checked(inside, key);
            }
        }
        Ok(())
    }

    /// Tells the eviction policy of a hit.
    #[inline(always)]
    pub(super) fn note_use(&self, entry: &Value) {
        if self.0.store.is_bounded() {
            eviction::note_use(entry);
        }
    }
}

impl BlockingCache for LocalCache {
    fn kind(&self) -> Kind {
        Kind::Local
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.get_inside(&fork::enter(), key)
    }

    fn get_into(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Option<usize>> {
        self.get_into_inside(&fork::enter(), key, buf)
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        self.set_inside(&fork::enter(), key, value, ttl)
    }

    fn delete(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Delete);
        check_key(key)?;
        Ok(self.delete_checked(&fork::enter(), key))
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Exists);
        check_key(key)?;
        let _inside = fork::enter();
        let hash = self.0.store.hash(key);
        Ok(self.0.store.read(hash).find(hash, key).is_some_and(|entry| self.lives(entry)))
    }

    fn clear(&self) -> Result<()> {
        let _timing = self.0.durations.time(Operation::Clear);
        self.0.voids.add_all();
        for shard in 0..self.shard_count() {
            let inside = fork::enter();
            let (table, _wheel) = self.0.store.write_shard(shard).take_all(self.0.clock.now());
            drop(inside);
            let mut lived = 0;
            drop_many(table.into_iter().map(|(slot, _)| {
                lived += u64::from(self.lives(&slot.0));
                slot.0
            }));
            self.0.counters.add_inside(&fork::enter(), Counter::Deletes, lived);
        }
        Ok(())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let _timing = self.0.durations.time(Operation::GetMany);
        self.read_many(keys)
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        let _timing = self.0.durations.time(Operation::SetMany);
        self.write_many(items, ttl)
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let _timing = self.0.durations.time(Operation::DeleteMany);
        self.remove_many(keys)
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Ttl);
        check_key(key)?;
        let _inside = fork::enter();
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let found = shard.find(hash, key).filter(|entry| self.lives(entry));
        Ok(found.and_then(|entry| self.remaining(entry)))
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Expire);
        check_key(key)?;
        let expires_at = self.expiry(ttl)?;
        let inside = fork::enter();
        let Some(at) = expires_at else {
            return Ok(self.delete_checked(&inside, key));
        };
        let now = self.0.clock.now();
        let hash = self.0.store.hash(key);
        let mut shard = self.0.store.write(hash);
        if !shard.find(hash, key).is_some_and(|entry| self.lives(entry)) {
            return Ok(false);
        }
        let mut removed = Removed::default();
        shard.set_expiry(hash, key, at, now, &mut removed)?;
        drop(shard);
        self.note_removed(&inside, &removed);
        if at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(true)
    }

    fn count(&self) -> Result<u64> {
        let _timing = self.0.durations.time(Operation::Count);
        Ok(self.len() as u64)
    }

    fn stats(&self) -> Result<CacheStats> {
        let size = self.len() as u64;
        let counted = |counter| self.0.counters.get(counter);
        Ok(CacheStats {
            size,
            bytes: self.bytes() as u64,
            hits: counted(Counter::Hits),
            misses: counted(Counter::Misses),
            sets: counted(Counter::Sets),
            deletes: counted(Counter::Deletes),
            evictions: counted(Counter::Evictions),
            expirations: counted(Counter::Expirations),
            coalesced: counted(Counter::Coalesced),
            stale_served: counted(Counter::StaleServed),
            dropped_events: self.0.subscriptions.dropped(),
            ..CacheStats::default()
        }
        .rated())
    }

    fn ping(&self) -> Result<()> {
        Ok(())
    }

    fn get_ex(&self, key: &[u8], _options: GetOptions) -> Result<Option<Found>> {
        let found = BlockingCache::get(self, key)?;
        Ok(found.and_then(|value| {
            let remaining = self.remaining(&value)?;
            Some(Found::fresh(value, remaining, Tier::L1))
        }))
    }

    fn set_ex(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<()> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let inside = fork::enter();
        match self.birth_of(&inside, options)? {
            Some(birth) => {
                self.store(&inside, key, value, birth, || true)?;
                self.tally(&inside, Counter::Sets);
            }
            None => {
                self.delete_checked(&inside, key);
            }
        }
        Ok(())
    }

    fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Add);
        self.put_where(key, value, ttl, false)
    }

    fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Replace);
        self.put_where(key, value, ttl, true)
    }

    fn compare_and_set(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::CompareAndSet);
        self.swap(key, expected, value, ttl)
    }

    fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::Incr);
        self.add_number(key, delta, ttl)
    }

    fn delete_prefix(&self, prefix: &[u8]) -> Result<u64> {
        let _timing = self.0.durations.time(Operation::DeletePrefix);
        Ok(self.remove_prefix(prefix))
    }

    fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let _timing = self.0.durations.time(Operation::ForEachKey);
        self.visit_keys(prefix, visit);
        Ok(())
    }

    fn get_or_load(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::GetOrLoad);
        self.load_once(key, options, load, None)
    }

    fn get_or_load_owned(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: OwnedLoader,
    ) -> Result<Option<Value>> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::GetOrLoad);
        self.load_once(key, options, &mut |key| load(key), Some(&load))
    }

    fn lock(&self, name: &[u8], lease: Duration, wait: Duration) -> Result<Option<Lock>> {
        let _timing = self.0.durations.time(Operation::Lock);
        self.0.locks.acquire(name, lease, wait)
    }

    fn save(&self, path: &Path) -> Result<u64> {
        let _timing = self.0.durations.time(Operation::Save);
        self.save_to(path)
    }

    fn load(&self, path: &Path) -> Result<u64> {
        let _timing = self.0.durations.time(Operation::Load);
        self.load_from(path)
    }

    fn metrics(&self) -> Result<String> {
        let stats = BlockingCache::stats(self)?;
        Ok(metrics::render(Kind::Local, self.name(), &stats, &self.0.durations))
    }

    fn subscribe(&self, events: Events, listener: Listener) -> Result<u64> {
        self.0.subscriptions.subscribe(events, listener)
    }

    fn unsubscribe(&self, id: u64) -> Result<bool> {
        self.0.subscriptions.unsubscribe(id)
    }

    fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        let _timing = self.0.durations.sample(&fork::enter(), Operation::InvalidateTag);
        tags::check_one(tag)?;
        self.0.tags.invalidate(&fork::enter(), tag);
        Ok(())
    }
}
