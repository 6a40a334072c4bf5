//! Removing all entries of a cache, or those whose keys begin alike.
//!
//! # Protocol
//! On each master, side by side:
//! 1. the leases on loads of those keys go, in a walk of their own. A load that began before the call ends
//!    then without storing anything, or has stored it already, where the second walk finds it. In one walk
//!    a load could end between the two: its value stored behind the walk, its lease gone before it;
//! 2. the entries go. While the server removes a page of them it is asked for the next one already, so that
//!    neither waits for the other.
//!
//! What is found has the prefix, and is looked at again before it is removed; see `scan`. The library's
//! other keys below the prefix stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::cluster_routing::Slot;
use ::redis::{Cmd, Value as Reply};
use tokio::task::{JoinError, JoinSet};

use super::Shared;
use super::commands::{Request, integer};
use super::error_map::{Trip, checked, no_reply};
use super::scan::{COUNT, Node, Walk};
use crate::config::HostPort;
use crate::error::{ErrorKind, Result};
use crate::runtime;

/// How many keys the server is asked to look at in one trip where hardly any matches.
const COUNT_OF_FEW: usize = 4 * COUNT;
/// Most keys of one command: less than a millisecond of the server's time.
const KEYS_MAX: usize = 1000;
/// Pages of keys that are being removed at a time.
const PAGES: usize = 2;

impl Shared {
    /// Removes all entries of this cache whose keys begin with `own`; returns how many there were.
    pub(super) async fn clear(self: &Arc<Self>, own: &[u8], per_trip: Duration) -> Result<u64> {
        let removed = self.clear_nodes(own, per_trip).await;
        if self.endpoint.is_cluster() {
            // What goes to one node of it is not told of by itself.
            self.tell_of_all(Instant::now() + per_trip).await;
        }
        removed
    }

    async fn clear_nodes(self: &Arc<Self>, own: &[u8], per_trip: Duration) -> Result<u64> {
        self.front(own)?;
        let (home, own) = (runtime::home()?, Arc::<[u8]>::from(own));
        let mut clearing = JoinSet::new();
        for node in self.nodes(per_trip).await? {
            clearing
                .spawn_on(self.clone().clear_node(Arc::new(node), own.clone(), per_trip), &home);
        }
        let mut removed = 0;
        while let Some(cleared) = clearing.join_next().await {
            removed += joined(cleared)?;
        }
        Ok(removed)
    }

    async fn clear_node(
        self: Arc<Self>,
        node: Arc<Node>,
        own: Arc<[u8]>,
        per_trip: Duration,
    ) -> Result<u64> {
        let keyspace = &self.keyspace;
        let leases = Walk::new(
            self.clone(),
            node.clone(),
            &keyspace.front_of_leases(),
            COUNT_OF_FEW,
            per_trip,
        );
        self.sweep(leases, |name| keyspace.may_be_lease_below(name, &own)).await?;
        let front = keyspace.full_key(&own);
        let entries = Walk::new(self.clone(), node, &front, COUNT, per_trip);
        self.sweep(entries, |key| keyspace.is_entry(key, &front)).await
    }

    /// Removes what a walk finds and is `wanted`; returns how many there were.
    async fn sweep(
        self: &Arc<Self>,
        mut walk: Walk,
        wanted: impl Fn(&[u8]) -> bool + Send,
    ) -> Result<u64> {
        let home = runtime::home()?;
        let (mut removing, mut removed) = (JoinSet::new(), 0);
        while let Some(mut keys) = walk.page().await? {
            keys.retain(|key| wanted(key));
            if keys.is_empty() {
                continue;
            }
            if removing.len() == PAGES
                && let Some(page) = removing.join_next().await
            {
                removed += joined(page)?;
            }
            let (shared, node, per_trip) = (self.clone(), walk.node.clone(), walk.per_trip);
            // It is on its way by when the next page is asked for, or right behind that question.
            removing.spawn_on(
                async move {
                    let deadline = Instant::now() + per_trip;
                    match &*node {
                        Node::Only => shared.unlink(&keys, deadline).await,
                        Node::OfCluster(address) => shared.unlink_on(address, keys, deadline).await,
                    }
                },
                &home,
            );
        }
        while let Some(page) = removing.join_next().await {
            removed += joined(page)?;
        }
        Ok(removed)
    }

    async fn unlink(self: &Arc<Self>, keys: &[Vec<u8>], deadline: Instant) -> Result<u64> {
        let request = Request::batch(keys.chunks(KEYS_MAX).map(unlink), false);
        sum(self.run_tracked_async(&request, deadline).await?.many())
    }

    /// On a node of a Cluster: a command for each slot, all in one write. What the node refuses, as where
    /// a slot moves, is sent again to whoever has the slot.
    async fn unlink_on(
        self: &Arc<Self>,
        node: &HostPort,
        keys: Vec<Vec<u8>>,
        deadline: Instant,
    ) -> Result<u64> {
        let mut slots: HashMap<Slot, Vec<Vec<u8>>> = HashMap::new();
        for key in keys {
            slots.entry(Slot::for_key(&key)).or_default().push(key);
        }
        let slots: Vec<_> = slots.into_values().collect();
        let request = Request::batch(slots.iter().map(|keys| unlink(keys)), false);
        let (mut removed, mut again) = (0, Vec::new());
        match self.run_on_node(node, &request, deadline).await {
            Ok(replies) => {
                for (keys, reply) in std::iter::zip(slots, replies) {
                    match reply {
                        Reply::ServerError(_) => again.extend(keys),
                        reply => removed += sum(vec![reply])?,
                    }
                }
            }
            Err(Trip::NotSent(_)) => again.extend(slots.into_iter().flatten()),
            Err(trip) => return Err(trip.into_error()),
        }
        if !again.is_empty() {
            let request = Request::batch(again.chunks(1).map(unlink), false);
            removed += sum(self.run_async(&request, deadline).await?.many())?;
        }
        Ok(removed)
    }

    /// Sends `request` to one node of a Cluster, whatever slots its keys are in.
    async fn run_on_node(
        self: &Arc<Self>,
        node: &HostPort,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Trip> {
        let state = self.state();
        let _call = state.calls.enter_async(deadline).await.map_err(Trip::NotSent)?;
        let home = runtime::home().map_err(Trip::NotSent)?;
        let sending = async {
            let pipe = self.pipe(state, &home).await.map_err(Trip::NotSent)?;
            let Some(cluster) = pipe.as_cluster() else {
                return Err(Trip::NotSent(ErrorKind::Unsupported.into()));
            };
            cluster.call_node(node, request, &home).await
        };
        match runtime::timeout_at(&home, deadline, sending).await {
            Some(replied) => replied,
            None => Err(Trip::Unknown(no_reply())),
        }
    }
}

/// UNLINK of keys that carry the prefix already.
fn unlink(keys: &[Vec<u8>]) -> Cmd {
    let bytes = keys.iter().map(Vec::len).sum::<usize>();
    let mut unlink = Cmd::with_capacity(1 + keys.len(), 6 + bytes);
    unlink.arg("UNLINK");
    keys.iter().for_each(|key| {
        unlink.arg(key);
    });
    unlink
}

fn sum(replies: Vec<Reply>) -> Result<u64> {
    let mut sum = 0;
    for reply in replies {
        sum += u64::try_from(integer(checked(reply)?)?).unwrap_or(0);
    }
    Ok(sum)
}

/// The outcome of a task. It ends without one only where its runtime does.
fn joined<T>(task: Result<Result<T>, JoinError>) -> Result<T> {
    task.unwrap_or_else(|_| Err(ErrorKind::Closed.into()))
}
