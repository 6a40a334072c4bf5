//! The writes that L2 has not confirmed, until it has: what they are, and what may lie in L2 under them.
//!
//! # Protocol
//! One [`Entry`] for each key; the last write of a key wins. A write that could not be sent, or whose
//! outcome is unknown, is `push`ed before its call returns. While a key is here, reads of it `look` here
//! instead of asking L2.
//! - A **direct write** of a key (`admit`, then `confirmed` or `push`) may pass the queue, but not while
//!   the key is being replayed, nor a pending clear. Acknowledged, it takes out what was queued before it
//!   began; an entry that came meanwhile learns what L2 has held.
//! - A **replay** (`next`, then `ended`) is exclusive for its key: not while an admitted write is on its
//!   way, and one at a time. An entry that is being replayed is never taken out but by `ended`.
//! - A **clear** (`begin_clear`, `end_clear`) pauses replays. Acknowledged, it takes out what was queued
//!   before it began; a key whose replay was under way becomes a removal, since that replay may have
//!   landed behind the clear. Not acknowledged, it does the same, and stays as the *barrier*: until its
//!   own replay nothing is sent directly and nothing else is replayed.
//!
//! # Invariants
//! 1. A write that has returned is in L2, or here, or was overtaken by a later one, or was dropped and
//!    counted.
//! 2. What `next` gives out may replace: nothing, what this process last saw, its own unconfirmed writes.
//!    A write joins the latter before the entry is given out again. What was last seen of a key that L1 has
//!    let go of is `remember`ed here, until the key is read again or a write of it is queued.
//! 3. Versions grow with each change; a write that began at version `v` supersedes entries up to `v`, and
//!    no newer one.
//!
//! The lock is held for a look-up or a change, inside the fork gate, and no other lock is taken under it.
//! While nothing is queued, `busy` is 0 and nobody takes it.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use super::protections::{Protection, Protections};
use super::recent::Recent;
use super::world::{Replay, Replayed};
use crate::fork;
use crate::hash::{self, RandomState};
use crate::value::Value;

/// Own unconfirmed values of one key past which its writes are only queued.
const OWN_MAX: usize = 8;
/// What an entry costs besides its key and its values, about.
const OVERHEAD: usize = 256;
/// Most keys of which is remembered what was last seen, for either reason, and the share of `replay_bytes`
/// for them.
const RECENT_KEYS: usize = 4096;
const RECENT_SHARE: usize = 16;

/// The queue of one Hybrid.
pub(super) struct Queue {
    /// Keys, and one for a barrier.
    busy: AtomicUsize,
    /// Of the last change.
    version: AtomicU64,
    state: Mutex<State>,
    max_keys: usize,
    max_bytes: usize,
    protections: Protections,
}

struct State {
    entries: HashMap<Arc<[u8]>, Entry, RandomState>,
    /// The keys by the version that brought them in.
    by_age: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    version: u64,
    /// The version of a clear that L2 has not confirmed.
    barrier: Option<u64>,
    /// Clears under way, direct or replayed.
    clearing: u32,
    /// Of keys that L1 has let go of by this process's own doing.
    recent: Recent,
    /// The same, because the server told of a change. As a rule it was another process's, and this is of no
    /// use: so it does not drive out the other. But a script's write is told to its own writer too, and so is
    /// any that was sent before the stream was there.
    told: Recent,
}

/// Why L1 lets go of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// Of what this process did.
    Own,
    /// The server told of a change.
    Told,
}

/// What is to become of a key. Moments are milliseconds of the Hybrid's clock, `None` for never.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Set {
        value: Value,
        until: Option<u64>,
    },
    /// `asked` for by a caller; otherwise in the wake of a clear.
    Delete {
        asked: bool,
    },
    Expire {
        until: Option<u64>,
    },
}

struct Entry {
    write: Write,
    /// Of the last change.
    version: u64,
    /// The version that brought the value (or its removal): a new TTL makes an old value no newer.
    written: u64,
    born: u64,
    /// What this process last saw in L2.
    seen: Option<Value>,
    /// What of this process's own may lie in L2 besides.
    own: Vec<Value>,
    /// Admitted writes on their way.
    direct: u32,
    replaying: bool,
    /// A clear has begun while it was being replayed: that may have landed behind the clear.
    shadowed: bool,
    /// What it costs, about, with its key.
    bytes: usize,
}

impl Write {
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Set { value, .. } => Some(value),
            _ => None,
        }
    }
}

