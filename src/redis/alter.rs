//! The operations whose outcome depends on what is stored (add, replace, compare-and-set, incr, expire,
//! delete), and set with conditions. Each is one round trip, and one more where the entry has tags; see
//! `presence`. None is sent again after it may have been executed.
//!
//! SET NX and INCRBY are tried as plain commands first: what they do is right whatever is stored, and
//! only where they refuse the header may say more. The others are scripts, as a plain command would act
//! on an entry that counts as absent. With `wire=raw` there are no headers, and all are plain.

use ::redis::{Cmd, Value as Reply};

use super::commands::{Body, Keyspace, Request, done, expired, integer, surprise};
use super::error_map::checked;
use super::lifetime::Lifetime;
use super::line::{Item, Line};
use super::look::Front;
use super::presence::header_of;
use super::scripts::{self, Invocation};
use super::tags::{check_tag, distinct};
use crate::envelope::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::key::check_key;
use crate::ops::{SetOptions, Stale, Swap, Ttl};
use crate::stats::Counter;

impl Keyspace {
    /// SET with the condition `when`, NX or XX. The TTL is not zero.
    fn set_when(&self, key: &[u8], stored: &[u8], ttl_ms: Option<u64>, when: &str) -> Cmd {
        let mut command = self.command("SET", key);
        command.arg(stored);
        if let Some(ms) = ttl_ms {
            command.arg("PX").arg(ms);
        }
        command.arg(when);
        command
    }
}

