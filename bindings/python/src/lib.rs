//! `lighter_cache._native`: the Python classes over the Rust core. What is easier said in Python (error
//! classes, [`Stats`](stats), mapping views, pickling, exit) is in `../python/lighter_cache/`.
//!
//! # Layout
//! - `cache`: the class `Cache` with every operation; `kinds`: its three subclasses and `open`.
//! - `fast`: `LocalCache.get` and `.set` again, without what a method costs; `memo`: a memoized
//!   function, and `argument`: how its arguments become a key.
//! - `slot`: how an object holds its cache, so that `close` may come at any moment.
//! - `wait`: how a call that may wait gives the GIL away, and how Ctrl-C ends it.
//! - `key`, `buffer`, `ttl`, `choices`, `options`: what Python passes in. `view`, `found`, `stats`,
//!   `errors`: what it gets.
//! - `batch`, `mapping`: the operations that are more than one call of the core.
//! - `load`, `lock`, `events`: those that call Python, and the lock that is held in between. `foreign`: how
//!   threads of the library get into Python, and that none is there when the interpreter ends.
//! - `aio`: the operations for asyncio; `around`: which loads the running code is inside of, for both.
//! - `recipe`: the configuration that a cache is shown and pickled as.
//!
//! # Rules
//! A Local cache is used attached to the interpreter: its operations are shorter than giving the GIL
//! away. Whatever may wait runs detached. What the core holds of Python is callables alone, the loaders of
//! `load` and the listeners of `events`; only for these does a thread of it attach, by `foreign`.
#![deny(unsafe_op_in_unsafe_fn)]

mod aio;
mod argument;
mod around;
mod batch;
mod buffer;
mod cache;
mod choices;
mod errors;
mod events;
mod fast;
mod foreign;
mod found;
mod key;
mod kinds;
mod load;
mod lock;
mod mapping;
mod memo;
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
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::aio::{AsyncCalls, AsyncLock};
    #[pymodule_export]
    use super::cache::Cache;
    #[pymodule_export]
    use super::foreign::silence;
    #[pymodule_export]
    use super::key::CacheKey;
    #[pymodule_export]
    use super::kinds::{HybridCache, LocalCache, RedisCache, check, open};
    #[pymodule_export]
    use super::lock::Lock;
    #[pymodule_export]
    use super::memo::{Memo, encode};
    #[pymodule_export]
    use super::ttl::of_argument;
    #[pymodule_export]
    use super::wait::shutdown;

    /// The package's version.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fast::install(&module.py().get_type::<LocalCache>())
    }
}
