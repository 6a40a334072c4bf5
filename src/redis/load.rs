//! `get_or_load`: of many callers that miss one key, in this process and in all others, one loads it.
//!
//! Left to others: who loads and who waits in this process (`flight`), whose turn it is among processes
//! (`lease`).
//!
//! # Protocol
//! ```text
//! look ── miss ── join ─┬─ landed: what another caller of this process got
//!                       └─ lead ── claim ─┬─ busy: wait for the value, look and claim again
//!                                         ├─ it is there by now
//!                                         └─ load ── fill
//! ```
//! The claim takes the lease and looks at the value, the fill ends the lease and stores, each in one script:
//! - the value is stored only where the lease is still ours: not by an owner who was stopped for so long
//!   that another took over, and not after a deletion, which voids the lease;
//! - and only where the key holds what it held at the claim: a value that somebody stored meanwhile is newer.
//!
//! Where nothing is stored the callers get what was loaded all the same, as their calls overlap. Stamps of
//! tags are read before the load: an invalidation during it is seen by the value's first reader.
//!
//! While the slot of a key moves to another node of a Cluster, no script can look at value and lease at once.
//! Then both are done in steps, in an order in which nothing is stored across a removal for good.
//!
//! Inside of a loader nobody waits for a lease: who finds another's shares it and loads too, so that
//! processes can't wait for each other in a circle. So do all with `single_flight=process`.

mod turn;

use std::time::{Duration, Instant};

use ::redis::Value as Reply;

pub(crate) use self::turn::{Claimed, Turn};
use super::RedisCache;
use super::bell::Vigil;
use super::commands::{integer, remaining, surprise};
use super::lease::{Kept, LEASE, Lease};
use super::lifetime::Lifetime;
use super::line::{Line, now};
use super::presence::Settled;
use super::scripts::{self, Invocation};
use super::tags::distinct;
use crate::envelope::{About, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::{self, Cancellable, Joined};
use crate::key::check_key;
use crate::ops::{BoxFuture, Loaded, Loader, OwnedLoader, Remaining, SetOptions, Ttl};
use crate::runtime;
use crate::stats::Counter;
use crate::value::Value;

/// A bound that is never reached.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a look at the server found.
enum Look {
    /// A value; `due` where it should be loaded anew.
    Fresh { value: Value, due: bool },
    /// It is remembered that there is none.
    Negative,
    /// Nothing, or a value that may be served should the load fail.
    Missing(Option<Value>),
}

/// What a leader knew when its load began.
struct Begun {
    kept: Option<Kept>,
    look: Look,
    /// Of the bytes that were there.
    hash: Vec<u8>,
    tags: Vec<Tag>,
}

enum Claim {
    /// The load may begin.
    Begun(Begun),
    /// Another process loads, for this long as it seems.
    Busy(Duration),
}

impl Begun {
    fn with(look: Look) -> Self {
        Self { kept: None, look, hash: Vec::new(), tags: Vec::new() }
    }

    /// The answer, where nothing is to be loaded any more.
    fn answered(&self) -> Option<Option<Value>> {
        match &self.look {
            Look::Fresh { value, due: false } => Some(Some(value.clone())),
            Look::Negative => Some(None),
            Look::Fresh { due: true, .. } | Look::Missing(_) => None,
        }
    }
}

/// One call's arguments.
#[derive(Clone, Copy)]
struct Call<'a> {
    key: &'a [u8],
    options: &'a SetOptions,
    /// When the caller wants to wait no longer.
    until: Option<Instant>,
    /// It comes from inside of a loader.
    nested: bool,
}

impl<'a> Call<'a> {
    fn new(cache: &RedisCache, key: &'a [u8], options: &'a SetOptions) -> Result<Self> {
        check_key(key)?;
        if !distinct(&options.tags)?.is_empty() {
            cache.shared.keyspace.needs_envelope()?;
            cache.shared.keyspace.needs_prefix()?;
        }
        cache.shared.lifetime(options.ttl, options.stale)?;
        let until = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Self { key, options, until, nested: flight::inside_a_loader() })
    }

    /// For a value that is only due: where another loads it that is left to them, also inside of a loader.
    fn unhurried(self) -> Self {
        Self { nested: false, ..self }
    }

    fn until(&self) -> Instant {
        self.until.unwrap_or_else(|| Instant::now() + LONG)
    }
}

