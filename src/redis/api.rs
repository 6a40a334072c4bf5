//! The operations of [`RedisCache`] for callers without an event loop (`tasks` has the others'), and what
//! both share. Those of one command are: check the arguments, build the request, send it, read the reply;
//! the others are written once, for both, upon a [`Line`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value as Reply;

use super::commands::{self, Replies, Request};
use super::lifetime::Lifetime;
use super::line::{Line, now};
use super::presence::Settled;
use super::{RedisCache, Shared};
use crate::error::Result;
use crate::key::{check_key, check_value};
use crate::metrics::{self, Operation};
use crate::ops::{
    BlockingCache, ByteCache, Found, GetOptions, Kind, Loader, Lock, OwnedLoader, Remaining,
    SetOptions, Stale, Swap, Ttl,
};
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

    /// The lifetimes of so many values that are stored together, each spread on its own.
    pub(super) fn lifetimes(&self, ttl: Ttl, count: usize) -> Result<Vec<Lifetime>> {
        let one = self.lifetime(ttl, Stale::Default)?;
        if self.common.ttl_jitter == 0.0 {
            return Ok(vec![one; count]);
        }
        (0..count).map(|_| self.lifetime(ttl, Stale::Default)).collect()
    }

    fn send(self: &Arc<Self>, request: &Request) -> Result<Replies> {
        let replies = self.run(request, self.deadline());
        self.count_error(replies)
    }

    pub(super) async fn send_async(self: &Arc<Self>, request: &Request) -> Result<Replies> {
        let replies = self.run_async(request, self.deadline()).await;
        self.count_error(replies)
    }

    /// Whether values have a stale window unless they are stored with options that say otherwise, so
    /// that their time is best read with them.
    pub(super) fn has_windows(&self) -> bool {
        !self.common.stale_ttl.is_zero()
    }

    pub(super) fn count_error<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.counters.count(Counter::Errors);
        }
        result
    }

    pub(super) fn read_get(&self, key: &[u8], replies: Replies) -> Result<Read> {
        let reply = self.count_error(replies.one())?;
        if let Reply::BulkString(stored) = &reply
            && self.keyspace.has_conditions(stored)
        {
            let Reply::BulkString(stored) = reply else { return Ok(Read::Value(None)) };
            return Ok(Read::Conditional(stored));
        }
        let value = self.count_error(self.keyspace.value(key, reply))?;
        self.counters.count(if value.is_some() { Counter::Hits } else { Counter::Misses });
        Ok(Read::Value(value))
    }

    pub(super) fn read_set(&self, replies: Replies) -> Result<()> {
        self.count_error(replies.one().and_then(commands::done))?;
        self.counters.count(Counter::Sets);
        Ok(())
    }

    pub(super) fn read_set_many(&self, replies: Replies, count: usize) -> Result<()> {
        let stored = replies.many().into_iter().try_for_each(commands::done);
        self.count_error(stored)?;
        self.counters.add(Counter::Sets, count as u64);
        Ok(())
    }

    pub(super) fn read_ping(&self, replies: Replies) -> Result<()> {
        self.count_error(replies.one()).map(drop)
    }

    /// Removes all keys that begin with `prefix`; each round trip is bounded by `per_trip`.
    pub(super) async fn remove_all_below(
        self: &Arc<Self>,
        prefix: &[u8],
        per_trip: Duration,
    ) -> Result<u64> {
        let removed = self.clear(prefix, per_trip).await;
        let removed = self.count_error(removed)?;
        self.counters.add(Counter::Deletes, removed);
        Ok(removed)
    }

    pub(super) fn snapshot(&self) -> CacheStats {
        let count = |counter| self.counters.get(counter);
        CacheStats {
            size: u64::MAX,
            hits: count(Counter::Hits),
            misses: count(Counter::Misses),
            sets: count(Counter::Sets),
            deletes: count(Counter::Deletes),
            coalesced: count(Counter::Coalesced),
            stale_served: count(Counter::StaleServed),
            errors: count(Counter::Errors),
            ..CacheStats::default()
        }
        .rated()
    }
}

/// What GET brought.
pub(super) enum Read {
    Value(Option<Value>),
    /// The stored bytes of a value whose conditions have to be looked at first.
    Conditional(Vec<u8>),
}

pub(super) fn ping() -> Request {
    Request::read(::redis::cmd("PING"))
}

/// The keys of `items`, which share a TTL of zero.
pub(super) fn firsts<'a>(items: &[(&'a [u8], &[u8])]) -> Vec<&'a [u8]> {
    items.iter().map(|(key, _)| *key).collect()
}

