//! What a value has besides its TTL: a stale window, tags, that there is none. What of L2's answer counts,
//! and what L1 keeps of it.
//!
//! # Protocol
//! L2 keeps the conditions with the value. Those of tags are judged by the tags' records (`redis::tags`): a
//! value carries the stamp that each record had when it was written, and is absent where one has another.
//! - **L1 knows tags as L2 does.** A tag here has a version, the record that belongs to it as far as that is
//!   known, and the epoch in which it was known (its *proof*). An entry carries the version of each of its tags:
//!   with another one it is gone for good. With the same, L1 vouches for it while all proofs are of the entry's
//!   epoch; else L2 is asked, as for any entry from before. So a tagged hit costs no trip.
//! - **Learning a record** is as filling L1 with a key, under the record's own stripe: the token is taken before
//!   it is asked for, and checked under the lock of the tags; a push of the record first moves the stripe, and
//!   then takes the proof away. If the record holds something else than what was known, the tag gets a new version.
//! - **A read** takes what L1 knows of a record only where that makes the value hold; otherwise it asks. So L1's
//!   being late never hides a value.
//! - **A tag whose own invalidation L2 has not confirmed** (`tagged.rs`) makes every value that L2 has with it
//!   absent.
//! - **A write** with tags marks them and asks for their stamps first, and stores then: an invalidation in between
//!   leaves a value with an old stamp, or an old version, which is absent. A record that comes into being with the
//!   write is echoed, as it is a script's, which takes its proof away, and costs one more read.
//!
//! A value past its TTL and within its window is absent for all operations, and may be served where L2 does not
//! answer or a load fails. An entry that says that there is none is a miss that L1 can vouch for.

use std::time::Duration;

use super::core::Core;
use super::stripes::ReadToken;
use super::world::{Fetched, Got, Remote, World};
use crate::config::Invalidation;
use crate::envelope::{About, Tag};
use crate::error::Result;
use crate::key::RESERVED_PREFIX;
use crate::local::Terms;
use crate::ops::Remaining;
use crate::redis::Lifetime;
use crate::value::{TagMark, Value};

/// L2's answer, judged.
pub(super) struct Settled {
    pub(super) value: Value,
    /// The time to the end of its TTL; past that, of its window.
    pub(super) left: Remaining,
    /// What comes after the TTL.
    pub(super) window_ms: u64,
    /// It is past its TTL.
    pub(super) stale: bool,
    /// It says that there is none.
    pub(super) negative: bool,
    /// Its tags in L1; `None` where L1 may not keep it.
    pub(super) tags: Option<Vec<TagMark>>,
}

/// What a write has besides its TTL.
pub(super) struct Conditions {
    pub(super) window_ms: Option<u64>,
    pub(super) tags: Vec<TagMark>,
    /// It may not be sent: the stamps of its tags could not be had.
    pub(super) waits: bool,
}

/// How long L1 is to keep something.
pub(super) struct Span {
    /// The time to the end of the TTL; past that, of the window.
    pub(super) left_ms: Option<u64>,
    pub(super) window_ms: u64,
    pub(super) stale: bool,
    pub(super) negative: bool,
}

impl Span {
    pub(super) fn plain(left_ms: Option<u64>) -> Self {
        Self { left_ms, window_ms: 0, stale: false, negative: false }
    }
}

/// What a tag's record is called, for the stripes.
pub(super) fn record_key(tag: &[u8]) -> Vec<u8> {
    [RESERVED_PREFIX, b"t:", tag].concat()
}

/// Whether records have to be looked at for an answer.
pub(super) fn is_tagged(fetched: &Fetched) -> bool {
    fetched.as_ref().is_some_and(|got| !tags_of(got).is_empty())
}

fn tags_of(got: &Got) -> &[Tag] {
    got.about.as_ref().map_or(&[], |about| &about.tags)
}

impl From<Got> for Settled {
    /// Of a value whose tags hold.
    fn from(got: Got) -> Self {
        let Got { value, left, about } = got;
        let About { stale_ms, negative, .. } = about.map(|about| *about).unwrap_or_default();
        let window_ms = stale_ms.unwrap_or(0);
        let fresh = match left {
            Remaining::For(left) if window_ms > 0 => {
                left.checked_sub(Duration::from_millis(window_ms)).filter(|fresh| !fresh.is_zero())
            }
            _ => None,
        };
        let stale = window_ms > 0 && fresh.is_none() && left != Remaining::Forever;
        let left = fresh.map_or(left, Remaining::For);
        Self { value, left, window_ms, stale, negative, tags: Some(Vec::new()) }
    }
}

impl<W: World> Core<W> {
    /// Judges L2's answers, with at most one trip for all their tags.
    pub(super) async fn settle(
        &self,
        fetched: Vec<Fetched>,
        patience: Duration,
    ) -> Result<Vec<Option<Settled>>> {
        let mut wanted: Vec<&Tag> = Vec::new();
        for got in fetched.iter().flatten() {
            wanted.extend(tags_of(got).iter().filter(|tag| !self.tagged.waits(&tag.name)));
        }
        if wanted.is_empty() {
            return Ok(fetched.into_iter().map(|got| self.judged(got, &[])).collect());
        }
        wanted.sort_unstable_by(|one, two| (&one.name, one.stamp).cmp(&(&two.name, two.stamp)));
        wanted.dedup();
        let epoch = self.trust.epoch();
        let trusts = self.options.invalidation != Invalidation::None && self.proven_now();
        let known = |tag: &Tag| match trusts {
            true => self.l1.tag_known(&tag.name, tag.stamp, epoch),
            false => None,
        };
        let mut records = Vec::with_capacity(wanted.len());
        let mut asked: Vec<(&[u8], ReadToken)> = Vec::new();
        for tag in wanted {
            if let Some(mark) = known(tag) {
                records.push((tag.clone(), Some(mark)));
            } else if asked.last().is_none_or(|(name, _)| *name != &tag.name[..]) {
                asked.push((&tag.name, self.stripes.begin_read(&record_key(&tag.name))));
            }
        }
        if let Some(l2) = self.l2.as_ref().filter(|_| !asked.is_empty()) {
            let names: Vec<&[u8]> = asked.iter().map(|(name, _)| *name).collect();
            let stamps = l2.records(&names, patience).await?;
            for ((name, token), stamp) in asked.into_iter().zip(stamps) {
                let intact = || self.stripes.may_fill(&record_key(name), token);
                let mark = self.l1.learn_tag(name, stamp, epoch, intact);
                if let Some(stamp) = stamp {
                    records.push((Tag { name: name.to_vec(), stamp }, mark));
                }
            }
        }
        Ok(fetched.into_iter().map(|got| self.judged(got, &records)).collect())
    }

