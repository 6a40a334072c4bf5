//! [`Running`]: an operation that was begun and has to wait, as the library's threads see it.
//!
//! # Protocol
//! Only a thread that is attached to the interpreter polls, tells or ends one; the threads of the library
//! do nothing but wake it. `state` says what a wake has to do:
//! - `IDLE`: it goes into the list of its loop and becomes `QUEUED`.
//! - `POLLING`: it becomes `WOKEN`, and who polls it polls once more.
//! - `WOKEN`, `QUEUED`: nothing.
//!
//! Its future is taken out of `inner` while it is polled, since a poll may run a program's code (a loader)
//! and that may end this very operation. It is dropped with no lock held, attached.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use lighter_cache::{ErrorKind, Result};
use pyo3::intern;
use pyo3::prelude::*;

use super::answer::Answer;
use super::wakeups::Wakeups;
use super::work::Work;

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;
const QUEUED: u8 = 3;

/// How often one that wakes itself is polled again before others get their turn.
const TURNS: usize = 3;

/// See the module.
pub(super) struct Running {
    /// Nothing where its loop was closed: nobody will poll it any more.
    wakeups: Weak<Wakeups>,
    state: AtomicU8,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None while it is polled, and from its end on.
    work: Option<Work>,
    outcome: Option<Result<Answer>>,
    /// The `asyncio.Future` that the awaiting task waits for.
    waiter: Option<Py<PyAny>>,
    ended: bool,
}

impl Running {
    pub(super) fn new(work: Work, wakeups: &Arc<Wakeups>) -> Arc<Self> {
        let inner = Inner { work: Some(work), outcome: None, waiter: None, ended: false };
        let wakeups = Arc::downgrade(wakeups);
        Arc::new(Self { wakeups, state: AtomicU8::new(IDLE), inner: Mutex::new(inner) })
    }

    /// Lets it get on, and tells the waiting task where that was the end of it.
    pub(super) fn get_on(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if !self.poll(py) {
            return Ok(());
        }
        let waiter = self.inner().waiter.take();
        let Some(waiter) = waiter.map(|waiter| waiter.into_bound(py)) else { return Ok(()) };
        // One that was cancelled takes no result: its task is about to end this operation.
        if waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
    }

    /// Polls it; true where it has an outcome now.
    pub(super) fn poll(self: &Arc<Self>, _attached: Python<'_>) -> bool {
        let Some(mut work) = self.inner().work.take() else { return false };
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        for _ in 0..TURNS {
            // Not a store: the poll sees what the wake was for that found this one under way already.
            self.state.swap(POLLING, Ordering::AcqRel);
            let polled = catch_unwind(AssertUnwindSafe(|| work.poll(&mut context)))
                .unwrap_or_else(|_| Poll::Ready(Err(ErrorKind::Panic.into())));
            if let Poll::Ready(outcome) = polled {
                drop(work);
                self.inner().outcome = Some(outcome);
                return true;
            }
            if self.cas(POLLING, IDLE) {
                self.put_back(work);
                return false;
            }
        }
        self.put_back(work);
        self.state.store(QUEUED, Ordering::Release);
        self.clone().push();
        false
    }

    fn push(self: Arc<Self>) {
        if let Some(wakeups) = self.wakeups.upgrade() {
            wakeups.push(self);
        }
    }

    fn put_back(&self, work: Work) {
        let mut inner = self.inner();
        if !inner.ended {
            inner.work = Some(work);
            return;
        }
        drop(inner);
        drop(work);
    }

    /// What it came to, once.
    pub(super) fn outcome(&self) -> Option<Result<Answer>> {
        self.inner().outcome.take()
    }

    pub(super) fn wait_by(&self, waiter: Py<PyAny>) {
        self.inner().waiter = Some(waiter);
    }

    pub(super) fn waiter<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner().waiter.as_ref().map(|waiter| waiter.bind(py).clone())
    }

    /// Gives it up: what it was about to do is not done any more, as far as that is possible.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        inner.ended = true;
        let (work, outcome, waiter) =
            (inner.work.take(), inner.outcome.take(), inner.waiter.take());
        drop(inner);
        drop((work, outcome, waiter));
    }

    fn cas(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Running {
    fn wake(self: Arc<Self>) {
        loop {
            match self.state.load(Ordering::Acquire) {
                IDLE if self.cas(IDLE, QUEUED) => return self.push(),
                POLLING if self.cas(POLLING, WOKEN) => return,
                // Written all the same: the poll that comes sees what this wake is for.
                state @ (WOKEN | QUEUED) if self.cas(state, state) => return,
                _ => {}
            }
        }
    }
}
