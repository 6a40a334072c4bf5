//! The counters of a cache in the text format of Prometheus (exposition format 0.0.4), and how long its
//! operations take.
//!
//! - `durations`: [`Durations`], what operations are timed with
//!
//! Left to others: counting (`stats`), and what of it a cache of each kind has.
//!
//! # Series
//! Each has the labels `cache` (the option `name`, empty without one) and `tier`: `local`, `redis`, or of
//! a Hybrid `hybrid` for the whole and `l1`, `l2` for what one of its tiers did. A read of a Hybrid is one
//! hit or one miss of `hybrid`, whichever tiers it asked. A sum over tiers counts twice.

mod durations;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use self::durations::BOUNDS_NS;
pub(crate) use self::durations::{Durations, Operation, Timing};
use crate::ops::Kind;
use crate::stats::CacheStats;

/// A family of series without a histogram.
struct Family {
    name: &'static str,
    is_counter: bool,
    help: &'static str,
    /// For which kinds it says anything.
    kinds: &'static [Kind],
    samples: fn(&Sample<'_>) -> Option<Number>,
}

/// What one line may be made from.
struct Sample<'a> {
    kind: Kind,
    tier: &'static str,
    stats: &'a CacheStats,
}

enum Number {
    Whole(u64),
    Ratio(f64),
}

const ALL: &[Kind] = &[Kind::Local, Kind::Redis, Kind::Hybrid];
const HYBRID: &[Kind] = &[Kind::Hybrid];

/// All of it, in the order of the text.
const FAMILIES: &[Family] = &[
    counter("cache_hits_total", "Reads that found a value.", ALL, |one| match one.tier {
        L1 => whole(one.stats.l1_hits),
        L2 => whole(one.stats.l2_hits),
        _ => whole(one.stats.hits),
    }),
    counter("cache_misses_total", "Reads that found none.", ALL, |one| match one.tier {
        L1 => whole(reads(one.stats) - one.stats.l1_hits.min(reads(one.stats))),
        L2 => None,
        _ => whole(one.stats.misses),
    }),
    counter("cache_evictions_total", "Entries that a bound pushed out.", ALL, |one| {
        one.of_this_process(one.stats.evictions)
    }),
    gauge(
        "cache_size_entries",
        "Live entries in this process. Nothing for Redis, where only a scan could tell.",
        ALL,
        |one| one.of_this_process(one.stats.size),
    ),
    gauge(
        "cache_hit_rate",
        "Hits / (hits + misses), 0 where there were none.",
        ALL,
        |one| match one.tier {
            L1 => Some(Number::Ratio(one.stats.l1_hits as f64 / reads(one.stats).max(1) as f64)),
            L2 => None,
            _ => Some(Number::Ratio(one.stats.hit_rate)),
        },
    ),
    gauge("cache_size_bytes", "Bytes held in this process: keys, values, overhead.", ALL, |one| {
        one.of_this_process(one.stats.bytes)
    }),
    counter("cache_sets_total", "Values stored.", ALL, |one| one.of_all(one.stats.sets)),
    counter("cache_deletes_total", "Values removed by a call.", ALL, |one| {
        one.of_all(one.stats.deletes)
    }),
    counter("cache_expirations_total", "Entries whose time was over.", ALL, |one| {
        one.of_this_process(one.stats.expirations)
    }),
    counter(
        "cache_coalesced_total",
        "Loads saved because another caller was loading already.",
        ALL,
        |one| one.of_all(one.stats.coalesced),
    ),
    counter("cache_stale_served_total", "Values served past their proven freshness.", ALL, |one| {
        one.of_all(one.stats.stale_served)
    }),
    counter("cache_errors_total", "Calls or legs to the server that failed.", ALL, |one| {
        one.of_all(one.stats.errors)
    }),
    counter("cache_backfills_total", "Values of L2 that were stored in L1.", HYBRID, |one| {
        one.of_this_process(one.stats.backfills)
    }),
    counter(
        "cache_invalidations_total",
        "Entries that another process's write removed from L1.",
        HYBRID,
        |one| one.of_this_process(one.stats.invalidations),
    ),
    gauge("cache_queued_writes", "Writes that wait for the server.", HYBRID, |one| {
        one.of_all(one.stats.queued_writes)
    }),
    counter(
        "cache_replayed_writes_total",
        "Queued writes that reached the server later.",
        HYBRID,
        |one| one.of_all(one.stats.replayed_writes),
    ),
    counter("cache_dropped_writes_total", "Writes that never reached the server.", HYBRID, |one| {
        one.of_all(one.stats.dropped_writes)
    }),
    counter(
        "cache_dropped_events_total",
        "Events that came faster than their subscribers heard them.",
        ALL,
        |one| one.of_all(one.stats.dropped_events),
    ),
    gauge("cache_degraded", "1 while L2 is bypassed or its stream unproven.", HYBRID, |one| {
        one.of_all(one.stats.degraded.into())
    }),
];