impl Line<'_> {
    /// A new TTL for `key`.
    pub(super) async fn expire(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        self.expire_in(key, self.shared().common.ttls().draw(ttl)?).await
    }

    /// As [`Self::expire`], in so many milliseconds.
    pub(super) async fn expire_in(&self, key: &[u8], ttl_ms: Option<u64>) -> Result<bool> {
        check_key(key)?;
        if ttl_ms == Some(0) {
            return self.delete(key).await;
        }
        let keyspace = self.keyspace();
        let outcome = if keyspace.is_raw() {
            self.send(&keyspace.expire(key, ttl_ms)).await.and_then(expired)
        } else {
            let call = scripts::EXPIRE.call(keyspace.full_key(key)).ttl(ttl_ms);
            self.run_prolonging(call, ttl_ms).await.and_then(integer).map(|found| found > 0)
        };
        self.counted(outcome, |_| None)
    }

    /// Removes `key`.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let outcome = self.remove(&[key]).await.map(|removed| removed > 0);
        self.counted(outcome, |removed| removed.then_some(Counter::Deletes))
    }

    /// What voids the lease on `key`: what is being loaded for it is not stored then.
    fn voiding(&self, key: &[u8]) -> Option<Cmd> {
        self.shared().lease_key(key).map(|lease| {
            let mut void = ::redis::cmd("UNLINK");
            void.arg(lease);
            void
        })
    }

    /// Before what is a removal if it finds the entry as asked for.
    async fn void_if_over(&self, key: &[u8], lifetime: Lifetime) -> Result<()> {
        match self.voiding(key) {
            Some(void) if lifetime.is_over() => {
                let outcome = self.one(Request::write(void)).await.map(drop);
                self.counted(outcome, |()| None)
            }
            _ => Ok(()),
        }
    }

    /// Removes an entry, and has nothing stored that is being loaded for it. What voids its lease goes
    /// first. On a Cluster that is a command of its own: while a slot moves, one that names two keys is
    /// refused unless both are there.
    fn removal(&self, key: &[u8]) -> (Option<Cmd>, Item<'static>) {
        let keyspace = self.keyspace();
        if keyspace.is_raw() {
            return (self.voiding(key), Item::Command(keyspace.command("UNLINK", key)));
        }
        let call = scripts::DELETE.call(keyspace.full_key(key));
        if self.shared().endpoint.is_cluster() {
            return (self.voiding(key), Item::Script(call));
        }
        let call = match self.shared().lease_key(key) {
            Some(lease) => call.also(lease),
            None => call,
        };
        (None, Item::Script(call))
    }

    /// Removes the entries of `keys`; returns how many were there.
    async fn remove(&self, keys: &[&[u8]]) -> Result<u64> {
        if let [key] = keys
            && let (None, Item::Script(call)) = self.removal(key)
        {
            let reply = self.run(&call, false).await?;
            return self.was_there(reply).await.map(u64::from);
        }
        if self.keyspace().is_raw() && !self.shared().endpoint.is_cluster() {
            return self.remove_raw(keys).await;
        }
        let mut items = Vec::with_capacity(keys.len());
        let mut voiding = Vec::new();
        for key in keys {
            let (void, removal) = self.removal(key);
            voiding.extend(void.map(Item::Command));
            items.push(removal);
        }
        let leases = voiding.len();
        voiding.append(&mut items);
        let mut removed = 0;
        for (place, reply) in self.run_all(&voiding, false).await?.into_iter().enumerate() {
            let reply = checked(reply)?;
            if place >= leases {
                removed += u64::from(self.was_there(reply).await?);
            }
        }
        Ok(removed)
    }

    async fn remove_raw(&self, keys: &[&[u8]]) -> Result<u64> {
        let leases: Vec<_> = keys.iter().filter_map(|key| self.shared().lease_key(key)).collect();
        let mut void = ::redis::cmd("UNLINK");
        void.arg(&leases);
        let Body::One(removal) = self.keyspace().unlink_many(keys).body else { return Ok(0) };
        let commands = (!leases.is_empty()).then_some(void).into_iter().chain([removal]);
        let replies = self.send(&Request::batch(commands, false)).await?.many();
        let replies: Vec<_> = replies.into_iter().map(integer).collect::<Result<_>>()?;
        Ok(replies.last().map_or(0, |removed| removed.unsigned_abs()))
    }

    /// What a removed entry counted as.
    async fn was_there(&self, reply: Reply) -> Result<bool> {
        match header_of(&reply) {
            Some(header) => self.tags_hold(&Header::decode(header)?.0.tags, false).await,
            None => Ok(integer(reply)? > 0),
        }
    }

    /// Removes `keys`; returns how many were there.
    pub(super) async fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        self.shared().check_keys(keys)?;
        if keys.is_empty() {
            return Ok(0);
        }
        let outcome = self.remove(keys).await;
        let removed = self.counted(outcome, |_| None)?;
        self.shared().counters.add(Counter::Deletes, removed);
        Ok(removed)
    }

    /// Stores `value` where `key` is absent.
    pub(super) async fn add(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        self.shared().check_item(key, value)?;
        let lifetime = self.shared().lifetime(ttl, Stale::Default)?;
        let outcome = self.store_absent(key, value, lifetime).await;
        // With a TTL of zero nothing was stored, and nothing was there.
        self.counted(outcome, |stored| (*stored && !lifetime.is_over()).then_some(Counter::Sets))
    }

    async fn store_absent(&self, key: &[u8], value: &[u8], lifetime: Lifetime) -> Result<bool> {
        let (keyspace, ttl_ms) = (self.keyspace(), lifetime.kept_ms());
        let stored = keyspace.stored(key, value, lifetime.stale_ms, Vec::new())?;
        // On a Cluster a batch may be sent again in part, where a slot moves.
        let plain = keyspace.is_raw() || !self.shared().endpoint.is_cluster();
        if ttl_ms != Some(0) && plain {
            let set = keyspace.set_when(key, &stored, ttl_ms, "NX");
            if keyspace.is_raw() {
                return when(self.one(Request::write(set)).await?);
            }
            let [set, front] = self.pair([set, keyspace.front(key)], false).await?;
            if when(checked(set)?)? {
                return Ok(true);
            }
            match keyspace.front_of(front) {
                Ok(Front::Plain) => return Ok(false),
                // No string, but there.
                Err(error) if error.kind() == ErrorKind::Server => return Ok(false),
                Err(error) => return Err(error),
                Ok(Front::Empty | Front::Header) => {}
            }
        }
        // It says more than that it is there, or is empty, or is gone already.
        let call = scripts::ADD.call(keyspace.full_key(key)).arg(stored).ttl(ttl_ms);
        Ok(integer(self.run_judged(call, false).await?)? > 0)
    }

    /// Stores `value` where `key` is there.
    pub(super) async fn replace(&self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<bool> {
        self.shared().check_item(key, value)?;
        let lifetime = self.shared().lifetime(ttl, Stale::Default)?;
        self.void_if_over(key, lifetime).await?;
        let outcome = self.store_present(key, value, lifetime).await;
        self.counted(outcome, |stored| stored.then_some(lifetime.counter()))
    }

    async fn store_present(&self, key: &[u8], value: &[u8], lifetime: Lifetime) -> Result<bool> {
        let (keyspace, ttl_ms) = (self.keyspace(), lifetime.kept_ms());
        let stored = keyspace.stored(key, value, lifetime.stale_ms, Vec::new())?;
        if keyspace.is_raw() && ttl_ms != Some(0) {
            let set = keyspace.set_when(key, &stored, ttl_ms, "XX");
            return when(self.one(Request::write(set)).await?);
        }
        let call = scripts::REPLACE.call(keyspace.full_key(key)).arg(stored).ttl(ttl_ms);
        Ok(integer(self.run_judged(call, false).await?)? > 0)
    }

    /// Stores `value` where `key` holds `expected`.
    pub(super) async fn compare_and_set(
        &self,
        key: &[u8],
        expected: &[u8],
        value: &[u8],
        ttl: Ttl,
    ) -> Result<Swap> {
        self.shared().check_item(key, value)?;
        let lifetime = self.shared().lifetime(ttl, Stale::Default)?;
        self.void_if_over(key, lifetime).await?;
        let outcome = self.swap(key, expected, value, lifetime).await;
        self.counted(outcome, |swap| (*swap == Swap::Done).then_some(lifetime.counter()))
    }

    async fn swap(
        &self,
        key: &[u8],
        expected: &[u8],
        value: &[u8],
        lifetime: Lifetime,
    ) -> Result<Swap> {
        let (keyspace, ttl_ms) = (self.keyspace(), lifetime.kept_ms());
        let stored = keyspace.stored(key, value, lifetime.stale_ms, Vec::new())?;
        let call = scripts::COMPARE_AND_SET.call(keyspace.full_key(key)).arg(stored).ttl(ttl_ms);
        // Who encrypts does not tell the server what it compares with.
        let mut call = if keyspace.envelope.encrypts() {
            call.arg(&b""[..]).arg(&b"sealed"[..])
        } else {
            call.arg(expected).arg(&b""[..])
        };
        for digest in keyspace.digests(expected) {
            call = call.arg(digest);
        }
        match integer(self.run_judged(call, false).await?)? {
            1 => Ok(Swap::Done),
            0 => Ok(Swap::Conflict),
            -1 => Ok(Swap::Absent),
            3 => Err(Error::new(
                ErrorKind::Corrupt,
                "the stored value is not encrypted, as all is where there are `encryption_keys`",
            )),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "the stored value is compressed or encrypted, and can't be compared",
            )),
        }
    }

    /// Adds `delta` to a number.
    pub(super) async fn incr(&self, key: &[u8], delta: i64, ttl: Ttl) -> Result<i64> {
        check_key(key)?;
        self.keyspace().needs_plain_numbers()?;
        let ttl_ms = self.shared().common.ttls().draw(ttl)?;
        let outcome = self.count_up(key, delta, ttl_ms).await;
        self.counted(outcome, |_| Some(Counter::Sets))
    }

    async fn count_up(&self, key: &[u8], delta: i64, ttl_ms: Option<u64>) -> Result<i64> {
        let keyspace = self.keyspace();
        if ttl_ms.is_none() {
            let mut command = keyspace.command("INCRBY", key);
            command.arg(delta);
            // An error was no execution. The entry may still count as absent, which the script knows.
            match self.send(&Request::write(command)).await?.one() {
                Err(error) if is_no_number(&error) => {}
                reply => return integer(reply?),
            }
        }
        let call = scripts::INCR.call(keyspace.full_key(key)).number(delta).ttl(ttl_ms);
        match self.run_judged(call, false).await {
            Ok(Reply::BulkString(digits)) => std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| surprise("no number")),
            Ok(Reply::Int(_)) => Err(no_number()),
            Err(error) if is_no_number(&error) => Err(no_number()),
            Ok(_) => Err(surprise("no number")),
            Err(error) => Err(error),
        }
    }

    /// Stores `value` as `options` say.
    pub(super) async fn set_with(
        &self,
        key: &[u8],
        value: &[u8],
        options: &SetOptions,
    ) -> Result<()> {
        self.shared().check_item(key, value)?;
        let lifetime = self.shared().lifetime(options.ttl, options.stale)?;
        let tags = distinct(&options.tags)?;
        if !tags.is_empty() {
            self.keyspace().needs_envelope()?;
        }
        if lifetime.is_over() {
            return self.delete(key).await.map(drop);
        }
        let outcome = self.store(key, value, lifetime, &tags).await;
        self.counted(outcome, |()| Some(Counter::Sets))
    }

    async fn store(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        tags: &[&[u8]],
    ) -> Result<()> {
        let keyspace = self.keyspace();
        let kept_ms = lifetime.kept_ms();
        let tags = match tags {
            [] => Vec::new(),
            tags => self.stamps(tags, kept_ms).await?,
        };
        let stored = keyspace.stored(key, value, lifetime.stale_ms, tags)?;
        let mut command = keyspace.command("SET", key);
        command.arg(stored);
        if let Some(ms) = kept_ms {
            command.arg("PX").arg(ms);
        }
        self.one(Request::write(command)).await.and_then(done)
    }

    /// Makes all values with `tag` absent.
    pub(super) async fn invalidate_tag(&self, tag: &[u8]) -> Result<()> {
        let keyspace = self.keyspace();
        check_tag(tag)?;
        keyspace.needs_prefix()?;
        keyspace.needs_envelope()?;
        let outcome = self.one(keyspace.forget_tag(tag)).await.and_then(integer).map(drop);
        self.counted(outcome, |()| None)
    }

    /// As [`Line::run_judged`], for a script that gives the entry a longer life: the records of its tags
    /// must live as long.
    async fn run_prolonging(&self, call: Invocation<'_>, ttl_ms: Option<u64>) -> Result<Reply> {
        let reply = self.run(&call, false).await?;
        let Some(header) = header_of(&reply) else { return Ok(reply) };
        let header = Header::decode(header)?.0;
        let lifetime_ms = ttl_ms.map(|ms| ms.saturating_add(header.stale_ms.unwrap_or(0)));
        let tags: Vec<&[u8]> = header.tags.iter().map(|tag| &tag.name[..]).collect();
        self.stamps(&tags, lifetime_ms).await?;
        self.run_judged(call, false).await
    }
}

/// The reply to SET with a condition: whether it was met.
fn when(reply: Reply) -> Result<bool> {
    match reply {
        Reply::Nil => Ok(false),
        reply => done(reply).map(|()| true),
    }
}

/// Whether the server says that there is no number to count on, or none that large.
fn is_no_number(error: &Error) -> bool {
    let message = error.message();
    ["not an integer", "would overflow", "WRONGTYPE"].iter().any(|text| message.contains(text))
}

fn no_number() -> Error {
    Error::new(ErrorKind::Type, "the stored value is no 64-bit decimal number, or would overflow")
}
