//! Random histories of all operations by several threads, each of which must be linearizable: some order
//! of the operations on a key explains what all of them answered.
//!
//! - `spec`: what each operation does and answers, one at a time
//! - `check`: the search for an order
//! - `targets`: what is called: the Rust API, the C functions, and caches that are wrong on purpose
//!
//! A seed decides on the operations and the keys, not on who comes first; so a failing seed is repeated many
//! times when it is asked for again:
//! ```sh
//! LC_SEED=17 cargo test --lib linearizable
//! ```
//! `SOAK_SECONDS` makes each test run for so long, on seeds that it has not used before.

mod check;
mod spec;
mod targets;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use self::check::EVENTS_MAX;
use self::spec::{Call, Event, Ms, NEVER, Out, Overlap, Rules, State, Stored, TEXT};
use self::targets::{Broken, Fault, Native, Rust, Target};
use super::*;

const THREADS: usize = 4;
const KEYS: usize = 3;
/// Parts of a history, between which the clock may move.
const PARTS: usize = 12;
/// Operations of each thread in a part.
const STEPS: usize = 6;
/// The unit of TTLs, much longer than a test, for what is saved ages by the wall clock.
const UNIT: Ms = 10_000_000;
/// How often a seed that is asked for is repeated.
const REPEATED: u64 = 2_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One call of a thread, on a key or on several.
#[derive(Clone, Debug)]
enum Operation {
    One(usize, Call),
    /// Without a key: the thread gives one of its locks back.
    Unlock,
    GetMany(Vec<usize>),
    SetMany(Vec<(usize, Stored)>),
    DeleteMany(Vec<usize>),
    DeletePrefix,
    Keys,
    Clear,
    Invalidate,
    Save,
    /// Those that change nothing: a sweep and a count.
    Sweep,
}

/// What a target can do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abilities {
    All,
    /// No expiry, tags, loaders, locks, files.
    Basic,
}

fn stored(random: &mut Random) -> Stored {
    let number = random.below(1000) as Stored;
    if random.below(4) == 0 { number | TEXT } else { number }
}

fn ttl(random: &mut Random, abilities: Abilities) -> Ms {
    match random.below(8) {
        0 => 0,
        n @ 1..4 if abilities == Abilities::All => n * UNIT,
        _ => NEVER,
    }
}

fn operation(random: &mut Random, abilities: Abilities) -> Operation {
    let key = random.below(KEYS as u64) as usize;
    let ttl = ttl(random, abilities);
    let value = stored(random);
    let all = abilities == Abilities::All;
    let some_keys = || (0..KEYS).collect::<Vec<_>>();
    let call = match random.below(if all { 60 } else { 40 }) {
        0..8 => Call::Get,
        8..14 => Call::Set { value, ttl, tagged: all && random.below(3) == 0 },
        14..17 => Call::Add { value, ttl },
        17..19 => Call::Replace { value, ttl },
        // One that may be there: few values.
        19..22 => Call::Swap { expected: value % 4, value: value % 3, ttl },
        22..27 => Call::Incr { delta: value % 5, ttl },
        27..32 => Call::Delete,
        32..34 => Call::Exists,
        34 => Call::Ttl,
        35 => Call::Expire { ttl },
        36 => return Operation::GetMany(some_keys()),
        37 => return Operation::SetMany(vec![(key, value), ((key + 1) % KEYS, value + 1)]),
        38 => return Operation::DeleteMany(vec![key]),
        39 => return Operation::Clear,
        40..43 => Call::Set { value: value % 3, ttl, tagged: false },
        43..46 => Call::Load { value },
        46..50 => Call::Acquire,
        50..53 => return Operation::Unlock,
        53 => return Operation::DeletePrefix,
        54 => return Operation::Keys,
        55 => return Operation::Invalidate,
        56 if random.below(10) == 0 => return Operation::Save,
        57 => Call::Expire { ttl },
        _ => return Operation::Sweep,
    };
    Operation::One(key, call)
}

/// What became of one history.
type Verdict = Result<(), String>;

