//! What a Hybrid needs of the Local cache that is its first tier, besides the operations that all caches
//! have: entries with a stamp (the epoch in which the Hybrid knew them to be fresh), and storing under a
//! condition. None of these counts as hit, miss, set or delete: the Hybrid counts its own.
//!
//! A Hybrid that hears of a foreign write first makes its fills in flight invalid, then calls
//! [`LocalCache::remove`]. [`LocalCache::set_stamped_if`] asks for the validity under the same lock that
//! the removal takes, so either the fill is refused, or the removal comes after it and takes it out.

use std::sync::atomic::Ordering::Acquire;

use super::LocalCache;
use super::lifetime::Birth;
use super::operations::SMALL;
#[cfg(test)]
use crate::config::{CommonOptions, LocalOptions};
use crate::error::Result;
use crate::fork::{self, Inside};
use crate::key::{check_key, check_value};
use crate::ops::{BlockingCache, Event, Ttls};
use crate::value::{Attributes, Extra, NEVER, TagMark, Value};

/// An entry as a Hybrid sees it.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) value: Value,
    pub(crate) stamp: u32,
    /// Milliseconds that it has still to live; `None` where it never expires. Past its TTL those that its
    /// stale window has still to run.
    pub(crate) ttl_ms: Option<u64>,
    /// The same for the value in L2, where L1 keeps it for less than that.
    pub(crate) whole_ms: Option<u64>,
    pub(crate) held: Held,
}

/// What an entry is to a Hybrid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A value.
    Fresh,
    /// A value past its TTL, within its stale window.
    Stale,
    /// It says that there is none.
    Negative,
}

