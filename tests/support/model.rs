//! What the models of protocols under shuttle have in common: atomics between whose steps the scheduler
//! decides who goes on, locks and faults that can be switched on, and how cases are run.
//!
//! The wrapped atomics have the size of those of the standard library, unlike shuttle's own, so that
//! layouts stay what they are. All steps are in one order: a model finds faults of the protocol, not of
//! memory orders.

#![allow(dead_code, reason = "each model uses a part")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use shuttle::{check_pct, check_random, thread};

/// Random schedules of each case, and as many that look for faults of few preemptions.
const SCHEDULES: usize = 1_000;
/// Schedules in which a fault has to show.
const SCHEDULES_FAULTY: usize = 20_000;

/// A protection that is taken away, to see that the model fails without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A block that others hold is taken for one that only the table holds.
    EveryBlockIsUnshared,
    /// Readers take no lock.
    ReadersTakeNoLock,
    /// What the sweeper found is removed without another look.
    SweepsWithoutALook,
    /// A shard is looked at in portions, its lock given back in between.
    LooksInPortions,
    /// Whether what is removed was there is judged when the lock was given back.
    JudgesTooLate,
    /// Who is to be woken is not.
    NobodyIsWoken,
    /// Whoever looks at the clock now and then sees a time that has not come.
    ClocksRunAhead,
}

thread_local! {
    // A case runs on one thread of the system, whatever threads it has of its own.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether the case runs with this fault.
pub fn has(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

/// The scheduler decides who goes on.
pub fn switch() {
    if RUNNING.get() && !std::thread::panicking() {
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Runs `case` under many schedules. A failing one is printed, for `shuttle::replay`.
pub fn check(case: fn()) {
    RUNNING.set(true);
    check_random(case, SCHEDULES);
    check_pct(case, SCHEDULES, 3);
    RUNNING.set(false);
}

/// Sees to it that `case` fails with `fault`, and says one of `why`: the test of the model. Which one comes
/// first is up to the schedules, which differ from run to run.
pub fn fails_with(fault: Fault, why: &[&str], case: fn()) {
    RUNNING.set(true);
    FAULT.set(Some(fault));
    let run = || {
        check_pct(case, SCHEDULES_FAULTY / 20, 3);
        check_random(case, SCHEDULES_FAULTY);
    };
    let ended: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(run));
    FAULT.set(None);
    RUNNING.set(false);
    let told = ended.expect_err("the model does not notice its fault");
    let text = told.downcast_ref::<String>().map(String::as_str);
    let text = text.or(told.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(why.iter().any(|why| text.contains(why)), "{fault:?}: {text}");
}

/// Runs `threads` at once and to their end.
pub fn together<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let threads = threads.map(thread::spawn);
    for thread in threads {
        thread.join().unwrap();
    }
}

macro_rules! atomics {
    ($($name:ident: $integer:ty, $seen:expr;)*) => { $(
        #[repr(transparent)]
        pub struct $name(std::sync::atomic::$name);

        impl $name {
            pub const fn new(value: $integer) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }

            pub fn load(&self, _: Ordering) -> $integer {
                switch();
                let seen: fn($integer) -> $integer = $seen;
                seen(self.0.load(Ordering::SeqCst))
            }

            pub fn store(&self, value: $integer, _: Ordering) {
                switch();
                self.0.store(value, Ordering::SeqCst);
            }

            pub fn fetch_add(&self, value: $integer, _: Ordering) -> $integer {
                switch();
                self.0.fetch_add(value, Ordering::SeqCst)
            }

            pub fn fetch_sub(&self, value: $integer, _: Ordering) -> $integer {
                switch();
                self.0.fetch_sub(value, Ordering::SeqCst)
            }

            pub fn fetch_update(
                &self,
                _: Ordering,
                _: Ordering,
                update: impl FnMut($integer) -> Option<$integer>,
            ) -> Result<$integer, $integer> {
                switch();
                self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update)
            }

            pub fn get_mut(&mut self) -> &mut $integer {
                self.0.get_mut()
            }
        }
    )* };
}

atomics! {
    AtomicU8: u8, |value| value;
    // The count of a block's holders is the only one of this size that is compared with a number.
    AtomicU32: u32, |value| if has(Fault::EveryBlockIsUnshared) { 1 } else { value };
    AtomicU64: u64, |value| value;
    AtomicUsize: usize, |value| value;
}

pub fn all_gone(_: &AtomicU32) {}

/// As DashMap's: no poison, and in a faulty case no exclusion of readers.
#[derive(Default)]
pub struct RwLock<T> {
    lock: shuttle::sync::RwLock<()>,
    data: UnsafeCell<T>,
}

// SAFETY: the data is reached under the lock, other than in cases that are meant to fail.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

pub struct RwLockReadGuard<'a, T> {
    _guard: Option<shuttle::sync::RwLockReadGuard<'a, ()>>,
    data: &'a T,
}

pub struct RwLockWriteGuard<'a, T> {
    _guard: shuttle::sync::RwLockWriteGuard<'a, ()>,
    data: &'a mut T,
}

impl<T> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let guard = (!has(Fault::ReadersTakeNoLock)).then(|| self.lock.read().unwrap());
        // SAFETY: under the read lock nobody changes the data.
        RwLockReadGuard { _guard: guard, data: unsafe { &*self.data.get() } }
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let guard = self.lock.write().unwrap();
        // SAFETY: under the write lock nobody else reaches the data.
        RwLockWriteGuard { _guard: guard, data: unsafe { &mut *self.data.get() } }
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.data
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.data
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data
    }
}
