//! Skeleton; the map of the modules goes here.
#![deny(missing_docs)]
#![allow(dead_code)]

mod cache;
mod clock;
pub mod config;
#[doc(hidden)]
pub mod envelope;
mod error;
#[cfg(feature = "capi")]
mod ffi;
mod fork;
#[cfg(feature = "capi")]
mod handle;
mod hybrid;
mod key;
mod local;
mod log;
mod ops;
mod redis;
pub mod runtime;
mod stats;
mod value;

pub use crate::cache::{AnyCache, Cache};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::hybrid::HybridCache;
pub use crate::key::{CacheKey, KEY_MAX, VALUE_MAX};
pub use crate::local::{LocalCache, LocalCacheBuilder};
pub use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, TTL_MAX_MS, Ttl};
pub use crate::redis::RedisCache;
pub use crate::stats::CacheStats;
pub use crate::value::Value;
