//! The steps of `read` and `write` joined to the legs to L2.
//!
//! Asynchronous callers await each leg. Blocking callers do a read's leg themselves, because a lone
//! caller's own read and write of the socket is quicker than any hand-over; all other legs are waited
//! for while the runtime drives them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::read::Read;
use super::{HybridCache, MANY_TRIPS};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::{check_key, check_value};
use crate::metrics::{self, Operation};
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, Ttl};
use crate::redis::RedisCache;
use crate::runtime;
use crate::stats::CacheStats;
use crate::value::Value;

impl HybridCache {
    /// As `get`, but only where nothing has to be waited for: `None`, and nothing counted, where L2 would
    /// have to be asked. For a binding that gives up a lock (as Python's GIL) before it waits.
    #[doc(hidden)]
    pub fn get_at_once(&self, key: &[u8]) -> Result<Option<Option<Value>>> {
        check_key(key)?;
        if self.leg().is_none() {
            return Ok(Some(self.core.get_alone(key)));
        }
        match self.core.begin_get(key) {
            Read::Done(value) => Ok(Some(Some(value))),
            Read::Ask(_) => Ok(None),
        }
    }

    async fn get_async(&self, key: &[u8]) -> Result<Option<Value>> {
        check_key(key)?;
        let Some((l2, deadline)) = self.leg() else { return Ok(self.core.get_alone(key)) };
        match self.core.begin_get(key) {
            Read::Done(value) => Ok(Some(value)),
            Read::Ask(asked) => {
                let reply = l2.fetch_async(key, deadline).await;
                self.core.end_get(key, asked, reply)
            }
        }
    }

    async fn get_many_async(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let Some((l2, deadline)) = self.leg() else {
            return Ok(keys.iter().map(|key| self.core.get_alone(key)).collect());
        };
        let (mut answers, asked) = self.core.begin_get_many(keys);
        if !asked.is_empty() {
            let missing: Vec<&[u8]> = asked.iter().map(|(place, _)| keys[*place]).collect();
            let reply = l2.fetch_many_async(&missing, deadline).await;
            self.core.end_get_many(keys, asked, reply, &mut answers)?;
        }
        Ok(answers)
    }

    async fn set_async(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let ttl_ms = self.check_set(key, value, ttl)?;
        if ttl_ms == Some(0) {
            return self.delete_async(key).await.map(drop);
        }
        let Some((l2, deadline)) = self.leg() else {
            return self.core.set_alone(key, value, ttl_ms);
        };
        let write = self.core.begin_set(key, value, ttl_ms)?;
        let reply = l2.put_async(key, value, ttl_ms, deadline).await;
        self.core.end_write(write, reply).map(drop)
    }

    async fn set_many_async(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let mut ttl_ms = None;
        for (key, value) in items {
            ttl_ms = self.check_set(key, value, ttl)?;
        }
        if ttl_ms == Some(0) {
            let keys: Vec<&[u8]> = items.iter().map(|(key, _)| *key).collect();
            return self.delete_many_async(&keys).await.map(drop);
        }
        let Some((l2, deadline)) = self.leg() else {
            return items
                .iter()
                .try_for_each(|(key, value)| self.core.set_alone(key, value, ttl_ms));
        };
        let begun = items.iter().map(|&(key, value)| self.core.begin_set(key, value, ttl_ms));
        let writes = begun.collect::<Result<Vec<_>>>()?;
        let reply = l2.put_many_async(items, ttl_ms, deadline).await;
        self.core.end_writes(writes, reply).map(drop)
    }

    async fn delete_async(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let Some((l2, deadline)) = self.leg() else { return Ok(self.core.delete_alone(key)) };
        let (held, write) = self.core.begin_delete(key);
        let reply = l2.unlink_async(key, deadline).await;
        let deleted = self.core.end_write(write, reply)?.unwrap_or(false) || held;
        self.core.count_deleted(deleted.into());
        Ok(deleted)
    }

    async fn delete_many_async(&self, keys: &[&[u8]]) -> Result<u64> {
        keys.iter().try_for_each(|key| check_key(key))?;
        if keys.is_empty() {
            return Ok(0);
        }
        let Some((l2, deadline)) = self.leg() else {
            return Ok(keys.iter().filter(|key| self.core.delete_alone(key)).count() as u64);
        };
        let (held, writes): (Vec<bool>, Vec<_>) =
            keys.iter().map(|key| self.core.begin_delete(key)).unzip();
        let held = held.into_iter().filter(|held| *held).count() as u64;
        let reply = l2.unlink_many_async(keys, deadline).await;
        let deleted = self.core.end_writes(writes, reply)?.unwrap_or(0).max(held);
        self.core.count_deleted(deleted);
        Ok(deleted)
    }

    async fn exists_async(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let Some((l2, deadline)) = self.leg() else { return Ok(self.core.exists_alone(key)) };
        if self.core.proven_in_l1(key) {
            return Ok(true);
        }
        match l2.has_async(key, deadline).await {
            Err(error) => self.core.unanswered(error, || self.core.exists_alone(key)),
            answered => self.core.answered(answered),
        }
    }

    async fn ttl_async(&self, key: &[u8]) -> Result<Option<Remaining>> {
        check_key(key)?;
        let Some((l2, deadline)) = self.leg() else { return Ok(self.core.ttl_alone(key)) };
        match l2.pttl_async(key, deadline).await {
            Err(error) => self.core.unanswered(error, || self.core.ttl_alone(key)),
            answered => self.core.answered(answered),
        }
    }

