//! The class `Cache`: the operations that every kind has. `kinds` adds how each kind is made.
//!
//! Methods here are thin: they turn arguments into bytes and TTLs, call the core through
//! [`wait::operate`], and turn the result into Python.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_cache::{AnyCache, BlockingCache, GetOptions, Kind, Swap, Ttl, Value};
use pyo3::exceptions::{PyKeyError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple, PyType};

use crate::buffer::Buffer;
use crate::choices::{self, StaleArg, Tags};
use crate::key::Key;
use crate::load::{self, Loads};
use crate::lock::{self, Lock};
use crate::mapping::Fallback;
use crate::recipe::Recipe;
use crate::slot::{self, Slot};
use crate::ttl::{self, TtlArg};
use crate::{aio, batch, errors, events, found, mapping, stats, view, wait};

/// A cache of bytes: what LocalCache, RedisCache and HybridCache have in common.
///
/// Keys are str (their UTF-8 bytes, surrogateescape) or bytes-like, 1 to 65,536 bytes; values are any
/// contiguous buffer. All methods may be called from any thread. A cache object is always true, also
/// when it is empty, and equal only to itself.
#[pyclass(subclass, frozen, weakref, mapping, module = "lighter_cache")]
pub(crate) struct Cache {
    pub(crate) slot: Slot,
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) kind: Kind,
    pub(crate) loads: Loads,
}

impl Cache {
    /// Whether no operation ever waits.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        self.kind == Kind::Local
    }
}

/// The value of `key` as bytes.
#[inline]
pub(crate) fn read<'py>(
    cache: &Bound<'py, Cache>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    read_bytes(cache, &Key::of(key)?)
}

/// As [`read`], by the key's bytes.
#[inline]
pub(crate) fn read_bytes<'py>(
    cache: &Bound<'py, Cache>,
    key: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = cache.py();
    let local = slot::with(cache, |cache| match cache {
        // Copied straight into the new object. Making one runs no Python code and waits for nothing.
        AnyCache::Local(cache) => Some(cache.get_with(key, |value| view::copy(py, value))),
        _ => None,
    })?;
    match local {
        Some(found) => found.map_err(|error| errors::raise(py, error))?.transpose(),
        None => pin(cache, key)?.map(|value| view::copy(py, &value)).transpose(),
    }
}

/// The value of `key`, pinned.
fn pin(cache: &Bound<'_, Cache>, key: &[u8]) -> PyResult<Option<Value>> {
    let py = cache.py();
    // A hit in L1 costs less than giving the GIL away.
    let at_once = slot::with(cache, |cache| match cache {
        AnyCache::Hybrid(cache) => cache.get_at_once(key),
        _ => Ok(None),
    })?;
    match at_once.map_err(|error| errors::raise(py, error))? {
        Some(answer) => Ok(answer),
        None => wait::operate(cache, |cache| cache.get(key)),
    }
}

/// Stores `value` under `key`.
#[inline]
pub(crate) fn write(
    cache: &Bound<'_, Cache>,
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    ttl: Ttl,
) -> PyResult<()> {
    let (key, value) = (Key::of(key)?, Buffer::value(value)?);
    let (key, value): (&[u8], &[u8]) = (&key, &value);
    wait::operate(cache, |cache| cache.set(key, value, ttl))
}

