//! The breaker between a Hybrid and its L2: after a few failures in a row L2 is left alone, and one
//! background probe at a time finds the way back, so that a dead server costs a memory access, not a
//! timeout.
//!
//! # Protocol
//! `allows` is asked before each leg to L2; `failed` and `succeeded` report how it ended. The
//! `breaker_failures`-th failure in a row opens the breaker; whoever opened it starts the one prober
//! (`watch.rs`), which closes it when L2 answers and has what waits in the queue. A success of a leg that
//! began before the opening does not close it: only the prober does, so that a late reply cannot make it
//! flap. While the queue is delivered reads are let through already (`lets_read`): what has been delivered is
//! no longer in the queue, and L1 may have let go of it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// The breaker of one Hybrid.
#[derive(Debug)]
pub(super) struct Breaker {
    open: AtomicBool,
    /// Open, but L2 answers.
    answers: AtomicBool,
    failures: AtomicU32,
    threshold: u32,
}

impl Breaker {
    pub(super) fn new(threshold: u32) -> Self {
        Self {
            open: AtomicBool::new(false),
            answers: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            threshold: threshold.max(1),
        }
    }

    /// Whether L2 may be asked.
    pub(super) fn allows(&self) -> bool {
        !self.open.load(SeqCst)
    }

    /// Whether L2 may be asked by a read.
    pub(super) fn lets_read(&self) -> bool {
        self.allows() || self.answers.load(SeqCst)
    }

    /// The prober had an answer, or had none after that.
    pub(super) fn answers(&self, answers: bool) {
        self.answers.store(answers, SeqCst);
    }

    /// A leg to L2 failed; true if this opened the breaker.
    pub(super) fn failed(&self) -> bool {
        self.answers(false);
        let failures = self.failures.fetch_add(1, SeqCst).saturating_add(1);
        failures >= self.threshold && self.trip()
    }

    /// Opens the breaker at once; true if it was closed.
    pub(super) fn trip(&self) -> bool {
        !self.open.swap(true, SeqCst)
    }

    /// A leg to L2 succeeded.
    pub(super) fn succeeded(&self) {
        // Read first: the usual success writes nothing that other threads share.
        if self.failures.load(SeqCst) != 0 {
            self.failures.store(0, SeqCst);
        }
    }

    /// L2 answers again; true if the breaker was open.
    pub(super) fn close(&self) -> bool {
        self.failures.store(0, SeqCst);
        let was_open = self.open.swap(false, SeqCst);
        self.answers(false);
        was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_at_the_threshold_and_only_in_a_row() {
        let breaker = Breaker::new(3);
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.allows());
        assert!(breaker.failed());
        assert!(!breaker.allows());
        assert!(!breaker.failed(), "it opens once");
    }

    #[test]
    fn only_close_closes() {
        let breaker = Breaker::new(1);
        assert!(breaker.trip());
        breaker.succeeded();
        assert!(!breaker.allows());
        assert!(breaker.close());
        assert!(breaker.allows());
        assert!(!breaker.close());
    }

    #[test]
    fn reads_pass_while_the_prober_has_answers() {
        let breaker = Breaker::new(1);
        assert!(breaker.lets_read());
        assert!(breaker.failed() && !breaker.lets_read());
        breaker.answers(true);
        assert!(breaker.lets_read() && !breaker.allows());
        assert!(!breaker.failed());
        assert!(!breaker.lets_read(), "it has failed again");
        breaker.answers(true);
        assert!(breaker.close() && breaker.lets_read());
        assert!(breaker.trip() && !breaker.lets_read());
    }
}
