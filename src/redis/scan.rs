//! Operations over all keys of a cache, or those that begin alike, by SCAN: clear, count, delete_prefix
//! and naming keys. They take many round trips; each has the deadline, not the whole. Keys that are stored
//! or removed meanwhile may or may not be seen.
//!
//! The prefix is escaped in the pattern and checked again on the raw key, so that no glob character
//! lets a foreign key in; the library's own keys below the prefix stay.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use ::redis::{Cmd, Value as Reply, cmd};

use super::commands::{Request, integer, surprise};
use super::error_map::{Trip, checked, no_reply};
use super::listen::masters;
use super::{Shared, trip};
use crate::config::HostPort;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KEY_MAX, RESERVED_PREFIX};
use crate::runtime;

/// How many keys the server is asked to look at in one trip: a millisecond or two of its time, in which it
/// serves nobody else.
const COUNT: usize = 2000;

/// One server to scan.
enum Node {
    Only,
    OfCluster(HostPort),
}

impl Shared {
    /// Removes all keys of this cache that begin with `own`; returns how many there were.
    pub(super) async fn clear(self: &Arc<Self>, own: &[u8], per_trip: Duration) -> Result<u64> {
        let mut removed = 0;
        let mut scan = Scan::begin(self, own, per_trip).await?;
        let mut page = scan.page().await?;
        while let Some(keys) = page {
            // The next page is looked for while this one is removed.
            let (gone, next) = tokio::join!(self.unlink_page(&keys, per_trip), scan.page());
            removed += gone?;
            page = next?;
        }
        Ok(removed)
    }

    async fn unlink_page(self: &Arc<Self>, keys: &[Vec<u8>], per_trip: Duration) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let request = self.unlink_raw(keys);
        let replies = self.run_tracked_async(&request, Instant::now() + per_trip).await?;
        let mut removed = 0;
        for reply in replies.many() {
            removed += u64::try_from(integer(reply)?).unwrap_or(0);
        }
        Ok(removed)
    }

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

    async fn nodes(self: &Arc<Self>, per_trip: Duration) -> Result<Vec<Node>> {
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
        let home = trip::home()?;
        let asking = async {
            let pipe = self.pipe(self.state(), &home).await.map_err(Trip::NotSent)?;
            let Some(cluster) = pipe.as_cluster() else {
                return Err(Trip::NotSent(surprise("no Cluster")));
            };
            cluster.ask_node(address, &question).await
        };
        match trip::timeout(&home, deadline, asking).await {
            Some(Ok(reply)) => checked(reply),
            Some(Err(trip)) => Err(trip.into_error()),
            None => Err(no_reply()),
        }
    }

    /// UNLINK of keys that carry the prefix already: one command, or on a Cluster, where one command
    /// must not span slots, one for each key.
    fn unlink_raw(&self, keys: &[Vec<u8>]) -> Request {
        let unlink = |keys: &[Vec<u8>]| {
            let mut unlink = cmd("UNLINK");
            keys.iter().for_each(|key| {
                unlink.arg(key);
            });
            unlink
        };
        if self.endpoint.is_cluster() {
            Request::batch(keys.chunks(1).map(unlink), false)
        } else {
            Request::write(unlink(keys))
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
    /// The server that is walked over, and where on it.
    at: Option<(Node, Vec<u8>)>,
}

impl<'a> Scan<'a> {
    /// Over the keys that begin with `own`.
    async fn begin(shared: &'a Arc<Shared>, own: &[u8], per_trip: Duration) -> Result<Self> {
        if own.len() > KEY_MAX {
            return Err(Error::new(ErrorKind::TooBig, "the prefix is longer than any key"));
        }
        let nodes = shared.nodes(per_trip).await?.into_iter();
        Ok(Self { shared, front: shared.keyspace.full_key(own), per_trip, nodes, at: None })
    }

    /// The next keys as they are stored, perhaps none; `None` at the end.
    async fn page(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let (node, cursor) = match self.at.take() {
            Some(at) => at,
            None => match self.nodes.next() {
                Some(node) => (node, Vec::from(b"0")),
                None => return Ok(None),
            },
        };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern(&self.front)).arg("COUNT").arg(COUNT);
        let deadline = Instant::now() + self.per_trip;
        let reply = match &node {
            Node::Only => self.shared.run_async(&Request::read(scan), deadline).await?.one()?,
            Node::OfCluster(address) => self.shared.ask_node(address, scan, deadline).await?,
        };
        let (next, mut keys) = page(reply).ok_or_else(|| surprise("no page of a scan"))?;
        let prefix = &self.shared.keyspace.prefix;
        keys.retain(|key| {
            let own = key.strip_prefix(&prefix[..]);
            key.starts_with(&self.front)
                && own.is_some_and(|own| !own.is_empty() && !own.starts_with(RESERVED_PREFIX))
        });
        if next != b"0" {
            self.at = Some((node, next));
        }
        Ok(Some(keys))
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
