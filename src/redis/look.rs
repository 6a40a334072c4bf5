//! The operations that only look, beyond the plain get: whether and how long an entry is there, values with
//! their time, values with conditions. Each is one round trip, and one more where the entry has conditions;
//! see `presence`.
//!
//! Plain commands answer as long as no header says more: EXISTS and PTTL beside the first bytes of the
//! value. With `wire=raw` there are no headers.

use ::redis::{Cmd, Value as Reply};

use super::commands::{Keyspace, Request, Values, integer, remaining, surprise};
use super::error_map::checked;
use super::line::Line;
use super::presence::Settled;
use super::scripts;
use crate::envelope::{FIXED_LEN, MAGIC, PLAIN};
use crate::error::{ErrorKind, Result};
use crate::key::check_key;
use crate::ops::Remaining;
use crate::stats::Counter;
use crate::value::Value;

/// What the first bytes of a value tell.
pub(super) enum Front {
    /// Nothing, or no bytes.
    Empty,
    /// A value without conditions.
    Plain,
    /// A header that has to be looked at.
    Header,
}

impl Keyspace {
    /// The first bytes of a value: as many as a plain header has.
    pub(super) fn front(&self, key: &[u8]) -> Cmd {
        let mut command = self.command("GETRANGE", key);
        command.arg(0).arg(FIXED_LEN - 1);
        command
    }

    pub(super) fn front_of(&self, reply: Reply) -> Result<Front> {
        match checked(reply)? {
            Reply::BulkString(bytes) if bytes.is_empty() => Ok(Front::Empty),
            Reply::BulkString(bytes) if bytes == PLAIN || !bytes.starts_with(&MAGIC) => {
                Ok(Front::Plain)
            }
            Reply::BulkString(_) => Ok(Front::Header),
            _ => Err(surprise("no string")),
        }
    }
}

impl<'a> Line<'a> {
    /// One command; its reply.
    pub(super) async fn one(&self, request: Request) -> Result<Reply> {
        self.send(&request).await?.one()
    }

