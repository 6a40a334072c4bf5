//! One holder at a time, in turn, with growing fences; waits and leases that end; forks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::error::{ErrorKind, Result};
use crate::fork::tests::{Stop, in_fork};
use crate::key::KEY_MAX;
use crate::ops::{Lock, TTL_MAX_MS};
use crate::runtime;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);
const NOW: Duration = Duration::ZERO;

fn take(locks: &Locks, name: &[u8], lease: Duration, wait: Duration) -> Lock {
    locks.acquire(name, lease, wait).unwrap().expect("the lock is free in time")
}

fn until_waiting(locks: &Locks, count: usize) {
    while locks.waiting(b"job") != count {
        thread::yield_now();
    }
}

fn kind<V>(result: Result<V>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn one_at_a_time_and_the_fence_grows() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let (held, last_fence) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let lock = take(&locks, b"job", LONG, LONG);
                    assert!(!held.swap(true, SeqCst));
                    assert!(last_fence.swap(lock.fence(), SeqCst) < lock.fence());
                    thread::yield_now();
                    held.store(false, SeqCst);
                    assert!(lock.release().unwrap());
                }
            });
        }
    });
    assert_eq!(locks.len(), 0);
}

#[test]
fn names_are_locked_apart_and_a_drop_releases() {
    let locks = Locks::new();
    let job = take(&locks, b"job", LONG, NOW);
    let other = take(&locks, b"other", LONG, NOW);
    assert!(locks.acquire(b"job", LONG, NOW).unwrap().is_none());
    drop(job);
    drop(take(&locks, b"job", LONG, NOW));
    assert!(other.release().unwrap());
    assert_eq!(locks.len(), 0);
}

/// A runtime of the program.
fn programs_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn tasks_and_threads_take_it_one_at_a_time() {
    let _alone = runtime::tests::alone();
    let locks = std::sync::Arc::new(Locks::new());
    let held = std::sync::Arc::new(AtomicBool::new(false));
    let program = programs_runtime();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (locks, held) = (locks.clone(), held.clone());
            program.spawn(async move {
                for _ in 0..100 {
                    let lock = locks.acquire_async(b"job", LONG, LONG).await.unwrap().unwrap();
                    assert!(!held.swap(true, SeqCst));
                    tokio::task::yield_now().await;
                    held.store(false, SeqCst);
                    assert!(lock.release_async().await.unwrap());
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let lock = take(&locks, b"job", LONG, LONG);
        assert!(!held.swap(true, SeqCst));
        held.store(false, SeqCst);
        assert!(lock.release().unwrap());
    }
    for task in tasks {
        program.block_on(task).unwrap();
    }
    assert_eq!(locks.len(), 0);
}

#[test]
fn a_task_waits_until_its_deadline_or_the_end_of_the_lease_outside_of_a_runtime_too() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    // A thread that parks, and no runtime around it.
    let block_on = |wait| {
        let acquiring = locks.acquire_async(b"job", LONG, wait);
        runtime::block_on(std::time::Instant::now() + LONG, acquiring).unwrap().unwrap()
    };
    assert!(block_on(NOW).is_none());
    assert!(block_on(SHORT).is_none());
    assert_eq!(locks.waiting(b"job"), 0);
    assert!(lock.extend(SHORT).unwrap());
    assert!(block_on(LONG).unwrap().fence() > lock.fence());
    assert!(!lock.release().unwrap());
}

#[test]
fn a_task_that_is_dropped_leaves_the_queue_and_gives_back_what_it_was_granted() {
    let _alone = runtime::tests::alone();
    let locks = std::sync::Arc::new(Locks::new());
    let program = programs_runtime();
    for granted in [false, true] {
        let lock = take(&locks, b"job", LONG, NOW);
        let mut waits = Box::pin(locks.acquire_async(b"job", LONG, LONG));
        let polled = program.block_on(async {
            std::future::poll_fn(|context| std::task::Poll::Ready(waits.as_mut().poll(context)))
                .await
        });
        assert!(polled.is_pending());
        assert_eq!(locks.waiting(b"job"), 1);
        if granted {
            assert!(lock.release().unwrap());
            assert_eq!((locks.waiting(b"job"), locks.len()), (0, 1));
            drop(waits);
        } else {
            drop(waits);
            assert_eq!(locks.waiting(b"job"), 0);
            assert!(lock.release().unwrap());
        }
        assert_eq!(locks.len(), 0);
    }
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    assert!(locks.acquire(b"job", LONG, SHORT).unwrap().is_none());
    assert_eq!(locks.waiting(b"job"), 0);
    assert!(lock.release().unwrap());
}

#[test]
fn a_lease_that_runs_out_frees_the_lock_and_is_lost() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lost = take(&locks, b"job", SHORT, NOW);
    let next = take(&locks, b"job", LONG, LONG);
    assert!(next.fence() > lost.fence());
    assert!(!lost.extend(LONG).unwrap());
    assert!(!lost.release().unwrap());
    assert!(locks.acquire(b"job", LONG, NOW).unwrap().is_none(), "the next one still has it");
    assert!(next.release().unwrap());
}

