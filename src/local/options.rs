//! How a Local cache is made: from the options of a configuration, or by a builder.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use super::lifetime::Lifetimes;
use super::loading::Voids;
use super::locks::Locks;
use super::operations::IN_PLACE;
use super::store::{Bounds, SHARDS_MAX, Store};
use super::tags::Tags;
use super::{Clock, Inner, LocalCache};
use crate::config::{CommonOptions, LocalOptions, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Subscriptions;
use crate::flight::Flights;
use crate::fork;
use crate::key::VALUE_MAX;
use crate::metrics::Durations;
use crate::ops::Ttl;
use crate::seal::Keyring;
use crate::stats::Counters;

/// Fewest shards where the number is not given: enough that a writer rarely meets another, and that ten
/// million entries make shards of which one grows in a few milliseconds.
const SHARDS_MIN: usize = 128;
const SHARDS_PER_PROCESSOR: usize = 16;
/// A shard with a bound holds so many entries at least: with fewer, hits are lost to the accidents of
/// hashing, and `docs/hit-ratio.md` shows that fewer cost nothing.
const ENTRIES_MIN: usize = 2048;
/// And so many at most, so that no step on a whole shard takes long.
const ENTRIES_MAX: usize = 16 << 10;
/// The same in bytes, for a bound on these.
const BYTES_MIN: usize = 1 << 20;
const BYTES_MAX: usize = 8 << 20;

/// How many shards there are to be, if `asked` for so many.
fn shards(asked: Option<usize>, bounds: Bounds) -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let usual = SHARDS_MIN.max(SHARDS_PER_PROCESSOR * processors);
    let parts = |all: Option<usize>, part: usize| all.map(|all| all / part);
    let least = |a: Option<usize>, b: Option<usize>| a.into_iter().chain(b).min();
    let fewest = least(parts(bounds.entries, ENTRIES_MAX), parts(bounds.bytes, BYTES_MAX));
    let most = least(parts(bounds.entries, ENTRIES_MIN), parts(bounds.bytes, BYTES_MIN));
    let wanted = asked.unwrap_or(usual.max(fewest.unwrap_or(0))).clamp(1, SHARDS_MAX);
    match most {
        None => wanted.next_power_of_two().max(2),
        // Rounded down.
        Some(most) => wanted.next_power_of_two().min(1 << most.max(1).ilog2()),
    }
}

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
    /// The number of shards: rounded up to a power of two, 2 to 65,536. With a bound there are fewer where
    /// each would hold too little for a good choice of what to evict.
    pub fn shards(mut self, shards: usize) -> Self {
        self.local.shards = Some(shards);
        self
    }

    /// Most entries. A new entry takes the place of one that is less likely to be wanted again.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.local.max_entries = Some(entries);
        self
    }

    /// Most bytes of keys, values and their bookkeeping. An entry larger than that is
    /// [`ErrorKind::TooBig`].
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.local.max_bytes = Some(bytes);
        self
    }

    /// Shortens each TTL by a random share of up to this, 0 to 1, so that entries that are stored
    /// together do not expire together.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.common.ttl_jitter = share;
        self
    }

    /// How long past its TTL a value may be served where a loader fails.
    pub fn stale_ttl(mut self, window: Duration) -> Self {
        self.common.stale_ttl = window;
        self
    }

    /// Past this share of its TTL, more than 0 and less than 1, a value is loaded anew while the present
    /// one is served.
    pub fn refresh_ahead(mut self, share: f64) -> Self {
        self.common.refresh_ahead = Some(share);
        self
    }

    /// How long it is remembered that a loader found nothing.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.common.negative_ttl = ttl;
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

    /// Encrypts snapshots. Keys of 32 bytes as `ID:BASE64,…`: the first encrypts, all decrypt. With keys a
    /// snapshot that is not encrypted is refused.
    pub fn encryption_keys(mut self, keys: &str) -> Self {
        self.common.encryption_keys = Some(Secret::new(keys));
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

    /// For tests and fuzz targets: a cache whose time is what `now` says, in milliseconds.
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn build_timed(self, now: Arc<std::sync::atomic::AtomicU64>) -> Result<LocalCache> {
        LocalCache::with_clock(&self.common, &self.local, Clock::Virtual(now))
    }

    /// For options that need no check.
    pub(super) fn build_checked(self) -> LocalCache {
        LocalCache::made(&self.common, &self.local, Clock::System, None)
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
        if local.max_entries == Some(0) || local.max_bytes == Some(0) {
            return wrong("max_entries and max_bytes must be at least 1");
        }
        if !(0.0..=1.0).contains(&common.ttl_jitter) {
            return wrong("ttl_jitter must be from 0 to 1");
        }
        if common.refresh_ahead.is_some_and(|share| share <= 0.0 || share >= 1.0) {
            return wrong("refresh_ahead must be more than 0 and less than 1");
        }
        for ttl in [common.stale_ttl, common.negative_ttl] {
            if Ttl::After(ttl).resolve(None).is_err() {
                return wrong("stale_ttl and negative_ttl can't be longer than 100 years");
            }
        }
        if local.shards.is_some_and(|shards| shards == 0 || shards > 1 << 16) {
            return wrong("shards must be from 1 to 65536");
        }
        if common.max_value_bytes > VALUE_MAX {
            return wrong("max_value_bytes can't be more than 511MiB");
        }
        let keys = common.encryption_keys.as_ref();
        let keyring = keys.map(|keys| Keyring::parse(keys.expose())).transpose()?;
        Ok(Self::made(common, local, clock, keyring))
    }

    fn made(
        common: &CommonOptions,
        local: &LocalOptions,
        clock: Clock,
        keyring: Option<Keyring>,
    ) -> Self {
        let bounds = Bounds { entries: local.max_entries, bytes: local.max_bytes };
        let shards = shards(local.shards, bounds);
        // Two ticks per sweep: an entry is freed by the first sweep after the end of its tick.
        let tick_ms = (local.sweep_interval.as_millis() / 2).clamp(1, 1 << 40) as u64;
        // The seed of the hashes is made under a lock.
        let _inside = fork::enter();
        let lifetimes = Lifetimes {
            ttls: common.ttls(),
            stale_ms: common.stale_ttl.as_millis() as u64,
            refresh_ahead: common.refresh_ahead,
            negative_ms: common.negative_ttl.as_millis() as u64,
        };
        let in_place = IN_PLACE.min(common.max_value_bytes);
        let in_place_below = if lifetimes.is_plain() { in_place + 1 } else { 0 };
        Self(Arc::new(Inner {
            store: Store::new(shards, tick_ms, clock.now(), bounds),
            counters: Counters::default(),
            lifetimes,
            tags: Tags::default(),
            flights: Flights::new(),
            voids: Voids::default(),
            locks: Locks::new(),
            subscriptions: Subscriptions::new(),
            durations: Durations::new(),
            keyring,
            max_value_bytes: common.max_value_bytes,
            in_place_below,
            sweep_interval: local.sweep_interval,
            name: common.name.clone(),
            watched_in: AtomicU32::new(0),
            clock,
        }))
    }
}
