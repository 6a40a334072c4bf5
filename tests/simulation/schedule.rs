//! What happens when: the dice, and an executor that polls a task only when something has come for it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use super::super::core::{Core, Parts};
use super::super::protections::Protections;
use super::super::queue::Look;
use super::check::Kind;
use super::universe::{Dice, Held, KEYS, Key, Mode, Sim, Task, Told, Universe, id_of};
use crate::config::HybridOptions;
use crate::local::LocalCache;
use crate::ops::{Ttl, Ttls};
use crate::stats::Counter;

const PROCESSES: usize = 3;
/// Steps of the end, in which everything has to come to rest.
const PATIENCE: usize = 20_000;

/// What happened in some schedules.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) operations: u64,
    pub(super) faults: u64,
    pub(super) hits: u64,
    pub(super) stale: u64,
    pub(super) queued: u64,
    pub(super) replays: u64,
    pub(super) foreign: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.faults += other.faults;
        self.hits += other.hits;
        self.stale += other.stale;
        self.queued += other.queued;
        self.replays += other.replays;
        self.foreign += other.foreign;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations, {} faults, {} L1 hits, {} stale, {} times writes waited, {} replays, {} \
             lost to another process",
            self.operations,
            self.faults,
            self.hits,
            self.stale,
            self.queued,
            self.replays,
            self.foreign
        )
    }
}

/// Runs schedules, one after another. The L1s are kept from one to the next, emptied.
pub(super) struct Runner {
    protections: Protections,
    now: u64,
    clocks: Vec<Arc<AtomicU64>>,
    caches: Vec<LocalCache>,
}

struct Running {
    process: usize,
    operation: Option<usize>,
    task: Task,
}

struct Schedule {
    universe: Arc<Mutex<Universe>>,
    cores: Vec<Arc<Core<Sim>>>,
    tasks: Vec<Option<Running>>,
    frozen: Vec<bool>,
    dice: Dice,
    next_id: u64,
    next_operation: usize,
    report: Report,
}

impl Runner {
    pub(super) fn new(protections: Protections) -> Self {
        let mut runner =
            Self { protections, now: 1_000_000, clocks: Vec::new(), caches: Vec::new() };
        runner.renew();
        runner
    }

    fn renew(&mut self) {
        self.clocks = (0..PROCESSES).map(|_| Arc::new(AtomicU64::new(self.now))).collect();
        self.caches =
            self.clocks.iter().map(|now| LocalCache::with_virtual_clock(now.clone())).collect();
    }

    pub(super) fn run(&mut self, seed: u64, trace: bool) -> Report {
        let mut dice = Dice::new(seed);
        let processes = 1 + dice.roll(PROCESSES);
        for cache in &self.caches {
            cache.remove_all();
        }
        let clocks = &self.clocks[..processes];
        let universe = Universe::new(clocks, self.now, self.protections, Dice::new(!seed), trace);
        let universe = Arc::new(Mutex::new(universe));
        let stripes = 1 + dice.roll(8);
        let mut options = HybridOptions::default();
        (options.breaker_failures, options.breaker_open) =
            (1 + dice.roll(3) as u32, Duration::from_millis(100));
        options.watchdog = Duration::from_secs(1);
        let cores = (0..processes).map(|process| {
            let world = Sim { process, now: clocks[process].clone(), universe: universe.clone() };
            Core::new(Parts {
                l2: Some(world.clone()),
                world,
                l1: self.caches[process].clone(),
                options: options.clone(),
                ttls: Ttls::default(),
                max_value_bytes: 64,
                stripes,
                protections: self.protections,
            })
        });
        let mut schedule = Schedule {
            cores: cores.collect(),
            universe: universe.clone(),
            tasks: Vec::new(),
            frozen: vec![false; processes],
            next_id: 1,
            next_operation: 0,
            dice,
            report: Report::default(),
        };
        let steps = 20 + schedule.dice.roll(100);
        (0..processes).for_each(|process| schedule.join(process));
        for _ in 0..steps {
            schedule.step();
        }
        schedule.rest();
        let report = schedule.report();
        let mut universe = universe.lock().unwrap_or_else(PoisonError::into_inner);
        self.now = universe.now + 10_000;
        // Tasks hold cores, which hold the universe.
        universe.spawned.clear();
        report
    }
}

impl Schedule {
    fn universe(&self) -> MutexGuard<'_, Universe> {
        self.universe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> Report {
        let mut report = self.report;
        for core in &self.cores {
            report.hits += core.counters.get(Counter::L1Hits);
            report.stale += core.counters.get(Counter::StaleServed);
        }
        let universe = self.universe();
        (report.replays, report.foreign) = (universe.check.replays, universe.check.foreign);
        report
    }

