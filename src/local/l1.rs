//! What a Hybrid needs of the Local cache that is its first tier, besides the operations that all caches
//! have: entries with a stamp (the epoch in which the Hybrid knew them to be fresh), and storing under a
//! condition. None of these counts as hit, miss, set or delete: the Hybrid counts its own.
//!
//! A Hybrid that hears of a foreign write first makes its fills in flight invalid, then calls
//! [`LocalCache::remove`]. [`LocalCache::set_stamped_if`] asks for the validity under the same lock that
//! the removal takes, so either the fill is refused, or the removal comes after it and takes it out.

use std::time::Duration;

use super::LocalCache;
use super::lifetime::Birth;
#[cfg(test)]
use crate::config::{CommonOptions, LocalOptions};
use crate::error::Result;
use crate::fork;
use crate::key::{check_key, check_value};
use crate::ops::{BlockingCache, Event, Ttl};
use crate::value::{Extra, NEVER, Value};

/// An entry as a Hybrid sees it.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) value: Value,
    pub(crate) stamp: u32,
    /// Milliseconds that it has still to live; `None` where it never expires.
    pub(crate) ttl_ms: Option<u64>,
}

impl LocalCache {
    /// The entry of `key`.
    #[inline]
    pub(crate) fn get_stamped(&self, key: &[u8]) -> Result<Option<Stamped>> {
        check_key(key)?;
        let _inside = fork::enter();
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let Some(entry) = shard.find(hash, key) else { return Ok(None) };
        let ttl_ms = match entry.expires_at() {
            NEVER => None,
            at => match at.saturating_sub(self.0.clock.now()) {
                0 => return Ok(None),
                ms => Some(ms),
            },
        };
        self.note_use(entry);
        Ok(Some(Stamped { value: entry.clone(), stamp: entry.stamp(), ttl_ms }))
    }

    /// Stores `value` for `ttl_ms` milliseconds, or for good. Zero removes the entry.
    #[inline]
    pub(crate) fn set_stamped(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        stamp: u32,
    ) -> Result<()> {
        self.set_stamped_if(key, value, ttl_ms, stamp, || true).map(drop)
    }

    /// As [`LocalCache::set_stamped`], if `still_valid` says so under the shard's lock. False if not.
    /// `still_valid` must not use a cache, nor wait for anything. (With a TTL of zero it is not asked:
    /// removing is always right.)
    #[inline]
    pub(crate) fn set_stamped_if(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        stamp: u32,
        still_valid: impl FnOnce() -> bool,
    ) -> Result<bool> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let inside = fork::enter();
        match self.expiry_in(ttl_ms) {
            Some(expires_at) => {
                let birth = Birth { expires_at, extra: Extra::Stamp(stamp) };
                self.store(&inside, key, value, birth, still_valid)
            }
            None => {
                self.take(&inside, key);
                Ok(true)
            }
        }
    }

    /// Removes the entry of `key`; true if it was there.
    pub(crate) fn remove(&self, key: &[u8]) -> bool {
        let inside = fork::enter();
        self.take(&inside, key)
    }

    /// Removes the entry of `key` if `still_valid` says so under the shard's lock. `still_valid` must not
    /// use a cache, nor wait for anything.
    pub(crate) fn remove_if(&self, key: &[u8], still_valid: impl FnOnce() -> bool) {
        let inside = fork::enter();
        let hash = self.0.store.hash(key);
        let mut shard = self.0.store.write(hash);
        let removed = if still_valid() { shard.take(hash, key) } else { None };
        drop(shard);
        drop(inside);
        drop(removed);
    }

    /// Removes everything; returns how many entries there were, about.
    pub(crate) fn remove_all(&self) -> u64 {
        let entries = self.len() as u64;
        // It cannot fail: nothing is allocated.
        let _ = BlockingCache::clear(self);
        entries
    }

    /// Gives the entry of `key` a TTL of `ttl_ms` milliseconds, or none; false where it is not there.
    pub(crate) fn set_ttl(&self, key: &[u8], ttl_ms: Option<u64>) -> bool {
        let ttl = ttl_ms.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
        BlockingCache::expire(self, key, ttl).unwrap_or(false)
    }

    /// A small cache whose milliseconds are those of `now`.
    #[cfg(test)]
    pub(crate) fn with_virtual_clock(now: std::sync::Arc<std::sync::atomic::AtomicU64>) -> Self {
        let local = LocalOptions { shards: Some(1), ..LocalOptions::default() };
        let clock = super::Clock::Virtual(now);
        Self::with_clock(&CommonOptions::default(), &local, clock).expect("the options are right")
    }

    /// Tells this cache's subscribers of an event. Not under a lock.
    pub(crate) fn emit(&self, event: Event, key: &[u8]) {
        self.0.subscriptions.emit(event, key);
    }

    /// The TTL of values that are given none.
    pub(crate) fn default_ttl(&self) -> Option<Duration> {
        self.0.lifetimes.default_ttl
    }

    /// The largest value that it takes, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.0.max_value_bytes
    }
}
