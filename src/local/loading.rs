//! `get_or_load`: of many callers that miss one key, one loads it.
//!
//! Left to others: who loads and who waits (`flight`), how long the value lives (`lifetime`).
//!
//! # Protocol
//! Who leads a flight notes the key's void count, looks into the cache again, runs the loader with nothing
//! held, and stores what it got only if under the shard's lock
//! - the void count is the same: no call has removed the key (or one that shares its count) meanwhile, so
//!   a value that was loaded before a deletion does not come back after it;
//! - the key holds what it held when the load began: a value that somebody has stored meanwhile is newer.
//!
//! Who removes adds to the void count first and takes the shard's lock then. So either the leader sees
//! the new count, or what it stored is removed. Tags are marked before the load: an invalidation during
//! it is seen by the entry's first reader.
//!
//! Where nothing is stored the callers get what was loaded all the same: their calls overlap the removal.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire},
};
use std::time::Instant;

use super::LocalCache;
use super::lifetime::Standing;
use super::store::{KeyHash, Writing};
use super::tags;
use crate::error::{ErrorKind, Result};
use crate::flight::{self, Cancellable, Joined, Load};
use crate::fork;
use crate::key::check_key;
use crate::ops::{BoxFuture, Loaded, Loader, OwnedLoader, SetOptions};
use crate::stats::Counter;
use crate::value::{NEVER, TagMark, Value};

const COUNTS: usize = 256;

/// How often a key was removed by a call; keys share counts.
pub(super) struct Voids([AtomicU32; COUNTS]);

impl Default for Voids {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; COUNTS])
    }
}

impl Voids {
    fn of(&self, hash: KeyHash) -> &AtomicU32 {
        &self.0[hash.in_shard() as usize % COUNTS]
    }

    /// Loads of this key that are under way are not to be stored.
    #[inline]
    pub(super) fn add(&self, hash: KeyHash) {
        self.of(hash).fetch_add(1, AcqRel);
    }

    /// No load that is under way is to be stored.
    pub(super) fn add_all(&self) {
        for count in &self.0 {
            count.fetch_add(1, AcqRel);
        }
    }
}

/// What a look into the cache found.
enum Look {
    /// A value; `due` where it should be loaded anew.
    Fresh { value: Value, due: bool },
    /// It is remembered that there is none.
    Negative,
    /// Nothing, or a value that is past its TTL.
    Missing(Option<Value>),
}

impl Look {
    /// The entry that a new one may replace.
    fn old(&self) -> Option<&Value> {
        match self {
            Self::Fresh { value, .. } | Self::Missing(Some(value)) => Some(value),
            Self::Negative | Self::Missing(None) => None,
        }
    }
}

/// What a leader knew when its load began.
struct Begun {
    hash: KeyHash,
    voids: u32,
    marks: Vec<TagMark>,
    look: Look,
}

impl Begun {
    /// The answer, where nothing is to be loaded any more.
    fn answered(&self) -> Option<Option<Value>> {
        match &self.look {
            Look::Fresh { value, due: false } => Some(Some(value.clone())),
            Look::Negative => Some(None),
            Look::Fresh { due: true, .. } | Look::Missing(_) => None,
        }
    }
}

