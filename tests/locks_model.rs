//! The named locks of `src/local/locks/` under many schedules: their own source, compiled here over locks
//! of shuttle and over a clock that the cases move. A sleeper is woken by whoever should, or by the clock,
//! and by nothing else; so one that is forgotten is a deadlock, which shuttle finds.

#![allow(dead_code, reason = "the model uses a part of the modules")]

#[path = "../src/local/locks/acquire.rs"]
mod acquire;
#[path = "support/model.rs"]
mod model;
#[path = "../src/local/locks/table.rs"]
mod table;

/// What `src/local/locks/mod.rs` takes from the standard library.
mod sync {
    use std::ops::Add;
    pub use std::sync::PoisonError;
    use std::time::Duration;

    pub use shuttle::sync::Mutex;

    pub use crate::model::AtomicU64;
    use crate::model::{Fault, has};
    use crate::time;

    /// A time of the case's clock, in milliseconds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(pub u64);

    impl Instant {
        pub fn now() -> Self {
            let ahead = has(Fault::ClocksRunAhead) && time::odd_look();
            Self(time::now() + if ahead { 1_000 } else { 0 })
        }

        pub fn checked_add(self, time: Duration) -> Option<Self> {
            Some(self + time)
        }

        pub fn saturating_duration_since(self, earlier: Self) -> Duration {
            Duration::from_millis(self.0.saturating_sub(earlier.0))
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, time: Duration) -> Self {
            Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
        }
    }
}

/// The clock of a case, and those who sleep by it.
mod time {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use shuttle::sync::{Condvar, Mutex};

    #[derive(Default)]
    pub struct World {
        pub turn: Mutex<()>,
        pub changed: Condvar,
    }

    thread_local! {
        // A case runs on one thread of the system, whatever threads it has of its own.
        static NOW: Cell<u64> = const { Cell::new(0) };
        static LOOKS: Cell<u64> = const { Cell::new(0) };
        static WORLD: RefCell<Arc<World>> = RefCell::default();
    }

    /// To be called by each case first.
    pub fn begin() {
        NOW.set(1_000);
        LOOKS.set(0);
        WORLD.set(Arc::default());
    }

    pub fn now() -> u64 {
        NOW.get()
    }

    pub fn odd_look() -> bool {
        LOOKS.set(LOOKS.get() + 1);
        LOOKS.get() % 2 == 1
    }

    pub fn world() -> Arc<World> {
        WORLD.with_borrow(Arc::clone)
    }

    pub fn advance(ms: u64) {
        let world = world();
        let _turn = world.turn.lock().unwrap();
        NOW.set(NOW.get() + ms);
        world.changed.notify_all();
    }
}

mod error {
    pub use lighter_cache::{Error, ErrorKind, Result};
}

mod key {
    pub use lighter_cache::KEY_MAX;
}

mod ops {
    use std::time::Duration;

    pub use lighter_cache::TTL_MAX_MS;

    use crate::error::Result;

    pub trait HeldLock: Send + Sync {
        fn fence(&self) -> u64;
        fn extend(&self, lease: Duration) -> Result<bool>;
        fn release(&self) -> Result<bool>;
    }

    pub struct Lock(pub Box<dyn HeldLock>);

    impl Lock {
        pub fn new(held: impl HeldLock + 'static) -> Self {
            Self(Box::new(held))
        }
    }
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
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::Wake;
    use std::time::Duration;

    use crate::model::{AtomicU64, Fault, has};
    use crate::sync::Instant;
    use crate::time::{self, World};

    /// Longer than any case: nobody looks again only because some time has passed.
    pub const SLICE: Duration = Duration::from_secs(1 << 32);

    pub fn shutdowns() -> u32 {
        0
    }

    pub fn interrupted() -> bool {
        false
    }

    pub fn on_library_thread() -> bool {
        false
    }

    pub struct Parker {
        world: Arc<World>,
        woken: AtomicU64,
    }

    impl Default for Parker {
        fn default() -> Self {
            Self { world: time::world(), woken: AtomicU64::new(0) }
        }
    }

    impl Parker {
        pub fn park(&self, timeout: Duration) -> bool {
            let mut turn = self.world.turn.lock().unwrap();
            let until = Instant(time::now()) + timeout;
            while self.woken.load(SeqCst) == 0 && Instant(time::now()) < until {
                turn = self.world.changed.wait(turn).unwrap();
            }
            let woken = self.woken.load(SeqCst) == 1;
            self.woken.store(0, SeqCst);
            woken
        }
    }

    impl Wake for Parker {
        fn wake(self: Arc<Self>) {
            if has(Fault::NobodyIsWoken) {
                return;
            }
            let _turn = self.world.turn.lock().unwrap();
            self.woken.store(1, SeqCst);
            self.world.changed.notify_all();
        }
    }
}

use std::sync::Arc;
use std::time::Duration;

use acquire::Locks;
use error::ErrorKind;
use model::{Fault, check, fails_with, switch, together};
use ops::Lock;
use shuttle::sync::Mutex;

