//! The single flight of `src/flight/` under many schedules: its own source, compiled here over the locks,
//! atomics and threads of shuttle, which decides at each of their operations who goes on.
//!
//! Small cases run through all schedules, larger ones through random ones. A failing schedule is printed,
//! and `shuttle::replay` runs it again.

#![allow(dead_code, reason = "the model uses a part of the modules")]

#[path = "../src/flight/landing.rs"]
mod landing;
#[path = "../src/flight/nesting.rs"]
mod nesting;
#[path = "../src/flight/table.rs"]
mod table;

/// What `src/flight/mod.rs` takes from the standard library.
mod sync {
    pub use std::sync::PoisonError;

    pub use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub use shuttle::sync::{Mutex, MutexGuard};
    pub use shuttle::thread_local;
}

mod error {
    pub use lighter_cache::{Error, ErrorKind, Result};
}

/// No process is forked here.
mod fork {
    pub struct Inside;

    pub fn enter() -> Inside {
        Inside
    }

    pub fn generation() -> u32 {
        0
    }
}

mod runtime {
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use shuttle::sync::{Condvar, Mutex};

    use crate::error::Result;

    pub const SLICE: Duration = Duration::from_millis(100);

    pub fn shutdowns() -> u32 {
        0
    }

    pub fn interrupted() -> bool {
        false
    }

    pub fn refuse_library_thread() -> Result<()> {
        Ok(())
    }

    /// Sleeps without a time limit: a waiter that nobody wakes is a deadlock, which shuttle finds.
    #[derive(Default)]
    pub struct Parker {
        woken: Mutex<bool>,
        wake: Condvar,
    }

    impl Parker {
        pub fn park(&self, _: Duration) -> bool {
            let mut woken = self.woken.lock().unwrap();
            while !*woken {
                woken = self.wake.wait(woken).unwrap();
            }
            std::mem::take(&mut woken)
        }
    }

    impl Wake for Parker {
        fn wake(self: Arc<Self>) {
            *self.woken.lock().unwrap() = true;
            self.wake.notify_one();
        }
    }
}

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use error::{ErrorKind, Result};
use landing::{End, Flight, Waiting};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use shuttle::{check_dfs, check_pct, check_random, thread};
use table::{Flights, Joined};

/// Random schedules of each larger case.
const SCHEDULES: usize = 1_000;

/// A cache of keys of one byte.
struct Cache {
    values: Mutex<[Option<u64>; 2]>,
    flights: Flights<u64>,
    loads: AtomicUsize,
}

impl Cache {
    fn new() -> Arc<Self> {
        let (values, flights) = (Mutex::new([None; 2]), Flights::new());
        Arc::new(Self { values, flights, loads: AtomicUsize::new(0) })
    }

    fn get(&self, key: u8) -> Option<u64> {
        self.values.lock().unwrap()[usize::from(key)]
    }

    fn get_or_load(&self, key: u8, load: impl FnOnce() -> Result<u64>) -> Result<u64> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        match self.flights.join(&[key], None)? {
            Joined::Landed(result) => result,
            Joined::Lead(turn) => {
                let result = self.get(key).map_or_else(
                    || {
                        self.loads.fetch_add(1, SeqCst);
                        load()
                    },
                    Ok,
                );
                if let Ok(value) = result {
                    self.values.lock().unwrap()[usize::from(key)] = Some(value);
                }
                turn.land(result.clone());
                result
            }
        }
    }
}

/// Runs `threads` at once and to their end.
fn together<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let threads = threads.map(thread::spawn);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Runs `case` under random schedules, and under some that look for faults of few preemptions.
fn check(case: fn()) {
    check_random(case, SCHEDULES);
    check_pct(case, SCHEDULES, 3);
}

#[test]
fn all_schedules_of_one_who_waits_and_the_end() {
    let case = || {
        let flight = Arc::new(Flight::new(b"key", 0));
        let waiting = Waiting::new(flight.clone());
        let leads = thread::spawn(move || flight.end(End::Landed(Ok(7))));
        let End::Landed(result) = shuttle::future::block_on(waiting) else { panic!("given up") };
        assert_eq!(result, Ok(7));
        leads.join().unwrap();
    };
    check_dfs(case, None);
}

