//! Random numbers of two kinds: of the operating system for what must be nobody else's, and quick ones for
//! what is only to be spread.

use std::cell::Cell;
use std::hash::BuildHasher;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of the operating system, drawn now: not even a forked child draws the same as its parent.
/// [`ErrorKind::Io`] where it gives none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Io, "the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// A number from 0 up to 1, without a system call. A forked child repeats its parent's, which does not
/// matter for spreading.
pub(crate) fn share() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    STATE.with(|state| {
        let mut x = state.get();
        if x == 0 {
            x = std::hash::RandomState::new().hash_one(0) | 1;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        (x >> 11) as f64 / (1_u64 << 53) as f64
    })
}

/// A TTL in milliseconds, shortened by a random share of up to `jitter`, 0 to 1. Only one of zero becomes
/// zero.
#[inline(always)]
pub(crate) fn shortened(ttl_ms: u64, jitter: f64) -> u64 {
    if jitter <= 0.0 { ttl_ms } else { shortened_at_random(ttl_ms, jitter) }
}

#[inline(never)]
fn shortened_at_random(ttl_ms: u64, jitter: f64) -> u64 {
    let less = (ttl_ms as f64 * jitter * share()) as u64;
    (ttl_ms - less.min(ttl_ms)).max(ttl_ms.min(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_are_shortened_within_bounds() {
        for ttl_ms in [0, 1, 2, 1000, u64::MAX] {
            assert_eq!(shortened(ttl_ms, 0.0), ttl_ms);
            for jitter in [0.1, 0.5, 1.0] {
                for _ in 0..1000 {
                    let short = shortened(ttl_ms, jitter);
                    let least = (ttl_ms as f64 * (1.0 - jitter)) as u64;
                    assert!(
                        short <= ttl_ms && short >= least.min(ttl_ms),
                        "{ttl_ms} {jitter}: {short}"
                    );
                    assert_eq!(short == 0, ttl_ms == 0);
                }
            }
        }
    }
}
