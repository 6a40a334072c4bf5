//! Single flight with real threads, tasks and forks; `tests/flight_model.rs` explores interleavings.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::table::Turn;
use super::{Flights, Joined, Load};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::tests::in_fork;
use crate::runtime;

/// A cache as its callers would build it: look, join, look again, load, store, land.
#[derive(Default)]
struct Cache {
    values: Mutex<HashMap<Vec<u8>, u64>>,
    flights: Flights<u64>,
}

impl Default for Flights<u64> {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    fn get(&self, key: &[u8]) -> Option<u64> {
        self.values.lock().unwrap().get(key).copied()
    }

    fn get_or_load(&self, key: &[u8], load: impl FnOnce() -> Result<u64>) -> Result<u64> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        match self.flights.join(key, Some(soon()))? {
            Joined::Landed(result) => result,
            Joined::Lead(turn) => {
                let result = self.get(key).map_or_else(load, Ok);
                if let Ok(value) = result {
                    self.values.lock().unwrap().insert(key.to_vec(), value);
                }
                turn.land(result.clone());
                result
            }
        }
    }

    async fn get_or_load_async(&self, key: &[u8], load: impl FnOnce() -> u64) -> Result<u64> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        match self.flights.join_async(key).await? {
            Joined::Landed(result) => result,
            Joined::Lead(turn) => {
                let value = self.get(key).unwrap_or_else(load);
                self.values.lock().unwrap().insert(key.to_vec(), value);
                turn.land(Ok(value));
                Ok(value)
            }
        }
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn lead<'a>(flights: &'a Flights<u64>, key: &[u8]) -> Load<'a, u64> {
    match flights.join(key, Some(soon())) {
        Ok(Joined::Lead(load)) => load,
        _ => panic!("another leads"),
    }
}

fn landed<L>(joined: Result<Joined<L, u64>>) -> Result<u64> {
    match joined? {
        Joined::Landed(result) => result,
        Joined::Lead(_) => panic!("nobody leads"),
    }
}

fn kind<V>(result: Result<V>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Returns when `count` callers wait for `key`.
fn until_waiting(flights: &Flights<u64>, key: &[u8], count: usize) {
    while flights.waiting(key) != count {
        thread::yield_now();
    }
}

/// Counts how often it wakes.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

#[test]
fn of_hundreds_of_threads_and_ten_thousand_tasks_one_loads() {
    const THREADS: usize = 200;
    const TASKS: usize = 10_000;
    let _alone = runtime::tests::alone();
    let (cache, loads) = (Arc::new(Cache::default()), AtomicUsize::new(0));
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (joined, all_joined) = (Barrier::new(2), Barrier::new(2));
    let wait = || cache.get_or_load(b"key", || Ok(loads.fetch_add(1, SeqCst) as u64));
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.get_or_load(b"key", || {
                loads.fetch_add(1, SeqCst);
                joined.wait();
                all_joined.wait();
                Ok(7)
            })
        });
        joined.wait();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, wait).unwrap())
            .collect();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let cache = cache.clone();
                tokio.spawn(async move { cache.get_or_load_async(b"key", || 8).await })
            })
            .collect();
        until_waiting(&cache.flights, b"key", THREADS + TASKS);
        all_joined.wait();
        for waited in threads {
            assert_eq!(waited.join().unwrap(), Ok(7));
        }
        for waited in tasks {
            assert_eq!(tokio.block_on(waited).unwrap(), Ok(7));
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(cache.flights.len(), 0);
}

