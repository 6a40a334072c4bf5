//! The operations of a Hybrid for its callers.
//!
//! Asynchronous callers await the futures of `drive`. Blocking callers do a read's leg themselves,
//! because a lone caller's own read and write of the socket is quicker than any hand-over; all other legs
//! are waited for while the runtime drives them.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::conditions::{Settled, is_tagged};
use super::drive::away;
use super::read::{Hit, Read};
use super::{HybridCache, MANY_TRIPS};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, Inside};
use crate::key::{check_key, is_usual};
use crate::metrics::{self, Operation, Timing};
use crate::ops::{
    BlockingCache, BoxFuture, ByteCache, Events, Found, GetOptions, Kind, Listener, Loaded, Loader,
    Lock, OwnedLoader, Remaining, SetOptions, Swap, Ttl,
};
use crate::redis::RedisCache;
use crate::runtime;
use crate::stats::CacheStats;
use crate::value::Value;

fn nothing_to_warm() -> Error {
    Error::new(ErrorKind::Unsupported, "a Hybrid without an L2 has nothing to warm L1 from")
}

impl HybridCache {
    /// As `get`, but only where nothing has to be waited for: `None`, and nothing counted, where L2 would
    /// have to be asked. For a binding that gives up a lock (as Python's GIL) before it waits.
    #[doc(hidden)]
    pub fn get_at_once(&self, key: &[u8]) -> Result<Option<Option<Value>>> {
        check_key(key)?;
        if let Some(hit) = self.core.hit_with(&fork::enter(), key, Value::clone) {
            return Ok(Some(Some(hit)));
        }
        if self.core.reading_leg().is_none() {
            return Ok(Some(self.served(self.core.get_alone(key))));
        }
        match self.core.begin_get(key) {
            Read::Done(hit) => Ok(Some(self.served(hit))),
            Read::Ask(_) => Ok(None),
        }
    }

    fn served(&self, hit: Option<Hit>) -> Option<Value> {
        self.core.served(hit).map(|hit| hit.value)
    }

