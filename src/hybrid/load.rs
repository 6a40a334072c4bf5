//! `get_or_load`: of many callers that miss one key, in this process and in all others, one loads it.
//!
//! # Protocol
//! ```text
//! look ── miss ── join ─┬─ landed: what another caller of this process got
//!                       └─ lead ── look again ── take L2's turn ─┬─ there: the answer
//!                                                                └─ token ── load ── keep
//! ```
//! - **The turn** is a lease in L2 (`redis::load`): of all processes one has it. Who finds it taken is woken
//!   when that load ends, and gets what it brought. It runs out with the process that holds it.
//! - With L2 away, or an own write of the key still in the queue, there is no turn: one load per process.
//! - **Keeping.** The stripe's token is taken right before the loader runs, with nothing held. What was loaded
//!   begins as a write only if the stripe is still as the token says, in one atomic step: a write or a removal
//!   of this process, or an invalidation, that came during the load is newer. L2 stores it only if the lease
//!   still is this process's, which a removal in any process ends, and if the key holds what it held when the
//!   turn was taken. If either says no, nothing is kept, and who waits in other processes looks again.
//! - If L2 goes away during the load, what was loaded is stored in L1 and queued, as any write.
//!
//! All who asked get what was loaded in any case.
//!
//! Left to others: who leads and who waits in this process (`flight`), whose turn it is among processes, and
//! what wakes them (`redis`).

use std::time::Instant;

use super::HybridCache;
use super::core::Verdict;
use super::decide::check_plain;
use super::queue::Look;
use super::stripes::ReadToken;
use super::world::Remote;
use crate::error::Result;
use crate::flight::{self, Cancellable, Joined};
use crate::key::check_key;
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Loaded, Loader, SetOptions};
use crate::redis::{Claimed, Lifetime, Turn};
use crate::stats::Counter;
use crate::value::Value;

/// What a leader finds before it loads.
enum Found {
    /// Nothing has to be loaded.
    Answer(Option<Value>),
    /// It may load; with L2's turn where that could be asked.
    Mine(Option<Turn>),
}

