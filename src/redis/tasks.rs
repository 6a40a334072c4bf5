//! The operations of [`RedisCache`] for callers with an event loop; those without one have theirs in `api`,
//! where both find what they share.

use std::time::Duration;

use super::RedisCache;
use super::api::{Read, firsts, ping};
use super::line::Line;
use super::presence::Settled;
use crate::error::Result;
use crate::key::check_key;
use crate::ops::{
    BoxFuture, ByteCache, Found, GetOptions, Kind, Loaded, Lock, Remaining, SetOptions, Stale,
    Swap, Ttl,
};
use crate::stats::CacheStats;
use crate::value::Value;

impl ByteCache for RedisCache {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            if cache.has_windows() {
                let found = self.task_line(None).get_with_time(key).await?;
                return Ok(found.map(|found| found.value));
            }
            match cache.read_get(key, cache.send_async(&cache.keyspace.get(key)).await?)? {
                Read::Value(value) => Ok(value),
                Read::Conditional(stored) => {
                    self.task_line(None).get_conditional(key, stored).await
                }
            }
        })
    }

    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move {
            cache.check_item(key, value)?;
            let lifetime = cache.lifetime(ttl, Stale::Default)?;
            if lifetime.is_over() {
                return self.task_line(None).delete(key).await.map(drop);
            }
            let replies = cache.send_async(&cache.keyspace.set(key, value, lifetime)?).await?;
            cache.read_set(replies)
        })
    }

    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.task_line(None).delete(key).await })
    }

    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.task_line(None).exists(key).await })
    }

    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move {
            cache.remove_all_below(b"", cache.endpoint.options.timeout).await.map(drop)
        })
    }

    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(async move { self.task_line(None).get_many(keys).await })
    }

    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move {
            items.iter().try_for_each(|(key, value)| cache.check_item(key, value))?;
            let lifetimes = cache.lifetimes(ttl, items.len())?;
            if items.is_empty() {
                return Ok(());
            }
            if lifetimes[0].is_over() {
                return self.task_line(None).delete_many(&firsts(items)).await.map(drop);
            }
            let replies = cache.send_async(&cache.keyspace.set_many(items, &lifetimes)?).await?;
            cache.read_set_many(replies, items.len())
        })
    }

    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.task_line(None).delete_many(keys).await })
    }

    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(async move { self.task_line(None).ttl(key).await })
    }

    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.task_line(None).expire(key, ttl).await })
    }

    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        let cache = &self.shared;
        Box::pin(async move {
            let counted = cache.count(cache.endpoint.options.timeout).await;
            cache.count_error(counted)
        })
    }

    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(std::future::ready(Ok(self.shared.snapshot())))
    }

    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move { cache.read_ping(cache.send_async(&ping()).await?) })
    }

    fn get_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: GetOptions,
    ) -> BoxFuture<'a, Result<Option<Found>>> {
        Box::pin(async move {
            let found = self.task_line(options.timeout).get_with_time(key).await?;
            Ok(found.map(Settled::found))
        })
    }

    fn set_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        options: &'a SetOptions,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.task_line(options.timeout).set_with(key, value, options).await })
    }

    fn add_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.task_line(None).add(key, value, ttl).await })
    }

    fn replace_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.task_line(None).replace(key, value, ttl).await })
    }

    fn compare_and_set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        expected: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(
            async move { self.task_line(None).compare_and_set(key, expected, value, ttl).await },
        )
    }

    fn get_or_load_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: &'a SetOptions,
        load: BoxFuture<'a, Result<Option<Loaded>>>,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(self.load_once_async(key, options, load))
    }

    fn incr_bytes<'a>(&'a self, key: &'a [u8], delta: i64, ttl: Ttl) -> BoxFuture<'a, Result<i64>> {
        Box::pin(async move { self.task_line(None).incr(key, delta, ttl).await })
    }

    fn lock_bytes<'a>(
        &'a self,
        name: &'a [u8],
        lease: Duration,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Lock>>> {
        let per_trip = self.shared.endpoint.options.timeout;
        Box::pin(self.shared.lock_async(name, lease, wait, per_trip))
    }

    fn invalidate_tag_bytes<'a>(&'a self, tag: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.task_line(None).invalidate_tag(tag).await })
    }

    fn delete_prefix_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<u64>> {
        let per_trip = self.shared.endpoint.options.timeout;
        Box::pin(self.shared.remove_all_below(prefix, per_trip))
    }

    fn keys_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        let cache = &self.shared;
        Box::pin(async move {
            let found = cache.keys(prefix, cache.endpoint.options.timeout).await;
            cache.count_error(found)
        })
    }
}

impl RedisCache {
    /// For one call of an operation of several steps.
    fn task_line(&self, timeout: Option<Duration>) -> Line<'_> {
        self.shared.task_line(timeout)
    }
}
