//! Tokens that keep a read in flight from storing a value that was overtaken.
//!
//! # Protocol
//! Keys fall on stripes by a hash. A stripe is one atomic word: a sequence number and the count of this
//! process's writes that are on their way to L2.
//!
//! * A **write** (`begin_write`) raises both, before it touches L1. When L2 has answered (or the caller
//!   gave up), `finish` lowers the count.
//! * An **invalidation** from another process (`void`) raises the sequence, and then removes the key
//!   from L1.
//! * A **read** that misses takes a token before it asks L2 (`begin_read`) and may store L2's answer
//!   only if no write was on its way then and the sequence is unchanged now; this is judged under the
//!   L1 shard's lock, so that a `void` before it is seen and one after it removes what was stored.
//!
//! # Invariants
//! 1. A value read from L2 before a write of this process or an invalidation was known is never stored
//!    after it: each of those raises the sequence first.
//! 2. A value read while a write of this process is on its way is never stored: L2 may have answered
//!    with the old value, and no invalidation will come for our own write.
//! 3. Of writes that overlap, in whatever order L2 took them, the last to `finish` finds its stripe
//!    changed since it began, and its L1 entry has to go. One that finds no change was alone, or a later
//!    `finish` will find one: what it put into L1 is what L2 holds, unless a push says otherwise.
//!
//! Two keys of one stripe disturb each other only towards safety: a fill is refused, or an entry is
//! read again.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::protections::{Protection, Protections};
#[cfg(not(test))]
use crate::hash;
use crate::hash::RandomState;

/// The usual number of stripes.
pub(super) const STRIPES: usize = 4096;

/// One write on its way: the low bits of a stripe.
const WRITE: u64 = 1;
/// One step of the sequence: the high bits. 2^20 writes can be on their way at once.
const STEP: u64 = 1 << 20;
const WRITES: u64 = STEP - 1;

/// The stripes of one Hybrid.
pub(super) struct Stripes {
    words: Box<[AtomicU64]>,
    hasher: RandomState,
    protections: Protections,
}

/// Taken before L2 is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadToken(u64);

/// A write on its way. It must be given back by [`Stripes::finish`].
#[derive(Debug)]
#[must_use]
pub(super) struct WriteToken {
    stripe: usize,
    word: u64,
}

impl Stripes {
    pub(super) fn new(stripes: usize, protections: Protections) -> Self {
        let words = (0..stripes).map(|_| AtomicU64::new(0)).collect();
        // In the simulation the same keys share stripes in every run.
        #[cfg(test)]
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        #[cfg(not(test))]
        let hasher = hash::keyed();
        Self { words, hasher, protections }
    }

    fn stripe(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % self.words.len()
    }

    fn word(&self, key: &[u8]) -> &AtomicU64 {
        &self.words[self.stripe(key)]
    }

    pub(super) fn begin_read(&self, key: &[u8]) -> ReadToken {
        ReadToken(self.word(key).load(SeqCst))
    }

    /// Whether what was read since `token` may be stored.
    pub(super) fn may_fill(&self, key: &[u8], token: ReadToken) -> bool {
        let now = self.word(key).load(SeqCst);
        if !self.protections.has(Protection::Token) {
            return (token.0 | now) & WRITES == 0;
        }
        if !self.protections.has(Protection::WritesUnderWay) {
            return now & !WRITES == token.0 & !WRITES;
        }
        token.0 & WRITES == 0 && now == token.0
    }

    pub(super) fn begin_write(&self, key: &[u8]) -> WriteToken {
        let stripe = self.stripe(key);
        let word = self.words[stripe].fetch_add(STEP + WRITE, SeqCst) + STEP + WRITE;
        WriteToken { stripe, word }
    }

    /// As [`Stripes::begin_write`], if nothing happened on the key's stripe since `token` was taken, and
    /// no write was on its way then.
    pub(super) fn begin_write_after(&self, key: &[u8], token: ReadToken) -> Option<WriteToken> {
        let (stripe, word) = (self.stripe(key), token.0 + STEP + WRITE);
        let swap = || self.words[stripe].compare_exchange(token.0, word, SeqCst, SeqCst);
        (token.0 & WRITES == 0 && swap().is_ok()).then_some(WriteToken { stripe, word })
    }

