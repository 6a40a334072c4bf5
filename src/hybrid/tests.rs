//! The steps of the protocol one by one. Their interplay is the simulation's (`tests/simulation/`).

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::core::{Core, Parts};
use super::protections::Protections;
use super::queue::{End, Look, Step};
use super::read::{Hit, Read};
use super::simulation::universe::{Dice, Sim, Universe};
use super::stripes::STRIPES;
use super::world::{Got, Replay, Replayed};
use crate::config::{HybridOptions, L1Alone};
use crate::error::{Error, ErrorKind};
use crate::local::LocalCache;
use crate::ops::{Remaining, Ttl, Ttls};
use crate::value::Value;

const NOW: u64 = 1_000_000;

fn core_with(change: impl FnOnce(&mut HybridOptions)) -> Arc<Core<Sim>> {
    let now = Arc::new(AtomicU64::new(NOW));
    let clocks = std::slice::from_ref(&now);
    let universe = Universe::new(clocks, NOW, Protections::default(), Dice::new(1), false);
    let world = Sim { process: 0, now: now.clone(), universe: Arc::new(Mutex::new(universe)) };
    let mut options = HybridOptions::default();
    change(&mut options);
    let core = Core::new(Parts {
        l2: Some(world.clone()),
        world,
        l1: LocalCache::with_virtual_clock(now),
        options,
        ttls: Ttls::default(),
        max_value_bytes: 1 << 20,
        stripes: STRIPES,
        protections: Protections::default(),
    });
    core.trust.subscribed();
    core.proven(NOW);
    core
}

fn core() -> Arc<Core<Sim>> {
    core_with(|_| {})
}

fn away(kind: ErrorKind) -> Error {
    Error::new(kind, "no reply")
}

fn bytes(hit: Option<Hit>) -> Option<Vec<u8>> {
    hit.map(|hit| hit.value.to_vec())
}

/// Sets `key` while L2 does not answer.
fn set_away(core: &Core<Sim>, key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
    let write = core.begin_set(key, value, ttl_ms).expect("memory");
    core.end_write::<()>(write, Err(away(ErrorKind::Timeout))).expect("never an error");
}

/// The next replay, if there is one.
fn next(core: &Core<Sim>) -> Option<(Replay, Vec<Vec<u8>>, super::queue::Job)> {
    match core.queue.next(NOW) {
        Step::Write(job) => {
            let known = job.known.iter().map(|value| value.to_vec()).collect();
            Some((job.write.clone(), known, job))
        }
        _ => None,
    }
}

#[test]
fn an_l1_hit_needs_no_server_and_an_own_write_is_one() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    assert!(matches!(core.begin_get(b"k"), Read::Done(Some(hit)) if &hit.value[..] == b"v"));
    core.end_write(write, Ok(())).expect("no error was given");
    assert!(matches!(core.begin_get(b"k"), Read::Done(Some(hit)) if !hit.stale));
    assert_eq!(core.stats().l1_hits, 2);
    assert!(core.queue.is_empty());
}

#[test]
fn a_write_that_l2_cannot_take_is_queued_and_opens_the_breaker_in_the_end() {
    let core = core();
    for round in 0..core.options.breaker_failures {
        assert!(core.breaker.allows());
        set_away(&core, b"k", &[round as u8], None);
    }
    assert!(!core.breaker.allows());
    assert!(core.degraded());
    assert_eq!((core.stats().queued_writes, core.stats().dropped_writes), (1, 0));
    assert_eq!(bytes(core.get_alone(b"k")), Some(vec![4]));
}

#[test]
fn a_write_that_l2_forbids_leaves_l1_and_is_not_queued() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    assert!(core.end_write::<()>(write, Err(away(ErrorKind::Auth))).is_err());
    assert!(core.get_alone(b"k").is_none());
    assert!(core.breaker.allows() && core.queue.is_empty());
}

#[test]
fn an_abandoned_write_is_queued() {
    let core = core();
    drop(core.begin_set(b"k", b"v", None).expect("memory"));
    assert_eq!(bytes(core.get_alone(b"k")).as_deref(), Some(&b"v"[..]));
    let (_, known, _) = next(&core).expect("it waits");
    assert_eq!(known, [b"v"], "it may have landed");
}