/// Runs the history of `seed` on `target`, part by part, and looks for orders that explain it.
fn history(seed: u64, target: &impl Target, abilities: Abilities, bounded: bool) -> Verdict {
    let (ticks, events) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let barrier = Barrier::new(THREADS + 1);
    let mut states = vec![BTreeSet::from([State::default()]); KEYS];
    let mut random = Random::of(seed);
    let mut verdict = Ok(());
    let failed = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (ticks, events, barrier, failed) = (&ticks, &events, &barrier, &failed);
            let mut random = Random::of(seed ^ (thread + 1) << 48);
            scope.spawn(move || {
                let mut locks = targets::Held::default();
                for _ in 0..PARTS {
                    barrier.wait();
                    let mut own = Vec::new();
                    for _ in 0..STEPS {
                        let operation = operation(&mut random, abilities);
                        let start = ticks.fetch_add(1, SeqCst);
                        let outs = target.run(&operation, &mut locks);
                        let end = ticks.fetch_add(1, SeqCst);
                        own.extend(outs.into_iter().map(|(key, call, out)| {
                            (key, Event { call, out, start, end, overlap: Overlap::default() })
                        }));
                    }
                    events.lock().unwrap().extend(own);
                    barrier.wait();
                    barrier.wait();
                    if failed.load(SeqCst) != 0 {
                        return;
                    }
                }
            });
        }
        for part in 0..PARTS {
            barrier.wait();
            barrier.wait();
            let mut events = std::mem::take(&mut *events.lock().unwrap());
            mark_overlaps(&mut events);
            let rules = Rules { now: target.now(), bounded };
            for (key, states) in states.iter_mut().enumerate() {
                let of_key: Vec<Event> = events
                    .iter()
                    .filter(|(other, _)| *other == key)
                    .map(|(_, event)| event.clone())
                    .collect();
                let ends = check::ends(states, &of_key, rules);
                if ends.is_empty() && verdict.is_ok() {
                    verdict = Err(tell(seed, part, key, states, &of_key, rules));
                    failed.store(1, SeqCst);
                }
                *states = ends;
            }
            target.advance(random.below(3) * UNIT);
            barrier.wait();
            if verdict.is_err() {
                return;
            }
        }
    });
    verdict
}

fn mark_overlaps(events: &mut [(usize, Event)]) {
    let all = events.to_vec();
    for (key, event) in events {
        let beside = all.iter().filter(|(_, other)| {
            other.start < event.end && event.start < other.end && other.start != event.start
        });
        for (other_key, other) in beside {
            match other.call {
                Call::Invalidate => event.overlap.invalidation = true,
                Call::Load { value } if other_key == key => {
                    event.overlap.loads.push(value);
                    event.overlap.change = true;
                }
                Call::Get | Call::Exists | Call::Ttl | Call::Acquire | Call::Release { .. } => {}
                // A removal of another key voids loads too: they are told apart by their hashes only.
                Call::Delete | Call::Swap { .. } | Call::Expire { .. } | Call::Set { .. } => {
                    event.overlap.change = true;
                }
                _ => event.overlap.change |= other_key == key,
            }
        }
    }
}

fn tell(
    seed: u64,
    part: usize,
    key: usize,
    states: &BTreeSet<State>,
    events: &[Event],
    rules: Rules,
) -> String {
    let mut text = format!(
        "no order explains this; to repeat it: LC_SEED={seed} cargo test --lib linearizable\n\
         part {part}, key {key}, {rules:?}, before: {states:?}\n"
    );
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.start);
    for Event { call, out, start, end, .. } in events {
        let _ = writeln!(text, "{start:6} to {end:6}  {call:?} -> {out:?}");
    }
    text
}

/// Runs histories until the number of them, or the time of a soak, is over.
fn check_histories<T: Target>(
    count: u64,
    abilities: Abilities,
    bounded: bool,
    new: impl Fn() -> T,
) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let run = |seed| {
        if let Err(text) = history(seed, &new(), abilities, bounded) {
            panic!("{text}");
        }
    };
    if let Some(seed) = number("LC_SEED") {
        (0..REPEATED).for_each(|_| run(seed));
    } else if let Some(seconds) = number("SOAK_SECONDS") {
        let (start, mut random) = (Instant::now(), Random::of(seed_of_the_day()));
        let mut histories = 0_u64;
        while start.elapsed().as_secs() < seconds {
            run(random.next());
            histories += 1;
        }
        println!("{histories} histories of {} operations", THREADS * PARTS * STEPS);
    } else {
        (0..count).for_each(run);
    }
}

fn seed_of_the_day() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
}

#[test]
fn all_operations_are_linearizable() {
    check_histories(150, Abilities::All, false, || Rust::new(LocalOptions::default()));
}

#[test]
fn those_of_a_cache_that_is_full_are_too() {
    let options = || LocalOptions { max_entries: Some(2), ..LocalOptions::default() };
    check_histories(100, Abilities::All, true, || Rust::new(options()));
}

#[cfg(feature = "capi")]
#[test]
fn the_c_functions_are_too() {
    check_histories(100, Abilities::Basic, false, Native::open);
}

