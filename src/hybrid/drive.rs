//! The steps of `read` and `write` joined to the legs to L2, as futures that any executor can run: the
//! library's runtime, a program's own, or that of the simulation.

use std::time::Duration;

use super::core::Core;
use super::queue::Look;
use super::read::{Hit, Read};
use super::world::{Remote, World};
use super::write::Write;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{check_key, check_value};
use crate::ops::{Remaining, Ttl};
use crate::redis::Lifetime;
use crate::value::Value;

impl<W: World> Core<W> {
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Hit>> {
        self.get_within(key, self.options.l2_timeout).await
    }

    pub(super) async fn get_within(&self, key: &[u8], patience: Duration) -> Result<Option<Hit>> {
        let hit = self.find_within(key, patience).await?;
        Ok(self.served(hit))
    }

    /// As `get`, with what counts as absent.
    pub(super) async fn find_within(&self, key: &[u8], patience: Duration) -> Result<Option<Hit>> {
        check_key(key)?;
        let Some(l2) = self.reading_leg() else { return Ok(self.get_alone(key)) };
        match self.begin_get(key) {
            Read::Done(hit) => Ok(hit),
            Read::Ask(asked) => {
                let reply = l2.fetch(key, patience).await;
                let reply = self.settle_one(reply, patience).await;
                self.end_get(key, asked, reply)
            }
        }
    }

