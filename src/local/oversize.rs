//! Entries that are larger than half of a shard's share of the bytes.
//!
//! A shard that has to hold more than its share borrows from the others: its allowance is added to its
//! own limit, and taken in equal parts off theirs. So the limits always add up to the bound of the
//! cache.
//!
//! # Protocol
//! Grants are made one at a time, under a lock of their own: room is asked for in `borrowed`, each other
//! shard is locked and shrunk to its new limit, then the own one is locked, given its allowance and the
//! entry. The allowance ends when the shard is within its share again, whoever changed it.
//!
//! # Invariants
//! - `borrowed` is the sum of the allowances, or more during a grant.
//! - It is at most what all other shards have together, so that no limit falls below 0.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::change::Removed;
use super::store::{KeyHash, Store, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;

/// Room for the smallest table, queue and wheel around a single entry.
const SLACK: usize = 512;

impl Writing<'_> {
    /// How many bytes this shard may hold now.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        match self.side.bound.as_deref() {
            Some(bound) if bound.bytes != usize::MAX => match self.shared.borrowed.load(Relaxed) {
                0 => bound.bytes,
                _ => self.limit_among_borrowers(),
            },
            _ => usize::MAX,
        }
    }

    #[cold]
    fn limit_among_borrowers(&self) -> usize {
        let Some(bound) = self.side.bound.as_deref() else { return usize::MAX };
        let others = self.shared.borrowed.load(Relaxed).saturating_sub(bound.allowance);
        let lent = others.div_ceil((self.shared.shards - 1).max(1));
        (bound.bytes + bound.allowance).saturating_sub(lent)
    }

    /// Gives an allowance back that is no longer needed. After each change that may free bytes.
    #[inline]
    pub(super) fn settle(&mut self) {
        if let Some(bound) = self.side.bound.as_deref()
            && bound.allowance > 0
            && self.side.bytes + self.side.structures(&self.table) <= bound.bytes
        {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(&mut self) {
        if let Some(bound) = self.side.bound.as_deref_mut() {
            self.shared.borrowed.fetch_sub(std::mem::take(&mut bound.allowance), Relaxed);
        }
    }
}

impl Store {
    /// Whether an entry of this footprint may need more than a shard's share.
    #[inline]
    fn is_oversize(&self, footprint: usize) -> bool {
        footprint > self.shared.oversize
    }

    /// Puts `new` where `decide` agrees, which is shown its shard under the write lock, and returns the
    /// entry that it replaces; `None` where `decide` does not agree. `now` as for `Writing::put`.
    /// [`ErrorKind::TooBig`] where the entry is larger than the whole cache: nothing is evicted then.
    #[inline]
    pub(super) fn put_if(
        &self,
        hash: KeyHash,
        new: Value,
        now: u64,
        decide: impl FnOnce(&Writing<'_>) -> bool,
        removed: &mut Removed,
    ) -> Result<Option<Option<Value>>> {
        if self.is_oversize(new.footprint()) {
            return self.put_oversize(hash, new, now, decide, removed);
        }
        let mut shard = self.write(hash);
        if decide(&shard) { shard.put(new, now, removed).map(Some) } else { Ok(None) }
    }

    #[cold]
    #[inline(never)]
    fn put_oversize(
        &self,
        hash: KeyHash,
        new: Value,
        now: u64,
        decide: impl FnOnce(&Writing<'_>) -> bool,
        removed: &mut Removed,
    ) -> Result<Option<Option<Value>>> {
        let needed = new.footprint() + SLACK;
        if self.bounds().bytes.is_some_and(|all| needed > all) {
            return Err(Error::new(ErrorKind::TooBig, "the entry is larger than the whole cache"));
        }
        let _granting = self.shared.granting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.shard_of(hash);
        if needed > self.share() {
            // It leaves room for nothing else in its shard, a large table included.
            let mut shard = self.write_shard(own);
            while shard.evict_any(removed) {}
            shard.give_up_structures();
            shard.settle();
        }
        let allowance = self.borrow(own, needed, removed);
        for shard in (0..self.shard_count()).filter(|shard| *shard != own && allowance > 0) {
            self.write_shard(shard).shrink(removed);
        }
        let mut shard = self.write(hash);
        if let Some(bound) = shard.side.bound.as_deref_mut() {
            bound.allowance += allowance;
        }
        let put = if decide(&shard) { shard.put(new, now, removed).map(Some) } else { Ok(None) };
        shard.settle();
        put
    }

    /// A shard's share of the bytes.
    fn share(&self) -> usize {
        self.bounds().bytes.unwrap_or(usize::MAX) / self.shard_count()
    }

    /// Borrows what the shard `own` lacks to hold `needed` bytes, and returns how much that is.
    fn borrow(&self, own: usize, needed: usize, removed: &mut Removed) -> usize {
        let lacking = || {
            let shard = self.write_shard(own);
            let bytes = needed + shard.side.structures(&shard.table);
            bytes.saturating_sub(shard.limit())
        };
        let borrowed = &self.shared.borrowed;
        let most = self.share().saturating_mul(self.shard_count() - 1);
        let mut allowance = lacking();
        if allowance + borrowed.load(Relaxed) > most {
            // The other borrowers have to give everything back.
            for shard in 0..self.shard_count() {
                let mut shard = self.write_shard(shard);
                if shard.side.bound.as_deref().is_some_and(|bound| bound.allowance > 0) {
                    while shard.evict_any(removed) {}
                    shard.give_back();
                }
            }
            allowance = lacking().min(most);
        }
        borrowed.fetch_add(allowance, Relaxed);
        allowance
    }
}
