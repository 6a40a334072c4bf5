//! How a Local cache is made: from the options of a configuration, or by a builder.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use super::store::Store;
use super::{Clock, Inner, LocalCache};
use crate::config::{CommonOptions, LocalOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::VALUE_MAX;
use crate::ops::Ttl;
use crate::stats::Counters;

/// Fewest shards where the number is not given: enough that a writer rarely meets another.
const SHARDS_MIN: usize = 64;
const SHARDS_PER_PROCESSOR: usize = 16;

/// Makes a [`LocalCache`].
///
/// ```
/// use std::time::Duration;
/// use lighter_cache::LocalCache;
///
/// let cache = LocalCache::builder()
///     .default_ttl(Duration::from_secs(60))
///     .max_value_bytes(1 << 20)
///     .build()?;
/// # Ok::<(), lighter_cache::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LocalCacheBuilder {
    common: CommonOptions,
    local: LocalOptions,
}

impl LocalCacheBuilder {
    /// The number of shards: rounded up to a power of two, 2 to 65,536.
    pub fn shards(mut self, shards: usize) -> Self {
        self.local.shards = Some(shards);
        self
    }

    /// How often expired entries are freed; at least 1 ms.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.local.sweep_interval = interval;
        self
    }

    /// The TTL of values that are stored with [`Ttl::Default`].
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.common.default_ttl = Some(ttl);
        self
    }

    /// The largest value, in bytes; at most [`VALUE_MAX`].
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.common.max_value_bytes = bytes;
        self
    }

    /// The name in metrics and logs.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.common.name = Some(name.into());
        self
    }

    /// The cache. [`ErrorKind::Config`] where an option is out of its range.
    pub fn build(self) -> Result<LocalCache> {
        LocalCache::from_options(&self.common, &self.local)
    }

    /// For options that need no check.
    pub(super) fn build_checked(self) -> LocalCache {
        LocalCache::made(&self.common, &self.local, Clock::System)
    }
}

impl LocalCache {
    /// The cache that a configuration describes. [`ErrorKind::Config`] where an option is out of its
    /// range.
    pub fn from_options(common: &CommonOptions, local: &LocalOptions) -> Result<Self> {
        Self::with_clock(common, local, Clock::System)
    }

    pub(super) fn with_clock(
        common: &CommonOptions,
        local: &LocalOptions,
        clock: Clock,
    ) -> Result<Self> {
        let wrong = |message| Err(Error::new(ErrorKind::Config, message));
        if Ttl::Default.resolve(common.default_ttl).is_err() {
            return wrong("default_ttl can't be longer than 100 years");
        }
        if local.sweep_interval < Duration::from_millis(1) {
            return wrong("sweep_interval must be at least 1ms");
        }
        if local.shards.is_some_and(|shards| shards == 0 || shards > 1 << 16) {
            return wrong("shards must be from 1 to 65536");
        }
        if common.max_value_bytes > VALUE_MAX {
            return wrong("max_value_bytes can't be more than 511MiB");
        }
        Ok(Self::made(common, local, clock))
    }

    fn made(common: &CommonOptions, local: &LocalOptions, clock: Clock) -> Self {
        let shards = local.shards.unwrap_or_else(|| {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            SHARDS_MIN.max(SHARDS_PER_PROCESSOR * processors)
        });
        // Two ticks per sweep: an entry is freed by the first sweep after the end of its tick.
        let tick_ms = (local.sweep_interval.as_millis() / 2).clamp(1, 1 << 40) as u64;
        // The seed of the hashes is made under a lock.
        let _inside = fork::enter();
        Self(Arc::new(Inner {
            store: Store::new(shards, tick_ms, clock.now()),
            counters: Counters::default(),
            default_ttl: common.default_ttl,
            max_value_bytes: common.max_value_bytes,
            sweep_interval: local.sweep_interval,
            name: common.name.clone(),
            watched_in: AtomicU32::new(0),
            clock,
        }))
    }
}