    /// What a blocking caller finds, with what counts as absent.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<Hit>> {
        check_key(key)?;
        let Some(l2) = self.blocking_leg()? else {
            return Ok(self.core.get_alone(key));
        };
        match self.core.begin_get(key) {
            Read::Done(hit) => Ok(hit),
            Read::Ask(asked) => {
                let patience = self.core.options.l2_timeout;
                let reply = match l2.fetch(key, Instant::now() + patience) {
                    // The records of its tags may have to be asked for.
                    Ok(fetched) if is_tagged(&fetched) => {
                        self.wait(self.core.settle_one(Ok(fetched), patience))
                    }
                    reply => reply.map(|fetched| fetched.map(Settled::from)),
                };
                self.core.end_get(key, asked, reply)
            }
        }
    }

    /// A hit of L1 without a wait; see [`Core::hit_with`]. `key` has been checked.
    #[inline(always)]
    pub(crate) fn hit_with<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        self.core.hit_with(inside, key, read)
    }

    /// As `get`, for a caller to whom [`HybridCache::hit_with`] has said no.
    pub(crate) fn get_beyond(&self, key: &[u8]) -> Result<Option<Value>> {
        // A hit in L1 is too quick to be timed each time.
        let _timing = self.core.durations.sample(&fork::enter(), Operation::Get);
        Ok(self.served(self.find(key)?))
    }

    /// Times a write: each that asks L2, a sample of those that only L1 and the queue take.
    fn timed(&self, operation: Operation) -> Option<Timing<'_>> {
        match self.core.leg() {
            Some(_) => Some(self.core.durations.time(operation)),
            None => self.core.durations.sample(&fork::enter(), operation),
        }
    }

    async fn count_async(&self) -> Result<u64> {
        match self.core.leg() {
            Some(l2) => l2.count_all_async(self.core.options.l2_timeout).await,
            None if self.core.l2.is_none() => BlockingCache::count(&self.core.l1),
            None => Err(away()),
        }
    }

    async fn get_ex_async(&self, key: &[u8], options: GetOptions) -> Result<Option<Found>> {
        let patience = options.timeout.unwrap_or(self.core.options.l2_timeout);
        Ok(self.core.get_within(key, patience).await?.map(Hit::found))
    }

    /// L2, for a caller that is going to wait for it.
    fn blocking_leg(&self) -> Result<Option<&RedisCache>> {
        if self.core.l2.is_some() {
            runtime::refuse_library_thread()?;
        }
        Ok(self.core.reading_leg())
    }

    /// Waits for an operation whose legs have deadlines of their own. Without an L2 there are no legs,
    /// and no runtime is started for it.
    pub(super) fn wait<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let mut operation = pin!(operation);
        if self.blocking_leg()?.is_none() {
            // Nothing is waited for where L2 is not asked.
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
        let inside = fork::enter();
        if is_usual(key)
            && let Some(hit) = self.core.hit_with(&inside, key, Value::clone)
        {
            return Ok(Some(hit));
        }
        drop(inside);
        self.get_beyond(key)
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let _timing = self.timed(Operation::Set);
        if self.blocking_leg()?.is_none() && self.core.set_at_once(key, value, ttl)? {
            return Ok(());
        }
        self.wait(self.core.set(key, value, ttl))
    }

    fn delete(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.timed(Operation::Delete);
        self.wait(self.core.delete(key))
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        // A hit in L1 is too quick to be timed each time.
        let _timing = self.core.durations.sample(&fork::enter(), Operation::Exists);
        check_key(key)?;
        if self.blocking_leg()?.is_some()
            && let Some(known) = self.core.presence(key)
        {
            return Ok(known.is_some());
        }
        self.wait(self.core.exists(key))
    }

    fn clear(&self) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Clear);
        self.wait(self.core.clear())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let _timing = self.core.durations.time(Operation::GetMany);
        self.wait(self.core.get_many(keys))
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        let _timing = self.core.durations.time(Operation::SetMany);
        self.wait(self.core.set_many(items, ttl))
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let _timing = self.core.durations.time(Operation::DeleteMany);
        self.wait(self.core.delete_many(keys))
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let _timing = self.core.durations.time(Operation::Ttl);
        self.wait(self.core.ttl(key))
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.core.durations.time(Operation::Expire);
        self.wait(self.core.expire(key, ttl))
    }

    fn count(&self) -> Result<u64> {
        let _timing = self.core.durations.time(Operation::Count);
        self.wait(self.count_async())
    }

    fn stats(&self) -> Result<CacheStats> {
        self.core.process();
        Ok(self.core.stats())
    }

    fn ping(&self) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Ping);
        self.wait(self.core.ping())
    }

    fn metrics(&self) -> Result<String> {
        let stats = BlockingCache::stats(self)?;
        Ok(metrics::render(Kind::Hybrid, self.core.l1.name(), &stats, &self.core.durations))
    }

    fn get_ex(&self, key: &[u8], options: GetOptions) -> Result<Option<Found>> {
        let _timing = self.core.durations.time(Operation::Get);
        self.wait(self.get_ex_async(key, options))
    }

    fn set_ex(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<()> {
        let _timing = self.core.durations.time(Operation::Set);
        self.wait(self.set_ex_async(key, value, options))
    }

    fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.core.durations.time(Operation::Add);
        self.wait(self.add_async(key, value, ttl))
    }

    fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.core.durations.time(Operation::Replace);
        self.wait(self.replace_async(key, value, ttl))
    }

    fn compare_and_set(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        let _timing = self.core.durations.time(Operation::CompareAndSet);
        self.wait(self.compare_and_set_async(key, expected, value, ttl))
    }

    fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        let _timing = self.core.durations.time(Operation::Incr);
        self.wait(self.incr_async(key, delta, ttl))
    }

    fn delete_prefix(&self, prefix: &[u8]) -> Result<u64> {
        let _timing = self.core.durations.time(Operation::DeletePrefix);
        self.wait(self.delete_prefix_async(prefix))
    }

    fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.blocking_leg()?;
        self.visit_keys(prefix, visit)
    }

    fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        let _timing = self.core.durations.time(Operation::InvalidateTag);
        self.wait(self.invalidate_tag_async(tag))
    }

    fn lock(&self, name: &[u8], lease: Duration, wait: Duration) -> Result<Option<Lock>> {
        self.blocking_leg()?;
        self.take_lock(name, lease, wait)
    }

    fn get_or_load(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let _timing = self.core.durations.time(Operation::GetOrLoad);
        self.load_once(key, options, load, None)
    }

    fn get_or_load_owned(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: OwnedLoader,
    ) -> Result<Option<Value>> {
        let _timing = self.core.durations.time(Operation::GetOrLoad);
        self.load_once(key, options, &mut |key| load(key), Some(&load))
    }

    fn warm(&self, keys: &[&[u8]]) -> Result<u64> {
        match self.core.l2 {
            Some(_) => self.wait(self.core.warm(keys)),
            None => Err(nothing_to_warm()),
        }
    }

    fn warm_prefix(&self, prefix: &[u8], limit: u64) -> Result<u64> {
        match self.core.l2 {
            Some(_) => {
                self.blocking_leg()?;
                self.warm_keys_below(prefix, limit)
            }
            None => Err(nothing_to_warm()),
        }
    }

    /// Events of L1 and of the Hybrid. (L1's own subscribers, where it was composed of an open cache, hear
    /// the Hybrid's too.)
    fn subscribe(&self, events: Events, listener: Listener) -> Result<u64> {
        BlockingCache::subscribe(&self.core.l1, events, listener)
    }

    fn unsubscribe(&self, id: u64) -> Result<bool> {
        BlockingCache::unsubscribe(&self.core.l1, id)
    }
}