#[test]
fn many_keys_in_storm_load_once_each() {
    const KEYS: usize = 200;
    let _alone = runtime::tests::alone();
    let (cache, loads) = (Cache::default(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for start in 0..8 {
            let (cache, loads) = (&cache, &loads);
            scope.spawn(move || {
                for key in (0..KEYS).map(|key| (key + start % 3).to_le_bytes()) {
                    let loaded = cache.get_or_load(&key, || {
                        thread::yield_now();
                        Ok(loads.fetch_add(1, SeqCst) as u64)
                    });
                    assert_eq!(loaded, Ok(cache.get(&key).unwrap()));
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), KEYS + 2);
    assert_eq!(cache.flights.len(), 0);
}

#[test]
fn a_failed_load_is_the_waiters_error_and_is_forgotten() {
    let _alone = runtime::tests::alone();
    let flights = Flights::new();
    let turn = lead(&flights, b"key");
    thread::scope(|scope| {
        let waits = scope.spawn(|| landed(flights.join(b"key", Some(soon()))));
        until_waiting(&flights, b"key", 1);
        turn.land(Err(Error::new(ErrorKind::Loader, "the database is away")));
        let error = waits.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Loader, "the database is away"));
    });
    lead(&flights, b"key").land(Ok(1));
}

#[test]
fn a_loader_that_panics_frees_those_who_wait() {
    let _alone = runtime::tests::alone();
    let cache = Cache::default();
    let (started, panics) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let load = || -> Result<u64> {
                started.wait();
                panics.wait();
                std::panic::resume_unwind(Box::new("the loader panics"))
            };
            assert!(catch_unwind(AssertUnwindSafe(|| cache.get_or_load(b"key", load))).is_err());
            // Nothing says that this thread is still loading.
            assert_eq!(cache.get_or_load(b"key", || Ok(3)), Ok(3));
        });
        started.wait();
        let waits = scope.spawn(|| landed(cache.flights.join(b"key", Some(soon()))));
        until_waiting(&cache.flights, b"key", 1);
        panics.wait();
        let error = waits.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(error.message(), "the loader ended without a result");
    });
    assert_eq!(cache.flights.len(), 0);
}

#[test]
fn a_loaders_own_key_is_refused_at_any_depth() {
    let (one, other) = (Cache::default(), Cache::default());
    let loaded = one.get_or_load(b"a", || {
        assert_eq!(kind(one.get_or_load(b"a", || Ok(0))), Some(ErrorKind::Reentrant));
        // The same name in another cache is another key.
        assert_eq!(other.get_or_load(b"a", || Ok(1)), Ok(1));
        one.get_or_load(b"b", || {
            assert_eq!(kind(one.get_or_load(b"a", || Ok(0))), Some(ErrorKind::Reentrant));
            Ok(2)
        })
    });
    assert_eq!(loaded, Ok(2));
    // It is over: the key may be loaded again.
    lead(&one.flights, b"a").land(Ok(1));
}

#[test]
fn loaders_nest_deeply() {
    fn count_down(cache: &Cache, n: u64) -> Result<u64> {
        let load = || if n == 0 { Ok(0) } else { Ok(count_down(cache, n - 1)? + 1) };
        cache.get_or_load(&n.to_le_bytes(), load)
    }
    let cache = Cache::default();
    assert_eq!(count_down(&cache, 500), Ok(500));
}

#[test]
fn two_loaders_that_want_each_others_key_both_end() {
    let _alone = runtime::tests::alone();
    for _ in 0..50 {
        let (cache, both_lead) = (Cache::default(), Barrier::new(2));
        let load = |own: &'static [u8], others: &'static [u8]| {
            let (cache, both_lead) = (&cache, &both_lead);
            move || {
                cache.get_or_load(own, || {
                    both_lead.wait();
                    // The other loads it, but is not waited for; it may also have landed by now.
                    Ok(cache.get_or_load(others, || Ok(1))? + 1)
                })
            }
        };
        thread::scope(|scope| {
            let threads = [scope.spawn(load(b"a", b"b")), scope.spawn(load(b"b", b"a"))];
            for thread in threads {
                assert!(thread.join().unwrap().unwrap() >= 2);
            }
        });
        assert_eq!(cache.flights.len(), 0);
    }
}

#[test]
fn who_loads_alone_refuses_its_own_key_and_frees_nobody() {
    let flights = Flights::new();
    let (taken, goes_on) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let turn = lead(&flights, b"b");
            taken.wait();
            goes_on.wait();
            turn.land(Ok(1));
        });
        taken.wait();
        let outer = lead(&flights, b"a");
        let alone = lead(&flights, b"b");
        assert!(alone.is_alone() && !outer.is_alone());
        assert_eq!(kind(flights.join(b"b", None).map(drop)), Some(ErrorKind::Reentrant));
        alone.land(Ok(2));
        assert_eq!(flights.len(), 2, "the flight of the other goes on");
        outer.land(Ok(3));
        goes_on.wait();
    });
    assert_eq!(flights.len(), 0);
}