impl LocalCache {
    pub(super) fn load_once(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
        owned: Option<&OwnedLoader>,
    ) -> Result<Option<Value>> {
        check_key(key)?;
        tags::check(&options.tags)?;
        self.0.lifetimes.ttls.said(options.ttl)?;
        match self.look(key, true) {
            Look::Fresh { value, due: false } => return Ok(Some(value)),
            Look::Fresh { value, due: true } => {
                self.reload(key, options, load, owned);
                return Ok(Some(value));
            }
            Look::Negative => return Ok(None),
            Look::Missing(_) => {}
        }
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match self.0.flights.join(key, deadline)? {
            Joined::Landed(result) => {
                self.0.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => self.lead(lead, key, options, load),
        }
    }

    /// As [`LocalCache::load_once`] for tasks. A value that is due is loaded anew by who finds it so, before
    /// its call ends.
    pub(super) async fn load_once_async(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: BoxFuture<'_, Result<Option<Loaded>>>,
    ) -> Result<Option<Value>> {
        check_key(key)?;
        tags::check(&options.tags)?;
        self.0.lifetimes.ttls.said(options.ttl)?;
        match self.look(key, true) {
            Look::Fresh { value, due: true } if self.0.flights.is_loading(key) => {
                return Ok(Some(value));
            }
            Look::Fresh { value, due: false } => return Ok(Some(value)),
            Look::Negative => return Ok(None),
            Look::Fresh { .. } | Look::Missing(_) => {}
        }
        match self.0.flights.join_async(key).await? {
            Joined::Landed(result) => {
                self.0.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => {
                let lead = Cancellable::new(lead);
                let begun = self.begin(key, options);
                let result = match begun.answered() {
                    Some(answer) => Ok(answer),
                    None => {
                        let loaded = lead.inside(load).await;
                        self.end(key, options, begun, loaded)
                    }
                };
                lead.land(result.clone());
                result
            }
        }
    }

    /// Loads, stores, and gives those who wait what was loaded.
    fn lead(
        &self,
        lead: Load<'_, Option<Value>>,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let begun = self.begin(key, options);
        let result = match begun.answered() {
            Some(answer) => Ok(answer),
            None => {
                let loaded = load(key);
                self.end(key, options, begun, loaded)
            }
        };
        lead.land(result.clone());
        result
    }

    /// Loads a value anew while others get the present one: on a thread of its own where the loader owns
    /// what it needs, else here. One that fails leaves the present value alone.
    fn reload(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
        owned: Option<&OwnedLoader>,
    ) {
        let Some(owned) = owned else {
            if let Some(lead) = self.0.flights.try_lead(key) {
                let _ = self.lead(lead, key, options, load);
            }
            return;
        };
        if !self.0.flights.is_loading(key) {
            let (cache, key, options, load) =
                (self.clone(), key.to_vec(), options.clone(), owned.clone());
            flight::in_background(move || {
                if let Some(lead) = cache.0.flights.try_lead(&key) {
                    let _ = cache.lead(lead, &key, &options, &mut |key| load(key));
                }
            });
        }
    }

    /// What a leader knows before it loads.
    fn begin(&self, key: &[u8], options: &SetOptions) -> Begun {
        let hash = self.0.store.hash(key);
        let voids = self.0.voids.of(hash).load(Acquire);
        let marks = self.0.tags.marks(&fork::enter(), &options.tags);
        // The load before this one may have ended between the miss and now.
        Begun { hash, voids, marks, look: self.look(key, false) }
    }

    /// Stores what was loaded, if it is still wanted; the answer for all who asked.
    fn end(
        &self,
        key: &[u8],
        options: &SetOptions,
        begun: Begun,
        loaded: Result<Option<Loaded>>,
    ) -> Result<Option<Value>> {
        match loaded {
            Ok(Some(loaded)) => self.keep(key, begun, loaded, options),
            Ok(None) => {
                self.keep_none(key, begun);
                Ok(None)
            }
            Err(error) => match begun.look {
                // It was to be loaded anew, and is good as it is.
                Look::Fresh { value, .. } => Ok(Some(value)),
                Look::Missing(Some(old)) if self.standing(&old) == Standing::Stale => {
                    self.0.counters.count(Counter::StaleServed);
                    Ok(Some(old))
                }
                _ => Err(error),
            },
        }
    }

    /// What the cache has for `key`; `counted` as a hit or a miss.
    fn look(&self, key: &[u8], counted: bool) -> Look {
        let inside = fork::enter();
        let hash = self.0.store.hash(key);
        let shard = self.0.store.read(hash);
        let look = match shard.find(hash, key) {
            None => Look::Missing(None),
            Some(entry) => match self.standing(entry) {
                Standing::Fresh => {
                    self.note_use(entry);
                    let refresh_at = entry.attributes().map_or(NEVER, |all| all.refresh_at());
                    Look::Fresh { value: entry.clone(), due: !self.is_ahead(refresh_at) }
                }
                Standing::Negative => Look::Negative,
                Standing::Stale | Standing::Gone => Look::Missing(Some(entry.clone())),
            },
        };
        drop(shard);
        if counted {
            let hit = matches!(look, Look::Fresh { .. });
            self.tally(&inside, if hit { Counter::Hits } else { Counter::Misses });
        }
        look
    }

    fn keep(
        &self,
        key: &[u8],
        begun: Begun,
        loaded: Loaded,
        options: &SetOptions,
    ) -> Result<Option<Value>> {
        let Loaded { value, options: own } = loaded;
        let Begun { hash, voids, marks, look } = begun;
        let (ttl, stale, marks) = match &own {
            None => (options.ttl, options.stale, marks),
            Some(own) => {
                tags::check(&own.tags)?;
                // Named only now: what was invalidated during the load is not known.
                (own.ttl, own.stale, self.0.tags.marks(&fork::enter(), &own.tags))
            }
        };
        // Too large for this cache, but not for its caller.
        if value.len() > self.0.max_value_bytes {
            return Value::from_vec(value, 0).map(Some);
        }
        let Some(birth) = self.birth_with(ttl, stale, marks)? else {
            return Value::from_vec(value, 0).map(Some);
        };
        let new = birth.entry(hash, key, &value)?;
        let pin = new.clone();
        match self.put_loaded(key, hash, new, voids, look.old()) {
            Err(error) if error.kind() != ErrorKind::TooBig => return Err(error),
            Ok(true) => self.0.counters.count(Counter::Sets),
            _ => {}
        }
        Ok(Some(pin))
    }

    /// Remembers that there is no value, if so configured; an old one goes in any case.
    fn keep_none(&self, key: &[u8], begun: Begun) {
        let Begun { hash, voids, marks, look } = begun;
        let negative = self.negative_birth(marks).map(|birth| birth.entry(hash, key, b""));
        if let Some(Ok(new)) = negative {
            // Without memory it is asked for again, which is all that this saves.
            let _ = self.put_loaded(key, hash, new, voids, look.old());
        } else if let Some(old) = look.old() {
            let inside = fork::enter();
            let mut shard = self.0.store.write(hash);
            let taken = shard.take_where(hash.in_shard(), |entry| entry.is(old));
            let lived = self.living(taken.as_slice());
            drop(shard);
            self.count_taken(&inside, taken.as_slice(), lived);
        }
    }

    /// Stores an entry of a load that began with this void count and this old entry.
    fn put_loaded(
        &self,
        key: &[u8],
        hash: KeyHash,
        new: Value,
        voids: u32,
        old: Option<&Value>,
    ) -> Result<bool> {
        let inside = fork::enter();
        let still_wanted = |shard: &Writing<'_>| {
            let present = shard.find(hash, key);
            self.0.voids.of(hash).load(Acquire) == voids
                && present.is_none_or(|entry| {
                    // The old one is pinned, and so is not overwritten in place.
                    old.is_some_and(|old| entry.is(old)) || !self.lives(entry)
                })
        };
        self.put_if(&inside, hash, new, still_wanted)
    }
}
