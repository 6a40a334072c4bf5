//! The steps of reading: what L1 answers by itself, and what becomes of L2's answer.

use std::time::Duration;

use super::core::{Core, Verdict};
use super::stripes::ReadToken;
use crate::config::L1Alone;
use crate::error::Result;
use crate::local::Stamped;
use crate::ops::Remaining;
use crate::stats::Counter;
use crate::value::Value;

/// What L2 says of a key.
pub(super) type Fetched = Option<(Value, Remaining)>;

/// The first step of a read.
pub(super) enum Read {
    /// L1 vouches for this value.
    Done(Value),
    /// L2 has to be asked.
    Ask(Asked),
}

/// A read on its way to L2.
pub(super) struct Asked {
    token: ReadToken,
    epoch: u32,
    /// What L1 holds, but can't vouch for.
    unproven: Option<Value>,
}

impl Core {
    /// Reads L1, which answers by itself or asks for L2. `key` has been checked.
    pub(super) fn begin_get(&self, key: &[u8]) -> Read {
        // The token and the epoch are taken before L1 is read: what L1 learns after that voids them.
        let token = self.stripes.begin_read(key);
        let epoch = self.trust.epoch();
        match self.held(key) {
            Some(entry) if self.trust.holds(entry.stamp) => {
                self.counters.count(Counter::L1Hits);
                self.counters.count(Counter::Hits);
                Read::Done(entry.value)
            }
            held => Read::Ask(Asked { token, epoch, unproven: held.map(|entry| entry.value) }),
        }
    }

    /// Reads L1 where L2 can't be asked.
    pub(super) fn get_alone(&self, key: &[u8]) -> Option<Value> {
        match self.begin_get(key) {
            Read::Done(value) => Some(value),
            Read::Ask(asked) => self.alone(asked.unproven),
        }
    }

    /// Takes L2's answer.
    pub(super) fn end_get(
        &self,
        key: &[u8],
        asked: Asked,
        reply: Result<Fetched>,
    ) -> Result<Option<Value>> {
        match reply {
            Ok(found) => {
                self.breaker.succeeded();
                self.learn(key, asked, found)
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away => Ok(self.alone(asked.unproven)),
                Verdict::Corrupt => self.learn(key, asked, None),
                Verdict::Fails => Err(error),
            },
        }
    }

    /// What becomes of an entry that nobody can vouch for now.
    fn alone(&self, unproven: Option<Value>) -> Option<Value> {
        let served = unproven.filter(|_| self.serves_unproven());
        if served.is_some() {
            self.counters.count(Counter::StaleServed);
            self.counters.count(Counter::L1Hits);
            self.counters.count(Counter::Hits);
        } else {
            self.counters.count(Counter::Misses);
        }
        served
    }

    fn serves_unproven(&self) -> bool {
        self.l2.is_none() || self.options.l1_alone == L1Alone::Stale
    }

    /// Stores what L2 said, unless it was overtaken, and answers it.
    fn learn(&self, key: &[u8], asked: Asked, found: Fetched) -> Result<Option<Value>> {
        let Some((value, remaining)) = found else {
            // L2 has none: what L1 could not vouch for is gone, unless it is newer than this read.
            if asked.unproven.is_some() {
                self.l1.remove_if(key, || self.stripes.may_fill(key, asked.token));
            }
            self.counters.count(Counter::Misses);
            return Ok(None);
        };
        self.counters.count(Counter::L2Hits);
        self.counters.count(Counter::Hits);
        let ttl_ms = self.l1_ttl(match remaining {
            Remaining::Forever => None,
            Remaining::For(left) => Some(left.as_millis() as u64),
        });
        // A value too big for this process's memory is still answered.
        let fill = || self.stripes.may_fill(key, asked.token);
        if ttl_ms != Some(0)
            && matches!(self.l1.set_stamped_if(key, &value, ttl_ms, asked.epoch, fill), Ok(true))
        {
            self.counters.count(Counter::Backfills);
        }
        Ok(Some(value))
    }

    /// Whether L1 can say by itself that `key` is there.
    pub(super) fn proven_in_l1(&self, key: &[u8]) -> bool {
        self.held(key).is_some_and(|entry| self.trust.holds(entry.stamp))
    }

    /// The answer to `exists` where L2 can't be asked.
    pub(super) fn exists_alone(&self, key: &[u8]) -> bool {
        self.serves_unproven() && self.held(key).is_some()
    }

    /// The answer to `ttl` where L2 can't be asked.
    pub(super) fn ttl_alone(&self, key: &[u8]) -> Option<Remaining> {
        if !self.serves_unproven() {
            return None;
        }
        self.held(key).map(|entry| match entry.ttl_ms {
            None => Remaining::Forever,
            Some(ms) => Remaining::For(Duration::from_millis(ms)),
        })
    }

    /// L1's entry, vouched for or not. The key has been checked, so that there is nothing to refuse.
    fn held(&self, key: &[u8]) -> Option<Stamped> {
        self.l1.get_stamped(key).ok().flatten()
    }
}

/// The reads of one batch that are on their way to L2, each with its place in the answer.
pub(super) type AskedMany = Vec<(usize, Asked)>;

impl Core {
    /// Reads L1 for each of `keys`, which have been checked.
    pub(super) fn begin_get_many(&self, keys: &[&[u8]]) -> (Vec<Option<Value>>, AskedMany) {
        let mut asked = Vec::new();
        let answers = keys.iter().enumerate().map(|(place, key)| match self.begin_get(key) {
            Read::Done(value) => Some(value),
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
        reply: Result<Vec<Fetched>>,
        answers: &mut [Option<Value>],
    ) -> Result<()> {
        match reply {
            Ok(found) => {
                self.breaker.succeeded();
                for ((place, one), found) in asked.into_iter().zip(found) {
                    answers[place] = self.learn(keys[place], one, found)?;
                }
            }
            Err(error) => {
                if self.judge(&error) == Verdict::Fails {
                    return Err(error);
                }
                for (place, one) in asked {
                    answers[place] = self.alone(one.unproven);
                }
            }
        }
        Ok(())
    }
}
