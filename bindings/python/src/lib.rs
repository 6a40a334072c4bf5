//! `lighter_cache._native`: the Python classes over the Rust core. What is easier said in Python (error
//! classes, [`Stats`](stats), mapping views, pickling, exit) is in `../python/lighter_cache/`.
//!
//! # Layout
//! - `cache`: the class `Cache` with every operation; `kinds`: its three subclasses and `open`.
//! - `slot`: how an object holds its cache, so that `close` may come at any moment.
//! - `wait`: how a call that may wait gives the GIL away, and how Ctrl-C ends it.
//! - `key`, `buffer`, `ttl`, `options`: what Python passes in. `view`, `stats`, `errors`: what it gets.
//! - `batch`, `mapping`: the operations that are more than one call of the core.
//! - `recipe`: the configuration that a cache is shown and pickled as.
//!
//! # Rules
//! A Local cache is used attached to the interpreter: its operations are shorter than giving the GIL
//! away. Whatever may wait runs detached. The core never holds a Python object, and no thread of it
//! ever attaches.
#![deny(unsafe_op_in_unsafe_fn)]

mod batch;
mod buffer;
mod cache;
mod errors;
mod key;
mod kinds;
mod mapping;
mod options;
mod recipe;
mod slot;
mod stats;
mod ttl;
mod view;
mod wait;

/// The native half of `lighter_cache`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::cache::Cache;
    #[pymodule_export]
    use super::key::CacheKey;
    #[pymodule_export]
    use super::kinds::{HybridCache, LocalCache, RedisCache, check, open};
    #[pymodule_export]
    use super::wait::shutdown;

    /// The package's version.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
