//! Replays traces, as many at once as there are processors; each replay is one thread's. `Progress` says on
//! standard error how far it is.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::contenders::{Kind, Ours, Role};
use crate::trace::Trace;

/// A trace at a capacity: the hit ratios in % of all contenders.
pub struct Row {
    pub trace: String,
    pub capacity: usize,
    /// Per contender, in the order of their kinds; several where it was run several times.
    pub ratios: Vec<Vec<f64>>,
}

impl Row {
    /// The hit ratio of a contender, over its runs.
    pub fn ratio(&self, contender: usize) -> f64 {
        mean(&self.ratios[contender])
    }

    /// The best contender of those that `among` picks.
    pub fn best(&self, kinds: &[Kind], among: impl Fn(usize, Role) -> bool) -> Option<usize> {
        let picked = (0..kinds.len()).filter(|i| among(*i, kinds[*i].role));
        picked.max_by(|a, b| self.ratio(*a).total_cmp(&self.ratio(*b)))
    }

    /// What a contender is below the best peer, in points; the best of the others for a peer.
    pub fn gap(&self, kinds: &[Kind], contender: usize) -> f64 {
        let best = self.best(kinds, |i, role| role.is_peer() && i != contender);
        best.map_or(0.0, |best| self.ratio(best)) - self.ratio(contender)
    }
}

/// A replay by many threads beside one by one.
pub struct ThreadsRow {
    pub trace: String,
    pub capacity: usize,
    pub one: f64,
    pub many: f64,
}

/// The mean; 0 of nothing.
pub fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Replays a trace by all kinds of contenders at all capacities.
pub fn rows(
    trace: &Trace,
    capacities: &[usize],
    kinds: &[Kind],
    runs: u64,
    progress: &Progress,
) -> Vec<Row> {
    let mut tasks = Vec::new();
    for (row, capacity) in capacities.iter().enumerate() {
        for (contender, kind) in kinds.iter().enumerate() {
            let runs = if kind.is_seeded() { runs } else { 1 };
            tasks.extend((0..runs).map(|run| (row, *capacity, contender, kind, run)));
        }
    }
    let new_row = |capacity: &usize| Row {
        trace: trace.name.clone(),
        capacity: *capacity,
        ratios: vec![Vec::new(); kinds.len()],
    };
    let rows = Mutex::new(capacities.iter().map(new_row).collect::<Vec<_>>());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((row, capacity, contender, kind, run)) =
            tasks.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let hits = kind.hits(&trace.keys, *capacity, *run);
            let ratio = percent(hits, trace.keys.len());
            let mut rows = rows.lock().expect("no replay panicked");
            rows[*row].ratios[*contender].push(ratio);
            let done = rows.iter().flat_map(|row| &row.ratios).map(Vec::len).sum();
            progress.say(&trace.name, done, tasks.len());
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    rows.into_inner().expect("no replay panicked")
}

/// Replays a trace on one Local cache by several threads. They take turns at the trace's blocks, so that its
/// order holds roughly, as where several workers serve one stream of requests.
pub fn with_threads(trace: &Trace, capacity: usize, threads: usize, runs: u64) -> f64 {
    const BLOCK: usize = 64;
    let ratio = |_| {
        let ours = Ours::new(capacity);
        let blocks = trace.keys.chunks(BLOCK).collect::<Vec<_>>();
        let (next, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut found = 0;
            while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                found += block.iter().filter(|key| ours.get_or_insert(**key)).count();
            }
            hits.fetch_add(found, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        percent(hits.into_inner(), trace.keys.len())
    };
    mean(&(0..runs).map(ratio).collect::<Vec<_>>())
}

fn percent(hits: usize, requests: usize) -> f64 {
    100.0 * hits as f64 / requests.max(1) as f64
}

/// A line that says how far it is: rewritten on a terminal, else one for each step of a trace.
pub struct Progress {
    step: AtomicUsize,
    steps: usize,
}

impl Progress {
    /// Of so many steps.
    pub fn new(steps: usize) -> Self {
        Self { step: AtomicUsize::new(0), steps }
    }

    /// The next step.
    pub fn step(&self, what: &str) {
        let step = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        self.line(&format!("[{step}/{}] {what}", self.steps), !stderr().is_terminal());
    }

    fn say(&self, what: &str, done: usize, all: usize) {
        if stderr().is_terminal() {
            let step = self.step.load(Ordering::Relaxed);
            self.line(&format!("[{step}/{}] {what}: replay {done} of {all}", self.steps), false);
        }
    }

    /// Leaves the line empty for what comes next.
    pub fn end(&self) {
        if stderr().is_terminal() {
            self.line("", false);
        }
    }

    fn line(&self, text: &str, for_good: bool) {
        let mut to = stderr().lock();
        // Nobody can be told where standard error is gone.
        let _ = match for_good {
            true => writeln!(to, "{text}"),
            false => write!(to, "\r\x1b[K{text}").and_then(|()| to.flush()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::ALL;
    use crate::generate;

    #[test]
    fn each_contender_has_its_runs() {
        let trace = Trace { name: "zipf".into(), keys: generate::zipf(1, 0.9, 500, 5000) };
        let rows = rows(&trace, &[10, 100], ALL, 2, &Progress::new(1));
        assert_eq!(rows.iter().map(|row| row.capacity).collect::<Vec<_>>(), [10, 100]);
        for row in &rows {
            for (ratios, kind) in row.ratios.iter().zip(ALL) {
                assert_eq!(ratios.len(), if kind.is_seeded() { 2 } else { 1 }, "{}", kind.name);
            }
        }
        let lru = ALL.iter().position(|kind| kind.name == "LRU").unwrap();
        let hits = ALL[lru].hits(&trace.keys, 100, 0);
        assert_eq!(rows[1].ratio(lru), hits as f64 / 50.0);
    }

    #[test]
    fn threads_replay_all_of_a_trace() {
        let keys = (0..4).flat_map(|_| 0..1000).collect();
        let trace = Trace { name: "fits".into(), keys };
        // Two threads may miss the same key at once, and never more often than all of them.
        let ratio = with_threads(&trace, 10_000, 4, 1);
        assert!((70.0..=75.0).contains(&ratio), "{ratio}");
    }
}
