//! Chaos: real processes with Hybrids on a real server, faults at random, and a check of the history of all
//! they did, on one monotonic clock.
//!
//! Each of four processes has four threads, which read all keys and write their own: a key has one writer,
//! and each of its values carries the key and a version. Each process reaches the server through a proxy of
//! its own; or, on a Cluster or behind Sentinels, directly, as those name their nodes themselves. Faults: the
//! server stops; a process stops (SIGSTOP); all connections are killed by the server, or one process's are reset,
//! refused, swallowed in both directions or in one, slowed down or cut in the middle of a reply; FLUSHALL; and a
//! replica takes its master's place, as it is asked to or since its master stands still.
//!
//! Checked (G1, G2 of the promises in docs/coherence.md):
//! - no read is an error, no value is torn or of another key or of a version never written;
//! - no queued write is dropped, since nobody else writes the key (without fail-overs);
//! - a thread never reads of its own key an older version than it last wrote (read your writes, no
//!   resurrection), whether the server was there or not, unless a fail-over came between, which may lose
//!   acknowledged writes;
//! - no process reads, unless it is told that the value is stale, one that was overwritten on the server more
//!   than `watchdog` + 0.5 s before. (The writer's moment is when its call had returned with nothing queued.)
//!
//! `make test-rust` runs 15 s of each, `make soak-hybrid SECONDS=3600` as long as wanted. `CHAOS_SEED` repeats the
//! order of the faults. `run.py` beside this does alike with processes in C, C++ and Python.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Child, Command};
use std::time::Duration;
use std::{env, fs, thread};

use lighter_cache::config::ConfigBuilder;
use lighter_cache::{AnyCache, BlockingCache, GetOptions, Ttl};
use random::Random;
use support::Server;
use support::chaos::{Chaos, Fault};

const PROCESSES: usize = 4;
const THREADS: usize = 4;
/// Keys of each thread.
const KEYS: usize = 3;
/// Watchdog + 0.5 s, in nanoseconds.
const BOUND: u64 = 1_500_000_000;
/// How long after a fail-over a process may still find out about it, in nanoseconds.
const SETTLED: u64 = 5_000_000_000;

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn key_of(process: usize, thread: usize, key: usize) -> String {
    format!("{process}.{thread}.{key}")
}

/// One thread of a worker; its history, a line for each operation.
fn work(cache: &AnyCache, process: usize, thread: usize, until: u64) -> String {
    let mut dice = Random::of(now() ^ ((process * THREADS + thread + 1) as u64) << 32);
    let mut versions = [0u64; KEYS];
    let mut began_at = [0u64; KEYS];
    let mut history = String::new();
    while now() < until {
        let began = now();
        if dice.below(5) == 0 {
            let own = dice.below(KEYS as u64) as usize;
            let key = key_of(process, thread, own);
            versions[own] += 1;
            began_at[own] = began;
            let version = versions[own];
            if dice.below(8) == 0 {
                BlockingCache::delete(cache, key.as_bytes()).expect("a delete has no error");
            } else {
                let value = format!("{key}/{version}/{}", "x".repeat(dice.below(300) as usize));
                BlockingCache::set(cache, key.as_bytes(), value.as_bytes(), Ttl::Never)
                    .expect("a set has no error");
            }
            let stats = BlockingCache::stats(cache).expect("counters need no server");
            let confirmed = u8::from(stats.queued_writes == 0);
            let _ = writeln!(history, "W {key} {version} {began} {} {confirmed}", now());
        } else {
            let whose =
                if dice.below(3) == 0 { process } else { dice.below(PROCESSES as u64) as usize };
            let by = if whose == process { thread } else { dice.below(THREADS as u64) as usize };
            let of = dice.below(KEYS as u64) as usize;
            let key = key_of(whose, by, of);
            let found = BlockingCache::get_ex(cache, key.as_bytes(), GetOptions::default())
                .expect("a read has no error");
            let floor = if (whose, by) == (process, thread) { versions[of] } else { 0 };
            let Some(found) = found else { continue };
            let text = String::from_utf8(found.value.to_vec()).expect("no torn value");
            let mut parts = text.split('/');
            assert_eq!(parts.next(), Some(&key[..]), "another key's value");
            let version: u64 = parts.next().and_then(|text| text.parse().ok()).expect("a version");
            assert!(parts.next().is_some_and(|rest| rest.bytes().all(|byte| byte == b'x')), "torn");
            if version < floor {
                let _ = writeln!(history, "L {key} {version} {} {} 0", began_at[of], now());
            }
            let stale = u8::from(found.stale);
            let _ = writeln!(history, "R {key} {version} {began} {} {stale}", now());
        }
        // Paced, so that the history stays of a size that can be checked.
        thread::sleep(Duration::from_micros(300));
    }
    history
}

