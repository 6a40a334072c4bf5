//! The operations of [`RedisCache`], blocking and asynchronous. Each is: check the arguments, build
//! the request, send it, read the reply; only the sending differs.

use std::sync::Arc;
use std::time::Instant;

use super::commands::{self, Replies, Request};
use super::{RedisCache, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{check_key, check_value};
use crate::metrics::{self, Operation};
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, Ttl};
use crate::runtime;
use crate::stats::{CacheStats, Counter};
use crate::value::Value;

impl Shared {
    pub(super) fn check_keys(&self, keys: &[&[u8]]) -> Result<()> {
        keys.iter().try_for_each(|key| check_key(key))
    }

    pub(super) fn check_item(&self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key)?;
        check_value(value, self.common.max_value_bytes)
    }

    pub(super) fn resolve(&self, ttl: Ttl) -> Result<Option<u64>> {
        ttl.resolve(self.common.default_ttl)
    }

    fn send(self: &Arc<Self>, request: &Request) -> Result<Replies> {
        let replies = self.run(request, self.deadline());
        self.count_error(replies)
    }

    async fn send_async(self: &Arc<Self>, request: &Request) -> Result<Replies> {
        let replies = self.run_async(request, self.deadline()).await;
        self.count_error(replies)
    }

    fn count_error<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.counters.count(Counter::Errors);
        }
        result
    }

    fn read_get(&self, key: &[u8], replies: Replies) -> Result<Option<Value>> {
        let value = replies.one().and_then(|reply| self.keyspace.value(key, reply));
        let value = self.count_error(value)?;
        self.counters.count(if value.is_some() { Counter::Hits } else { Counter::Misses });
        Ok(value)
    }

    fn read_get_many(&self, keys: &[&[u8]], replies: Replies) -> Result<Vec<Option<Value>>> {
        let values = replies.one().and_then(|reply| self.keyspace.values(keys, reply));
        let (values, unreadable) = self.count_error(values)?;
        let hits = values.iter().flatten().count();
        self.counters.add(Counter::Hits, hits as u64);
        self.counters.add(Counter::Misses, (keys.len() - hits) as u64);
        self.counters.add(Counter::Errors, unreadable);
        Ok(values)
    }

    fn read_set(&self, replies: Replies, ttl_ms: Option<u64>) -> Result<()> {
        self.count_error(replies.one().and_then(commands::done))?;
        self.counters.count(if ttl_ms == Some(0) { Counter::Deletes } else { Counter::Sets });
        Ok(())
    }

    fn read_set_many(&self, replies: Replies, items: usize, ttl_ms: Option<u64>) -> Result<()> {
        if ttl_ms == Some(0) {
            return self.read_delete_many(replies).map(drop);
        }
        let stored = replies.many().into_iter().try_for_each(commands::done);
        self.count_error(stored)?;
        self.counters.add(Counter::Sets, items as u64);
        Ok(())
    }

    fn read_delete(&self, replies: Replies) -> Result<bool> {
        self.read_delete_many(replies).map(|deleted| deleted > 0)
    }

    fn read_delete_many(&self, replies: Replies) -> Result<u64> {
        let deleted = self.count_error(replies.one().and_then(commands::integer))?;
        let deleted = u64::try_from(deleted).unwrap_or(0);
        self.counters.add(Counter::Deletes, deleted);
        Ok(deleted)
    }

    fn read_flag(&self, replies: Replies) -> Result<bool> {
        self.count_error(replies.one().and_then(commands::integer)).map(|n| n > 0)
    }

    fn read_ttl(&self, replies: Replies) -> Result<Option<Remaining>> {
        self.count_error(replies.one().and_then(commands::remaining))
    }

    fn read_expire(&self, replies: Replies) -> Result<bool> {
        self.count_error(commands::expired(replies))
    }

    fn read_ping(&self, replies: Replies) -> Result<()> {
        self.count_error(replies.one()).map(drop)
    }

    fn snapshot(&self) -> CacheStats {
        let count = |counter| self.counters.get(counter);
        CacheStats {
            size: u64::MAX,
            hits: count(Counter::Hits),
            misses: count(Counter::Misses),
            sets: count(Counter::Sets),
            deletes: count(Counter::Deletes),
            errors: count(Counter::Errors),
            ..CacheStats::default()
        }
        .rated()
    }
}

pub(super) fn ping() -> Request {
    Request::read(::redis::cmd("PING"))
}

/// Waits for an operation of many trips, each of which has a deadline of its own.
fn wait<T>(operation: impl Future<Output = Result<T>>) -> Result<T> {
    const LONG: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
    runtime::block_on(Instant::now() + LONG, operation)?
}