/// The test of the test: each fault is found by random histories.
#[test]
fn faults_are_found() {
    for fault in Fault::ALL {
        let found = (0..20_000).find_map(|seed| {
            history(seed, &Broken::new(fault), Abilities::Basic, false)
                .err()
                .map(|text| (seed, text))
        });
        let (seed, text) = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        assert!(text.contains(&format!("LC_SEED={seed} ")) && text.contains("part"), "{text}");
    }
}

fn event(call: Call, out: Out, start: u64, end: u64) -> Event {
    Event { call, out, start, end, overlap: Overlap::default() }
}

/// Histories by hand: one that has an order, and such as have none.
#[test]
fn an_order_is_found_where_there_is_one() {
    let set = |value| Call::Set { value, ttl: NEVER, tagged: false };
    let get = |value| (Call::Get, Out::Value(value));
    let judge = |events: &[(Call, Out, u64, u64)]| {
        let events: Vec<Event> =
            events.iter().map(|(call, out, start, end)| event(*call, *out, *start, *end)).collect();
        let begin = BTreeSet::from([State::default()]);
        !check::ends(&begin, &events, Rules { now: 5, bounded: false }).is_empty()
    };
    let at = |(call, out): (Call, Out), start, end| (call, out, start, end);
    let (one, two) = ((set(1), Out::Done), (set(2), Out::Done));
    let add = |was| (Call::Add { value: 9, ttl: NEVER }, Out::Was(was));
    let delete = |was| (Call::Delete, Out::Was(was));
    let incr = |sum| (Call::Incr { delta: 1, ttl: NEVER }, Out::Sum(Some(sum)));

    assert!(judge(&[]));
    assert!(judge(&[at(one, 0, 9), at(get(Some(1)), 1, 2), at(get(Some(1)), 3, 4)]));
    assert!(judge(&[at(one, 0, 9), at(get(None), 1, 2), at(get(Some(1)), 3, 4)]));
    assert!(!judge(&[at(one, 0, 9), at(get(Some(1)), 1, 2), at(get(None), 3, 4)]), "back again");
    assert!(!judge(&[at(one, 0, 1), at(two, 2, 3), at(get(Some(1)), 4, 5)]), "a stale read");
    assert!(judge(&[at(one, 0, 4), at(two, 2, 3), at(get(Some(1)), 5, 6)]));
    assert!(!judge(&[at(get(Some(3)), 0, 1)]), "out of nothing");
    assert!(!judge(&[at(add(true), 0, 9), at(add(true), 1, 8)]), "added twice");
    assert!(judge(&[at(add(true), 0, 9), at(delete(true), 1, 8), at(add(true), 2, 7)]));
    assert!(!judge(&[at(one, 0, 1), at(delete(true), 2, 9), at(delete(true), 3, 8)]), "twice");
    assert!(!judge(&[at(incr(1), 0, 9), at(incr(1), 1, 8)]), "a lost addition");
    assert!(judge(&[at(incr(2), 0, 9), at(incr(1), 1, 8)]));
    // A reader may not go back although each value alone could be: both writes are over at 3.
    let (first, second) = (at(get(Some(1)), 4, 5), at(get(Some(2)), 6, 7));
    assert!(!judge(&[at(one, 0, 3), at(two, 1, 2), first, second]));
}

/// A change that another overlaps is found in either order, also where a part ends in between.
#[test]
fn parts_hand_on_all_states_that_may_be() {
    let begin = BTreeSet::from([State::default()]);
    let set = |value, start, end| {
        event(Call::Set { value, ttl: NEVER, tagged: false }, Out::Done, start, end)
    };
    let rules = Rules { now: 5, bounded: false };
    let both = check::ends(&begin, &[set(1, 0, 9), set(2, 1, 8)], rules);
    let values = both.iter().map(|state| state.entry.unwrap().value).collect::<Vec<_>>();
    assert_eq!(values, [1, 2]);
    let later = check::ends(&both, &[event(Call::Get, Out::Value(Some(1)), 10, 11)], rules);
    assert_eq!(later.len(), 1);
    let gone = check::ends(&both, &[event(Call::Get, Out::Value(None), 10, 11)], rules);
    assert!(gone.is_empty());
    let evicted = Rules { bounded: true, ..rules };
    assert!(!check::ends(&both, &[event(Call::Get, Out::Value(None), 10, 11)], evicted).is_empty());
    const { assert!(EVENTS_MAX >= THREADS * STEPS * 2) };
}