#[pymethods]
impl Cache {
    /// The value of `key` as bytes, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(read(slf, key)?.map(Bound::into_any).or(default))
    }

    /// A read-only memoryview of the value of `key`, or None. On a local hit nothing is copied: the
    /// view pins the value, whatever happens to the key or to the cache.
    fn get_view<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyMemoryView>>> {
        pin(slf, &Key::of(key)?)?.map(|value| view::view(slf.py(), value)).transpose()
    }

    /// Stores `value`, any contiguous buffer.
    ///
    /// `ttl`: seconds, timedelta, text such as "5m", None for never; omitted: the cache's
    /// `default_ttl`. Zero or less: nothing is stored, an old value is removed. At most 100 years.
    /// `stale`: how long past its TTL the value may be served where a reload fails. `tags`: names by
    /// which `invalidate_tag` finds it.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT, *, stale=StaleArg::DEFAULT, tags=Tags::default()))]
    fn set(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
        stale: StaleArg,
        tags: Tags,
    ) -> PyResult<()> {
        let Some(options) = choices::beyond_ttl(ttl.0, stale, tags) else {
            return write(slf, key, value, ttl.0);
        };
        let (key, value) = (Key::of(key)?, Buffer::value(value)?);
        let (key, value): (&[u8], &[u8]) = (&key, &value);
        wait::operate(slf, |cache| cache.set_ex(key, value, &options))
    }

    /// The value of `key` with what is known of it, as Found(value, ttl, tier, stale); None where it is
    /// absent.
    fn get_ex<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let key = Key::of(key)?;
        let found = wait::operate(slf, |cache| cache.get_ex(&key, GetOptions::default()))?;
        found.map(|found| found::to_python(slf.py(), &found)).transpose()
    }

    /// Stores `value` only where `key` is absent; False where it was there. Atomic.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT))]
    fn add(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<bool> {
        let (key, value) = (Key::of(key)?, Buffer::value(value)?);
        let (key, value): (&[u8], &[u8]) = (&key, &value);
        wait::operate(slf, |cache| cache.add(key, value, ttl.0))
    }

    /// Stores `value` only where `key` is there; False where it was absent. Atomic.
    #[pyo3(signature = (key, value, ttl=TtlArg::DEFAULT))]
    fn replace(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<bool> {
        let (key, value) = (Key::of(key)?, Buffer::value(value)?);
        let (key, value): (&[u8], &[u8]) = (&key, &value);
        wait::operate(slf, |cache| cache.replace(key, value, ttl.0))
    }

    /// Stores `value` only where the present value is `expected`. True: done; False: it is another; None:
    /// there is none. Atomic.
    #[pyo3(signature = (key, expected, value, ttl=TtlArg::DEFAULT))]
    fn compare_and_set(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        expected: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArg,
    ) -> PyResult<Option<bool>> {
        let (key, expected, value) =
            (Key::of(key)?, Buffer::value(expected)?, Buffer::value(value)?);
        let (key, expected, value): (&[u8], &[u8], &[u8]) = (&key, &expected, &value);
        let swap = wait::operate(slf, |cache| cache.compare_and_set(key, expected, value, ttl.0))?;
        Ok(match swap {
            Swap::Done => Some(true),
            Swap::Conflict => Some(false),
            Swap::Absent => None,
        })
    }

    /// Adds `delta` to a decimal number and returns the sum. An absent key counts as 0 and is given `ttl`;
    /// a present one keeps its own. Atomic. TypeError (also lighter_cache.TypeError) where the value is no
    /// 64-bit number or the sum would be none.
    #[pyo3(signature = (key, delta=1, ttl=TtlArg::DEFAULT))]
    fn incr(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        delta: i64,
        ttl: TtlArg,
    ) -> PyResult<i64> {
        let key = Key::of(key)?;
        wait::operate(slf, |cache| cache.incr(&key, delta, ttl.0))
    }

    /// As `incr`, with `delta` subtracted.
    #[pyo3(signature = (key, delta=1, ttl=TtlArg::DEFAULT))]
    fn decr(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        delta: i64,
        ttl: TtlArg,
    ) -> PyResult<i64> {
        let too_small = || PyOverflowError::new_err("delta can't be negated in 64 bits");
        Self::incr(slf, key, delta.checked_neg().ok_or_else(too_small)?, ttl)
    }

    /// The value of `key`; where there is none, `loader()` is called and what it returns is stored and
    /// returned, or None where it returns None.
    ///
    /// However many ask for one key at once, one of them loads, on its own thread, and the others get what
    /// it got. The loader's exception is raised as it is in the call that loaded, and as LoaderError from
    /// it in those that waited; it is not remembered. A loader may use the cache, but its own key again is
    /// ReentrantError. `ttl`, `stale`, `tags`: as of `set`.
    #[pyo3(signature = (key, loader, ttl=TtlArg::DEFAULT, *, stale=StaleArg::DEFAULT, tags=Tags::default()))]
    fn get_or_set<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        loader: &Bound<'py, PyAny>,
        ttl: TtlArg,
        stale: StaleArg,
        tags: Tags,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        load::get_or_set(slf, key, loader, &choices::options(ttl.0, stale, tags))
    }

    /// A decorator that keeps what a function returns in this cache, for functions, coroutine functions
    /// and methods. However many ask for one key at once, the function is called once: for the threads of
    /// this process, or for the tasks of an event loop. The function's exceptions are not kept.
    ///
    /// `ttl`, `stale`: as of `set`. `key`: what makes the key, as text such as "user:{id}" or a callable
    /// of the same arguments, whose str or bytes is the whole key; omitted: the function's name and its
    /// arguments. `typed`: 1, 1.0 and True are different arguments. `tags`: an iterable, or a callable of
    /// the same arguments. `codec`: "json", "pickle", "msgpack" or a pair (encode, decode); omitted: the
    /// function returns bytes-like, or None, which is not kept.
    ///
    /// The decorated function has invalidate(*args), key(*args), stats() and __wrapped__.
    #[pyo3(
        signature = (*args, **options),
        text_signature = "($self, ttl=..., *, key=None, typed=False, tags=(), stale=..., codec=None)"
    )]
    fn memoize<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let memoize = slf.py().import("lighter_cache._memoize")?.getattr("memoize")?;
        let head = PyTuple::new(slf.py(), [slf])?;
        memoize.call(head.into_sequence().concat(args.as_sequence())?.to_tuple()?, options)
    }

    /// Removes `key`; True if there was one.
    fn delete(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = Key::of(key)?;
        wait::operate(slf, |cache| cache.delete(&key))
    }

    /// Whether `key` is there. Counts as neither hit nor miss.
    fn exists(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = Key::of(key)?;
        wait::operate(slf, |cache| cache.exists(&key))
    }

    /// Removes everything that belongs to this cache and nothing else: on a server the keys under its
    /// prefix.
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        wait::operate_detached(slf, |cache| cache.clear())
    }

    /// Removes all keys that begin with `prefix`; returns how many there were.
    fn delete_prefix(slf: &Bound<'_, Self>, prefix: &Bound<'_, PyAny>) -> PyResult<u64> {
        let prefix = Key::of(prefix)?;
        let prefix: &[u8] = &prefix;
        wait::operate_detached(slf, |cache| cache.delete_prefix(prefix))
    }

    /// Makes all values that carry `tag` absent, in every process, at a cost that does not grow with their
    /// number.
    fn invalidate_tag(slf: &Bound<'_, Self>, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let tag = Key::of(tag)?;
        wait::operate(slf, |cache| cache.invalidate_tag(&tag))
    }

    /// A dict of those of `keys` that are there, with their values. Not atomic.
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        batch::get_many(slf, keys)
    }

    /// Stores all items of a mapping, or all pairs of an iterable, with one TTL. Not atomic.
    #[pyo3(signature = (items, ttl=TtlArg::DEFAULT))]
    fn set_many(slf: &Bound<'_, Self>, items: &Bound<'_, PyAny>, ttl: TtlArg) -> PyResult<()> {
        batch::set_many(slf, items, ttl.0)
    }

    /// Removes `keys`; returns how many were there. Not atomic.
    fn delete_many(slf: &Bound<'_, Self>, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
        batch::delete_many(slf, keys)
    }

    /// Seconds that `key` has still to live: math.inf where it never expires, None where it is absent.
    fn ttl(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let key = Key::of(key)?;
        Ok(wait::operate(slf, |cache| cache.ttl(&key))?.map(ttl::seconds))
    }

    /// Gives `key` a new TTL and keeps its value; False where it is absent. Zero or less removes it.
    fn expire(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, ttl: TtlArg) -> PyResult<bool> {
        let key = Key::of(key)?;
        wait::operate(slf, |cache| cache.expire(&key, ttl.0))
    }

    /// As `expire`, by default to the cache's `default_ttl`.
    #[pyo3(signature = (key, ttl=TtlArg::DEFAULT))]
    fn touch(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, ttl: TtlArg) -> PyResult<bool> {
        Self::expire(slf, key, ttl)
    }

    /// How many entries there are. On a server this scans the keys under the prefix.
    fn count(slf: &Bound<'_, Self>) -> PyResult<u64> {
        wait::operate(slf, |cache| cache.count())
    }

    /// A snapshot of this cache's counters, as Stats.
    fn stats<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = wait::operate(slf, |cache| cache.stats())?;
        stats::to_python(slf.py(), &snapshot)
    }

    /// Reaches the server, or raises ConnectError. Always succeeds where there is none to reach.
    fn ping(slf: &Bound<'_, Self>) -> PyResult<()> {
        wait::operate(slf, |cache| cache.ping())
    }

    /// The counters in the Prometheus text format.
    fn metrics(slf: &Bound<'_, Self>) -> PyResult<String> {
        wait::operate(slf, |cache| cache.metrics())
    }

    /// Reads `keys` from the server into this process's memory; returns how many were there. HybridCache
    /// only.
    fn warm(slf: &Bound<'_, Self>, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
        batch::warm(slf, keys)
    }

    /// As `warm`, for up to `limit` keys that begin with `prefix`.
    #[pyo3(signature = (prefix, limit=10_000))]
    fn warm_prefix(slf: &Bound<'_, Self>, prefix: &Bound<'_, PyAny>, limit: u64) -> PyResult<u64> {
        let prefix = Key::of(prefix)?;
        wait::operate(slf, |cache| cache.warm_prefix(&prefix, limit))
    }

    /// Writes all live entries to a file, which appears complete or not at all; returns how many. IoError
    /// (an OSError) where it can't be written. LocalCache only.
    fn save(slf: &Bound<'_, Self>, path: PathBuf) -> PyResult<u64> {
        wait::operate_detached(slf, |cache| cache.save(&path))
    }

    /// Stores the entries of a file that `save` wrote; returns how many. The time since then is deducted
    /// from their TTLs. CorruptError where the file is damaged: then nothing is stored. LocalCache only.
    fn load(slf: &Bound<'_, Self>, path: PathBuf) -> PyResult<u64> {
        wait::operate_detached(slf, |cache| cache.load(&path))
    }

    /// A lock by name, to be taken by `with` or by its `acquire`, for `lease` seconds (or a timedelta, or
    /// text such as "5m"), waiting up to `wait`.
    #[pyo3(signature = (name, lease, wait=None))]
    fn lock<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        lease: &Bound<'py, PyAny>,
        wait: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Lock>> {
        lock::of(slf, name, lease, wait)
    }

    /// Calls `listener(event, key)` from now on for each of `events`, members of lighter_cache.Event (all
    /// where omitted); returns a number for `unsubscribe`. `key` is None where an event concerns none.
    ///
    /// It is called on a thread of the library, where a call that would wait is ReentrantError. Events that
    /// come faster than they are heard are dropped. Until `unsubscribe` or `close` the cache keeps the
    /// listener, and what that refers to, alive.
    #[pyo3(signature = (listener, events=None))]
    fn subscribe(
        slf: &Bound<'_, Self>,
        listener: &Bound<'_, PyAny>,
        events: Option<u32>,
    ) -> PyResult<u64> {
        events::subscribe(slf, listener, events)
    }

    /// Ends a subscription; False for a number that names none. Once it has returned, the listener is not
    /// running and is not called again (unless the listener itself calls it).
    fn unsubscribe(slf: &Bound<'_, Self>, id: u64) -> PyResult<bool> {
        wait::operate_detached(slf, |cache| cache.unsubscribe(id))
    }

    /// Closes the cache; every later call raises ClosedError. Calls in flight and views finish safely.
    /// Closing twice is fine.
    fn close(slf: &Bound<'_, Self>) {
        if let Some(cache) = slot::take(slf) {
            // Freeing many entries takes its time.
            slf.py().detach(|| drop(cache));
        }
    }

    /// Whether the cache was closed.
    #[getter]
    fn closed(slf: &Bound<'_, Self>) -> bool {
        slot::is_closed(slf)
    }

    /// The operations for asyncio, as AsyncCache: `await cache.aio.get(key)`. A local operation completes at
    /// once, no other blocks the event loop, and each may be cancelled.
    #[getter]
    fn aio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio::of(slf)
    }

    /// "local", "redis" or "hybrid".
    #[getter]
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Local => "local",
            Kind::Redis => "redis",
            Kind::Hybrid => "hybrid",
        }
    }

    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        slot::with(slf, |_| ())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) {
        Self::close(slf);
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        read(slf, key)?.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        write(slf, key, value, Ttl::Default)
    }

    fn __delitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if Self::delete(slf, key)? {
            Ok(())
        } else {
            Err(PyKeyError::new_err(key.clone().unbind()))
        }
    }

    fn __contains__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::exists(slf, key)
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __len__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        mapping::len(slf)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        mapping::iter(slf)
    }

    /// A view of the keys, as str. LocalCache only.
    fn keys<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        mapping::view_of(slf, "Keys")
    }

    /// A view of the values. LocalCache only.
    fn values<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        mapping::view_of(slf, "Values")
    }

    /// A view of the keys with their values. LocalCache only.
    fn items<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        mapping::view_of(slf, "Items")
    }

    /// Removes `key` and returns its value, or `default`, or raises KeyError. LocalCache only.
    #[pyo3(signature = (key, default=Fallback::Missing))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Fallback<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        mapping::pop(slf, key, default)
    }

    /// Removes some entry and returns its key and value; KeyError where there is none. LocalCache only.
    fn popitem<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
        mapping::popitem(slf)
    }

    /// The value of `key`, which becomes `default` if it was absent. LocalCache only.
    fn setdefault<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        mapping::setdefault(slf, key, default)
    }

    /// Stores the items of a mapping, or the pairs of an iterable, and the keyword arguments.
    #[pyo3(signature = (other=None, /, **more))]
    fn update(
        slf: &Bound<'_, Self>,
        other: Option<&Bound<'_, PyAny>>,
        more: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        for items in [other, more.map(Bound::as_any)].into_iter().flatten() {
            batch::set_many(slf, items, Ttl::Default)?;
        }
        Ok(())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type();
        let closed = if slot::is_closed(slf) { "closed " } else { "" };
        Ok(format!("<{closed}{} {}>", class.fully_qualified_name()?, slf.get().recipe.shown()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let reopen = py.import("lighter_cache._reopen")?.getattr("reopen")?;
        let class: Bound<'py, PyType> = slf.get_type();
        (reopen, (class, slf.get().recipe.to_python(py)?)).into_pyobject(py)
    }
}
