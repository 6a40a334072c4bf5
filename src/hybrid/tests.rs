//! The protocol against a model server: seeded random schedules of several processes that read, write,
//! delete and clear the same few keys, with replies and invalidations in flight in between.
//!
//! The model keeps what a real server keeps: writes and pushes of one process share one connection and
//! stay in order; reads have connections of their own; a push goes to every process but the writer. Two
//! threads of a process may change L1 in one order and send in the other, and L1 may lose an entry at
//! any time.
//! What is checked is what the module promises while the stream is up: a process sees its own
//! completed writes, nothing is torn out of nowhere, and when everything in flight has been delivered,
//! what L1 vouches for is what the server holds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::read::{Asked, Fetched, Read};
use super::write::{Clear, Write};
use crate::config::{CommonOptions, HybridOptions, RedisOptions};
use crate::error::{Error, ErrorKind};
use crate::local::LocalCache;
use crate::ops::Remaining;
use crate::redis::RedisCache;
use crate::value::Value;

const KEYS: [&[u8]; 2] = [b"a", b"b"];

/// A small generator, so that a failing seed is replayed exactly.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// What travels on a process's tracked connection, from the server.
enum Downstream {
    Invalidated(&'static [u8]),
    InvalidatedAll,
    Reply(u64),
}

enum Upstream {
    Set(&'static [u8], u64),
    Delete(&'static [u8]),
    Clear,
}

/// A write that its caller still waits for.
struct Pending<'a> {
    id: u64,
    key: Option<&'static [u8]>,
    write: Option<Write<'a>>,
    clear: Option<Clear<'a>>,
}

/// A read on its way: asked, then answered by the server, then taken.
struct Reading {
    key: &'static [u8],
    asked: Asked,
    /// This process's last write of the key that was completed when the read began.
    floor: u64,
    reply: Option<Option<u64>>,
}

struct Process<'a> {
    core: &'a Arc<Core>,
    /// Begun, but not sent yet: each by a thread of its own.
    unsent: Vec<(u64, Upstream)>,
    up: VecDeque<(u64, Upstream)>,
    down: VecDeque<Downstream>,
    writes: Vec<Pending<'a>>,
    reads: Vec<Reading>,
    /// Server order of this process's last completed write of each key.
    floors: HashMap<&'static [u8], u64>,
    /// Server order of each write, once executed.
    executed: HashMap<u64, u64>,
}

struct Model {
    /// Key to (value, server order).
    held: HashMap<&'static [u8], u64>,
    /// Server order at which each value, or each key's absence, came to be.
    order_of_value: HashMap<u64, u64>,
    last_removal: HashMap<&'static [u8], u64>,
    order: u64,
}

pub(super) fn core() -> Arc<Core> {
    let l2 = RedisCache::connect_lazily(&CommonOptions::default(), &RedisOptions::default())
        .expect("nothing is connected yet");
    let core = Core::new(LocalCache::new(), Some(l2), HybridOptions::default(), None, 1 << 20);
    core.trust.subscribed();
    core.trust.proven(Instant::now() + Duration::from_secs(3600));
    core
}

fn number(value: &Value) -> u64 {
    u64::from_le_bytes(value[..].try_into().expect("eight bytes"))
}

fn run(seed: u64, steps: usize) {
    let cores = [core(), core(), core()];
    let mut processes: Vec<Process<'_>> = cores
        .iter()
        .map(|core| Process {
            core,
            unsent: Vec::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            writes: Vec::new(),
            reads: Vec::new(),
            floors: HashMap::new(),
            executed: HashMap::new(),
        })
        .collect();
    let mut model = Model {
        held: HashMap::new(),
        order_of_value: HashMap::new(),
        last_removal: HashMap::new(),
        order: 0,
    };
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut next = 1u64;
    for _ in 0..steps {
        let p = dice.roll(processes.len());
        let key = KEYS[dice.roll(KEYS.len())];
        match dice.roll(19) {
            0..=2 => begin_read(&mut processes[p], &model, key, seed),
            3 | 4 => {
                next += 1;
                let process = &mut processes[p];
                let core: &Core = process.core;
                let write = core.begin_set(key, &next.to_le_bytes(), None).expect("memory");
                begin_write(process, next, Some(key), Some(write), None, Upstream::Set(key, next));
            }
            5 => {
                next += 1;
                let process = &mut processes[p];
                let core: &Core = process.core;
                let (_, write) = core.begin_delete(key);
                begin_write(process, next, Some(key), Some(write), None, Upstream::Delete(key));
            }
            6 if dice.roll(8) == 0 => {
                next += 1;
                let process = &mut processes[p];
                let core: &Core = process.core;
                let clear = core.begin_clear();
                begin_write(process, next, None, None, Some(clear), Upstream::Clear);
            }
            7..=9 => execute(&mut processes, p, &mut model),
            10 | 11 => answer(&mut processes[p], &model, &mut dice),
            12 | 13 => take(&mut processes[p], &model, &mut dice, seed),
            14 => {
                processes[p].core.l1.remove(key);
            }
            15 | 16 => send(&mut processes[p], &mut dice),
            _ => deliver(&mut processes[p]),
        }
    }
    // Let everything arrive.
    for p in 0..processes.len() {
        while !processes[p].unsent.is_empty() {
            send(&mut processes[p], &mut dice);
        }
        while !processes[p].up.is_empty() {
            execute(&mut processes, p, &mut model);
        }
    }
    for process in &mut processes {
        while !process.reads.is_empty() {
            answer(process, &model, &mut dice);
            take(process, &model, &mut dice, seed);
        }
        while !process.down.is_empty() {
            deliver(process);
        }
        assert!(process.writes.is_empty(), "seed {seed}: a write got no reply");
    }
    for (p, process) in processes.iter().enumerate() {
        for key in KEYS {
            if let Read::Done(value) = process.core.begin_get(key) {
                assert_eq!(
                    Some(number(&value)),
                    model.held.get(key).copied(),
                    "seed {seed}: process {p} vouches for what the server does not hold"
                );
            }
        }
    }
}

fn begin_write<'a>(
    process: &mut Process<'a>,
    id: u64,
    key: Option<&'static [u8]>,
    write: Option<Write<'a>>,
    clear: Option<Clear<'a>>,
    message: Upstream,
) {
    process.unsent.push((id, message));
    process.writes.push(Pending { id, key, write, clear });
}

