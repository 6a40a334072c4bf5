//! The class `Operation`: what the methods of `AsyncCache` return, to be awaited once.
//!
//! It is a coroutine in all but its type (it has `send`, `throw` and `close`), so that `create_task`, `gather`
//! and `asyncio.run` take it. Nothing happens before it is awaited. Then it polls the core's future itself;
//! what is ready at once, as with a Local cache and with a hit in L1, returns without the event loop. Else
//! the task waits for an `asyncio.Future`, which `wakeups` ends.
//!
//! # Cancellation
//! A cancelled task throws into what it awaits: then the core's future is dropped at once, before the task can
//! go on. The core knows how to end a write whose caller has gone: it never lands after a later one.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lighter_cache::{Error, Result};
use pyo3::exceptions::{PyException, PyRuntimeError, PyRuntimeWarning, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::answer::Answer;
use super::load::Raised;
use super::running::Running;
use super::wakeups;
use super::work::Work;
use crate::errors;

/// An operation for asyncio: await it, once.
#[pyclass(frozen, weakref, module = "lighter_cache._native")]
pub(crate) struct Operation {
    name: &'static str,
    stage: Mutex<Stage>,
    /// Of the loader that it may call.
    raised: Option<Raised>,
}

enum Stage {
    Fresh(Work),
    Running(Arc<Running>),
    Over,
}

impl Operation {
    /// The operation that is `future`, on a cache that is `local` or not; `raised`, where it calls a loader.
    pub(super) fn new(
        py: Python<'_>,
        local: bool,
        name: &'static str,
        raised: Option<Raised>,
        future: impl Future<Output = Result<Answer>> + Send + 'static,
    ) -> PyResult<Self> {
        let work = Work::new(local, future).map_err(|error| errors::raise(py, error))?;
        Ok(Self { name, stage: Mutex::new(Stage::Fresh(work)), raised })
    }

    /// What the task is to wait for, or the end as an exception.
    fn advance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let running = match self.leave_for(Stage::Over) {
            Stage::Fresh(work) => {
                let (event_loop, wakeups) = wakeups::here(py)?;
                let running = Running::new(work, &wakeups);
                if !running.poll(py) {
                    match event_loop.call_method0(intern!(py, "create_future")) {
                        Ok(waiter) => running.wait_by(waiter.unbind()),
                        Err(error) => {
                            running.end();
                            return Err(error);
                        }
                    }
                }
                running
            }
            Stage::Running(running) => running,
            Stage::Over => {
                return Err(PyRuntimeError::new_err("this operation was awaited already"));
            }
        };
        if let Some(outcome) = running.outcome() {
            return Err(self.finished(py, outcome));
        }
        let Some(waiter) = running.waiter(py) else {
            return Err(PyRuntimeError::new_err("this operation has ended"));
        };
        // What `Future.__await__` does: the task is to wait for it, not to complain.
        let marked = waiter.setattr(intern!(py, "_asyncio_future_blocking"), true);
        drop(self.leave_for(Stage::Running(running)));
        if marked.is_err() {
            self.give_up();
        }
        marked.map(|()| waiter)
    }

    #[inline]
    fn finished(&self, py: Python<'_>, outcome: Result<Answer>) -> PyErr {
        let raised = self.raised.as_ref().and_then(Raised::take);
        match outcome {
            Ok(answer) => match raised {
                // What is no Exception can't be hidden by a stale value.
                Some(raised) if !raised.is_instance_of::<PyException>(py) => raised,
                _ => match answer.into_python(py) {
                    Ok(value) => PyStopIteration::new_err((value.unbind(),)),
                    Err(error) => error,
                },
            },
            Err(error) => raised.unwrap_or_else(|| self.failed(py, error)),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, error: Error) -> PyErr {
        match &self.raised {
            Some(raised) => raised.explain(py, error),
            None => errors::raise(py, error),
        }
    }

    fn leave_for(&self, next: Stage) -> Stage {
        mem::replace(&mut *self.stage(), next)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) {
        if let Stage::Running(running) = self.leave_for(Stage::Over) {
            running.end();
        }
    }
}

#[pymethods]
impl Operation {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py)
    }

    #[pyo3(signature = (_value, /))]
    fn send<'py>(
        &self,
        py: Python<'py>,
        _value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py)
    }

    /// Ends the operation with an exception, as a cancelled task does.
    #[pyo3(signature = (exception, value=None, _traceback=None, /))]
    fn throw(
        &self,
        exception: &Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.give_up();
        let instance = match (exception.cast::<PyType>(), value) {
            (Err(_), _) => exception.clone(),
            (Ok(class), Some(value)) if value.is_instance(class)? => value,
            (Ok(class), Some(value)) => class.call1((value,))?,
            (Ok(class), None) => class.call0()?,
        };
        Err(PyErr::from_value(instance))
    }

    /// Gives the operation up.
    fn close(&self) {
        self.give_up();
    }

    fn __repr__(&self) -> String {
        let state = match &*self.stage() {
            Stage::Fresh(_) => "not begun",
            Stage::Running(_) => "under way",
            Stage::Over => "over",
        };
        format!("<operation {} {state}>", self.name)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let stage = self.stage.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stage = mem::replace(stage, Stage::Over);
        if matches!(stage, Stage::Over) {
            return;
        }
        Python::try_attach(|py| {
            // It may be dropped while an exception is on its way, as an argument of a call that failed.
            let pending = PyErr::take(py);
            match stage {
                Stage::Fresh(work) => {
                    drop(work);
                    never_awaited(py, self.name);
                }
                Stage::Running(running) => running.end(),
                Stage::Over => {}
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

/// As of a coroutine.
#[cold]
fn never_awaited(py: Python<'_>, name: &str) {
    let text = format!("AsyncCache.{name} was never awaited");
    let Ok(text) = std::ffi::CString::new(text) else { return };
    if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1) {
        error.write_unraisable(py, None);
    }
}
