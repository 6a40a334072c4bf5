//! Whether an L1 entry may be served without asking L2: the invalidation stream must be proven, and
//! must have been up since the entry was stored.
//!
//! # Protocol
//! Every entry of L1 carries the *epoch* in which its read or write began. Each new subscription begins
//! a new epoch, so that everything from before it, whose invalidations may have been missed, is read
//! again once. Within an epoch trust runs out by itself: a proof (an answer on the stream's connection
//! to something sent at `t`) is good until `t + watchdog + GRACE`, and each read judges that by the
//! clock, so that a silent stream is noticed even where no task of ours gets to run.
//!
//! # Invariants
//! 1. An entry is trusted only while every invalidation since its epoch began has been delivered, or at
//!    most `watchdog + GRACE` have passed since that was last known.
//! 2. Trust never returns to an older epoch: `subscribed` only raises it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::clock;

/// How long after a missed watchdog the last proof still counts.
const GRACE: Duration = Duration::from_millis(400);

/// Without a channel the only epoch is this, and it is trusted for ever.
const ALWAYS: u64 = u64::MAX;

/// The state of the invalidation stream.
#[derive(Debug)]
pub(super) struct Trust {
    epoch: AtomicU32,
    /// Coarse clock, milliseconds; 0 while there is no stream.
    until: AtomicU64,
    validity: Duration,
}

impl Trust {
    /// A stream that has not begun yet.
    pub(super) fn unproven(watchdog: Duration) -> Self {
        Self {
            epoch: AtomicU32::new(1),
            until: AtomicU64::new(0),
            validity: watchdog.saturating_add(GRACE),
        }
    }

    /// No stream: entries are trusted to the end of their TTL.
    pub(super) fn unconditional() -> Self {
        let trust = Self::unproven(Duration::ZERO);
        trust.until.store(ALWAYS, SeqCst);
        trust
    }

    /// The epoch to stamp on what begins now.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(SeqCst)
    }

    /// Whether an entry of epoch `stamp` may be served now.
    pub(super) fn holds(&self, stamp: u32) -> bool {
        stamp == self.epoch.load(SeqCst) && self.proven_now()
    }

    /// Whether the stream is proven.
    pub(super) fn proven_now(&self) -> bool {
        let until = self.until.load(SeqCst);
        until == ALWAYS || clock::now_ms() < until
    }

    /// A new subscription is in place: a new epoch, yet to be proven.
    pub(super) fn subscribed(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }

    /// The stream answered something that was sent at `sent_at`.
    pub(super) fn proven(&self, sent_at: Instant) {
        let left = self.validity.saturating_sub(sent_at.elapsed());
        let until = clock::now_ms().saturating_add(left.as_millis() as u64);
        if self.until.load(SeqCst) != ALWAYS {
            self.until.fetch_max(until, SeqCst);
        }
    }

    /// The stream is gone.
    pub(super) fn lost(&self) {
        if self.until.load(SeqCst) != ALWAYS {
            self.until.store(0, SeqCst);
        }
    }

    /// In a forked child there is no stream yet, and what L1 holds has to be read again once, also
    /// where there is no channel at all.
    pub(super) fn forked(&self) {
        self.epoch.fetch_add(1, SeqCst);
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_trusted_before_the_stream() {
        let trust = Trust::unproven(Duration::from_secs(1));
        assert!(!trust.holds(trust.epoch()));
    }

    #[test]
    fn a_subscription_trusts_only_what_comes_after_it() {
        let trust = Trust::unproven(Duration::from_secs(1));
        let before = trust.epoch();
        trust.subscribed();
        trust.proven(Instant::now());
        assert!(!trust.holds(before));
        assert!(trust.holds(trust.epoch()));
        trust.lost();
        assert!(!trust.holds(trust.epoch()));
        trust.subscribed();
        trust.proven(Instant::now());
        assert!(trust.holds(trust.epoch()));
    }

    #[test]
    fn a_proof_counts_from_its_sending_and_runs_out() {
        let trust = Trust::unproven(Duration::from_secs(1));
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(10)) else { return };
        trust.subscribed();
        trust.proven(long_ago);
        assert!(!trust.holds(trust.epoch()));
        trust.proven(Instant::now());
        assert!(trust.holds(trust.epoch()));
        // A late answer to an older probe takes nothing back.
        trust.proven(long_ago);
        assert!(trust.holds(trust.epoch()));
    }

    #[test]
    fn without_a_channel_trust_never_ends_but_a_fork_starts_anew() {
        let trust = Trust::unconditional();
        let before = trust.epoch();
        trust.lost();
        assert!(trust.holds(before));
        trust.forked();
        assert!(!trust.holds(before));
        assert!(trust.holds(trust.epoch()));
    }
}