#[test]
fn a_lease_that_ran_out_is_lost_also_where_nobody_wanted_it() {
    let locks = Locks::new();
    let lock = take(&locks, b"job", Duration::from_nanos(1), NOW);
    assert!(!lock.extend(LONG).unwrap());
    assert!(!lock.release().unwrap());
    assert_eq!(locks.len(), 0);
}

#[test]
fn an_extended_lease_keeps_the_lock_and_a_shortened_one_wakes_who_waits() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    assert!(lock.extend(LONG * 2).unwrap());
    thread::scope(|scope| {
        let waits = scope.spawn(|| take(&locks, b"job", LONG, LONG).fence());
        until_waiting(&locks, 1);
        assert!(lock.extend(SHORT).unwrap());
        assert!(waits.join().unwrap() > lock.fence());
    });
    assert_eq!(kind(lock.extend(NOW)), Some(ErrorKind::Invalid));
}

#[test]
fn who_waits_is_served_in_turn_and_nobody_overtakes() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    let served = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for turn in 0..10 {
            let (locks, served) = (&locks, &served);
            scope.spawn(move || {
                let lock = take(locks, b"job", LONG, LONG);
                served.lock().unwrap().push(turn);
                lock.release().unwrap();
            });
            until_waiting(locks, turn + 1);
        }
        lock.release().unwrap();
    });
    assert_eq!(*served.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(locks.len(), 0);
}

#[test]
fn a_free_lock_that_was_granted_is_not_taken_by_who_comes_later() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    thread::scope(|scope| {
        let waits = scope.spawn(|| take(&locks, b"job", LONG, LONG));
        until_waiting(&locks, 1);
        lock.release().unwrap();
        assert!(locks.acquire(b"job", LONG, NOW).unwrap().is_none());
        drop(waits.join().unwrap());
    });
    drop(take(&locks, b"job", LONG, NOW));
}

#[test]
fn a_first_that_gives_up_lets_the_second_see_the_lease_end() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lost = take(&locks, b"job", SHORT * 5, NOW);
    thread::scope(|scope| {
        let first = scope.spawn(|| locks.acquire(b"job", LONG, SHORT).unwrap().is_none());
        until_waiting(&locks, 1);
        let second = scope.spawn(|| take(&locks, b"job", LONG, LONG).fence());
        assert!(first.join().unwrap());
        assert!(second.join().unwrap() > lost.fence());
    });
}

