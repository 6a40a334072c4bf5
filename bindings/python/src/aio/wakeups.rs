//! How operations that go on elsewhere get their event loop to poll them.
//!
//! # Protocol
//! Each event loop has its [`Wakeups`], which the loop itself and a weak dictionary keep; a thread remembers those
//! of the loop that it ran last. The loop watches an eventfd for them: whoever wakes an operation, on whatever thread and without the interpreter, puts it into the list,
//! and the first to do so since the list was last taken rings. The loop then calls [`Drain`], which takes
//! the whole list and lets each operation get on.
//!
//! The lock of the list is held for a push or a take. No operation is dropped, polled or told under it.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::running::Running;

/// The operations of one event loop that can get on.
pub(super) struct Wakeups {
    event: OwnedFd,
    woken: Mutex<Vec<Arc<Running>>>,
}

impl Wakeups {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a file descriptor that was just made, and that nobody else knows.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        Ok(Self { event, woken: Mutex::default() })
    }

    /// Lets `running` get on when its loop comes to it.
    pub(super) fn push(&self, running: Arc<Running>) {
        let mut woken = self.list();
        woken.push(running);
        let first = woken.len() == 1;
        drop(woken);
        if first {
            self.ring();
        }
    }

    fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight readable bytes. It can't fail: the counter is far from its end.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// All that were woken.
    fn take(&self) -> Vec<Arc<Running>> {
        let mut rung = 0u64;
        // SAFETY: eight writable bytes. Where nobody has rung, nothing is read. Before the list is taken, so
        // that no ring is lost.
        unsafe { libc::read(self.event.as_raw_fd(), (&raw mut rung).cast(), size_of::<u64>()) };
        mem::take(&mut *self.list())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Running>>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event loop calls when its eventfd was rung.
#[pyclass(frozen, module = "lighter_cache._native")]
struct Drain(Arc<Wakeups>);

#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let mut outcome = Ok(());
        for running in self.0.take() {
            // An exception (of a signal's handler) keeps none of the others from getting on.
            outcome = outcome.and(running.get_on(py));
        }
        outcome
    }
}

/// The loop that this thread ran last.
struct Known {
    event_loop: Py<PyWeakrefReference>,
    wakeups: Weak<Wakeups>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// The event loop that runs on this thread; RuntimeError where none does.
pub(super) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}

/// The event loop that runs on this thread, and how it is woken.
pub(super) fn here(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Arc<Wakeups>)> {
    let event_loop = running_loop(py)?;
    let known = KNOWN.with_borrow(|known| {
        let known = known.as_ref()?;
        let same = known.event_loop.bind(py).upgrade().is_some_and(|its| its.is(&event_loop));
        if same { known.wakeups.upgrade() } else { None }
    });
    if let Some(wakeups) = known {
        return Ok((event_loop, wakeups));
    }
    let wakeups = wakeups_of(&event_loop)?;
    let reference = PyWeakrefReference::new(&event_loop)?.unbind();
    let known = Known { event_loop: reference, wakeups: Arc::downgrade(&wakeups) };
    drop(KNOWN.replace(Some(known)));
    Ok((event_loop, wakeups))
}

/// The wakeups of a loop, made where it has none yet.
fn wakeups_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Wakeups>> {
    static ALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = event_loop.py();
    let make = || py.import("weakref")?.getattr("WeakKeyDictionary")?.call0().map(Bound::unbind);
    let all = ALL.get_or_try_init(py, make)?.bind(py);
    if let Ok(drain) = all.call_method1("get", (event_loop,))?.cast::<Drain>() {
        return Ok(drain.get().0.clone());
    }
    let wakeups = Arc::new(Wakeups::new()?);
    let drain = Bound::new(py, Drain(wakeups.clone()))?;
    event_loop.call_method1("add_reader", (wakeups.event.as_raw_fd(), &drain))?;
    all.set_item(event_loop, drain)?;
    Ok(wakeups)
}
