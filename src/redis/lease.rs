//! The lease on loading a key: of all processes one at a time has it. It is a key of its own beside the
//! value, on a Cluster on the same node, so that one script can look at both.
//!
//! - A lease runs for [`LEASE`] and is renewed by a task while its owner loads. That of an owner who died
//!   or was stopped runs out, and another takes it; what the first one loads is then refused.
//! - Who deletes the key, alone or with all others, removes the lease with it: a value that was loaded
//!   before a deletion does not come back after it.
//! - Its end is published: with nothing where there is a value now, else with the reason.
//!
//! - Where each process is to load for itself, they share it: it is there for the deletion to remove, and ends
//!   with the first value that is stored, as the others would come too late anyway.
//!
//! Where the braces of a key let no name for the lease fall on the same node, there is none, and each
//! process loads for itself; so without a prefix.

use std::sync::Arc;
use std::time::Duration;

use ::redis::cluster_routing::Slot;
use tokio::task::AbortHandle;

use super::Shared;
use super::commands::{Keyspace, integer};
use super::line::Line;
use super::scripts;
use crate::error::Result;
use crate::fork;
use crate::key::RESERVED_PREFIX;
use crate::random;
use crate::runtime;

/// How long a lease runs without being renewed.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How often it is renewed while its owner loads.
const RENEWAL: Duration = Duration::from_millis(1500);
/// Longest reason that is published.
const REASON_MAX: usize = 512;

/// The right to load one key, held by whoever knows the token.
#[derive(Clone)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    pub(super) key: Vec<u8>,
    pub(super) channel: Vec<u8>,
    pub(super) token: Vec<u8>,
}

/// What decides the slot of a key on a Cluster: the first non-empty part in braces, or all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

impl Keyspace {
    /// The key of the lease on `key`, where it can have one.
    fn lease_key(&self, key: &[u8], on_cluster: bool) -> Option<Vec<u8>> {
        if self.prefix.is_empty() {
            return None;
        }
        let full = self.full_key(key);
        let tag = hash_tag(&full);
        let rest: &[u8] = if tag.len() == full.len() { b"" } else { key };
        let name = [&self.prefix[..], RESERVED_PREFIX, b"f:{", tag, b"}", rest].concat();
        let same_node = !on_cluster || Slot::for_key(&name) == Slot::for_key(&full);
        same_node.then_some(name)
    }

    /// What the keys of all leases begin with.
    pub(super) fn front_of_leases(&self) -> Vec<u8> {
        [&self.prefix[..], RESERVED_PREFIX, b"f:{"].concat()
    }

    /// Whether `name` is that of a lease on a key that begins with `own`, or may be: a key with braces can
    /// have the same name as another one's rest.
    pub(super) fn may_be_lease_below(&self, name: &[u8], own: &[u8]) -> bool {
        let Some(rest) = name.strip_prefix(&self.front_of_leases()[..]) else { return false };
        let whole = rest.strip_prefix(&self.prefix[..]).is_some_and(|key| key.starts_with(own));
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'}');
        whole
            || ends
                .map(|(at, _)| &rest[at + 1..])
                .any(|key| !key.is_empty() && key.starts_with(own))
    }
}

impl Shared {
    /// The key of the lease on `key`, where loads of it have one.
    pub(super) fn lease_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.keyspace.lease_key(key, self.endpoint.is_cluster())
    }

    /// A lease on `key`, to be taken; `None` where loads of it have none.
    pub(super) fn lease(self: &Arc<Self>, key: &[u8]) -> Result<Option<Lease>> {
        let Some(name) = self.lease_key(key) else { return Ok(None) };
        let channel = [&self.keyspace.prefix[..], RESERVED_PREFIX, b"v:", key].concat();
        let token = random::bytes::<16>()?.to_vec();
        Ok(Some(Lease { shared: self.clone(), key: name, channel, token }))
    }
}

impl Lease {
    /// The lease was taken, or is another's with its `token`: keeps it until what is returned is dropped or
    /// ended.
    pub(super) fn keep(mut self, token: Vec<u8>) -> Kept {
        let shared = std::mem::replace(&mut self.token, token) != self.token;
        let lease = self.clone();
        let renewing = runtime::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let line = lease.shared.task_line(None);
                // A trip that failed is tried again in time; a lease that is lost stays so.
                if matches!(lease.renewed(&line).await, Ok(false)) {
                    return;
                }
            }
        });
        let renewing = renewing.ok().map(|task| task.abort_handle());
        Kept { lease: Some(self), shared, renewing, generation: fork::generation() }
    }

    /// Has it run on; false where it is lost.
    pub(super) async fn renewed(&self, line: &Line<'_>) -> Result<bool> {
        let call = scripts::RENEW.call(&self.key[..]).arg(&self.token[..]);
        let call = call.number(LEASE.as_millis());
        Ok(integer(line.run(&call, false).await?)? > 0)
    }

    /// Ends it without a value; false where it is lost.
    pub(super) async fn forgo(&self, line: &Line<'_>, reason: &str) -> Result<bool> {
        let mut end = reason.len().min(REASON_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let call = scripts::FORGO.call(&self.key[..]).arg(&self.token[..]);
        let call = call.arg(&self.channel[..]).arg(&reason.as_bytes()[..end]);
        Ok(integer(line.run(&call, false).await?)? > 0)
    }
}

