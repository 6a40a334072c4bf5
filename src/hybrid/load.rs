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
//! - The stamps of tags are read, and tags marked, before the load: what is invalidated during it is absent for
//!   its first reader.
//! - If L2 goes away during the load, what was loaded is stored in L1 and queued, as any write.
//! - **A loader that finds none** takes an old value out, and that is remembered for `negative_ttl`: in L2, where
//!   other processes read it, and while L2 is away in L1 alone.
//! - **A loader that fails**, or an L2 that does, leaves the callers with the value that is past its TTL and within
//!   its stale window, if there is one.
//! - **Refresh ahead.** Who finds a value past the share of its TTL tries to lead, and leaves it at that where
//!   another caller or process loads already; meanwhile and if the load fails the present value is good.
//!
//! All who asked get what was loaded in any case.
//!
//! Left to others: who leads and who waits in this process (`flight`), whose turn it is among processes, and
//! what wakes them (`redis`).

use std::time::Instant;

use super::HybridCache;
use super::conditions::{Conditions, Span};
use super::core::{Core, Verdict};
use super::queue::{Because, Look};
use super::read::Hit;
use super::stripes::{ReadToken, WriteToken};
use super::world::{System, World};
use crate::error::{Error, Result};
use crate::flight::{self, Cancellable, Joined, Load};
use crate::key::check_key;
use crate::local::Held;
use crate::ops::{
    BlockingCache, BoxFuture, ByteCache, Loaded, Loader, OwnedLoader, SetOptions, Tier, Ttl,
};
use crate::redis::{Claimed, Turn};
use crate::stats::Counter;
use crate::value::{TagMark, Value};

/// What a look found.
enum Seen {
    /// A value; `due` where it should be loaded anew.
    Fresh { value: Value, due: bool },
    /// It is remembered that there is none.
    Negative,
    /// Nothing, or a value that may be served should the load fail.
    Missing(Option<Value>),
}

/// What a leader finds before it loads.
enum Found {
    /// Nothing has to be loaded.
    Answer(Option<Value>),
    /// It may load.
    Mine(Begun),
    /// Another process does it already, and the present value is good.
    Taken,
}

/// What a leader knew when its load began.
struct Begun {
    /// L2's, where that could be asked.
    turn: Option<Turn>,
    /// What is served should the load fail, and whether it is past its TTL.
    old: Option<(Value, bool)>,
    /// The tags that the call names.
    tags: Vec<TagMark>,
    token: ReadToken,
}

/// One call's arguments.
#[derive(Clone, Copy)]
struct Call<'a> {
    key: &'a [u8],
    options: &'a SetOptions,
    /// It comes from inside of a loader.
    nested: bool,
    /// The present value is good, and only due.
    due: bool,
}

/// What was loaded has begun as a write that says that there is none. It lets go of the key in L1.
struct Emptying<'a> {
    core: &'a Core<System>,
    key: &'a [u8],
    token: Option<WriteToken>,
}

impl Drop for Emptying<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.core.let_go(self.key, Because::Own);
            let _ = self.core.stripes.finish(token);
        }
    }
}

