//! Tests of the gate itself; `local::fork_storm` forks a process that is busy with a cache.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Barrier, Mutex, RwLock};
use std::thread;

use super::*;

/// Forks, runs `child` in the child, which an alarm ends after 20 s, and answers how the child ended.
pub(crate) fn in_fork(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs only what the gate makes safe, and ends by `_exit`.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // Another test's ten thousand threads may be in its way for many seconds.
            libc::alarm(120);
            // A panic must not unwind into the test runner's frames.
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            libc::_exit(if fine.unwrap_or(false) { 0 } else { 1 });
        }
        let mut status = -1;
        while libc::waitpid(pid, &mut status, 0) != pid {}
        status
    }
}

/// Ends the threads of a test, also where the test fails: a scope waits for them.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn forks_are_counted_from_the_first_look_on() {
    let before = generation();
    assert_eq!(in_fork(|| generation() == before + 1), 0);
}

#[test]
fn enters_nested() {
    let outer = enter();
    let inner = enter();
    assert_eq!(outer.thread_index(), inner.thread_index());
    drop(outer);
    assert!(OWN.get().unwrap().is_inside());
    drop(inner);
    assert!(!OWN.get().unwrap().is_inside());
}

#[test]
fn living_threads_have_slots_of_their_own() {
    let barrier = Barrier::new(100);
    let seen = Mutex::new(std::collections::HashSet::new());
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let index = enter().thread_index();
                assert!(seen.lock().unwrap().insert(index));
                barrier.wait();
            });
        }
    });
}

#[test]
fn slots_of_dead_threads_are_used_again() {
    let mut largest = 0;
    for _ in 0..20_000 {
        let index = thread::spawn(|| enter().thread_index()).join().unwrap();
        largest = largest.max(index);
    }
    // Another test has 10,000 threads at once, which makes 16,320 slots.
    assert!(largest < 16_320, "slot {largest} was handed out");
}

#[test]
fn a_thread_that_dies_inside_stops_nobody() {
    thread::spawn(|| std::mem::forget(enter())).join().unwrap();
    synchronize();
    assert_eq!(in_fork(|| true), 0);
}

#[test]
fn synchronize_waits_for_those_who_are_inside() {
    // The content is replaced, then freed ("poisoned") after a grace period; nobody may see it poisoned.
    let content = RwLock::new(Arc::new(AtomicU64::new(7)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let inside = enter();
                    let seen: *const AtomicU64 = Arc::as_ptr(&content.read().unwrap());
                    for _ in 0..50 {
                        // SAFETY: freed only after this section.
                        assert_eq!(unsafe { (*seen).load(Relaxed) }, 7);
                    }
                    drop(inside);
                }
            });
        }
        let _stop = Stop(&stop);
        for _ in 0..300 {
            let fresh = Arc::new(AtomicU64::new(7));
            let old = std::mem::replace(&mut *content.write().unwrap(), fresh);
            synchronize();
            old.store(0, Relaxed);
        }
    });
}

#[test]
fn forks_while_threads_are_busy_inside() {
    // A std lock stands for those of the library: without the gate the child would find it taken.
    let lock = Mutex::new([0_u64; 8]);
    let stop = AtomicBool::new(false);
    let before = generation();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let _inside = enter();
                    let mut numbers = lock.lock().unwrap();
                    for number in numbers.iter_mut() {
                        *number += 1;
                    }
                }
            });
        }
        let _stop = Stop(&stop);
        for _ in 0..60 {
            let ended = in_fork(|| {
                let _inside = enter();
                let numbers = lock.lock().unwrap();
                generation() == before + 1 && numbers.iter().all(|number| *number == numbers[0])
            });
            assert_eq!(ended, 0);
        }
    });
    assert_eq!(generation(), before);
}

#[test]
fn threads_fork_at_once_and_children_fork_again() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let before = generation();
                    let ended = in_fork(|| {
                        drop(enter());
                        let grandchild = in_fork(|| {
                            drop(enter());
                            synchronize();
                            generation() == before + 2
                        });
                        grandchild == 0
                    });
                    assert_eq!(ended, 0);
                }
            });
        }
    });
}

#[test]
fn works_without_membarrier() {
    // In a child, so that the rest of the tests keeps the fast path.
    let ended = in_fork(|| {
        GATE.fetch_or(FENCED, SeqCst);
        drop(enter());
        synchronize();
        in_fork(|| {
            drop(enter());
            GATE.load(Relaxed) == FENCED
        }) == 0
    });
    assert_eq!(ended, 0);
}