#[test]
fn waits_end_at_the_deadline_and_by_an_interrupt() {
    let _alone = runtime::tests::alone();
    let flights = Flights::new();
    let turn = lead(&flights, b"key");
    thread::scope(|scope| {
        let flights = &flights;
        let late = scope.spawn(|| kind(flights.join(b"key", Some(Instant::now())).map(drop)));
        assert_eq!(late.join().unwrap(), Some(ErrorKind::Timeout));
        let interrupted = scope.spawn(|| {
            runtime::interruptible(|| true, || kind(flights.join(b"key", None).map(drop)))
        });
        assert_eq!(interrupted.join().unwrap(), Some(ErrorKind::Interrupted));
        let refused = scope.spawn(|| {
            let _scope = runtime::library_thread_scope();
            kind(flights.join(b"key", None).map(drop))
        });
        assert_eq!(refused.join().unwrap(), Some(ErrorKind::Reentrant));
    });
    assert_eq!(flights.waiting(b"key"), 0, "who went away left nothing behind");
    turn.land(Ok(1));
}

#[test]
fn close_and_shutdown_end_the_waits() {
    let _alone = runtime::tests::alone();
    let flights = Flights::new();
    let turn = lead(&flights, b"key");
    thread::scope(|scope| {
        let waits = || {
            let waits = scope.spawn(|| landed(flights.join(b"key", None)));
            until_waiting(&flights, b"key", 1);
            waits
        };
        let until_shutdown = waits();
        runtime::shutdown(Duration::ZERO).unwrap();
        assert_eq!(kind(until_shutdown.join().unwrap()), Some(ErrorKind::Closed));
        let until_close = waits();
        flights.close();
        assert_eq!(kind(until_close.join().unwrap()), Some(ErrorKind::Closed));
    });
    turn.land(Ok(1));
    assert_eq!(kind(flights.join(b"other", None).map(drop)), Some(ErrorKind::Closed));
}

#[test]
fn tasks_wait_without_a_runtime() {
    let flights: Flights<u64> = Flights::new();
    let bells: [Arc<Bell>; 3] = Default::default();
    let mut leads = pin!(flights.join_async(b"key"));
    let Poll::Ready(Ok(Joined::Lead(turn))) = poll(leads.as_mut(), &bells[0]) else {
        panic!("another leads");
    };
    let (mut first, mut second) =
        (pin!(flights.join_async(b"key")), Box::pin(flights.join_async(b"key")));
    assert!(poll(first.as_mut(), &bells[0]).is_pending());
    assert!(poll(first.as_mut(), &bells[1]).is_pending());
    assert!(poll(second.as_mut(), &bells[2]).is_pending());
    assert_eq!(flights.waiting(b"key"), 2);
    drop(second);
    assert_eq!(flights.waiting(b"key"), 1);
    turn.land(Ok(5));
    // Only the last waker of the one that still waits.
    assert_eq!(bells.each_ref().map(|bell| bell.0.load(SeqCst)), [0, 1, 0]);
    match poll(first.as_mut(), &bells[1]) {
        Poll::Ready(joined) => assert_eq!(landed(joined), Ok(5)),
        Poll::Pending => panic!("still waiting"),
    }
}

