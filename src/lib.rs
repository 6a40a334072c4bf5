//! **lighter_cache**: one cache for programs in C, C++, Python and Rust.
//!
//! Three kinds of cache store opaque bytes behind one interface, so that a program changes from one to
//! another by changing a URL:
//!
//! | | [`LocalCache`] | [`RedisCache`] | [`HybridCache`] |
//! |---|---|---|---|
//! | lives in | this process | Redis or Valkey | Local (L1) over Redis (L2) |
//! | a read costs | a memory access | a round trip | a memory access, when L1 can vouch for it |
//! | other processes' writes | not seen | seen | seen: the server tells L1 what to forget |
//! | server away | – | an error by the deadline | L1 goes on alone |
//!
//! ```
//! use std::time::Duration;
//! use lighter_cache::{Cache, CacheKey, LocalCache};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let cache = LocalCache::with_shard_count(16);
//! cache.set(CacheKey::session("c7"), "Ada", Duration::from_secs(300)).await?;
//! let name: Option<String> = cache.get("session:c7").await?;
//! assert_eq!(name.as_deref(), Some("Ada"));
//! # Ok::<(), lighter_cache::Error>(()) }).unwrap();
//! ```
//!
//! # Layout
//! What programs call:
//! - `ffi` – the C functions (`include/lighter_cache.h` is made from it)
//! - `handle` – the numbers that C programs hold instead of pointers
//! - `cache` – [`Cache`], the typed trait, and [`AnyCache`], a cache of whichever kind its URL names
//!
//! The three kinds:
//! - `hybrid` – L1 over L2: tokens, trust, breaker; it knows no socket
//! - `redis` – one server, Sentinel or Cluster: connections, commands, the invalidation stream
//! - `local` – the in-process store: shards, entries, expiry; it knows no tokio and no server
//!
//! What they share:
//! - `envelope` – how a value is written in Redis, byte by byte; the only module that knows bincode
//! - `seal` – encryption and digests: keys, nonces, nothing of where the results are stored
//! - [`config`] – the one schema of options, and how URLs become typed options
//! - `ops` – the vocabulary: [`Ttl`], [`Remaining`], [`Kind`], and the traits over plain bytes
//! - `value` – [`Value`], pinned bytes that any number of holders share
//! - `hash` – the keyed hash of keys
//! - `random` – random bytes, and numbers to spread things by
//! - `flight` – single flight: of many callers that miss one key, one loads
//! - `events` – who wants to hear of what happens to a cache, and the thread that tells them
//! - `metrics` – counters and durations in the text format of Prometheus
//! - `snapshot` – the file that a Local cache is saved to and loaded from
//! - `key`, `error`, `stats`, `log`, `clock` – what their names say
//! - `sync` – the locks and atomics of `local` and `value`, which a model replaces
//! - [`runtime`] – the tokio runtime that the library owns, started by the first call that needs it
//! - `fork` – the gate that makes `fork()` safe whatever other threads are doing
//!
//! Imports run one way: `ffi` → `cache` → `hybrid` → `redis`, `local` → what they share.
//!
//! # A `get`, from C
//! ```text
//! lc_get ── fork gate ── handle ──┬─ Local:  shard lock, find, pin ───────────────▶ value
//!                                 │
//!                                 ├─ Redis:  alone: write + read on an own socket ─▶ envelope ─▶ value
//!                                 │          in a crowd: one pipelined connection
//!                                 │
//!                                 └─ Hybrid: L1 holds it and may vouch ────────────▶ value
//!                                            else: token, ask L2, fill if not overtaken ─▶ value
//!                                            L2 away: what L1 holds
//! ```

#![deny(missing_docs)]
#![cfg_attr(
    not(feature = "capi"),
    allow(dead_code, reason = "some of it serves the C functions alone")
)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

// The bodies of fuzz targets, which tests compile too, know the library by its name.
#[cfg(test)]
extern crate self as lighter_cache;

mod cache;
mod clock;
pub mod config;
#[doc(hidden)]
pub mod envelope;
mod error;
mod events;
#[cfg(feature = "capi")]
mod ffi;
mod flight;
mod fork;
#[cfg(feature = "capi")]
mod handle;
mod hash;
mod hybrid;
mod key;
mod local;
mod log;
mod metrics;
mod ops;
mod random;
mod redis;
pub mod runtime;
#[doc(hidden)]
pub mod seal;
mod snapshot;
mod stats;
mod sync;
mod value;

pub use crate::cache::{AnyCache, Cache};
pub use crate::error::{Error, ErrorKind, Result};
#[doc(hidden)]
pub use crate::flight::Loaders;
pub use crate::hybrid::HybridCache;
pub use crate::key::{CacheKey, KEY_MAX, VALUE_MAX};
pub use crate::local::{LocalCache, LocalCacheBuilder};
pub use crate::ops::{
    BlockingCache, BoxFuture, ByteCache, Event, Events, Found, GetOptions, Kind, Listener, Loaded,
    Loader, Lock, OwnedLoader, Remaining, SetOptions, Stale, Swap, TTL_MAX_MS, Tier, Ttl,
};
pub use crate::redis::RedisCache;
pub use crate::stats::CacheStats;
pub use crate::value::Value;