/// Waits for an operation of many trips, each of which has a deadline of its own.
fn wait<T>(operation: impl Future<Output = Result<T>>) -> Result<T> {
    const LONG: Duration = Duration::from_secs(365 * 24 * 3600);
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
        if cache.has_windows() {
            let found = now(self.line(None).get_with_time(key))?;
            return Ok(found.map(|found| found.value));
        }
        match cache.read_get(key, cache.send(&cache.keyspace.get(key))?)? {
            Read::Value(value) => Ok(value),
            Read::Conditional(stored) => now(self.line(None).get_conditional(key, stored)),
        }
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Set);
        let cache = &self.shared;
        cache.check_item(key, value)?;
        let lifetime = cache.lifetime(ttl, Stale::Default)?;
        if lifetime.is_over() {
            return now(self.line(None).delete(key)).map(drop);
        }
        cache.read_set(cache.send(&cache.keyspace.set(key, value, lifetime)?)?)
    }

    fn delete(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Delete);
        now(self.line(None).delete(key))
    }

    fn exists(&self, key: &[u8]) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Exists);
        now(self.line(None).exists(key))
    }

    fn clear(&self) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Clear);
        wait(self.clear_bytes())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let _timing = self.shared.durations.time(Operation::GetMany);
        now(self.line(None).get_many(keys))
    }

    fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::SetMany);
        let cache = &self.shared;
        items.iter().try_for_each(|(key, value)| cache.check_item(key, value))?;
        let lifetimes = cache.lifetimes(ttl, items.len())?;
        if items.is_empty() {
            return Ok(());
        }
        if lifetimes[0].is_over() {
            return now(self.line(None).delete_many(&firsts(items))).map(drop);
        }
        let replies = cache.send(&cache.keyspace.set_many(items, &lifetimes)?)?;
        cache.read_set_many(replies, items.len())
    }

    fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let _timing = self.shared.durations.time(Operation::DeleteMany);
        now(self.line(None).delete_many(keys))
    }

    fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let _timing = self.shared.durations.time(Operation::Ttl);
        now(self.line(None).ttl(key))
    }

    fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Expire);
        now(self.line(None).expire(key, ttl))
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

    fn get_ex(&self, key: &[u8], options: GetOptions) -> Result<Option<Found>> {
        let _timing = self.shared.durations.time(Operation::Get);
        now(self.line(options.timeout).get_with_time(key)).map(|found| found.map(Settled::found))
    }

    fn set_ex(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::Set);
        now(self.line(options.timeout).set_with(key, value, options))
    }

    fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Add);
        now(self.line(None).add(key, value, ttl))
    }

    fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let _timing = self.shared.durations.time(Operation::Replace);
        now(self.line(None).replace(key, value, ttl))
    }

    fn compare_and_set(&self, key: &[u8], expected: &[u8], value: &[u8], ttl: Ttl) -> Result<Swap> {
        let _timing = self.shared.durations.time(Operation::CompareAndSet);
        now(self.line(None).compare_and_set(key, expected, value, ttl))
    }

    fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        let _timing = self.shared.durations.time(Operation::Incr);
        now(self.line(None).incr(key, delta, ttl))
    }

    fn delete_prefix(&self, prefix: &[u8]) -> Result<u64> {
        let _timing = self.shared.durations.time(Operation::DeletePrefix);
        wait(self.shared.remove_all_below(prefix, self.shared.endpoint.options.timeout))
    }

    fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::ForEachKey);
        let cache = &self.shared;
        cache.count_error(cache.visit_keys(prefix, cache.endpoint.options.timeout, visit))
    }

    fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        let _timing = self.shared.durations.time(Operation::InvalidateTag);
        now(self.line(None).invalidate_tag(tag))
    }

    fn get_or_load(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let _timing = self.shared.durations.time(Operation::GetOrLoad);
        self.load_once(key, options, load, None)
    }

    fn get_or_load_owned(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: OwnedLoader,
    ) -> Result<Option<Value>> {
        let _timing = self.shared.durations.time(Operation::GetOrLoad);
        self.load_once(key, options, &mut |key| load(key), Some(&load))
    }

    fn lock(&self, name: &[u8], lease: Duration, wait: Duration) -> Result<Option<Lock>> {
        let _timing = self.shared.durations.time(Operation::Lock);
        self.shared.lock(name, lease, wait, self.shared.endpoint.options.timeout)
    }

    fn metrics(&self) -> Result<String> {
        let stats = BlockingCache::stats(self)?;
        let shared = &self.shared;
        Ok(metrics::render(Kind::Redis, shared.common.name.as_deref(), &stats, &shared.durations))
    }
}

impl RedisCache {
    /// For one call of an operation of several steps.
    fn line(&self, timeout: Option<Duration>) -> Line<'_> {
        self.shared.blocking_line(timeout)
    }
}