impl HybridCache {
    pub(super) fn load_once(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        if core.l2.is_none() {
            return BlockingCache::get_or_load(&core.l1, key, options, load);
        }
        check_key(key)?;
        check_plain(options)?;
        options.ttl.resolve(core.default_ttl)?;
        if let Some(value) = BlockingCache::get(self, key)? {
            return Ok(Some(value));
        }
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let nested = flight::inside_a_loader();
        match core.flights.join(key, deadline)? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => {
                let result = match self.wait(self.find(key, options, nested)) {
                    Ok(Found::Answer(answer)) => Ok(answer),
                    Ok(Found::Mine(turn)) => {
                        let token = core.stripes.begin_read(key);
                        let loaded = load(key);
                        self.wait(self.end(key, options, token, turn, loaded))
                    }
                    Err(error) => Err(error),
                };
                lead.land(result.clone());
                result
            }
        }
    }

    pub(super) async fn load_once_async(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: BoxFuture<'_, Result<Option<Loaded>>>,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        if core.l2.is_none() {
            return core.l1.get_or_load_bytes(key, options, load).await;
        }
        check_key(key)?;
        check_plain(options)?;
        options.ttl.resolve(core.default_ttl)?;
        if let Some(hit) = core.get(key).await? {
            return Ok(Some(hit.value));
        }
        let nested = flight::inside_a_loader();
        match core.flights.join_async(key).await? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(turn) => {
                let lead = Cancellable::new(turn);
                let result = match self.find(key, options, nested).await {
                    Ok(Found::Answer(answer)) => Ok(answer),
                    Ok(Found::Mine(turn)) => {
                        let token = core.stripes.begin_read(key);
                        let loaded = lead.inside(load).await;
                        self.end(key, options, token, turn, loaded).await
                    }
                    Err(error) => Err(error),
                };
                lead.land(result.clone());
                result
            }
        }
    }

    /// Looks once more, as the load before this one may have ended meanwhile, and waits for the turn.
    async fn find(&self, key: &[u8], options: &SetOptions, nested: bool) -> Result<Found> {
        let core = &self.core;
        if let Some(value) = core.look_again(key).await? {
            return Ok(Found::Answer(Some(value)));
        }
        // What waits in the queue is newer than what L2 holds.
        let in_order = matches!(core.queue.look(key, crate::clock::now_ms()), Look::Nothing);
        let Some(l2) = core.leg().filter(|_| in_order) else { return Ok(Found::Mine(None)) };
        match l2.take_turn(key, options, nested, core.options.l2_timeout).await {
            Ok(claimed) => {
                core.breaker.succeeded();
                match claimed {
                    Claimed::Turn(turn) => Ok(Found::Mine(Some(turn))),
                    Claimed::There { value, waited } => {
                        if waited {
                            core.counters.count(Counter::Coalesced);
                        }
                        Ok(Found::Answer(value))
                    }
                    Claimed::Taken => Ok(Found::Mine(None)),
                    Claimed::Failed(error) => Err(error),
                }
            }
            Err(error) => match core.judge(&error) {
                Verdict::Away { .. } | Verdict::Corrupt => Ok(Found::Mine(None)),
                Verdict::Fails => Err(error),
            },
        }
    }

    /// Keeps what was loaded, if it is still wanted; the answer for all who asked.
    async fn end(
        &self,
        key: &[u8],
        options: &SetOptions,
        token: ReadToken,
        turn: Option<Turn>,
        loaded: Result<Option<Loaded>>,
    ) -> Result<Option<Value>> {
        match loaded {
            Ok(Some(loaded)) => self.keep(key, options, token, turn, loaded).await,
            Ok(None) => {
                if let (Some(l2), Some(turn)) = (&self.core.l2, turn)
                    && let Err(error) = l2.fill_none(key, turn, self.core.options.l2_timeout).await
                {
                    let _ = self.core.judge(&error);
                }
                Ok(None)
            }
            Err(error) => {
                self.forgo(turn, error.message()).await;
                Err(error)
            }
        }
    }

    async fn keep(
        &self,
        key: &[u8],
        options: &SetOptions,
        token: ReadToken,
        turn: Option<Turn>,
        loaded: Loaded,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        let Loaded { value, options: own } = loaded;
        let options = own.as_ref().unwrap_or(options);
        check_plain(options)?;
        let ttl_ms = options.ttl.resolve(core.default_ttl)?;
        let answer = Value::copy_from(&value)?;
        // Too large for this cache, or over already, but not for its caller.
        let wanted = value.len() <= core.max_value_bytes && ttl_ms != Some(0);
        let write = match wanted {
            true => core.begin_set_after(key, &value, ttl_ms, token)?,
            false => None,
        };
        let patience = core.options.l2_timeout;
        match (write, &core.l2, turn) {
            (Some(write), Some(l2), Some(turn)) if write.goes() => {
                let lifetime = Lifetime::plain(ttl_ms);
                match l2.fill(key, turn, &value, lifetime, None, patience).await {
                    // Another process has stored something newer, or removed the key.
                    Ok(false) => write.overtaken(),
                    // What L2 refused is not kept, and its caller has the value all the same.
                    reply => drop(core.end_write(write, reply)),
                }
            }
            (Some(write), Some(l2), None) if write.goes() => {
                let reply = l2.put(key, &value, ttl_ms, patience).await;
                drop(core.end_write(write, reply));
            }
            (write, _, turn) => {
                self.forgo(turn, "").await;
                if let Some(write) = write {
                    write.queue(false);
                }
            }
        }
        Ok(Some(answer))
    }

    /// Gives a turn back. Whoever waits for it is told the reason, or with an empty one looks again.
    async fn forgo(&self, turn: Option<Turn>, reason: &str) {
        if let (Some(l2), Some(turn)) = (&self.core.l2, turn) {
            l2.forgo(turn, reason, self.core.options.l2_timeout).await;
        }
    }
}
