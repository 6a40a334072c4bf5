//! The steps of reading: what L1 answers by itself, and what becomes of L2's answer.

use std::mem;
use std::time::Duration;

use super::conditions::{Settled, Span};
use super::core::{Core, Verdict};
use super::protections::Protection;
use super::queue::Look;
use super::stripes::ReadToken;
use super::world::World;
use crate::config::L1Alone;
use crate::error::Result;
use crate::fork::Inside;
use crate::local::{Held, Stamped};
use crate::metrics::Operation;
use crate::ops::{Found, Remaining, Tier};
use crate::stats::Counter;
use crate::value::{TagMark, Value};

/// The first step of a read.
pub(super) enum Read {
    /// The answer, which L1 vouches for or the queue knows.
    Done(Option<Hit>),
    /// L2 has to be asked.
    Ask(Asked),
}

/// A value that a read found.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) value: Value,
    /// Milliseconds that it has still to live.
    pub(super) ttl_ms: Option<u64>,
    pub(super) tier: Tier,
    /// Nobody vouches for it now.
    pub(super) stale: bool,
    pub(super) held: Held,
    /// Milliseconds that the value in L2 has still to live.
    pub(super) whole_ms: Option<u64>,
}

/// A read on its way to L2.
pub(super) struct Asked {
    token: ReadToken,
    epoch: u32,
    /// When it began.
    at: u64,
    /// Whether L1 holds something that it can't vouch for.
    held: bool,
}

impl Hit {
    pub(super) fn of_l1(entry: Stamped, stale: bool) -> Self {
        let Stamped { value, ttl_ms, whole_ms, held, .. } = entry;
        Self { value, ttl_ms, tier: Tier::L1, stale, held, whole_ms }
    }

    pub(super) fn found(self) -> Found {
        let remaining = remaining(self.ttl_ms);
        let mut found = Found::fresh(self.value, remaining, self.tier);
        found.stale = self.stale;
        found
    }
}

pub(super) fn remaining(ttl_ms: Option<u64>) -> Remaining {
    ttl_ms.map_or(Remaining::Forever, |ms| Remaining::For(Duration::from_millis(ms)))
}

/// What this process knows of a key without L2.
enum Known {
    /// L2 may be asked; meanwhile L1 holds this.
    Held(Option<Stamped>),
    /// A write of ours that L2 has not confirmed.
    Own(Option<Hit>),
}

impl<W: World> Core<W> {
    /// Reads L1, which answers by itself or asks for L2. `key` has been checked.
    #[inline]
    pub(super) fn begin_get(&self, key: &[u8]) -> Read {
        // The token and the epoch are taken before L1 is read: what L1 learns after that voids them.
        let token = self.stripes.begin_read(key);
        let epoch = self.trust.epoch();
        match self.held(key) {
            Some(entry) if self.vouches(entry.stamp) && entry.held != Held::Stale => {
                if entry.held == Held::Fresh {
                    self.counters.count(Counter::L1Hits);
                } else {
                    self.counters.count(Counter::Misses);
                }
                Read::Done(Some(Hit::of_l1(entry, false)))
            }
            held => match self.known(key, held) {
                Known::Own(hit) => Read::Done(self.counted(hit)),
                Known::Held(held) => {
                    let at = self.world.now_ms();
                    Read::Ask(Asked { token, epoch, at, held: held.is_some() })
                }
            },
        }
    }

