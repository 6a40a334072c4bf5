//! [`AnyCache`]: one cache of whichever kind, opened by its configuration. The C and Python bindings
//! hold nothing else.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::{Config, HybridOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::hybrid::HybridCache;
use crate::local::LocalCache;
use crate::ops::{
    BlockingCache, BoxFuture, ByteCache, Events, Found, GetOptions, Kind, Listener, Loaded, Loader,
    Lock, OwnedLoader, Remaining, SetOptions, Swap, Ttl,
};
use crate::redis::RedisCache;
use crate::stats::CacheStats;
use crate::value::Value;

/// A cache of any kind. A clone is another reference to the same cache.
#[derive(Clone, Debug)]
pub enum AnyCache {
    /// In this process.
    Local(LocalCache),
    /// In Redis or Valkey.
    Redis(RedisCache),
    /// Local over Redis.
    Hybrid(HybridCache),
}

/// Evaluates one expression on the cache, of whichever kind it is.
macro_rules! each {
    ($any:expr, $cache:ident => $call:expr) => {
        match $any {
            AnyCache::Local($cache) => $call,
            AnyCache::Redis($cache) => $call,
            AnyCache::Hybrid($cache) => $call,
        }
    };
}

impl AnyCache {
    /// As `get`, for a caller that has tried the quick hit of a Hybrid's L1 in vain.
    pub(crate) fn get_beyond(&self, key: &[u8]) -> Result<Option<Value>> {
        match self {
            Self::Hybrid(cache) => cache.get_beyond(key),
            other => BlockingCache::get(other, key),
        }
    }

    /// Opens the cache that `config` describes; blocks up to its timeouts.
    ///
    /// Errors: [`ErrorKind::Connect`] or [`ErrorKind::Auth`] where a server is needed and does not answer
    /// as it should.
    pub fn open(config: &Config) -> Result<Self> {
        match config.kind {
            Kind::Local => LocalCache::from_options(&config.common, &config.local).map(Self::Local),
            Kind::Redis => RedisCache::open(&config.common, &config.redis).map(Self::Redis),
            Kind::Hybrid => HybridCache::open(config).map(Self::Hybrid),
        }
    }

    /// As [`AnyCache::open`], for a caller inside a tokio runtime, which the connections then use.
    pub async fn open_async(config: &Config) -> Result<Self> {
        match config.kind {
            Kind::Local => LocalCache::from_options(&config.common, &config.local).map(Self::Local),
            Kind::Redis => {
                RedisCache::open_async(&config.common, &config.redis).await.map(Self::Redis)
            }
            Kind::Hybrid => HybridCache::open_async(config).await.map(Self::Hybrid),
        }
    }

    /// Ends the waits of callers that have this reference too, and frees what a Local cache holds unless
    /// there are other references: for a binding whose last handle is given up.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) fn close(&self) {
        if let Self::Local(cache) = self {
            cache.close();
        }
    }

    /// A Hybrid of two open caches, of which it takes references of its own; blocks up to `l2_timeout`,
    /// until L2's invalidations are heard, and with `require_l2` as long before, until L2 has answered.
    /// Without `l2` it works on `l1` alone.
    ///
    /// Errors: [`ErrorKind::Config`] where `l1` is no Local or `l2` no Redis; with `require_l2` what
    /// keeps L2 from answering.
    pub fn compose(l1: &Self, l2: Option<&Self>, options: HybridOptions) -> Result<Self> {
        let Self::Local(l1) = l1 else {
            return Err(Error::new(ErrorKind::Config, "a Hybrid's L1 must be a Local cache"));
        };
        let l2 = match l2 {
            None => None,
            Some(Self::Redis(l2)) => Some(l2.clone()),
            Some(_) => {
                return Err(Error::new(ErrorKind::Config, "a Hybrid's L2 must be a Redis cache"));
            }
        };
        if options.require_l2
            && let Some(l2) = &l2
        {
            l2.probe(Instant::now() + options.l2_timeout)?;
        }
        let cache = HybridCache::with_options(l1.clone(), l2, options)?;
        cache.await_stream();
        Ok(Self::Hybrid(cache))
    }
}

