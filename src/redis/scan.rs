//! Walks over all keys of a cache, or those that begin alike, by SCAN, to count and to name them; `clear`
//! removes them. They take many round trips; each has the deadline, not the whole. Keys that are stored
//! or removed meanwhile may or may not be seen.
//!
//! The prefix is escaped in the pattern and checked again on the raw key, so that no glob character
//! lets a foreign key in; the library's own keys below the prefix are not among them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use ::redis::{Cmd, Value as Reply, cmd};

use super::Shared;
use super::commands::{Keyspace, Request, surprise};
use super::error_map::{Trip, checked, no_reply};
use super::listen::masters;
use crate::config::HostPort;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KEY_MAX, RESERVED_PREFIX};
use crate::runtime;

/// How many keys the server is asked to look at in one trip: a millisecond or two of its time, in which it
/// serves nobody else.
pub(super) const COUNT: usize = 2000;

/// One server to scan.
pub(super) enum Node {
    Only,
    OfCluster(HostPort),
}

impl Shared {
    /// Counts the keys of this cache.
    pub(super) async fn count(self: &Arc<Self>, per_trip: Duration) -> Result<u64> {
        let mut count = 0;
        let mut scan = Scan::begin(self, b"", per_trip).await?;
        while let Some(keys) = scan.page().await? {
            count += keys.len() as u64;
        }
        Ok(count)
    }

