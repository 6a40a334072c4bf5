//! What the protocol stands on, as traits: the second tier, the time, and somewhere to run what goes on
//! in the background. In a program they are a [`RedisCache`], the coarse clock and the library's runtime
//! ([`System`]); in the simulation a model server and virtual time, under the very same protocol.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::Result;
use crate::ops::Remaining;
use crate::random;
use crate::redis::RedisCache;
pub(super) use crate::redis::{Fetched, Replay, Replayed};
use crate::runtime;
use crate::value::Value;

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
        ttl_ms: Option<u64>,
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
        self.put_async(key, value, ttl_ms, Instant::now() + patience).await
    }

    async fn put_many(
        &self,
        items: &[(&[u8], &[u8])],
        ttl_ms: Option<u64>,
        patience: Duration,
    ) -> Result<()> {
        self.put_many_async(items, ttl_ms, Instant::now() + patience).await
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
        self.replay_async(key, write, known, Instant::now() + patience).await
    }

    async fn probe(&self, patience: Duration) -> Result<()> {
        self.probe_async(Instant::now() + patience).await
    }
}
