//! `Cache.aio`: the operations for asyncio. The class here has those that the core can do without a thread;
//! `lighter_cache/_aio.py` adds the others.
//!
//! - `operation`: what the methods return, a coroutine; `work`: the core's future in it
//! - `running`: one that has to wait; `wakeups`: how its event loop hears that it can get on
//! - `answer`: what it comes to; `load`: the loader of `get_or_set`; `lock`: the class `AsyncLock`
//!
//! No thread of the library ever attaches to the interpreter here, and no thread waits for an operation: the
//! event loop polls the core's futures itself.

mod answer;
mod load;
mod lock;
mod operation;
mod running;
mod wakeups;
mod work;

use std::future::Future;

use lighter_cache::{AnyCache, ByteCache, GetOptions, Result, SetOptions};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use self::answer::Answer;
use self::load::Loader;
pub(crate) use self::lock::AsyncLock;
use self::operation::Operation;
use crate::batch;
use crate::buffer::Buffer;
use crate::cache::Cache;
use crate::choices::{self, StaleArg, Tags};
use crate::key::Key;
use crate::load::Member;
use crate::ttl::TtlArg;
use crate::{around, slot};

/// The operations of a cache for asyncio; see AsyncCache.
#[pyclass(subclass, frozen, module = "lighter_cache._native")]
pub(crate) struct AsyncCalls {
    cache: Py<Cache>,
}

/// `cache.aio`
pub(crate) fn of<'py>(cache: &Bound<'py, Cache>) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(cache.py(), "lighter_cache._aio", "AsyncCache")?.call1((cache,))
}

impl AsyncCalls {
    /// An operation that is what `call` makes of the cache.
    fn operation<F>(
        &self,
        py: Python<'_>,
        name: &'static str,
        call: impl FnOnce(AnyCache) -> F,
    ) -> PyResult<Operation>
    where
        F: Future<Output = Result<Answer>> + Send + 'static,
    {
        let cache = self.cache.bind(py);
        let future = call(slot::share(cache)?);
        Operation::new(py, cache.get().is_local(), name, None, future)
    }
}

#[pymethods]
impl AsyncCalls {
    #[new]
    fn new(cache: &Bound<'_, Cache>) -> Self {
        Self { cache: cache.clone().unbind() }
    }

