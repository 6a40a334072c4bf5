//! The vocabulary of the operations: how long a value lives ([`Ttl`], [`Remaining`]), the three kinds
//! of cache ([`Kind`]), and the two traits that every kind implements over plain bytes:
//! [`ByteCache`] for callers with an event loop and [`BlockingCache`] for callers without one.
//!
//! - `choices`: what the operations beyond get and set take and answer
//! - `asynchronous`, `blocking`: the two traits
//!
//! Typed access and opening by URL are built on these, in `cache`.

mod asynchronous;
mod blocking;
mod choices;

use std::time::Duration;

pub use self::asynchronous::{BoxFuture, ByteCache};
pub use self::blocking::BlockingCache;
pub(crate) use self::choices::HeldLock;
pub use self::choices::{
    Event, Events, Found, GetOptions, Listener, Loaded, Loader, Lock, OwnedLoader, SetOptions,
    Stale, Swap, Tier,
};
use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// The longest TTL, 100 years, in milliseconds. Longer ones are [`ErrorKind::Invalid`].
pub const TTL_MAX_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// How long a value is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The cache's `default_ttl`.
    Default,
    /// Until it is deleted or evicted.
    Never,
    /// For this long. Zero has already expired: nothing is stored, an old value is removed.
    /// Sub-millisecond rests are rounded up.
    After(Duration),
}

impl Ttl {
    /// The TTL in whole milliseconds, `None` where it never expires; `default` stands in for
    /// [`Ttl::Default`]. [`ErrorKind::Invalid`] above 100 years.
    #[inline]
    pub(crate) fn resolve(self, default: Option<Duration>) -> Result<Option<u64>> {
        let duration = match self {
            Self::Never => return Ok(None),
            Self::Default => match default {
                None => return Ok(None),
                Some(duration) => duration,
            },
            Self::After(duration) => duration,
        };
        if duration.as_secs() > TTL_MAX_MS / 1000 {
            return Err(too_long());
        }
        match duration.as_secs() * 1000 + u64::from(duration.subsec_nanos().div_ceil(1_000_000)) {
            ms if ms <= TTL_MAX_MS => Ok(Some(ms)),
            _ => Err(too_long()),
        }
    }
}

/// How long the values of one cache live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ttls {
    /// Those that are given none.
    pub(crate) default: Option<Duration>,
    /// The share, 0 to 1, by up to which each is shortened at random.
    pub(crate) jitter: f64,
}

impl Ttls {
    /// As [`Ttl::resolve`]; what the caller said, and no more.
    #[inline]
    pub(crate) fn said(&self, ttl: Ttl) -> Result<Option<u64>> {
        ttl.resolve(self.default)
    }

    /// The same for a value that is stored now: drawn anew for each.
    #[inline]
    pub(crate) fn draw(&self, ttl: Ttl) -> Result<Option<u64>> {
        Ok(self.said(ttl)?.map(|ms| self.shortened(ms)))
    }

    /// A time in milliseconds, less its random share.
    #[inline]
    pub(crate) fn shortened(&self, ms: u64) -> u64 {
        random::shortened(ms, self.jitter)
    }
}

#[cold]
fn too_long() -> Error {
    Error::new(ErrorKind::Invalid, "a TTL can't be longer than 100 years")
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

/// `None` never expires.
impl From<Option<Duration>> for Ttl {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Never, Self::After)
    }
}

/// How long a stored value has still to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// It never expires.
    Forever,
    /// It expires after this time.
    For(Duration),
}

/// The three kinds of cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// In this process.
    Local,
    /// In Redis or Valkey.
    Redis,
    /// Local (L1) over Redis (L2).
    Hybrid,
}

impl Kind {
    /// What a cache of this kind answers to an operation that it does not have.
    #[cold]
    fn unsupported(self, operation: &str) -> Error {
        let message = format!("a {self:?} cache does not support `{operation}`");
        Error::new(ErrorKind::Unsupported, message)
    }
}
