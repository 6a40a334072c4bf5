//! The text is read back by a strict parser of the format.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::*;
use crate::fork;

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Parsed {
    /// Name and type of each family.
    families: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Parsed {
    /// The only sample of this name with these labels among others.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |own: &Labels| {
            labels.iter().all(|(label, value)| own.get(*label).is_some_and(|own| own == value))
        };
        let mut found = self.samples.iter().filter(|(own, labels, _)| own == name && has(labels));
        let value = found.next()?.2;
        assert!(found.next().is_none(), "{name} {labels:?} is there twice");
        Some(value)
    }
}

/// Reads the text, and refuses what the format does not allow.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut helped, mut current, mut seen) = (None, String::new(), HashSet::new());
    assert!(text.ends_with('\n') && !text.contains('\r'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'));
            assert!(is_name(name) && !parsed.families.contains_key(name), "{name} twice");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped.take().as_deref(), Some(name), "a type follows its help");
            assert!(["counter", "gauge", "histogram"].contains(&kind));
            assert_eq!(name.ends_with("_total"), kind == "counter");
            parsed.families.insert(name.to_owned(), kind.to_owned());
            current = name.to_owned();
        } else {
            assert!(helped.is_none() && !line.starts_with('#'));
            let (name, labels, value) = sample(line);
            let family = match parsed.families[&current].as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .expect("an end of a histogram"),
                _ => &name,
            };
            assert_eq!(family, current, "samples follow their type");
            assert!(seen.insert((name.clone(), labels.clone())), "{line} is there twice");
            parsed.samples.push((name, labels, value));
        }
    }
    parsed
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (name, rest) = line.split_once('{').unwrap();
    assert!(is_name(name));
    let (mut labels, mut rest) = (Labels::new(), rest);
    loop {
        let (label, quoted) = rest.split_once("=\"").unwrap();
        assert!(is_name(label) && !label.contains(':'));
        let (mut value, mut characters) = (String::new(), quoted.char_indices());
        let end = loop {
            match characters.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().unwrap().1 {
                    '\\' => '\\',
                    '"' => '"',
                    'n' => '\n',
                    other => panic!("\\{other} is no escape"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(label.to_owned(), value).is_none());
        rest = &quoted[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").unwrap();
    (name.to_owned(), labels, value.parse().unwrap())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

fn stats() -> CacheStats {
    CacheStats {
        size: 1,
        bytes: 2,
        hits: 30,
        misses: 10,
        sets: 5,
        deletes: 6,
        evictions: 7,
        expirations: 8,
        l1_hits: 20,
        l2_hits: 9,
        backfills: 11,
        invalidations: 12,
        coalesced: 13,
        stale_served: 14,
        errors: 15,
        queued_writes: 16,
        replayed_writes: 17,
        dropped_writes: 18,
        degraded: true,
        ..CacheStats::default()
    }
    .rated()
}

fn rendered(kind: Kind, stats: &CacheStats) -> Parsed {
    parse(&render(kind, Some("main"), stats, &Durations::new()))
}

#[test]
fn a_local_cache_has_the_series_and_the_counters() {
    let parsed = rendered(Kind::Local, &stats());
    let get = |name| parsed.get(name, &[("cache", "main"), ("tier", "local")]);
    let expected = [
        ("cache_hits_total", 30.0),
        ("cache_misses_total", 10.0),
        ("cache_evictions_total", 7.0),
        ("cache_size_entries", 1.0),
        ("cache_hit_rate", 0.75),
        ("cache_size_bytes", 2.0),
        ("cache_sets_total", 5.0),
        ("cache_deletes_total", 6.0),
        ("cache_expirations_total", 8.0),
        ("cache_coalesced_total", 13.0),
        ("cache_stale_served_total", 14.0),
        ("cache_errors_total", 15.0),
        ("cache_dropped_events_total", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(get(name), Some(value), "{name}");
    }
    assert_eq!(parsed.samples.len(), expected.len());
    assert_eq!(parsed.families["cache_operation_duration_seconds"], "histogram");
}

#[test]
fn redis_has_no_size() {
    let parsed = rendered(Kind::Redis, &CacheStats { size: u64::MAX, ..stats() });
    assert_eq!(parsed.get("cache_size_entries", &[]), None);
    assert_eq!(parsed.families["cache_size_entries"], "gauge");
    assert_eq!(parsed.get("cache_hits_total", &[("tier", "redis")]), Some(30.0));
    assert_eq!(parsed.get("cache_evictions_total", &[("tier", "redis")]), Some(7.0));
}

#[test]
fn a_hybrid_has_its_tiers_and_the_whole() {
    let parsed = rendered(Kind::Hybrid, &stats());
    let get = |name, tier| parsed.get(name, &[("cache", "main"), ("tier", tier)]);
    let tiers = |name| [get(name, "hybrid"), get(name, "l1"), get(name, "l2")];
    assert_eq!(tiers("cache_hits_total"), [Some(30.0), Some(20.0), Some(9.0)]);
    assert_eq!(tiers("cache_misses_total"), [Some(10.0), Some(20.0), None]);
    assert_eq!(tiers("cache_hit_rate"), [Some(0.75), Some(0.5), None]);
    let of_l1 = [
        ("cache_size_entries", 1.0),
        ("cache_evictions_total", 7.0),
        ("cache_backfills_total", 11.0),
        ("cache_invalidations_total", 12.0),
    ];
    for (name, value) in of_l1 {
        assert_eq!(tiers(name), [None, Some(value), None], "{name}");
    }
    let of_all = [
        ("cache_sets_total", 5.0),
        ("cache_queued_writes", 16.0),
        ("cache_replayed_writes_total", 17.0),
        ("cache_dropped_writes_total", 18.0),
        ("cache_degraded", 1.0),
    ];
    for (name, value) in of_all {
        assert_eq!(tiers(name), [Some(value), None, None], "{name}");
    }
}

#[test]
fn nothing_yet_is_zero() {
    let parsed = rendered(Kind::Hybrid, &CacheStats::default());
    assert!(parsed.samples.iter().all(|(.., value)| *value == 0.0));
    let text = render(Kind::Local, None, &CacheStats::default(), &Durations::new());
    assert_eq!(parse(&text).get("cache_hits_total", &[("cache", "")]), Some(0.0));
}

#[test]
fn large_numbers_are_whole() {
    let text = render(
        Kind::Local,
        None,
        &CacheStats { hits: u64::MAX - 1, misses: 5, ..Default::default() },
        &Durations::new(),
    );
    assert!(text.contains("} 18446744073709551614\n"));
    parse(&text);
}

#[test]
fn names_are_escaped() {
    for name in ["a\"b", "back\\slash", "two\nlines", "ends\\", "{},=", "größe \u{1f980}", ""] {
        let text = render(Kind::Local, Some(name), &stats(), &Durations::new());
        assert_eq!(parse(&text).get("cache_hits_total", &[("cache", name)]), Some(30.0));
    }
}

#[test]
fn buckets_are_cumulative() {
    let durations = Durations::new();
    let times_ns = [0, 99, 100, 101, 300, 1_000_000, 7_000_000_000, 60_000_000_000];
    for ns in times_ns {
        durations.record(Operation::Get, Duration::from_nanos(ns));
    }
    durations.record(Operation::CompareAndSet, Duration::MAX);
    let parsed = parse(&render(Kind::Local, None, &stats(), &durations));
    let of_get = |end: &str, le: Option<&str>| {
        let labels = [("operation", "get"), ("tier", "local"), ("le", le.unwrap_or(""))];
        let count = if le.is_some() { 3 } else { 2 };
        parsed.get(&format!("cache_operation_duration_seconds{end}"), &labels[..count])
    };
    assert_eq!(of_get("_bucket", Some("0.0000001")), Some(3.0));
    assert_eq!(of_get("_bucket", Some("0.00000025")), Some(4.0));
    assert_eq!(of_get("_bucket", Some("0.0000005")), Some(5.0));
    assert_eq!(of_get("_bucket", Some("0.001")), Some(6.0));
    assert_eq!(of_get("_bucket", Some("10")), Some(7.0));
    assert_eq!(of_get("_bucket", Some("+Inf")), Some(8.0));
    assert_eq!(of_get("_count", None), Some(8.0));
    let sum = times_ns.iter().sum::<u64>() as f64 / 1e9;
    assert!((of_get("_sum", None).unwrap() - sum).abs() < 1e-9);

    let mut last = (0.0, 0.0);
    let mut buckets = 0;
    for (name, labels, value) in &parsed.samples {
        if name.ends_with("_bucket") && labels["operation"] == "get" {
            let le = labels["le"].replace("+Inf", "inf").parse::<f64>().unwrap();
            assert!(le > last.0 && *value >= last.1);
            last = (le, *value);
            buckets += 1;
        }
    }
    assert_eq!((buckets, last), (BOUNDS_NS.len() + 1, (f64::INFINITY, 8.0)));
    let other = [("operation", "compare_and_set")];
    assert_eq!(parsed.get("cache_operation_duration_seconds_count", &other), Some(1.0));
    assert_eq!(parsed.get("cache_operation_duration_seconds_count", &[("operation", "set")]), None);
}

#[test]
fn every_operation_has_a_row_and_a_name() {
    let durations = Durations::new();
    for operation in Operation::ALL {
        drop(durations.time(*operation));
    }
    let parsed = parse(&render(Kind::Redis, None, &stats(), &durations));
    for operation in Operation::ALL {
        let labels = [("operation", operation.name()), ("tier", "redis")];
        assert_eq!(
            parsed.get("cache_operation_duration_seconds_count", &labels),
            Some(1.0),
            "{operation:?}"
        );
    }
}

#[test]
fn one_in_about_a_thousand_is_timed_also_of_operations_that_alternate() {
    const ROUNDS: u64 = 200_000;
    let durations = Durations::new();
    let turn = [Operation::Get, Operation::Set, Operation::Get, Operation::Delete];
    for operation in turn.iter().cycle().take(turn.len() * ROUNDS as usize) {
        let _timing = durations.sample(&fork::enter(), *operation);
    }
    let count = |operation| durations.read(operation).0.iter().sum::<u64>();
    for (operation, share) in [(Operation::Get, 2), (Operation::Set, 1), (Operation::Delete, 1)] {
        let expected = share * ROUNDS / 1024;
        let counted = count(operation);
        assert!((expected / 2..expected * 2).contains(&counted), "{operation:?}: {counted}");
    }
}
