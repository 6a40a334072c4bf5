//! Counters: [`CacheStats`], the snapshot that users see, and [`Counters`], what the caches count with.
//!
//! A counter is striped over cache lines, one stripe for each of a few threads, because one shared
//! line would cost every hit a bounce between processors.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::fork::{self, Inside};

/// A snapshot of one cache's counters. Counts start when the cache is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Live entries; `u64::MAX` on Redis, where only a scan could tell. Of a Hybrid: L1's.
    pub size: u64,
    /// Bytes held in this process (keys, values and overhead).
    pub bytes: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values stored.
    pub sets: u64,
    /// Values removed by a call: those that were there, also by a TTL of zero, and by a clear (not of a Hybrid).
    pub deletes: u64,
    /// Entries that a bound pushed out.
    pub evictions: u64,
    /// Entries whose time was over.
    pub expirations: u64,
    /// Hybrid: hits that L1 answered.
    pub l1_hits: u64,
    /// Hybrid: hits that L2 answered.
    pub l2_hits: u64,
    /// Hybrid: values of L2 that were stored in L1.
    pub backfills: u64,
    /// Hybrid: entries that another process's write removed from L1.
    pub invalidations: u64,
    /// Loads that were saved because another caller was loading already.
    pub coalesced: u64,
    /// Values served past their proven freshness.
    pub stale_served: u64,
    /// Calls or legs to the server that failed.
    pub errors: u64,
    /// Hybrid: writes that wait for the server.
    pub queued_writes: u64,
    /// Hybrid: queued writes that reached the server later.
    pub replayed_writes: u64,
    /// Hybrid: writes that never reached the server.
    pub dropped_writes: u64,
    /// Events that came faster than their subscribers heard them.
    pub dropped_events: u64,
    /// Hybrid: L2 is bypassed, or the invalidation stream is unproven.
    pub degraded: bool,
    /// hits / (hits + misses), 0 where there were none.
    pub hit_rate: f64,
}

impl CacheStats {
    /// The same counters with the hit rate that follows from them.
    pub(crate) fn rated(mut self) -> Self {
        let reads = self.hits + self.misses;
        self.hit_rate = if reads == 0 { 0.0 } else { self.hits as f64 / reads as f64 };
        self
    }
}

/// What a cache counts. The order is that of the cells of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    Hits,
    Misses,
    Sets,
    Deletes,
    Evictions,
    Expirations,
    Coalesced,
    L1Hits,
    L2Hits,
    Backfills,
    Invalidations,
    StaleServed,
    Errors,
    DroppedWrites,
    ReplayedWrites,
}

const COUNTERS: usize = Counter::ReplayedWrites as usize + 1;
/// Stripes that belong to one thread each.
const OWNED: usize = 24;
/// Stripes that all other threads share.
const SHARED: usize = 8;

#[derive(Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTERS]);

/// One cache's counters.
///
/// Threads are told apart by their slot of the fork gate. The first few own a stripe, and count by a
/// plain load and store; further ones share stripes, and count by an atomic addition.
pub(crate) struct Counters([Stripe; OWNED + SHARED]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Stripe::default()))
    }
}

impl Counters {
    /// Adds one.
    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        self.add_inside(&fork::enter(), counter, n);
    }

    /// Adds one; for a thread that is inside the fork gate anyway.
    #[inline]
    pub(crate) fn count_inside(&self, inside: &Inside, counter: Counter) {
        self.add_inside(inside, counter, 1);
    }

    /// Adds `n`; for a thread that is inside the fork gate anyway.
    #[inline]
    pub(crate) fn add_inside(&self, inside: &Inside, counter: Counter, n: u64) {
        let thread = inside.thread_index();
        if thread < OWNED {
            let cell = &self.0[thread].0[counter as usize];
            cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
        } else {
            let stripe = OWNED + thread % SHARED;
            self.0[stripe].0[counter as usize].fetch_add(n, Relaxed);
        }
    }

    /// The sum over all stripes; exact when no thread is counting.
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0.iter().map(|stripe| stripe.0[counter as usize].load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_threads() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * (OWNED + SHARED) {
                scope.spawn(|| (0..1000).for_each(|_| counters.count(Counter::Hits)));
            }
        });
        assert_eq!(counters.get(Counter::Hits), 2 * (OWNED + SHARED) as u64 * 1000);
        assert_eq!(counters.get(Counter::Misses), 0);
    }

    #[test]
    fn hit_rate_of_nothing_is_zero() {
        assert_eq!(CacheStats::default().rated().hit_rate, 0.0);
        assert_eq!(CacheStats { hits: 3, misses: 1, ..Default::default() }.rated().hit_rate, 0.75);
    }
}
