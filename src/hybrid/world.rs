//! What the protocol stands on, as traits: the second tier, the time, and somewhere to run what goes on
//! in the background. In a program they are a [`RedisCache`], the coarse clock and the library's runtime
//! ([`System`]); in the simulation a model server and virtual time, under the very same protocol.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::CommonOptions;
use crate::envelope::Tag;
use crate::error::Result;
use crate::ops::Remaining;
use crate::random;
pub(super) use crate::redis::{Fetched, Got, Replay, Replayed};
use crate::redis::{Lifetime, RedisCache};
use crate::runtime;
use crate::value::{TagMark, Value};

/// The second tier. Each call ends within `patience` (where it takes many trips, each of them does).
pub(super) trait Remote: Clone + Send + Sync + 'static {
    fn fetch(&self, key: &[u8], patience: Duration)
    -> impl Future<Output = Result<Fetched>> + Send;
    fn fetch_many(
        &self,
        keys: &[&[u8]],
        patience: Duration,
    ) -> impl Future<Output = Result<Vec<Fetched>>> + Send;
    fn has(&self, key: &[u8], patience: Duration) -> impl Future<Output = Result<bool>> + Send;
    fn pttl(
        &self,
        key: &[u8],
        patience: Duration,
    ) -> impl Future<Output = Result<Option<Remaining>>> + Send;
    fn put(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        patience: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    fn put_many(
        &self,
        items: &[(&[u8], &[u8])],
        lifetimes: &[Lifetime],
        patience: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    fn unlink(&self, key: &[u8], patience: Duration) -> impl Future<Output = Result<bool>> + Send;
    fn unlink_many(
        &self,
        keys: &[&[u8]],
        patience: Duration,
    ) -> impl Future<Output = Result<u64>> + Send;
    fn pexpire(
        &self,
        key: &[u8],
        ttl_ms: Option<u64>,
        patience: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;
    fn unlink_all(&self, patience: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Does `write` if L2 holds nothing under `key`, or one of `known`.
    fn replay(
        &self,
        key: &[u8],
        write: &Replay,
        known: &[Value],
        patience: Duration,
    ) -> impl Future<Output = Result<Replayed>> + Send;
    /// The options that all kinds of cache have.
    fn common(&self) -> Option<&CommonOptions> {
        None
    }
    /// As `put`, with a stale window and tags.
    fn put_as(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        tags: &[Tag],
        patience: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = tags;
        self.put(key, value, lifetime.ttl_ms, patience)
    }
    /// The stamps in the records of tags; `None` where there is no record.
    fn records(
        &self,
        names: &[&[u8]],
        _patience: Duration,
    ) -> impl Future<Output = Result<Vec<Option<u64>>>> + Send {
        let none = vec![None; names.len()];
        async { Ok(none) }
    }
    /// The stamps for a value with these tags that is kept for `kept_ms`.
    fn stamps(
        &self,
        _names: &[&[u8]],
        _kept_ms: Option<u64>,
        _patience: Duration,
    ) -> impl Future<Output = Result<Vec<Tag>>> + Send {
        async { Ok(Vec::new()) }
    }
    /// Makes all values with one of these tags absent.
    fn forget_tags(
        &self,
        _tags: &[&[u8]],
        _patience: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
    /// A sign of life.
    fn probe(&self, patience: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// Time, and somewhere to run.
pub(super) trait World: Send + Sync + 'static {
    type Remote: Remote;
    /// Milliseconds of a clock that never goes back, never 0.
    fn now_ms(&self) -> u64;
    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send;
    /// A time between half of `span` and all of it, so that many processes do not come at once.
    fn jitter(&self, span: Duration) -> Duration;
    /// Runs `task` in the background; false if nothing can be run.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool;
}

/// The world of a program.
#[derive(Debug)]
pub(super) struct System;

impl World for System {
    type Remote = RedisCache;

    #[inline]
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(span)
    }

    fn jitter(&self, span: Duration) -> Duration {
        span.mul_f64(0.5 + random::share() / 2.0)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        runtime::spawn(task).is_ok()
    }
}

impl Remote for RedisCache {
    async fn fetch(&self, key: &[u8], patience: Duration) -> Result<Fetched> {
        self.fetch_async(key, Instant::now() + patience).await
    }

    async fn fetch_many(&self, keys: &[&[u8]], patience: Duration) -> Result<Vec<Fetched>> {
        self.fetch_many_async(keys, Instant::now() + patience).await
    }

    async fn has(&self, key: &[u8], patience: Duration) -> Result<bool> {
        self.has_async(key, Instant::now() + patience).await
    }

    async fn pttl(&self, key: &[u8], patience: Duration) -> Result<Option<Remaining>> {
        self.pttl_async(key, Instant::now() + patience).await
    }

    async fn put(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        patience: Duration,
    ) -> Result<()> {
        self.put_as(key, value, Lifetime::plain(ttl_ms), &[], patience).await
    }

    fn common(&self) -> Option<&CommonOptions> {
        Some(RedisCache::common(self))
    }

    async fn put_as(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        tags: &[Tag],
        patience: Duration,
    ) -> Result<()> {
        self.put_async(key, value, lifetime, tags, Instant::now() + patience).await
    }

    async fn records(&self, names: &[&[u8]], patience: Duration) -> Result<Vec<Option<u64>>> {
        self.records_async(names, Instant::now() + patience).await
    }

    async fn stamps(
        &self,
        names: &[&[u8]],
        kept_ms: Option<u64>,
        patience: Duration,
    ) -> Result<Vec<Tag>> {
        self.stamps_async(names, kept_ms, Instant::now() + patience).await
    }

    async fn forget_tags(&self, tags: &[&[u8]], patience: Duration) -> Result<()> {
        self.forget_tags_async(tags, Instant::now() + patience).await
    }

    async fn put_many(
        &self,
        items: &[(&[u8], &[u8])],
        lifetimes: &[Lifetime],
        patience: Duration,
    ) -> Result<()> {
        self.put_many_async(items, lifetimes, Instant::now() + patience).await
    }

    async fn unlink(&self, key: &[u8], patience: Duration) -> Result<bool> {
        self.unlink_async(key, Instant::now() + patience).await
    }

    async fn unlink_many(&self, keys: &[&[u8]], patience: Duration) -> Result<u64> {
        self.unlink_many_async(keys, Instant::now() + patience).await
    }

    async fn pexpire(&self, key: &[u8], ttl_ms: Option<u64>, patience: Duration) -> Result<bool> {
        self.pexpire_async(key, ttl_ms, Instant::now() + patience).await
    }

    async fn unlink_all(&self, patience: Duration) -> Result<()> {
        self.unlink_all_async(patience).await.map(drop)
    }

    async fn replay(
        &self,
        key: &[u8],
        write: &Replay,
        known: &[Value],
        patience: Duration,
    ) -> Result<Replayed> {
        // One of its tags was invalidated since: whatever of it may have landed goes.
        let write = match write {
            Replay::Set(value, _) if !value.marks().iter().all(TagMark::holds) => {
                &Replay::Delete { any: false }
            }
            write => write,
        };
        self.replay_async(key, write, known, Instant::now() + patience).await
    }

    async fn probe(&self, patience: Duration) -> Result<()> {
        self.probe_async(Instant::now() + patience).await
    }
}
