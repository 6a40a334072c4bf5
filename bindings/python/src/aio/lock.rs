//! The class `AsyncLock`: [`Lock`](crate::lock::Lock) for asyncio.
//!
//! A lock that was taken is given back wherever nobody gets to know of it: the future that takes it is dropped,
//! or the task was cancelled when it was there already. Nothing here waits, also not where an object is collected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lighter_cache::{ByteCache, Lock as Held, Result};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::answer::Answer;
use super::operation::Operation;
use crate::cache::Cache;
use crate::lock::{self, Wish};
use crate::slot;

/// A lock by name, for asyncio; made by AsyncCache.lock. Otherwise as Lock.
///
/// `async with` raises LockBusyError where others held it all the time that it would wait, and LockLostError at the
/// end of the block where the lease had run out before.
#[pyclass(frozen, weakref, module = "lighter_cache")]
pub(crate) struct AsyncLock {
    wish: Wish,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Arc<Hold>>,
    fence: Option<u64>,
}

/// A lock that is given back where it is dropped, without a wait.
pub(super) struct Hold(Option<Held>);

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.abandon();
        }
    }
}

/// What an attempt came to, until its caller has heard of it.
pub(super) struct Attempt {
    lock: Py<AsyncLock>,
    hold: Option<Hold>,
    /// The caller is told by the lock itself or an exception, not by True and False.
    entering: bool,
}

impl Attempt {
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let lock = self.lock.bind(py);
        let taken = self.hold.is_some();
        if let Some(hold) = self.hold {
            let mut state = lock.get().state();
            state.fence = hold.0.as_ref().map(Held::fence);
            let other = state.held.replace(Arc::new(hold));
            drop(state);
            drop(other);
        }
        match (self.entering, taken) {
            (true, true) => Ok(lock.clone().into_any()),
            (true, false) => Err(lock::busy(py)),
            (false, taken) => Ok(taken.into_pyobject(py)?.to_owned().into_any()),
        }
    }
}

/// The lock `name`, not taken yet.
pub(super) fn of<'py>(
    cache: &Bound<'py, Cache>,
    name: &Bound<'py, PyAny>,
    lease: &Bound<'py, PyAny>,
    wait: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, AsyncLock>> {
    let wish = Wish::of(cache, name, lease, wait)?;
    Bound::new(cache.py(), AsyncLock { wish, state: Mutex::default() })
}

#[pymethods]
impl AsyncLock {
    /// Takes the lock; False where others held it for as long as this one waits. Raises LockError where
    /// this object holds it already.
    fn acquire(slf: &Bound<'_, Self>) -> PyResult<Operation> {
        attempt(slf, false)
    }

    /// Gives the lock back; False where it was not held any more.
    fn release(slf: &Bound<'_, Self>) -> PyResult<Operation> {
        let lock = slf.clone().unbind();
        slf.get().operation(slf.py(), "release", async move {
            let hold = lock.get().state().held.take();
            give_back(hold).await.map(Answer::Flag)
        })
    }

    /// Begins a new lease, by default as long as the first; False where the lock was lost.
    #[pyo3(signature = (lease=None))]
    fn extend(slf: &Bound<'_, Self>, lease: Option<&Bound<'_, PyAny>>) -> PyResult<Operation> {
        let this = slf.get();
        let lease = this.wish.lease_or(lease)?;
        let lock = slf.clone().unbind();
        this.operation(slf.py(), "extend", async move {
            let hold = lock.get().state().held.clone();
            match hold.as_ref().and_then(|hold| hold.0.as_ref()) {
                Some(held) => held.extend_async(lease).await.map(Answer::Flag),
                None => Ok(Answer::Flag(false)),
            }
        })
    }

    /// A number that grows with every acquisition of this name; see Lock.fence.
    #[getter]
    fn fence(slf: &Bound<'_, Self>) -> PyResult<u64> {
        let fence = slf.get().state().fence;
        fence.ok_or_else(|| lock::never_taken(slf.py()))
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Operation> {
        attempt(slf, true)
    }

    #[pyo3(signature = (*exception))]
    fn __aexit__(slf: &Bound<'_, Self>, exception: &Bound<'_, PyTuple>) -> PyResult<Operation> {
        let failing = exception.get_item(0).is_ok_and(|class| !class.is_none());
        let lock = slf.clone().unbind();
        slf.get().operation(slf.py(), "release", async move {
            let hold = lock.get().state().held.take();
            match give_back(hold).await {
                // The block's own exception says more.
                Ok(true) => Ok(Answer::Nothing),
                _ if failing => Ok(Answer::Nothing),
                Ok(false) => Ok(Answer::LockLost),
                Err(error) => Err(error),
            }
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let held = if slf.get().state().held.is_some() { "held" } else { "not held" };
        Ok(format!("<{} {held}>", slf.get_type().fully_qualified_name()?))
    }
}

/// Takes the lock, and tells of it in the one way or the other.
fn attempt(slf: &Bound<'_, AsyncLock>, entering: bool) -> PyResult<Operation> {
    let this = slf.get();
    if this.state().held.is_some() {
        return Err(lock::held_already(slf.py()));
    }
    let Wish { cache, name, lease, wait } = &this.wish;
    let (name, lease, wait) = (name.clone(), *lease, *wait);
    let lock = slf.clone().unbind();
    let cache = slot::share(cache.bind(slf.py()))?;
    this.operation(slf.py(), "acquire", async move {
        let hold = cache.lock_bytes(&name, lease, wait).await?.map(|held| Hold(Some(held)));
        Ok(Answer::Attempt(Attempt { lock, hold, entering }))
    })
}

async fn give_back(hold: Option<Arc<Hold>>) -> Result<bool> {
    let Some(hold) = hold else { return Ok(false) };
    match Arc::into_inner(hold).and_then(|mut hold| hold.0.take()) {
        Some(held) => held.release_async().await,
        // Another task is extending it: it is given back when that has ended.
        None => Ok(true),
    }
}

impl AsyncLock {
    fn operation(
        &self,
        py: Python<'_>,
        name: &'static str,
        future: impl Future<Output = Result<Answer>> + Send + 'static,
    ) -> PyResult<Operation> {
        // A wait for a Local lock needs the library's timers.
        let local = self.wish.cache.get().is_local() && self.wish.wait.is_zero();
        Operation::new(py, local, name, None, future)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