/// One of the threads that have begun a write sends it.
fn send(process: &mut Process<'_>, dice: &mut Dice) {
    if !process.unsent.is_empty() {
        let sent = process.unsent.swap_remove(dice.roll(process.unsent.len()));
        process.up.push_back(sent);
    }
}

/// The order of what a read answered: a value's own, or that of the removal it saw.
fn check(model: &Model, key: &[u8], floor: u64, seen: Option<u64>, seed: u64) {
    let order = match seen {
        Some(value) => model.order_of_value.get(&value).copied().unwrap_or(u64::MAX),
        None => model.last_removal.get(key).copied().unwrap_or(0),
    };
    assert!(order >= floor, "seed {seed}: a read went behind this process's own write");
}

fn begin_read(process: &mut Process<'_>, model: &Model, key: &'static [u8], seed: u64) {
    let floor = process.floors.get(key).copied().unwrap_or(0);
    match process.core.begin_get(key) {
        Read::Done(value) => check(model, key, floor, Some(number(&value)), seed),
        Read::Ask(asked) => process.reads.push(Reading { key, asked, floor, reply: None }),
    }
}

/// The server executes the next message of process `p`, and pushes to the others.
fn execute(processes: &mut [Process<'_>], p: usize, model: &mut Model) {
    let Some((id, message)) = processes[p].up.pop_front() else { return };
    model.order += 1;
    let pushed = match message {
        Upstream::Set(key, value) => {
            model.held.insert(key, value);
            model.order_of_value.insert(value, model.order);
            vec![key]
        }
        Upstream::Delete(key) => {
            model.last_removal.insert(key, model.order);
            if model.held.remove(key).is_some() { vec![key] } else { vec![] }
        }
        Upstream::Clear => {
            for key in KEYS {
                model.last_removal.insert(key, model.order);
            }
            model.held.drain().map(|(key, _)| key).collect()
        }
    };
    processes[p].executed.insert(id, model.order);
    processes[p].down.push_back(Downstream::Reply(id));
    for (q, process) in processes.iter_mut().enumerate() {
        if q != p {
            process.down.extend(pushed.iter().map(|key| Downstream::Invalidated(key)));
            if pushed.len() == KEYS.len() {
                process.down.push_back(Downstream::InvalidatedAll);
            }
        }
    }
}

/// The server answers one of the reads on their way.
fn answer(process: &mut Process<'_>, model: &Model, dice: &mut Dice) {
    let open: Vec<usize> =
        (0..process.reads.len()).filter(|i| process.reads[*i].reply.is_none()).collect();
    if !open.is_empty() {
        let reading = &mut process.reads[open[dice.roll(open.len())]];
        reading.reply = Some(model.held.get(reading.key).copied());
    }
}

/// The caller takes one of the answers.
fn take(process: &mut Process<'_>, model: &Model, dice: &mut Dice, seed: u64) {
    let ready: Vec<usize> =
        (0..process.reads.len()).filter(|i| process.reads[*i].reply.is_some()).collect();
    if ready.is_empty() {
        return;
    }
    let Reading { key, asked, floor, reply } =
        process.reads.swap_remove(ready[dice.roll(ready.len())]);
    let reply: Fetched = reply
        .flatten()
        .map(|value| (Value::copy_from(&value.to_le_bytes()).expect("memory"), Remaining::Forever));
    let seen = process.core.end_get(key, asked, Ok(reply)).expect("no error was given");
    check(model, key, floor, seen.as_ref().map(number), seed);
}

/// The client's reader takes the next message of the tracked connection.
fn deliver(process: &mut Process<'_>) {
    match process.down.pop_front() {
        None => {}
        Some(Downstream::Invalidated(key)) => process.core.forget(key),
        Some(Downstream::InvalidatedAll) => process.core.forget_all(),
        Some(Downstream::Reply(id)) => {
            let place = process.writes.iter().position(|pending| pending.id == id);
            let pending = process.writes.swap_remove(place.expect("each reply has its write"));
            if let Some(write) = pending.write {
                process.core.end_write(write, Ok(())).expect("no error was given");
            }
            drop(pending.clear);
            let order = process.executed[&id];
            for key in pending.key.map_or(KEYS.to_vec(), |key| vec![key]) {
                let floor = process.floors.entry(key).or_default();
                *floor = order.max(*floor);
            }
        }
    }
}

#[test]
fn random_schedules_stay_coherent() {
    let first = std::env::var("LC_SEED").ok().and_then(|seed| seed.parse().ok());
    match first {
        Some(seed) => run(seed, 400),
        None => (1..=6000).for_each(|seed| run(seed, 120)),
    }
}

#[test]
fn an_l1_hit_needs_no_server_and_an_own_write_is_one() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    assert!(matches!(core.begin_get(b"k"), Read::Done(value) if &value[..] == b"v"));
    core.end_write(write, Ok(())).expect("no error was given");
    assert!(matches!(core.begin_get(b"k"), Read::Done(_)));
    assert_eq!(core.stats().l1_hits, 2);
}

