//! The operations that only L2 can decide: add, replace, compare-and-set, incr, locks, whatever names keys;
//! and the filling of L1 ahead of reads. With L2 away they fail at once, and L1 is left as it is.
//!
//! # Protocol
//! L2 decides, so L1 does not change first. Such a call counts as a write under way on its key's stripe, so
//! that no read beside it fills L1; when it has ended, L1 lets go of the key, and the next read asks L2
//! (unless the server surely never got it). What it may have written counts as last seen. Where an earlier
//! write of the key still waits in the queue L2 can't decide rightly: the call fails as if L2 were away.
//! Without an L2 all of them are L1's.

use std::future::Future;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::HybridCache;
use super::core::Core;
use super::drive::away;
use super::queue::{Because, Look};
use super::stripes::WriteToken;
use super::world::{Remote, System, World};
use crate::error::{Error, ErrorKind, Result};
use crate::key::check_key;
use crate::ops::{BlockingCache, ByteCache, Lock, SetOptions, Swap, Ttl};
use crate::redis::RedisCache;
use crate::runtime;
use crate::value::Value;

/// Keys that are fetched in one round trip while L1 is warmed.
const WARM_BATCH: usize = 512;

/// A decision of L2 under way.
struct Deciding<'a> {
    core: &'a Core<System>,
    key: &'a [u8],
    token: Option<WriteToken>,
    /// Surely nothing has changed.
    unchanged: bool,
}

impl<'a> Deciding<'a> {
    fn begin(core: &'a Core<System>, key: &'a [u8]) -> Self {
        Self { core, key, token: Some(core.stripes.begin_write(key)), unchanged: false }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        if !self.unchanged {
            self.core.let_go(self.key, Because::Own);
        }
        let _ = self.core.stripes.finish(token);
    }
}

/// The same for every key.
struct DecidingAll<'a> {
    core: &'a Core<System>,
    prefix: &'a [u8],
    /// How it ended; `None` while nobody knows.
    removed: Option<bool>,
}

impl<'a> DecidingAll<'a> {
    fn begin(core: &'a Core<System>, prefix: &'a [u8]) -> Self {
        core.stripes.begin_write_all();
        Self { core, prefix, removed: None }
    }
}

impl Drop for DecidingAll<'_> {
    fn drop(&mut self) {
        match self.removed {
            // It cannot fail: nothing is waited for.
            Some(true) => drop(BlockingCache::delete_prefix(&self.core.l1, self.prefix)),
            Some(false) => {}
            // Of its many trips some may have been made.
            None => self.core.trust.renew(),
        }
        self.core.stripes.finish_all();
    }
}

/// Whatever came of it, L2 may hold `value`.
fn written<T>(value: &[u8]) -> impl FnOnce(&Result<T>) -> Option<Value> {
    move |_| Value::copy_from(value).ok()
}

/// Whether the server surely never got it.
fn never_sent<T>(reply: &Result<T>) -> bool {
    matches!(reply, Err(error) if error.kind() == ErrorKind::Connect)
}

impl Core<System> {
    /// Ends the leg of an operation of which the caller hears everything.
    fn decided<T>(&self, reply: Result<T>) -> Result<T> {
        match reply {
            Ok(answer) => self.answered(Ok(answer)),
            Err(error) => {
                let _ = self.judge(&error);
                Err(error)
            }
        }
    }
}

impl<W: World> Core<W> {
    /// Reads `keys` from L2 into L1; how many were there. Counts as no read.
    pub(super) async fn warm(&self, keys: &[&[u8]]) -> Result<u64> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut found = 0;
        for keys in keys.chunks(WARM_BATCH) {
            let l2 = self.leg().ok_or_else(away)?;
            // What waits in the queue is newer than what L2 holds.
            let waits =
                |key: &&&[u8]| !matches!(self.queue.look(key, self.world.now_ms()), Look::Nothing);
            let asked: Vec<_> = keys.iter().map(|key| (self.ask(key), waits(&key))).collect();
            let patience = self.options.l2_timeout;
            let replies = match l2.fetch_many(keys, patience).await {
                Ok(fetched) => self.settle(fetched, patience).await,
                Err(error) => Err(error),
            };
            match replies {
                Ok(replies) => {
                    self.breaker.succeeded();
                    for ((key, (asked, waits)), reply) in keys.iter().zip(asked).zip(replies) {
                        if let Some(reply) = reply.filter(|_| !waits) {
                            found += u64::from(!reply.stale && !reply.negative);
                            self.fill(key, &asked, &reply);
                        }
                    }
                }
                Err(error) => {
                    let _ = self.judge(&error);
                    return Err(error);
                }
            }
        }
        Ok(found)
    }
}

impl HybridCache {
    /// L2, where it can decide about `key`; `None` where there is none.
    fn judge_of(&self, key: Option<&[u8]>) -> Result<Option<&RedisCache>> {
        if let Some(key) = key {
            check_key(key)?;
        }
        let Some(l2) = self.core.leg() else {
            return if self.core.l2.is_none() { Ok(None) } else { Err(away()) };
        };
        let waits = match key {
            Some(key) => {
                !matches!(self.core.queue.look(key, crate::clock::now_ms()), Look::Nothing)
            }
            None => !self.core.queue.is_empty(),
        };
        // Nor does L2 know yet what the invalidation of a tag has made absent.
        if waits || self.core.tagged.len() > 0 {
            return Err(Error::new(ErrorKind::Connect, "an earlier write still waits for L2"));
        }
        Ok(Some(l2))
    }

