//! The protocol of `src/hybrid/` in random schedules: the very code, over a model server and virtual time.
//!
//! A schedule is drawn from its seed alone: two or three processes that read, write, delete, clear and
//! change TTLs of two keys, several calls of each at once; requests, replies and invalidations that wait,
//! overtake each other where connections differ, or get lost with their connection; a server that stops,
//! refuses, runs out of memory, restarts empty, is emptied, fails over to older data; processes that
//! stand still; L1 entries that are evicted; a plain client that writes. Everything runs on one thread.
//! Afterwards all faults end, everything in flight arrives, and all must agree.
//!
//! # Files
//! | file | what |
//! |---|---|
//! | `mod` | how many schedules, which seeds; one test for each protection |
//! | `schedule` | what happens when: the dice, the executor |
//! | `universe` | the model: server, connections, time, as the worlds of the processes |
//! | `check` | what must hold, whatever happens |
//!
//! # Running
//! `make test-simulation` (optimised; a million schedules; `SIM_SCHEDULES=5000000` for more). A violation
//! prints its seed, and `SIM_SEED=… make test-simulation` replays it and prints its steps.

mod check;
mod schedule;
pub(super) mod universe;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::schedule::{Report, Runner};
use super::protections::{Protection, Protections};

/// Where the environment names no number: few without optimisation, many with.
const SCHEDULES: u64 = if cfg!(debug_assertions) { 4_000 } else { 1_000_000 };
/// In how many schedules a missing protection must show.
const ENOUGH: u64 = 400_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs the schedule of `seed`; what was violated, if anything.
fn violation(runner: &mut Runner, seed: u64, trace: bool) -> Result<Report, String> {
    let run = catch_unwind(AssertUnwindSafe(|| runner.run(seed, trace)));
    run.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("a panic").to_owned(),
    })
}

/// Runs `seeds` and adds up what happened.
fn run_all(seeds: impl Iterator<Item = u64>, trace: bool) -> Report {
    let mut runner = Runner::new(Protections::default());
    let mut sum = Report::default();
    for seed in seeds {
        match violation(&mut runner, seed, trace) {
            Ok(report) => sum.add(&report),
            Err(text) => {
                panic!("seed {seed}: {text}\nto replay it: make test-simulation SIM_SEED={seed}")
            }
        }
    }
    sum
}

#[test]
fn random_schedules_stay_coherent() {
    if let Some(seed) = number("SIM_SEED") {
        run_all(std::iter::once(seed), true);
        return;
    }
    let schedules = number("SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let started = std::time::Instant::now();
    let sums: Vec<Report> = std::thread::scope(|scope| {
        let run =
            |thread| move || run_all((1 + thread..=schedules).step_by(threads as usize), false);
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut sum = Report::default();
    sums.iter().for_each(|one| sum.add(one));
    println!("{schedules} schedules in {:.1?}: {sum}; 0 violations", started.elapsed());
    // Otherwise the schedules would show nothing.
    assert!(sum.replays > 0 && sum.foreign > 0 && sum.hits > 0 && sum.stale > 0, "{sum}");
}

/// Without `off` some schedule shows a violation.
fn shows(off: Protection) {
    // Looks for it without printing what each panic says.
    let mut runner = Runner::new(Protections { off: Some(off) });
    let found = (1..=ENOUGH)
        .find_map(|seed| violation(&mut runner, seed, false).err().map(|text| (seed, text)));
    match found {
        Some((seed, text)) => println!("without {off:?}: seed {seed}: {text}"),
        None => panic!("{ENOUGH} schedules do not miss {off:?}"),
    }
}

macro_rules! each_is_needed {
    ($($name:ident: $protection:ident,)*) => {
        $(
            #[test]
            #[cfg_attr(debug_assertions, ignore = "slow without optimisation: make test-simulation")]
            fn $name() {
                shows(Protection::$protection);
            }
        )*
    };
}

each_is_needed! {
    fill_tokens_are_needed: Token,
    refusing_fills_beside_own_writes_is_needed: WritesUnderWay,
    letting_go_of_overlapping_writes_is_needed: Overlap,
    epochs_are_needed: Epoch,
    the_watchdog_is_needed: Watchdog,
    hearing_of_a_flush_is_needed: Flush,
    counting_ttls_from_the_asking_is_needed: AskedTtl,
    counting_queued_ttls_from_the_call_is_needed: QueuedTtl,
    tombstones_are_needed: Tombstone,
    the_condition_of_a_replay_is_needed: Condition,
    knowing_what_was_seen_is_needed: Seen,
    knowing_own_unconfirmed_writes_is_needed: OwnUnconfirmed,
    remembering_what_l1_let_go_of_is_needed: Memory,
    the_order_of_replays_is_needed: ReplayOrder,
    replays_that_exclude_direct_writes_are_needed: Exclusion,
    barriers_are_needed: Barrier,
    letting_go_of_what_lost_is_needed: LetGo,
}
