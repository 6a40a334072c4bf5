//! What a Hybrid asks of its L2: the operations with a deadline of each call's own, values together
//! with their remaining time, and writes that the invalidation stream does not echo.
//!
//! Nothing is counted here but failures: hits and misses are the Hybrid's to judge. Keys and values
//! are checked by the caller.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value as Reply;

use super::RedisCache;
use super::commands::{self, Replies, Request, integer};
use super::error_map::checked;
use super::lifetime::Lifetime;
use super::line::Line;
use super::listen::{InvalidationSink, probe_request};
use super::tags::{check_tag, distinct, stamp_of};
use crate::config::CommonOptions;
use crate::envelope::{About, Header, Tag};
use crate::error::{ErrorKind, Result};
use crate::ops::{Lock, Remaining, Stale, Ttl};
use crate::runtime;
use crate::stats::Counter;
use crate::value::Value;

/// So many bytes of a value that is removed are looked at: its header, but for one with many tags.
const FRONT: usize = 256;

/// What L2 has of a key.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) value: Value,
    /// The time until the server removes it.
    pub(crate) left: Remaining,
    /// What was stored with it, where there is anything. Nobody has judged that.
    pub(crate) about: Option<Box<About>>,
}

impl From<(Value, Remaining)> for Got {
    fn from((value, left): (Value, Remaining)) -> Self {
        Self { value, left, about: None }
    }
}

