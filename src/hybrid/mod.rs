//! The Hybrid cache: a [`LocalCache`] as L1 over a [`RedisCache`] as L2, kept coherent between
//! processes.
//!
//! # Layout
//! - `stripes`: tokens that keep an overtaken read out of L1
//! - `trust`: how long L1 may answer by itself
//! - `breaker`: when L2 is left alone
//! - `queue`: writes that L2 has not confirmed
//! - `core`: the state, and how the end of a leg to L2 is judged
//! - `read`, `write`: the steps of the operations, without I/O
//! - `drive`: the steps joined to the legs to L2
//! - `conditions`: stale windows, tags, negative entries: what counts, and what L1 keeps of them
//! - `tagged`: invalidating tags
//! - `decide`: the operations that only L2 can decide
//! - `load`: one load for many callers
//! - `api`: the operations for blocking and for asynchronous callers
//! - `watch`: the background: the invalidation stream, the way back to a lost L2, the replay of the queue
//! - `world`: L2, time and the executor as traits; a simulation puts its own there
//! - `protections`: the parts of the protocol by name, for the tests that show the need of each
//!
//! `docs/coherence.md` has the whole protocol: states, messages, transitions, invariants, races.
//!
//! # A read
//! L1 answers what it can vouch for (`trust`). What waits in the queue is answered from there. Otherwise
//! L2 is asked, with the value's remaining TTL, and the answer goes into L1 unless a write or an
//! invalidation came between (`stripes`). With L2 away L1 answers alone, and never with an error. What a
//! value was stored with besides (tags, a stale window) decides whether it counts (`conditions`).
//!
//! # A write
//! It changes L1 and then L2. All writes go over the connection that also carries the invalidations, so
//! that the server does not send our own back (`NOLOOP`). A write that L2 can't take is still a
//! success: it is queued, and replayed when L2 is back.

mod api;
mod breaker;
mod conditions;
mod core;
mod decide;
mod drive;
mod load;
mod protections;
mod queue;
mod read;
mod recent;
#[cfg(test)]
#[path = "../../tests/simulation/mod.rs"]
mod simulation;
mod stripes;
mod tagged;
#[cfg(test)]
mod tests;
mod trust;
mod watch;
mod world;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::core::{Core, Parts};
use self::protections::Protections;
use self::stripes::STRIPES;
use self::world::System;
use crate::config::{Config, HybridOptions, Invalidation};
use crate::error::{Error, ErrorKind, Result};
use crate::key::VALUE_MAX;
use crate::local::LocalCache;
use crate::ops::Ttls;
use crate::redis::RedisCache;
use crate::runtime;

/// A Local cache (L1) over Redis or Valkey (L2).
///
/// Reads are answered from L1 where the server's invalidation stream vouches for the entry, else from
/// L2, which fills L1 for the value's remaining TTL. Writes change both. With L2 away L1 goes on alone.
/// A clone is another reference to the same cache.
///
/// ```no_run
/// use lighter_cache::{HybridCache, LocalCache, RedisCache};
/// # async fn example() -> lighter_cache::Result<()> {
/// let l2 = RedisCache::new("redis://localhost:6379", "app").await?;
/// let cache = HybridCache::new(LocalCache::new(), Some(l2));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct HybridCache {
    core: Arc<Core<System>>,
}

