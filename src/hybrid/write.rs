//! The steps of writing: L1 first, then L2, and what L1 and the queue keep when L2 has answered.

use super::conditions::{Conditions, Span};
use super::core::{Core, Verdict};
use super::queue::{self, Because, Look, Way};
use super::stripes::{ReadToken, WriteToken};
use super::world::World;
use crate::error::Result;
use crate::stats::Counter;
use crate::value::Value;

/// What a write does to its key. Moments are milliseconds of the Hybrid's clock, `None` for never.
#[derive(Clone, Copy)]
enum Change<'a> {
    Set { value: &'a [u8], until: Option<u64>, conditions: Option<&'a Conditions> },
    Delete,
    Expire { until: Option<u64> },
}

/// A write whose leg to L2 has not ended. Dropped without an end (a cancelled future, a panic), its
/// outcome is unknown: it is queued.
pub(super) struct Write<'a, W: World> {
    core: &'a Core<W>,
    key: &'a [u8],
    change: Change<'a>,
    /// What L1 held before it.
    saw: Option<Value>,
    way: Way,
    token: Option<WriteToken>,
}

impl<'a, W: World> Write<'a, W> {
    fn begin(core: &'a Core<W>, key: &'a [u8], change: Change<'a>) -> Self {
        Self::begun(core, key, change, core.stripes.begin_write(key))
    }

    fn begun(core: &'a Core<W>, key: &'a [u8], change: Change<'a>, token: WriteToken) -> Self {
        let token = Some(token);
        let waits =
            matches!(change, Change::Set { conditions: Some(conditions), .. } if conditions.waits);
        let may_ask = core.l2.is_some() && core.breaker.allows() && !waits;
        let way = match change {
            // In this order: who is admitted has its stripe raised.
            Change::Expire { .. } if may_ask => core.queue.admit(key, true),
            _ if may_ask => core.queue.admit(key, false),
            _ => Way::Queue,
        };
        // A key that is in the queue has been remembered there.
        let saw = match way {
            Way::Queue if core.l2.is_none() || core.knows(key) => None,
            _ => core.held(key).map(|entry| entry.value),
        };
        Self { core, key, change, saw, way, token }
    }

    /// Whether it goes to L2 now; otherwise it has to be queued.
    pub(super) fn goes(&self) -> bool {
        matches!(self.way, Way::Direct(_))
    }

    /// L2 has taken it. L1 keeps the value unless another write or an invalidation came between.
    fn settled(mut self) {
        let Some(token) = self.token.take() else { return };
        let Self { core, key, .. } = self;
        if let (Way::Direct(admission), Change::Set { .. } | Change::Delete) =
            (self.way, self.change)
        {
            core.queue.confirmed(key, admission, || self.change.value());
        }
        // Before the stripe says that it has ended: a fill after that knows better, and forgets this.
        if let Change::Set { .. } = self.change
            && (core.stripes.overlapped(&token) || core.held(key).is_none())
            && let Some(value) = self.change.value()
        {
            core.queue.remember(key, value, Because::Own);
        }
        if !core.stripes.finish(token) {
            core.let_go(key, Because::Own);
        }
    }

    /// L2 has not taken it, and perhaps never will by itself: it is queued, and L1 keeps what it has.
    pub(super) fn queue(self, landed: bool) {
        let core = self.core;
        if core.l2.is_some() {
            self.into_queue(landed);
            core.start_replay();
        } else {
            let mut whole = self;
            if let Some(token) = whole.token.take() {
                let _ = core.stripes.finish(token);
            }
        }
    }