impl Entry {
    fn cost(&self, key: &[u8]) -> usize {
        let values = self.write.value().into_iter().chain(&self.seen).chain(&self.own);
        OVERHEAD + key.len() + values.map(|value| value.len() + bytes_of_tags(value)).sum::<usize>()
    }
}

/// What the tags of a value cost, about.
fn bytes_of_tags(value: &Value) -> usize {
    value.marks().iter().map(|mark| OVERHEAD + mark.tag.name.len()).sum()
}

/// How a write may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// To L2, now.
    Direct(Admission),
    /// Into the queue, behind what is there.
    Queue,
}

/// A direct write's place in the order of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    began: u64,
    entry: Option<u64>,
}

/// What the queue knows of a key.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing: L2 may be asked.
    Nothing,
    /// It was removed.
    Gone,
    /// Its value, and the moment to which it lives.
    Holds(Value, Option<u64>),
    /// Whatever L1 holds.
    AsInL1,
}

/// What is to be replayed next.
#[derive(Debug)]
pub(super) enum Step {
    Clear(u64),
    Write(Job),
    /// There is something, but not now.
    Later,
    Idle,
}

/// One replay under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: Arc<[u8]>,
    pub(super) write: Replay,
    /// The values that it may replace.
    pub(super) known: Vec<Value>,
    version: u64,
    born: u64,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Replied(Replayed),
    /// Not executed, or if `landed` perhaps.
    Away {
        landed: bool,
    },
    /// L2 will never take it.
    Refused,
}

