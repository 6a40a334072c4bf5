//! What all operations of a Hybrid share: the two tiers, the protocol's parts, and how the end of a leg
//! to L2 is judged. The steps of reads and writes are in `read.rs` and `write.rs`; they do no I/O.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use super::breaker::Breaker;
use super::protections::{Protection, Protections};
use super::queue::{Because, Queue};
use super::stripes::Stripes;
use super::tagged::Tagged;
use super::trust::Trust;
use super::watch;
use super::world::World;
use crate::config::{HybridOptions, Invalidation};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::fork;
use crate::local::LocalCache;
use crate::log::{self, Level};
use crate::metrics::Durations;
use crate::ops::{BlockingCache, Event, Ttls};
use crate::redis;
use crate::stats::{CacheStats, Counter, Counters};
use crate::value::Value;

/// The state of one Hybrid.
pub(super) struct Core<W: World> {
    pub(super) world: W,
    pub(super) l1: LocalCache,
    pub(super) l2: Option<W::Remote>,
    pub(super) stripes: Stripes,
    pub(super) trust: Trust,
    pub(super) breaker: Breaker,
    pub(super) queue: Queue,
    pub(super) tagged: Tagged,
    pub(super) flights: Flights<Option<Value>>,
    pub(super) counters: Counters,
    pub(super) durations: Durations,
    pub(super) options: HybridOptions,
    pub(super) ttls: Ttls,
    pub(super) max_value_bytes: usize,
    pub(super) protections: Protections,
    /// For the background, which holds the core weakly.
    pub(super) me: Weak<Self>,
    /// Whether a task replays the queue.
    pub(super) replaying: AtomicBool,
    /// What subscribers have been told of `degraded`.
    told: AtomicBool,
    /// Which process's tasks and writes the state speaks of; see [`Core::process`].
    process: AtomicU64,
}

/// What a core is made with.
pub(super) struct Parts<W: World> {
    pub(super) world: W,
    pub(super) l1: LocalCache,
    pub(super) l2: Option<W::Remote>,
    pub(super) options: HybridOptions,
    pub(super) ttls: Ttls,
    pub(super) max_value_bytes: usize,
    pub(super) stripes: usize,
    pub(super) protections: Protections,
}

/// How the end of a leg to L2 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// L2 is away, or can't take this now: L1 goes on alone. `landed`: it may have been executed.
    Away { landed: bool },
    /// L2's value can't be read; it may be overwritten.
    Corrupt,
    /// The caller has to hear of it.
    Fails,
}

impl<W: World> Core<W> {
    pub(super) fn new(parts: Parts<W>) -> Arc<Self> {
        let Parts { world, l1, l2, options, ttls, max_value_bytes, stripes, protections } = parts;
        let trust = match (&l2, options.invalidation) {
            (Some(_), Invalidation::Tracking | Invalidation::PubSub) => {
                Trust::unproven(options.watchdog, protections)
            }
            (Some(_), Invalidation::None) | (None, _) => Trust::unconditional(),
        };
        Arc::new_cyclic(|me| Self {
            world,
            stripes: Stripes::new(stripes, protections),
            trust,
            breaker: Breaker::new(options.breaker_failures),
            queue: Queue::new(options.replay_limit, options.replay_bytes, protections),
            tagged: Tagged::default(),
            flights: Flights::new(),
            counters: Counters::default(),
            durations: Durations::new(),
            ttls,
            max_value_bytes,
            protections,
            me: me.clone(),
            replaying: AtomicBool::new(false),
            // It opens degraded, and tells when that ends.
            told: AtomicBool::new(l2.is_some()),
            process: AtomicU64::new(settled(fork::generation())),
            l1,
            l2,
            options,
        })
    }

    /// Makes the state this process's own, once in each forked child; whoever comes meanwhile waits for
    /// the few stores that it takes.
    ///
    /// After a fork the parent's writes on their way and in the queue are not ours, its tasks do not run
    /// here, and invalidations were missed: what L1 holds is read again once. (The stream is taken up
    /// again by L2's first call.)
    #[inline]
    pub(super) fn process(&self) {
        if !self.is_settled() {
            self.adopt(fork::generation());
        }
    }

    /// Whether the state is this process's own.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.process.load(SeqCst) == settled(fork::generation())
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
                self.queue.forget();
                self.tagged.forget();
                self.replaying.store(false, SeqCst);
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

    /// L2, where it may be asked now. Takes the state over in a forked child.
    #[inline]
    pub(super) fn leg(&self) -> Option<&W::Remote> {
        self.process();
        self.l2.as_ref().filter(|_| self.breaker.allows())
    }