pub(crate) type Fetched = Option<Got>;

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
        self.line_to(deadline).exists(key).await
    }

    /// The remaining time of `key`, `None` where it is absent.
    pub(crate) async fn pttl_async(
        &self,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Option<Remaining>> {
        self.line_to(deadline).ttl(key).await
    }

    /// For operations that look at an entry's conditions themselves.
    fn line_to(&self, deadline: Instant) -> Line<'_> {
        self.shared.task_line(Some(deadline.saturating_duration_since(Instant::now())))
    }

    /// Stores `value` with `tags`, for `lifetime`, which is not over.
    pub(crate) async fn put_async(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        tags: &[Tag],
        deadline: Instant,
    ) -> Result<()> {
        let keyspace = &self.shared.keyspace;
        let request = if tags.is_empty() {
            keyspace.set(key, value, lifetime)?
        } else {
            let stored = keyspace.stored(key, value, lifetime.stale_ms, tags.to_vec())?;
            let mut set = keyspace.command("SET", key);
            set.arg(stored);
            if let Some(ms) = lifetime.kept_ms() {
                set.arg("PX").arg(ms);
            }
            Request::write(set)
        };
        let replies = self.write_async(&request, deadline).await?;
        self.noted(replies.one().and_then(commands::done))
    }

    /// The stamps in the records of the tags `names`; `None` where there is no record.
    pub(crate) async fn records_async(
        &self,
        names: &[&[u8]],
        deadline: Instant,
    ) -> Result<Vec<Option<u64>>> {
        let commands = names.iter().map(|name| self.shared.keyspace.tag_record(name));
        let replies = self.read_async(&Request::batch(commands, true), deadline).await?.many();
        if replies.len() != names.len() {
            return Err(commands::surprise("too few replies"));
        }
        let stamps = replies.into_iter().map(|reply| checked(reply).map(|reply| stamp_of(&reply)));
        self.noted(stamps.collect())
    }

    /// The stamps for a value with the tags `names` that the server is to keep for `kept_ms`.
    pub(crate) async fn stamps_async(
        &self,
        names: &[&[u8]],
        kept_ms: Option<u64>,
        deadline: Instant,
    ) -> Result<Vec<Tag>> {
        self.noted(self.line_to(deadline).tracked().stamps(names, kept_ms).await)
    }

    /// Makes all values with one of the `tags` absent.
    pub(crate) async fn forget_tags_async(&self, tags: &[&[u8]], deadline: Instant) -> Result<()> {
        let commands = tags.iter().map(|tag| self.shared.keyspace.unlink_tag(tag));
        let replies = self.write_async(&Request::batch(commands, false), deadline).await?;
        self.noted(replies.many().into_iter().try_for_each(|reply| integer(reply).map(drop)))
    }

    /// `tags` in an order of their own, each once. Errors where a value can't carry them.
    pub(crate) fn distinct_tags<'a>(&self, tags: &'a [Vec<u8>]) -> Result<Vec<&'a [u8]>> {
        let tags = distinct(tags)?;
        if !tags.is_empty() {
            self.shared.keyspace.needs_envelope()?;
        }
        Ok(tags)
    }

    /// Refuses a tag that no value can carry.
    pub(crate) fn check_tag(&self, tag: &[u8]) -> Result<()> {
        check_tag(tag)?;
        self.shared.keyspace.needs_envelope()
    }

    /// How long a value lives that is stored now.
    pub(crate) fn lifetime(&self, ttl: Ttl, stale: Stale) -> Result<Lifetime> {
        self.shared.lifetime(ttl, stale)
    }

    /// The options that all kinds of cache have.
    pub(crate) fn common(&self) -> &CommonOptions {
        &self.shared.common
    }

    /// Stores all pairs with one TTL, in one round trip.
    pub(crate) async fn put_many_async(
        &self,
        items: &[(&[u8], &[u8])],
        lifetimes: &[Lifetime],
        deadline: Instant,
    ) -> Result<()> {
        let request = self.shared.keyspace.set_many(items, lifetimes)?;
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
        let judges = !self.shared.keyspace.is_raw();
        let replies = self.write_async(&self.removal(keys, judges), deadline).await?;
        let mut replies = replies.many().into_iter();
        let mut absent = HashSet::new();
        for key in keys.iter().filter(|_| judges) {
            let (Some(left), Some(front)) = (replies.next(), replies.next()) else {
                return Err(commands::surprise("too few replies"));
            };
            if !self.counts(left, front, deadline).await? {
                absent.insert(*key);
            }
        }
        let mut removed = 0;
        for reply in replies.skip(self.voids(keys)) {
            removed += u64::try_from(self.noted(integer(reply))?).unwrap_or(0);
        }
        Ok(removed.saturating_sub(absent.len() as u64))
    }

    /// Whether a value that was removed counted as there, by its time and its first bytes. Whose header is
    /// longer than those counts.
    async fn counts(&self, left: Reply, front: Reply, deadline: Instant) -> Result<bool> {
        let Reply::BulkString(front) = front else { return Ok(true) };
        if !self.shared.keyspace.has_conditions(&front) {
            return Ok(true);
        }
        let Ok((header, _)) = Header::decode(&front) else { return Ok(true) };
        let over = match (commands::remaining(left)?, header.stale_ms) {
            (Some(Remaining::For(left)), Some(window)) => left.as_millis() as u64 <= window,
            _ => false,
        };
        if header.negative || over {
            return Ok(false);
        }
        match header.tags.is_empty() {
            true => Ok(true),
            false => self.line_to(deadline).tags_hold(&header.tags, false).await,
        }
    }

    /// How many commands at the front of [`RedisCache::removal`] remove leases.
    fn voids(&self, keys: &[&[u8]]) -> usize {
        match self.shared.endpoint.is_cluster() {
            true => keys.iter().filter(|key| self.shared.lease_key(key).is_some()).count(),
            false => usize::from(keys.iter().any(|key| self.shared.lease_key(key).is_some())),
        }
    }

    /// With `judges` first each key's time and first bytes; then the leases, then the keys. On a Cluster a
    /// command for each, as they are on different nodes.
    fn removal(&self, keys: &[&[u8]], judges: bool) -> Request {
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
        let looks = keys.iter().filter(|_| judges).flat_map(|key| {
            let mut front = keyspace.command("GETRANGE", key);
            front.arg(0).arg(FRONT - 1);
            [keyspace.command("PTTL", key), front]
        });
        let all = leases
            .chunks(size.min(leases.len().max(1)))
            .chain(names.chunks(size.min(names.len().max(1))));
        Request::batch(looks.chain(all.map(unlink)), false)
    }

    /// Gives `key` a new TTL (`None` for ever, zero removes); false where it is absent.
    pub(crate) async fn pexpire_async(
        &self,
        key: &[u8],
        ttl_ms: Option<u64>,
        deadline: Instant,
    ) -> Result<bool> {
        self.line_to(deadline).tracked().expire_in(key, ttl_ms).await
    }

    /// Removes all keys of this cache; each round trip is bounded by `per_trip`.
    pub(crate) async fn unlink_all_async(&self, per_trip: Duration) -> Result<u64> {
        self.noted(self.shared.clear(b"", per_trip).await)
    }

    /// How many keys this cache has; each round trip is bounded by `per_trip`.
    pub(crate) async fn count_all_async(&self, per_trip: Duration) -> Result<u64> {
        self.noted(self.shared.count(per_trip).await)
    }

    /// As `delete_prefix`; each round trip is bounded by `per_trip`.
    pub(crate) async fn unlink_below_async(
        &self,
        prefix: &[u8],
        per_trip: Duration,
    ) -> Result<u64> {
        self.shared.remove_all_below(prefix, per_trip).await
    }

    /// All keys below `prefix`; each round trip is bounded by `per_trip`.
    pub(crate) async fn keys_below_async(
        &self,
        prefix: &[u8],
        per_trip: Duration,
    ) -> Result<Vec<Vec<u8>>> {
        self.noted(self.shared.keys(prefix, per_trip).await)
    }

    /// As `for_each_key`; each round trip is bounded by `per_trip`.
    pub(crate) fn visit_keys_below(
        &self,
        prefix: &[u8],
        per_trip: Duration,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.noted(self.shared.visit_keys(prefix, per_trip, visit))
    }

    /// As `lock`; each round trip is bounded by `per_trip`, besides the `wait`.
    pub(crate) fn lock_within(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
        per_trip: Duration,
    ) -> Result<Option<Lock>> {
        self.shared.lock(name, lease, wait, per_trip)
    }

    /// As [`RedisCache::lock_within`], from a task.
    pub(crate) async fn lock_within_async(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
        per_trip: Duration,
    ) -> Result<Option<Lock>> {
        self.shared.lock_async(name, lease, wait, per_trip).await
    }

    /// An operation of this cache bounded by `patience`; [`ErrorKind::Timeout`] past it.
    pub(crate) async fn within<T>(
        &self,
        patience: Duration,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let home = runtime::home()?;
        match runtime::timeout_at(&home, Instant::now() + patience, operation).await {
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
    /// and this cache live: the sink is held weakly. With `on_channel` of those that are told by other
    /// caches that listen so; this cache then tells of its own.
    pub(crate) fn listen(
        &self,
        sink: &Arc<dyn InvalidationSink>,
        watchdog: Duration,
        on_channel: bool,
    ) -> Result<()> {
        self.shared.listen(sink, watchdog, on_channel)
    }

    /// The prefix of the keys, without its colon.
    pub(crate) fn prefix(&self) -> &str {
        &self.shared.endpoint.options.prefix
    }

    /// The largest value, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.shared.common.max_value_bytes
    }
}