    // --- the executor

    fn run_ready(&mut self) {
        loop {
            let spawned = std::mem::take(&mut self.universe().spawned);
            for (process, task) in spawned {
                self.start(process, None, task);
            }
            let ready = std::mem::take(&mut self.universe().ready);
            let (now, later): (Vec<usize>, Vec<usize>) = ready.into_iter().partition(|task| {
                self.tasks[*task].as_ref().is_none_or(|one| !self.frozen[one.process])
            });
            self.universe().ready.extend(later);
            if now.is_empty() && self.universe().spawned.is_empty() {
                return;
            }
            now.into_iter().for_each(|task| self.poll(task));
        }
    }

    fn start(&mut self, process: usize, operation: Option<usize>, task: Task) {
        self.tasks.push(Some(Running { process, operation, task }));
        let task = self.tasks.len() - 1;
        self.universe().ready.push(task);
    }

    fn poll(&mut self, task: usize) {
        let Some(running) = &mut self.tasks[task] else { return };
        self.universe.lock().unwrap_or_else(PoisonError::into_inner).current =
            (task, running.operation);
        if running.task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.tasks[task] = None;
        }
        let gave_way = std::mem::take(&mut lock(&self.universe).gave_way);
        for (process, key, held) in gave_way {
            // A newer write of the key may have come meanwhile, and then nothing is lost.
            let queue = &self.cores[process].queue;
            if matches!(queue.look(KEYS[key], self.universe().now), Look::Nothing) {
                self.universe().check.lost_to(process, key, held);
            }
        }
    }

    // --- what processes do

    fn held(core: &Core<Sim>, key: Key) -> Option<u64> {
        core.held(KEYS[key]).map(|entry| id_of(&entry.value))
    }

    fn operation(&mut self) -> usize {
        self.next_operation += 1;
        self.report.operations += 1;
        self.next_operation
    }

    fn get(&mut self, process: usize, key: Key) {
        let operation = self.operation();
        let core = self.cores[process].clone();
        let universe = self.universe.clone();
        let task = async move {
            let reading = {
                let mut universe = lock(&universe);
                let now = universe.now;
                universe.check.begin_read(process, key, now)
            };
            let hit = core.get(KEYS[key]).await.expect("a read has no error");
            let answer = hit.map(|hit| (id_of(&hit.value), hit.stale));
            let mut universe = lock(&universe);
            universe.say(|| format!("process {process}: {reading:?} is {answer:?}"));
            universe.check.end_read(reading, answer);
        };
        self.start(process, Some(operation), Box::pin(task));
    }

    fn set(&mut self, process: usize, keys: &'static [Key], ttl: Option<u64>) {
        let operation = self.operation();
        let ids: Vec<u64> = keys.iter().map(|_| self.id()).collect();
        let core = self.cores[process].clone();
        let universe = self.universe.clone();
        let task = async move {
            {
                let mut universe = lock(&universe);
                let until = ttl.map(|ttl| universe.now + ttl);
                for (&key, &id) in keys.iter().zip(&ids) {
                    let saw = Self::held(&core, key);
                    let kind = Kind::Set { id, until };
                    universe.check.begin_write(operation, process, key, kind, saw);
                    universe.say(|| format!("process {process}: sets {key} to {id} for {ttl:?}"));
                }
            }
            let values: Vec<[u8; 8]> = ids.iter().map(|id| id.to_le_bytes()).collect();
            let items: Vec<(&[u8], &[u8])> =
                keys.iter().zip(&values).map(|(key, value)| (KEYS[*key], &value[..])).collect();
            let ttl = ttl.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
            let done = match items[..] {
                [(key, value)] => core.set(key, value, ttl).await,
                _ => core.set_many(&items, ttl).await,
            };
            lock(&universe).check.end_write(operation, done.is_ok());
        };
        self.start(process, Some(operation), Box::pin(task));
    }

    fn delete(&mut self, process: usize, keys: &'static [Key]) {
        let operation = self.operation();
        let core = self.cores[process].clone();
        let universe = self.universe.clone();
        let task = async move {
            {
                let mut universe = lock(&universe);
                for &key in keys {
                    let saw = Self::held(&core, key);
                    universe.check.begin_write(operation, process, key, Kind::Delete, saw);
                    universe.say(|| format!("process {process}: deletes {key}"));
                }
            }
            let names: Vec<&[u8]> = keys.iter().map(|key| KEYS[*key]).collect();
            let done = match names[..] {
                [key] => core.delete(key).await.map(drop),
                _ => core.delete_many(&names).await.map(drop),
            };
            lock(&universe).check.end_write(operation, done.is_ok());
        };
        self.start(process, Some(operation), Box::pin(task));
    }

    fn clear(&mut self, process: usize) {
        let operation = self.operation();
        let core = self.cores[process].clone();
        let universe = self.universe.clone();
        let task = async move {
            {
                let mut universe = lock(&universe);
                for key in 0..KEYS.len() {
                    universe.check.begin_write(operation, process, key, Kind::Clear, None);
                }
                universe.say(|| format!("process {process}: clears"));
            }
            let done = core.clear().await;
            lock(&universe).check.end_write(operation, done.is_ok());
        };
        self.start(process, Some(operation), Box::pin(task));
    }

    fn expire(&mut self, process: usize, key: Key, ttl: Option<u64>) {
        let operation = self.operation();
        let core = self.cores[process].clone();
        let universe = self.universe.clone();
        let task = async move {
            let held = Self::held(&core, key);
            lock(&universe).check.expires(process, key, held);
            lock(&universe).say(|| format!("process {process}: gives {key} a TTL of {ttl:?}"));
            let ttl = ttl.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
            core.expire(KEYS[key], ttl).await.expect("it has no error");
            let held = Self::held(&core, key);
            lock(&universe).check.expires(process, key, held);
        };
        self.start(process, Some(operation), Box::pin(task));
    }

    fn cancel(&mut self) {
        let running: Vec<usize> = (0..self.tasks.len())
            .filter(|task| {
                self.tasks[*task].as_ref().is_some_and(|running| {
                    running.operation.is_some() && !self.frozen[running.process]
                })
            })
            .collect();
        if running.is_empty() {
            return;
        }
        let task = running[self.dice.roll(running.len())];
        let cancelled = self.tasks[task].take();
        let operation = cancelled.as_ref().and_then(|running| running.operation);
        self.universe().say(|| format!("operation {operation:?} is cancelled"));
        let process = cancelled.as_ref().map_or(0, |running| running.process);
        drop(cancelled);
        // It may have been a change of TTLs, which is queued.
        for key in 0..KEYS.len() {
            let held = Self::held(&self.cores[process], key);
            self.universe().check.expires(process, key, held);
        }
        if let Some(operation) = operation {
            self.universe().check.end_write(operation, false);
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn keys(&mut self) -> &'static [Key] {
        let choices: [&[Key]; 5] = [&[0], &[1], &[0], &[1], &[0, 1]];
        choices[self.dice.roll(choices.len())]
    }

    fn ttl(&mut self) -> Option<u64> {
        match self.dice.roll(4) {
            0 => Some(1 + self.dice.roll(400) as u64),
            1 => Some(1 + self.dice.roll(4000) as u64),
            _ => None,
        }
    }

    // --- what comes

    /// The client takes the next message of its stream, or hears that the stream is lost.
    fn deliver(&mut self, process: usize) {
        if self.frozen[process] {
            return;
        }
        let told = self.universe().deliver(process);
        let core = &self.cores[process];
        match told {
            Some(Told::Key(key)) => core.forget(KEYS[key]),
            Some(Told::All) => core.forget_all(),
            Some(Told::Proven(sent_at)) => core.proven(sent_at),
            Some(Told::Lost) => core.lost(),
            Some(Told::Nothing) | None => {}
        }
    }

    fn digest(&mut self, process: usize) {
        let sent_at = if self.frozen[process] { None } else { self.universe().digest(process) };
        if let Some(sent_at) = sent_at {
            self.cores[process].trust.subscribed();
            self.cores[process].proven(sent_at);
        }
    }

    fn cut(&mut self, process: usize) {
        self.report.faults += 1;
        self.universe().cut(process);
    }

    fn watchdog(&mut self, process: usize) {
        if self.frozen[process] {
            return;
        }
        let late = {
            let universe = self.universe();
            universe.unanswered(process).is_some_and(|asked| universe.now >= asked + 1000)
        };
        if late {
            self.cores[process].silent();
            self.cut(process);
        } else if self.universe().is_connected(process) {
            self.universe().ping(process);
        } else {
            self.universe().connect(process);
        }
    }

    /// Connects and subscribes, undisturbed.
    fn join(&mut self, process: usize) {
        self.universe().connect(process);
        while self.universe().execute() {}
        self.universe().end_round();
        self.deliver(process);
        self.digest(process);
    }

    fn step(&mut self) {
        let process = self.dice.roll(self.cores.len());
        let key = self.dice.roll(KEYS.len());
        match self.dice.roll(100) {
            0..=13 => self.get(process, key),
            14..=23 => {
                let ttl = self.ttl();
                let keys = self.keys();
                self.set(process, keys, ttl);
            }
            24..=28 => {
                let keys = self.keys();
                self.delete(process, keys);
            }
            29 => self.clear(process),
            30 => {
                let ttl = self.ttl();
                self.expire(process, key, ttl);
            }
            31 => self.cancel(),
            32..=34 => {
                let (id, ttl) = (self.id(), self.ttl());
                let remove = self.dice.roll(3) == 0;
                let mut universe = lock(&self.universe);
                let until = ttl.map(|ttl| universe.now + ttl);
                universe.check.plain(id, until);
                universe.plain_write(key, if remove { None } else { Some(Held { id, until }) });
            }
            35 => self.universe().flush(),
            36..=39 => {
                self.cores[process].l1.remove(KEYS[key]);
                self.universe().check.evicted(process, key);
            }
            40 => self.universe().remember(),
            41 => {
                self.report.faults += 1;
                let empty = self.dice.roll(2) == 0;
                self.universe().fail_over(empty);
            }
            42 | 43 => self.cut(process),
            44..=47 => {
                self.report.faults += 1;
                let mode =
                    [Mode::Up, Mode::Stopped, Mode::Down, Mode::Full, Mode::Up][self.dice.roll(5)];
                self.universe().set_mode(mode);
            }
            48 => self.frozen[process] = !self.frozen[process] && self.dice.roll(2) == 0,
            49..=51 => {
                let ms = [1 + self.dice.roll(30), self.dice.roll(400), self.dice.roll(3000)]
                    [self.dice.roll(3)];
                self.universe().advance(ms as u64);
            }
            52..=54 => self.watchdog(process),
            55 => self.universe().end_round(),
            56..=65 => drop(self.universe().send()),
            66..=79 => drop(self.universe().execute()),
            80..=86 => drop(self.universe().arrive()),
            87 | 88 => self.digest(process),
            _ => self.deliver(process),
        }
        self.run_ready();
        self.report.queued +=
            self.cores.iter().filter(|core| !core.queue.is_empty()).count() as u64;
    }

    /// All faults end, and everything comes to rest.
    fn rest(&mut self) {
        self.universe().say(|| "all faults end".into());
        self.frozen.fill(false);
        self.universe().set_mode(Mode::Up);
        self.settle();
        for process in 0..self.cores.len() {
            assert!(!self.cores[process].degraded(), "G6: process {process} is still degraded");
            for (key, name) in KEYS.iter().enumerate() {
                if let Some(entry) = self.cores[process].held(name)
                    && self.cores[process].vouches(entry.stamp)
                {
                    assert_eq!(
                        Some(id_of(&entry.value)),
                        self.universe().held(key),
                        "process {process} vouches for what the server does not hold"
                    );
                }
                self.get(process, key);
            }
        }
        self.settle();
        self.universe().check.finish();
    }

    fn settle(&mut self) {
        for round in 0..PATIENCE {
            for process in 0..self.cores.len() {
                if !self.universe().is_connected(process) {
                    self.universe().connect(process);
                }
                self.deliver(process);
                self.digest(process);
            }
            self.universe().send();
            self.universe().execute();
            self.universe().end_round();
            self.universe().arrive();
            self.run_ready();
            if self.universe().busy() {
                continue;
            }
            let waiting = self.cores.iter().any(|core| !core.queue.is_empty() || core.degraded());
            let operations = self.tasks.iter().flatten().any(|one| one.operation.is_some());
            if !waiting && !operations {
                return;
            }
            // Nothing moves by itself any more: time does.
            if round % 2 == 0 {
                (0..self.cores.len()).for_each(|process| self.universe().ping(process));
            }
            let mut universe = self.universe();
            let ms = universe.next_timer().map_or(50, |at| at.saturating_sub(universe.now).max(1));
            universe.advance(ms.min(100));
        }
        panic!("G6: it does not come to rest: {} tasks", self.tasks.iter().flatten().count());
    }
}

fn lock(universe: &Mutex<Universe>) -> MutexGuard<'_, Universe> {
    universe.lock().unwrap_or_else(PoisonError::into_inner)
}
