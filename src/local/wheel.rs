//! Which entries of one shard are to be looked at when: the registrations of entries with a TTL, in
//! buckets by tick. Knows hashes and times only; the table is `store`'s.
//!
//! Time is cut into ticks. An entry is registered under a tick that is not after the one in which it
//! expires. If that is far ahead the tick is rounded down, by an eighth of the way at most, so that there
//! are never more than a few hundred buckets; when it comes due, the entry is registered again, nearer
//! to its end, which happens a few times in the longest life.
//!
//! A registration is the hash of its entry. It is not withdrawn when its entry goes or changes; who looks
//! it up when it comes due finds an entry that has expired, or one that has not and is registered again,
//! or none. An entry that gets a later expiry keeps its registration. [`Wheel::is_overfull`] says when
//! those without an entry prevail and the wheel should be built anew: at a size, not at a time, so its
//! cost is constant per registration.
//!
//! # Invariant
//! For each entry with an expiry there is a registration of its hash under a tick that is not after the
//! tick of the expiry. (But one that found no memory to be registered again is left without: it is
//! absent when it expires all the same, and freed when it is overwritten.)

use crate::error::{Error, ErrorKind, Result};
use crate::value::NEVER;

/// Buckets nearer than this many ticks are exact.
const NEAR: u32 = 64;
/// Room for registrations without entries.
const SLACK: usize = 64;

pub(super) struct Wheel {
    /// When tick 1 began, in milliseconds of the cache's clock.
    base: u64,
    /// Length of a tick in milliseconds.
    tick_ms: u64,
    /// By descending tick: the nearest is the last. No bucket is empty.
    buckets: Vec<(u32, Vec<u32>)>,
    registered: usize,
    /// Bytes of the buckets' hashes.
    heap: usize,
}

impl Wheel {
    pub(super) fn new(tick_ms: u64, now: u64) -> Self {
        Self { base: now, tick_ms, buckets: Vec::new(), registered: 0, heap: 0 }
    }