    /// A hit of L1, by the quick way: what `read` makes of a value that L1 vouches for. `None`, and nothing
    /// counted, where [`Core::begin_get`] has to look. `key` has been checked; `read` is as for
    /// [`LocalCache::get_with`](crate::local::LocalCache::get_with).
    #[inline(always)]
    pub(super) fn hit_with<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        // No token is needed: nothing is stored. In a forked child the first call goes the long way.
        if !self.is_settled() {
            return None;
        }
        if inside.is_sampled() {
            self.hit_timed(inside, key, read)
        } else {
            self.hit(inside, key, read)
        }
    }

    #[cold]
    #[inline(never)]
    fn hit_timed<R>(
        &self,
        inside: &Inside,
        key: &[u8],
        read: impl FnOnce(&Value) -> R,
    ) -> Option<R> {
        let timing = self.durations.time(Operation::Get);
        let hit = self.hit(inside, key, read);
        if hit.is_none() {
            // The long way is a call of its own.
            mem::forget(timing);
        }
        hit
    }

    #[inline(always)]
    fn hit<R>(&self, inside: &Inside, key: &[u8], read: impl FnOnce(&Value) -> R) -> Option<R> {
        let hit = self.l1.read_vouched(inside, key, |stamp| self.vouches(stamp), read)?;
        self.counters.count_inside(inside, Counter::L1Hits);
        Some(hit)
    }

    /// Begins a read that is to fill L1, whatever L1 holds.
    pub(super) fn ask(&self, key: &[u8]) -> Asked {
        let token = self.stripes.begin_read(key);
        Asked { token, epoch: self.trust.epoch(), at: self.world.now_ms(), held: false }
    }

    /// Reads L1 and the queue where L2 can't be asked.
    pub(super) fn get_alone(&self, key: &[u8]) -> Option<Hit> {
        let held = self.held(key);
        if let Some(entry) = &held
            && self.vouches(entry.stamp)
            && entry.held == Held::Fresh
        {
            self.counters.count(Counter::L1Hits);
            return held.map(|entry| Hit::of_l1(entry, false));
        }
        let hit = match self.known(key, held) {
            Known::Own(hit) => hit,
            Known::Held(held) => {
                // Without an L2 there is nothing fresher.
                let stale = self.l2.is_some();
                held.filter(|entry| self.serves_unproven() && (stale || entry.held == Held::Fresh))
                    .map(|entry| Hit::of_l1(entry, stale))
            }
        };
        self.counted(hit)
    }

    /// What the queue makes of a key for which L1 can't vouch.
    fn known(&self, key: &[u8], held: Option<Stamped>) -> Known {
        if self.queue.is_empty() {
            return Known::Held(held);
        }
        let now = self.world.now_ms();
        match self.queue.look(key, now) {
            Look::Nothing => Known::Held(held),
            Look::Gone => Known::Own(None),
            Look::AsInL1 => Known::Own(held.map(|entry| Hit::of_l1(entry, true))),
            Look::Holds(value, until) => Known::Own(match held {
                Some(entry) => Some(Hit::of_l1(entry, true)),
                // Since it was queued one of its tags was invalidated.
                None if !value.marks().iter().all(TagMark::holds) => None,
                None => {
                    let ttl_ms = until.map(|until| until.saturating_sub(now));
                    let (tier, held) = (Tier::L1, Held::Fresh);
                    Some(Hit { value, ttl_ms, tier, stale: true, held, whole_ms: ttl_ms })
                }
            }),
        }
    }

    /// Takes L2's answer.
    pub(super) fn end_get(
        &self,
        key: &[u8],
        asked: Asked,
        reply: Result<Option<Settled>>,
    ) -> Result<Option<Hit>> {
        match reply {
            Ok(found) => {
                self.breaker.succeeded();
                Ok(self.learn(key, asked, found))
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { .. } => Ok(self.get_alone(key)),
                Verdict::Corrupt => Ok(self.learn(key, asked, None)),
                Verdict::Fails => Err(error),
            },
        }
    }

    /// Counts an answer that nobody vouches for, unless it is past its TTL: that is for who serves it.
    fn counted(&self, hit: Option<Hit>) -> Option<Hit> {
        match hit {
            Some(hit) if hit.held == Held::Stale => Some(hit),
            hit => self.count_alone(hit),
        }
    }

    /// Counts an answer that nobody vouches for.
    fn count_alone(&self, hit: Option<Hit>) -> Option<Hit> {
        if let Some(hit) = &hit
            && hit.held != Held::Negative
        {
            if hit.stale {
                self.counters.count(Counter::StaleServed);
            }
            self.counters.count(Counter::L1Hits);
        } else {
            self.counters.count(Counter::Misses);
        }
        hit
    }

    /// What a plain read answers: a value, and one past its TTL only where L2 is away.
    #[inline]
    pub(super) fn served(&self, hit: Option<Hit>) -> Option<Hit> {
        let hit = hit?;
        match hit.held {
            Held::Fresh => Some(hit),
            Held::Stale if hit.tier == Tier::L1 => self.count_alone(Some(hit)),
            Held::Stale | Held::Negative => None,
        }
    }

    pub(super) fn serves_unproven(&self) -> bool {
        self.l2.is_none() || self.options.l1_alone == L1Alone::Stale
    }

    /// Stores what L2 said, unless it was overtaken, and answers it.
    fn learn(&self, key: &[u8], asked: Asked, found: Option<Settled>) -> Option<Hit> {
        let Some(found) = found else {
            // L2 has none: what L1 could not vouch for is gone, unless it is newer than this read.
            if asked.held {
                self.l1.remove_if(key, || self.stripes.may_fill(key, asked.token));
            }
            self.counters.count(Counter::Misses);
            return None;
        };
        let held = match &found {
            found if found.negative => Held::Negative,
            found if found.stale => Held::Stale,
            _ => Held::Fresh,
        };
        if held == Held::Fresh {
            self.counters.count(Counter::L2Hits);
        } else {
            self.counters.count(Counter::Misses);
        }
        let ttl_ms = self.fill(key, &asked, &found);
        let (value, stale) = (found.value, found.stale);
        Some(Hit { value, ttl_ms, tier: Tier::L2, stale, held, whole_ms: ttl_ms })
    }

    /// Stores what L2 said, unless it was overtaken; L2's remaining TTL in milliseconds.
    pub(super) fn fill(&self, key: &[u8], asked: &Asked, found: &Settled) -> Option<u64> {
        // While a write of the key waits in the queue, it is that which reads answer.
        let fill = || self.stripes.may_fill(key, asked.token);
        let ttl_ms = match found.left {
            Remaining::Forever => None,
            Remaining::For(left) => Some(left.as_millis() as u64),
        };
        // The server named the time left before its answer arrived, and not before it was asked.
        let since = match self.protections.has(Protection::AskedTtl) {
            true => self.world.now_ms().saturating_sub(asked.at),
            false => 0,
        };
        let left_ms = ttl_ms.map(|ttl| ttl.saturating_sub(since));
        let Some(tags) = &found.tags else {
            // What L1 could not vouch for is older.
            if asked.held {
                self.l1.remove_if(key, fill);
            }
            return ttl_ms;
        };
        let &Settled { window_ms, stale, negative, .. } = found;
        let span = Span { left_ms, window_ms, stale, negative };
        // A value too big for this process's memory is still answered.
        if left_ms != Some(0)
            && matches!(self.keep(key, &found.value, &span, tags, asked.epoch, fill), Ok(true))
        {
            self.counters.count(Counter::Backfills);
            self.queue.seen(key, fill);
        }
        ttl_ms
    }

    /// What this process can say of `key` without L2: `None` where it has to be asked.
    pub(super) fn presence(&self, key: &[u8]) -> Option<Option<Remaining>> {
        match self.held(key) {
            Some(entry) if self.vouches(entry.stamp) && entry.held != Held::Stale => {
                Some((entry.held == Held::Fresh).then(|| remaining(entry.ttl_ms)))
            }
            held => match self.known(key, held) {
                Known::Own(hit) => {
                    let hit = hit.filter(|hit| hit.held == Held::Fresh);
                    Some(hit.map(|hit| remaining(hit.ttl_ms)))
                }
                Known::Held(_) => None,
            },
        }
    }

    /// The remaining time where L2 can't be asked, `None` where the key counts as absent.
    pub(super) fn ttl_alone(&self, key: &[u8]) -> Option<Remaining> {
        if let Some(known) = self.presence(key) {
            return known;
        }
        let held = self.held(key);
        let held = held.filter(|entry| self.serves_unproven() && entry.held == Held::Fresh);
        held.map(|entry| remaining(entry.ttl_ms))
    }

    /// L1's entry, vouched for or not. The key has been checked, so that there is nothing to refuse.
    pub(super) fn held(&self, key: &[u8]) -> Option<Stamped> {
        self.l1.get_stamped(key).ok().flatten()
    }
}

