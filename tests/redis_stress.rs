//! G3 to G6 of a RedisCache under random faults of the network and the server, seeded:
//!
//! - **G3** what returned OK is there, an ambiguous write says so and comes no more after a later one that
//!   was acknowledged; incr, add and compare-and-set are executed at most once;
//! - **G4** no call returns later than its deadline and 20 ms, less what its thread had to wait for a
//!   processor, or the whole machine stood still (as seen by a thread that does nothing but sleep);
//! - **G5** no caller gets the reply to another's request: every value names its key and its version;
//! - **G6** within a second after a fault has ended the cache is usable.
//!
//! The short form runs some seconds per server in every `cargo test`, with wide bars for G4 and G6, as it
//! shares the machine with whatever runs beside it. `make soak-redis` runs it for
//! `LC_SOAK_SECONDS` on every version of the servers. `LC_SOAK_SEED` repeats the schedule of faults of a run
//! that failed; the interleaving of threads is the machine's.

#[path = "support/random.rs"]
mod random;
mod support;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lighter_cache::{AnyCache, BlockingCache, ErrorKind, Swap, Ttl, config::Config};
use random::Random;
use support::chaos::{Chaos, Fault};
use support::{SERVERS, Server, eventually};

const TIMEOUT: Duration = Duration::from_millis(150);
/// What a call may return late by, and how long after a fault the cache may need: the bars of the long form,
/// which has the machine for itself, and those of the short one, which shares it with whatever tests and
/// builds run beside it and is there to catch a deadline that is not kept at all.
const LONG_FORM: Bars = Bars { late: Duration::from_millis(20), recovery: Duration::from_secs(1) };
const SHORT_FORM: Bars = Bars { late: Duration::from_secs(2), recovery: Duration::from_secs(20) };
const WRITERS: usize = 6;
const COUNTERS: usize = 3;

/// How long this thread has waited for a processor so far, as the kernel counts it. What a call is late by
/// for this reason is no fault of the library.
fn starved() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split(' ').nth(1).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// How often the metronome looks at the clock, and the gap from which on it calls the machine stalled: a virtual
/// one is now and then, and no thread of it can tell that from its own waits.
const TICK: Duration = Duration::from_millis(1);
const STALL: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
struct Bars {
    late: Duration,
    recovery: Duration,
}

/// What one run has found.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    faults: AtomicU64,
    late_us: AtomicU64,
    /// For how long the machine has stood still.
    stalled_us: AtomicU64,
    slowest_recovery_us: AtomicU64,
}

struct Run<'a> {
    cache: &'a AnyCache,
    bars: Bars,
    tally: Tally,
    over: AtomicBool,
    confirmed: [AtomicU64; COUNTERS],
    possible: [AtomicU64; COUNTERS],
    added: Mutex<HashSet<Vec<u8>>>,
    swapped: AtomicU64,
    perhaps_swapped: AtomicU64,
}