    /// The keys of this cache that begin with `own`, each once and without the prefix.
    pub(super) async fn keys(
        self: &Arc<Self>,
        own: &[u8],
        per_trip: Duration,
    ) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut scan = Scan::begin(self, own, per_trip).await?;
        while let Some(mut keys) = scan.page().await? {
            for key in &mut keys {
                key.drain(..self.keyspace.prefix.len());
            }
            found.append(&mut keys);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Shows `visit` the keys that begin with `own`, without the prefix, until it breaks. A page of keys
    /// is complete before the first of them is shown: nothing is under way meanwhile.
    pub(super) fn visit_keys(
        self: &Arc<Self>,
        own: &[u8],
        per_trip: Duration,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let begun = Scan::begin(self, own, per_trip);
        let mut scan = runtime::block_on(Instant::now() + 2 * per_trip, begun)??;
        while let Some(keys) = runtime::block_on(Instant::now() + 2 * per_trip, scan.page())?? {
            for key in keys {
                if visit(&key[self.keyspace.prefix.len()..]).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The servers that have keys of this cache.
    pub(super) async fn nodes(self: &Arc<Self>, per_trip: Duration) -> Result<Vec<Node>> {
        self.keyspace.needs_prefix()?;
        if !self.endpoint.is_cluster() {
            return Ok(vec![Node::Only]);
        }
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        let replies = self.run_async(&Request::read(slots), Instant::now() + per_trip).await?;
        let masters = masters(&replies.one()?, None).ok_or_else(|| surprise("no slots"))?;
        Ok(masters.into_iter().map(Node::OfCluster).collect())
    }

    async fn ask_node(
        self: &Arc<Self>,
        address: &HostPort,
        question: Cmd,
        deadline: Instant,
    ) -> Result<Reply> {
        let home = runtime::home()?;
        let asking = async {
            let pipe = self.pipe(self.state(), &home).await.map_err(Trip::NotSent)?;
            let Some(cluster) = pipe.as_cluster() else {
                return Err(Trip::NotSent(surprise("no Cluster")));
            };
            cluster.ask_node(address, &question).await
        };
        match runtime::timeout_at(&home, deadline, asking).await {
            Some(Ok(reply)) => checked(reply),
            Some(Err(trip)) => Err(trip.into_error()),
            None => Err(no_reply()),
        }
    }
}

/// A walk over the keys of a cache, server by server.
struct Scan<'a> {
    shared: &'a Arc<Shared>,
    /// What the keys begin with, the cache's prefix included.
    front: Vec<u8>,
    per_trip: Duration,
    nodes: vec::IntoIter<Node>,
    /// The server that is walked over.
    at: Option<Walk>,
}

impl<'a> Scan<'a> {
    /// Over the keys that begin with `own`.
    async fn begin(shared: &'a Arc<Shared>, own: &[u8], per_trip: Duration) -> Result<Self> {
        let front = shared.front(own)?;
        let nodes = shared.nodes(per_trip).await?.into_iter();
        Ok(Self { shared, front, per_trip, nodes, at: None })
    }

    /// The next keys as they are stored, perhaps none; `None` at the end.
    async fn page(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        loop {
            let walk = match &mut self.at {
                Some(walk) => walk,
                None => match self.nodes.next() {
                    Some(node) => {
                        let shared = self.shared.clone();
                        let node = Arc::new(node);
                        let walk = Walk::new(shared, node, &self.front, COUNT, self.per_trip);
                        self.at.insert(walk)
                    }
                    None => return Ok(None),
                },
            };
            if let Some(mut keys) = walk.page().await? {
                keys.retain(|key| self.shared.keyspace.is_entry(key, &self.front));
                return Ok(Some(keys));
            }
            self.at = None;
        }
    }
}

/// A walk over the keys of one server that begin alike.
pub(super) struct Walk {
    shared: Arc<Shared>,
    pub(super) node: Arc<Node>,
    pattern: Vec<u8>,
    /// How many keys the server looks at in one trip.
    count: usize,
    pub(super) per_trip: Duration,
    /// Where it is; `None` at the end.
    cursor: Option<Vec<u8>>,
}

impl Walk {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: Arc<Node>,
        front: &[u8],
        count: usize,
        per_trip: Duration,
    ) -> Self {
        let cursor = Some(Vec::from(b"0"));
        Self { shared, node, pattern: pattern(front), count, per_trip, cursor }
    }

    /// The next keys as they are stored, perhaps none, and perhaps foreign ones; `None` at the end.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&self.pattern[..]).arg("COUNT").arg(self.count);
        let deadline = Instant::now() + self.per_trip;
        let reply = match &*self.node {
            Node::Only => self.shared.run_async(&Request::read(scan), deadline).await?.one()?,
            Node::OfCluster(address) => self.shared.ask_node(address, scan, deadline).await?,
        };
        let (next, keys) = page(reply).ok_or_else(|| surprise("no page of a scan"))?;
        self.cursor = (next != b"0").then_some(next);
        Ok(Some(keys))
    }
}

impl Shared {
    /// What the stored keys begin with whose own part begins with `own`.
    pub(super) fn front(&self, own: &[u8]) -> Result<Vec<u8>> {
        if own.len() > KEY_MAX {
            return Err(Error::new(ErrorKind::TooBig, "the prefix is longer than any key"));
        }
        Ok(self.keyspace.full_key(own))
    }
}

impl Keyspace {
    /// Whether `key`, as it is stored, is a user's and begins with `front`.
    pub(super) fn is_entry(&self, key: &[u8], front: &[u8]) -> bool {
        let own = key.strip_prefix(&self.prefix[..]);
        key.starts_with(front)
            && own.is_some_and(|own| !own.is_empty() && !own.starts_with(RESERVED_PREFIX))
    }
}

/// All that begins with `prefix`, whatever characters it has.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 8);
    for &byte in prefix {
        if matches!(byte, b'\\' | b'*' | b'?' | b'[' | b']') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

fn page(reply: Reply) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::BulkString(cursor), Reply::Array(keys)] = <[Reply; 2]>::try_from(parts).ok()?
    else {
        return None;
    };
    let keys = keys.into_iter().map(|key| match key {
        Reply::BulkString(key) => Some(key),
        _ => None,
    });
    Some((cursor, keys.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_characters_are_escaped() {
        assert_eq!(pattern(b"a*b?[c]\\:"), b"a\\*b\\?\\[c\\]\\\\:*");
        assert_eq!(pattern(b"app:"), b"app:*");
    }

    #[test]
    fn pages() {
        let reply = ::redis::parse_redis_value(b"*2\r\n$1\r\n7\r\n*1\r\n$3\r\na:b\r\n").unwrap();
        assert_eq!(page(reply), Some((b"7".to_vec(), vec![b"a:b".to_vec()])));
        assert_eq!(page(Reply::Array(vec![])), None);
        assert_eq!(page(Reply::Nil), None);
    }
}