impl RedisCache {
    pub(super) fn load_once(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
        owned: Option<&OwnedLoader>,
    ) -> Result<Option<Value>> {
        runtime::refuse_library_thread()?;
        let call = Call::new(self, key, options)?;
        match now(self.shared.blocking_line(options.timeout).look_up(&call))? {
            Look::Fresh { value, due: false } => return Ok(Some(value)),
            Look::Fresh { value, due: true } => {
                self.reload(&call, load, owned);
                return Ok(Some(value));
            }
            Look::Negative => return Ok(None),
            Look::Missing(_) => {}
        }
        match self.shared.flights.join(key, call.until)? {
            Joined::Landed(result) => {
                self.shared.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => {
                let result = self.claim(&call).and_then(|begun| self.lead(&call, begun, load));
                lead.land(result.clone());
                result
            }
        }
    }

    /// As [`RedisCache::load_once`] for tasks. A value that is due is loaded anew by who finds it so, before
    /// its call ends.
    pub(super) async fn load_once_async(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: BoxFuture<'_, Result<Option<Loaded>>>,
    ) -> Result<Option<Value>> {
        let call = Call::new(self, key, options)?;
        let shared = &self.shared;
        let due = match shared.task_line(options.timeout).look_up(&call).await? {
            Look::Fresh { value, due } if !due || shared.flights.is_loading(key) => {
                return Ok(Some(value));
            }
            Look::Fresh { value, .. } => Some(value),
            Look::Negative => return Ok(None),
            Look::Missing(_) => None,
        };
        let call = if due.is_some() { call.unhurried() } else { call };
        match shared.flights.join_async(key).await? {
            Joined::Landed(result) => {
                shared.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(turn) => {
                let turn = Cancellable::new(turn);
                let loading = async {
                    let first = shared.task_line(options.timeout).claim(&call).await?;
                    let begun = match (first, due) {
                        // Another process does it already.
                        (Claim::Busy(_), Some(value)) => return Ok(Some(value)),
                        (first, _) => self.await_turn(&call, first).await?,
                    };
                    match begun.answered() {
                        Some(answer) => Ok(answer),
                        None => {
                            let loaded = turn.inside(load).await;
                            let line = shared.task_line(options.timeout);
                            line.end(&call, begun, loaded).await
                        }
                    }
                };
                let result = loading.await;
                turn.land(result.clone());
                result
            }
        }
    }

    /// Waits for the turn of this process to load.
    fn claim(&self, call: &Call<'_>) -> Result<Begun> {
        let line = self.shared.blocking_line(call.options.timeout);
        match now(line.claim(call))? {
            Claim::Begun(begun) => Ok(begun),
            busy => {
                // A little later than the wait itself, which knows what to say.
                let bound = call.until() + Duration::from_millis(20);
                runtime::block_on(bound, self.await_turn(call, busy)).and_then(|begun| begun)
            }
        }
    }

    async fn await_turn(&self, call: &Call<'_>, mut claim: Claim) -> Result<Begun> {
        let channel = self.shared.lease(call.key)?.map(|lease| lease.channel).unwrap_or_default();
        let until = call.until();
        let mut vigil = Vigil::new(&self.shared, &channel, until);
        loop {
            let rest = match claim {
                Claim::Begun(begun) => return Ok(begun),
                Claim::Busy(rest) => rest,
            };
            if let Some(reason) = vigil.round(rest).await
                && !reason.is_empty()
            {
                self.shared.counters.count(Counter::Coalesced);
                return self.after_failure(call, &reason).await.map(Begun::with);
            }
            if Instant::now() >= until {
                let late = "another process is still loading the value";
                return Err(Error::new(ErrorKind::Timeout, late));
            }
            // Looking comes first: of many who wait none is to take the lease in vain.
            let line = self.shared.task_line(None);
            claim = match line.look_again(call).await? {
                look @ (Look::Fresh { due: false, .. } | Look::Negative) => {
                    self.shared.counters.count(Counter::Coalesced);
                    Claim::Begun(Begun::with(look))
                }
                _ => line.claim(call).await?,
            };
        }
    }

    /// What a waiter gets when the load that it waited for failed: what is there, if only a stale value.
    async fn after_failure(&self, call: &Call<'_>, reason: &[u8]) -> Result<Look> {
        match self.shared.task_line(None).look_again(call).await {
            Ok(Look::Missing(Some(value))) => {
                self.shared.counters.count(Counter::StaleServed);
                Ok(Look::Fresh { value, due: false })
            }
            Ok(Look::Fresh { value, .. }) => Ok(Look::Fresh { value, due: false }),
            Ok(Look::Negative) => Ok(Look::Negative),
            Ok(Look::Missing(None)) | Err(_) => {
                let reason = String::from_utf8_lossy(reason);
                let why = format!("the load of another process failed: {reason}");
                Err(Error::new(ErrorKind::Loader, why))
            }
        }
    }

    /// Loads, and stores what was loaded.
    fn lead(&self, call: &Call<'_>, begun: Begun, load: &mut Loader<'_>) -> Result<Option<Value>> {
        if let Some(answer) = begun.answered() {
            return Ok(answer);
        }
        let loaded = load(call.key);
        now(self.shared.blocking_line(call.options.timeout).end(call, begun, loaded))
    }

    /// Loads a value anew while others get the present one: on a thread of its own where the loader owns
    /// what it needs, else here. Nowhere where another does it already, here or in another process.
    fn reload(&self, call: &Call<'_>, load: &mut Loader<'_>, owned: Option<&OwnedLoader>) {
        let Some(owned) = owned else {
            self.reload_now(call, load);
            return;
        };
        if self.shared.flights.is_loading(call.key) {
            return;
        }
        let (cache, key, options, load) =
            (self.clone(), call.key.to_vec(), call.options.clone(), owned.clone());
        // Where so many reload already, or without a thread, the next reader tries again.
        flight::in_background(move || {
            if let Ok(call) = Call::new(&cache, &key, &options) {
                cache.reload_now(&call, &mut |key| load(key));
            }
        });
    }

    fn reload_now(&self, call: &Call<'_>, load: &mut Loader<'_>) {
        let Some(lead) = self.shared.flights.try_lead(call.key) else { return };
        let call = &call.unhurried();
        let line = self.shared.blocking_line(call.options.timeout);
        let result = match now(line.claim(call)) {
            Ok(Claim::Begun(begun)) => self.lead(call, begun, load),
            // Whoever waits for this flight looks again.
            Ok(Claim::Busy(_)) => return lead.give_up(),
            Err(error) => Err(error),
        };
        lead.land(result);
    }
}

impl Line<'_> {
    /// What the server has for the key; counted as a hit or a miss.
    async fn look_up(&self, call: &Call<'_>) -> Result<Look> {
        let look = self.look_again(call).await;
        self.counted(look, |look| {
            let hit = matches!(look, Look::Fresh { .. });
            Some(if hit { Counter::Hits } else { Counter::Misses })
        })
    }

    async fn look_again(&self, call: &Call<'_>) -> Result<Look> {
        match self.fetch(call.key).await {
            // It is there to be replaced.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.shared().counters.count(Counter::Errors);
                Ok(Look::Missing(None))
            }
            found => Ok(self.judge_for_load(call, found?)),
        }
    }

