//! How long operations take: a histogram per operation, of relaxed atomics.
//!
//! Operations that take a round trip are all timed. To look at a clock twice would cost a local get as
//! much as the get, so of those in memory about one in 1,024 is timed: chosen by the number of the
//! thread's present section of the fork gate, which is counted anyway. The number is spread by a
//! multiplication, so that a program that does the same few operations in turn gets samples of each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::fork::Inside;

/// Upper bounds of the buckets, in nanoseconds: three per decade from a hit in memory to ten seconds.
pub(super) const BOUNDS_NS: [u64; 25] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The last one is for what is above all bounds.
const BUCKETS: usize = BOUNDS_NS.len() + 1;

macro_rules! operations {
    ($($operation:ident $name:literal,)*) => {
        /// What is timed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation {
            $($operation,)*
        }

        impl Operation {
            pub(super) const ALL: &[Self] = &[$(Self::$operation,)*];

            /// The label.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                }
            }
        }
    };
}

operations! {
    Get "get",
    Set "set",
    Delete "delete",
    Exists "exists",
    Clear "clear",
    GetMany "get_many",
    SetMany "set_many",
    DeleteMany "delete_many",
    Ttl "ttl",
    Expire "expire",
    Add "add",
    Replace "replace",
    CompareAndSet "compare_and_set",
    Incr "incr",
    DeletePrefix "delete_prefix",
    ForEachKey "foreach_key",
    InvalidateTag "invalidate_tag",
    GetOrLoad "get_or_load",
    Lock "lock",
    Warm "warm",
    Save "save",
    Load "load",
    Count "count",
    Ping "ping",
}

/// The histograms of one cache.
pub(crate) struct Durations(Box<[Histogram]>);

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// An operation that is being timed, until it is dropped.
#[must_use]
pub(crate) struct Timing<'a> {
    durations: &'a Durations,
    operation: Operation,
    start: Instant,
}

impl Durations {
    pub(crate) fn new() -> Self {
        Self(Operation::ALL.iter().map(|_| Histogram::default()).collect())
    }

    /// Times an operation in memory, if it is one of the few.
    #[inline]
    pub(crate) fn sample(&self, inside: &Inside, operation: Operation) -> Option<Timing<'_>> {
        if inside.is_sampled() { Some(self.time(operation)) } else { None }
    }

    /// Times an operation.
    #[cold]
    pub(crate) fn time(&self, operation: Operation) -> Timing<'_> {
        Timing { durations: self, operation, start: Instant::now() }
    }

    /// Notes that an operation took this long.
    pub(crate) fn record(&self, operation: Operation, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let histogram = &self.0[operation as usize];
        histogram.buckets[BOUNDS_NS.partition_point(|bound| *bound < ns)].fetch_add(1, Relaxed);
        histogram.sum_ns.fetch_add(ns, Relaxed);
    }

    /// How many took at most each bound (and more than the one before), and how long all together.
    pub(super) fn read(&self, operation: Operation) -> ([u64; BUCKETS], Duration) {
        let histogram = &self.0[operation as usize];
        let buckets = histogram.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        (buckets, Duration::from_nanos(histogram.sum_ns.load(Relaxed)))
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.durations.record(self.operation, self.start.elapsed());
    }
}
