//! Which entry of a full shard makes room for a new one.
//!
//! # The policy
//! New entries wait in a small FIFO queue; what is used there moves on to the main queue, a CLOCK, and
//! what is not is evicted and leaves a ghost. An entry whose ghost is still there when it is wanted again
//! goes to main at once. The small queue's share of the capacity is not fixed: hits on the freshest
//! ghosts of either queue, which a slightly larger queue would have held, move it.
//!
//! A hit writes one relaxed byte of its own entry, and nothing else: no list, no lock.
//!
//! It takes from:
//! - 2Q (Johnson, Shasha, VLDB 1994, section 3): a FIFO for newcomers, and ghosts of what left it.
//! - CLOCK (Corbató, 1968) with small counters instead of one bit, as in GCLOCK (Smith, TODS 1978).
//! - ARC (Megiddo, Modha, FAST 2003, section III.B): ghosts decide how the capacity is divided.
//! - LIRS (Jiang, Zhang, SIGMETRICS 2002, section 3): whether a returning key may push the hand of main
//!   is judged by recency. Here: its reuse distance against the time since the hand's entry was visited.
//! - S3-FIFO (Yang et al., SOSP 2023, section 4): queues instead of lists, lazy promotion at eviction.
//!
//! New is what joins them: the gradient from near ghosts only, its gate, and the LIRS test on a CLOCK
//! without LIRS's stack. The simulation behind its numbers is described in `docs/hit-ratio.md`.
//!
//! # What it may cost
//! An insertion into a full shard looks at 64 slots at most, besides garbage, each slot of which is met
//! once. A shard whose queue is half garbage builds it anew, at a constant cost per removal.

use std::sync::atomic::Ordering::Relaxed;

use super::change::Removed;
use super::policy::{Origin, Turn};
use super::store::{Bound, Shared, Table, Writing, spread};
use crate::value::Value;

/// Uses that count, of the policy byte.
const USES: u8 = 3;
/// The entry is in the main queue.
const IN_MAIN: u8 = 4;

/// Least and largest share of the small queue.
pub(super) const SMALL_SHARE_MIN: f32 = 0.01;
const SMALL_SHARE_MAX: f32 = 0.5;
/// Ghosts are near if they were evicted within this share of the capacity.
const NEAR: f32 = 0.02;
/// Ghosts of the small queue send their entry to main up to this share of the capacity.
const WINDOW: f32 = 1.5;
/// How much longer ago than a candidate's reuse distance main's entry must have been visited.
const RECENCY: f32 = 1.25;
/// Entries at main's hand of which one must be unused for the small queue to grow.
const GATE: usize = 16;
/// Steps of a hand for one insertion.
const STEPS: u32 = 32;
/// Evictions from small between two steps that age main.
pub(super) const AGEING: u8 = 32;

/// Notes that an entry was used. Under either lock; an update may be lost to another one.
#[inline]
pub(super) fn note_use(entry: &Value) {
    let byte = entry.policy().load(Relaxed);
    if byte & USES < USES {
        entry.policy().store(byte + 1, Relaxed);
    }
}

/// Gives `new`, which replaces `old`, the turn of `old`.
pub(super) fn succeed(new: &Value, old: &Value) {
    new.policy().store(old.policy().load(Relaxed), Relaxed);
    new.set_place(old.place());
    note_use(new);
}

fn uses(entry: &Value) -> u8 {
    entry.policy().load(Relaxed) & USES
}

fn set_uses(entry: &Value, uses: u8) {
    entry.policy().store(entry.policy().load(Relaxed) & !USES | uses, Relaxed);
}

fn origin(entry: &Value) -> Origin {
    if entry.policy().load(Relaxed) & IN_MAIN == 0 { Origin::Small } else { Origin::Main }
}

/// The entry whose turn it is, `None` where the slot is garbage.
fn resident(table: &Table, turn: Turn, queue: Origin) -> Option<&Value> {
    let slot = table.get(spread(turn.hash), |slot| is_at(&slot.0, turn, queue))?;
    Some(&slot.0.0)
}

fn is_at(entry: &Value, turn: Turn, queue: Origin) -> bool {
    entry.hash() == turn.hash && entry.place() == turn.place && origin(entry) == queue
}

impl Bound {
    fn enqueue(&mut self, entry: &Value, queue: Origin) {
        let mark = self.ghosts.clock();
        let (place, flag) = match queue {
            Origin::Small => (self.small.push(entry.hash(), mark), 0),
            Origin::Main => (self.main.push(entry.hash(), mark), IN_MAIN),
        };
        entry.set_place(place);
        let byte = entry.policy();
        byte.store(byte.load(Relaxed) & !IN_MAIN | flag, Relaxed);
    }