#[test]
fn the_queue_answers_what_l1_has_lost() {
    let core = core();
    set_away(&core, b"k", b"v", Some(500));
    core.l1.remove_all();
    let Read::Done(Some(hit)) = core.begin_get(b"k") else { panic!("L2 must not be asked") };
    assert_eq!((&hit.value[..], hit.ttl_ms, hit.stale), (&b"v"[..], Some(500), true));
    assert!(matches!(core.queue.look(b"k", NOW + 500), Look::Gone), "its time is over");
    let (held, write) = core.begin_delete(b"k");
    write.queue(false);
    assert!(held);
    assert!(matches!(core.begin_get(b"k"), Read::Done(None)), "a tombstone");
}

#[test]
fn a_replay_may_replace_what_was_seen_and_what_is_our_own() {
    let core = core();
    let write = core.begin_set(b"k", b"seen", None).expect("memory");
    core.end_write(write, Ok(())).expect("no error was given");
    set_away(&core, b"k", b"one", None);
    let write = core.begin_set(b"k", b"two", None).expect("memory");
    core.end_write::<()>(write, Err(away(ErrorKind::Connect))).expect("never an error");
    let (write, known, job) = next(&core).expect("it waits");
    assert!(matches!(write, Replay::Set(value, None) if &value[..] == b"two"));
    assert!(known.contains(&b"seen".to_vec()) && known.contains(&b"one".to_vec()));
    assert!(next(&core).is_none(), "one at a time");
    assert!(!core.begin_set(b"k", b"three", None).expect("memory").goes(), "nothing overtakes it");
    assert!(!core.queue.ended(&job, End::Replied(Replayed::Applied)));
    let (write, known, job) = next(&core).expect("the third came meanwhile");
    assert!(matches!(write, Replay::Set(value, None) if &value[..] == b"three"));
    assert!(known.contains(&b"two".to_vec()));
    assert!(core.queue.ended(&job, End::Replied(Replayed::Foreign)), "it is lost");
    assert!(core.queue.is_empty());
}

#[test]
fn while_l2_is_bypassed_a_set_takes_the_place_of_the_queued_one() {
    let core = core();
    assert!(!core.set_at_once(b"k", b"one", Ttl::Never).expect("memory"), "L2 is asked");
    core.breaker.trip();
    for value in [b"one", b"two", b"six"] {
        assert!(core.set_at_once(b"k", value, Ttl::Never).expect("memory"));
    }
    assert_eq!((core.stats().queued_writes, core.stats().sets), (1, 3));
    assert_eq!(bytes(core.get_alone(b"k")).as_deref(), Some(&b"six"[..]));
    core.l1.remove_all();
    assert_eq!(bytes(core.get_alone(b"k")).as_deref(), Some(&b"six"[..]));
    let (write, known, job) = next(&core).expect("it waits");
    assert!(known.is_empty(), "none of them was sent");
    // What is on its way stays as it is.
    assert!(core.set_at_once(b"k", b"ten", Ttl::Never).expect("memory"));
    assert!(matches!(write, Replay::Set(value, None) if &value[..] == b"six"));
    core.queue.ended(&job, End::Replied(Replayed::Applied));
    let (write, known, job) = next(&core).expect("the last one came meanwhile");
    assert!(matches!(write, Replay::Set(value, None) if &value[..] == b"ten"));
    assert_eq!(known, [b"six"]);
    core.queue.ended(&job, End::Replied(Replayed::Applied));
    assert!(core.queue.is_empty());
}

#[test]
fn sets_that_take_anothers_place_stay_within_the_bound_of_bytes() {
    let core = core_with(|options| options.replay_bytes = 700);
    core.breaker.trip();
    let set = |key: &[u8], length: usize| {
        assert!(core.set_at_once(key, &vec![b'x'; length], Ttl::Never).expect("memory"));
    };
    for round in 0..50 {
        set(b"a", 30);
        // Of the same size of allocation, and of another.
        set(b"b", 33 + round % 7);
        set(b"b", 60);
    }
    assert_eq!((core.stats().queued_writes, core.stats().dropped_writes), (2, 0));
    set(b"b", 400);
    assert_eq!((core.stats().queued_writes, core.stats().dropped_writes), (1, 1));
}

