//! The operations as futures: those of the blocking calls, ready at their first poll, but for one that has
//! to be loaded.

use std::time::Duration;

use super::LocalCache;
use crate::error::Result;
use crate::ops::{
    BlockingCache, BoxFuture, ByteCache, Found, GetOptions, Kind, Loaded, Lock, Remaining,
    SetOptions, Swap, Ttl,
};
use crate::stats::CacheStats;
use crate::value::Value;

impl ByteCache for LocalCache {
    fn kind(&self) -> Kind {
        Kind::Local
    }

    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async move { BlockingCache::get(self, key) })
    }

    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set(self, key, value, ttl) })
    }

    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::delete(self, key) })
    }

    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::exists(self, key) })
    }

    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { BlockingCache::clear(self) })
    }

    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(async move { BlockingCache::get_many(self, keys) })
    }

    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set_many(self, items, ttl) })
    }

    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { BlockingCache::delete_many(self, keys) })
    }

    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(async move { BlockingCache::ttl(self, key) })
    }

    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::expire(self, key, ttl) })
    }

    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { BlockingCache::count(self) })
    }

    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(async move { BlockingCache::stats(self) })
    }

    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { BlockingCache::ping(self) })
    }
    fn get_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: GetOptions,
    ) -> BoxFuture<'a, Result<Option<Found>>> {
        Box::pin(async move { BlockingCache::get_ex(self, key, options) })
    }

    fn set_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        options: &'a SetOptions,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set_ex(self, key, value, options) })
    }

    fn add_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::add(self, key, value, ttl) })
    }

    fn replace_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { BlockingCache::replace(self, key, value, ttl) })
    }

    fn compare_and_set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        expected: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(async move { BlockingCache::compare_and_set(self, key, expected, value, ttl) })
    }

    fn incr_bytes<'a>(&'a self, key: &'a [u8], delta: i64, ttl: Ttl) -> BoxFuture<'a, Result<i64>> {
        Box::pin(async move { BlockingCache::incr(self, key, delta, ttl) })
    }

    fn delete_prefix_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { BlockingCache::delete_prefix(self, prefix) })
    }

    fn keys_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        Box::pin(async move { Ok(self.keys(prefix)) })
    }

    fn get_or_load_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: &'a SetOptions,
        load: BoxFuture<'a, Result<Option<Loaded>>>,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(self.load_once_async(key, options, load))
    }

    fn lock_bytes<'a>(
        &'a self,
        name: &'a [u8],
        lease: Duration,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Lock>>> {
        Box::pin(self.0.locks.acquire_async(name, lease, wait))
    }

    fn invalidate_tag_bytes<'a>(&'a self, tag: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::invalidate_tag(self, tag) })
    }
}