impl Run<'_> {
    /// Makes one call of one round trip and looks at how long it took (G4).
    fn call<T>(
        &self,
        what: &str,
        call: impl FnOnce(&AnyCache) -> lighter_cache::Result<T>,
    ) -> lighter_cache::Result<T> {
        let (waited, stalled) = (starved(), self.tally.stalled_us.load(SeqCst));
        let began = Instant::now();
        let outcome = call(self.cache);
        let took = began.elapsed();
        let mut waited = starved().saturating_sub(waited);
        if took.saturating_sub(TIMEOUT).saturating_sub(waited) > self.bars.late {
            // The metronome may wake up after this thread.
            std::thread::sleep(STALL);
            let stalled = self.tally.stalled_us.load(SeqCst) - stalled;
            waited = waited.max(Duration::from_micros(stalled));
        }
        self.tally.calls.fetch_add(1, SeqCst);
        let late = took.saturating_sub(TIMEOUT).saturating_sub(waited);
        self.tally.late_us.fetch_max(late.as_micros() as u64, SeqCst);
        assert!(
            late <= self.bars.late,
            "G4: {what} took {took:?}, of which it waited {waited:?} for a processor: {outcome}",
            outcome = outcome.as_ref().map_or_else(|error| format!("{error:?}"), |_| "well".into())
        );
        if let Err(error) = &outcome {
            self.tally.failed.fetch_add(1, SeqCst);
            let expected = match error.kind() {
                ErrorKind::Timeout => {
                    self.tally.unknown.fetch_add(1, SeqCst);
                    true
                }
                ErrorKind::Connect => true,
                ErrorKind::Server => {
                    error.message().contains("OOM") || error.message().contains("BUSY")
                }
                _ => false,
            };
            assert!(expected, "{what}: {error:?}");
            // As a program would that can't go on without it.
            std::thread::sleep(Duration::from_millis(1));
        }
        outcome
    }

    /// Sleeps and looks at the clock, until the run is over.
    fn metronome(&self) {
        let mut last = Instant::now();
        while !self.over.load(SeqCst) {
            std::thread::sleep(TICK);
            let gap = last.elapsed();
            if gap > STALL {
                self.tally.stalled_us.fetch_add(gap.as_micros() as u64, SeqCst);
            }
            last = Instant::now();
        }
    }

    /// A thread with keys of its own: what it reads is what it wrote (G3, G5).
    fn writer(&self, number: usize, seed: u64) {
        let mut dice = Random::of(seed + 1000 + number as u64);
        let keys: Vec<String> = (0..5).map(|n| format!("own{number}-{n}")).collect();
        // Of each key: the last acknowledged version, and those that nobody knows of since.
        let mut known: Vec<(Option<u64>, HashSet<u64>)> = vec![(None, HashSet::new()); keys.len()];
        let mut version = 0;
        while !self.over.load(SeqCst) {
            let at = dice.place(keys.len());
            let (key, (last, perhaps)) = (&keys[at], &mut known[at]);
            if dice.below(3) == 0 {
                version += 1;
                let value = value_of(key, version);
                match self.call("set", |cache| cache.set(key.as_bytes(), &value, Ttl::Never)) {
                    Ok(()) => {
                        *last = Some(version);
                        perhaps.clear();
                    }
                    Err(error) if error.kind() == ErrorKind::Timeout => {
                        perhaps.insert(version);
                    }
                    Err(_) => {}
                }
                continue;
            }
            let Ok(value) = self.call("get", |cache| cache.get(key.as_bytes())) else { continue };
            let read = value.map(|value| version_in(key, &value));
            assert!(
                read == *last || read.is_some_and(|version| perhaps.contains(&version)),
                "G3: {key} holds {read:?}, acknowledged is {last:?}, possible {perhaps:?}"
            );
        }
    }

    /// Counts up, adds and swaps, each of which is executed once or not at all (G3).
    fn counter(&self, number: usize) {
        let mut round = 0_u64;
        let key = format!("counter{}", number % COUNTERS);
        while !self.over.load(SeqCst) {
            round += 1;
            let at = number % COUNTERS;
            let may = |error: &lighter_cache::Error| error.kind() == ErrorKind::Timeout;
            match self.call("incr", |cache| cache.incr(key.as_bytes(), 1, Ttl::Never)) {
                Ok(_) => {
                    self.confirmed[at].fetch_add(1, SeqCst);
                }
                Err(error) if may(&error) => {
                    self.possible[at].fetch_add(1, SeqCst);
                }
                Err(_) => {}
            }
            let add = format!("add{}", round / 3);
            if let Ok(true) = self.call("add", |cache| cache.add(add.as_bytes(), b"v", Ttl::Never))
            {
                let fresh = self.added.lock().unwrap().insert(add.into_bytes());
                assert!(fresh, "G3: add succeeded twice for one key");
            }
            let Ok(Some(value)) = self.call("get", |cache| cache.get(b"swap")) else { continue };
            let next = std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap() + 1;
            let next = next.to_string();
            match self.call("compare_and_set", |cache| {
                cache.compare_and_set(b"swap", &value, next.as_bytes(), Ttl::Never)
            }) {
                Ok(Swap::Done) => {
                    self.swapped.fetch_add(1, SeqCst);
                }
                Err(error) if may(&error) => {
                    self.perhaps_swapped.fetch_add(1, SeqCst);
                }
                _ => {}
            }
        }
    }

    /// Switches faults on and off; after each the cache is usable within a second (G6).
    fn faults(&self, seed: u64, chaos: &Chaos, server: &Server, until: Instant) {
        let mut dice = Random::of(seed);
        while Instant::now() < until && !self.over.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(50 + dice.below(100)));
            let lasts = Duration::from_millis(20 + dice.below(400));
            let kind = dice.place(Fault::ALL.len() + 5);
            let mut ends = Instant::now() + lasts;
            match kind.checked_sub(Fault::ALL.len()) {
                None => {
                    chaos.set(Fault::ALL[kind]);
                    std::thread::sleep(lasts);
                    chaos.set(Fault::None);
                    ends = Instant::now();
                }
                Some(0) => {
                    server.pause();
                    std::thread::sleep(lasts);
                    server.resume();
                    ends = Instant::now();
                }
                Some(1) => drop(server.call(&["CLIENT", "KILL", "TYPE", "normal"])),
                Some(2) => {
                    let pause = lasts.as_millis().to_string();
                    server.call(&["CLIENT", "PAUSE", &pause, "WRITE"]);
                    std::thread::sleep(lasts);
                }
                Some(3) => {
                    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
                    std::thread::sleep(lasts);
                    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
                    ends = Instant::now();
                }
                _ => chaos.reset(),
            }
            self.tally.faults.fetch_add(1, SeqCst);
            self.recovers(kind, ends.min(Instant::now()));
        }
    }

    fn recovers(&self, kind: usize, ended: Instant) {
        let waited = starved();
        while self.cache.set(b"probe", b"v", Ttl::Never).is_err() {
            let waited = ended.elapsed().saturating_sub(starved().saturating_sub(waited));
            assert!(waited < self.bars.recovery, "G6: fault {kind} is over for {waited:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = ended.elapsed().as_micros() as u64;
        self.tally.slowest_recovery_us.fetch_max(took, SeqCst);
    }
}

/// A value that tells whose it is, and whether it is whole.
fn value_of(key: &str, version: u64) -> Vec<u8> {
    let text = format!("{key}/{version}/");
    let length = text.len() + (version as usize).wrapping_mul(7919) % 3000;
    text.bytes().cycle().take(length).collect()
}

fn version_in(key: &str, value: &[u8]) -> u64 {
    let version = value
        .split(|byte| *byte == b'/')
        .nth(1)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    let version = version.unwrap_or_else(|| panic!("G5: {key} holds another's value"));
    assert!(value == value_of(key, version), "G5: {key} holds another's value, or a torn one");
    version
}

/// How long each part runs, and what it is held to.
fn form() -> (u64, Bars) {
    match std::env::var("LC_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => (seconds, LONG_FORM),
        None => (6, SHORT_FORM),
    }
}

fn seed() -> u64 {
    let given = std::env::var("LC_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 16
    })
}