#[test]
fn a_write_that_l2_cannot_take_is_kept_counted_and_opens_the_breaker_in_the_end() {
    let core = core();
    for _ in 0..core.options.breaker_failures {
        assert!(core.breaker.allows());
        let write = core.begin_set(b"k", b"v", None).expect("memory");
        let away = Error::new(ErrorKind::Timeout, "no reply");
        assert_eq!(core.end_write::<()>(write, Err(away)), Ok(None));
    }
    assert!(!core.breaker.allows());
    assert!(core.degraded());
    assert_eq!(core.stats().dropped_writes, u64::from(core.options.breaker_failures));
    assert_eq!(core.get_alone(b"k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_write_that_l2_forbids_leaves_l1() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    let refused = Error::new(ErrorKind::Auth, "NOPERM");
    assert!(core.end_write::<()>(write, Err(refused)).is_err());
    assert!(core.get_alone(b"k").is_none());
    assert!(core.breaker.allows());
}

#[test]
fn an_abandoned_write_leaves_l1() {
    let core = core();
    drop(core.begin_set(b"k", b"v", None).expect("memory"));
    assert!(core.get_alone(b"k").is_none());
}

#[test]
fn what_came_before_a_subscription_is_read_again_and_served_only_if_l2_is_away() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    core.end_write(write, Ok(())).expect("no error was given");
    core.trust.subscribed();
    core.trust.proven(Instant::now());
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("it can't be vouched for") };
    let away = Error::new(ErrorKind::Connect, "refused");
    let served = core.end_get(b"k", asked, Err(away)).expect("never an error");
    assert_eq!(served.as_deref(), Some(&b"v"[..]));
    assert_eq!(core.stats().stale_served, 1);
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("it can't be vouched for") };
    assert!(core.end_get(b"k", asked, Ok(None)).expect("no error was given").is_none());
    assert!(core.get_alone(b"k").is_none());
}

#[test]
fn a_fill_keeps_the_servers_remaining_time_and_the_l1_limit() {
    let core = core();
    assert_eq!(core.l1_ttl(None), None);
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("nothing is there") };
    let value = Value::copy_from(b"v").expect("memory");
    let fetched = Some((value, Remaining::For(Duration::from_secs(5))));
    core.end_get(b"k", asked, Ok(fetched)).expect("no error was given");
    assert!(
        matches!(core.ttl_alone(b"k"), Some(Remaining::For(left)) if left <= Duration::from_secs(5))
    );
    assert_eq!(core.stats().backfills, 1);
}