    fn into_queue(mut self, landed: bool) {
        let Some(token) = self.token.take() else { return };
        let Self { core, key, .. } = self;
        let direct = match self.way {
            Way::Direct(admission) => Some(admission),
            Way::Queue => None,
        };
        let Ok(write) = self.change.queued() else {
            // No memory for it: the caller's next read may see the old value, so L1 lets go as well.
            core.l1.remove(key);
            core.count_dropped(1, "no memory");
            let _ = core.stripes.finish(token);
            return;
        };
        let own = write.value().cloned().filter(|_| landed);
        // Writes that overlapped with this one may be what L2 holds; L1 holds the last of them.
        let other = match direct {
            Some(_) => core.held(key).map(|entry| entry.value),
            None => None,
        };
        let other = other.filter(|other| write.value().is_none_or(|own| own[..] != other[..]));
        let own = own.into_iter().chain(other);
        let dropped = core.queue.push(key, write, direct, self.saw.take(), own);
        core.count_dropped(dropped, "the queue is full");
        if !core.stripes.finish(token) {
            // Another write overlapped, and L1 may hold the one of them that the queue does not.
            core.let_go(key, Because::Own);
        }
    }

    /// The queue has it in the place of another write of the key ([`Queue::rewrite`]), and so has L1.
    ///
    /// [`Queue::rewrite`]: super::queue::Queue::rewrite
    fn rewritten(mut self) {
        if let Some(token) = self.token.take()
            && !self.core.stripes.finish(token)
        {
            // Another write overlapped, and L1 may hold the one of them that the queue does not.
            self.core.let_go(self.key, Because::Own);
        }
        self.core.start_replay();
    }

    /// L2 holds something newer.
    pub(super) fn overtaken(self) {
        self.core.breaker.succeeded();
        self.refused();
    }

    /// L2 refuses it, and its caller hears of that.
    fn refused(mut self) {
        if let Way::Direct(admission) = self.way {
            self.core.queue.refused(self.key, admission);
        }
        self.core.let_go(self.key, Because::Own);
        if let Some(token) = self.token.take() {
            let _ = self.core.stripes.finish(token);
        }
    }
}

impl<W: World> Drop for Write<'_, W> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let rest = Self {
                core: self.core,
                key: self.key,
                change: self.change,
                saw: self.saw.take(),
                way: self.way,
                token: Some(token),
            };
            rest.queue(true);
        }
    }
}

impl Change<'_> {
    /// The value that is there afterwards.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Set { value, .. } => Value::copy_from(value).ok(),
            _ => None,
        }
    }

    fn queued(&self) -> Result<queue::Write> {
        Ok(match *self {
            Self::Set { value, until, conditions: None } => {
                queue::Write::Set { value: Value::copy_from(value)?, until }
            }
            Self::Set { value, until, conditions: Some(Conditions { window_ms, tags, .. }) } => {
                let value = Value::with_conditions(value, *window_ms, tags.clone())?;
                queue::Write::Set { value, until }
            }
            Self::Delete => queue::Write::Delete { asked: true },
            Self::Expire { until } => queue::Write::Expire { until },
        })
    }
}

/// A clear on its way. Dropped without an end, nobody was told that it was done.
pub(super) struct Clear<'a, W: World> {
    core: &'a Core<W>,
    place: u64,
    ended: bool,
}

impl<W: World> Clear<'_, W> {
    fn end(mut self, confirmed: bool) {
        self.ended = true;
        // What was stored while L2 was being emptied may be gone there. The queue learns of it before
        // the stripes do: a read that may fill asks the queue first.
        self.core.l1.remove_all();
        self.core.queue.end_clear(self.place, confirmed);
    }
}

impl<W: World> Drop for Clear<'_, W> {
    fn drop(&mut self) {
        if !self.ended {
            // L2 may have lost any part of it.
            self.core.trust.renew();
            self.core.queue.forget_clear();
        }
        self.core.stripes.finish_all();
    }
}

impl<W: World> Core<W> {
    fn until(&self, ttl_ms: Option<u64>) -> Option<u64> {
        ttl_ms.map(|ttl| self.world.now_ms().saturating_add(ttl))
    }

    fn knows(&self, key: &[u8]) -> bool {
        self.queue.knows(key, || self.world.now_ms())
    }

