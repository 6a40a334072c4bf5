//! What the operations of a Local cache mean: limits, counting, and the frequent ones themselves. Others
//! are in `atomic`, `batch` and `enumerate`; whether an entry is there is judged in `lifetime`.
//!
//! Locking: each operation locks one shard at a time, for reading where it changes nothing.

use std::mem::{self, MaybeUninit};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::LocalCache;
use super::change::{Change, Overwrite, Removed};
use super::lifetime::Birth;
use super::store::{KeyHash, Writing};
use super::{eviction, sweeper, tags};
use crate::error::{ErrorKind, Result};
use crate::fork::{self, Inside};
use crate::key::{check_key, check_value, is_usual};
use crate::metrics::{self, Operation};
use crate::ops::{
    BlockingCache, Event, Events, Found, GetOptions, Kind, Listener, Loader, Lock, OwnedLoader,
    Remaining, SetOptions, Swap, TTL_MAX_MS, Tier, Ttl,
};
use crate::stats::{CacheStats, Counter};
use crate::value::{Extra, NEVER, Value, drop_many};

/// Values of at most this many bytes are copied out under the shard's lock, larger ones are pinned first.
pub(super) const SMALL: usize = 1024;

/// Values of at most this many bytes may be written over the old one in place, under the shard's lock. At
/// 4 KiB that takes half the time of a new block, most of which goes into the allocator's far ends; larger
/// ones are made ready outside of the lock.
pub(super) const IN_PLACE: usize = 4096;

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
        check_key(key)?;
        Ok(self.get_with_checked(&fork::enter(), key, read))
    }

    /// Stores a small value in place of an old one without attributes; false where that can't be done.
    #[inline(always)]
    fn overwrite(
        &self,
        inside: &Inside,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> bool {
        // The clock is asked once.
        let now = if ttl_ms.is_some() { self.0.clock.now() } else { 0 };
        let expires_at = ttl_ms.map_or(NEVER, |ms| now.saturating_add(ms).min(NEVER - 1));
        let change = Change { value, expires_at, stamp: None, now };
        let done = self.0.store.write(hash).overwrite(hash, key, &change, || true);
        let Overwrite::Done { old_expiry, removed } = done else { return false };
        if let Some(removed) = removed {
            self.note_removed(inside, &removed);
        }
        if old_expiry <= now || now == 0 && !self.is_ahead(old_expiry) {
            self.note_expired(inside, key);
        }
        if expires_at != NEVER {
            sweeper::watch(&self.0);
        }
        true
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
        let done = match stamp {
            Some(stamp) if value.len() <= IN_PLACE => {
                let now = self.now_for(expires_at);
                let change = Change { value, expires_at, stamp, now };
                let mut shard = self.0.store.write(hash);
                shard.overwrite(hash, key, &change, valid)
            }
            _ => Overwrite::Impossible(valid),
        };
        match done {
            Overwrite::Refused => Ok(false),
            Overwrite::NoMemory => Err(ErrorKind::NoMemory.into()),
            Overwrite::Done { old_expiry, removed } => {
                if let Some(removed) = removed {
                    self.note_removed(inside, &removed);
                }
                if !self.is_ahead(old_expiry) {
                    self.note_expired(inside, key);
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
        self.note_and_drop(inside, removed);
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

    /// As [`LocalCache::note_removed`]. Mostly there is nothing.
    #[inline(always)]
    fn note_and_drop(&self, inside: &Inside, removed: Removed) {
        if removed.is_empty() {
            // It holds nothing; to look for something to drop would take a call.
            mem::forget(removed);
        } else {
            self.note_removed(inside, &removed);
        }
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
    /// As [`BlockingCache::get`], for a key that was checked.
    #[inline(always)]
    pub(crate) fn get_checked(&self, inside: &Inside, key: &[u8]) -> Option<Value> {
        if inside.is_sampled() { self.pin_timed(inside, key) } else { self.pin(inside, key) }
    }

    /// As [`LocalCache::get_with`], for a key that was checked.
    #[inline(always)]
    fn get_with_checked<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        if inside.is_sampled() {
            self.read_timed(inside, key, read)
        } else {
            self.read(inside, key, read)
        }
    }

    #[cold]
    #[inline(never)]
    fn pin_timed(&self, inside: &Inside, key: &[u8]) -> Option<Value> {
        let _timing = self.0.durations.time(Operation::Get);
        self.pin(inside, key)
    }

    #[cold]
    #[inline(never)]
    fn read_timed<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        let _timing = self.0.durations.time(Operation::Get);
        self.read(inside, key, read)
    }

    #[inline(always)]
    fn pin(&self, inside: &Inside, key: &[u8]) -> Option<Value> {
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let found = shard.find(hash, key).filter(|entry| self.lives(entry));
        let found = found.inspect(|entry| self.note_use(entry)).cloned();
        drop(shard);
        self.tally(inside, if found.is_some() { Counter::Hits } else { Counter::Misses });
        found
    }

    #[inline(always)]
    fn read<R>(&self, inside: &Inside, key: &[u8], read: impl FnOnce(&Value) -> R) -> Option<R> {
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let Some(entry) = shard.find(hash, key).filter(|entry| self.lives(entry)) else {
            drop(shard);
            self.tally(inside, Counter::Misses);
            return None;
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
        Some(result)
    }

    /// As [`BlockingCache::get_into`], for a key that was checked.
    #[inline(always)]
    pub(crate) fn get_into_checked(
        &self,
        inside: &Inside,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
    ) -> Option<usize> {
        self.get_with_checked(inside, key, |value| value.copy_into(buf))
    }

    /// [`BlockingCache::set`] in its usual case: where it can write over an entry in place, which neither
    /// makes one nor moves one about. False where it could not, or the arguments are in doubt. `ttl_ms` is
    /// in milliseconds, `None` for an entry that never expires.
    #[inline(always)]
    pub(crate) fn set_in_place(
        &self,
        inside: &Inside,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> bool {
        if !is_usual(key) || !self.goes_in_place(inside, value) {
            return false;
        }
        // What depends on the TTL is compiled twice, with and without one: all else stands before it.
        let hash = self.0.store.hash(key);
        if ttl_ms.is_some_and(|ms| ms == 0 || ms > TTL_MAX_MS) {
            return false;
        }
        let ttl_ms = ttl_ms.map(|ms| self.0.lifetimes.ttls.shortened(ms));
        if !self.overwrite(inside, hash, key, value, ttl_ms) {
            return false;
        }
        self.tally(inside, Counter::Sets);
        true
    }

    /// Gives the entry of `key`, which has been checked, a TTL of so many milliseconds; true if there is one.
    pub(super) fn expire_in(&self, key: &[u8], ttl_ms: Option<u64>) -> Result<bool> {
        let inside = fork::enter();
        let Some(at) = self.expiry_in(ttl_ms) else {
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

    /// Whether [`LocalCache::set_in_place`] tries this value.
    #[inline(always)]
    fn goes_in_place(&self, inside: &Inside, value: &[u8]) -> bool {
        value.len() < self.0.in_place_below && !inside.is_sampled()
    }

    /// As [`BlockingCache::set`], after [`LocalCache::set_in_place`] has said no.
    #[inline(never)]
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
        match self.birth(ttl)? {
            Some(birth) => {
                if self.goes_in_place(inside, value) {
                    // That was tried.
                    let hash = self.0.store.hash(key);
                    self.put_if(inside, hash, birth.entry(hash, key, value)?, |_| true)?;
                } else {
                    self.store(inside, key, value, birth, || true)?;
                }
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
        check_key(key)?;
        Ok(self.get_checked(&fork::enter(), key))
    }

    fn get_into(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Option<usize>> {
        check_key(key)?;
        Ok(self.get_into_checked(&fork::enter(), key, buf))
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let inside = fork::enter();
        if let Ok(ttl_ms) = self.0.lifetimes.ttls.said(ttl)
            && self.set_in_place(&inside, key, value, ttl_ms)
        {
            return Ok(());
        }
        self.set_inside(&inside, key, value, ttl)
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
        self.expire_in(key, self.ttl_ms(ttl)?)
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