impl BlockingCache for RedisCache {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let _timing = self.shared.durations.time(Operation::Get);
        check_key(key)?;
        let cache = &self.shared;
        cache.read_get(key, cache.send(&cache.keyspace.get(key))?)
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Set);
        let cache = &self.shared;
        cache.check_item(key, value)?;
        let ttl_ms = cache.resolve(ttl)?;
        cache.read_set(cache.send(&cache.keyspace.set(key, value, ttl_ms)?)?, ttl_ms)
    }

    fn delete(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Delete);
        check_key(key)?;
        let cache = &self.shared;
        cache.read_delete(cache.send(&cache.keyspace.unlink(key))?)
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Exists);
        check_key(key)?;
        let cache = &self.shared;
        cache.read_flag(cache.send(&cache.keyspace.exists(key))?)
    }

    fn clear(&self) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Clear);
        wait(self.clear_bytes())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let _timing = self.shared.durations.time(Operation::GetMany);
        let cache = &self.shared;
        cache.check_keys(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        cache.read_get_many(keys, cache.send(&cache.keyspace.get_many(keys))?)
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::SetMany);
        let cache = &self.shared;
        items.iter().try_for_each(|(key, value)| cache.check_item(key, value))?;
        let ttl_ms = cache.resolve(ttl)?;
        if items.is_empty() {
            return Ok(());
        }
        let replies = cache.send(&cache.keyspace.set_many(items, ttl_ms)?)?;
        cache.read_set_many(replies, items.len(), ttl_ms)
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let _timing = self.shared.durations.time(Operation::DeleteMany);
        let cache = &self.shared;
        cache.check_keys(keys)?;
        if keys.is_empty() {
            return Ok(0);
        }
        cache.read_delete_many(cache.send(&cache.keyspace.unlink_many(keys))?)
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let _timing = self.shared.durations.time(Operation::Ttl);
        check_key(key)?;
        let cache = &self.shared;
        cache.read_ttl(cache.send(&cache.keyspace.pttl(key))?)
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Expire);
        check_key(key)?;
        let cache = &self.shared;
        let ttl_ms = cache.resolve(ttl)?;
        cache.read_expire(cache.send(&cache.keyspace.expire(key, ttl_ms))?)
    }

    fn count(&self) -> Result<u64> {
        let _timing = self.shared.durations.time(Operation::Count);
        wait(self.count_bytes())
    }

    fn stats(&self) -> Result<CacheStats> {
        Ok(self.shared.snapshot())
    }

    fn ping(&self) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Ping);
        self.shared.read_ping(self.shared.send(&ping())?)
    }

    fn metrics(&self) -> Result<String> {
        let stats = BlockingCache::stats(self)?;
        let shared = &self.shared;
        Ok(metrics::render(Kind::Redis, shared.common.name.as_deref(), &stats, &shared.durations))
    }
}

impl ByteCache for RedisCache {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            cache.read_get(key, cache.send_async(&cache.keyspace.get(key)).await?)
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
            let ttl_ms = cache.resolve(ttl)?;
            let replies = cache.send_async(&cache.keyspace.set(key, value, ttl_ms)?).await?;
            cache.read_set(replies, ttl_ms)
        })
    }

    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            cache.read_delete(cache.send_async(&cache.keyspace.unlink(key)).await?)
        })
    }

    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            cache.read_flag(cache.send_async(&cache.keyspace.exists(key)).await?)
        })
    }

    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move {
            let cleared = cache.clear(cache.endpoint.options.timeout).await;
            let removed = cache.count_error(cleared)?;
            cache.counters.add(Counter::Deletes, removed);
            Ok(())
        })
    }

    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        let cache = &self.shared;
        Box::pin(async move {
            cache.check_keys(keys)?;
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let replies = cache.send_async(&cache.keyspace.get_many(keys)).await?;
            cache.read_get_many(keys, replies)
        })
    }

    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        let cache = &self.shared;
        Box::pin(async move {
            items.iter().try_for_each(|(key, value)| cache.check_item(key, value))?;
            let ttl_ms = cache.resolve(ttl)?;
            if items.is_empty() {
                return Ok(());
            }
            let replies = cache.send_async(&cache.keyspace.set_many(items, ttl_ms)?).await?;
            cache.read_set_many(replies, items.len(), ttl_ms)
        })
    }

    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        let cache = &self.shared;
        Box::pin(async move {
            cache.check_keys(keys)?;
            if keys.is_empty() {
                return Ok(0);
            }
            cache.read_delete_many(cache.send_async(&cache.keyspace.unlink_many(keys)).await?)
        })
    }

    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            cache.read_ttl(cache.send_async(&cache.keyspace.pttl(key)).await?)
        })
    }

    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        let cache = &self.shared;
        Box::pin(async move {
            check_key(key)?;
            let ttl_ms = cache.resolve(ttl)?;
            cache.read_expire(cache.send_async(&cache.keyspace.expire(key, ttl_ms)).await?)
        })
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
}

/// Without a prefix there is no telling which keys are this cache's.
pub(super) fn no_prefix() -> Error {
    Error::new(ErrorKind::Unsupported, "clear and count need a prefix")
}
