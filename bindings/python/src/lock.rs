//! The class `Lock`: a lock of a cache, taken and given back by `with`.
//!
//! The object is not the lock that is held but the wish for one: `acquire` takes it, `release` gives it
//! back, and it can be taken again. What is held is behind a mutex that is only locked attached and for a
//! few instructions, so that no thread is inside when the interpreter forks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lighter_cache::{BlockingCache, Lock as Held};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cache::Cache;
use crate::errors::named;
use crate::key::Key;
use crate::{slot, ttl, wait};

/// A lock by name, which one holder at a time has: in the process for a LocalCache, among all processes
/// with the same prefix for the others. Made by Cache.lock.
///
/// As a context manager it raises LockBusyError where others held it all the time that it would wait, and
/// LockLostError at the end of the block where the lease had run out before.
#[pyclass(frozen, weakref, module = "lighter_cache")]
pub(crate) struct Lock {
    wish: Wish,
    state: Mutex<State>,
}

/// Which lock is wanted, and how.
pub(crate) struct Wish {
    pub(crate) cache: Py<Cache>,
    pub(crate) name: Vec<u8>,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
}

impl Wish {
    pub(crate) fn of(
        cache: &Bound<'_, Cache>,
        name: &Bound<'_, PyAny>,
        lease: &Bound<'_, PyAny>,
        wait: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            cache: cache.clone().unbind(),
            name: Key::of(name)?.to_vec(),
            lease: finite(lease, "lease")?,
            wait: wait.map_or(Ok(Duration::ZERO), |wait| finite(wait, "wait"))?,
        })
    }

    /// The length of a new lease: what is given, or as long as the first.
    pub(crate) fn lease_or(&self, lease: Option<&Bound<'_, PyAny>>) -> PyResult<Duration> {
        lease.map_or(Ok(self.lease), |lease| finite(lease, "lease"))
    }
}

#[derive(Default)]
struct State {
    held: Option<Arc<Held>>,
    fence: Option<u64>,
}

/// The lock `name`, not taken yet.
pub(crate) fn of<'py>(
    cache: &Bound<'py, Cache>,
    name: &Bound<'py, PyAny>,
    lease: &Bound<'py, PyAny>,
    wait: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, Lock>> {
    let wish = Wish::of(cache, name, lease, wait)?;
    Bound::new(cache.py(), Lock { wish, state: Mutex::default() })
}

/// A length of time that ends.
fn finite(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Duration> {
    let forever = || named(object.py(), "InvalidError", format!("{what} must be finite"));
    ttl::duration(object)?.ok_or_else(forever)
}

#[pymethods]
impl Lock {
    /// Takes the lock; False where others held it for as long as this one waits. Raises LockError where
    /// this object holds it already.
    fn acquire(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        if this.state().held.is_some() {
            return Err(held_already(py));
        }
        let Wish { cache, name, lease, wait } = &this.wish;
        let cache = slot::share(cache.bind(py))?;
        let got = wait::detached(py, || cache.lock(name, *lease, *wait))?;
        let Some(held) = got else { return Ok(false) };
        let mut state = this.state();
        state.fence = Some(held.fence());
        let other = state.held.replace(Arc::new(held));
        drop(state);
        give_back(py, other);
        Ok(true)
    }

    /// Gives the lock back; False where it was not held any more.
    fn release(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let held = slf.get().state().held.take();
        let Some(held) = held else { return Ok(false) };
        wait::detached(slf.py(), || match Arc::into_inner(held) {
            Some(held) => held.release(),
            // Another thread is extending it: it is given back when that has ended.
            None => Ok(true),
        })
    }

    /// Begins a new lease, by default as long as the first; False where the lock was lost.
    #[pyo3(signature = (lease=None))]
    fn extend(slf: &Bound<'_, Self>, lease: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let this = slf.get();
        let lease = this.wish.lease_or(lease)?;
        let held = this.state().held.clone();
        let Some(held) = held else { return Ok(false) };
        // The last reference may be this one, and dropping it gives the lock back.
        wait::detached(slf.py(), || {
            let extended = held.extend(lease);
            drop(held);
            extended
        })
    }

    /// A number that grows with every acquisition of this name, by whomever: storage that remembers the
    /// largest it has seen can refuse a holder that does not know that it lost the lock. LockError before
    /// the first acquisition; kept after the release.
    #[getter]
    fn fence(slf: &Bound<'_, Self>) -> PyResult<u64> {
        let fence = slf.get().state().fence;
        fence.ok_or_else(|| never_taken(slf.py()))
    }

    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        if Self::acquire(slf)? {
            return Ok(slf);
        }
        Err(busy(slf.py()))
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(slf: &Bound<'_, Self>, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let failing = exception.get_item(0).is_ok_and(|class| !class.is_none());
        match Self::release(slf) {
            Ok(true) => Ok(()),
            // The block's own exception says more.
            _ if failing => Ok(()),
            Ok(false) => Err(lost(slf.py())),
            Err(error) => Err(error),
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let held = if slf.get().state().held.is_some() { "held" } else { "not held" };
        Ok(format!("<{} {held}>", slf.get_type().fully_qualified_name()?))
    }
}

/// What locks of either sort raise.
pub(crate) fn held_already(py: Python<'_>) -> PyErr {
    named(py, "LockError", "this object holds the lock already".into())
}

pub(crate) fn never_taken(py: Python<'_>) -> PyErr {
    named(py, "LockError", "the lock was never taken".into())
}

pub(crate) fn busy(py: Python<'_>) -> PyErr {
    named(py, "LockBusyError", "the lock is held by another".into())
}

pub(crate) fn lost(py: Python<'_>) -> PyErr {
    named(py, "LockLostError", "the lease had run out before the end of the block".into())
}

impl Lock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = state.held.take() {
            Python::try_attach(|py| give_back(py, Some(held)));
        }
    }
}

/// Drops a lock that was held, which gives it back and may wait for a server.
fn give_back(py: Python<'_>, held: Option<Arc<Held>>) {
    if let Some(held) = held {
        wait::quietly(py, || drop(held));
    }
}