impl Queue {
    pub(super) fn new(max_keys: usize, max_bytes: usize, protections: Protections) -> Self {
        let recent = || Recent::new(RECENT_KEYS.min(max_keys), max_bytes / RECENT_SHARE);
        let state = State {
            entries: HashMap::with_hasher(hash::keyed()),
            by_age: BTreeMap::new(),
            bytes: 0,
            version: 0,
            barrier: None,
            clearing: 0,
            recent: recent(),
            told: recent(),
        };
        Self {
            busy: AtomicUsize::new(0),
            version: AtomicU64::new(0),
            state: Mutex::new(state),
            max_keys,
            max_bytes,
            protections,
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let _inside = fork::enter();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        // Nobody else stores meanwhile, and most changes leave the first as it is.
        if self.busy.load(Relaxed) != state.len() {
            self.busy.store(state.len(), SeqCst);
        }
        // Whoever reads this version has to see that something is queued, and no more.
        self.version.store(state.version, Release);
        result
    }

    /// As [`Queue::with`], for what changes nothing.
    fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let _inside = fork::enter();
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keys that wait, and one for a pending clear.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.busy.load(SeqCst)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a read of `key` at `now` has to know.
    #[inline]
    pub(super) fn look(&self, key: &[u8], now: u64) -> Look {
        if self.is_empty() || !self.protections.has(Protection::Tombstone) {
            return Look::Nothing;
        }
        self.peek(|state| match state.entries.get(key) {
            None if state.barrier.is_some() && self.protections.has(Protection::Barrier) => {
                Look::AsInL1
            }
            None => Look::Nothing,
            Some(entry) => match &entry.write {
                Write::Set { value, until } if until.is_none_or(|until| now < until) => {
                    Look::Holds(value.clone(), *until)
                }
                Write::Set { .. } | Write::Delete { .. } => Look::Gone,
                Write::Expire { until } if until.is_some_and(|until| now >= until) => Look::Gone,
                Write::Expire { .. } => Look::AsInL1,
            },
        })
    }

    /// Whether the queue itself says what `key` is; it is [`Look::Gone`] or [`Look::Holds`] then.
    #[inline]
    pub(super) fn knows(&self, key: &[u8], now: impl FnOnce() -> u64) -> bool {
        if self.is_empty() || !self.protections.has(Protection::Tombstone) {
            return false;
        }
        self.peek(|state| match state.entries.get(key).map(|entry| &entry.write) {
            None => false,
            Some(Write::Set { .. } | Write::Delete { .. }) => true,
            Some(Write::Expire { until }) => until.is_some_and(|until| now() >= until),
        })
    }

    /// How a write of `key` that begins now may go, where L2 may be asked at all. A change of the TTL
    /// alone (`touch`) stays behind what is queued.
    pub(super) fn admit(&self, key: &[u8], touch: bool) -> Way {
        // In this order: an entry that comes after the version was read is newer than the write.
        let began = self.version.load(Acquire);
        if self.is_empty() {
            return Way::Direct(Admission { began, entry: None });
        }
        let exclusive = self.protections.has(Protection::Exclusion);
        let barrier = self.protections.has(Protection::Barrier);
        self.with(|state| {
            if state.barrier.is_some() && barrier {
                return Way::Queue;
            }
            let began = state.version;
            match state.entries.get_mut(key) {
                None => Way::Direct(Admission { began, entry: None }),
                Some(entry)
                    if touch || exclusive && entry.replaying || entry.own.len() >= OWN_MAX =>
                {
                    Way::Queue
                }
                Some(entry) => {
                    entry.direct += 1;
                    Way::Direct(Admission { began, entry: Some(entry.born) })
                }
            }
        })
    }

    /// L2 has taken a direct write, after which the key held `value`.
    pub(super) fn confirmed(
        &self,
        key: &[u8],
        admission: Admission,
        value: impl FnOnce() -> Option<Value>,
    ) {
        if self.is_empty() {
            return;
        }
        let order = self.protections.has(Protection::ReplayOrder);
        let _gone = self.with(|state| {
            let entry = state.entries.get_mut(key)?;
            entry.returned(admission);
            if entry.written <= admission.began {
                return if order { state.remove(key) } else { None };
            }
            // What was noted before stays: another write that overlapped may land after this one.
            if let Some(value) = value() {
                state.change(key, |entry| entry.may_hold(value));
            }
            None
        });
    }

    /// A direct write has failed for good, or its caller has to try again.
    pub(super) fn refused(&self, key: &[u8], admission: Admission) {
        if !self.is_empty() {
            self.with(|state| {
                if let Some(entry) = state.entries.get_mut(key) {
                    entry.returned(admission);
                }
            });
        }
    }

    /// L2 may hold `value`, which this process wrote or saw, and L1 does not tell so any more.
    pub(super) fn remember(&self, key: &[u8], value: Value, because: Because) {
        if self.protections.has(Protection::Memory) {
            self.with(|state| match because {
                Because::Own => state.recent.remember(key, value),
                Because::Told => state.told.remember(key, value),
            });
        }
    }

    /// L1 tells what L2 holds under `key`, if `still`.
    pub(super) fn seen(&self, key: &[u8], still: impl FnOnce() -> bool) {
        let _known = self.with(|state| still().then(|| state.take_recent(key)));
    }

    /// Queues a write. `saw`: what L1 held before it, if the key is not here yet. `landed`: what of this
    /// process's own may lie in L2. Returns the number of keys that were dropped for it.
    pub(super) fn push(
        &self,
        key: &[u8],
        write: Write,
        admission: Option<Admission>,
        saw: Option<Value>,
        landed: impl Iterator<Item = Value>,
    ) -> usize {
        let mut dropped = Vec::new();
        let _old = self.with(|state| {
            let version = state.next_version();
            let old = state.push(key, write, version, admission, saw, landed);
            while state.entries.len() > self.max_keys || state.bytes > self.max_bytes {
                let oldest = state.by_age.values().find(|key| !state.entries[&key[..]].replaying);
                let Some(oldest) = oldest.cloned() else { break };
                dropped.extend(state.remove(&oldest));
            }
            old
        });
        dropped.len()
    }

    /// As [`Queue::push`] of a plain set that has not been sent, where the last write of its key is another
    /// and nobody has been given that: its bytes take the place of the other's. False where nothing was done.
    pub(super) fn rewrite(&self, key: &[u8], value: &[u8], until: Option<u64>) -> bool {
        self.with(|state| {
            let Some(entry) = state.entries.get_mut(key) else { return false };
            let Write::Set { value: old, until: end } = &mut entry.write else { return false };
            let before = old.len();
            let room = self.max_bytes.saturating_sub(state.bytes);
            let fits = value.len().saturating_sub(before) <= room;
            if entry.replaying || !fits || !old.try_replace(value) {
                return false;
            }
            *end = until;
            state.version += 1;
            (entry.version, entry.written) = (state.version, state.version);
            entry.bytes = entry.bytes + value.len() - before;
            state.bytes = state.bytes + value.len() - before;
            true
        })
    }

    /// What may be replayed at `now`. It has to be given back by [`Queue::ended`] or
    /// [`Queue::cleared`].
    pub(super) fn next(&self, now: u64) -> Step {
        if self.is_empty() {
            return Step::Idle;
        }
        let protections = self.protections;
        self.with(|state| {
            if state.len() == 0 {
                return Step::Idle;
            }
            if state.clearing > 0 && protections.has(Protection::Barrier) {
                return Step::Later;
            }
            if let Some(version) = state.barrier {
                if state.entries.values().any(|entry| entry.replaying) {
                    return Step::Later;
                }
                state.clearing += 1;
                return Step::Clear(version);
            }
            let exclusive = protections.has(Protection::Exclusion);
            let free = state.by_age.values().find(|key| {
                let entry = &state.entries[&key[..]];
                !entry.replaying && (entry.direct == 0 || !exclusive)
            });
            let Some(key) = free.cloned() else { return Step::Later };
            let Some(entry) = state.entries.get_mut(&key) else { return Step::Later };
            entry.replaying = true;
            Step::Write(entry.job(key, now, protections))
        })
    }

    /// A replay has ended. True if this process's write was dropped for good.
    pub(super) fn ended(&self, job: &Job, end: End) -> bool {
        let (dropped, _gone) = self.with(|state| {
            let Some(entry) = state.entries.get_mut(&job.key) else { return (false, None) };
            if entry.born != job.born {
                return (false, None);
            }
            entry.replaying = false;
            let same = entry.version == job.version;
            let applied = end == End::Replied(Replayed::Applied);
            if applied && same && entry.shadowed && self.protections.has(Protection::Barrier) {
                state.bury(&job.key);
                return (false, None);
            }
            match end {
                End::Replied(Replayed::Applied) if same => (false, state.remove(&job.key)),
                End::Replied(Replayed::Foreign) if same => (true, state.remove(&job.key)),
                End::Refused if same => {
                    let gone = state.remove(&job.key);
                    for value in gone.iter().flat_map(|entry| entry.seen.iter().chain(&entry.own)) {
                        state.recent.remember(&job.key, value.clone());
                    }
                    (true, gone)
                }
                // A newer write has replaced it meanwhile; this one is, or may be, what L2 holds now.
                End::Replied(Replayed::Applied) | End::Away { landed: true } => {
                    if let Some(value) = job.write.value() {
                        state.change(&job.key, |entry| entry.may_hold(value.clone()));
                    }
                    (false, None)
                }
                _ => (false, None),
            }
        });
        dropped
    }

    /// A clear begins; its place in the order of the queue.
    pub(super) fn begin_clear(&self) -> u64 {
        self.with(|state| {
            state.clearing += 1;
            for entry in state.entries.values_mut().filter(|entry| entry.replaying) {
                entry.shadowed = true;
            }
            state.version
        })
    }

    /// A clear has ended. Without `confirmed` it stays, as the barrier.
    pub(super) fn end_clear(&self, place: u64, confirmed: bool) {
        let barrier = self.protections.has(Protection::Barrier);
        let _gone = self.with(|state| {
            state.clearing = state.clearing.saturating_sub(1);
            let gone = if barrier { state.remove_up_to(place) } else { Vec::new() };
            if confirmed {
                state.barrier = state.barrier.filter(|version| *version > place);
            } else {
                state.barrier = Some(state.next_version());
            }
            gone
        });
    }

    /// A clear has been given up, and nobody was told that it was done.
    pub(super) fn forget_clear(&self) {
        self.with(|state| state.clearing = state.clearing.saturating_sub(1));
    }

    /// The replay of the clear of `version` has ended.
    pub(super) fn cleared(&self, version: u64, confirmed: bool) {
        self.with(|state| {
            state.clearing = state.clearing.saturating_sub(1);
            if confirmed && state.barrier == Some(version) {
                state.barrier = None;
            }
        });
    }

    /// Empties it: in a forked child, whose parent replays them.
    pub(super) fn forget(&self) {
        let _gone = self.with(|state| {
            state.by_age.clear();
            (state.bytes, state.barrier, state.clearing) = (0, None, 0);
            mem::replace(&mut state.entries, HashMap::with_hasher(hash::keyed()))
        });
    }
}

impl Entry {
    /// L2 may hold this of our own.
    fn may_hold(&mut self, value: Value) {
        if !self.seen.iter().chain(&self.own).any(|known| known[..] == value[..]) {
            self.own.push(value);
        }
    }