#[test]
fn waits_end_by_interrupt_close_and_shutdown() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    let acquire = || kind(locks.acquire(b"job", LONG, LONG));
    assert_eq!(runtime::interruptible(|| true, acquire), Some(ErrorKind::Interrupted));
    let scope = runtime::library_thread_scope();
    assert_eq!(acquire(), Some(ErrorKind::Reentrant));
    assert!(locks.acquire(b"job", LONG, NOW).unwrap().is_none(), "no wait, no refusal");
    drop(scope);
    for end in [|_: &Locks| runtime::shutdown(NOW).unwrap(), |locks: &Locks| locks.close()] {
        thread::scope(|scope| {
            let waits = scope.spawn(acquire);
            until_waiting(&locks, 1);
            end(&locks);
            assert_eq!(waits.join().unwrap(), Some(ErrorKind::Closed));
        });
    }
    assert_eq!(kind(locks.acquire(b"other", LONG, NOW)), Some(ErrorKind::Closed));
    assert!(lock.release().unwrap());
    assert_eq!(locks.len(), 0);
}

#[test]
fn refuses_what_is_out_of_range() {
    let locks = Locks::new();
    let acquire = |name: &[u8], lease| kind(locks.acquire(name, lease, NOW));
    assert_eq!(acquire(b"", LONG), Some(ErrorKind::Invalid));
    assert_eq!(acquire(&vec![b'x'; KEY_MAX], LONG), None);
    assert_eq!(acquire(&vec![b'x'; KEY_MAX + 1], LONG), Some(ErrorKind::TooBig));
    assert_eq!(acquire(b"job", NOW), Some(ErrorKind::Invalid));
    assert_eq!(acquire(b"job", Duration::MAX), Some(ErrorKind::Invalid));
    assert_eq!(acquire(b"job", Duration::from_millis(TTL_MAX_MS)), None);
    drop(take(&locks, b"job", LONG, Duration::MAX));
}

#[test]
fn the_fence_grows_when_the_table_forgot_the_name_and_when_the_wall_clock_goes_back() {
    let locks = Locks::new();
    let first = take(&locks, b"job", LONG, NOW).fence();
    assert_eq!(locks.len(), 0);
    let second = take(&locks, b"job", LONG, NOW).fence();
    assert!(second > first && first > 1_600_000_000_000_000);
    assert!(table::next_fence(0) > second);
    assert!(take(&Locks::new(), b"job", LONG, NOW).fence() > second);
}

#[test]
fn abandoned_leases_do_not_pile_up() {
    let locks = Locks::new();
    for name in 0..10_000_u32 {
        // Never released, as by a program that loses its locks.
        std::mem::forget(take(&locks, &name.to_le_bytes(), Duration::from_nanos(1), NOW));
    }
    assert!(locks.len() <= 128, "{} names", locks.len());
}

#[test]
fn a_child_holds_none_of_its_parents_locks() {
    let _alone = runtime::tests::alone();
    let locks = Locks::new();
    let lock = take(&locks, b"job", LONG, NOW);
    let queued = Barrier::new(2);
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            queued.wait();
            take(&locks, b"job", LONG, LONG).release().unwrap()
        });
        queued.wait();
        until_waiting(&locks, 1);
        let child = in_fork(|| {
            let own = locks.acquire(b"job", LONG, NOW).unwrap();
            let own_is_taken = own.is_some();
            let parents_is_lost = !lock.extend(LONG).unwrap();
            let kept = locks.acquire(b"job", LONG, NOW).unwrap().is_none();
            own_is_taken && parents_is_lost && kept && own.unwrap().release().unwrap()
        });
        assert_eq!(child, 0);
        assert!(lock.release().unwrap(), "the parent keeps its lock");
        assert!(waits.join().unwrap());
    });
}

#[test]
fn forks_in_a_storm_of_locks() {
    let _alone = runtime::tests::alone();
    let (locks, stop) = (Locks::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    drop(take(&locks, b"job", LONG, LONG));
                }
            });
        }
        let _stop = Stop(&stop);
        for _ in 0..20 {
            let child =
                in_fork(|| (0..10).all(|_| take(&locks, b"job", LONG, LONG).release().unwrap()));
            assert_eq!(child, 0);
        }
    });
}
