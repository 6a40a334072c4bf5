//! Whether an entry counts as there: one that is past its TTL and only kept for the case that a reload
//! fails, one of which a tag was invalidated, and one that says that there is no value are absent for
//! every operation.
//!
//! Most values have no such conditions, which the first bytes of what is stored tell. For the others
//! - reads look at the remaining time and at the records of the tags ([`Line::settle`]);
//! - operations that change something are scripts, which look themselves. The records of tags are other
//!   keys, on a Cluster perhaps on other servers, so a script that meets tags does nothing and hands out
//!   the header instead. The caller judges the tags and calls again, naming header and verdict, and this
//!   time the script acts if the header is still that one ([`Line::run_judged`]).
//!
//! # Why the answers are those of one moment
//! A tag's stamp never comes back once it was replaced. So a value whose stamps are those of the records
//! now was valid since it was written, also when it was read; and one whose stamps are not was invalid
//! when its record was read, however it is overwritten meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::Value as Reply;

use super::commands::{Keyspace, remaining, surprise};
use super::error_map::checked;
use super::line::{Item, Line};
use super::scripts::{self, Invocation};
use super::tags;
use crate::envelope::{Header, Tag};
use crate::error::Result;
use crate::ops::{Found, Remaining, Tier};
use crate::value::Value;

/// A value whose conditions were looked at.
pub(super) struct Settled {
    pub(super) value: Value,
    /// How long it has still to live, the stale window not counted unless it is `stale`.
    pub(super) remaining: Remaining,
    /// It is past its TTL.
    pub(super) stale: bool,
    /// It says that there is no value; this one is empty.
    pub(super) negative: bool,
}

/// What one look at a value's conditions brought.
enum Look {
    Settled(Option<Settled>),
    /// It was replaced by these bytes, with other tags.
    Replaced(Vec<u8>),
}

impl Line<'_> {
    /// The value of `key`, of which `stored` was read. `timed` where its remaining time is wanted.
    pub(super) async fn settle(
        &self,
        key: &[u8],
        stored: Vec<u8>,
        timed: bool,
    ) -> Result<Option<Settled>> {
        self.settle_all(vec![(key, stored)], timed).await?.pop().unwrap_or(Ok(None))
    }

    /// The same for several keys, in one trip as a rule.
    pub(super) async fn settle_all(
        &self,
        values: Vec<(&[u8], Vec<u8>)>,
        timed: bool,
    ) -> Result<Vec<Result<Option<Settled>>>> {
        let mut settled: Vec<Result<Option<Settled>>> = values.iter().map(|_| Ok(None)).collect();
        let mut open: Vec<(usize, &[u8], Vec<u8>)> =
            values.into_iter().enumerate().map(|(at, (key, stored))| (at, key, stored)).collect();
        // Whoever is replaced again and again is settled by the deadline of the next trip at the latest.
        while !open.is_empty() {
            let mut looks = self.look(&open, timed).await?.into_iter();
            let mut replaced = Vec::new();
            for (at, key, _) in open {
                match looks.next() {
                    Some(Ok(Look::Settled(value))) => settled[at] = Ok(value),
                    Some(Ok(Look::Replaced(stored))) => replaced.push((at, key, stored)),
                    Some(Err(error)) => settled[at] = Err(error),
                    None => return Err(surprise("too few values")),
                }
            }
            open = replaced;
        }
        Ok(settled)
    }

    /// What `stored` counts as, of which it is known that it had `left` to live not later than when it was
    /// read. Its tags are looked at, in one trip; without tags in none.
    pub(super) async fn stand(
        &self,
        key: &[u8],
        stored: Vec<u8>,
        left: Remaining,
    ) -> Result<Option<Settled>> {
        let keyspace = &self.shared().keyspace;
        let header = keyspace.header(&stored)?;
        let items: Vec<Item<'_>> =
            header.tags.iter().map(|tag| Item::Command(keyspace.tag_record(&tag.name))).collect();
        let mut stamps = HashMap::new();
        for (tag, reply) in std::iter::zip(&header.tags, self.run_all(&items, true).await?) {
            stamps.insert(tag.name.clone(), tags::stamp_of(&checked(reply)?));
        }
        match judged(keyspace, key, stored, header, Some(left), &stamps)? {
            Look::Settled(settled) => Ok(settled),
            // All that it depends on is known.
            Look::Replaced(_) => Err(surprise("no record of a tag")),
        }
    }

    async fn look(
        &self,
        values: &[(usize, &[u8], Vec<u8>)],
        timed: bool,
    ) -> Result<Vec<Result<Look>>> {
        let keyspace = &self.shared().keyspace;
        let mut items = Vec::new();
        let mut asked: HashMap<Vec<u8>, Option<u64>> = HashMap::new();
        let mut headers = Vec::with_capacity(values.len());
        for (_, key, stored) in values {
            let header = keyspace.header(stored);
            let reread = timed || header.as_ref().is_ok_and(|header| header.stale_ms.is_some());
            if reread {
                items.push(Item::Script(scripts::READ.call(keyspace.full_key(key))));
            }
            for tag in header.iter().flat_map(|header| &header.tags) {
                asked.entry(tag.name.clone()).or_default();
            }
            headers.push((header, reread));
        }
        let reads = items.len();
        let names: Vec<Vec<u8>> = asked.keys().cloned().collect();
        items.extend(names.iter().map(|name| Item::Command(keyspace.tag_record(name))));
        let mut replies = self.run_all(&items, true).await?.into_iter();
        let mut read: Vec<Reply> = replies.by_ref().take(reads).collect();
        for (name, reply) in std::iter::zip(names, replies) {
            asked.insert(name, tags::stamp_of(&checked(reply)?));
        }
        read.reverse();
        let looks = std::iter::zip(headers, values).map(|((header, reread), (_, key, stored))| {
            let header = header?;
            if !reread {
                return judged(keyspace, key, stored.clone(), header, None, &asked);
            }
            let reply = read.pop().ok_or_else(|| surprise("too few values"))?;
            let Some((left, stored)) = timed_value(reply)? else { return Ok(Look::Settled(None)) };
            let header = keyspace.header(&stored)?;
            judged(keyspace, key, stored, header, Some(left), &asked)
        });
        Ok(looks.collect())
    }

    /// Whether the tags are those of the records now; of the primary's, unless the caller is one who
    /// only reads.
    pub(super) async fn tags_hold(&self, tags: &[Tag], read_only: bool) -> Result<bool> {
        let keyspace = &self.shared().keyspace;
        let items: Vec<Item<'_>> =
            tags.iter().map(|tag| Item::Command(keyspace.tag_record(&tag.name))).collect();
        let mut hold = true;
        for (tag, reply) in std::iter::zip(tags, self.run_all(&items, read_only).await?) {
            hold &= tags::stamp_of(&checked(reply)?) == Some(tag.stamp);
        }
        Ok(hold)
    }

    /// Runs a script that looks whether the entry is there, with the tags judged where it has some.
    pub(super) async fn run_judged(
        &self,
        mut call: Invocation<'_>,
        read_only: bool,
    ) -> Result<Reply> {
        if self.shared().keyspace.is_raw() {
            call.judge(Vec::new(), b"raw");
        }
        loop {
            let reply = self.run(&call, read_only).await?;
            let Some(header) = header_of(&reply) else { return Ok(reply) };
            let tags = Header::decode(header)?.0.tags;
            let verdict: &[u8] = if self.tags_hold(&tags, read_only).await? { b"1" } else { b"0" };
            call.judge(header.to_vec(), verdict);
        }
    }
}

