//! Operations that depend on the present value. Each takes effect at one moment under the shard's write
//! lock; the new block is made before it, large values are compared before it.

use super::LocalCache;
use super::change::{Change, Overwrite, Removed};
use super::lifetime::Birth;
use super::store::Writing;
use super::sweeper;
use crate::envelope::is_canonical_int;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::{check_key, check_value};
use crate::ops::{BlockingCache, Swap, Ttl};
use crate::stats::Counter;
use crate::value::{NEVER, Value};

impl LocalCache {
    /// Stores a value only where the key is there, or only where it is not. False: nothing was stored.
    pub(super) fn put_where(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Ttl,
        there: bool,
    ) -> Result<bool> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let birth = self.birth(ttl)?;
        // Saves a block where it is clear already.
        if BlockingCache::exists(self, key)? != there {
            return Ok(false);
        }
        let inside = fork::enter();
        let Some(birth) = birth else {
            // The value has expired already: it takes the place of an old one and is gone.
            return Ok(!there || self.delete_checked(&inside, key));
        };
        let hash = self.0.store.hash(key);
        let new = birth.entry(hash, key, value)?;
        let stored = self.put_if(&inside, hash, new, |shard| {
            shard.find(hash, key).is_some_and(|entry| self.lives(entry)) == there
        })?;
        if stored {
            self.tally(&inside, Counter::Sets);
        }
        Ok(stored)
    }

    /// Stores a value only where the present one is `expected`.
    pub(super) fn swap(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        check_key(key)?;
        check_value(value, self.0.max_value_bytes)?;
        let hash = self.0.store.hash(key);
        // Each round that fails is another caller's success.
        loop {
            let inside = fork::enter();
            let present = {
                let shard = self.0.store.read(hash);
                shard.find(hash, key).filter(|entry| self.lives(entry)).cloned()
            };
            // The pin keeps the block from being overwritten in place: the same block is the same value.
            let Some(present) = present else { return Ok(Swap::Absent) };
            if *present != *expected {
                return Ok(Swap::Conflict);
            }
            let is_present = |entry: &Value| entry.is(&present) && self.lives(entry);
            let Some(birth) = self.birth(ttl)? else {
                self.0.voids.add(hash);
                let mut shard = self.0.store.write(hash);
                let taken = shard.take_where(hash.in_shard(), is_present);
                drop(shard);
                if taken.is_some() {
                    self.tally(&inside, Counter::Deletes);
                    return Ok(Swap::Done);
                }
                continue;
            };
            let new = birth.entry(hash, key, value)?;
            let unchanged = |shard: &Writing<'_>| shard.find(hash, key).is_some_and(is_present);
            if self.put_if(&inside, hash, new, unchanged)? {
                self.tally(&inside, Counter::Sets);
                return Ok(Swap::Done);
            }
        }
    }

    /// Adds to a number, and makes it where there is none.
    pub(super) fn add_number(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        check_key(key)?;
        let created = self.expiry(ttl)?;
        let hash = self.0.store.hash(key);
        let now = self.0.clock.now();
        let inside = fork::enter();
        let mut removed = Removed::default();
        let mut shard = self.0.store.write(hash);
        let present = shard.find(hash, key).filter(|entry| self.lives(entry));
        let (sum, expires_at) = match present {
            Some(entry) if !entry.is_plain() => {
                return Err(no_number("the value carries tags or a stale window"));
            }
            Some(entry) => {
                let number = number(entry).ok_or_else(|| no_number("the value is no integer"))?;
                let sum =
                    number.checked_add(delta).ok_or_else(|| no_number("the sum overflows"))?;
                (sum, Some(entry.expires_at()))
            }
            None => (delta, created),
        };
        // One that is made with a TTL of zero has expired already.
        let Some(expires_at) = expires_at else { return Ok(sum) };
        let digits = sum.to_string();
        check_value(digits.as_bytes(), self.0.max_value_bytes)?;
        let value = digits.as_bytes();
        let change = Change { value, expires_at, stamp: None, now };
        let old = match shard.overwrite(hash, key, &change, || true) {
            Overwrite::Impossible(_) => {
                // A block of two dozen bytes is made quickly enough under the lock.
                let new = Birth::plain(expires_at).entry(hash, key, value)?;
                let old = shard.put(new, now, &mut removed)?;
                drop(shard);
                old.as_ref().map_or(NEVER, Value::expires_at)
            }
            Overwrite::Done { old_expiry, removed: pushed_out } => {
                drop(shard);
                removed = pushed_out.map_or(removed, |removed| *removed);
                old_expiry
            }
            Overwrite::Refused => NEVER,
            Overwrite::NoMemory => return Err(ErrorKind::NoMemory.into()),
        };
        if !self.is_ahead(old) {
            self.note_expired(&inside, key);
        }
        if !removed.is_empty() {
            self.note_removed(&inside, &removed);
        }
        self.tally(&inside, Counter::Sets);
        if expires_at != NEVER {
            sweeper::watch(&self.0);
        }
        Ok(sum)
    }
}

/// The number that a value is, in the one form that the server's INCR takes.
fn number(value: &[u8]) -> Option<i64> {
    if !is_canonical_int(value) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cold]
fn no_number(why: &'static str) -> Error {
    Error::new(ErrorKind::Type, why)
}