    /// The tick in which `at` lies. The last tick stands for all later times as well.
    pub(super) fn tick_of(&self, at: u64) -> u32 {
        let ticks = at.saturating_sub(self.base) / self.tick_ms;
        u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The tick under which an entry that expires `at` is registered at `now`.
    pub(super) fn tick_for(&self, at: u64, now: u64) -> u32 {
        let exact = self.tick_of(at);
        let ahead = exact.saturating_sub(self.tick_of(now));
        if ahead < NEAR { exact } else { exact & !((1 << (ahead.ilog2() - 3)) - 1) }
    }

    /// Sees to it that an entry whose expiry changes to `at` is registered in time. `old` is its expiry
    /// up to now; [`NEVER`] also where it is new.
    #[inline]
    pub(super) fn register(&mut self, hash: u32, old: u64, at: u64, now: u64) -> Result<()> {
        if self.is_registered(old, at) { Ok(()) } else { self.push(self.tick_for(at, now), hash) }
    }

    /// Whether [`Wheel::register`] has nothing to do.
    #[inline(always)]
    pub(super) fn is_registered(&self, old: u64, at: u64) -> bool {
        at == NEVER || old <= at || old != NEVER && self.is_tick_before(old, at)
    }

    #[inline(never)]
    fn is_tick_before(&self, old: u64, at: u64) -> bool {
        self.tick_of(old) <= self.tick_of(at)
    }

    /// Adds a registration.
    pub(super) fn push(&mut self, tick: u32, hash: u32) -> Result<()> {
        let bucket = match self.buckets.binary_search_by(|(other, _)| tick.cmp(other)) {
            Ok(found) => found,
            Err(place) => {
                self.buckets.try_reserve(1).map_err(no_memory)?;
                let mut hashes = Vec::new();
                hashes.try_reserve_exact(4).map_err(no_memory)?;
                self.heap += 4 * hashes.capacity();
                self.buckets.insert(place, (tick, hashes));
                place
            }
        };
        let hashes = &mut self.buckets[bucket].1;
        if hashes.len() == hashes.capacity() {
            // By a quarter, not twofold: most of the memory beside the entries is here.
            let before = hashes.capacity();
            hashes.try_reserve_exact((hashes.len() / 4).max(4)).map_err(no_memory)?;
            self.heap += 4 * (hashes.capacity() - before);
        }
        hashes.push(hash);
        self.registered += 1;
        Ok(())
    }

    /// Takes up to `most` registrations of the nearest tick, if that is not after `last`.
    pub(super) fn take_due(&mut self, last: u32, most: usize) -> Option<(u32, Vec<u32>)> {
        let (tick, hashes) = self.buckets.last_mut().filter(|(tick, _)| *tick <= last)?;
        let tick = *tick;
        let taken = if hashes.len() <= most {
            self.heap -= 4 * hashes.capacity();
            self.buckets.pop().map(|(_, hashes)| hashes)?
        } else {
            hashes.split_off(hashes.len() - most)
        };
        self.registered -= taken.len();
        Some((tick, taken))
    }

    /// Whether anything is registered under `last` or before.
    pub(super) fn is_due(&self, last: u32) -> bool {
        self.buckets.last().is_some_and(|(tick, _)| *tick <= last)
    }

    /// The last tick that is over, or with `present` the one that is not.
    pub(super) fn last_tick(&self, now: u64, present: bool) -> u32 {
        self.tick_of(now) - u32::from(!present)
    }

    /// Whether nothing is registered.
    pub(super) fn is_empty(&self) -> bool {
        self.registered == 0
    }

    /// Whether, beside `entries` entries, too many registrations are there without an entry, or the
    /// ticks are about to run out.
    pub(super) fn is_overfull(&self, entries: usize, now: u64) -> bool {
        self.registered > 2 * entries + SLACK || self.tick_of(now) > u32::MAX / 2
    }

    /// An empty wheel with ticks of the same length.
    pub(super) fn renewed(&self, now: u64) -> Self {
        Self::new(self.tick_ms, now)
    }

    /// Forgets all registrations.
    pub(super) fn clear(&mut self) {
        self.buckets = Vec::new();
        (self.registered, self.heap) = (0, 0);
    }

    /// Bytes on the heap.
    #[inline]
    pub(super) fn footprint(&self) -> usize {
        self.buckets.capacity() * size_of::<(u32, Vec<u32>)>() + self.heap
    }

    /// The first tick under which each hash is registered; and checks that the wheel is in order.
    #[cfg(test)]
    pub(super) fn validate(&self) -> std::collections::HashMap<u32, u32> {
        assert!(self.buckets.is_sorted_by(|a, b| a.0 > b.0), "ticks descend");
        assert!(self.buckets.iter().all(|(tick, hashes)| *tick > 0 && !hashes.is_empty()));
        let heap = self.buckets.iter().map(|(_, hashes)| 4 * hashes.capacity()).sum::<usize>();
        assert_eq!(self.heap, heap);
        let registered = self.buckets.iter().map(|(_, hashes)| hashes.len()).sum::<usize>();
        assert_eq!(self.registered, registered);
        // Ticks descend: the first one is inserted last.
        let all =
            self.buckets.iter().flat_map(|(tick, hashes)| hashes.iter().map(|hash| (*hash, *tick)));
        all.collect()
    }
}

#[cold]
fn no_memory(_: std::collections::TryReserveError) -> Error {
    Error::new(ErrorKind::NoMemory, "no memory to register an expiry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_never_late_and_at_most_an_eighth_early() {
        let wheel = Wheel::new(500, 1_000);
        for now in [1_000, 1_499, 77_777, 9_000_000] {
            for after in (0..40).map(|bits| (1_u64 << bits) + 13) {
                let (tick, exact) = (wheel.tick_for(now + after, now), wheel.tick_of(now + after));
                let ahead = exact - wheel.tick_of(now);
                assert!(tick <= exact && exact - tick <= ahead / 8, "{now} {after}");
            }
        }
    }

    #[test]
    fn there_are_few_buckets() {
        let mut wheel = Wheel::new(1, 0);
        for i in 0..100_000_u32 {
            let at = 1 + u64::from(i) * u64::from(i) * 300;
            wheel.register(i, NEVER, at, 0).unwrap();
        }
        assert_eq!(wheel.validate().len(), 100_000);
        assert!(wheel.buckets.len() < 400, "{} buckets", wheel.buckets.len());
    }

    #[test]
    fn only_an_earlier_expiry_is_registered_anew() {
        let mut wheel = Wheel::new(10, 0);
        for (old, at, registered) in [
            (NEVER, 1000, 1),
            (1000, 1000, 1),
            (1000, 500_000, 1),
            (1000, NEVER, 1),
            (1009, 1001, 1),
            (500_000, 400, 2),
            (400, 399, 3),
            (NEVER, NEVER, 3),
        ] {
            wheel.register(7, old, at, 0).unwrap();
            assert_eq!(wheel.registered, registered, "{old} to {at}");
        }
    }

    #[test]
    fn due_ones_come_in_order_and_portions() {
        let mut wheel = Wheel::new(10, 0);
        for i in 0..100 {
            wheel.register(i, NEVER, u64::from(i) * 10, 0).unwrap();
            wheel.register(i, NEVER, u64::from(i) * 10, 0).unwrap();
        }
        assert!(!wheel.is_due(0) && wheel.is_due(1));
        let mut last = 0;
        let mut taken = 0;
        while let Some((tick, hashes)) = wheel.take_due(50, 1) {
            assert!(tick >= last && tick <= 50 && hashes.len() == 1);
            last = tick;
            taken += 1;
        }
        assert_eq!(taken, 100);
        wheel.validate();
    }

    #[test]
    fn far_times_share_the_last_tick() {
        let mut wheel = Wheel::new(1, 0);
        assert_eq!(wheel.tick_of(NEVER - 1), u32::MAX);
        wheel.register(1, NEVER, NEVER - 1, 0).unwrap();
        assert!(!wheel.is_due(u32::MAX / 2) && wheel.is_due(u32::MAX));
        assert!(wheel.is_overfull(usize::MAX / 4, u64::from(u32::MAX)));
    }
}
