//! The turn to load a key, for a Hybrid, which runs the loader and keeps what it brings in its own order:
//! the claim, and the ends that a load can have. What the lease and the scripts see to is said in `load`.

use std::time::{Duration, Instant};

use super::{Begun, Call, Claim, Look};
use crate::envelope::About;
use crate::error::{ErrorKind, Result};
use crate::ops::{SetOptions, Ttl};
use crate::redis::RedisCache;
use crate::redis::lifetime::Lifetime;
use crate::redis::tags::distinct;
use crate::value::Value;

/// The right to load a key. Dropped, it is given back: whoever waits looks again.
pub(crate) struct Turn(Begun);

/// What came of asking for a turn.
pub(crate) enum Claimed {
    Turn(Turn),
    /// There is a value, or it is remembered that there is none. `waited`: another process has loaded it.
    There {
        value: Option<Value>,
        waited: bool,
    },
    /// Another process loads it, for which the caller does not wait.
    Taken,
    /// The load that was waited for has failed, or takes longer than the caller has time.
    Failed(crate::error::Error),
}

impl Turn {
    /// What may be served should the load fail, and whether that is past its TTL.
    pub(crate) fn old(&self) -> Option<(Value, bool)> {
        match &self.0.look {
            Look::Fresh { value, .. } => Some((value.clone(), false)),
            Look::Missing(old) => old.clone().map(|value| (value, true)),
            Look::Negative => None,
        }
    }
}

impl RedisCache {
    /// Waits for the turn to load `key`, for as long as `options` allow; `nested` as inside of a loader,
    /// where nobody waits. Each round trip is bounded by `patience`.
    pub(crate) async fn take_turn(
        &self,
        key: &[u8],
        options: &SetOptions,
        nested: bool,
        patience: Duration,
    ) -> Result<Claimed> {
        let call = Call { nested, ..Call::new(self, key, options)? };
        let claim = self.shared.task_line(Some(patience)).claim(&call).await?;
        let waited = matches!(claim, Claim::Busy(_));
        match self.await_turn(&call, claim).await {
            Ok(begun) => Ok(claimed(begun, waited)),
            Err(error) => {
                let late = error.kind() == ErrorKind::Timeout && Instant::now() >= call.until();
                if late || error.kind() == ErrorKind::Loader {
                    return Ok(Claimed::Failed(error));
                }
                Err(error)
            }
        }
    }

    /// As [`RedisCache::take_turn`], where the present value is good for a while: nobody is waited for.
    pub(crate) async fn take_free_turn(
        &self,
        key: &[u8],
        options: &SetOptions,
        patience: Duration,
    ) -> Result<Claimed> {
        let call = Call::new(self, key, options)?.unhurried();
        match self.shared.task_line(Some(patience)).claim(&call).await? {
            Claim::Begun(begun) => Ok(claimed(begun, false)),
            Claim::Busy(_) => Ok(Claimed::Taken),
        }
    }

    /// Ends a turn with what was loaded, to be kept for `lifetime`; whether that is stored now. `named`:
    /// the tags, where the loader has named others than those that the turn was taken with.
    pub(crate) async fn fill(
        &self,
        key: &[u8],
        turn: Turn,
        value: &[u8],
        lifetime: Lifetime,
        named: Option<&[Vec<u8>]>,
        patience: Duration,
    ) -> Result<bool> {
        let line = self.shared.task_line(Some(patience));
        let Turn(mut begun) = turn;
        let kept = begun.kept.take();
        let tags = match named {
            None => begun.tags,
            Some(named) => {
                // What was invalidated during the load is not known.
                let tags = distinct(named)?;
                if tags.is_empty() {
                    Vec::new()
                } else {
                    self.shared.keyspace.needs_envelope()?;
                    line.stamps(&tags, lifetime.kept_ms()).await?
                }
            }
        };
        let about = About { stale_ms: lifetime.stale_ms, tags, negative: false };
        let stored = self.shared.keyspace.envelope.encode(key, value, &about)?.to_vec();
        let filled = line.fill(key, stored, lifetime, &begun.hash, kept).await;
        self.noted(filled)
    }

    /// Ends a turn that found that there is no value: that is remembered, if so configured, and an old
    /// value goes. Whether the key is as that says now.
    pub(crate) async fn fill_none(
        &self,
        key: &[u8],
        turn: Turn,
        patience: Duration,
    ) -> Result<bool> {
        let Turn(mut begun) = turn;
        let kept = begun.kept.take();
        let ttl = Ttl::After(self.shared.common.negative_ttl);
        let lifetime = Lifetime::plain(self.shared.common.ttls().draw(ttl)?);
        let stored = if lifetime.is_over() {
            Vec::new()
        } else {
            let about = About { stale_ms: None, tags: begun.tags, negative: true };
            self.shared.keyspace.envelope.encode(key, b"", &about)?.to_vec()
        };
        let line = self.shared.task_line(Some(patience));
        let filled = line.fill(key, stored, lifetime, &begun.hash, kept).await;
        self.noted(filled)
    }

    /// Ends a turn without a value. Whoever waits is told the reason, or with an empty one looks again.
    pub(crate) async fn forgo(&self, turn: Turn, reason: &str, patience: Duration) {
        let Turn(mut begun) = turn;
        if let Some(kept) = begun.kept.take() {
            kept.fail(&self.shared.task_line(Some(patience)), reason).await;
        }
    }
}

fn claimed(begun: Begun, waited: bool) -> Claimed {
    match begun.answered() {
        Some(value) => Claimed::There { value, waited },
        None => Claimed::Turn(Turn(begun)),
    }
}