    /// Whether anything else happened on the stripe of this write since it began, or happens now.
    pub(super) fn overlapped(&self, token: &WriteToken) -> bool {
        token.word & WRITES != WRITE || self.words[token.stripe].load(SeqCst) != token.word
    }

    /// Ends a write; true if nothing happened on its stripe since it began.
    pub(super) fn finish(&self, token: WriteToken) -> bool {
        let undisturbed = self.words[token.stripe].fetch_sub(WRITE, SeqCst) == token.word;
        undisturbed || !self.protections.has(Protection::Overlap)
    }

    /// Voids the tokens of reads of `key` in flight.
    pub(super) fn void(&self, key: &[u8]) {
        self.word(key).fetch_add(STEP, SeqCst);
    }

    /// Voids all tokens.
    pub(super) fn void_all(&self) {
        for word in &self.words {
            word.fetch_add(STEP, SeqCst);
        }
    }

    /// Begins a write of every key.
    pub(super) fn begin_write_all(&self) {
        for word in &self.words {
            word.fetch_add(STEP + WRITE, SeqCst);
        }
    }

    /// Ends what [`Stripes::begin_write_all`] began.
    pub(super) fn finish_all(&self) {
        for word in &self.words {
            word.fetch_sub(WRITE, SeqCst);
        }
    }

    /// Forgets all writes on their way: after a fork they are the parent's.
    pub(super) fn forget_writes(&self) {
        for word in &self.words {
            word.store((word.load(SeqCst) & !WRITES) + STEP, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undisturbed_read_fills() {
        let stripes = Stripes::new(STRIPES, Protections::default());
        let token = stripes.begin_read(b"k");
        assert!(stripes.may_fill(b"k", token));
    }

    #[test]
    fn invalidation_during_a_read_refuses_the_fill() {
        let stripes = Stripes::new(STRIPES, Protections::default());
        let token = stripes.begin_read(b"k");
        stripes.void(b"k");
        assert!(!stripes.may_fill(b"k", token));
        let token = stripes.begin_read(b"k");
        stripes.void_all();
        assert!(!stripes.may_fill(b"k", token));
    }

    #[test]
    fn a_read_beside_a_write_never_fills() {
        let stripes = Stripes::new(STRIPES, Protections::default());
        let before = stripes.begin_read(b"k");
        let write = stripes.begin_write(b"k");
        let during = stripes.begin_read(b"k");
        assert!(!stripes.may_fill(b"k", before));
        assert!(!stripes.may_fill(b"k", during));
        assert!(stripes.finish(write));
        assert!(!stripes.may_fill(b"k", before));
        assert!(!stripes.may_fill(b"k", during));
        let after = stripes.begin_read(b"k");
        assert!(stripes.may_fill(b"k", after));
    }

    #[test]
    fn the_last_of_two_overlapping_writes_finds_a_change() {
        let stripes = Stripes::new(STRIPES, Protections::default());
        let first = stripes.begin_write(b"k");
        let second = stripes.begin_write(b"k");
        assert!(stripes.finish(second));
        assert!(!stripes.finish(first));
        let first = stripes.begin_write(b"k");
        let second = stripes.begin_write(b"k");
        assert!(!stripes.finish(first));
        assert!(!stripes.finish(second));
        let alone = stripes.begin_write(b"k");
        assert!(stripes.finish(alone));
        let disturbed = stripes.begin_write(b"k");
        stripes.void(b"k");
        assert!(!stripes.finish(disturbed));
    }

    #[test]
    fn clear_is_a_write_of_every_key() {
        let stripes = Stripes::new(STRIPES, Protections::default());
        let token = stripes.begin_read(b"k");
        stripes.begin_write_all();
        let during = stripes.begin_read(b"k");
        let write = stripes.begin_write(b"k");
        stripes.finish_all();
        assert!(!stripes.finish(write));
        assert!(!stripes.may_fill(b"k", token));
        assert!(!stripes.may_fill(b"k", during));
        stripes.forget_writes();
        let token = stripes.begin_read(b"k");
        assert!(stripes.may_fill(b"k", token));
    }
}
