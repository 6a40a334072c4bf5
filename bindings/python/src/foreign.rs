//! Python code on threads of the library, and the end of the interpreter.
//!
//! An interpreter that ends does away with every other thread that is in Python code or waits to get
//! there, by `pthread_exit`; that unwinds through Rust, which aborts the process. So, at exit and before
//! that, [`silence`] shuts the door of [`call`] and waits until nobody is behind it.
//!
//! Who is behind it is counted together with the process's id: a child of `fork()` does not have the
//! threads that its parent had there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Whether the interpreter is about to end.
static SHUT: AtomicBool = AtomicBool::new(false);
/// The process's id in the upper half, how many of its threads are inside in the lower.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// Being behind the door.
struct Inside {
    process: u64,
}

fn this_process() -> u64 {
    u64::from(std::process::id())
}

impl Inside {
    /// Counted before it looks at the door, so that who shuts that sees it.
    fn enter() -> Option<Self> {
        let process = this_process();
        let _ = INSIDE.fetch_update(SeqCst, SeqCst, |inside| {
            Some(if inside >> 32 == process { inside + 1 } else { process << 32 | 1 })
        });
        let inside = Self { process };
        (!SHUT.load(SeqCst)).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.fetch_update(SeqCst, SeqCst, |inside| {
            (inside >> 32 == self.process).then(|| inside - 1)
        });
    }
}

/// Attaches and calls `run`; nothing where the interpreter is about to end.
pub(crate) fn call<T>(run: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = Inside::enter()?;
    Python::try_attach(run)
}

/// Lets no thread of the library into Python any more, and waits until those that are there have left,
/// for at most `timeout` seconds.
#[pyfunction]
pub(crate) fn silence(py: Python<'_>, timeout: f64) -> PyResult<()> {
    let timeout = Duration::try_from_secs_f64(timeout)
        .map_err(|_| PyValueError::new_err("timeout must be a number of seconds, 0 or more"))?;
    SHUT.store(true, SeqCst);
    let end = Instant::now() + timeout;
    // They have nothing to wake this thread by: a lock would be left locked in a child of a fork.
    py.detach(|| {
        let busy = || {
            let inside = INSIDE.load(SeqCst);
            inside >> 32 == this_process() && inside as u32 != 0
        };
        while busy() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    });
    Ok(())
}