    /// The cache that these are the operations of.
    #[getter]
    fn cache<'py>(&self, py: Python<'py>) -> Bound<'py, Cache> {
        self.cache.bind(py).clone()
    }

    /// The value of `key` as bytes, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "get", |cache| async move {
            Ok(Answer::Value(cache.get_bytes(&key).await?, default))
        })
    }

    /// A read-only memoryview of the value of `key`, or None.
    fn get_view(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "get_view", |cache| async move {
            cache.get_bytes(&key).await.map(Answer::View)
        })
    }

    /// The value of `key` with what is known of it, as Found(value, ttl, tier, stale); None where it is
    /// absent.
    fn get_ex(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "get_ex", |cache| async move {
            cache.get_ex_bytes(&key, GetOptions::default()).await.map(Answer::Found)
        })
    }

    /// Stores `value`, any contiguous buffer, which is copied before this returns. Arguments: as of
    /// Cache.set.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT, *, stale=StaleArg::DEFAULT, tags=Tags::default()))]
    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
        stale: StaleArg,
        tags: Tags,
    ) -> PyResult<Operation> {
        let (key, value) = (Key::of(key)?.to_vec(), Buffer::value(value)?.to_vec());
        let options = choices::beyond_ttl(ttl.0, stale, tags);
        self.operation(py, "set", |cache| async move {
            match options {
                None => cache.set_bytes(&key, &value, ttl.0).await?,
                Some(options) => cache.set_ex_bytes(&key, &value, &options).await?,
            }
            Ok(Answer::Nothing)
        })
    }

    /// Stores `value` only where `key` is absent; False where it was there. Atomic.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT))]
    fn add(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let (key, value) = (Key::of(key)?.to_vec(), Buffer::value(value)?.to_vec());
        self.operation(py, "add", |cache| async move {
            cache.add_bytes(&key, &value, ttl.0).await.map(Answer::Flag)
        })
    }

    /// Stores `value` only where `key` is there; False where it was absent. Atomic.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT))]
    fn replace(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let (key, value) = (Key::of(key)?.to_vec(), Buffer::value(value)?.to_vec());
        self.operation(py, "replace", |cache| async move {
            cache.replace_bytes(&key, &value, ttl.0).await.map(Answer::Flag)
        })
    }

    /// Stores `value` only where the present value is `expected`: True, False where it is another, None
    /// where it is absent. Atomic.
    #[pyo3(signature = (key, expected, value, ttl=TtlArg::DEFAULT))]
    fn compare_and_set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        expected: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        let (expected, value) = (Buffer::value(expected)?.to_vec(), Buffer::value(value)?.to_vec());
        self.operation(py, "compare_and_set", |cache| async move {
            let swap = cache.compare_and_set_bytes(&key, &expected, &value, ttl.0).await;
            swap.map(Answer::Swapped)
        })
    }

    /// Adds `delta` to a decimal number and returns the sum; see Cache.incr.
    #[pyo3(signature = (key, delta=1, ttl=TtlArg::DEFAULT))]
    fn incr(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        delta: i64,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "incr", |cache| async move {
            cache.incr_bytes(&key, delta, ttl.0).await.map(Answer::Number)
        })
    }

    /// As `incr`, with `delta` subtracted.
    #[pyo3(signature = (key, delta=1, ttl=TtlArg::DEFAULT))]
    fn decr(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        delta: i64,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let too_small = || PyOverflowError::new_err("delta can't be negated in 64 bits");
        self.incr(py, key, delta.checked_neg().ok_or_else(too_small)?, ttl)
    }

    /// The value of `key`; where there is none, `loader()` is called, or awaited where it is a coroutine
    /// function, and what it returns is stored and returned, or None where it returns None.
    ///
    /// However many ask for one key at once, in tasks and in threads, one of them loads and the others get
    /// what it got; where that one is cancelled, another loads. Otherwise as Cache.get_or_set.
    #[pyo3(signature = (key, loader, ttl=TtlArg::DEFAULT, *, stale=StaleArg::DEFAULT, tags=Tags::default()))]
    fn get_or_set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        loader: &Bound<'_, PyAny>,
        ttl: TtlArg,
        stale: StaleArg,
        tags: Tags,
    ) -> PyResult<Operation> {
        if !loader.is_callable() {
            return Err(PyTypeError::new_err("a loader is called without arguments"));
        }
        let key = Key::of(key)?.to_vec();
        let options: SetOptions = choices::options(ttl.0, stale, tags);
        let cache = self.cache.bind(py);
        let (core, local) = (slot::share(cache)?, cache.get().is_local());
        let (load, raised) = Loader::new(loader, Member::of_task(cache, &key))?;
        let future = around::here(py)?.unwrap_or_default().wrap(async move {
            let value = core.get_or_load_bytes(&key, &options, Box::pin(load)).await?;
            Ok(Answer::Value(value, None))
        });
        Operation::new(py, local, "get_or_set", Some(raised), future)
    }

    /// Removes `key`; True if there was one.
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "delete", |cache| async move {
            cache.delete_bytes(&key).await.map(Answer::Flag)
        })
    }

    /// Whether `key` is there. Counts as neither hit nor miss.
    fn exists(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "exists", |cache| async move {
            cache.exists_bytes(&key).await.map(Answer::Flag)
        })
    }

    /// Removes everything that belongs to this cache and nothing else.
    fn clear(&self, py: Python<'_>) -> PyResult<Operation> {
        self.operation(py, "clear", |cache| async move {
            cache.clear_bytes().await?;
            Ok(Answer::Nothing)
        })
    }

    /// Removes all keys that begin with `prefix`; returns how many there were.
    fn delete_prefix(&self, py: Python<'_>, prefix: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let prefix = Key::of(prefix)?.to_vec();
        self.operation(py, "delete_prefix", |cache| async move {
            cache.delete_prefix_bytes(&prefix).await.map(Answer::Count)
        })
    }

    /// Makes all values that carry `tag` absent, in every process.
    fn invalidate_tag(&self, py: Python<'_>, tag: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let tag = Key::of(tag)?.to_vec();
        self.operation(py, "invalidate_tag", |cache| async move {
            cache.invalidate_tag_bytes(&tag).await?;
            Ok(Answer::Nothing)
        })
    }

    /// A dict of those of `keys` that are there, with their values. Not atomic.
    fn get_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let objects = batch::objects(keys)?;
        let keys = batch::copies_of(&objects)?;
        let objects: Vec<Py<PyAny>> = objects.into_iter().map(Bound::unbind).collect();
        self.operation(py, "get_many", |cache| async move {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let values = cache.get_many_bytes(&keys).await?;
            Ok(Answer::Values(objects, values))
        })
    }

    /// Stores all items of a mapping, or all pairs of an iterable, with one TTL. Not atomic.
    #[pyo3(signature = (items, ttl=TtlArg::DEFAULT))]
    fn set_many(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<Operation> {
        let pairs = batch::pairs(items)?;
        let items: Vec<(Vec<u8>, Vec<u8>)> = pairs
            .iter()
            .map(|(key, value)| Ok((Key::of(key)?.to_vec(), Buffer::value(value)?.to_vec())))
            .collect::<PyResult<_>>()?;
        self.operation(py, "set_many", |cache| async move {
            let items: Vec<(&[u8], &[u8])> =
                items.iter().map(|(key, value)| (&**key, &**value)).collect();
            cache.set_many_bytes(&items, ttl.0).await?;
            Ok(Answer::Nothing)
        })
    }

    /// Removes `keys`; returns how many were there. Not atomic.
    fn delete_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let keys = batch::copies_of(&batch::objects(keys)?)?;
        self.operation(py, "delete_many", |cache| async move {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            cache.delete_many_bytes(&keys).await.map(Answer::Count)
        })
    }

    /// Seconds that `key` has still to live: math.inf where it never expires, None where it is absent.
    fn ttl(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(
            py,
            "ttl",
            |cache| async move { cache.ttl_bytes(&key).await.map(Answer::Left) },
        )
    }

    /// Gives `key` a new TTL and keeps its value; False where it is absent. Zero or less removes it.
    fn expire(&self, py: Python<'_>, key: &Bound<'_, PyAny>, ttl: TtlArg) -> PyResult<Operation> {
        let key = Key::of(key)?.to_vec();
        self.operation(py, "expire", |cache| async move {
            cache.expire_bytes(&key, ttl.0).await.map(Answer::Flag)
        })
    }

    /// As `expire`, by default to the cache's `default_ttl`.
    #[pyo3(signature = (key, ttl=TtlArg::DEFAULT))]
    fn touch(&self, py: Python<'_>, key: &Bound<'_, PyAny>, ttl: TtlArg) -> PyResult<Operation> {
        self.expire(py, key, ttl)
    }

    /// A lock by name, to be taken by `async with` or by its `acquire`; otherwise as Cache.lock.
    #[pyo3(signature = (name, lease, wait=None))]
    fn lock<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        lease: &Bound<'py, PyAny>,
        wait: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, AsyncLock>> {
        lock::of(self.cache.bind(name.py()), name, lease, wait)
    }

    /// How many entries there are. On a server this scans the keys under the prefix.
    fn count(&self, py: Python<'_>) -> PyResult<Operation> {
        self.operation(
            py,
            "count",
            |cache| async move { cache.count_bytes().await.map(Answer::Count) },
        )
    }

    /// Reaches the server, or raises ConnectError. Always succeeds where there is none to reach.
    fn ping(&self, py: Python<'_>) -> PyResult<Operation> {
        self.operation(py, "ping", |cache| async move {
            cache.ping_bytes().await?;
            Ok(Answer::Nothing)
        })
    }
}