const NAME: &[u8] = b"job";
const LONG: Duration = Duration::from_secs(1 << 20);
const SHORT: Duration = Duration::from_millis(50);

/// The locks of a case, and who has one: by the fence, and until when for sure.
struct Case {
    locks: Locks,
    holders: Mutex<Vec<(u64, u64)>>,
}

impl Case {
    fn new() -> Arc<Self> {
        time::begin();
        Arc::new(Self { locks: Locks::new(), holders: Mutex::new(Vec::new()) })
    }

    /// Takes the lock, and sees to it that nobody else has it.
    fn take(&self, lease: Duration, wait: Duration) -> Option<Lock> {
        // The lease begins later than now.
        let until = time::now().saturating_add(lease.as_millis() as u64);
        let lock = self.locks.acquire(NAME, lease, wait).unwrap()?;
        let alone = {
            let mut holders = self.holders.lock().unwrap();
            holders.retain(|(_, until)| *until > time::now());
            holders.push((lock.0.fence(), until));
            holders.len() == 1
        };
        // Not under the lock, whose poison would be what the other threads fail with.
        assert!(alone, "two leases overlap");
        Some(lock)
    }

    /// Gives it back; false if the lease was over.
    fn give_back(&self, lock: Lock) -> bool {
        self.holders.lock().unwrap().retain(|(fence, _)| *fence != lock.0.fence());
        lock.0.release().unwrap()
    }
}

/// A thread of a case.
fn thread(case: &Arc<Case>, run: impl FnOnce(&Case) + Send + 'static) -> Box<dyn FnOnce() + Send> {
    let case = case.clone();
    Box::new(move || run(&case))
}

fn one_at_a_time() {
    let case = Case::new();
    let fences = Arc::new(Mutex::new(Vec::new()));
    let work = || {
        let fences = fences.clone();
        thread(&case, move |case| {
            let lock = case.take(LONG, LONG).expect("in time");
            fences.lock().unwrap().push(lock.0.fence());
            switch();
            assert!(case.give_back(lock));
        })
    };
    together([work(), work(), work()]);
    let fences = fences.lock().unwrap();
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "fences grow");
    assert_eq!(case.locks.len(), 0);
}

#[test]
fn one_holds_it_at_a_time_and_nobody_is_forgotten() {
    check(one_at_a_time);
}

#[test]
fn somebody_is_forgotten_if_nobody_is_woken() {
    fails_with(Fault::NobodyIsWoken, &["deadlock"], one_at_a_time);
}

/// A holder that is late, one who waits for it, and the clock.
fn a_lease_runs_out() {
    let case = Case::new();
    let late = case.take(SHORT, Duration::ZERO).unwrap();
    together([
        thread(&case, move |case| {
            if late.0.extend(SHORT).unwrap() {
                let until = time::now() + SHORT.as_millis() as u64;
                let fence = late.0.fence();
                // The new lease began after this thread last looked.
                let mut holders = case.holders.lock().unwrap();
                let own = holders.iter_mut().find(|(other, _)| *other == fence);
                own.into_iter().for_each(|(_, end)| *end = (*end).min(until));
            }
            switch();
            case.give_back(late);
        }),
        thread(&case, |case| {
            let lock = case.take(LONG, LONG).expect("in time");
            assert!(case.give_back(lock));
        }),
        Box::new(|| {
            time::advance(30);
            time::advance(30);
        }),
    ]);
    assert_eq!(case.locks.len(), 0);
}

#[test]
fn leases_that_run_out() {
    check(a_lease_runs_out);
}

#[test]
fn leases_overlap_if_a_clock_runs_ahead() {
    fails_with(Fault::ClocksRunAhead, &["two leases overlap"], a_lease_runs_out);
}

/// One stops waiting at the moment at which the lock may be granted to it.
#[test]
fn deadlines_beside_grants() {
    fn case() {
        let case = Case::new();
        let held = case.take(LONG, Duration::ZERO).unwrap();
        together([
            thread(&case, |case| {
                if let Some(lock) = case.take(LONG, SHORT) {
                    case.give_back(lock);
                }
            }),
            thread(&case, |case| {
                let lock = case.take(LONG, LONG).expect("in time");
                assert!(case.give_back(lock));
            }),
            thread(&case, |case| assert!(case.give_back(held))),
            Box::new(|| time::advance(60)),
        ]);
        assert_eq!(case.locks.len(), 0);
        assert_eq!(case.locks.waiting(NAME), 0);
    }
    check(case);
}

#[test]
fn closing_ends_all_waits() {
    fn case() {
        let case = Case::new();
        let held = case.take(LONG, Duration::ZERO).unwrap();
        let waits = || {
            thread(&case, |case| {
                let ended = case.locks.acquire(NAME, LONG, LONG);
                assert_eq!(ended.map(drop).unwrap_err().kind(), ErrorKind::Closed);
            })
        };
        together([waits(), waits(), thread(&case, |case| case.locks.close())]);
        assert_eq!(case.locks.waiting(NAME), 0);
        assert!(case.give_back(held), "who holds it keeps it");
    }
    check(case);
}
