//! The three kinds of cache as classes, and the functions that need no cache: `open` and `check`.

use std::sync::Arc;

use lighter_cache::config::{Config, ConfigBuilder};
use lighter_cache::{AnyCache, BlockingCache, Error, ErrorKind, Kind};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::cache::Cache;
use crate::load::Loads;
use crate::options::{self, Options};
use crate::recipe::Recipe;
use crate::slot::{self, Slot};
use crate::{errors, wait};

/// A cache in the memory of this process.
///
/// LocalCache(**options), as in LocalCache(default_ttl=300, shards=16). It is a MutableMapping of str
/// to bytes, too.
#[pyclass(extends = Cache, subclass, frozen, module = "lighter_cache")]
pub(crate) struct LocalCache;

/// A cache in Redis or Valkey: one server, a Cluster, or behind Sentinel.
///
/// RedisCache(url, **options), as in RedisCache("redis://localhost:6379", prefix="app").
#[pyclass(extends = Cache, subclass, frozen, module = "lighter_cache")]
pub(crate) struct RedisCache;

/// A LocalCache (L1) over a RedisCache (L2).
///
/// HybridCache(l1, l2=None, **options) composes two open caches and takes references of its own: they
/// may be closed before it. To open one by URL: lighter_cache.open("hybrid+redis://…").
#[pyclass(extends = Cache, subclass, frozen, module = "lighter_cache")]
pub(crate) struct HybridCache;

/// The class of a cache's kind, over the class of all kinds.
fn made<K>(kind: K, cache: AnyCache, recipe: Recipe) -> PyClassInitializer<K>
where
    K: pyo3::PyClass<BaseType = Cache>,
{
    let base = Cache {
        kind: BlockingCache::kind(&cache),
        slot: Slot::new(cache),
        recipe: Arc::new(recipe),
        loads: Loads::default(),
    };
    PyClassInitializer::from(base).add_subclass(kind)
}

/// The configuration of `url` (or the environment) with `options` over it.
fn config(url: Option<&str>, options: &Options) -> lighter_cache::Result<Config> {
    let mut builder = ConfigBuilder::new(url);
    for (name, value) in options {
        builder.set(name, value)?;
    }
    builder.build()
}

/// Opens a cache, which must be of `kind` where one is given.
fn opened(
    py: Python<'_>,
    url: Option<&str>,
    options: &Options,
    kind: Option<Kind>,
) -> PyResult<AnyCache> {
    let config = config(url, options).map_err(|error| errors::raise(py, error))?;
    if kind.is_some_and(|kind| kind != config.kind) {
        let message = "this URL opens another kind of cache: lighter_cache.open(url) opens any";
        return Err(errors::raise(py, Error::new(ErrorKind::Config, message)));
    }
    wait::detached(py, || AnyCache::open(&config))
}

/// Makes `object` known to `lighter_cache.shutdown`, which closes it.
fn register(object: &Bound<'_, PyAny>) -> PyResult<()> {
    object.py().import("lighter_cache._life")?.getattr("register")?.call1((object,))?;
    Ok(())
}

// `fast` adds methods of its own.
#[pymethods]
impl LocalCache {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(
        py: Python<'_>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let options = options::of_keywords(options)?;
        let url = "local:";
        let cache = opened(py, Some(url), &options, Some(Kind::Local))?;
        Ok(made(Self, cache, Recipe::Url { url: Some(url.into()), options }))
    }

    #[pyo3(signature = (**options))]
    #[expect(unused_variables, reason = "`new` has used them")]
    fn __init__(slf: &Bound<'_, Self>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        register(slf)
    }
}

#[pymethods]
impl RedisCache {
    #[new]
    #[pyo3(signature = (url, **options))]
    fn new(
        py: Python<'_>,
        url: String,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let options = options::of_keywords(options)?;
        let cache = opened(py, Some(&url), &options, Some(Kind::Redis))?;
        Ok(made(Self, cache, Recipe::Url { url: Some(url), options }))
    }

    #[pyo3(signature = (url, **options))]
    #[expect(unused_variables, reason = "`new` has used them")]
    fn __init__(
        slf: &Bound<'_, Self>,
        url: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        register(slf)
    }
}

#[pymethods]
impl HybridCache {
    #[new]
    #[pyo3(signature = (l1, l2=None, **options))]
    fn new(
        py: Python<'_>,
        l1: &Bound<'_, LocalCache>,
        l2: Option<&Bound<'_, RedisCache>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let options = options::of_keywords(options)?;
        let parsed = Config::hybrid_options(&options::query(&options))
            .map_err(|error| errors::raise(py, error))?;
        let (l1, l2) = (l1.as_super(), l2.map(|l2| l2.as_super()));
        let first = slot::share(l1)?;
        let second = l2.map(slot::share).transpose()?;
        let cache = wait::detached(py, || AnyCache::compose(&first, second.as_ref(), parsed))?;
        let recipe = |cache: &Bound<'_, Cache>| Arc::clone(&cache.get().recipe);
        let recipe = Recipe::Hybrid { l1: recipe(l1), l2: l2.map(recipe), options };
        Ok(made(Self, cache, recipe))
    }

    #[pyo3(signature = (l1, l2=None, **options))]
    #[expect(unused_variables, reason = "`new` has used them")]
    fn __init__(
        slf: &Bound<'_, Self>,
        l1: &Bound<'_, PyAny>,
        l2: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        register(slf)
    }

    /// A HybridCache without a server, over a new LocalCache: every operation works as on that.
    #[classmethod]
    fn local_only<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
        let l1 = class.py().get_type::<LocalCache>().call0()?;
        class.call1((l1,))
    }
}

/// Opens the cache that `url` names; None: the one that the environment names (LIGHTER_CACHE_URL, else
/// REDIS_URL as a hybrid, else a local one).
///
/// Keyword arguments are options, as in a URL, with "_" for ".": timeout=0.2, l1_max_ttl="5m". They
/// override the URL's.
#[pyfunction]
#[pyo3(signature = (url=None, **options))]
pub(crate) fn open<'py>(
    py: Python<'py>,
    url: Option<String>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = options::of_keywords(options)?;
    let cache = opened(py, url.as_deref(), &options, None)?;
    let recipe = Recipe::Url { url, options };
    let object = match BlockingCache::kind(&cache) {
        Kind::Local => Bound::new(py, made(LocalCache, cache, recipe))?.into_any(),
        Kind::Redis => Bound::new(py, made(RedisCache, cache, recipe))?.into_any(),
        Kind::Hybrid => Bound::new(py, made(HybridCache, cache, recipe))?.into_any(),
    };
    register(&object)?;
    Ok(object)
}

/// Raises ConfigError where `open` would refuse `url` or an option. Opens nothing.
#[pyfunction]
#[pyo3(signature = (url=None, **options))]
pub(crate) fn check(
    py: Python<'_>,
    url: Option<&str>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let options = options::of_keywords(options)?;
    config(url, &options).map(drop).map_err(|error| errors::raise(py, error))
}