    async fn expire_async(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        check_key(key)?;
        let ttl_ms = ttl.resolve(self.core.default_ttl)?;
        if ttl_ms == Some(0) {
            return self.delete_async(key).await;
        }
        let Some((l2, deadline)) = self.leg() else {
            return Ok(self.core.expire_alone(key, ttl_ms));
        };
        let write = self.core.begin_expire(key);
        let reply = l2.pexpire_async(key, ttl_ms, deadline).await;
        self.core.end_expire(write, ttl_ms, reply)
    }

    async fn clear_async(&self) -> Result<()> {
        let leg = self.leg();
        let clear = self.core.begin_clear();
        let reply = match leg {
            Some((l2, _)) => l2.unlink_all_async(self.core.options.l2_timeout).await.map(drop),
            None => {
                self.core.count_dropped(1);
                return Ok(());
            }
        };
        drop(clear);
        match reply {
            Ok(()) => self.core.answered(Ok(())),
            Err(error) => self.core.absorb(error, 1),
        }
    }

    async fn count_async(&self) -> Result<u64> {
        match self.leg() {
            Some((l2, _)) => l2.count_all_async(self.core.options.l2_timeout).await,
            None if self.core.l2.is_none() => BlockingCache::count(&self.core.l1),
            None => Err(self.away()),
        }
    }

    async fn ping_async(&self) -> Result<()> {
        match (self.leg(), &self.core.l2) {
            (Some((l2, deadline)), _) => l2.probe_async(deadline).await,
            (None, None) => Ok(()),
            (None, Some(_)) => Err(self.away()),
        }
    }

    /// Refuses what no tier takes; returns the TTL in milliseconds.
    fn check_set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<Option<u64>> {
        check_key(key)?;
        check_value(value, self.core.max_value_bytes)?;
        ttl.resolve(self.core.default_ttl)
    }

    fn away(&self) -> Error {
        Error::new(ErrorKind::Connect, "L2 is away and has not answered the last probe")
    }

    /// L2 and the deadline of a leg to it, for a caller that is going to wait for it.
    fn blocking_leg(&self) -> Result<Option<(&RedisCache, Instant)>> {
        if self.core.l2.is_some() {
            runtime::refuse_library_thread()?;
        }
        Ok(self.leg())
    }

    /// Waits for an operation whose legs have deadlines of their own. Without an L2 there are no legs,
    /// and no runtime is started for it.
    fn wait<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let mut operation = pin!(operation);
        if self.core.l2.is_none() {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = operation.as_mut().poll(&mut context) {
                return answer;
            }
        }
        runtime::block_on(Instant::now() + MANY_TRIPS, operation)?
    }
}

impl BlockingCache for HybridCache {
    fn kind(&self) -> Kind {
        Kind::Hybrid
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        // A hit in L1 is too quick to be timed each time.
        let _timing = self.core.durations.sample(&fork::enter(), Operation::Get);
        check_key(key)?;
        let Some((l2, deadline)) = self.blocking_leg()? else {
            return Ok(self.core.get_alone(key));
        };
        match self.core.begin_get(key) {
            Read::Done(value) => Ok(Some(value)),
            Read::Ask(asked) => self.core.end_get(key, asked, l2.fetch(key, deadline)),
        }
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Set);
        let ttl_ms = self.check_set(key, value, ttl)?;
        if ttl_ms == Some(0) {
            return BlockingCache::delete(self, key).map(drop);
        }
        if self.blocking_leg()?.is_none() {
            return self.core.set_alone(key, value, ttl_ms);
        }
        self.wait(self.set_async(key, value, ttl))
    }

    fn delete(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.core.durations.time(Operation::Delete);
        check_key(key)?;
        if self.blocking_leg()?.is_none() {
            return Ok(self.core.delete_alone(key));
        }
        self.wait(self.delete_async(key))
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        // A hit in L1 is too quick to be timed each time.
        let _timing = self.core.durations.sample(&fork::enter(), Operation::Exists);
        check_key(key)?;
        match self.blocking_leg()? {
            Some(_) if self.core.proven_in_l1(key) => Ok(true),
            Some(_) => self.wait(self.exists_async(key)),
            None => Ok(self.core.exists_alone(key)),
        }
    }

    fn clear(&self) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Clear);
        self.wait(self.clear_async())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let _timing = self.core.durations.time(Operation::GetMany);
        self.wait(self.get_many_async(keys))
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        let _timing = self.core.durations.time(Operation::SetMany);
        self.wait(self.set_many_async(items, ttl))
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let _timing = self.core.durations.time(Operation::DeleteMany);
        self.wait(self.delete_many_async(keys))
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let _timing = self.core.durations.time(Operation::Ttl);
        self.wait(self.ttl_async(key))
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.core.durations.time(Operation::Expire);
        self.wait(self.expire_async(key, ttl))
    }

    fn count(&self) -> Result<u64> {
        let _timing = self.core.durations.time(Operation::Count);
        self.wait(self.count_async())
    }

    fn stats(&self) -> Result<CacheStats> {
        self.in_this_process();
        Ok(self.core.stats())
    }

    fn ping(&self) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Ping);
        self.wait(self.ping_async())
    }

    fn metrics(&self) -> Result<String> {
        let stats = BlockingCache::stats(self)?;
        Ok(metrics::render(Kind::Hybrid, self.core.l1.name(), &stats, &self.core.durations))
    }
}

impl ByteCache for HybridCache {
    fn kind(&self) -> Kind {
        Kind::Hybrid
    }
    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(self.get_async(key))
    }
    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.set_async(key, value, ttl))
    }
    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.delete_async(key))
    }
    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.exists_async(key))
    }
    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.clear_async())
    }
    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(self.get_many_async(keys))
    }
    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.set_many_async(items, ttl))
    }
    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.delete_many_async(keys))
    }
    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(self.ttl_async(key))
    }
    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.expire_async(key, ttl))
    }
    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.count_async())
    }
    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(async { BlockingCache::stats(self) })
    }
    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ping_async())
    }
}