/// A worker, started by the test below as a process of its own.
#[test]
#[ignore = "started by the chaos test"]
fn worker() {
    let (Ok(url), Ok(file)) = (env::var("CHAOS_URL"), env::var("CHAOS_FILE")) else { return };
    let process = number("CHAOS_PROCESS", 0) as usize;
    let until = number("CHAOS_UNTIL", 0);
    let config = ConfigBuilder::new(Some(&url)).build().expect("a valid URL");
    let cache = AnyCache::open(&config).expect("a Hybrid opens without its server");
    let histories: Vec<String> = thread::scope(|scope| {
        let cache = &cache;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(cache, process, thread, until)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no violation")).collect()
    });
    let stats = BlockingCache::stats(&cache).expect("counters need no server");
    let counted = format!(
        "S {} {} {} {}\n",
        stats.replayed_writes, stats.dropped_writes, stats.invalidations, stats.stale_served
    );
    fs::write(file, histories.concat() + &counted).expect("the history is written");
}

/// The workers, ended if the test panics.
struct Workers(Vec<Child>);

impl Workers {
    fn signal(&self, process: usize, signal: i32) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.0[process].id() as i32, signal) };
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What went wrong: how many faults of each sort, and when a replica may have taken its master's place.
#[derive(Default)]
struct Faults {
    counts: HashMap<&'static str, u64>,
    fail_overs: Vec<(u64, u64)>,
}

impl Faults {
    /// Whether acknowledged writes may have been lost between two moments.
    fn may_have_lost(&self, from: u64, to: u64) -> bool {
        self.fail_overs.iter().any(|&(begin, end)| begin <= to && end + SETTLED >= from)
    }
}

/// Makes faults until `until`. Without proxies those of the wire are fail-overs.
fn torment(
    server: &Server,
    proxies: &[Chaos],
    workers: &Workers,
    dice: &mut Random,
    until: u64,
) -> Faults {
    let mut faults = Faults::default();
    let nodes = server.info["nodes"].as_array().map_or(0, Vec::len);
    let replicated = proxies.is_empty();
    while now() < until {
        thread::sleep(Duration::from_millis(100 + dice.below(900)));
        let one = dice.below(PROCESSES as u64) as usize;
        let span = Duration::from_millis(50 + dice.below(1500));
        let name = match dice.below(7) {
            0 => {
                let node = server.info["nodes"][dice.below(nodes.max(1) as u64) as usize]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let begin = now();
                server.verb(format!("pause {node}").trim());
                thread::sleep(span);
                server.verb(format!("resume {node}").trim());
                // A master that is away for half a second is replaced, whoever asked for it.
                if replicated {
                    faults.fail_overs.push((begin, now()));
                }
                "server stopped"
            }
            1 => {
                workers.signal(one, libc::SIGSTOP);
                thread::sleep(span);
                workers.signal(one, libc::SIGCONT);
                "process stopped"
            }
            2 => {
                server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                "CLIENT KILL"
            }
            3 => {
                server.call(&["FLUSHALL"]);
                "FLUSHALL"
            }
            4 | 5 if replicated => {
                let begin = now();
                // Sentinels refuse where no replica is in order yet after the last fault.
                let done = server.try_verb("failover")["ok"] == true;
                faults.fail_overs.push((begin, now()));
                if done { "fail-over" } else { "fail-over refused" }
            }
            4 => {
                let fault = Fault::ALL[dice.below(Fault::ALL.len() as u64) as usize];
                proxies[one].set(fault);
                thread::sleep(span);
                proxies[one].set(Fault::None);
                fault.name()
            }
            _ if replicated => continue,
            _ => {
                proxies[one].reset();
                "reset"
            }
        };
        *faults.counts.entry(name).or_default() += 1;
    }
    faults
}

struct Operation<'a> {
    key: &'a str,
    version: u64,
    began: u64,
    ended: u64,
    flag: bool,
}

fn parse<'a>(history: &'a str, kind: &str) -> Vec<Operation<'a>> {
    let lines = history.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    let parsed = lines.map(|line| {
        let mut parts = line.split(' ');
        let key = parts.next().expect("a key");
        let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number");
        let (version, began, ended, flag) = (number(), number(), number(), number() == 1);
        Operation { key, version, began, ended, flag }
    });
    parsed.collect()
}

/// For each key: moments from which on the server is known to hold at least a version, in their order.
fn confirmed<'a>(writes: &[Operation<'a>]) -> HashMap<&'a str, Vec<(u64, u64)>> {
    let mut known: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
    for write in writes.iter().filter(|write| write.flag) {
        known.entry(write.key).or_default().push((write.version, write.ended));
    }
    known
}

#[test]
fn histories_are_coherent_whatever_happens() {
    histories_are_coherent("single", "redis");
}

#[test]
fn histories_are_coherent_on_a_cluster() {
    histories_are_coherent("cluster", "redis");
}

#[test]
fn histories_are_coherent_behind_sentinels() {
    histories_are_coherent("sentinel", "valkey");
}

