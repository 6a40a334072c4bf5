//! The steps of writing: L1 first, then L2, and what L1 keeps when L2 has answered.

use super::core::{Core, Verdict};
use super::stripes::WriteToken;
use crate::error::{Error, Result};
use crate::stats::Counter;

/// A write whose leg to L2 has not ended. Dropped without an end (a cancelled future, a panic), its
/// outcome is unknown: L1 lets go of the key.
pub(super) struct Write<'a> {
    core: &'a Core,
    key: &'a [u8],
    token: Option<WriteToken>,
}

impl<'a> Write<'a> {
    fn begin(core: &'a Core, key: &'a [u8]) -> Self {
        Self { core, key, token: Some(core.stripes.begin_write(key)) }
    }

    /// L2 has taken it. L1 keeps the value unless another write or an invalidation came between.
    fn settled(mut self) {
        if let Some(token) = self.token.take()
            && !self.core.stripes.finish(self.key, token)
        {
            self.core.l1.remove(self.key);
        }
    }

    /// L2 has not taken it: L1 is all there is, and keeps what it has.
    fn alone(mut self) {
        if let Some(token) = self.token.take() {
            let _ = self.core.stripes.finish(self.key, token);
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let _ = self.core.stripes.finish(self.key, token);
            self.core.l1.remove(self.key);
        }
    }
}

/// A clear on its way.
pub(super) struct Clear<'a>(&'a Core);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        // What was stored while L2 was being emptied may be gone there.
        self.0.l1.remove_all();
        self.0.stripes.finish_all();
    }
}

impl Core {
    /// Stores into L1; the write then goes to L2.
    pub(super) fn begin_set<'a>(
        &'a self,
        key: &'a [u8],
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<Write<'a>> {
        let epoch = self.trust.epoch();
        let write = Write::begin(self, key);
        self.l1.set_stamped(key, value, self.l1_ttl(ttl_ms), epoch)?;
        self.counters.count(Counter::Sets);
        Ok(write)
    }

    /// Stores into L1 where L2 can't be asked.
    pub(super) fn set_alone(&self, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<()> {
        self.begin_set(key, value, ttl_ms)?.alone();
        self.count_dropped(1);
        Ok(())
    }

    /// Removes from L1, and says whether it was there; the write then goes to L2.
    pub(super) fn begin_delete<'a>(&'a self, key: &'a [u8]) -> (bool, Write<'a>) {
        let write = Write::begin(self, key);
        (self.l1.remove(key), write)
    }

    /// Removes from L1 where L2 can't be asked.
    pub(super) fn delete_alone(&self, key: &[u8]) -> bool {
        let (held, write) = self.begin_delete(key);
        write.alone();
        self.count_dropped(1);
        self.count_deleted(held.into());
        held
    }

    /// Counts values that a call has removed from either tier.
    pub(super) fn count_deleted(&self, values: u64) {
        self.counters.add(Counter::Deletes, values);
    }

    /// Begins a new TTL: L1 follows when L2 has answered.
    pub(super) fn begin_expire<'a>(&'a self, key: &'a [u8]) -> Write<'a> {
        Write::begin(self, key)
    }

    /// Gives L1's entry a new TTL where L2 can't be asked. Without an L2 the answer is whether it was
    /// there; with one that is away nobody knows, and the answer is yes.
    pub(super) fn expire_alone(&self, key: &[u8], ttl_ms: Option<u64>) -> bool {
        let held = self.l1.set_ttl(key, self.l1_ttl(ttl_ms));
        self.count_dropped(1);
        held || self.l2.is_some()
    }

    /// Ends the leg of a set or a delete: `None` where L2 did not take it.
    pub(super) fn end_write<T>(&self, write: Write<'_>, reply: Result<T>) -> Result<Option<T>> {
        match reply {
            Ok(answer) => {
                self.breaker.succeeded();
                write.settled();
                Ok(Some(answer))
            }
            Err(error) => {
                self.absorb(error, 1)?;
                write.alone();
                Ok(None)
            }
        }
    }

    /// Ends the leg of a batch of sets or deletes, which counts as one failure.
    pub(super) fn end_writes<T>(
        &self,
        writes: Vec<Write<'_>>,
        reply: Result<T>,
    ) -> Result<Option<T>> {
        match reply {
            Ok(answer) => {
                self.breaker.succeeded();
                writes.into_iter().for_each(Write::settled);
                Ok(Some(answer))
            }
            Err(error) => {
                self.absorb(error, writes.len())?;
                writes.into_iter().for_each(Write::alone);
                Ok(None)
            }
        }
    }

    /// Ends the leg of an expire: whether the key is there.
    pub(super) fn end_expire(
        &self,
        write: Write<'_>,
        ttl_ms: Option<u64>,
        reply: Result<bool>,
    ) -> Result<bool> {
        match reply {
            Ok(true) => {
                self.l1.set_ttl(write.key, self.l1_ttl(ttl_ms));
                self.breaker.succeeded();
                write.settled();
                Ok(true)
            }
            Ok(false) => {
                // Dropped unsettled, it takes L1's entry along.
                self.breaker.succeeded();
                drop(write);
                Ok(false)
            }
            Err(error) => {
                self.absorb(error, 1)?;
                self.l1.set_ttl(write.key, self.l1_ttl(ttl_ms));
                write.alone();
                Ok(true)
            }
        }
    }

    /// Takes the failure of a leg with `writes` as a success of L1 alone, or gives it to the caller.
    pub(super) fn absorb(&self, error: Error, writes: usize) -> Result<()> {
        match self.judge(&error) {
            Verdict::Away => {
                self.count_dropped(writes);
                Ok(())
            }
            Verdict::Corrupt | Verdict::Fails => Err(error),
        }
    }

    /// Empties L1, now and once more when the guard is dropped.
    pub(super) fn begin_clear(&self) -> Clear<'_> {
        self.stripes.begin_write_all();
        self.l1.remove_all();
        Clear(self)
    }
}