#[test]
fn all_schedules_of_one_who_stops_waiting_and_the_end() {
    let case = || {
        let flight = Arc::new(Flight::new(b"key", 0));
        let (mut first, second) = (Waiting::new(flight.clone()), Waiting::new(flight.clone()));
        let leads = thread::spawn(move || flight.end(End::Landed(Ok(7))));
        let polled = Pin::new(&mut first).poll(&mut Context::from_waker(Waker::noop()));
        drop(first);
        assert!(matches!(polled, Poll::Pending | Poll::Ready(End::Landed(Ok(7)))));
        assert!(matches!(shuttle::future::block_on(second), End::Landed(Ok(7))));
        leads.join().unwrap();
    };
    check_dfs(case, None);
}

#[test]
fn many_callers_load_once() {
    let case = || {
        let cache = Cache::new();
        let caller = |value| {
            let cache = cache.clone();
            Box::new(move || {
                cache.get_or_load(0, || Ok(value)).unwrap();
            }) as Box<dyn FnOnce() + Send>
        };
        together([caller(1), caller(2), caller(3), caller(4), caller(5)]);
        assert_eq!(cache.loads.load(SeqCst), 1);
        assert_eq!(cache.flights.len(), 0);
    };
    check(case);
}

/// One leads and is dropped, one waits, one gives up at once: nobody sleeps for ever, nothing is left.
fn a_dropped_leader_beside_a_deadline() {
    let flights: Arc<Flights<u64>> = Arc::new(Flights::new());
    let join = |deadline: Option<Instant>| {
        let flights = flights.clone();
        Box::new(move || match flights.join(b"key", deadline) {
            Ok(Joined::Lead(turn)) => drop(turn),
            Ok(Joined::Landed(result)) => assert_eq!(result.unwrap_err().kind(), ErrorKind::Loader),
            Err(error) => {
                assert!(deadline.is_some());
                assert_eq!(error.kind(), ErrorKind::Timeout);
            }
        }) as Box<dyn FnOnce() + Send>
    };
    together([join(None), join(None), join(Some(Instant::now()))]);
    assert_eq!(flights.len(), 0);
}

#[test]
fn dropped_leaders_and_deadlines() {
    check(a_dropped_leader_beside_a_deadline);
}

#[test]
fn loaders_that_want_each_others_keys_never_wait_in_a_circle() {
    let case = || {
        let cache = Cache::new();
        let caller = |own: u8, others: u8| {
            let cache = cache.clone();
            Box::new(move || {
                let inner = || cache.get_or_load(others, || Ok(1));
                assert!(cache.get_or_load(own, || Ok(inner()? + 1)).unwrap() >= 1);
            }) as Box<dyn FnOnce() + Send>
        };
        together([caller(0, 1), caller(1, 0), caller(0, 1)]);
        assert_eq!(cache.flights.len(), 0);
    };
    check(case);
}

#[test]
fn closing_beside_callers_frees_all_of_them() {
    let case = || {
        let cache = Cache::new();
        let caller = || {
            let cache = cache.clone();
            Box::new(move || match cache.get_or_load(0, || Ok(1)) {
                Ok(value) => assert_eq!(value, 1),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            }) as Box<dyn FnOnce() + Send>
        };
        let closer = cache.clone();
        together([caller(), caller(), Box::new(move || closer.flights.close())]);
        assert_eq!(cache.flights.len(), 0);
        let after = cache.flights.join(b"x", None).map(drop);
        assert_eq!(after.unwrap_err().kind(), ErrorKind::Closed);
    };
    check(case);
}

#[test]
fn giving_up_hands_over_to_one_who_waits() {
    let case = || {
        let flights: Arc<Flights<u64>> = Arc::new(Flights::new());
        let loads = Arc::new(AtomicUsize::new(0));
        let task = |gives_up: bool| {
            let (flights, loads) = (flights.clone(), loads.clone());
            Box::new(move || {
                let joined = shuttle::future::block_on(flights.join_async(b"key"));
                match joined.unwrap() {
                    Joined::Lead(turn) if gives_up => turn.give_up(),
                    Joined::Lead(turn) => {
                        loads.fetch_add(1, SeqCst);
                        turn.land(Ok(7));
                    }
                    Joined::Landed(result) => assert_eq!(result, Ok(7)),
                }
            }) as Box<dyn FnOnce() + Send>
        };
        together([task(true), task(false), task(false)]);
        assert!(loads.load(SeqCst) >= 1);
        assert_eq!(flights.len(), 0);
    };
    check(case);
}
