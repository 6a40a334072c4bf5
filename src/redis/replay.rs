//! A queued write of a Hybrid on its way again: one script, which looks at what the server holds and
//! spares what another process has written. (`docs/coherence.md`)

use std::time::Instant;

use ::redis::{Cmd, cmd};

use super::RedisCache;
use super::commands::{Keyspace, Request, integer, surprise};
use crate::envelope::{About, Tag};
use crate::error::Result;
use crate::value::Value;

const SCRIPT: &str = include_str!("lua/replay.lua");

/// A queued write. TTLs in milliseconds, `None` for ever.
#[derive(Clone, Debug)]
pub(crate) enum Replay {
    /// Store this value, with what [`Value::conditions`] says.
    Set(Value, Option<u64>),
    /// Remove the value.
    Delete {
        /// Whichever value it is.
        any: bool,
    },
    /// Give the value a new TTL.
    Expire {
        /// The new TTL.
        ttl_ms: Option<u64>,
        /// Whichever value it is.
        any: bool,
    },
}

/// What became of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// The server is as the write says.
    Applied,
    /// It holds a value that the replay may not replace: nothing was changed.
    Foreign,
}

impl Keyspace {
    fn replay(&self, key: &[u8], write: &Replay, known: &[Value], tags: Vec<Tag>) -> Result<Cmd> {
        let (name, ttl_ms, value) = match write {
            Replay::Set(value, ttl_ms) => ("set", *ttl_ms, Some(value)),
            Replay::Delete { any: false } => ("delete", None, None),
            Replay::Delete { any: true } => ("remove", None, None),
            Replay::Expire { ttl_ms, any: false } => ("expire", *ttl_ms, None),
            Replay::Expire { ttl_ms, any: true } => ("touch", *ttl_ms, None),
        };
        let stored = match value {
            Some(value) => {
                let about = About { stale_ms: value.window_ms(), tags, negative: false };
                self.envelope.encode(key, value, &about)?.to_vec()
            }
            None => Vec::new(),
        };
        let window_ms = value.and_then(Value::window_ms).unwrap_or(0);
        let ttl_ms = ttl_ms.map(|ms| ms.saturating_add(window_ms));
        let mut eval = cmd("EVAL");
        eval.arg(SCRIPT).arg(1).arg([&self.prefix, key].concat()).arg(name);
        eval.arg(ttl_ms.map_or_else(String::new, |ms| ms.to_string())).arg(stored);
        for value in known {
            eval.arg(sha1_smol::Sha1::from(&value[..]).digest().to_string());
            for digest in self.envelope.digests(value) {
                eval.arg(&digest[..]);
            }
        }
        Ok(eval)
    }
}

impl RedisCache {
    /// Does `write` if the server holds nothing under `key`, or one of `known`.
    pub(crate) async fn replay_async(
        &self,
        key: &[u8],
        write: &Replay,
        known: &[Value],
        deadline: Instant,
    ) -> Result<Replayed> {
        let names: Vec<&[u8]> = match write {
            Replay::Set(value, _) => value.marks().iter().map(|mark| &mark.tag.name[..]).collect(),
            Replay::Delete { .. } | Replay::Expire { .. } => Vec::new(),
        };
        let tags = match write {
            Replay::Set(value, ttl_ms) if !names.is_empty() => {
                let kept_ms = ttl_ms.map(|ms| ms.saturating_add(value.window_ms().unwrap_or(0)));
                self.stamps_async(&names, kept_ms, deadline).await?
            }
            _ => Vec::new(),
        };
        let replay = self.shared.keyspace.replay(key, write, known, tags)?;
        let lease = match write {
            Replay::Delete { .. } => self.shared.lease_key(key),
            Replay::Set(..) | Replay::Expire { .. } => None,
        };
        // What is being loaded is not to be stored behind a removal: its lease goes first.
        let void = lease.map(|lease| {
            let mut void = cmd("UNLINK");
            void.arg(lease);
            void
        });
        let request = Request::batch(void.into_iter().chain([replay]), false);
        let replies = self.write_async(&request, deadline).await?.many().into_iter();
        let reply = replies.last().ok_or_else(|| surprise("no reply"))?;
        let applied = self.noted(integer(reply))? == 1;
        Ok(if applied { Replayed::Applied } else { Replayed::Foreign })
    }
}
