//! Whether an L1 entry may be served without asking L2: the invalidation stream must be proven, and
//! must have been up since the entry was stored.
//!
//! # Protocol
//! Every entry of L1 carries the *epoch* in which its read or write began. Each new subscription begins
//! a new epoch, so that everything from before it, whose invalidations may have been missed, is read
//! again once. Within an epoch trust runs out by itself: a proof (an answer on the stream's connection
//! to something sent at `t`) is good until `t + watchdog + GRACE`, and each read judges that by the
//! clock, so that a silent stream is noticed even where no task of ours gets to run. Moments are
//! milliseconds of the Hybrid's clock, which the caller reads.
//!
//! # Invariants
//! 1. An entry is trusted only while every invalidation since its epoch began has been delivered, or at
//!    most `watchdog + GRACE` have passed since that was last known.
//! 2. Trust never returns to an older epoch: `subscribed` only raises it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::protections::{Protection, Protections};

/// How long after a missed watchdog the last proof still counts.
const GRACE: Duration = Duration::from_millis(400);

/// Without a channel the only epoch is this, and it is trusted for ever.
const ALWAYS: u64 = u64::MAX;

/// The state of the invalidation stream.
#[derive(Debug)]
pub(super) struct Trust {
    epoch: AtomicU32,
    /// 0 while there is no stream.
    until: AtomicU64,
    /// How long a proof is good, in milliseconds.
    validity: u64,
    protections: Protections,
}

impl Trust {
    /// A stream that has not begun yet.
    pub(super) fn unproven(watchdog: Duration, protections: Protections) -> Self {
        Self {
            epoch: AtomicU32::new(1),
            until: AtomicU64::new(0),
            validity: watchdog.saturating_add(GRACE).as_millis() as u64,
            protections,
        }
    }

    /// No stream: entries are trusted to the end of their TTL.
    pub(super) fn unconditional() -> Self {
        let trust = Self::unproven(Duration::ZERO, Protections::default());
        trust.until.store(ALWAYS, SeqCst);
        trust
    }

    /// The epoch to stamp on what begins now.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(SeqCst)
    }

    /// Whether an entry of epoch `stamp` may be served now.
    #[inline]
    pub(super) fn holds(&self, stamp: u32, now: impl FnOnce() -> u64) -> bool {
        stamp == self.epoch.load(SeqCst) && self.proven_now(now)
    }

    /// Whether the stream is proven.
    #[inline]
    pub(super) fn proven_now(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.until.load(SeqCst);
        until == ALWAYS
            || now() < until
            || until != 0 && !self.protections.has(Protection::Watchdog)
    }

    /// A new subscription is in place: a new epoch, yet to be proven.
    pub(super) fn subscribed(&self) {
        if self.protections.has(Protection::Epoch) {
            self.epoch.fetch_add(1, SeqCst);
        }
    }

    /// Begins a new epoch without a new stream: all that L1 holds has to be read again once.
    pub(super) fn renew(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }

    /// The stream answered something that was sent at `sent_at`.
    pub(super) fn proven(&self, sent_at: u64) {
        let until = sent_at.saturating_add(self.validity);
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
        self.renew();
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unproven() -> Trust {
        Trust::unproven(Duration::from_secs(1), Protections::default())
    }

    #[test]
    fn nothing_is_trusted_before_the_stream() {
        let trust = unproven();
        assert!(!trust.holds(trust.epoch(), || 1));
    }

    #[test]
    fn a_subscription_trusts_only_what_comes_after_it() {
        let trust = unproven();
        let before = trust.epoch();
        trust.subscribed();
        trust.proven(10);
        assert!(!trust.holds(before, || 10));
        assert!(trust.holds(trust.epoch(), || 10));
        trust.lost();
        assert!(!trust.holds(trust.epoch(), || 10));
        trust.subscribed();
        trust.proven(10);
        assert!(trust.holds(trust.epoch(), || 10));
    }

    #[test]
    fn a_proof_counts_from_its_sending_and_runs_out() {
        let trust = unproven();
        trust.subscribed();
        trust.proven(10);
        assert!(trust.holds(trust.epoch(), || 1409));
        assert!(!trust.holds(trust.epoch(), || 1410));
        trust.proven(1000);
        assert!(trust.holds(trust.epoch(), || 2399));
        // A late answer to an older probe takes nothing back.
        trust.proven(20);
        assert!(trust.holds(trust.epoch(), || 2399));
    }

    #[test]
    fn without_a_channel_trust_never_ends_but_a_fork_starts_anew() {
        let trust = Trust::unconditional();
        let before = trust.epoch();
        trust.lost();
        assert!(trust.holds(before, || u64::MAX));
        trust.forked();
        assert!(!trust.holds(before, || 1));
        assert!(trust.holds(trust.epoch(), || 1));
    }
}