impl HybridCache {
    /// A Hybrid with default options; without `l2` it is a Local cache that can be called a Hybrid.
    ///
    /// # Panics
    /// Where [`HybridCache::try_new`] would fail.
    pub fn new(l1: LocalCache, l2: Option<RedisCache>) -> Self {
        match Self::try_new(l1, l2) {
            Ok(cache) => cache,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`HybridCache::new`]. [`ErrorKind::Config`] where `l2` has no prefix or stores raw values
    /// without one.
    pub fn try_new(l1: LocalCache, l2: Option<RedisCache>) -> Result<Self> {
        Self::with_options(l1, l2, HybridOptions::default())
    }

    /// A Hybrid of L1 alone: every operation works as on Local, and it is never degraded.
    pub fn local_only() -> Self {
        let options = HybridOptions::default();
        Self::of(LocalCache::new(), None, options, Ttls::default(), VALUE_MAX)
    }

    /// As [`HybridCache::try_new`], with options. Asks no server, whatever `require_l2` says.
    pub fn with_options(
        l1: LocalCache,
        l2: Option<RedisCache>,
        options: HybridOptions,
    ) -> Result<Self> {
        let (ttls, max_value_bytes) = match &l2 {
            Some(l2) if l2.prefix().is_empty() => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "a Hybrid needs a Redis cache with a prefix: invalidations are heard by prefix",
                ));
            }
            Some(l2) => (l2.common().ttls(), l2.max_value_bytes().min(l1.max_value_bytes())),
            None => (l1.ttls(), l1.max_value_bytes()),
        };
        // A stream of invalidations belongs to one Hybrid, and its writes go over that.
        let l2 = l2.map(|l2| l2.sibling(options.l2_timeout));
        let cache = Self::of(l1, l2, options, ttls, max_value_bytes);
        cache.start();
        Ok(cache)
    }

    /// Opens both tiers; blocks up to the connection's timeouts. Without a server it opens degraded
    /// and joins L2 when that comes back, unless `require_l2` forbids it.
    pub fn open(config: &Config) -> Result<Self> {
        let (cache, l2) = Self::lazy(config)?;
        let allowed = config.redis.connect_timeout.saturating_add(config.redis.timeout);
        let outcome = l2.probe(Instant::now() + allowed);
        cache.opened(config, outcome)?;
        cache.await_stream();
        Ok(cache)
    }

    /// Waits, up to `l2_timeout`, until the invalidation stream is proven, so that the first writes are
    /// L1 hits. Does nothing on a thread of the library.
    pub(crate) fn await_stream(&self) {
        if self.core.l2.is_some() && self.core.breaker.allows() {
            let patience = Instant::now() + self.core.options.l2_timeout;
            let _ = runtime::block_on(patience, watch::proven(&self.core));
        }
    }

    /// As [`HybridCache::open`], for a caller inside a tokio runtime.
    pub async fn open_async(config: &Config) -> Result<Self> {
        let (cache, l2) = Self::lazy(config)?;
        let allowed = config.redis.connect_timeout.saturating_add(config.redis.timeout);
        let outcome = l2.probe_async(Instant::now() + allowed).await;
        cache.opened(config, outcome)?;
        if cache.core.breaker.allows() {
            let patience = cache.core.options.l2_timeout;
            let _ = tokio::time::timeout(patience, watch::proven(&cache.core)).await;
        }
        Ok(cache)
    }

    fn lazy(config: &Config) -> Result<(Self, RedisCache)> {
        let l1 = LocalCache::from_options(&config.common, &config.local)?;
        let mut redis = config.redis.clone();
        redis.timeout = config.hybrid.l2_timeout;
        let l2 = RedisCache::connect_lazily(&config.common, &redis)?;
        let (ttls, max_value_bytes) = (config.common.ttls(), config.common.max_value_bytes);
        let options = config.hybrid.clone();
        Ok((Self::of(l1, Some(l2.clone()), options, ttls, max_value_bytes), l2))
    }

    fn of(
        l1: LocalCache,
        l2: Option<RedisCache>,
        options: HybridOptions,
        ttls: Ttls,
        max_value_bytes: usize,
    ) -> Self {
        let core = Core::new(Parts {
            world: System,
            l1,
            l2,
            options,
            ttls,
            max_value_bytes,
            stripes: STRIPES,
            protections: Protections::default(),
        });
        Self { core }
    }

    /// Judges the first contact with L2, and starts the background.
    fn opened(&self, config: &Config, outcome: Result<()>) -> Result<()> {
        if let Err(error) = outcome {
            // Anything else (credentials, no memory for threads, a shutdown) does not pass by itself.
            let passes =
                matches!(error.kind(), ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Server);
            if !passes || config.hybrid.require_l2 {
                return Err(error);
            }
            self.core.breaker.trip();
            self.core.bypass(&error);
        }
        self.start();
        Ok(())
    }

    fn start(&self) {
        if let Some(l2) = &self.core.l2
            && self.core.options.invalidation != Invalidation::None
        {
            watch::listen(&self.core, l2);
        }
    }
}

impl fmt::Debug for HybridCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridCache")
            .field("l1", &self.core.l1)
            .field("l2", &self.core.l2)
            .field("degraded", &self.core.degraded())
            .finish()
    }
}

/// The longest that an operation of many trips may take in all; each trip has its own deadline.
const MANY_TRIPS: Duration = Duration::from_secs(24 * 3600);