/// The header that a script has handed out for its tags to be judged.
pub(super) fn header_of(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Array(parts) => match &parts[..] {
            [Reply::BulkString(header)] => Some(header),
            _ => None,
        },
        _ => None,
    }
}

/// The reply of the script that reads a value with its time.
fn timed_value(reply: Reply) -> Result<Option<(Remaining, Vec<u8>)>> {
    let Reply::Array(parts) = checked(reply)? else { return Err(surprise("no array")) };
    match <[Reply; 2]>::try_from(parts) {
        Ok([left, Reply::BulkString(stored)]) => {
            Ok(remaining(left)?.map(|remaining| (remaining, stored)))
        }
        Ok([_, Reply::Nil]) => Ok(None),
        _ => Err(surprise("no value with its time")),
    }
}

/// `left`: the time until the server removes it, where it was asked for.
fn judged(
    keyspace: &Keyspace,
    key: &[u8],
    stored: Vec<u8>,
    header: Header,
    left: Option<Remaining>,
    stamps: &HashMap<Vec<u8>, Option<u64>>,
) -> Result<Look> {
    for tag in &header.tags {
        match stamps.get(&tag.name) {
            Some(stamp) if *stamp == Some(tag.stamp) => {}
            Some(_) => return Ok(Look::Settled(None)),
            None => return Ok(Look::Replaced(stored)),
        }
    }
    let window = Duration::from_millis(header.stale_ms.unwrap_or(0));
    let (remaining, stale) = match left {
        Some(Remaining::For(left)) if !window.is_zero() => match left.checked_sub(window) {
            Some(fresh) if !fresh.is_zero() => (Remaining::For(fresh), false),
            _ => (Remaining::For(left), true),
        },
        Some(left) => (left, false),
        None if window.is_zero() => (Remaining::Forever, false),
        None => return Ok(Look::Replaced(stored)),
    };
    let (value, negative) = keyspace.opened(key, stored)?;
    Ok(Look::Settled(Some(Settled { value, remaining, stale, negative })))
}

impl Settled {
    /// As the caller gets it.
    pub(super) fn found(self) -> Found {
        Found::fresh(self.value, self.remaining, Tier::L2)
    }

    /// The value where there is one, and it is fresh.
    pub(super) fn fresh(self) -> Option<Self> {
        if self.stale || self.negative { None } else { Some(self) }
    }
}
