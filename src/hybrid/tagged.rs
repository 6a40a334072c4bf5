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
//! At most `replay_limit` tags of `replay_bytes` wait; past that the oldest is dropped and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use super::conditions::record_key;
use super::core::{Core, Verdict};
use super::stripes::WriteToken;
use super::world::{Remote, World};
use crate::error::Result;
use crate::fork;
use crate::stats::Counter;

/// Most tags that are replayed in one trip.
const BATCH: usize = 256;
/// What a tag that waits costs besides its name, about.
const OVERHEAD: usize = 128;

/// The tags whose invalidation L2 has not confirmed.
#[derive(Default)]
pub(super) struct Tagged {
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each tag with the number of its last invalidation.
    waiting: HashMap<Arc<[u8]>, u64>,
    by_age: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    number: u64,
}

impl State {
    fn remove(&mut self, tag: &[u8]) -> bool {
        let Some(number) = self.waiting.remove(tag) else { return false };
        self.by_age.remove(&number);
        self.bytes -= OVERHEAD + tag.len();
        true
    }
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
    fn push(&self, tag: &[u8], most: usize, most_bytes: usize) -> usize {
        self.with(|state| {
            state.remove(tag);
            state.number += 1;
            let (number, tag): (u64, Arc<[u8]>) = (state.number, tag.into());
            state.bytes += OVERHEAD + tag.len();
            state.by_age.insert(number, tag.clone());
            state.waiting.insert(tag, number);
            let mut dropped = 0;
            while state.waiting.len() > 1
                && (state.waiting.len() > most || state.bytes > most_bytes)
                && let Some(oldest) = state.by_age.values().next().cloned()
            {
                dropped += usize::from(state.remove(&oldest));
            }
            dropped
        })
    }

    /// The oldest ones.
    fn next(&self) -> Vec<(u64, Arc<[u8]>)> {
        if self.len() == 0 {
            return Vec::new();
        }
        let oldest = |state: &mut State| {
            let some = state.by_age.iter().take(BATCH);
            some.map(|(number, tag)| (*number, tag.clone())).collect()
        };
        self.with(oldest)
    }

    /// It does not wait any more, unless it was invalidated once more.
    fn ended(&self, tag: &[u8], number: u64) {
        self.with(|state| state.waiting.get(tag) == Some(&number) && state.remove(tag));
    }

    /// In a forked child, whose parent replays them.
    pub(super) fn forget(&self) {
        self.with(|state| *state = State::default());
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
            let options = &core.options;
            let dropped = core.tagged.push(tag, options.replay_limit, options.replay_bytes);
            core.count_dropped(dropped, "too many tags wait");
        }
        if let Some(token) = self.token.take() {
            let _ = core.stripes.finish(token);
        }
        if self.waits {
            core.start_replay();
        }
    }
}

/// Writes of records under way, for as long as it lives.
struct Recording<'a, W: World> {
    core: &'a Core<W>,
    tokens: Vec<WriteToken>,
}

impl<'a, W: World> Recording<'a, W> {
    fn begin(core: &'a Core<W>, tags: &[&[u8]]) -> Self {
        let begin = |tag: &&[u8]| core.stripes.begin_write(&record_key(tag));
        Self { core, tokens: tags.iter().map(begin).collect() }
    }
}

impl<W: World> Drop for Recording<'_, W> {
    fn drop(&mut self) {
        for token in self.tokens.drain(..) {
            let _ = self.core.stripes.finish(token);
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
        match l2.forget_tags(&[tag], self.options.l2_timeout).await {
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
        loop {
            let waiting = self.tagged.next();
            if waiting.is_empty() {
                return true;
            }
            let tags: Vec<&[u8]> = waiting.iter().map(|(_, tag)| &tag[..]).collect();
            // No read beside it learns what a record held.
            let begun = Recording::begin(self, &tags);
            let reply = l2.forget_tags(&tags, self.options.l2_timeout).await;
            drop(begun);
            let dropped = match &reply {
                Ok(()) => {
                    self.breaker.succeeded();
                    self.counters.add(Counter::ReplayedWrites, tags.len() as u64);
                    0
                }
                Err(error) => match self.judge(error) {
                    Verdict::Away { .. } => return false,
                    Verdict::Corrupt | Verdict::Fails => tags.len(),
                },
            };
            waiting.iter().for_each(|(number, tag)| self.tagged.ended(tag, *number));
            self.count_dropped(dropped, "the server refuses it");
        }
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
        let push = |tag: &[u8]| tagged.push(tag, 2, 1 << 20);
        assert!(!tagged.waits(b"a") && tagged.next().is_empty());
        assert_eq!(push(b"a") + push(b"b"), 0);
        let oldest = tagged.next();
        assert_eq!(oldest.iter().map(|(_, tag)| &tag[..]).collect::<Vec<_>>(), [b"a", b"b"]);
        // Invalidated once more, it is the newest.
        assert_eq!(push(b"a"), 0);
        tagged.ended(b"a", oldest[0].0);
        assert!(tagged.waits(b"a"));
        assert_eq!(push(b"c"), 1);
        assert!(tagged.waits(b"a") && !tagged.waits(b"b") && tagged.waits(b"c"));
        // By their bytes too, but the last.
        assert_eq!(tagged.push(b"d", 10, 1), 2);
        assert!(tagged.waits(b"d"));
        let last = tagged.next();
        tagged.ended(b"d", last[0].0);
        assert!(tagged.len() == 0 && tagged.with(|state| state.bytes) == 0);
        push(b"e");
        tagged.forget();
        assert_eq!(tagged.len(), 0);
    }
}
