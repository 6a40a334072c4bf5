//! Skeleton; the map of the modules goes here.
#![deny(missing_docs)]
#![allow(dead_code)]

mod clock;
pub mod config;
mod error;
mod fork;
mod key;
mod log;
mod ops;
pub mod runtime;
mod stats;
mod value;

pub use error::{Error, ErrorKind, Result};
pub use key::{CacheKey, KEY_MAX, VALUE_MAX};
pub use ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, TTL_MAX_MS, Ttl};
pub use stats::CacheStats;
pub use value::Value;
