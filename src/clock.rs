//! The library's time: milliseconds of a coarse monotonic clock (at most 4 ms behind), read in a few
//! nanoseconds without a system call. Setting the wall clock neither revives nor kills an entry.

/// Milliseconds since an arbitrary point before the process's first call, never 0.
#[inline]
pub(crate) fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec, and the clock exists on every supported Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    // One is added so that 0 stays free as a mark.
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000 + 1
}
