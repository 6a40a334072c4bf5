//! The hash of keys: keyed at random for each cache, so that nobody can craft keys that collide.
//!
//! ahash is made to resist flooding by keys that an attacker chooses, as its authors put it, where foldhash
//! and rapidhash, which are as quick, promise less; SipHash costs a look-up half as much again.

use std::hash::BuildHasher;

pub(crate) use ahash::RandomState;

/// A hasher with a key of its own, from the system's randomness.
pub(crate) fn keyed() -> RandomState {
    let random = std::hash::RandomState::new();
    let [a, b, c, d] = [0_u8, 1, 2, 3].map(|i| random.hash_one(i));
    RandomState::with_seeds(a, b, c, d)
}
