//! What a Hybrid asks of its L2: the operations with a deadline of each call's own, values together
//! with their remaining time, and writes that the invalidation stream does not echo.
//!
//! Nothing is counted here but failures: hits and misses are the Hybrid's to judge. Keys and values
//! are checked by the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RedisCache;
use super::commands::{self, Replies, Request, expired, integer};
use super::lifetime::Lifetime;
use super::listen::{InvalidationSink, probe_request};
use crate::error::{ErrorKind, Result};
use crate::ops::Remaining;
use crate::stats::Counter;
use crate::value::Value;

/// A value of L2 and how long it has still to live.
pub(crate) type Fetched = Option<(Value, Remaining)>;

impl RedisCache {
    pub(super) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.shared.counters.count(Counter::Errors);
        }
        result
    }

    fn read(&self, request: &Request, deadline: Instant) -> Result<Replies> {
        self.noted(self.shared.run(request, deadline))
    }

    async fn read_async(&self, request: &Request, deadline: Instant) -> Result<Replies> {
        self.noted(self.shared.run_async(request, deadline).await)
    }

    fn write(&self, request: &Request, deadline: Instant) -> Result<Replies> {
        self.noted(self.shared.run_tracked(request, deadline))
    }

    pub(super) async fn write_async(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        self.noted(self.shared.run_tracked_async(request, deadline).await)
    }

    fn one_fetched(&self, key: &[u8], replies: Replies) -> Result<Fetched> {
        let mut replies = replies.many();
        match (replies.pop(), replies.pop()) {
            (Some(get), Some(pttl)) => self.noted(self.shared.keyspace.fetched(key, pttl, get)),
            _ => Err(commands::surprise("too few replies")),
        }
    }

    /// A value that can't be read is a miss, and counted.
    fn all_fetched(&self, keys: &[&[u8]], replies: Replies) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::new();
        let mut replies = replies.many().into_iter();
        for key in keys {
            let (Some(pttl), Some(get)) = (replies.next(), replies.next()) else {
                return Err(commands::surprise("too few replies"));
            };
            fetched.push(match self.noted(self.shared.keyspace.fetched(key, pttl, get)) {
                Err(error) if error.kind() == ErrorKind::NoMemory => return Err(error),
                // An error reply to a read, such as NOPERM, is no miss.
                Err(error)
                    if !matches!(
                        error.kind(),
                        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::TooBig
                    ) =>
                {
                    return Err(error);
                }
                value => value.unwrap_or(None),
            });
        }
        Ok(fetched)
    }

    /// The value of `key` and its remaining time, in one round trip.
    pub(crate) fn fetch(&self, key: &[u8], deadline: Instant) -> Result<Fetched> {
        self.one_fetched(key, self.read(&self.shared.keyspace.fetch(&[key]), deadline)?)
    }

    /// As [`RedisCache::fetch`], from a task.
    pub(crate) async fn fetch_async(&self, key: &[u8], deadline: Instant) -> Result<Fetched> {
        self.one_fetched(key, self.read_async(&self.shared.keyspace.fetch(&[key]), deadline).await?)
    }

    /// The same for many keys, in one round trip.
    pub(crate) async fn fetch_many_async(
        &self,
        keys: &[&[u8]],
        deadline: Instant,
    ) -> Result<Vec<Fetched>> {
        self.all_fetched(keys, self.read_async(&self.shared.keyspace.fetch(keys), deadline).await?)
    }

    /// Whether `key` is there.
    pub(crate) async fn has_async(&self, key: &[u8], deadline: Instant) -> Result<bool> {
        let replies = self.read_async(&self.shared.keyspace.exists(key), deadline).await?;
        self.noted(replies.one().and_then(integer)).map(|n| n > 0)
    }

    /// The remaining time of `key`, `None` where it is absent.
    pub(crate) async fn pttl_async(
        &self,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Option<Remaining>> {
        let replies = self.read_async(&self.shared.keyspace.pttl(key), deadline).await?;
        self.noted(replies.one().and_then(commands::remaining))
    }

    /// Stores `value`; `ttl_ms` `None` for ever, zero removes.
    pub(crate) async fn put_async(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        deadline: Instant,
    ) -> Result<()> {
        let request = self.shared.keyspace.set(key, value, Lifetime::plain(ttl_ms))?;
        let replies = self.write_async(&request, deadline).await?;
        self.noted(replies.one().and_then(commands::done))
    }

    /// Stores all pairs with one TTL, in one round trip.
    pub(crate) async fn put_many_async(
        &self,
        items: &[(&[u8], &[u8])],
        ttl_ms: Option<u64>,
        deadline: Instant,
    ) -> Result<()> {
        let lifetimes = vec![Lifetime::plain(ttl_ms); items.len()];
        let request = self.shared.keyspace.set_many(items, &lifetimes)?;
        let replies = self.write_async(&request, deadline).await?;
        self.noted(replies.many().into_iter().try_for_each(commands::done))
    }

    /// Removes `key`; true if there was one.
    pub(crate) async fn unlink_async(&self, key: &[u8], deadline: Instant) -> Result<bool> {
        self.unlink_many_async(&[key], deadline).await.map(|n| n > 0)
    }

    /// Removes `keys`, of which there is at least one; returns how many were there. What is being loaded
    /// for them is not to be stored: the leases go first.
    pub(crate) async fn unlink_many_async(&self, keys: &[&[u8]], deadline: Instant) -> Result<u64> {
        let replies = self.write_async(&self.removal(keys), deadline).await?;
        let mut removed = 0;
        for reply in replies.many().into_iter().skip(self.voids(keys)) {
            removed += u64::try_from(self.noted(integer(reply))?).unwrap_or(0);
        }
        Ok(removed)
    }

    /// How many commands at the front of [`RedisCache::removal`] remove leases.
    fn voids(&self, keys: &[&[u8]]) -> usize {
        match self.shared.endpoint.is_cluster() {
            true => keys.iter().filter(|key| self.shared.lease_key(key).is_some()).count(),
            false => usize::from(keys.iter().any(|key| self.shared.lease_key(key).is_some())),
        }
    }

    /// On a Cluster a command for each key, as they are on different nodes.
    fn removal(&self, keys: &[&[u8]]) -> Request {
        let keyspace = &self.shared.keyspace;
        let leases: Vec<Vec<u8>> =
            keys.iter().filter_map(|key| self.shared.lease_key(key)).collect();
        let unlink = |names: &[Vec<u8>]| {
            let mut unlink = ::redis::cmd("UNLINK");
            unlink.arg(names);
            unlink
        };
        let names: Vec<Vec<u8>> = keys.iter().map(|key| keyspace.full_key(key)).collect();
        let size = if self.shared.endpoint.is_cluster() { 1 } else { usize::MAX };
        let all = leases
            .chunks(size.min(leases.len().max(1)))
            .chain(names.chunks(size.min(names.len().max(1))));
        Request::batch(all.map(unlink), false)
    }

    /// Gives `key` a new TTL (`None` for ever, zero removes); false where it is absent.
    pub(crate) async fn pexpire_async(
        &self,
        key: &[u8],
        ttl_ms: Option<u64>,
        deadline: Instant,
    ) -> Result<bool> {
        let request = self.shared.keyspace.expire(key, ttl_ms);
        self.noted(expired(self.write_async(&request, deadline).await?))
    }

    /// Removes all keys of this cache; each round trip is bounded by `per_trip`.
    pub(crate) async fn unlink_all_async(&self, per_trip: Duration) -> Result<u64> {
        self.noted(self.shared.clear(b"", per_trip).await)
    }

    /// How many keys this cache has; each round trip is bounded by `per_trip`.
    pub(crate) async fn count_all_async(&self, per_trip: Duration) -> Result<u64> {
        self.noted(self.shared.count(per_trip).await)
    }

    /// An operation of this cache bounded by `patience`; [`ErrorKind::Timeout`] past it.
    pub(crate) async fn within<T>(
        &self,
        patience: Duration,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let home = super::trip::home()?;
        match super::trip::timeout(&home, Instant::now() + patience, operation).await {
            Some(result) => result,
            None => Err(super::error_map::no_reply()),
        }
    }

    /// Asks the server for a sign of life, and takes the invalidation stream up again where it ended
    /// with a runtime that was shut down.
    pub(crate) fn probe(&self, deadline: Instant) -> Result<()> {
        self.shared.keep_listening()?;
        self.write(&probe_request(), deadline)?.one().map(drop)
    }

    /// As [`RedisCache::probe`], from a task.
    pub(crate) async fn probe_async(&self, deadline: Instant) -> Result<()> {
        self.shared.keep_listening()?;
        self.write_async(&probe_request(), deadline).await?.one().map(drop)
    }

    /// Has `sink` told of other clients' writes, proven every `watchdog`, for as long as both the sink
    /// and this cache live: the sink is held weakly.
    pub(crate) fn listen(
        &self,
        sink: &Arc<dyn InvalidationSink>,
        watchdog: Duration,
    ) -> Result<()> {
        self.shared.listen(sink, watchdog)
    }

    /// The prefix of the keys, without its colon.
    pub(crate) fn prefix(&self) -> &str {
        &self.shared.endpoint.options.prefix
    }

    /// The TTL of values that are given none.
    pub(crate) fn default_ttl(&self) -> Option<Duration> {
        self.shared.common.default_ttl
    }

    /// The largest value, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.shared.common.max_value_bytes
    }
}