impl HybridCache {
    pub(super) fn load_once(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
        owned: Option<&OwnedLoader>,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        if core.l2.is_none() {
            return match owned {
                Some(owned) => {
                    BlockingCache::get_or_load_owned(&core.l1, key, options, owned.clone())
                }
                None => BlockingCache::get_or_load(&core.l1, key, options, load),
            };
        }
        let call = self.call(key, options)?;
        match self.looked(self.find(key)?, options) {
            Seen::Fresh { value, due: false } => return Ok(Some(value)),
            Seen::Fresh { value, due: true } => {
                self.reload(call, load, owned);
                return Ok(Some(value));
            }
            Seen::Negative => return Ok(None),
            Seen::Missing(_) => {}
        }
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match core.flights.join(key, deadline)? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => {
                let result = match self.wait(self.begin(call)) {
                    Ok(found) => self.lead(call, found, load),
                    Err(error) => Err(error),
                };
                lead.land(result.clone());
                result
            }
        }
    }

    /// As [`HybridCache::load_once`] for tasks. A value that is due is loaded anew by who finds it so, before
    /// its call ends.
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
        let call = self.call(key, options)?;
        let hit = core.find_within(key, core.options.l2_timeout).await?;
        let present = match self.looked(hit, options) {
            Seen::Fresh { value, due } if !due || core.flights.is_loading(key) => {
                return Ok(Some(value));
            }
            Seen::Fresh { value, .. } => Some(value),
            Seen::Negative => return Ok(None),
            Seen::Missing(_) => None,
        };
        let call = Call { due: present.is_some(), ..call };
        match core.flights.join_async(key).await? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(turn) => {
                let lead = Cancellable::new(turn);
                let result = match self.begin(call).await {
                    Ok(Found::Answer(answer)) => Ok(answer),
                    Ok(Found::Taken) => Ok(present),
                    Ok(Found::Mine(begun)) => {
                        let loaded = lead.inside(load).await;
                        self.end(call, begun, loaded).await
                    }
                    Err(error) => Err(error),
                };
                lead.land(result.clone());
                result
            }
        }
    }

    fn call<'a>(&self, key: &'a [u8], options: &'a SetOptions) -> Result<Call<'a>> {
        check_key(key)?;
        if let Some(l2) = &self.core.l2 {
            l2.distinct_tags(&options.tags)?;
            l2.lifetime(options.ttl, options.stale)?;
        }
        Ok(Call { key, options, nested: flight::inside_a_loader(), due: false })
    }

    /// What a read found, which counts it.
    fn looked(&self, hit: Option<Hit>, options: &SetOptions) -> Seen {
        if hit.as_ref().is_some_and(|hit| hit.held == Held::Stale && hit.tier == Tier::L1) {
            self.core.counters.count(Counter::Misses);
        }
        self.seen(hit, options)
    }

    /// What a read found, for a load.
    fn seen(&self, hit: Option<Hit>, options: &SetOptions) -> Seen {
        let Some(hit) = hit else { return Seen::Missing(None) };
        match hit.held {
            Held::Negative => Seen::Negative,
            Held::Stale => Seen::Missing(Some(hit.value)),
            Held::Fresh => {
                let due = match (self.core.refresh_ahead(), hit.whole_ms) {
                    (Some(share), Some(left)) => {
                        let ttl = options.ttl.resolve(self.core.ttls.default).ok().flatten();
                        ttl.is_some_and(|ms| (left as f64) < ms as f64 * (1.0 - share))
                    }
                    _ => false,
                };
                Seen::Fresh { value: hit.value, due }
            }
        }
    }

    /// What this process has of the key without L2; counts as no read.
    fn seen_here(&self, call: Call<'_>) -> Seen {
        let core = &self.core;
        match core.queue.look(call.key, core.world.now_ms()) {
            Look::Holds(value, _) if value.marks().iter().all(TagMark::holds) => {
                return Seen::Fresh { value, due: false };
            }
            Look::Holds(..) | Look::Gone => return Seen::Missing(None),
            Look::Nothing | Look::AsInL1 => {}
        }
        let Some(entry) = core.held(call.key) else { return Seen::Missing(None) };
        let vouched = core.vouches(entry.stamp) && entry.held != Held::Stale;
        if vouched || !core.breaker.allows() && core.serves_unproven() {
            return self.seen(Some(Hit::of_l1(entry, !vouched)), call.options);
        }
        Seen::Missing((entry.held == Held::Stale).then_some(entry.value))
    }

    /// Looks once more, as the load before this one may have ended meanwhile, and waits for the turn.
    async fn begin(&self, call: Call<'_>) -> Result<Found> {
        let Call { key, options, nested, due } = call;
        let core = &self.core;
        let old = match self.seen_here(call) {
            Seen::Fresh { value, due: false } => return Ok(Found::Answer(Some(value))),
            Seen::Negative => return Ok(Found::Answer(None)),
            Seen::Fresh { value, due: true } => Some((value, false)),
            Seen::Missing(old) => old.map(|value| (value, true)),
        };
        let alone = |old| {
            let tags = core.l1.marks(&options.tags);
            Begun { turn: None, old, tags, token: core.stripes.begin_read(key) }
        };
        // What waits in the queue is newer than what L2 holds.
        let in_order = matches!(core.queue.look(key, core.world.now_ms()), Look::Nothing)
            && core.tagged.len() == 0;
        let Some(l2) = core.leg().filter(|_| in_order) else { return Ok(Found::Mine(alone(old))) };
        let patience = core.options.l2_timeout;
        let claimed = match due {
            true => l2.take_free_turn(key, options, patience).await,
            false => l2.take_turn(key, options, nested, patience).await,
        };
        match claimed {
            Ok(claimed) => {
                core.breaker.succeeded();
                match claimed {
                    Claimed::Turn(turn) => {
                        let old = turn.old();
                        Ok(Found::Mine(Begun { turn: Some(turn), ..alone(old) }))
                    }
                    Claimed::There { value, waited } => {
                        if waited {
                            core.counters.count(Counter::Coalesced);
                        }
                        Ok(Found::Answer(value))
                    }
                    Claimed::Taken => Ok(Found::Taken),
                    Claimed::Failed(error) => Err(error),
                }
            }
            Err(error) => match core.judge(&error) {
                Verdict::Away { .. } | Verdict::Corrupt => Ok(Found::Mine(alone(old))),
                Verdict::Fails => Err(error),
            },
        }
    }

    /// Loads, and keeps what was loaded.
    fn lead(&self, call: Call<'_>, found: Found, load: &mut Loader<'_>) -> Result<Option<Value>> {
        match found {
            Found::Answer(answer) => Ok(answer),
            Found::Taken => Ok(None),
            Found::Mine(begun) => {
                let loaded = load(call.key);
                self.wait(self.end(call, begun, loaded))
            }
        }
    }

    /// Loads a value anew while others get the present one: on a thread of its own where the loader owns
    /// what it needs, else here. Nowhere where another does it already, here or in another process.
    fn reload(&self, call: Call<'_>, load: &mut Loader<'_>, owned: Option<&OwnedLoader>) {
        let Some(owned) = owned else {
            if let Some(lead) = self.core.flights.try_lead(call.key) {
                self.reload_now(lead, call, load);
            }
            return;
        };
        if self.core.flights.is_loading(call.key) {
            return;
        }
        let (cache, key, options, load) =
            (self.clone(), call.key.to_vec(), call.options.clone(), owned.clone());
        // Where so many reload already, or without a thread, the next reader tries again.
        flight::in_background(move || {
            if let Ok(call) = cache.call(&key, &options)
                && let Some(lead) = cache.core.flights.try_lead(&key)
            {
                cache.reload_now(lead, call, &mut |key| load(key));
            }
        });
    }

    fn reload_now(&self, lead: Load<'_, Option<Value>>, call: Call<'_>, load: &mut Loader<'_>) {
        let call = Call { due: true, ..call };
        let result = match self.wait(self.begin(call)) {
            // Whoever waits for this flight looks again.
            Ok(Found::Taken) => return lead.give_up(),
            Ok(found) => self.lead(call, found, load),
            Err(error) => Err(error),
        };
        lead.land(result);
    }

    /// Keeps what was loaded, if it is still wanted; the answer for all who asked.
    async fn end(
        &self,
        call: Call<'_>,
        begun: Begun,
        loaded: Result<Option<Loaded>>,
    ) -> Result<Option<Value>> {
        match loaded {
            Ok(Some(loaded)) => self.keep(call, begun, loaded).await,
            Ok(None) => {
                self.keep_none(call, begun).await;
                Ok(None)
            }
            Err(error) => {
                self.forgo(begun.turn, error.message()).await;
                self.served_instead(begun.old, error)
            }
        }
    }

    /// What the callers of a load that failed get.
    fn served_instead(&self, old: Option<(Value, bool)>, error: Error) -> Result<Option<Value>> {
        match old {
            Some((value, stale)) => {
                if stale {
                    self.core.counters.count(Counter::StaleServed);
                }
                Ok(Some(value))
            }
            None => Err(error),
        }
    }

    async fn keep(&self, call: Call<'_>, begun: Begun, loaded: Loaded) -> Result<Option<Value>> {
        let core = &self.core;
        let Begun { turn, tags, token, .. } = begun;
        let Some(l2) = &core.l2 else { return Value::from_vec(loaded.value, 0).map(Some) };
        let Loaded { value, options: own } = loaded;
        let options = own.as_ref().unwrap_or(call.options);
        let lifetime = l2.lifetime(options.ttl, options.stale)?;
        let named = match &own {
            // Named only now: what was invalidated during the load is not known.
            Some(own) => Some(l2.distinct_tags(&own.tags)?),
            None => None,
        };
        let answer = Value::copy_from(&value)?;
        let tags = named.map_or(tags, |named| core.marks(&named));
        let some = lifetime.stale_ms.is_some() || !tags.is_empty();
        let conditions = some.then(|| Conditions {
            window_ms: lifetime.stale_ms,
            // Without a turn there are no stamps either.
            waits: turn.is_none() && !tags.is_empty(),
            tags,
        });
        // Too large for this cache, or over already, but not for its caller.
        let wanted = value.len() <= core.max_value_bytes && !lifetime.is_over();
        let write = match wanted {
            true => {
                core.begin_set_after(call.key, &value, lifetime.ttl_ms, conditions.as_ref(), token)?
            }
            false => None,
        };
        let patience = core.options.l2_timeout;
        match (write, turn) {
            (Some(write), Some(turn)) if write.goes() => {
                let named = own.as_ref().map(|own| &own.tags[..]);
                match l2.fill(call.key, turn, &value, lifetime, named, patience).await {
                    // Another process has stored something newer, or removed the key.
                    Ok(false) => write.overtaken(),
                    // What L2 refused is not kept, and its caller has the value all the same.
                    reply => drop(core.end_write(write, reply)),
                }
            }
            (Some(write), None) if write.goes() => {
                let reply =
                    l2.put_async(call.key, &value, lifetime, &[], Instant::now() + patience).await;
                drop(core.end_write(write, reply));
            }
            (write, turn) => {
                self.forgo(turn, "").await;
                if let Some(write) = write {
                    write.queue(false);
                }
            }
        }
        Ok(Some(answer))
    }

    /// Remembers that there is no value, if so configured; an old one goes in any case.
    async fn keep_none(&self, call: Call<'_>, begun: Begun) {
        let core = &self.core;
        let Begun { turn, tags, token, .. } = begun;
        let (Some(l2), Some(turn)) = (&core.l2, turn) else {
            self.keep_none_here(call.key, &tags, token);
            return;
        };
        let Some(write) = core.stripes.begin_write_after(call.key, token) else {
            self.forgo(Some(turn), "").await;
            return;
        };
        let _emptying = Emptying { core, key: call.key, token: Some(write) };
        match l2.fill_none(call.key, turn, core.options.l2_timeout).await {
            Ok(_) => core.breaker.succeeded(),
            Err(error) => drop(core.judge(&error)),
        }
    }

    /// The same without L2.
    fn keep_none_here(&self, key: &[u8], tags: &[TagMark], token: ReadToken) {
        let core = &self.core;
        let valid = || core.stripes.may_fill(key, token);
        core.l1.remove_if(key, valid);
        let Some(common) = core.l2.as_ref().map(|l2| l2.common()) else { return };
        let ttl_ms = Ttl::After(common.negative_ttl).resolve(None).ok().flatten();
        let left_ms = ttl_ms.map(|ms| core.ttls.shortened(ms));
        if left_ms != Some(0) {
            let span = Span { negative: true, ..Span::plain(left_ms) };
            // Without memory it is asked for again, which is all that this saves.
            let _ = core.keep(key, b"", &span, tags, core.trust.epoch(), valid);
        }
    }

    /// Gives a turn back. Whoever waits for it is told the reason, or with an empty one looks again.
    async fn forgo(&self, turn: Option<Turn>, reason: &str) {
        if let (Some(l2), Some(turn)) = (&self.core.l2, turn) {
            l2.forgo(turn, reason, self.core.options.l2_timeout).await;
        }
    }
}