    pub(super) async fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let Some(l2) = self.reading_leg() else {
            let value = |hit| Some(self.served(hit)?.value);
            return Ok(keys.iter().map(|key| value(self.get_alone(key))).collect());
        };
        let (mut answers, asked) = self.begin_get_many(keys);
        if !asked.is_empty() {
            let missing: Vec<&[u8]> = asked.iter().map(|(place, _)| keys[*place]).collect();
            let patience = self.options.l2_timeout;
            let reply = match l2.fetch_many(&missing, patience).await {
                Ok(fetched) => self.settle(fetched, patience).await,
                Err(error) => Err(error),
            };
            self.end_get_many(keys, asked, reply, &mut answers)?;
        }
        Ok(answers)
    }

    pub(super) async fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<()> {
        self.set_within(key, value, ttl, self.options.l2_timeout).await
    }

    /// As `set`, for what is done without asking L2; false where nothing was done.
    pub(super) fn set_at_once(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        let lifetime = self.lifetime(self.check_set(key, value, ttl)?);
        if lifetime.is_over() || lifetime.stale_ms.is_some() {
            return Ok(false);
        }
        self.process();
        self.set_alone(key, value, lifetime.ttl_ms)
    }

    pub(super) async fn set_within(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Ttl,
        patience: Duration,
    ) -> Result<()> {
        if self.set_at_once(key, value, ttl)? {
            return Ok(());
        }
        let lifetime = self.lifetime(self.check_set(key, value, ttl)?);
        self.store(key, value, lifetime, &[], patience).await
    }

    /// Stores what has been checked.
    pub(super) async fn store(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        tags: &[&[u8]],
        patience: Duration,
    ) -> Result<()> {
        if lifetime.is_over() {
            return self.delete(key).await.map(drop);
        }
        self.process();
        let (conditions, tags) = self.conditions(lifetime, tags, patience).await?;
        let write = self.begin_set_as(key, value, lifetime.ttl_ms, conditions.as_ref())?;
        match &self.l2 {
            Some(l2) if write.goes() => {
                let reply = l2.put_as(key, value, lifetime, &tags, patience).await;
                self.end_write(write, reply).map(drop)
            }
            _ => {
                write.queue(false);
                Ok(())
            }
        }
    }

    pub(super) async fn set_many(&self, items: &[(&[u8], &[u8])], ttl: Ttl) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let lifetimes = items
            .iter()
            .map(|(key, value)| Ok(self.lifetime(self.check_set(key, value, ttl)?)))
            .collect::<Result<Vec<_>>>()?;
        if lifetimes[0].is_over() {
            let keys: Vec<&[u8]> = items.iter().map(|(key, _)| *key).collect();
            return self.delete_many(&keys).await.map(drop);
        }
        self.process();
        let patience = self.options.l2_timeout;
        // Without tags they depend on the window alone, which all have.
        let (conditions, _) = self.conditions(lifetimes[0], &[], patience).await?;
        let conditions = conditions.as_ref();
        let begun = items.iter().zip(&lifetimes).map(|(&(key, value), lifetime)| {
            self.begin_set_as(key, value, lifetime.ttl_ms, conditions)
        });
        let writes = begun.collect::<Result<Vec<_>>>()?;
        let going = || writes.iter().map(Write::goes);
        let sent: Vec<(&[u8], &[u8])> = chosen(items, going());
        let lifetimes: Vec<Lifetime> = chosen(&lifetimes, going());
        let (direct, queued): (Vec<_>, Vec<_>) = writes.into_iter().partition(Write::goes);
        queued.into_iter().for_each(|write| write.queue(false));
        match &self.l2 {
            Some(l2) if !sent.is_empty() => {
                let reply = l2.put_many(&sent, &lifetimes, patience).await;
                self.end_writes(direct, reply).map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn delete(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        self.process();
        let (held, write) = self.begin_delete(key);
        let deleted = match &self.l2 {
            Some(l2) if write.goes() => {
                let reply = l2.unlink(key, self.options.l2_timeout).await;
                self.end_write(write, reply)?.unwrap_or(false) || held
            }
            _ => {
                write.queue(false);
                held
            }
        };
        self.count_deleted(deleted.into());
        Ok(deleted)
    }

    pub(super) async fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.process();
        let (mut held, mut deleted) = (0, 0);
        let (mut direct, mut sent) = (Vec::new(), Vec::new());
        for key in keys {
            let (was_held, write) = self.begin_delete(key);
            if write.goes() {
                held += u64::from(was_held);
                sent.push(*key);
                direct.push(write);
            } else {
                deleted += u64::from(was_held);
                write.queue(false);
            }
        }
        if let Some(l2) = &self.l2
            && !sent.is_empty()
        {
            let reply = l2.unlink_many(&sent, self.options.l2_timeout).await;
            deleted += self.end_writes(direct, reply)?.unwrap_or(0).max(held);
        }
        self.count_deleted(deleted);
        Ok(deleted)
    }

    pub(super) async fn exists(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let Some(l2) = self.reading_leg() else { return Ok(self.ttl_alone(key).is_some()) };
        if let Some(known) = self.presence(key) {
            return Ok(known.is_some());
        }
        if self.tagged.len() > 0 {
            return Ok(self.peek(key).await?.is_some());
        }
        match l2.has(key, self.options.l2_timeout).await {
            Err(error) => self.unanswered(error, || self.ttl_alone(key).is_some()),
            answered => self.answered(answered),
        }
    }

    pub(super) async fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        check_key(key)?;
        let Some(l2) = self.reading_leg() else { return Ok(self.ttl_alone(key)) };
        // L1 may keep a value for less than L2 does, so only the queue knows better.
        if !self.queue.is_empty()
            && !matches!(self.queue.look(key, self.world.now_ms()), Look::Nothing)
        {
            return Ok(self.ttl_alone(key));
        }
        if self.tagged.len() > 0 {
            return self.peek(key).await;
        }
        match l2.pttl(key, self.options.l2_timeout).await {
            Err(error) => self.unanswered(error, || self.ttl_alone(key)),
            answered => self.answered(answered),
        }
    }

    /// How long a value has still to live, judged here: while the invalidation of a tag waits, L2 does not
    /// know better. Counts as no read.
    async fn peek(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let Some(l2) = self.leg() else { return Ok(self.ttl_alone(key)) };
        let patience = self.options.l2_timeout;
        let reply = l2.fetch(key, patience).await;
        match self.settle_one(reply, patience).await {
            Err(error) => self.unanswered(error, || self.ttl_alone(key)),
            Ok(found) => {
                let found = found.filter(|found| !found.stale && !found.negative);
                self.answered(Ok(found.map(|found| found.left)))
            }
        }
    }

    pub(super) async fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        check_key(key)?;
        let ttl_ms = self.ttls.draw(ttl)?;
        if ttl_ms == Some(0) {
            return self.delete(key).await;
        }
        self.process();
        let write = self.begin_expire(key, ttl_ms);
        match &self.l2 {
            Some(l2) if write.goes() => {
                let reply = l2.pexpire(key, ttl_ms, self.options.l2_timeout).await;
                self.end_expire(write, reply)
            }
            _ => Ok(self.expire_alone(write, false)),
        }
    }

    pub(super) async fn clear(&self) -> Result<()> {
        let leg = self.leg();
        let clear = self.begin_clear();
        match leg {
            Some(l2) => {
                let reply = l2.unlink_all(self.options.l2_timeout).await;
                self.end_clear(clear, reply)
            }
            None => {
                self.clear_alone(clear);
                Ok(())
            }
        }
    }

    pub(super) async fn ping(&self) -> Result<()> {
        match (self.leg(), &self.l2) {
            (Some(l2), _) => match l2.probe(self.options.l2_timeout).await {
                Err(error) => {
                    let _ = self.judge(&error);
                    Err(error)
                }
                answered => self.answered(answered),
            },
            (None, None) => Ok(()),
            (None, Some(_)) => Err(away()),
        }
    }

    fn lifetime(&self, ttl_ms: Option<u64>) -> Lifetime {
        Lifetime { ttl_ms, stale_ms: ttl_ms.and(self.window_ms()) }
    }

    /// Refuses what no tier takes; returns the TTL in milliseconds, drawn for this value.
    pub(super) fn check_set(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<Option<u64>> {
        check_key(key)?;
        check_value(value, self.max_value_bytes)?;
        self.ttls.draw(ttl)
    }
}

/// Those of `all` whose place in `which` says so.
fn chosen<T: Copy>(all: &[T], which: impl Iterator<Item = bool>) -> Vec<T> {
    all.iter().zip(which).filter(|(_, wanted)| *wanted).map(|(one, _)| *one).collect()
}

pub(super) fn away() -> Error {
    Error::new(ErrorKind::Connect, "L2 is away and has not answered the last probe")
}
