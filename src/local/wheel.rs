//! Which entries of one shard are to be looked at when: the registrations of entries with a TTL, in
//! buckets by tick. Knows hashes and times only; the table is `store`'s.
//!
//! Time is cut into ticks. An entry is registered under a tick that is not after the one in which it
//! expires. If that is far ahead the tick is rounded down, by an eighth of the way at most, so that there
//! are never more than a few hundred buckets; when it comes due, the entry is registered again, nearer
//! to its end, which happens a few times in the longest life.
//!
//! A registration is not withdrawn when its entry goes or changes. An entry remembers the tick of its
//! own one, so that old ones are recognised when they come due, and an overwrite takes it over unless
//! it would come too late. [`Wheel::is_overfull`] says when the old ones prevail and the wheel should be
//! built anew: at a size, not at a time, so its cost is constant per registration.

use crate::error::{Error, ErrorKind, Result};
use crate::value::NEVER;

/// Buckets nearer than this many ticks are exact.
const NEAR: u32 = 64;
/// Room for registrations without entries.
const SLACK: usize = 64;

pub(super) struct Wheel {
    /// When tick 1 began, in milliseconds of the cache's clock. Tick 0 means "not registered".
    base: u64,
    /// Length of a tick in milliseconds.
    tick_ms: u64,
    /// By descending tick: the nearest is the last. No bucket is empty.
    buckets: Vec<(u32, Vec<u64>)>,
    registered: usize,
}

impl Wheel {
    pub(super) fn new(tick_ms: u64, now: u64) -> Self {
        Self { base: now, tick_ms, buckets: Vec::new(), registered: 0 }
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

    /// Sees to it that an entry is registered in time. `tick` is that of its present registration, or 0.
    /// Returns the tick of the one that it has afterwards.
    pub(super) fn register(&mut self, tick: u32, hash: u64, at: u64, now: u64) -> Result<u32> {
        if at == NEVER || tick != 0 && tick <= self.tick_of(at) {
            return Ok(tick);
        }
        let tick = self.tick_for(at, now);
        self.push(tick, hash)?;
        Ok(tick)
    }

    /// Adds a registration.
    pub(super) fn push(&mut self, tick: u32, hash: u64) -> Result<()> {
        let bucket = match self.buckets.binary_search_by(|(other, _)| tick.cmp(other)) {
            Ok(found) => found,
            Err(place) => {
                self.buckets.try_reserve(1).map_err(no_memory)?;
                let mut hashes = Vec::new();
                hashes.try_reserve_exact(4).map_err(no_memory)?;
                self.buckets.insert(place, (tick, hashes));
                place
            }
        };
        let hashes = &mut self.buckets[bucket].1;
        if hashes.len() == hashes.capacity() {
            // By a quarter, not twofold: most of the memory beside the entries is here.
            hashes.try_reserve_exact((hashes.len() / 4).max(4)).map_err(no_memory)?;
        }
        hashes.push(hash);
        self.registered += 1;
        Ok(())
    }

    /// Takes up to `most` registrations of the nearest tick, if that is not after `last`.
    pub(super) fn take_due(&mut self, last: u32, most: usize) -> Option<(u32, Vec<u64>)> {
        let (tick, hashes) = self.buckets.last_mut().filter(|(tick, _)| *tick <= last)?;
        let tick = *tick;
        let taken = if hashes.len() <= most {
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

    /// Bytes on the heap.
    pub(super) fn footprint(&self) -> usize {
        let buckets = self.buckets.capacity() * size_of::<(u32, Vec<u64>)>();
        buckets + self.buckets.iter().map(|(_, hashes)| 8 * hashes.capacity()).sum::<usize>()
    }

    /// Whether `hash` is registered under `tick`, and the wheel is in order.
    #[cfg(test)]
    pub(super) fn validate(&self) -> std::collections::HashSet<(u32, u64)> {
        assert!(self.buckets.is_sorted_by(|a, b| a.0 > b.0), "ticks descend");
        assert!(self.buckets.iter().all(|(tick, hashes)| *tick > 0 && !hashes.is_empty()));
        assert_eq!(
            self.registered,
            self.buckets.iter().map(|(_, hashes)| hashes.len()).sum::<usize>()
        );
        self.buckets
            .iter()
            .flat_map(|(tick, hashes)| hashes.iter().map(|hash| (*tick, *hash)))
            .collect()
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
        for i in 0..100_000_u64 {
            let at = 1 + i * i * 300;
            let tick = wheel.register(0, i, at, 0).unwrap();
            assert!(tick <= wheel.tick_of(at));
        }
        assert_eq!(wheel.validate().len(), 100_000);
        assert!(wheel.buckets.len() < 400, "{} buckets", wheel.buckets.len());
    }

    #[test]
    fn due_ones_come_in_order_and_portions() {
        let mut wheel = Wheel::new(10, 0);
        for i in 0..100 {
            wheel.register(0, i, i * 10, 0).unwrap();
            wheel.register(0, i, i * 10, 0).unwrap();
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
        assert_eq!(wheel.tick_of(u64::MAX - 1), u32::MAX);
        assert_eq!(wheel.register(0, 1, NEVER, 0).unwrap(), 0);
        let tick = wheel.register(0, 1, u64::MAX - 1, 0).unwrap();
        assert!(tick > u32::MAX / 2);
        assert!(wheel.is_overfull(usize::MAX / 4, u64::from(u32::MAX)));
    }
}