    fn judge_for_load(&self, call: &Call<'_>, found: Option<Settled>) -> Look {
        match found {
            None => Look::Missing(None),
            Some(found) if found.negative => {
                if found.stale {
                    Look::Missing(None)
                } else {
                    Look::Negative
                }
            }
            Some(found) if found.stale => Look::Missing(Some(found.value)),
            Some(found) => {
                let common = &self.shared().common;
                let due = match (common.refresh_ahead, found.remaining) {
                    (Some(share), Remaining::For(left)) => {
                        let ttl = common.ttls().said(call.options.ttl).ok().flatten();
                        ttl.is_some_and(|ms| (left.as_millis() as f64) < ms as f64 * (1.0 - share))
                    }
                    _ => false,
                };
                Look::Fresh { value: found.value, due }
            }
        }
    }

    /// Takes the turn to load, where no other process has it, and looks again: the load before this one
    /// may have ended meanwhile.
    async fn claim(&self, call: &Call<'_>) -> Result<Claim> {
        let lease = self.shared().lease(call.key)?;
        let share = call.nested || !self.shared().common.fleet_flight;
        let mut parts = match self.ask_for(call, lease.as_ref(), share).await? {
            Reply::Int(rest) if !share => {
                let rest = u64::try_from(rest).map_or(LEASE, Duration::from_millis);
                return Ok(Claim::Busy(rest));
            }
            Reply::Array(parts) if !parts.is_empty() => parts,
            _ => return Err(surprise("no claim")),
        };
        let found = parts.split_off(1);
        let Some(Reply::BulkString(token)) = parts.pop() else { return Err(surprise("no token")) };
        let mut begun = Begun::with(Look::Missing(None));
        begun.kept = lease.map(|lease| lease.keep(token));
        if !found.is_empty() {
            let Ok([left, Reply::BulkString(stored), Reply::BulkString(hash)]) =
                <[Reply; 3]>::try_from(found)
            else {
                return Err(surprise("no value with its time"));
            };
            begun.hash = hash;
            let left = remaining(left)?.unwrap_or(Remaining::For(Duration::ZERO));
            begun.look = match self.stand(call.key, stored, left).await {
                Ok(found) => self.judge_for_load(call, found),
                // It is there to be replaced.
                Err(error) if error.kind() == ErrorKind::Corrupt => Look::Missing(None),
                Err(error) => return Err(error),
            };
        }
        if begun.answered().is_none() && !call.options.tags.is_empty() {
            let lifetime = self.shared().lifetime(call.options.ttl, call.options.stale)?;
            begun.tags = self.stamps(&distinct(&call.options.tags)?, lifetime.kept_ms()).await?;
        }
        Ok(Claim::Begun(begun))
    }