    /// A newer write takes this one's place; returns the one that it replaces.
    fn supersede(
        &mut self,
        write: Write,
        version: u64,
        admission: Option<Admission>,
        saw: Option<Value>,
        landed: impl Iterator<Item = Value>,
    ) -> Option<Write> {
        self.version = version;
        if let Some(admission) = admission {
            self.returned(admission);
        }
        let saw = saw.filter(|_| admission.is_some());
        saw.into_iter().chain(landed).for_each(|value| self.may_hold(value));
        match (&mut self.write, write) {
            (Write::Set { until, .. }, Write::Expire { until: new }) => {
                *until = new;
                None
            }
            // Nothing is there whose TTL could change.
            (Write::Delete { .. }, Write::Expire { .. }) => None,
            (old, new) => {
                self.written = version;
                Some(mem::replace(old, new))
            }
        }
    }

    /// An admitted write is not on its way any more.
    fn returned(&mut self, admission: Admission) {
        if admission.entry == Some(self.born) {
            self.direct = self.direct.saturating_sub(1);
        }
    }

    fn job(&self, key: Arc<[u8]>, now: u64, protections: Protections) -> Job {
        let left = |until: Option<u64>| match until {
            Some(until) if protections.has(Protection::QueuedTtl) => {
                Some(until.saturating_sub(now))
            }
            Some(_) => Some(1 << 40),
            None => None,
        };
        let write = match &self.write {
            // Who deletes what it has never seen means whatever is there. Too much deleted is read anew.
            Write::Delete { asked } => Replay::Delete { any: *asked && self.seen.is_none() },
            Write::Set { value, until } => match left(*until) {
                // Its time is over.
                Some(0) => Replay::Delete { any: false },
                ttl_ms => Replay::Set(value.clone(), ttl_ms),
            },
            Write::Expire { until } => match left(*until) {
                Some(0) => Replay::Delete { any: false },
                ttl_ms => Replay::Expire { ttl_ms, any: self.seen.is_none() },
            },
        };
        let seen = self.seen.iter().filter(|_| protections.has(Protection::Seen));
        let own = self.own.iter().filter(|_| protections.has(Protection::OwnUnconfirmed));
        let known = seen.chain(own).cloned().collect();
        Job { key, write, known, version: self.version, born: self.born }
    }
}

impl Replay {
    fn value(&self) -> Option<&Value> {
        match self {
            Self::Set(value, _) => Some(value),
            _ => None,
        }
    }
}

impl State {
    fn len(&self) -> usize {
        self.entries.len() + usize::from(self.barrier.is_some())
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Changes an entry and keeps the sum of bytes true.
    fn change<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let entry = self.entries.get_mut(key)?;
        let result = change(entry);
        let before = entry.bytes;
        entry.bytes = entry.cost(key);
        self.bytes = self.bytes + entry.bytes - before;
        Some(result)
    }