/// How an entry with conditions is to live, in milliseconds from now; `None` for ever.
pub(crate) struct Terms {
    /// Its TTL; zero where that is over and the entry is stale.
    pub(crate) fresh_ms: Option<u64>,
    /// The same with the stale window.
    pub(crate) kept_ms: Option<u64>,
    /// The TTL of the value in L2, where it differs.
    pub(crate) whole_ms: Option<u64>,
    pub(crate) negative: bool,
    pub(crate) tags: Vec<TagMark>,
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
        if !entry.is_plain() {
            return Ok(self.with_conditions(entry));
        }
        let ttl_ms = match entry.expires_at() {
            NEVER => None,
            at => match at.saturating_sub(self.0.clock.now()) {
                0 => return Ok(None),
                ms => Some(ms),
            },
        };
        self.note_use(entry);
        let (value, stamp) = (entry.clone(), entry.stamp());
        Ok(Some(Stamped { value, stamp, ttl_ms, whole_ms: ttl_ms, held: Held::Fresh }))
    }

    /// Hands the value of `key` to `read` if the entry has no conditions and `vouched` says yes to its stamp:
    /// the quick way of a hit. `key` has been checked; `vouched` and `read` are as for
    /// [`LocalCache::get_with`].
    #[inline(always)]
    pub(crate) fn read_vouched<R>(
        &self,
        _inside: &Inside,
        key: &[u8],
        vouched: impl FnOnce(u32) -> bool,
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let entry = shard.find(hash, key).filter(|entry| {
            entry.is_plain() && self.is_ahead(entry.expires_at()) && vouched(entry.stamp())
        })?;
        self.note_use(entry);
        if entry.len() <= SMALL {
            return Some(read(entry));
        }
        let pin = entry.clone();
        drop(shard);
        Some(read(&pin))
    }

    /// An entry with attributes: its stamp is 0, which is no epoch, where one of its tags may have been
    /// invalidated in L2.
    #[cold]
    #[inline(never)]
    fn with_conditions(&self, entry: &Value) -> Option<Stamped> {
        let attributes = entry.attributes()?;
        let now = self.0.clock.now();
        let left = |at: u64| match at {
            NEVER => Some(None),
            at => Some(at.saturating_sub(now)).filter(|ms| *ms > 0).map(Some),
        };
        let kept_ms = left(entry.expires_at())?;
        let (tags, stamp) = (attributes.tags(), entry.stamp());
        if !tags.iter().all(TagMark::holds) {
            return None;
        }
        let proven = tags.iter().all(|mark| mark.tag.proof.load(Acquire) == stamp);
        let (held, ttl_ms) = match left(attributes.fresh_until()) {
            _ if entry.is_negative() => (Held::Negative, kept_ms),
            Some(fresh_ms) => (Held::Fresh, fresh_ms),
            None => (Held::Stale, kept_ms),
        };
        let whole_ms = match attributes.refresh_at() {
            NEVER => ttl_ms,
            at => Some(at.saturating_sub(now)),
        };
        self.note_use(entry);
        let stamp = if proven { stamp } else { 0 };
        Some(Stamped { value: entry.clone(), stamp, ttl_ms, whole_ms, held })
    }

    /// As [`LocalCache::set_stamped_if`], with conditions.
    pub(crate) fn set_terms_if(
        &self,
        key: &[u8],
        value: &[u8],
        terms: Terms,
        stamp: u32,
        still_valid: impl FnOnce() -> bool,
    ) -> Result<bool> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let inside = fork::enter();
        let Some(expires_at) = self.expiry_in(terms.kept_ms) else {
            self.take(&inside, key);
            return Ok(true);
        };
        let fresh_until = self.expiry_in(terms.fresh_ms).unwrap_or_else(|| self.0.clock.now());
        let whole_until = terms.whole_ms.and_then(|ms| self.expiry_in(Some(ms))).unwrap_or(NEVER);
        let attributes = Attributes::new(fresh_until, whole_until, terms.tags).stamped(stamp);
        let extra = Extra::Attributes { attributes, negative: terms.negative };
        self.store(&inside, key, value, Birth { expires_at, extra }, still_valid)
    }

    /// The tags of these names as they are now, for an entry.
    pub(crate) fn marks(&self, names: &[Vec<u8>]) -> Vec<TagMark> {
        self.0.tags.marks(&fork::enter(), names)
    }

    /// The tag as it is now, if its record in L2 is known to hold `stamp` in `epoch`.
    pub(crate) fn tag_known(&self, name: &[u8], stamp: u64, epoch: u32) -> Option<TagMark> {
        self.0.tags.known(&fork::enter(), name, stamp, epoch)
    }

    /// In `epoch` the record of the tag in L2 holds `record`, if `still_valid` says so under the lock:
    /// entries from when it held something else are absent. The tag as it is then. `still_valid` must
    /// not use a cache, nor wait for anything.
    pub(crate) fn learn_tag(
        &self,
        name: &[u8],
        record: Option<u64>,
        epoch: u32,
        still_valid: impl FnOnce() -> bool,
    ) -> Option<TagMark> {
        self.0.tags.learn(&fork::enter(), name, record, epoch, still_valid)
    }

    /// The record of this tag in L2 may hold something else now: what carries the tag has a stamp of 0.
    pub(crate) fn doubt_tag(&self, name: &[u8]) {
        self.0.tags.doubt(&fork::enter(), name);
    }

    /// The records of all tags may.
    pub(crate) fn doubt_tags(&self) {
        self.0.tags.doubt_all(&fork::enter());
    }

    /// Makes every entry that carries this tag absent.
    pub(crate) fn drop_tag(&self, name: &[u8]) {
        self.0.tags.invalidate(&fork::enter(), name);
    }

    /// Stores `value` for `ttl_ms` milliseconds, or for good (zero removes the entry), if `still_valid` says
    /// so under the shard's lock. False if not.
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
        self.expire_in(key, ttl_ms).unwrap_or(false)
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

    /// How long its values live.
    pub(crate) fn ttls(&self) -> Ttls {
        self.0.lifetimes.ttls
    }

    /// The largest value that it takes, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.0.max_value_bytes
    }
}
