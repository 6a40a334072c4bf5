//! Invalidating tags: of all values with a tag, in constant time, in every process.
//!
//! # Protocol
//! An invalidation counts as a write of the tag's record: it raises the record's stripe and its count first, so
//! that no read beside it learns what the record held, and gives the tag a new version in L1, so that what L1 and
//! the queue hold with it is gone. Then L2 removes the record, over the connection that also carries the
//! invalidations: other processes are told of the record as of any key, and this one is not.
//! - *Away* (or cancelled): the tag waits here, and the call is OK. While it waits every value that L2 has with it is
//!   absent, and a value that is written with it goes into the queue.
//! - *Replay:* what waits here goes before the queue, so that a queued value with the tag gets its stamp after it.
//!
//! # Invariants
//! 1. From the moment an invalidation returns no read of this process is answered with a value that had the tag
//!    before, from L1, from the queue or from L2.
//! 2. A value that this process writes with the tag after that is not touched by it.
//!
//! At most `replay_limit` tags wait; past that the oldest is dropped and counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use super::conditions::record_key;
use super::core::{Core, Verdict};
use super::stripes::WriteToken;
use super::world::{Remote, World};
use crate::error::Result;
use crate::fork;
use crate::stats::Counter;

/// The tags whose invalidation L2 has not confirmed.
#[derive(Default)]
pub(super) struct Tagged {
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each tag with the number of its last invalidation.
    waiting: HashMap<Vec<u8>, u64>,
    number: u64,
}

impl Tagged {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let _inside = fork::enter();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        self.count.store(state.waiting.len(), SeqCst);
        result
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Whether an invalidation of `tag` waits.
    pub(super) fn waits(&self, tag: &[u8]) -> bool {
        self.len() > 0 && self.with(|state| state.waiting.contains_key(tag))
    }

    /// Has it wait. Returns how many others were dropped for it.
    fn push(&self, tag: &[u8], most: usize) -> usize {
        self.with(|state| {
            state.number += 1;
            state.waiting.insert(tag.to_vec(), state.number);
            if state.waiting.len() <= most.max(1) {
                return 0;
            }
            let oldest = state.waiting.iter().min_by_key(|(_, number)| **number);
            let oldest = oldest.map(|(tag, _)| tag.clone());
            oldest.and_then(|tag| state.waiting.remove(&tag)).map_or(0, |_| 1)
        })
    }

    fn next(&self) -> Option<(Vec<u8>, u64)> {
        if self.len() == 0 {
            return None;
        }
        self.with(|state| {
            let oldest = state.waiting.iter().min_by_key(|(_, number)| **number);
            oldest.map(|(tag, number)| (tag.clone(), *number))
        })
    }

    /// It does not wait any more, unless it was invalidated once more.
    fn ended(&self, tag: &[u8], number: u64) {
        self.with(|state| {
            if state.waiting.get(tag) == Some(&number) {
                state.waiting.remove(tag);
            }
        });
    }

    /// In a forked child, whose parent replays them.
    pub(super) fn forget(&self) {
        self.with(|state| state.waiting.clear());
    }
}

/// An invalidation on its way. Dropped without an end, its outcome is unknown: it waits.
struct Invalidating<'a, W: World> {
    core: &'a Core<W>,
    tag: &'a [u8],
    token: Option<WriteToken>,
    waits: bool,
}

impl<'a, W: World> Invalidating<'a, W> {
    fn begin(core: &'a Core<W>, tag: &'a [u8]) -> Self {
        let token = Some(core.stripes.begin_write(&record_key(tag)));
        core.l1.drop_tag(tag);
        Self { core, tag, token, waits: true }
    }
}

impl<W: World> Drop for Invalidating<'_, W> {
    fn drop(&mut self) {
        let Self { core, tag, .. } = *self;
        if self.waits {
            let dropped = core.tagged.push(tag, core.options.replay_limit);
            core.count_dropped(dropped, "too many tags wait");
        }
        if let Some(token) = self.token.take() {
            let _ = core.stripes.finish(&record_key(tag), token);
        }
        if self.waits {
            core.start_replay();
        }
    }
}

impl<W: World> Core<W> {
    /// Whether anything waits for L2.
    pub(super) fn waits(&self) -> bool {
        !self.queue.is_empty() || self.tagged.len() > 0
    }

    /// Makes all values with `tag` absent. There is an L2.
    pub(super) async fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        self.process();
        let mut invalidating = Invalidating::begin(self, tag);
        let Some(l2) = self.leg() else { return Ok(()) };
        match l2.forget_tag(tag, self.options.l2_timeout).await {
            Ok(()) => {
                self.breaker.succeeded();
                invalidating.waits = false;
                Ok(())
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { .. } => Ok(()),
                Verdict::Corrupt | Verdict::Fails => {
                    invalidating.waits = false;
                    Err(error)
                }
            },
        }
    }

    /// Replays what waits here; false if L2 is away.
    pub(super) async fn replay_tags(&self, l2: &W::Remote) -> bool {
        while let Some((tag, number)) = self.tagged.next() {
            // No read beside it learns what the record held.
            let record = record_key(&tag);
            let token = self.stripes.begin_write(&record);
            let reply = l2.forget_tag(&tag, self.options.l2_timeout).await;
            let _ = self.stripes.finish(&record, token);
            match reply {
                Ok(()) => {
                    self.breaker.succeeded();
                    self.counters.count(Counter::ReplayedWrites);
                    self.tagged.ended(&tag, number);
                }
                Err(error) => {
                    if let Verdict::Away { .. } = self.judge(&error) {
                        return false;
                    }
                    self.tagged.ended(&tag, number);
                    self.count_dropped(1, error.message());
                }
            }
        }
        true
    }

    /// Another process has invalidated `tag`, or only written its record.
    pub(super) fn tag_changed(&self, tag: &[u8]) {
        // In this order: who has not seen the first is undone by the second.
        self.stripes.void(&record_key(tag));
        self.l1.doubt_tag(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_makes_room() {
        let tagged = Tagged::default();
        assert!(!tagged.waits(b"a") && tagged.next().is_none());
        assert_eq!(tagged.push(b"a", 2) + tagged.push(b"b", 2), 0);
        assert_eq!(tagged.next().unwrap().0, b"a");
        let (tag, number) = tagged.next().unwrap();
        // Invalidated once more, it is the newest.
        assert_eq!(tagged.push(b"a", 2), 0);
        tagged.ended(&tag, number);
        assert!(tagged.waits(b"a"));
        assert_eq!(tagged.push(b"c", 2), 1);
        assert!(tagged.waits(b"a") && !tagged.waits(b"b") && tagged.waits(b"c"));
        tagged.forget();
        assert_eq!(tagged.len(), 0);
    }
}