    /// What L2 may hold of a key that L1 has let go of, for good.
    fn take_recent(&mut self, key: &[u8]) -> Vec<Value> {
        self.recent.take(key).into_iter().chain(self.told.take(key)).collect()
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_age.remove(&entry.born);
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Returns the write that was replaced, for the caller to drop outside of the lock.
    fn push(
        &mut self,
        key: &[u8],
        write: Write,
        version: u64,
        admission: Option<Admission>,
        saw: Option<Value>,
        landed: impl Iterator<Item = Value>,
    ) -> Option<Write> {
        if let Some(entry) = self.entries.get_mut(key) {
            let old = entry.supersede(write, version, admission, saw, landed);
            let before = entry.bytes;
            entry.bytes = entry.cost(key);
            self.bytes = self.bytes + entry.bytes - before;
            return old;
        }
        let mut own: Vec<Value> = landed.collect();
        own.extend(self.take_recent(key));
        let mut entry = Entry {
            write,
            version,
            written: version,
            born: version,
            seen: saw,
            own,
            direct: 0,
            replaying: false,
            shadowed: false,
            bytes: 0,
        };
        entry.bytes = entry.cost(key);
        self.bytes += entry.bytes;
        let name: Arc<[u8]> = key.into();
        self.by_age.insert(version, name.clone());
        self.entries.insert(name, entry);
        None
    }

    /// Takes out what came up to `place`; what is being replayed may land yet, and has to be removed.
    fn remove_up_to(&mut self, place: u64) -> Vec<Entry> {
        let old = self.by_age.values().filter(|key| self.entries[&key[..]].written <= place);
        let keys: Vec<Arc<[u8]>> = old.cloned().collect();
        let mut gone = Vec::new();
        for key in keys {
            let entry = &self.entries[&key];
            if !entry.replaying && !entry.shadowed {
                gone.extend(self.remove(&key));
                continue;
            }
            self.bury(&key);
        }
        gone
    }

    /// Makes an entry a removal of what it was to bring.
    fn bury(&mut self, key: &[u8]) {
        let version = self.next_version();
        self.change(key, |entry| {
            (entry.version, entry.written, entry.shadowed) = (version, version, false);
            if let Write::Set { value, .. } =
                mem::replace(&mut entry.write, Write::Delete { asked: false })
            {
                entry.may_hold(value);
            }
        });
    }
}