#[test]
fn a_queued_ttl_runs_from_the_call() {
    let core = core();
    set_away(&core, b"k", b"v", Some(500));
    let Step::Write(job) = core.queue.next(NOW + 200) else { panic!("it waits") };
    assert!(matches!(job.write, Replay::Set(_, Some(300))));
    core.queue.ended(&job, End::Away { landed: false });
    let Step::Write(job) = core.queue.next(NOW + 500) else { panic!("it waits") };
    assert!(matches!(job.write, Replay::Delete { any: false }), "its time is over");
}

#[test]
fn an_acknowledged_write_takes_the_queued_one_out() {
    let core = core();
    set_away(&core, b"k", b"old", None);
    let write = core.begin_set(b"k", b"new", None).expect("memory");
    assert!(write.goes());
    assert!(next(&core).is_none(), "not beside a direct write");
    core.end_write(write, Ok(())).expect("no error was given");
    assert!(core.queue.is_empty());
}

#[test]
fn a_clear_is_a_barrier() {
    let core = core();
    set_away(&core, b"before", b"v", None);
    let clear = core.begin_clear();
    core.end_clear(clear, Err(away(ErrorKind::Timeout))).expect("never an error");
    assert!(matches!(core.begin_get(b"before"), Read::Done(None)));
    assert!(matches!(core.begin_get(b"another"), Read::Done(None)), "nobody reads past it");
    let write = core.begin_set(b"after", b"v", None).expect("memory");
    assert!(!write.goes());
    write.queue(false);
    let Step::Clear(version) = core.queue.next(NOW) else { panic!("the clear comes first") };
    assert!(matches!(core.queue.next(NOW), Step::Later));
    core.queue.cleared(version, true);
    assert!(matches!(next(&core), Some((_, _, job)) if &job.key[..] == b"after"));
}

#[test]
fn the_queue_is_bounded_by_keys_and_by_bytes() {
    let core = core_with(|options| options.replay_limit = 2);
    for key in [b"a", b"b", b"c"] {
        set_away(&core, key, b"v", None);
    }
    assert_eq!((core.queue.len(), core.stats().dropped_writes), (2, 1));
    assert!(matches!(core.queue.look(b"a", NOW), Look::Nothing), "the oldest");
    let core = core_with(|options| options.replay_bytes = 4096);
    for key in 0..10u8 {
        set_away(&core, &[key], &[0; 1000], None);
    }
    assert!(core.queue.len() < 5);
    assert!(matches!(core.queue.look(&[9], NOW), Look::Holds(..)), "the newest");
}

#[test]
fn what_came_before_a_subscription_is_read_again_and_served_only_if_l2_is_away() {
    let core = core();
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    core.end_write(write, Ok(())).expect("no error was given");
    core.trust.subscribed();
    core.proven(NOW);
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("it can't be vouched for") };
    let served = core.end_get(b"k", asked, Err(away(ErrorKind::Connect))).expect("never an error");
    assert!(matches!(served, Some(hit) if hit.stale && &hit.value[..] == b"v"));
    assert_eq!(core.stats().stale_served, 1);
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("it can't be vouched for") };
    assert!(core.end_get(b"k", asked, Ok(None)).expect("no error was given").is_none());
    assert!(core.get_alone(b"k").is_none());
}

#[test]
fn l1_alone_can_be_refused_but_not_ones_own_writes() {
    let core = core_with(|options| options.l1_alone = L1Alone::Miss);
    let write = core.begin_set(b"k", b"v", None).expect("memory");
    core.end_write(write, Ok(())).expect("no error was given");
    core.lost();
    core.breaker.trip();
    assert!(core.get_alone(b"k").is_none());
    set_away(&core, b"own", b"v", None);
    assert!(core.get_alone(b"own").is_some());
}

#[test]
fn a_fill_keeps_the_servers_remaining_time_and_the_l1_limit() {
    let core = core_with(|options| options.l1_max_ttl = Some(Duration::from_secs(3)));
    assert_eq!(core.l1_ttl(None), Some(3000));
    let Read::Ask(asked) = core.begin_get(b"k") else { panic!("nothing is there") };
    let value = Value::copy_from(b"v").expect("memory");
    let fetched = Got::from((value, Remaining::For(Duration::from_secs(2))));
    core.end_get(b"k", asked, Ok(Some(fetched.into()))).expect("no error was given");
    assert_eq!(core.ttl_alone(b"k"), Some(Remaining::For(Duration::from_secs(2))));
    assert_eq!(core.stats().backfills, 1);
}