#[test]
fn a_cancelled_task_hands_over_and_a_dropped_one_fails() {
    let flights: Flights<u64> = Flights::new();
    let bell = Arc::new(Bell::default());
    let lead = |flights| -> Turn<'_, u64> {
        let mut future = pin!(Flights::join_async(flights, b"key"));
        match poll(future.as_mut(), &bell) {
            Poll::Ready(Ok(Joined::Lead(turn))) => turn,
            _ => panic!("another leads"),
        }
    };
    let first = lead(&flights);
    let (mut second, mut third) =
        (pin!(flights.join_async(b"key")), pin!(flights.join_async(b"key")));
    assert!(poll(second.as_mut(), &bell).is_pending());
    assert!(poll(third.as_mut(), &bell).is_pending());
    first.give_up();
    assert_eq!(bell.0.load(SeqCst), 2);
    let Poll::Ready(Ok(Joined::Lead(next))) = poll(second.as_mut(), &bell) else {
        panic!("the next in line leads");
    };
    assert!(poll(third.as_mut(), &bell).is_pending());
    drop(next);
    match poll(third.as_mut(), &bell) {
        Poll::Ready(joined) => assert_eq!(kind(landed(joined)), Some(ErrorKind::Loader)),
        Poll::Pending => panic!("the dropped turn freed nobody"),
    }
    assert_eq!(flights.len(), 0);
}

#[test]
fn the_future_of_a_loader_is_inside_of_it_while_it_is_polled() {
    let flights: Flights<u64> = Flights::new();
    let bell = Arc::new(Bell::default());
    let mut future = pin!(flights.join_async(b"key"));
    let Poll::Ready(Ok(Joined::Lead(turn))) = poll(future.as_mut(), &bell) else {
        panic!("another leads");
    };
    let mut loader = pin!(turn.inside(async {
        let own = flights.join_async(b"key").await.map(drop);
        tokio::task::yield_now().await;
        let again = flights.join_async(b"key").await.map(drop);
        (kind(own), kind(again))
    }));
    let refused = Some(ErrorKind::Reentrant);
    let ended = loop {
        if let Poll::Ready(ended) = poll(loader.as_mut(), &bell) {
            break ended;
        }
        // Between two polls the thread is not inside of the loader.
        lead(&flights, b"other").land(Ok(1));
    };
    assert_eq!(ended, (refused, refused));
    turn.land(Ok(1));
}

#[test]
fn a_fork_in_mid_flight_leaves_both_sides_usable() {
    let _alone = runtime::tests::alone();
    let cache = Cache::default();
    let (loading, go_on) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let leads = scope.spawn(|| {
            cache.get_or_load(b"key", || {
                loading.wait();
                go_on.wait();
                Ok(1)
            })
        });
        loading.wait();
        let waits = scope.spawn(|| cache.get_or_load(b"key", || Ok(2)));
        until_waiting(&cache.flights, b"key", 1);
        let bell = Arc::new(Bell::default());
        let mut pending = pin!(cache.flights.join_async(b"key"));
        assert!(poll(pending.as_mut(), &bell).is_pending());
        let child = in_fork(|| {
            // The future knows that nobody will end what it waits for.
            let led = match poll(pending.as_mut(), &bell) {
                Poll::Ready(Ok(Joined::Lead(turn))) => {
                    turn.land(Ok(3));
                    true
                }
                _ => false,
            };
            led && cache.get_or_load(b"key", || Ok(3)) == Ok(3)
                && cache.flights.len() == 0
                && bell.0.load(SeqCst) == 0
        });
        assert_eq!(child, 0);
        go_on.wait();
        assert_eq!(leads.join().unwrap(), Ok(1));
        assert_eq!(waits.join().unwrap(), Ok(1));
        assert_eq!(bell.0.load(SeqCst), 1);
    });
}

#[test]
fn a_loader_may_fork() {
    let _alone = runtime::tests::alone();
    let cache = Cache::default();
    let loading = Barrier::new(2);
    thread::scope(|scope| {
        let leads = scope.spawn(|| {
            let turn = lead(&cache.flights, b"key");
            loading.wait();
            until_waiting(&cache.flights, b"key", 1);
            let mut turn = Some(turn);
            let child = in_fork(|| {
                // The child goes on with the loader, and then loads the key again.
                turn.take().unwrap().land(Ok(8));
                cache.get_or_load(b"key", || Ok(9)) == Ok(9)
            });
            turn.take().unwrap().land(Ok(7));
            child
        });
        loading.wait();
        assert_eq!(landed(cache.flights.join(b"key", Some(soon()))), Ok(7));
        assert_eq!(leads.join().unwrap(), 0);
    });
}