const L1: &str = "l1";
const L2: &str = "l2";

const DURATIONS: &str = "cache_operation_duration_seconds";

/// The text. `name` is the cache's, which a label escapes.
pub(crate) fn render(
    kind: Kind,
    name: Option<&str>,
    stats: &CacheStats,
    durations: &Durations,
) -> String {
    let cache = Escaped(name.unwrap_or_default());
    let tiers: &[&str] = match kind {
        Kind::Local => &["local"],
        Kind::Redis => &["redis"],
        Kind::Hybrid => &["hybrid", L1, L2],
    };
    let mut text = String::with_capacity(8 << 10);
    // Writing to a string can't fail.
    for family in FAMILIES.iter().filter(|family| family.kinds.contains(&kind)) {
        let kind_of_series = if family.is_counter { "counter" } else { "gauge" };
        let Family { name, help, samples, .. } = family;
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind_of_series}\n");
        for tier in tiers {
            if let Some(number) = samples(&Sample { kind, tier, stats }) {
                let _ = writeln!(text, "{name}{{cache=\"{cache}\",tier=\"{tier}\"}} {number}");
            }
        }
    }
    let _ = write!(
        text,
        "# HELP {DURATIONS} How long operations took. Those in memory are sampled.\n\
         # TYPE {DURATIONS} histogram\n"
    );
    for operation in Operation::ALL {
        write_histogram(&mut text, &cache, tiers[0], *operation, durations);
    }
    text
}

/// Operations that were not seen have no series.
fn write_histogram(
    text: &mut String,
    cache: &Escaped<'_>,
    tier: &str,
    operation: Operation,
    durations: &Durations,
) {
    let (buckets, sum) = durations.read(operation);
    let count: u64 = buckets.iter().sum();
    if count == 0 {
        return;
    }
    let labels = format!("cache=\"{cache}\",tier=\"{tier}\",operation=\"{}\"", operation.name());
    let mut below = 0;
    for (bound, bucket) in BOUNDS_NS.iter().zip(buckets) {
        below += bucket;
        let bound = *bound as f64 / 1e9;
        let _ = writeln!(text, "{DURATIONS}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(text, "{DURATIONS}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{DURATIONS}_sum{{{labels}}} {}", sum.as_secs_f64());
    let _ = writeln!(text, "{DURATIONS}_count{{{labels}}} {count}");
}

impl Sample<'_> {
    /// Of the whole cache.
    fn of_all(&self, number: u64) -> Option<Number> {
        match self.tier {
            L1 | L2 => None,
            _ => whole(number),
        }
    }

    /// Of what lives in this process: of a Hybrid its L1, of Redis nothing.
    fn of_this_process(&self, number: u64) -> Option<Number> {
        match (self.kind, self.tier) {
            (Kind::Local, _) | (Kind::Hybrid, L1) => whole(number),
            // Redis evicts on its own, and its size is unknown; counters are there all the same.
            (Kind::Redis, _) if number != u64::MAX => whole(number),
            _ => None,
        }
    }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    kinds: &'static [Kind],
    samples: fn(&Sample<'_>) -> Option<Number>,
) -> Family {
    Family { name, is_counter: true, help, kinds, samples }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    kinds: &'static [Kind],
    samples: fn(&Sample<'_>) -> Option<Number>,
) -> Family {
    Family { name, is_counter: false, help, kinds, samples }
}

fn whole(number: u64) -> Option<Number> {
    Some(Number::Whole(number))
}

fn reads(stats: &CacheStats) -> u64 {
    stats.hits.saturating_add(stats.misses)
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Ratio(number) => write!(f, "{number}"),
        }
    }
}

/// The value of a label, as it stands between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