    /// Stores into L1; the write then goes to L2, or into the queue.
    #[cfg(test)]
    pub(super) fn begin_set<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl_ms: Option<u64>,
    ) -> Result<Write<'a, W>> {
        self.begin_set_as(key, value, ttl_ms, None)
    }

    /// Stores a plain value where L2 is bypassed: into L1 and the queue. False where it has to be stored as
    /// others are.
    pub(super) fn set_alone(&self, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<bool> {
        if self.l2.is_none() || self.breaker.allows() {
            return Ok(false);
        }
        // Should L2 come back at this moment, the write waits in the queue all the same.
        let (token, epoch) = (self.stripes.begin_write(key), self.trust.epoch());
        let until = self.until(ttl_ms);
        if !self.queue.rewrite(key, value, until) {
            self.begin_set_with(key, value, ttl_ms, None, token)?.queue(false);
            return Ok(true);
        }
        let change = Change::Set { value, until, conditions: None };
        let token = Some(token);
        let write = Write { core: self, key, change, saw: None, way: Way::Queue, token };
        // The queue came first, for once: where L1 holds the key, reads do not look there.
        if self.keep(key, value, &Span::plain(ttl_ms), &[], epoch, || true).is_err() {
            self.l1.remove(key);
        }
        self.counters.count(Counter::Sets);
        write.rewritten();
        Ok(true)
    }

    /// As [`Core::begin_set`], with what the value has besides.
    pub(super) fn begin_set_as<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl_ms: Option<u64>,
        conditions: Option<&'a Conditions>,
    ) -> Result<Write<'a, W>> {
        let token = self.stripes.begin_write(key);
        self.begin_set_with(key, value, ttl_ms, conditions, token)
    }

    /// As [`Core::begin_set_as`], unless a write or an invalidation came since `since` was taken.
    pub(super) fn begin_set_after<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl_ms: Option<u64>,
        conditions: Option<&'a Conditions>,
        since: ReadToken,
    ) -> Result<Option<Write<'a, W>>> {
        let Some(token) = self.stripes.begin_write_after(key, since) else { return Ok(None) };
        self.begin_set_with(key, value, ttl_ms, conditions, token).map(Some)
    }

    fn begin_set_with<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl_ms: Option<u64>,
        conditions: Option<&'a Conditions>,
        token: WriteToken,
    ) -> Result<Write<'a, W>> {
        let epoch = self.trust.epoch();
        let change = Change::Set { value, until: self.until(ttl_ms), conditions };
        let write = Write::begun(self, key, change, token);
        let window_ms = conditions.and_then(|conditions| conditions.window_ms).unwrap_or(0);
        let span = Span { window_ms, ..Span::plain(ttl_ms) };
        let tags = conditions.map_or(&[][..], |conditions| &conditions.tags);
        let kept = self.keep(key, value, &span, tags, epoch, || true);
        if let Err(error) = kept {
            write.refused();
            return Err(error);
        }
        self.counters.count(Counter::Sets);
        Ok(write)
    }

    /// Removes from L1, and says whether it was there or in the queue; the write then goes to L2, or
    /// into the queue.
    pub(super) fn begin_delete<'a>(&'a self, key: &'a [u8]) -> (bool, Write<'a, W>) {
        let queued = !self.queue.is_empty()
            && matches!(self.queue.look(key, self.world.now_ms()), Look::Holds(..));
        let write = Write::begin(self, key, Change::Delete);
        (self.l1.remove(key) || queued, write)
    }

    /// Counts values that a call has removed from either tier.
    pub(super) fn count_deleted(&self, values: u64) {
        self.counters.add(Counter::Deletes, values);
    }

    /// Begins a new TTL: L1 lets go of the key when L2 has answered.
    pub(super) fn begin_expire<'a>(&'a self, key: &'a [u8], ttl_ms: Option<u64>) -> Write<'a, W> {
        Write::begin(self, key, Change::Expire { until: self.until(ttl_ms) })
    }

    /// Gives the key a new TTL where L2 can't be asked. Without an L2 the answer is whether it was
    /// there; with one that is away nobody knows, and the answer is yes, unless it was removed here.
    pub(super) fn expire_alone(&self, write: Write<'_, W>, landed: bool) -> bool {
        let gone = matches!(self.presence_in_queue(write.key), Some(Look::Gone));
        let Change::Expire { until } = write.change else { return false };
        let held = self.l1.set_ttl(write.key, self.l1_ttl(self.left(until)));
        if gone {
            write.end_without_change();
            return false;
        }
        write.queue(landed);
        held || self.l2.is_some()
    }

    fn presence_in_queue(&self, key: &[u8]) -> Option<Look> {
        (!self.queue.is_empty()).then(|| self.queue.look(key, self.world.now_ms()))
    }

    fn left(&self, until: Option<u64>) -> Option<u64> {
        until.map(|until| until.saturating_sub(self.world.now_ms()))
    }

    /// Ends the leg of a set or a delete: `None` where L2 did not take it.
    pub(super) fn end_write<T>(&self, write: Write<'_, W>, reply: Result<T>) -> Result<Option<T>> {
        self.end_writes(std::iter::once(write), reply)
    }

    /// Ends the leg of a batch of sets or deletes, which counts as one failure.
    pub(super) fn end_writes<'a, T>(
        &self,
        writes: impl IntoIterator<Item = Write<'a, W>>,
        reply: Result<T>,
    ) -> Result<Option<T>> {
        match reply {
            Ok(answer) => {
                self.breaker.succeeded();
                writes.into_iter().for_each(Write::settled);
                Ok(Some(answer))
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { landed } => {
                    writes.into_iter().for_each(|write| write.queue(landed));
                    Ok(None)
                }
                Verdict::Corrupt | Verdict::Fails => {
                    writes.into_iter().for_each(Write::refused);
                    Err(error)
                }
            },
        }
    }

    /// Ends the leg of an expire: whether the key is there.
    pub(super) fn end_expire(&self, write: Write<'_, W>, reply: Result<bool>) -> Result<bool> {
        match reply {
            Ok(true) => {
                // L1 lets go of the key: where another client's write came just before, in the same round
                // of the server, only the last writer is remembered, and that is us. We are not told.
                self.breaker.succeeded();
                write.refused();
                Ok(true)
            }
            Ok(false) => {
                self.breaker.succeeded();
                write.refused();
                Ok(false)
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { landed } => Ok(self.expire_alone(write, landed)),
                Verdict::Corrupt | Verdict::Fails => {
                    write.refused();
                    Err(error)
                }
            },
        }
    }

    /// L1 is emptied when L2 has answered, or is known not to.
    pub(super) fn begin_clear(&self) -> Clear<'_, W> {
        self.stripes.begin_write_all();
        let place = self.queue.begin_clear();
        Clear { core: self, place, ended: false }
    }

    /// Ends the leg of a clear.
    pub(super) fn end_clear(&self, clear: Clear<'_, W>, reply: Result<()>) -> Result<()> {
        match reply {
            Ok(()) => {
                self.breaker.succeeded();
                clear.end(true);
                // What was queued behind it may go now.
                self.start_replay();
                Ok(())
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { .. } => {
                    self.clear_alone(clear);
                    Ok(())
                }
                Verdict::Corrupt | Verdict::Fails => Err(error),
            },
        }
    }

    /// L2 can't be asked: the clear is queued.
    pub(super) fn clear_alone(&self, clear: Clear<'_, W>) {
        clear.end(self.l2.is_none());
        self.start_replay();
    }
}

impl<W: World> Write<'_, W> {
    fn end_without_change(mut self) {
        if let Way::Direct(admission) = self.way {
            self.core.queue.refused(self.key, admission);
        }
        if let Some(token) = self.token.take() {
            let _ = self.core.stripes.finish(token);
        }
    }
}