impl ByteCache for HybridCache {
    fn kind(&self) -> Kind {
        Kind::Hybrid
    }
    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async { Ok(self.core.get(key).await?.map(|hit| hit.value)) })
    }
    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.set(key, value, ttl))
    }
    fn delete_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.core.delete(key))
    }
    fn exists_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.core.exists(key))
    }
    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.core.clear())
    }
    fn get_many_bytes<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(self.core.get_many(keys))
    }
    fn set_many_bytes<'a>(
        &'a self,
        items: &'a [(&'a [u8], &'a [u8])],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.set_many(items, ttl))
    }
    fn delete_many_bytes<'a>(&'a self, keys: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.core.delete_many(keys))
    }
    fn ttl_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(self.core.ttl(key))
    }
    fn expire_bytes<'a>(&'a self, key: &'a [u8], ttl: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.core.expire(key, ttl))
    }
    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.count_async())
    }
    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(async { BlockingCache::stats(self) })
    }
    fn set_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        options: &'a SetOptions,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.set_ex_async(key, value, options))
    }
    fn add_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.add_async(key, value, ttl))
    }
    fn replace_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.replace_async(key, value, ttl))
    }
    fn compare_and_set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        expected: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(self.compare_and_set_async(key, expected, value, ttl))
    }
    fn incr_bytes<'a>(&'a self, key: &'a [u8], delta: i64, ttl: Ttl) -> BoxFuture<'a, Result<i64>> {
        Box::pin(self.incr_async(key, delta, ttl))
    }
    fn delete_prefix_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.delete_prefix_async(prefix))
    }
    fn keys_bytes<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        Box::pin(self.keys_async(prefix))
    }
    fn lock_bytes<'a>(
        &'a self,
        name: &'a [u8],
        lease: Duration,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Lock>>> {
        Box::pin(self.take_lock_async(name, lease, wait))
    }
    fn invalidate_tag_bytes<'a>(&'a self, tag: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.invalidate_tag_async(tag))
    }
    fn get_or_load_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: &'a SetOptions,
        load: BoxFuture<'a, Result<Option<Loaded>>>,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(self.load_once_async(key, options, load))
    }
    fn get_ex_bytes<'a>(
        &'a self,
        key: &'a [u8],
        options: GetOptions,
    ) -> BoxFuture<'a, Result<Option<Found>>> {
        Box::pin(self.get_ex_async(key, options))
    }
    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.core.ping())
    }
}