/// One run at a time: they are about time.
static ALONE: Mutex<()> = Mutex::new(());

fn stress(name: &str, options: &str) {
    let (seconds, bars) = form();
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seed = seed();
    println!("{name} {options}: LC_SOAK_SEED={seed}");
    let server = Server::start("single", name);
    let chaos = Chaos::to(u16::try_from(server.info["port"].as_u64().unwrap()).unwrap());
    let url = format!(
        "redis://127.0.0.1:{}?prefix=app&timeout={}ms&connect_timeout={}ms&{options}",
        chaos.port(),
        TIMEOUT.as_millis(),
        TIMEOUT.as_millis()
    );
    let config = Config::parse(&url).unwrap();
    let mut cache = None;
    eventually("the cache opens within its short bounds", || {
        cache = AnyCache::open(&config).ok();
        cache.is_some()
    });
    let cache = cache.unwrap();
    eventually("it works", || cache.set(b"swap", b"0", Ttl::Never).is_ok());
    let run = Run {
        cache: &cache,
        bars,
        tally: Tally::default(),
        over: AtomicBool::new(false),
        confirmed: Default::default(),
        possible: Default::default(),
        added: Mutex::default(),
        swapped: AtomicU64::new(0),
        perhaps_swapped: AtomicU64::new(0),
    };
    /// Has the others end too where one panics.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        scope.spawn(|| run.metronome());
        for number in 0..WRITERS {
            let run = &run;
            scope.spawn(move || {
                let _ends = Ends(&run.over);
                run.writer(number, seed);
            });
            scope.spawn(move || {
                let _ends = Ends(&run.over);
                run.counter(number);
            });
        }
        let _ends = Ends(&run.over);
        run.faults(seed, &chaos, &server, until);
    });

    let stored = |key: &str| {
        let text = server.call(&["GET", &format!("app:{key}")]);
        text.as_str().map_or(0, |text| text.parse::<u64>().unwrap())
    };
    for at in 0..COUNTERS {
        let count = stored(&format!("counter{at}"));
        let confirmed = run.confirmed[at].load(SeqCst);
        let most = confirmed + run.possible[at].load(SeqCst);
        assert!(
            (confirmed..=most).contains(&count),
            "G3: counted {count}, confirmed {confirmed}, at most {most}"
        );
    }
    let (swaps, done) = (stored("swap"), run.swapped.load(SeqCst));
    let most = done + run.perhaps_swapped.load(SeqCst);
    assert!((done..=most).contains(&swaps), "G3: {swaps} swaps, confirmed {done}, at most {most}");
    let tally = &run.tally;
    println!(
        "{} calls through {} connections, {} faults, {} failed, {} of these ambiguous; latest by {} us, \
         slowest recovery {} ms; the machine stood still for {} ms",
        tally.calls.load(SeqCst),
        chaos.connections(),
        tally.faults.load(SeqCst),
        tally.failed.load(SeqCst),
        tally.unknown.load(SeqCst),
        tally.late_us.load(SeqCst),
        tally.slowest_recovery_us.load(SeqCst) / 1000,
        tally.stalled_us.load(SeqCst) / 1000,
    );
    assert!(tally.calls.load(SeqCst) > 100 && tally.faults.load(SeqCst) > 0);
}

#[test]
fn of_few_callers_each_on_its_own_connection() {
    for name in SERVERS {
        stress(name, "connections=64");
    }
}

#[test]
fn of_many_callers_on_one_connection() {
    for name in SERVERS {
        stress(name, "connections=1");
    }
}
