//! What all operations of a Hybrid share: the two tiers, the protocol's parts, and how the end of a leg
//! to L2 is judged. The steps of reads and writes are in `read.rs` and `write.rs`; they do no I/O, so
//! that blocking and asynchronous callers (and a simulation) drive the very same code.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::breaker::Breaker;
use super::stripes::Stripes;
use super::trust::Trust;
use super::watch;
use crate::config::{HybridOptions, Invalidation};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::local::LocalCache;
use crate::log::{self, Level};
use crate::metrics::Durations;
use crate::ops::BlockingCache;
use crate::redis::{self, RedisCache};
use crate::stats::{CacheStats, Counter, Counters};

/// The state of one Hybrid.
pub(super) struct Core {
    pub(super) l1: LocalCache,
    pub(super) l2: Option<RedisCache>,
    pub(super) stripes: Stripes,
    pub(super) trust: Trust,
    pub(super) breaker: Breaker,
    pub(super) counters: Counters,
    pub(super) durations: Durations,
    pub(super) options: HybridOptions,
    pub(super) default_ttl: Option<Duration>,
    pub(super) max_value_bytes: usize,
    /// For the prober, which holds the core weakly.
    pub(super) me: Weak<Self>,
    /// Which process's tasks and writes the state speaks of; see [`Core::process`].
    process: AtomicU64,
}

/// How the end of a leg to L2 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// L2 is away, or can't take this now: L1 goes on alone.
    Away,
    /// L2's value can't be read; it may be overwritten.
    Corrupt,
    /// The caller has to hear of it.
    Fails,
}

impl Core {
    pub(super) fn new(
        l1: LocalCache,
        l2: Option<RedisCache>,
        options: HybridOptions,
        default_ttl: Option<Duration>,
        max_value_bytes: usize,
    ) -> Arc<Self> {
        let trust = match (&l2, options.invalidation) {
            (Some(_), Invalidation::Tracking) => Trust::unproven(options.watchdog),
            (Some(_), Invalidation::None) | (None, _) => Trust::unconditional(),
        };
        Arc::new_cyclic(|me| Self {
            l1,
            l2,
            stripes: Stripes::new(),
            trust,
            breaker: Breaker::new(options.breaker_failures),
            counters: Counters::default(),
            durations: Durations::new(),
            options,
            default_ttl,
            max_value_bytes,
            me: me.clone(),
            process: AtomicU64::new(settled(fork::generation())),
        })
    }

    /// Makes the state this process's own, once in each forked child; whoever comes meanwhile waits for
    /// the few stores that it takes.
    ///
    /// After a fork the parent's writes on their way are not ours, its prober does not run here, and
    /// invalidations were missed: what L1 holds is read again once. (The stream is taken up again by
    /// L2's first call.)
    #[inline]
    pub(super) fn process(&self) {
        let now = fork::generation();
        if self.process.load(SeqCst) != settled(now) {
            self.adopt(now);
        }
    }

    #[cold]
    fn adopt(&self, now: u32) {
        loop {
            let seen = self.process.load(SeqCst);
            if seen == settled(now) {
                return;
            }
            if seen == adopting(now) {
                std::thread::yield_now();
            } else if self.process.compare_exchange(seen, adopting(now), SeqCst, SeqCst).is_ok() {
                self.trust.forked();
                self.stripes.forget_writes();
                self.breaker.close();
                self.process.store(settled(now), SeqCst);
                return;
            }
        }
    }

    /// L1's share of a TTL in milliseconds: never longer than `l1.max_ttl`.
    pub(super) fn l1_ttl(&self, ttl_ms: Option<u64>) -> Option<u64> {
        let max = self.options.l1_max_ttl.map(|max| max.as_millis() as u64);
        match (ttl_ms, max) {
            (Some(ttl), Some(max)) => Some(ttl.min(max)),
            (ttl, max) => ttl.or(max),
        }
    }

    /// L2, where it may be asked now.
    pub(super) fn reachable(&self) -> Option<&RedisCache> {
        self.l2.as_ref().filter(|_| self.breaker.allows())
    }

    /// Whether L2 is bypassed or the invalidation stream is unproven.
    pub(super) fn degraded(&self) -> bool {
        self.l2.is_some() && (!self.breaker.allows() || !self.trust.proven_now())
    }

    /// Judges a failed leg and counts it. Starts the prober where this opens the breaker.
    pub(super) fn judge(&self, error: &Error) -> Verdict {
        self.counters.count(Counter::Errors);
        let verdict = match error.kind() {
            ErrorKind::Connect | ErrorKind::Timeout => Verdict::Away,
            ErrorKind::Server if redis::is_transient(error) => Verdict::Away,
            ErrorKind::Corrupt => Verdict::Corrupt,
            _ => Verdict::Fails,
        };
        if verdict == Verdict::Away && self.breaker.failed() {
            log::emit(
                Level::Warn,
                "hybrid",
                format_args!("L2 is bypassed until it answers again: {error}"),
            );
            watch::probe(&self.me);
        }
        verdict
    }

    /// Another process has written or removed `key`.
    pub(super) fn forget(&self, key: &[u8]) {
        // In this order: a fill that has not seen the first is removed by the second.
        self.stripes.void(key);
        if self.l1.remove(key) {
            self.counters.count(Counter::Invalidations);
        }
    }

    /// Somebody has emptied the server.
    pub(super) fn forget_all(&self) {
        self.stripes.void_all();
        let removed = self.l1.remove_all();
        self.counters.add(Counter::Invalidations, removed);
    }

    /// L2 has answered a question that changes nothing in L1.
    pub(super) fn answered<T>(&self, answer: Result<T>) -> Result<T> {
        self.breaker.succeeded();
        answer
    }

    /// L2 has not answered such a question: L1 does, unless the caller has to hear of it.
    pub(super) fn unanswered<T>(&self, error: Error, alone: impl FnOnce() -> T) -> Result<T> {
        match self.judge(&error) {
            Verdict::Away | Verdict::Corrupt => Ok(alone()),
            Verdict::Fails => Err(error),
        }
    }

    /// Counts writes that L2 will not see, where there is one.
    pub(super) fn count_dropped(&self, writes: usize) {
        if self.l2.is_none() {
            return;
        }
        self.counters.add(Counter::DroppedWrites, writes as u64);
        log::emit(
            Level::Debug,
            "hybrid",
            format_args!("{writes} write(s) did not reach L2, which is away"),
        );
    }

    pub(super) fn stats(&self) -> CacheStats {
        let l1 = BlockingCache::stats(&self.l1).unwrap_or_default();
        let count = |counter| self.counters.get(counter);
        CacheStats {
            hits: count(Counter::Hits),
            misses: count(Counter::Misses),
            sets: count(Counter::Sets),
            deletes: count(Counter::Deletes),
            l1_hits: count(Counter::L1Hits),
            l2_hits: count(Counter::L2Hits),
            backfills: count(Counter::Backfills),
            invalidations: count(Counter::Invalidations),
            stale_served: count(Counter::StaleServed),
            errors: count(Counter::Errors),
            dropped_writes: count(Counter::DroppedWrites),
            degraded: self.degraded(),
            ..l1
        }
        .rated()
    }
}

fn settled(generation: u32) -> u64 {
    u64::from(generation) << 1
}

fn adopting(generation: u32) -> u64 {
    settled(generation) | 1
}