    pub(super) fn keyspace(&self) -> &'a Keyspace {
        &self.shared().keyspace
    }

    pub(super) fn counted<T>(
        &self,
        outcome: Result<T>,
        counter: impl FnOnce(&T) -> Option<Counter>,
    ) -> Result<T> {
        let counted = match &outcome {
            Ok(value) => counter(value),
            Err(_) => Some(Counter::Errors),
        };
        if let Some(counter) = counted {
            self.shared().counters.count(counter);
        }
        outcome
    }

    /// Whether `key` is there.
    pub(super) async fn exists(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let outcome = self.look_for(key).await;
        self.counted(outcome, |_| None)
    }

    async fn look_for(&self, key: &[u8]) -> Result<bool> {
        let keyspace = self.keyspace();
        if keyspace.is_raw() {
            return Ok(integer(self.one(keyspace.exists(key)).await?)? > 0);
        }
        let commands = [keyspace.front(key), keyspace.command("EXISTS", key)];
        let [front, exists] = self.pair(commands, true).await?;
        let there = integer(exists)? > 0;
        match keyspace.front_of(front) {
            Ok(Front::Header) if there => {
                let call = scripts::EXISTS.call(keyspace.full_key(key));
                Ok(integer(self.run_judged(call, true).await?)? > 0)
            }
            // It is there, whatever it is.
            Err(error) if there && error.kind() == ErrorKind::Server => Ok(true),
            Err(error) => Err(error),
            Ok(_) => Ok(there),
        }
    }

    /// The remaining time of `key`.
    pub(super) async fn ttl(&self, key: &[u8]) -> Result<Option<Remaining>> {
        check_key(key)?;
        let outcome = self.time(key).await;
        self.counted(outcome, |_| None)
    }

    async fn time(&self, key: &[u8]) -> Result<Option<Remaining>> {
        let keyspace = self.keyspace();
        if keyspace.is_raw() {
            return remaining(self.one(keyspace.pttl(key)).await?);
        }
        let commands = [keyspace.front(key), keyspace.command("PTTL", key)];
        let [front, left] = self.pair(commands, true).await?;
        if let Ok(Front::Header) = keyspace.front_of(front) {
            let call = scripts::TTL.call(keyspace.full_key(key));
            return remaining(self.run_judged(call, true).await?);
        }
        remaining(left)
    }

    pub(super) async fn pair(&self, commands: [Cmd; 2], read_only: bool) -> Result<[Reply; 2]> {
        let request = Request::batch(commands.into_iter(), read_only);
        let replies = self.send(&request).await?.many();
        <[Reply; 2]>::try_from(replies).map_err(|_| surprise("another number of replies"))
    }

    /// The value of `key`, of which `stored` was read.
    pub(super) async fn get_conditional(
        &self,
        key: &[u8],
        stored: Vec<u8>,
    ) -> Result<Option<Value>> {
        let settled = self.settle(key, stored, false).await;
        let outcome = settled.map(|found| found.and_then(Settled::fresh));
        let found = self.counted(outcome, hit_or_miss)?;
        Ok(found.map(|found| found.value))
    }

    /// The values of `keys`, in their order.
    pub(super) async fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.shared().check_keys(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = self.fetch_all(keys).await;
        let Values { values, unreadable, .. } = self.counted(outcome, |_| None)?;
        let hits = values.iter().flatten().count();
        let counters = &self.shared().counters;
        counters.add(Counter::Hits, hits as u64);
        counters.add(Counter::Misses, (keys.len() - hits) as u64);
        counters.add(Counter::Errors, unreadable);
        Ok(values)
    }

    async fn fetch_all(&self, keys: &[&[u8]]) -> Result<Values> {
        let keyspace = self.keyspace();
        let reply = self.one(keyspace.get_many(keys)).await?;
        let mut read = keyspace.values(keys, reply)?;
        if read.conditional.is_empty() {
            return Ok(read);
        }
        let (places, stored): (Vec<usize>, Vec<Vec<u8>>) =
            std::mem::take(&mut read.conditional).into_iter().unzip();
        let asked = std::iter::zip(places.iter().map(|place| keys[*place]), stored).collect();
        for (place, settled) in std::iter::zip(places, self.settle_all(asked, false).await?) {
            match settled {
                Ok(found) => {
                    read.values[place] = found.and_then(Settled::fresh).map(|found| found.value);
                }
                Err(error) if error.kind() == ErrorKind::NoMemory => return Err(error),
                Err(_) => read.unreadable += 1,
            }
        }
        Ok(read)
    }

    /// The value of `key` with its remaining time.
    pub(super) async fn get_with_time(&self, key: &[u8]) -> Result<Option<Settled>> {
        check_key(key)?;
        let outcome = self.fetch(key).await.map(|found| found.and_then(Settled::fresh));
        self.counted(outcome, hit_or_miss)
    }

    /// What is there, also where it counts as absent.
    pub(super) async fn fetch(&self, key: &[u8]) -> Result<Option<Settled>> {
        let keyspace = self.keyspace();
        let commands = [keyspace.command("PTTL", key), keyspace.command("GET", key)];
        let [left, got] = self.pair(commands, true).await?;
        let stored = match checked(got)? {
            Reply::Nil => return Ok(None),
            Reply::BulkString(stored) => stored,
            _ => return Err(surprise("no string")),
        };
        match remaining(left)? {
            // It came into being between the two commands: it is read once more, at one moment.
            None => self.settle(key, stored, true).await,
            Some(remaining) if keyspace.has_conditions(&stored) => {
                self.stand(key, stored, remaining).await
            }
            Some(remaining) => {
                let value = keyspace.value(key, Reply::BulkString(stored))?;
                Ok(value.map(|value| Settled { value, remaining, stale: false, negative: false }))
            }
        }
    }
}

fn hit_or_miss(found: &Option<Settled>) -> Option<Counter> {
    Some(if found.is_some() { Counter::Hits } else { Counter::Misses })
}