/// The reads of one batch that are on their way to L2, each with its place in the answer.
pub(super) type AskedMany = Vec<(usize, Asked)>;

impl<W: World> Core<W> {
    /// Reads L1 for each of `keys`, which have been checked.
    pub(super) fn begin_get_many(&self, keys: &[&[u8]]) -> (Vec<Option<Value>>, AskedMany) {
        let mut asked = Vec::new();
        let answers = keys.iter().enumerate().map(|(place, key)| match self.begin_get(key) {
            Read::Done(hit) => self.served(hit).map(|hit| hit.value),
            Read::Ask(one) => {
                asked.push((place, one));
                None
            }
        });
        (answers.collect(), asked)
    }

    /// Takes L2's answers, in the order of `asked`. A batch that failed counts as one failure.
    pub(super) fn end_get_many(
        &self,
        keys: &[&[u8]],
        asked: AskedMany,
        reply: Result<Vec<Option<Settled>>>,
        answers: &mut [Option<Value>],
    ) -> Result<()> {
        match reply {
            Ok(found) => {
                self.breaker.succeeded();
                for ((place, one), found) in asked.into_iter().zip(found) {
                    let hit = self.learn(keys[place], one, found);
                    answers[place] = self.served(hit).map(|hit| hit.value);
                }
            }
            Err(error) => {
                if self.judge(&error) == Verdict::Fails {
                    return Err(error);
                }
                for (place, _) in asked {
                    let hit = self.get_alone(keys[place]);
                    answers[place] = self.served(hit).map(|hit| hit.value);
                }
            }
        }
        Ok(())
    }
}
