//! `get_or_set`: the core decides who loads, and the loader is a Python callable.
//!
//! The call is detached while the core works, so that whoever waits for another's load does not keep the
//! GIL from it; the loader attaches again. It may also run later, on a thread of the library, where
//! `refresh_ahead` asks for that: nobody waits for an exception there, so it goes to
//! `sys.unraisablehook`.
//!
//! # Exceptions
//! The loader's exception can't pass through the core, which knows its own errors only. It is kept in the
//! [`Load`] of the call whose thread ran the loader, and raised from there: the same object, with its
//! traceback. Whoever waited gets LoaderError from it: calls for one key find each other in [`Loads`].
//!
//! The locks of this file are only taken attached, for a few instructions, and no Python code runs
//! meanwhile; so no thread is inside when the interpreter forks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use lighter_cache::{
    AnyCache, BlockingCache, Error, ErrorKind, Loaded, Loaders, OwnedLoader, SetOptions,
};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::buffer::Buffer;
use crate::cache::Cache;
use crate::key::Key;
use crate::{around, errors, foreign, slot, view, wait};

/// The calls of one cache that may load, by key.
#[derive(Default)]
pub(crate) struct Loads(Mutex<HashMap<Vec<u8>, Arc<Group>>>);

/// The calls for one key.
#[derive(Default)]
struct Group {
    /// The exception of the last loader that failed.
    failure: Mutex<Option<PyErr>>,
    /// How many of the calls are tasks of event loops.
    tasks: AtomicUsize,
}

/// One call's membership in a group. Made and dropped attached.
pub(crate) struct Member {
    cache: Py<Cache>,
    key: Vec<u8>,
    group: Arc<Group>,
    is_task: bool,
}

/// One call's loader.
struct Load {
    loader: Py<PyAny>,
    /// Gone where it runs after all calls have returned.
    group: Weak<Group>,
    caller: ThreadId,
    /// The exception of the loader where the caller's own thread ran it.
    raised: Mutex<Option<PyErr>>,
}

/// The value of `key`; where there is none, what `loader` returns, which is then stored.
pub(crate) fn get_or_set<'py>(
    cache: &Bound<'py, Cache>,
    key: &Bound<'py, PyAny>,
    loader: &Bound<'py, PyAny>,
    options: &SetOptions,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = cache.py();
    if !loader.is_callable() {
        return Err(PyTypeError::new_err("a loader is called without arguments"));
    }
    let key = Key::of(key)?;
    if let Some(found) = at_once(cache, &key)? {
        return Ok(Some(found));
    }
    let core = slot::share(cache)?;
    let member = Member::new(cache, &key);
    let around = match around::here(py)? {
        None if member.might_wait_for_this_thread(py)? => Loaders::of_nothing(),
        around => around.unwrap_or_default(),
    };
    let load = Arc::new(Load {
        loader: loader.clone().unbind(),
        group: Arc::downgrade(&member.group),
        caller: thread::current().id(),
        raised: Mutex::default(),
    });
    let owned: OwnedLoader = {
        let load = Arc::clone(&load);
        Arc::new(move |_| load.run())
    };
    let result = wait::detached_result(py, || {
        around.around(|| core.get_or_load_owned(&key, options, owned))
    })?;
    let raised = locked(&load.raised).take();
    match (result, raised) {
        // A stale value was served instead. What is no Exception (Ctrl-C, for instance) can't be hidden.
        (Ok(_), Some(raised)) if !raised.is_instance_of::<PyException>(py) => Err(raised),
        (Ok(value), _) => value.map(|value| view::copy(py, &value)).transpose(),
        (Err(_), Some(raised)) => Err(raised),
        (Err(error), None) => Err(member.explain(py, error)),
    }
}

/// A hit of a Local cache, for which the GIL is kept. Nothing where the core has to be asked in any case.
fn at_once<'py>(cache: &Bound<'py, Cache>, key: &[u8]) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = cache.py();
    // A value whose reload is due looks like any other from here.
    if !cache.get().is_local() || cache.get().recipe.may_refresh() {
        return Ok(None);
    }
    slot::with(cache, |cache| match cache {
        // A miss is counted once, by the core.
        AnyCache::Local(cache) if cache.exists(key)? => {
            cache.get_with(key, |value| view::copy(py, value))
        }
        _ => Ok(None),
    })?
    .map_err(|error: Error| errors::raise(py, error))?
    .transpose()
}