    async fn ask_for(&self, call: &Call<'_>, lease: Option<&Lease>, share: bool) -> Result<Reply> {
        let claim = scripts::CLAIM.call(self.keyspace().full_key(call.key));
        let Some(lease) = lease else { return self.run(&claim, false).await };
        let with = |script: Invocation<'static>| {
            let script = script.arg(lease.token.clone()).number(LEASE.as_millis());
            script.number(u8::from(share))
        };
        if let Some(reply) = self.run_for_two(&with(claim.clone().also(lease.key.clone()))).await? {
            return Ok(reply);
        }
        // The lease first: what is stored before it is taken is seen by the look, what later by the fill.
        let take = with(scripts::TAKE.call(lease.key.clone()));
        let token = match self.run(&take, false).await? {
            token @ Reply::BulkString(_) => token,
            // Shared, and gone at this moment.
            Reply::Nil => return Err(surprise("no lease")),
            rest => return Ok(rest),
        };
        let Reply::Array(mut parts) = self.run(&claim, false).await? else {
            return Err(surprise("no claim"));
        };
        if let Some(first) = parts.first_mut() {
            *first = token;
        }
        Ok(Reply::Array(parts))
    }

    /// Stores what was loaded, if it is still wanted; the answer for all who asked.
    async fn end(
        &self,
        call: &Call<'_>,
        mut begun: Begun,
        loaded: Result<Option<Loaded>>,
    ) -> Result<Option<Value>> {
        let kept = begun.kept.take();
        match loaded {
            Ok(Some(loaded)) => self.keep(call, begun, kept, loaded).await,
            Ok(None) => {
                self.keep_none(call, begun, kept).await;
                Ok(None)
            }
            Err(error) => {
                if let Some(kept) = kept {
                    kept.fail(self, error.message()).await;
                }
                match begun.look {
                    // It was to be loaded anew, and is good as it is.
                    Look::Fresh { value, .. } => Ok(Some(value)),
                    Look::Missing(Some(old)) => {
                        self.shared().counters.count(Counter::StaleServed);
                        Ok(Some(old))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    async fn keep(
        &self,
        call: &Call<'_>,
        begun: Begun,
        kept: Option<Kept>,
        loaded: Loaded,
    ) -> Result<Option<Value>> {
        let Loaded { value, options: own } = loaded;
        let shared = self.shared();
        // Too large for this cache, but not for its caller.
        if value.len() > shared.common.max_value_bytes {
            return Value::from_vec(value, 0).map(Some);
        }
        let options = own.as_ref().unwrap_or(call.options);
        let lifetime = shared.lifetime(options.ttl, options.stale)?;
        let storing = async {
            let tags = match &own {
                None => begun.tags,
                Some(own) => {
                    // Named only now: what was invalidated during the load is not known.
                    let tags = distinct(&own.tags)?;
                    if tags.is_empty() {
                        Vec::new()
                    } else {
                        self.keyspace().needs_envelope()?;
                        self.stamps(&tags, lifetime.kept_ms()).await?
                    }
                }
            };
            let about = About { stale_ms: lifetime.stale_ms, tags, negative: false };
            let stored = self.keyspace().envelope.encode(call.key, &value, &about)?.to_vec();
            self.fill(call.key, stored, lifetime, &begun.hash, kept).await
        };
        // The callers get the value whether or not it could be stored.
        match storing.await {
            Ok(true) => shared.counters.count(Counter::Sets),
            Ok(false) => {}
            Err(_) => shared.counters.count(Counter::Errors),
        }
        Value::from_vec(value, 0).map(Some)
    }

    /// Remembers that there is no value, if so configured; an old one goes in any case.
    async fn keep_none(&self, call: &Call<'_>, begun: Begun, kept: Option<Kept>) {
        let shared = self.shared();
        let storing = async {
            let ttl = Ttl::After(shared.common.negative_ttl);
            let lifetime = Lifetime::plain(shared.common.ttls().draw(ttl)?);
            let stored = if lifetime.is_over() {
                Vec::new()
            } else {
                let about = About { stale_ms: None, tags: begun.tags, negative: true };
                self.keyspace().envelope.encode(call.key, b"", &about)?.to_vec()
            };
            self.fill(call.key, stored, lifetime, &begun.hash, kept).await
        };
        if storing.await.is_err() {
            shared.counters.count(Counter::Errors);
        }
    }

    /// Ends a load with `stored`; whether that is there now.
    async fn fill(
        &self,
        key: &[u8],
        stored: Vec<u8>,
        lifetime: Lifetime,
        hash: &[u8],
        kept: Option<Kept>,
    ) -> Result<bool> {
        let lease = kept.and_then(Kept::take);
        let token: &[u8] = lease.as_ref().map_or(&[], |lease| &lease.token);
        let fill = |stored: Vec<u8>, ttl_ms, hash: Vec<u8>| {
            let call = scripts::FILL.call(self.keyspace().full_key(key));
            call.arg(token).arg(stored).ttl(ttl_ms).arg(hash)
        };
        let call = fill(stored.clone(), lifetime.kept_ms(), hash.to_vec());
        let Some(lease) = &lease else { return Ok(integer(self.run(&call, false).await?)? > 0) };
        let whole = call.clone().also(&lease.key[..]).arg(&lease.channel[..]);
        if let Some(reply) = self.run_for_two(&whole).await? {
            return Ok(integer(reply)? > 0);
        }
        // In steps: where the lease was lost before the last of them, the value goes again.
        if !lease.renewed(self).await? {
            return Ok(false);
        }
        let kept = integer(self.run(&call, false).await?)? > 0;
        if lease.forgo(self, "").await? {
            return Ok(kept);
        }
        let hash = sha1_smol::Sha1::from(&stored).digest().to_string().into_bytes();
        self.run(&fill(Vec::new(), Some(0), hash), false).await?;
        Ok(false)
    }
}