    /// How many entries fit, given the present ones.
    fn capacity(&self, entries: usize, bytes: usize) -> usize {
        if self.bytes == usize::MAX || entries == 0 {
            return self.entries.min(self.bytes / 64).max(1);
        }
        self.entries.min(self.bytes / (bytes / entries).max(1)).max(1)
    }
}

impl Shared {
    fn small_share(&self) -> f32 {
        f32::from_bits(self.small_share.load(Relaxed))
    }

    fn move_small_share(&self, by: f32) {
        let share = (self.small_share() + by).clamp(SMALL_SHARE_MIN, SMALL_SHARE_MAX);
        self.small_share.store(share.to_bits(), Relaxed);
    }
}

impl Writing<'_> {
    /// Makes room for `new`, whose key is not there, and gives it a turn. Without a bound nothing.
    pub(super) fn admit(&mut self, new: &Value, removed: &mut Removed) {
        let limit = self.limit();
        let Some(bound) = self.side.bound.as_deref_mut() else { return };
        let weight = new.footprint();
        let entries = self.table.len();
        let used = self.side.bytes;
        let capacity = bound.capacity(entries, used);
        let share = self.shared.small_share();
        let target = ((share * capacity as f32) as usize).max(1);

        let ghost = bound.ghosts.take(new.hash());
        if let Some((origin, distance)) = ghost
            && distance as f32 <= (NEAR * capacity as f32).max(1.0)
        {
            // All shards move one share: the step follows from the capacity of the whole cache.
            let whole = match self.shared.bounds.entries {
                Some(entries) => entries as f32,
                None => {
                    capacity as f32
                        * (self.shared.bounds.bytes.unwrap_or(0) / bound.bytes.max(1)) as f32
                }
            };
            let step = 0.5 * (1.0 / whole.max(1.0)).max(0.001);
            match origin {
                Origin::Main => self.shared.move_small_share(-step),
                Origin::Small if self.gate_is_open() => self.shared.move_small_share(step),
                Origin::Small => {}
            }
        }
        let Some(bound) = self.side.bound.as_deref_mut() else { return };
        let returns = match ghost {
            Some((Origin::Small, distance)) => distance as f32 <= WINDOW * capacity as f32,
            _ => false,
        };
        let room = 1.0 - share;
        let filling = (entries as f32) < room * bound.entries as f32
            && (used + weight) as f32 <= room * limit as f32;
        let mut to_main = returns || filling;

        let distance = ghost.map_or(0, |(_, distance)| distance);
        let mut first = true;
        while self.is_full(weight, limit) {
            let small = self.side.bound.as_deref().map_or(0, |bound| bound.small.len());
            let made = if std::mem::take(&mut first) && to_main && small <= target {
                let made = self.try_main(STEPS, distance, capacity, removed);
                to_main = made;
                made || self.evict(target, capacity, removed)
            } else {
                self.evict(target, capacity, removed)
            };
            if !made {
                break;
            }
        }
        if let Some(bound) = self.side.bound.as_deref_mut() {
            let to_main = to_main || std::mem::take(&mut bound.aged);
            bound.aged = false;
            bound.enqueue(new, if to_main { Origin::Main } else { Origin::Small });
        }
    }

    /// Evicts until the shard is within its bytes.
    pub(super) fn shrink(&mut self, removed: &mut Removed) {
        let limit = self.limit();
        if limit == usize::MAX {
            return;
        }
        while self.is_full_of(self.side.bytes, limit) && self.evict_any(removed) {}
        if self.table.is_empty() && self.is_full_of(0, limit) {
            // What its entries left behind is in the way of another shard's large one.
            self.give_up_structures();
        }
        self.settle();
    }

    /// Evicts one entry; false where there is none.
    pub(super) fn evict_any(&mut self, removed: &mut Removed) -> bool {
        let (entries, bytes) = (self.table.len(), self.side.bytes);
        let Some(bound) = self.side.bound.as_deref() else { return false };
        let capacity = bound.capacity(entries, bytes);
        let target = ((self.shared.small_share() * capacity as f32) as usize).max(1);
        self.evict(target, capacity, removed)
    }

    /// Whether one more entry of this weight would be too much.
    fn is_full(&self, weight: usize, limit: usize) -> bool {
        let most = self.side.bound.as_deref().map_or(usize::MAX, |bound| bound.entries);
        self.table.len() >= most
            || limit != usize::MAX && self.is_full_of(self.side.bytes + weight, limit)
    }

    pub(super) fn is_full_of(&self, bytes: usize, limit: usize) -> bool {
        bytes + self.side.structures(&self.table) > limit
    }

    /// The small queue grows only where main has something to give: it is empty, or one of the entries
    /// at its hand is unused.
    fn gate_is_open(&self) -> bool {
        let Some(bound) = self.side.bound.as_deref() else { return false };
        bound.main.len() == 0
            || bound
                .main
                .turns()
                .take(2 * GATE)
                .filter_map(|turn| resident(&self.table, turn, Origin::Main))
                .take(GATE)
                .any(|entry| uses(entry) == 0)
    }

    /// Moves main's hand by up to `steps` for a key of this reuse distance: true if an entry was evicted.
    /// Entries that were visited more recently than the key stop it.
    fn try_main(
        &mut self,
        steps: u32,
        distance: u32,
        capacity: usize,
        removed: &mut Removed,
    ) -> bool {
        let mut left = steps;
        while left > 0 {
            let Some(bound) = self.side.bound.as_deref_mut() else { return false };
            let Some(turn) = bound.main.front() else { return false };
            let age = bound.ghosts.clock().wrapping_sub(turn.mark);
            let Some(entry) = resident(&self.table, turn, Origin::Main) else {
                bound.main.pop(false);
                continue;
            };
            if (age as f32) < RECENCY * distance as f32 {
                return false;
            }
            left -= 1;
            bound.main.pop(true);
            match uses(entry) {
                0 => {
                    self.evict_at(turn, Origin::Main, capacity, removed);
                    return true;
                }
                uses => {
                    set_uses(entry, uses - 1);
                    bound.enqueue(entry, Origin::Main);
                }
            }
        }
        false
    }

    /// Evicts one entry; false where there is none. `target` is the length of the small queue.
    fn evict(&mut self, target: usize, capacity: usize, removed: &mut Removed) -> bool {
        let mut left = STEPS;
        loop {
            left = left.saturating_sub(1);
            let Some(bound) = self.side.bound.as_deref_mut() else { return false };
            let from_small =
                bound.small.len() > 0 && (bound.small.len() >= target || bound.main.len() == 0);
            let (queue, origin) = if from_small {
                (&mut bound.small, Origin::Small)
            } else {
                (&mut bound.main, Origin::Main)
            };
            let Some(turn) = queue.front() else { return false };
            let Some(entry) = resident(&self.table, turn, origin) else {
                queue.pop(false);
                left += 1;
                continue;
            };
            queue.pop(true);
            match uses(entry) {
                uses if uses > 0 && left > 0 => {
                    set_uses(entry, if from_small { 0 } else { uses - 1 });
                    bound.enqueue(entry, Origin::Main);
                }
                _ => {
                    self.evict_at(turn, origin, capacity, removed);
                    if from_small {
                        self.age_main(capacity, removed);
                    }
                    return true;
                }
            }
        }
    }

    /// Now and then main's hand moves on its own, so that what was popular once does not stay for ever.
    fn age_main(&mut self, capacity: usize, removed: &mut Removed) {
        let Some(bound) = self.side.bound.as_deref_mut() else { return };
        bound.until_ageing -= 1;
        if bound.until_ageing == 0 {
            bound.until_ageing = AGEING;
            let aged = self.try_main(1, 0, capacity, removed);
            if let Some(bound) = self.side.bound.as_deref_mut() {
                bound.aged = aged;
            }
        }
    }

    /// Takes the entry of a turn, which its queue has given up, out of the table.
    fn evict_at(&mut self, turn: Turn, queue: Origin, capacity: usize, removed: &mut Removed) {
        let at = |slot: &(super::store::Slot, _)| is_at(&slot.0, turn, queue);
        let Some((slot, _)) = self.table.remove_entry(spread(turn.hash), at) else { return };
        self.side.bytes -= slot.footprint();
        if let Some(bound) = self.side.bound.as_deref_mut() {
            bound.ghosts.put(turn.hash, queue, capacity);
        }
        removed.push(slot.0);
    }

    /// An entry was taken out of the table other than by eviction.
    pub(super) fn forget(&mut self, entry: &Value) {
        let Some(bound) = self.side.bound.as_deref_mut() else { return };
        let origin = origin(entry);
        let queue = if origin == Origin::Main { &mut bound.main } else { &mut bound.small };
        queue.forget();
        if queue.is_littered() {
            // The entries' new places are after all old ones, so no old slot is taken for a new one.
            for turn in queue.take_all() {
                if let Some(entry) = resident(&self.table, turn, origin) {
                    entry.set_place(queue.push(turn.hash, turn.mark));
                }
            }
        }
        self.settle();
    }
}

/// Checks that each entry has exactly one slot, in the queue and at the place that it notes.
#[cfg(test)]
pub(super) fn validate(table: &Table, bound: &Bound) {
    let mut found = 0;
    for (queue, origin) in [(&bound.small, Origin::Small), (&bound.main, Origin::Main)] {
        let live = queue.turns().filter(|turn| resident(table, *turn, origin).is_some()).count();
        assert_eq!(live, queue.len());
        found += live;
    }
    assert_eq!(found, table.len());
}
