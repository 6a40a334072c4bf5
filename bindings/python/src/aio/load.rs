//! `AsyncCache.get_or_set`: the loader is a callable, of whose coroutine the event loop makes a task.
//!
//! The core awaits the loader's end as a future of its own, [`Loader`], which is polled on the event loop. The
//! task of the loader knows by a context variable which loads it is inside of, so that the core can refuse its
//! own key to it, and let it not wait for others in a circle. Where the one that loads is cancelled, so is its
//! loader, and another one of those who wait loads.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lighter_cache::{Error, ErrorKind, Loaded, Loaders, Result};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::around;
use crate::buffer::Buffer;
use crate::load::{Member, class_of};

/// The exception of the loader of one operation.
pub(super) struct Raised {
    slot: Arc<Mutex<Option<PyErr>>>,
    member: Arc<Member>,
}

impl Raised {
    pub(super) fn take(&self) -> Option<PyErr> {
        locked(&self.slot).take()
    }

    /// The exception for an error of the core: that of a load by another call has its exception as its cause.
    pub(super) fn explain(&self, py: Python<'_>, error: Error) -> PyErr {
        self.member.explain(py, error)
    }
}

/// A loader's call, as the core awaits it.
pub(super) struct Loader {
    stage: Stage,
    slot: Arc<Mutex<Option<PyErr>>>,
    member: Arc<Member>,
    /// What goes on in its context is not inside of it any more.
    over: Arc<AtomicBool>,
}

enum Stage {
    Fresh { loader: Py<PyAny>, context: Py<PyAny> },
    Running { task: Py<PyAny>, landed: Arc<Landed> },
    Over,
}

/// What the loader's task came to.
#[derive(Default)]
struct Landed(Mutex<End>);

#[derive(Default)]
struct End {
    result: Option<PyResult<Py<PyAny>>>,
    waker: Option<Waker>,
}

/// What the loader's task calls when it is done.
#[pyclass(frozen, module = "lighter_cache._native")]
struct Landing(Arc<Landed>);

#[pymethods]
impl Landing {
    fn __call__(&self, task: &Bound<'_, PyAny>) {
        let result = task.call_method0(intern!(task.py(), "result")).map(Bound::unbind);
        let waker = {
            let mut landed = locked(&self.0.0);
            landed.result = Some(result);
            landed.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Loader {
    /// A loader that is called when it is first polled, in the context of the running code.
    pub(super) fn new(loader: &Bound<'_, PyAny>, member: Member) -> PyResult<(Self, Raised)> {
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let context = COPY.import(loader.py(), "contextvars", "copy_context")?.call0()?;
        let (slot, member) = (Arc::default(), Arc::new(member));
        let raised = Raised { slot: Arc::clone(&slot), member: member.clone() };
        let stage = Stage::Fresh { loader: loader.clone().unbind(), context: context.unbind() };
        Ok((Self { stage, slot, member, over: Arc::default() }, raised))
    }

    fn begin(&mut self, py: Python<'_>) -> PyResult<Option<Loaded>> {
        static ENSURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let Stage::Fresh { loader, context } = mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(None);
        };
        let run = context.bind(py).getattr(intern!(py, "run"))?;
        around::mark(&run, Loaders::here(), self.over.clone())?;
        let made = run.call1((loader,))?;
        if !made.hasattr(intern!(py, "__await__"))? {
            return loaded(&made);
        }
        let task = run.call1((ENSURE.import(py, "asyncio", "ensure_future")?, made))?;
        let landed = Arc::new(Landed::default());
        let landing = Bound::new(py, Landing(landed.clone()))?;
        task.call_method1(intern!(py, "add_done_callback"), (landing,))?;
        self.stage = Stage::Running { task: task.unbind(), landed };
        Ok(None)
    }

    fn ended(&self, py: Python<'_>, result: PyResult<Option<Loaded>>) -> Result<Option<Loaded>> {
        result.map_err(|error| {
            let message = format!("the loader raised {}", class_of(py, &error));
            self.member.note(py, &error);
            drop(locked(&self.slot).replace(error));
            Error::new(ErrorKind::Loader, message)
        })
    }
}

impl Future for Loader {
    type Output = Result<Option<Loaded>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Python::try_attach(|py| {
            if let Stage::Fresh { .. } = self.stage {
                let begun = self.begin(py);
                if begun.is_err() || matches!(self.stage, Stage::Over) {
                    return Poll::Ready(self.ended(py, begun));
                }
            }
            let Stage::Running { landed, .. } = &self.stage else {
                return Poll::Ready(Err(ErrorKind::Loader.into()));
            };
            let mut state = locked(&landed.0);
            let Some(result) = state.result.take() else {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            drop(state);
            self.stage = Stage::Over;
            let result = result.and_then(|object| loaded(object.bind(py)));
            Poll::Ready(self.ended(py, result))
        });
        polled.unwrap_or_else(|| {
            Poll::Ready(Err(Error::new(ErrorKind::Closed, "the interpreter is shutting down")))
        })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Stage::Running { task, .. } = mem::replace(&mut self.stage, Stage::Over) {
            // Nobody waits for it any more.
            Python::try_attach(|py| {
                if let Err(error) = task.bind(py).call_method0(intern!(py, "cancel")) {
                    error.write_unraisable(py, Some(task.bind(py)));
                }
            });
        }
    }
}

/// The value that a loader returned, if any.
fn loaded(object: &Bound<'_, PyAny>) -> PyResult<Option<Loaded>> {
    if object.is_none() {
        return Ok(None);
    }
    Ok(Some(Loaded::new(&*Buffer::value(object)?)))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
