//! What the operations of a Local cache mean: limits, expiry, counting. The futures are those of the
//! blocking calls, ready at their first poll.
//!
//! Locking: each operation locks one shard at a time, for reading where it changes nothing.

use std::mem::MaybeUninit;
use std::time::Duration;

use super::LocalCache;
use super::store::{Change, Overwrite};
use super::sweeper;
use crate::error::Result;
use crate::fork::{self, Inside};
use crate::key::{check_key, check_value};
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, Ttl};
use crate::stats::{CacheStats, Counter};
use crate::value::{Entry, NEVER, Value};

/// Values of at most this many bytes are copied under the shard's lock, larger ones are pinned first.
pub(super) const SMALL: usize = 1024;

/// How many registrations are looked at before a lock is given back.
pub(super) const SWEEP_PORTION: usize = 512;

impl LocalCache {
    /// Whether an entry is still there at this time. The clock is asked only where it matters.
    #[inline]
    pub(super) fn lives(&self, entry: &Value) -> bool {
        self.is_ahead(entry.expires_at())
    }

    #[inline]
    fn is_ahead(&self, at: u64) -> bool {
        at == NEVER || at > self.0.clock.now()
    }

    #[inline]
    fn count(&self, inside: &Inside, counter: Counter) {
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

    /// Stores a value, if `valid` agrees under the shard's lock just before. False if it did not.
    /// `expires_at` as [`LocalCache::expiry`] gives it.
    #[inline]
    pub(super) fn store(
        &self,
        inside: &Inside,
        key: &[u8],
        value: &[u8],
        expires_at: u64,
        stamp: u32,
        valid: impl FnOnce() -> bool,
    ) -> Result<bool> {
        let store = &self.0.store;
        let now = if expires_at == NEVER { 0 } else { self.0.clock.now() };
        let hash = store.hash(key);
        let mut stored = true;
        let done = if value.len() <= SMALL {
            let change = Change { value, expires_at, stamp, now };
            store.write(hash).overwrite(hash, key, &change, valid)?
        } else {
            Overwrite::Impossible(valid)
        };
        let old_expiry = match done {
            Overwrite::Refused => return Ok(false),
            Overwrite::Done { old_expiry } => old_expiry,
            Overwrite::Impossible(valid) => {
                let new = Value::entry(Entry { hash, key, value, expires_at, stamp })?;
                let mut shard = store.write(hash);
                if valid() {
                    let old = shard.put(new, now)?;
                    drop(shard);
                    old.map_or(NEVER, |old| old.expires_at())
                } else {
                    // Unlocks before the new block is freed.
                    drop(shard);
                    stored = false;
                    NEVER
                }
            }
        };
        if !self.is_ahead(old_expiry) {
            self.count(inside, Counter::Expirations);
        }
        if expires_at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(stored)
    }

    /// Takes an entry out; true if it was there. Counts one that had expired, as an expiration.
    pub(super) fn take(&self, inside: &Inside, key: &[u8]) -> bool {
        let hash = self.0.store.hash(key);
        let old = self.0.store.write(hash).take(hash, key);
        let Some(old) = old else { return false };
        let lived = self.lives(&old);
        if !lived {
            self.count(inside, Counter::Expirations);
        }
        lived
    }

    fn delete_checked(&self, inside: &Inside, key: &[u8]) -> bool {
        let lived = self.take(inside, key);
        if lived {
            self.count(inside, Counter::Deletes);
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
        self.0.counters.add_inside(&inside, Counter::Expirations, swept.expired.len() as u64);
        drop(inside);
        swept.more
    }
}

/// The frequent operations for a caller that is inside the fork gate already, inlined into it.
impl LocalCache {
    /// As [`BlockingCache::get`].
    #[inline(always)]
    pub(crate) fn get_inside(&self, inside: &Inside, key: &[u8]) -> Result<Option<Value>> {
        check_key(key)?;
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let found = shard.find(hash, key).filter(|entry| self.lives(entry)).cloned();
        drop(shard);
        self.count(inside, if found.is_some() { Counter::Hits } else { Counter::Misses });
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
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let Some(entry) = shard.find(hash, key).filter(|entry| self.lives(entry)) else {
            drop(shard);
            self.count(inside, Counter::Misses);
            return Ok(None);
        };
        let result = if entry.len() <= SMALL {
            let result = read(entry);
            drop(shard);
            result
        } else {
            let pin = entry.clone();
            drop(shard);
            read(&pin)
        };
        self.count(inside, Counter::Hits);
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
        match self.expiry(ttl)? {
            Some(at) => {
                self.store(inside, key, value, at, 0, || true)?;
                self.count(inside, Counter::Sets);
            }
            None => {
                self.delete_checked(inside, key);
            }
        }
        Ok(())
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
        check_key(key)?;
        Ok(self.delete_checked(&fork::enter(), key))
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let _inside = fork::enter();
        let hash = self.0.store.hash(key);
        Ok(self.0.store.read(hash).find(hash, key).is_some_and(|entry| self.lives(entry)))
    }

    fn clear(&self) -> Result<()> {
        for shard in 0..self.shard_count() {
            let inside = fork::enter();
            let content = self.0.store.write_shard(shard).take_all(self.0.clock.now());
            drop(inside);
            drop(content);
        }
        Ok(())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        keys.iter().map(|key| BlockingCache::get(self, key)).collect()
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        self.expiry(ttl)?;
        for (key, value) in items {
            check_key(key)?;
            check_value(value, self.0.max_value_bytes)?;
        }
        items.iter().try_for_each(|(key, value)| BlockingCache::set(self, key, value, ttl))
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut deleted = 0;
        for key in keys {
            deleted += u64::from(BlockingCache::delete(self, key)?);
        }
        Ok(deleted)
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        check_key(key)?;
        let _inside = fork::enter();
        let hash = self.0.store.hash(key);
        let at = self.0.store.read(hash).find(hash, key).map(Value::expires_at);
        Ok(match at {
            None => None,
            Some(NEVER) => Some(Remaining::Forever),
            Some(at) => match at.saturating_sub(self.0.clock.now()) {
                0 => None,
                ms => Some(Remaining::For(Duration::from_millis(ms))),
            },
        })
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        check_key(key)?;
        let expires_at = self.expiry(ttl)?;
        let inside = fork::enter();
        let Some(at) = expires_at else {
            return Ok(self.delete_checked(&inside, key));
        };
        let now = self.0.clock.now();
        let hash = self.0.store.hash(key);
        let mut shard = self.0.store.write(hash);
        if shard.find(hash, key).is_none_or(|entry| entry.expires_at() <= now) {
            return Ok(false);
        }
        shard.set_expiry(hash, key, at, now)?;
        drop(shard);
        if at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(true)
    }

    fn count(&self) -> Result<u64> {
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
            expirations: counted(Counter::Expirations),
            ..CacheStats::default()
        }
        .rated())
    }

    fn ping(&self) -> Result<()> {
        Ok(())
    }
}

impl ByteCache for LocalCache {
    fn kind(&self) -> Kind {
        Kind::Local
    }

    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async move { BlockingCache::get(self, key) })
    }

    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set(self, key, value, ttl) })
    }

    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::delete(self, key) })
    }

    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::exists(self, key) })
    }

    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { BlockingCache::clear(self) })
    }

    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(async move { BlockingCache::get_many(self, keys) })
    }

    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set_many(self, items, ttl) })
    }

    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { BlockingCache::delete_many(self, keys) })
    }

    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(async move { BlockingCache::ttl(self, key) })
    }

    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::expire(self, key, ttl) })
    }

    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { BlockingCache::count(self) })
    }

    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(async move { BlockingCache::stats(self) })
    }

    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { BlockingCache::ping(self) })
    }
}