    /// The answer of one key, in one piece with that of `settle`.
    pub(super) async fn settle_one(
        &self,
        reply: Result<Fetched>,
        patience: Duration,
    ) -> Result<Option<Settled>> {
        let fetched = reply?;
        if !is_tagged(&fetched) {
            return Ok(fetched.map(Settled::from));
        }
        Ok(self.settle(vec![fetched], patience).await?.pop().flatten())
    }

    /// `records`: what holds now.
    fn judged(&self, fetched: Fetched, records: &[(Tag, Option<TagMark>)]) -> Option<Settled> {
        let mut got = fetched?;
        let tags = got.about.as_mut().map(|about| std::mem::take(&mut about.tags));
        let mut marks = Some(Vec::new());
        for tag in tags.unwrap_or_default() {
            let (_, mark) = records.iter().find(|(record, _)| *record == tag)?;
            match (mark, &mut marks) {
                (Some(mark), Some(marks)) => marks.push(mark.clone()),
                _ => marks = None,
            }
        }
        Some(Settled { tags: marks, ..Settled::from(got) })
    }

    /// What a write that begins now has besides its TTL, and the tags to store with it. `None` for nothing.
    pub(super) async fn conditions(
        &self,
        lifetime: Lifetime,
        names: &[&[u8]],
        patience: Duration,
    ) -> Result<(Option<Conditions>, Vec<Tag>)> {
        let window_ms = lifetime.stale_ms;
        if names.is_empty() {
            let some = Conditions { window_ms, tags: Vec::new(), waits: false };
            return Ok((window_ms.map(|_| some), Vec::new()));
        }
        let epoch = self.trust.epoch();
        let mut marks = self.marks(names);
        let tokens: Vec<ReadToken> =
            names.iter().map(|name| self.stripes.begin_read(&record_key(name))).collect();
        let ordered = !names.iter().any(|name| self.tagged.waits(name));
        if let Some(l2) = self.leg().filter(|_| ordered) {
            match l2.stamps(names, lifetime.kept_ms(), patience).await {
                Ok(tags) => {
                    self.breaker.succeeded();
                    for ((tag, token), mark) in tags.iter().zip(tokens).zip(&mut marks) {
                        let intact = || self.stripes.may_fill(&record_key(&tag.name), token);
                        let learnt = self.l1.learn_tag(&tag.name, Some(tag.stamp), epoch, intact);
                        *mark = learnt.unwrap_or_else(|| mark.clone());
                    }
                    let sent = Conditions { window_ms, tags: marks, waits: false };
                    return Ok((Some(sent), tags));
                }
                Err(error) => drop(self.unanswered(error, || ())?),
            }
        }
        let alone = Conditions { window_ms, tags: marks, waits: true };
        Ok((Some(alone), Vec::new()))
    }

    /// Tags as they are now.
    pub(super) fn marks(&self, names: &[&[u8]]) -> Vec<TagMark> {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
        self.l1.marks(&names)
    }

    /// How long past its TTL a value may be served where a call says nothing else.
    pub(super) fn window_ms(&self) -> Option<u64> {
        let window = self.l2.as_ref()?.common()?.stale_ttl.as_millis() as u64;
        (window > 0).then_some(window)
    }

    /// The share of its TTL past which a value is to be loaded anew.
    pub(super) fn refresh_ahead(&self) -> Option<f64> {
        self.l2.as_ref()?.common()?.refresh_ahead
    }

    /// Stores into L1 if `valid` says so under the shard's lock.
    pub(super) fn keep(
        &self,
        key: &[u8],
        value: &[u8],
        span: &Span,
        tags: &[TagMark],
        epoch: u32,
        valid: impl FnOnce() -> bool,
    ) -> Result<bool> {
        let Span { left_ms, window_ms, stale, negative } = *span;
        let fresh_ms = if stale { Some(0) } else { self.l1_ttl(left_ms) };
        // Whether a value is due is judged by its life in L2.
        let capped = !stale && fresh_ms != left_ms && self.refresh_ahead().is_some();
        if window_ms == 0 && !stale && !negative && tags.is_empty() && !capped {
            return self.l1.set_stamped_if(key, value, fresh_ms, epoch, valid);
        }
        let kept_ms = match stale {
            true => left_ms,
            false if fresh_ms == Some(0) => fresh_ms,
            false => fresh_ms.map(|ms| ms.saturating_add(window_ms)),
        };
        let whole_ms = left_ms.filter(|_| capped);
        let terms = Terms { fresh_ms, kept_ms, whole_ms, negative, tags: tags.to_vec() };
        self.l1.set_terms_if(key, value, terms, epoch, valid)
    }
}
