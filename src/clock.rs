//! The library's time: milliseconds of a coarse monotonic clock (at most 4 ms behind), read in a few
//! nanoseconds without a system call. Setting the wall clock neither revives nor kills an entry.

/// Milliseconds since an arbitrary point before the process's first call, never 0.
#[inline]
pub(crate) fn now_ms() -> u64 {
    let time = read();
    second_ms(&time) + time.tv_nsec as u64 / 1_000_000
}

/// Whether `at` is later than [`now_ms`]. Of most times the seconds tell.
#[inline]
pub(crate) fn is_ahead(at: u64) -> bool {
    let time = read();
    let second = second_ms(&time);
    at >= second + 1000 || at > second + time.tv_nsec as u64 / 1_000_000
}

#[inline]
fn read() -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec, and the clock exists on every supported Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time
}

/// The first millisecond of the second. One is added so that 0 stays free as a mark.
#[inline]
fn second_ms(time: &libc::timespec) -> u64 {
    time.tv_sec as u64 * 1000 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ahead_is_later_than_now() {
        for _ in 0..1000 {
            let before = now_ms();
            assert!(!is_ahead(before) && is_ahead(before + 60_000) && !is_ahead(0));
            // The second in which it is may be over, or the next one begin.
            for at in before.saturating_sub(2000)..before + 2000 {
                let ahead = is_ahead(at);
                assert!(if ahead { at > before } else { at <= now_ms() });
            }
        }
    }
}