    /// As [`Core::leg`], for a read.
    #[inline]
    pub(super) fn reading_leg(&self) -> Option<&W::Remote> {
        self.process();
        self.l2.as_ref().filter(|_| self.breaker.lets_read())
    }

    /// Whether an entry of epoch `stamp` may be served without asking L2.
    #[inline]
    pub(super) fn vouches(&self, stamp: u32) -> bool {
        self.trust.holds(stamp, || self.world.now_ms())
    }

    /// Whether the invalidation stream is proven.
    pub(super) fn proven_now(&self) -> bool {
        self.trust.proven_now(|| self.world.now_ms())
    }

    /// Whether L2 is bypassed or the invalidation stream is unproven.
    pub(super) fn degraded(&self) -> bool {
        self.l2.is_some() && (!self.breaker.allows() || !self.proven_now())
    }

    /// Tells subscribers if `degraded` has changed.
    pub(super) fn announce(&self) {
        loop {
            let degraded = self.degraded();
            if self.told.swap(degraded, SeqCst) == degraded {
                return;
            }
            // Whoever changes it meanwhile either sees what was told here, or is seen by the next round.
            self.l1.emit(if degraded { Event::Degraded } else { Event::Recovered }, b"");
        }
    }

    /// Judges a failed leg and counts it. Opens the breaker where there were enough.
    pub(super) fn judge(&self, error: &Error) -> Verdict {
        self.counters.count(Counter::Errors);
        let verdict = match error.kind() {
            ErrorKind::Connect => Verdict::Away { landed: false },
            ErrorKind::Timeout => Verdict::Away { landed: true },
            ErrorKind::Server if redis::is_transient(error) => Verdict::Away { landed: false },
            ErrorKind::Corrupt => Verdict::Corrupt,
            _ => Verdict::Fails,
        };
        if matches!(verdict, Verdict::Away { .. }) && self.breaker.failed() {
            self.bypass(&error);
        }
        verdict
    }

    /// Has been opened: tells it, and looks for the way back.
    pub(super) fn bypass(&self, why: &dyn std::fmt::Display) {
        log::emit(
            Level::Warn,
            "hybrid",
            format_args!("L2 is bypassed until it answers again: {why}"),
        );
        self.announce();
        watch::probe(&self.me);
    }

    /// L1 lets go of `key`, because nobody knows any more whether L2 holds the same. What it held counts as
    /// last seen. True if L1 held something.
    pub(super) fn let_go(&self, key: &[u8], because: Because) -> bool {
        let Some(entry) = self.held(key) else { return self.l1.remove(key) };
        self.queue.remember(key, entry.value, because);
        self.l1.remove(key)
    }

    /// Another process has written or removed `key`.
    pub(super) fn forget(&self, key: &[u8]) {
        // In this order: a fill that has not seen the first is removed by the second.
        self.stripes.void(key);
        if self.let_go(key, Because::Told) {
            self.counters.count(Counter::Invalidations);
            self.l1.emit(Event::Invalidated, key);
        }
    }

    /// Somebody has emptied the server.
    pub(super) fn forget_all(&self) {
        if !self.protections.has(Protection::Flush) {
            return;
        }
        self.stripes.void_all();
        self.l1.doubt_tags();
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
            Verdict::Away { .. } | Verdict::Corrupt => Ok(alone()),
            Verdict::Fails => Err(error),
        }
    }

    /// Counts writes that L2 will not see.
    pub(super) fn count_dropped(&self, writes: usize, why: &str) {
        if writes > 0 {
            self.counters.add(Counter::DroppedWrites, writes as u64);
            log::emit(
                Level::Warn,
                "hybrid",
                format_args!("{writes} queued write(s) dropped: {why}"),
            );
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        let l1 = BlockingCache::stats(&self.l1).unwrap_or_default();
        let count = |counter| self.counters.get(counter);
        CacheStats {
            hits: count(Counter::L1Hits) + count(Counter::L2Hits),
            misses: count(Counter::Misses),
            sets: count(Counter::Sets),
            deletes: count(Counter::Deletes),
            l1_hits: count(Counter::L1Hits),
            l2_hits: count(Counter::L2Hits),
            coalesced: count(Counter::Coalesced),
            backfills: count(Counter::Backfills),
            invalidations: count(Counter::Invalidations),
            stale_served: count(Counter::StaleServed),
            errors: count(Counter::Errors),
            queued_writes: (self.queue.len() + self.tagged.len()) as u64,
            replayed_writes: count(Counter::ReplayedWrites),
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
