//! What each operation does to one key, and what it answers: the sequential meaning of a Local cache.

use crate::ops::Swap;

/// What is stored: a number, or from [`TEXT`] on a text that is none.
pub(super) type Stored = i64;

pub(super) const TEXT: Stored = 1 << 40;

/// A TTL or a time in milliseconds, `u64::MAX` for never.
pub(super) type Ms = u64;

pub(super) const NEVER: Ms = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) value: Stored,
    pub(super) expires_at: Ms,
    /// It carries the tag.
    pub(super) tagged: bool,
}

/// A key: its entry, and the fence of the lock of the same name while it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct State {
    pub(super) entry: Option<Entry>,
    pub(super) lock: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Get,
    Set {
        value: Stored,
        ttl: Ms,
        tagged: bool,
    },
    Add {
        value: Stored,
        ttl: Ms,
    },
    Replace {
        value: Stored,
        ttl: Ms,
    },
    Swap {
        expected: Stored,
        value: Stored,
        ttl: Ms,
    },
    Incr {
        delta: i64,
        ttl: Ms,
    },
    Delete,
    Exists,
    Ttl,
    Expire {
        ttl: Ms,
    },
    /// get_or_load with a loader that answers this, to be kept for ever.
    Load {
        value: Stored,
    },
    /// invalidate_tag.
    Invalidate,
    /// lock, without waiting.
    Acquire,
    /// Gives the lock with this fence back.
    Release {
        fence: u64,
    },
}

/// What a call answered. `Unknown` where it does not tell of this key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Unknown,
    Done,
    Value(Option<Stored>),
    Was(bool),
    Swapped(Swap),
    /// `None`: it is no number.
    Sum(Option<i64>),
    /// `None`: absent.
    Left(Option<Ms>),
    Fence(Option<u64>),
}

/// A call, when it was called and when it returned, by one clock that ticks at each of them.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) out: Out,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Calls that overlap this one; see [`Overlap`].
    pub(super) overlap: Overlap,
}

/// What runs beside a call that decides on something before the moment at which it takes effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlap {
    /// An invalidation of the tag: who stores a tagged value has looked at the tag before, so the value
    /// may be dead when it arrives. (The other way round it could outlive its invalidation.)
    pub(super) invalidation: bool,
    /// A change: a value that is being loaded is then answered, but need not be kept.
    pub(super) change: bool,
    /// What other callers load: one loads for all.
    pub(super) loads: Vec<Stored>,
}

/// What holds for all of a part of a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The time, which stands still.
    pub(super) now: Ms,
    /// There is a bound: an entry may be gone at any moment.
    pub(super) bounded: bool,
}

/// The states in which `event` may leave the key, having answered what it did; none where it can't have.
pub(super) fn step(state: State, event: &Event, rules: Rules) -> Vec<State> {
    let entry = state.entry.filter(|entry| entry.expires_at > rules.now);
    let mut next = Vec::new();
    step_from(State { entry, ..state }, event, rules, &mut next);
    if rules.bounded && entry.is_some() {
        step_from(State { entry: None, ..state }, event, rules, &mut next);
    }
    next
}

fn step_from(state: State, event: &Event, rules: Rules, next: &mut Vec<State>) {
    let State { entry, lock } = state;
    let value = entry.map(|entry| entry.value);
    let fits = |out: Out| event.out == out || event.out == Out::Unknown;
    let mut ends = |out: Out, entry: Option<Entry>| {
        if fits(out) {
            next.push(State { entry, lock });
        }
    };
    // What is stored with this TTL; nothing where that is zero.
    let stored = |value: Stored, ttl: Ms, tagged: bool| {
        let expires_at = rules.now.saturating_add(ttl);
        (ttl != 0).then_some(Entry { value, expires_at, tagged })
    };
    match event.call {
        Call::Get => ends(Out::Value(value), entry),
        Call::Set { value, ttl, tagged } => {
            ends(Out::Done, stored(value, ttl, tagged));
            if tagged && event.overlap.invalidation {
                ends(Out::Done, None);
            }
        }
        Call::Add { .. } if entry.is_some() => ends(Out::Was(false), entry),
        Call::Add { value, ttl } => ends(Out::Was(true), stored(value, ttl, false)),
        Call::Replace { .. } if entry.is_none() => ends(Out::Was(false), None),
        Call::Replace { value, ttl } => ends(Out::Was(true), stored(value, ttl, false)),
        Call::Swap { expected, value: new, ttl } => match value {
            None => ends(Out::Swapped(Swap::Absent), None),
            Some(value) if value != expected => ends(Out::Swapped(Swap::Conflict), entry),
            Some(_) => ends(Out::Swapped(Swap::Done), stored(new, ttl, false)),
        },
        Call::Incr { delta, ttl } => match entry {
            None => ends(Out::Sum(Some(delta)), stored(delta, ttl, false)),
            Some(entry) if entry.tagged || entry.value >= TEXT => ends(Out::Sum(None), Some(entry)),
            Some(entry) => {
                let value = entry.value + delta;
                ends(Out::Sum(Some(value)), Some(Entry { value, ..entry }));
            }
        },
        Call::Delete => ends(Out::Was(entry.is_some()), None),
        Call::Exists => ends(Out::Was(entry.is_some()), entry),
        Call::Ttl => {
            let left = entry.map(|entry| match entry.expires_at {
                NEVER => NEVER,
                at => at - rules.now,
            });
            ends(Out::Left(left), entry);
        }
        Call::Expire { ttl } => {
            let changed = entry.and_then(|entry| stored(entry.value, ttl, entry.tagged));
            ends(Out::Was(entry.is_some()), changed);
        }
        Call::Load { value: loaded } => {
            if entry.is_some() {
                ends(Out::Value(value), entry);
            } else {
                ends(Out::Value(Some(loaded)), stored(loaded, NEVER, false));
            }
            if event.overlap.change {
                ends(Out::Value(Some(loaded)), entry);
            }
            for loaded in &event.overlap.loads {
                ends(Out::Value(Some(*loaded)), entry);
            }
        }
        Call::Invalidate => ends(Out::Done, entry.filter(|entry| !entry.tagged)),
        Call::Acquire => match (lock, event.out) {
            (Some(_), Out::Fence(None)) => next.push(state),
            (None, Out::Fence(fence @ Some(_))) => next.push(State { lock: fence, ..state }),
            _ => {}
        },
        Call::Release { fence } if lock == Some(fence) && fits(Out::Was(true)) => {
            next.push(State { lock: None, ..state });
        }
        Call::Release { .. } => {}
    }
}