impl Member {
    pub(crate) fn new(cache: &Bound<'_, Cache>, key: &[u8]) -> Self {
        let group = Arc::clone(locked(&cache.get().loads.0).entry(key.to_vec()).or_default());
        Self { cache: cache.clone().unbind(), key: key.to_vec(), group, is_task: false }
    }

    /// The same for a task of an event loop.
    pub(crate) fn of_task(cache: &Bound<'_, Cache>, key: &[u8]) -> Self {
        let mut member = Self::new(cache, key);
        member.group.tasks.fetch_add(1, Ordering::Relaxed);
        member.is_task = true;
        member
    }

    /// Whether a call that waits on this thread might wait for a task that needs this thread to get on.
    fn might_wait_for_this_thread(&self, py: Python<'_>) -> PyResult<bool> {
        if self.group.tasks.load(Ordering::Relaxed) == 0 {
            return Ok(false);
        }
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let running = RUNNING.import(py, "asyncio", "_get_running_loop")?.call0()?;
        Ok(!running.is_none())
    }

    /// The exception for an error of the core: a load by another call has its own as its cause.
    #[cold]
    pub(crate) fn explain(&self, py: Python<'_>, error: Error) -> PyErr {
        let by_loader = error.kind() == ErrorKind::Loader;
        let error = errors::raise(py, error);
        if by_loader {
            let cause = locked(&self.group.failure).as_ref().map(|cause| cause.clone_ref(py));
            error.set_cause(py, cause);
        }
        error
    }

    /// Keeps the exception of this call's loader for those who wait for it.
    pub(crate) fn note(&self, py: Python<'_>, error: &PyErr) {
        self.group.note(py, error);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.is_task {
            self.group.tasks.fetch_sub(1, Ordering::Relaxed);
        }
        let mut groups = locked(&self.cache.get().loads.0);
        // The last call of the group takes it away; what it held is dropped outside of the lock.
        let last = Arc::strong_count(&self.group) <= 2;
        let gone = if last { groups.remove(&self.key) } else { None };
        drop(groups);
        drop(gone);
    }
}

impl Group {
    fn note(&self, py: Python<'_>, error: &PyErr) {
        let before = locked(&self.failure).replace(error.clone_ref(py));
        drop(before);
    }
}

/// The name of an exception's class, which is all that the core hears of it.
pub(crate) fn class_of(py: Python<'_>, error: &PyErr) -> String {
    error.get_type(py).name().map_or_else(|_| "?".into(), |name| name.to_string())
}

impl Load {
    /// Calls the loader, on whatever thread.
    fn run(&self) -> lighter_cache::Result<Option<Loaded>> {
        let load = |py: Python<'_>| self.call(py).map_err(|error| self.failed(py, error));
        let loaded = if thread::current().id() == self.caller {
            Python::try_attach(load)
        } else {
            foreign::call(load)
        };
        loaded.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Closed, "the interpreter is shutting down"))
        })
    }

    fn call(&self, py: Python<'_>) -> PyResult<Option<Loaded>> {
        let object = self.loader.bind(py).call0()?;
        if object.is_none() {
            return Ok(None);
        }
        Ok(Some(Loaded::new(&*Buffer::value(&object)?)))
    }

    /// Keeps the exception for whom it concerns.
    fn failed(&self, py: Python<'_>, error: PyErr) -> Error {
        let message = format!("the loader raised {}", class_of(py, &error));
        if let Some(group) = self.group.upgrade() {
            group.note(py, &error);
        }
        if thread::current().id() == self.caller {
            let before = locked(&self.raised).replace(error);
            drop(before);
        } else {
            error.write_unraisable(py, Some(self.loader.bind(py)));
        }
        Error::new(ErrorKind::Loader, message)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