fn histories_are_coherent(topology: &str, program: &str) {
    let seconds = number("CHAOS_SECONDS", 15);
    let seed = number("CHAOS_SEED", now());
    println!("{topology}: CHAOS_SEED={seed}");
    let server = Server::start(topology, program);
    let folder = env::temp_dir().join(format!("chaos-{topology}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the histories");
    let proxies: Vec<Chaos> = match topology {
        "single" => {
            let port = server.info["port"].as_u64().expect("it has a port") as u16;
            (0..PROCESSES).map(|_| Chaos::to(port)).collect()
        }
        _ => Vec::new(),
    };
    let url = |process: usize| match proxies.get(process) {
        Some(proxy) => format!("hybrid+redis://127.0.0.1:{}?prefix=app", proxy.port()),
        None => {
            let joint = if server.url().contains('?') { '&' } else { '?' };
            format!("{}{joint}prefix=app", server.hybrid_url())
        }
    };
    let until = now() + seconds * 1_000_000_000;
    let file = |process: usize| folder.join(process.to_string());
    let start = |process: usize| {
        Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "worker", "--ignored", "--nocapture"])
            .env("CHAOS_URL", url(process))
            .env("CHAOS_FILE", file(process))
            .env("CHAOS_PROCESS", process.to_string())
            .env("CHAOS_UNTIL", until.to_string())
            .spawn()
            .expect("a worker starts")
    };
    let mut workers = Workers((0..PROCESSES).map(start).collect());
    let mut dice = Random::of(seed);
    let faults = torment(&server, &proxies, &workers, &mut dice, until - 1_000_000_000);
    for worker in &mut workers.0 {
        assert!(worker.wait().expect("it ends").success(), "a worker found a violation");
    }
    let read = |process| fs::read_to_string(file(process)).expect("a history");
    let histories: Vec<String> = (0..PROCESSES).map(read).collect();
    fs::remove_dir_all(&folder).expect("the histories are done with");

    let writes: Vec<Operation> = histories.iter().flat_map(|one| parse(one, "W")).collect();
    let known = confirmed(&writes);
    let begun: HashMap<(&str, u64), u64> =
        writes.iter().map(|write| ((write.key, write.version), write.began)).collect();
    let mut ages: Vec<u64> = Vec::new();
    let (mut reads, mut marked, mut violations) = (0u64, 0u64, Vec::new());
    for read in histories.iter().flat_map(|one| parse(one, "R")) {
        reads += 1;
        let since = begun.get(&(read.key, read.version)).expect("a version that was written");
        assert!(*since <= read.ended, "G1: {} is {} before it was written", read.key, read.version);
        if read.flag {
            marked += 1;
            continue;
        }
        let newer = known.get(read.key).and_then(|known| {
            let place = known.partition_point(|(version, _)| *version <= read.version);
            known.get(place).map(|(_, at)| *at).filter(|at| !faults.may_have_lost(*at, read.ended))
        });
        let age = newer.map_or(0, |at| read.began.saturating_sub(at));
        ages.push(age);
        if age > BOUND {
            violations.push(format!(
                "G2: {} is {}, {} ms late",
                read.key,
                read.version,
                age / 1_000_000
            ));
        }
    }
    for read in histories.iter().flat_map(|one| parse(one, "L")) {
        if !faults.may_have_lost(read.began, read.ended) {
            violations.push(format!("G1: {} is {}, and newer was written", read.key, read.version));
        }
    }
    let counted = histories.iter().flat_map(|one| one.lines().filter_map(|l| l.strip_prefix("S ")));
    let (mut replayed, mut dropped) = (0u64, 0u64);
    for line in counted {
        let mut numbers = line.split(' ').map(|part| part.parse::<u64>().expect("a number"));
        replayed += numbers.next().expect("replayed writes");
        dropped += numbers.next().expect("dropped writes");
    }
    ages.sort_unstable();
    let at = |share: f64| {
        let place = ((ages.len() as f64 * share) as usize).min(ages.len().saturating_sub(1));
        ages.get(place).map_or(0.0, |age| *age as f64 / 1e6)
    };
    println!(
        "{topology}: {} writes and {reads} reads by {PROCESSES} processes of {THREADS} threads in {seconds} s; \
         faults: {:?}; {replayed} writes replayed, {dropped} dropped; {marked} reads marked stale; late reads: p99 {:.1} ms, p99.9 {:.1} ms, p99.99 {:.1} \
         ms, most {:.1} ms; violations: {}",
        writes.len(),
        faults.counts,
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0),
        violations.len()
    );
    assert!(violations.is_empty(), "{violations:?}\nCHAOS_SEED={seed}");
    // Each key has one writer, so that what the server holds is always that process's own.
    if faults.fail_overs.is_empty() {
        assert_eq!(dropped, 0, "queued writes were given up\nCHAOS_SEED={seed}");
    }
    assert!(writes.len() > 100 && reads > 1000, "too little has happened");
}