/// A lease that is renewed. Dropped, as where a loader panics or its task is cancelled, it is given back.
pub(super) struct Kept {
    lease: Option<Lease>,
    /// It was another's before: not ours to end without a value.
    shared: bool,
    renewing: Option<AbortHandle>,
    generation: u32,
}

impl Kept {
    /// It ends with what is stored now, by whoever has the lease's token.
    pub(super) fn take(mut self) -> Option<Lease> {
        self.lease.take()
    }

    /// The load failed: whoever waits is told why, before its own caller is. So the next call finds no
    /// lease, and does not take this failure for that of a load which it waited for.
    pub(super) async fn fail(mut self, line: &Line<'_>, reason: &str) {
        if let Some(lease) = self.own() {
            // Should it fail, the lease runs out.
            let _ = lease.forgo(line, reason).await;
        }
    }

    /// The lease, if it is this caller's: in a forked child it is still the parent's.
    fn own(&mut self) -> Option<Lease> {
        let own = !self.shared && self.generation == fork::generation();
        self.lease.take().filter(|_| own)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            if let Some(renewing) = &self.renewing {
                renewing.abort();
            }
        } else {
            // It belongs to the parent's runtime.
            std::mem::forget(self.renewing.take());
        }
        if let Some(lease) = self.own() {
            // Whoever waits looks again, and one of them loads.
            let forgoing =
                async move { drop(lease.forgo(&lease.shared.task_line(None), "").await) };
            drop(runtime::spawn(forgoing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedisOptions;
    use crate::envelope::Envelope;

    fn keyspace(prefix: &str) -> Keyspace {
        let options = RedisOptions { prefix: prefix.into(), ..RedisOptions::default() };
        Keyspace::new(prefix, Envelope::new(&options, None, 8))
    }

    #[test]
    fn a_lease_is_on_the_node_of_its_value() {
        for prefix in ["app", "a{b}c", "{x}"] {
            let keyspace = keyspace(prefix);
            for key in [&b"k"[..], b"{x}y", b"x{y}z{w}", b"a{", b"*\0\xff"] {
                let lease = keyspace.lease_key(key, true).unwrap();
                assert!(lease.starts_with(&[prefix.as_bytes(), b":__lc:f:"].concat()));
                assert_eq!(Slot::for_key(&lease), Slot::for_key(keyspace.full_key(key)));
            }
        }
        // Where no such name can be had there is none, on a Cluster.
        for key in [&b"a}b"[..], b"{}"] {
            assert_eq!(keyspace("app").lease_key(key, true), None);
        }
        assert!(keyspace("app").lease_key(b"a}b", false).is_some());
        assert_eq!(keyspace("a{b").lease_key(b"k", true), None);
    }

    #[test]
    fn a_lease_is_found_by_what_its_key_begins_with() {
        for prefix in ["app", "a{b}c", "{x}"] {
            let keyspace = keyspace(prefix);
            for key in [&b"k:1"[..], b"{x}y", b"x{y}z{w}", b"a{", b"a}b", b"{}", b"*\0\xff"] {
                let lease = keyspace.lease_key(key, false).unwrap();
                for own in 0..=key.len() {
                    assert!(keyspace.may_be_lease_below(&lease, &key[..own]), "{prefix} {key:?}");
                }
                assert!(!keyspace.may_be_lease_below(&lease, b"other"));
            }
            assert!(!keyspace.may_be_lease_below(&keyspace.full_key(b"k"), b"k"));
        }
    }

    #[test]
    fn leases_of_different_keys_differ() {
        let keyspace = keyspace("app");
        let leases: std::collections::HashSet<_> =
            [&b"k"[..], b"{k}", b"{k}1", b"{k}2", b"{app:k}", b"1{k}"]
                .map(|key| keyspace.lease_key(key, true).unwrap())
                .into();
        assert_eq!(leases.len(), 6);
    }
}