    /// Has L2 decide about `key`, within `l2_timeout`; without an L2, L1. `wrote`: what L2 may hold then.
    async fn decide<'a, T, F: Future<Output = Result<T>>>(
        &'a self,
        key: &'a [u8],
        wrote: impl FnOnce(&Result<T>) -> Option<Value>,
        by_l2: impl FnOnce(&'a RedisCache) -> F,
        by_l1: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(l2) = self.judge_of(Some(key))? else { return by_l1() };
        let mut deciding = Deciding::begin(&self.core, key);
        let reply = l2.within(self.core.options.l2_timeout, by_l2(l2)).await;
        deciding.unchanged = never_sent(&reply);
        if !deciding.unchanged
            && let Some(value) = wrote(&reply)
        {
            self.core.queue.remember(key, value, Because::Own);
        }
        drop(deciding);
        self.core.decided(reply)
    }

    pub(super) async fn add_async(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        self.core.check_set(key, value, ttl)?;
        let by_l1 = || BlockingCache::add(&self.core.l1, key, value, ttl);
        self.decide(key, written(value), |l2| l2.add_bytes(key, value, ttl), by_l1).await
    }

    pub(super) async fn replace_async(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        self.core.check_set(key, value, ttl)?;
        let by_l1 = || BlockingCache::replace(&self.core.l1, key, value, ttl);
        self.decide(key, written(value), |l2| l2.replace_bytes(key, value, ttl), by_l1).await
    }

    pub(super) async fn compare_and_set_async(
        &self,
        key: &[u8],
        expected: &[u8],
        value: &[u8],
        ttl: Ttl,
    ) -> Result<Swap> {
        self.core.check_set(key, value, ttl)?;
        let by_l1 = || BlockingCache::compare_and_set(&self.core.l1, key, expected, value, ttl);
        self.decide(
            key,
            written(value),
            |l2| l2.compare_and_set_bytes(key, expected, value, ttl),
            by_l1,
        )
        .await
    }

    pub(super) async fn incr_async(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        let by_l1 = || BlockingCache::incr(&self.core.l1, key, delta, ttl);
        let wrote =
            |sum: &Result<i64>| Value::copy_from(sum.as_ref().ok()?.to_string().as_bytes()).ok();
        self.decide(key, wrote, |l2| l2.incr_bytes(key, delta, ttl), by_l1).await
    }

    pub(super) async fn delete_prefix_async(&self, prefix: &[u8]) -> Result<u64> {
        let Some(l2) = self.judge_of(None)? else {
            return BlockingCache::delete_prefix(&self.core.l1, prefix);
        };
        let mut deciding = DecidingAll::begin(&self.core, prefix);
        let reply = l2.unlink_below_async(prefix, self.core.options.l2_timeout).await;
        deciding.removed = match &reply {
            Ok(_) => Some(true),
            Err(_) if never_sent(&reply) => Some(false),
            Err(_) => None,
        };
        drop(deciding);
        self.core.decided(reply)
    }

    pub(super) async fn keys_async(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>> {
        match self.judge_of(None)? {
            Some(l2) => {
                let found = l2.keys_below_async(prefix, self.core.options.l2_timeout).await;
                self.core.decided(found)
            }
            None => self.core.l1.keys_bytes(prefix).await,
        }
    }

    pub(super) fn visit_keys(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.judge_of(None)? {
            Some(l2) => {
                let per_trip = self.core.options.l2_timeout;
                self.core.decided(l2.visit_keys_below(prefix, per_trip, visit))
            }
            None => BlockingCache::for_each_key(&self.core.l1, prefix, visit),
        }
    }

    pub(super) fn take_lock(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
    ) -> Result<Option<Lock>> {
        match self.core.leg() {
            Some(l2) => {
                let per_trip = self.core.options.l2_timeout;
                self.core.decided(l2.lock_within(name, lease, wait, per_trip))
            }
            None if self.core.l2.is_none() => BlockingCache::lock(&self.core.l1, name, lease, wait),
            None => Err(away()),
        }
    }

    pub(super) async fn take_lock_async(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
    ) -> Result<Option<Lock>> {
        match self.core.leg() {
            Some(l2) => {
                let per_trip = self.core.options.l2_timeout;
                self.core.decided(l2.lock_within_async(name, lease, wait, per_trip).await)
            }
            None if self.core.l2.is_none() => self.core.l1.lock_bytes(name, lease, wait).await,
            None => Err(away()),
        }
    }

    /// A set with options.
    pub(super) async fn set_ex_async(
        &self,
        key: &[u8],
        value: &[u8],
        options: &SetOptions,
    ) -> Result<()> {
        let Some(l2) = &self.core.l2 else {
            return self.core.l1.set_ex_bytes(key, value, options).await;
        };
        self.core.check_set(key, value, options.ttl)?;
        let lifetime = l2.lifetime(options.ttl, options.stale)?;
        let tags = l2.distinct_tags(&options.tags)?;
        let patience = options.timeout.unwrap_or(self.core.options.l2_timeout);
        self.core.store(key, value, lifetime, &tags, patience).await
    }

    pub(super) async fn invalidate_tag_async(&self, tag: &[u8]) -> Result<()> {
        let Some(l2) = &self.core.l2 else {
            return BlockingCache::invalidate_tag(&self.core.l1, tag);
        };
        l2.check_tag(tag)?;
        self.core.invalidate_tag(tag).await
    }

    pub(super) fn warm_keys_below(&self, prefix: &[u8], limit: u64) -> Result<u64> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        if limit > 0 {
            self.visit_keys(prefix, &mut |key| {
                keys.push(key.to_vec());
                match keys.len() as u64 >= limit {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        runtime::block_on(Instant::now() + super::MANY_TRIPS, self.core.warm(&keys))?
    }
}