impl BlockingCache for AnyCache {
    fn kind(&self) -> Kind {
        each!(self, cache => BlockingCache::kind(cache))
    }
    #[inline]
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        each!(self, cache => cache.get(key))
    }
    #[inline]
    fn get_into(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Option<usize>> {
        each!(self, cache => cache.get_into(key, buf))
    }
    #[inline]
    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        each!(self, cache => cache.set(key, value, ttl))
    }
    fn delete(&self, key: &[u8]) -> Result<bool> {
        each!(self, cache => cache.delete(key))
    }
    fn exists(&self, key: &[u8]) -> Result<bool> {
        each!(self, cache => cache.exists(key))
    }
    fn clear(&self) -> Result<()> {
        each!(self, cache => cache.clear())
    }
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        each!(self, cache => cache.get_many(keys))
    }
    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        each!(self, cache => cache.set_many(items, ttl))
    }
    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        each!(self, cache => cache.delete_many(keys))
    }
    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        each!(self, cache => cache.ttl(key))
    }
    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        each!(self, cache => cache.expire(key, ttl))
    }
    fn count(&self) -> Result<u64> {
        each!(self, cache => cache.count())
    }
    fn stats(&self) -> Result<CacheStats> {
        each!(self, cache => cache.stats())
    }
    fn ping(&self) -> Result<()> {
        each!(self, cache => cache.ping())
    }
    fn get_ex(&self, key: &[u8], options: GetOptions) -> Result<Option<Found>> {
        each!(self, cache => cache.get_ex(key, options))
    }
    fn set_ex(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<()> {
        each!(self, cache => cache.set_ex(key, value, options))
    }
    fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        each!(self, cache => cache.add(key, value, ttl))
    }
    fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        each!(self, cache => cache.replace(key, value, ttl))
    }
    fn compare_and_set(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        each!(self, cache => cache.compare_and_set(key, expected, value, ttl))
    }
    fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        each!(self, cache => cache.incr(key, delta, ttl))
    }
    fn delete_prefix(&self, prefix: &[u8]) -> Result<u64> {
        each!(self, cache => cache.delete_prefix(prefix))
    }
    fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        each!(self, cache => cache.for_each_key(prefix, visit))
    }
    fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        each!(self, cache => cache.invalidate_tag(tag))
    }
    fn get_or_load(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        each!(self, cache => cache.get_or_load(key, options, load))
    }
    fn get_or_load_owned(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: OwnedLoader,
    ) -> Result<Option<Value>> {
        each!(self, cache => cache.get_or_load_owned(key, options, load))
    }
    fn lock(&self, name: &[u8], lease: Duration, wait: Duration) -> Result<Option<Lock>> {
        each!(self, cache => cache.lock(name, lease, wait))
    }
    fn warm(&self, keys: &[&[u8]]) -> Result<u64> {
        each!(self, cache => cache.warm(keys))
    }
    fn warm_prefix(&self, prefix: &[u8], limit: u64) -> Result<u64> {
        each!(self, cache => cache.warm_prefix(prefix, limit))
    }
    fn save(&self, path: &Path) -> Result<u64> {
        each!(self, cache => cache.save(path))
    }
    fn load(&self, path: &Path) -> Result<u64> {
        each!(self, cache => cache.load(path))
    }
    fn metrics(&self) -> Result<String> {
        each!(self, cache => cache.metrics())
    }
    fn subscribe(&self, events: Events, listener: Listener) -> Result<u64> {
        each!(self, cache => cache.subscribe(events, listener))
    }
    fn unsubscribe(&self, id: u64) -> Result<bool> {
        each!(self, cache => cache.unsubscribe(id))
    }
}

impl ByteCache for AnyCache {
    fn kind(&self) -> Kind {
        BlockingCache::kind(self)
    }
    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        each!(self, cache => cache.get_bytes(key))
    }
    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        each!(self, cache => cache.set_bytes(key, value, ttl))
    }
    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        each!(self, cache => cache.delete_bytes(key))
    }
    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        each!(self, cache => cache.exists_bytes(key))
    }
    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        each!(self, cache => cache.clear_bytes())
    }
    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        each!(self, cache => cache.get_many_bytes(keys))
    }
    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        each!(self, cache => cache.set_many_bytes(items, ttl))
    }
    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        each!(self, cache => cache.delete_many_bytes(keys))
    }
    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        each!(self, cache => cache.ttl_bytes(key))
    }
    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        each!(self, cache => cache.expire_bytes(key, ttl))
    }
    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        each!(self, cache => cache.count_bytes())
    }
    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        each!(self, cache => cache.stats_bytes())
    }
    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        each!(self, cache => cache.ping_bytes())
    }
    fn get_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: GetOptions,
    ) -> BoxFuture<'a, Result<Option<Found>>> {
        each!(self, cache => cache.get_ex_bytes(key, options))
    }
    fn set_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        options: &'a SetOptions,
    ) -> BoxFuture<'a, Result<()>> {
        each!(self, cache => cache.set_ex_bytes(key, value, options))
    }
    fn add_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        each!(self, cache => cache.add_bytes(key, value, ttl))
    }
    fn replace_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        each!(self, cache => cache.replace_bytes(key, value, ttl))
    }
    fn compare_and_set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        expected: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<Swap>> {
        each!(self, cache => cache.compare_and_set_bytes(key, expected, value, ttl))
    }
    fn incr_bytes<'a>(&'a self, key: &'a [u8], delta: i64, ttl: Ttl) -> BoxFuture<'a, Result<i64>> {
        each!(self, cache => cache.incr_bytes(key, delta, ttl))
    }
    fn delete_prefix_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<u64>> {
        each!(self, cache => cache.delete_prefix_bytes(prefix))
    }
    fn keys_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        each!(self, cache => cache.keys_bytes(prefix))
    }
    fn get_or_load_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: &'a SetOptions,
        load: BoxFuture<'a, Result<Option<Loaded>>>,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        each!(self, cache => cache.get_or_load_bytes(key, options, load))
    }
    fn lock_bytes<'a>(
        &'a self,
        name: &'a [u8],
        lease: Duration,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Lock>>> {
        each!(self, cache => cache.lock_bytes(name, lease, wait))
    }
    fn invalidate_tag_bytes<'a>(&'a self, tag: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        each!(self, cache => cache.invalidate_tag_bytes(tag))
    }
}
