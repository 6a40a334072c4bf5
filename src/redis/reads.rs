//! Reads of other nodes than the primary: `read_from=replica` and `nearest`.
//!
//! Behind Sentinels a cache that reads so has connections of its own for it ([`Shared::reader`]), which go to
//! the node that is chosen here; what can't be read there is read from the primary. Now and then it is looked
//! at anew which node that should be; another one begins a new epoch. Walks over all keys, and whatever a
//! write depends on, are read from the primary.
//!
//! On a Cluster the `redis` crate routes each read; [`Nearest`] tells it where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ::redis::cluster::NodeAddress;
use ::redis::cluster_read_routing::{
    ClusterTopology, ReadCandidates, ReadRoutingStrategy, ReadRoutingStrategyFactory,
};
use ::redis::{Arg, Value as Reply, cmd};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Shared;
use super::commands::{Body, Replies, Request};
use super::connect::{self, Link, Resolver};
use super::endpoint::{Address, Endpoint};
use super::sentinel;
use super::state::State;
use crate::config::{HostPort, ReadFrom};
use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// How often the round trips are measured anew.
const MEASURED: Duration = Duration::from_secs(10);
/// How often a replica is looked at, whether it still is one, and whether there are others.
pub(super) const REVIEWED: Duration = Duration::from_secs(1);
/// Round trips of one measurement, of which the shortest counts.
const TRIPS: usize = 3;
/// Longest wait for one node.
const PATIENCE: Duration = Duration::from_millis(500);

impl Shared {
    /// Who sends `request`, where that is not this one.
    pub(super) fn reader_of(&self, request: &Request) -> Option<&Arc<Shared>> {
        let reader = self.reader.as_ref()?;
        let first = match &request.body {
            Body::One(command) => Some(command),
            Body::Many(commands) => commands.cmd_iter().next(),
        };
        let of_primary = matches!(
            first.and_then(|command| command.args_iter().next()),
            Some(Arg::Simple(b"SCAN" | b"PING")) | None
        );
        (request.read_only && !of_primary).then_some(reader)
    }

    /// How often it is looked at anew which node connections should go to, in milliseconds.
    pub(super) fn review_ms(&self) -> u64 {
        let often = match self.endpoint.options.read_from {
            ReadFrom::Nearest if self.endpoint.reads => MEASURED,
            _ => REVIEWED,
        };
        often.as_millis() as u64
    }
}

/// The outcome of a read elsewhere, unless the primary is to be asked.
pub(super) fn settled(outcome: Result<Replies>) -> Option<Result<Replies>> {
    let unable = |reply: &Reply| {
        matches!(reply, Reply::ServerError(error)
            if matches!(error.code(), "LOADING" | "MASTERDOWN"))
    };
    match outcome {
        Ok(replies) if replies.any(unable) => None,
        Err(error) if error.kind() == ErrorKind::Connect => None,
        outcome => Some(outcome),
    }
}

/// Connects to the node behind the Sentinels that is to be read, by `deadline`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    service: &str,
    deadline: Instant,
) -> Result<Link> {
    if let Some(known) = resolver.nearest() {
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let address = Address::Tcp(known);
        if let Ok(link) = connect::connect_to(endpoint, resolver, address, half).await {
            return Ok(link);
        }
        resolver.set_nearest(None);
    }
    let replicas = sentinel::replicas(endpoint, resolver, sentinels, service, deadline).await?;
    if endpoint.options.read_from == ReadFrom::Nearest {
        let nodes = with_primary(endpoint, resolver, sentinels, service, replicas, deadline).await;
        let (link, node) = nearest(endpoint, resolver, &nodes, None, deadline).await?;
        resolver.set_nearest(Some(node));
        return Ok(link);
    }
    let start = usize::from(u16::from_le_bytes(random::bytes()?));
    for tried in 0..replicas.len() {
        let node = replicas[(start + tried) % replicas.len()].clone();
        let until = deadline.min(Instant::now() + PATIENCE);
        let address = Address::Tcp(node);
        if let Ok(link) = connect::connect_to(endpoint, resolver, address, until).await {
            return Ok(link);
        }
    }
    sentinel::connect(endpoint, resolver, sentinels, service, deadline).await
}

/// Looks whether connections go to the node that they should go to.
pub(super) async fn review(
    shared: &Shared,
    state: &State,
    sentinels: &[HostPort],
    service: &str,
    deadline: Instant,
) {
    let (endpoint, resolver) = (&shared.endpoint, &state.resolver);
    let replicas = sentinel::replicas(endpoint, resolver, sentinels, service, deadline).await;
    let (Ok(replicas), Some(now)) = (replicas, state.server()) else { return };
    if endpoint.options.read_from == ReadFrom::Nearest {
        let nodes = with_primary(endpoint, resolver, sentinels, service, replicas, deadline).await;
        if let Ok((_, node)) = nearest(endpoint, resolver, &nodes, Some(&now), deadline).await {
            resolver.set_nearest(Some(node.clone()));
            state.master_is(node);
        }
    } else if !replicas.is_empty() && !replicas.contains(&now) {
        state.new_epoch();
    }
}

async fn with_primary(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    service: &str,
    mut nodes: Vec<HostPort>,
    deadline: Instant,
) -> Vec<HostPort> {
    let primary = sentinel::primary(endpoint, resolver, sentinels, service, deadline).await;
    // First: of those that are as near it is the one that is up to date.
    nodes.splice(0..0, primary.ok());
    nodes
}

/// The node of the shortest round trip, with a connection to it. Another one than `now` has to be a good deal
/// nearer.
async fn nearest(
    endpoint: &Endpoint,
    resolver: &Resolver,
    nodes: &[HostPort],
    now: Option<&HostPort>,
    deadline: Instant,
) -> Result<(Link, HostPort)> {
    let mut best: Option<(Duration, Link, &HostPort)> = None;
    let mut last = Error::new(ErrorKind::Connect, "the Sentinels name no node to read");
    for node in nodes {
        let until = deadline.min(Instant::now() + PATIENCE);
        match measured(endpoint, resolver, node, until).await {
            Ok((trip, link)) => {
                let trip = if now == Some(node) { trip / 2 } else { trip };
                if best.as_ref().is_none_or(|(shortest, _, _)| trip < *shortest) {
                    best = Some((trip, link, node));
                }
            }
            Err(error) => last = error,
        }
    }
    best.map(|(_, link, node)| (link, node.clone())).ok_or(last)
}

/// How long a round trip to `node` takes.
async fn measured(
    endpoint: &Endpoint,
    resolver: &Resolver,
    node: &HostPort,
    until: Instant,
) -> Result<(Duration, Link)> {
    let address = Address::Tcp(node.clone());
    let mut link = connect::connect_to(endpoint, resolver, address, until).await?;
    let pings = async {
        let mut shortest = Duration::MAX;
        for _ in 0..TRIPS {
            let began = Instant::now();
            connect::converse(&mut link.stream, &[cmd("PING")]).await.ok()?;
            shortest = shortest.min(began.elapsed());
        }
        Some(shortest)
    };
    match tokio::time::timeout_at(until, pings).await {
        Ok(Some(trip)) => Ok((trip, link)),
        _ => Err(super::error_map::not_reached(&node.to_string(), &"no answer in time")),
    }
}

type Times = Arc<RwLock<HashMap<NodeAddress, Duration>>>;

/// Sends each read on a Cluster to the node of its slot that answers fastest.
pub(super) struct Nearest {
    endpoint: Endpoint,
}

impl Nearest {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }
}

impl ReadRoutingStrategyFactory for Nearest {
    fn create_strategy(&self) -> Box<dyn ReadRoutingStrategy> {
        Box::new(ByTime {
            endpoint: self.endpoint.clone(),
            times: Times::default(),
            measuring: Mutex::new(None),
        })
    }
}

/// For one connection to a Cluster.
struct ByTime {
    endpoint: Endpoint,
    times: Times,
    /// The task that measures the nodes.
    measuring: Mutex<Option<AbortHandle>>,
}

impl ByTime {
    fn measuring(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadRoutingStrategy for ByTime {
    fn on_topology_changed(&self, topology: ClusterTopology) {
        let mut nodes = Vec::new();
        for shard in topology.shards() {
            nodes.push(shard.primary().clone());
            nodes.extend(shard.replicas().iter().cloned());
        }
        // It is called on the runtime whose tasks drive the connection.
        let Ok(home) = tokio::runtime::Handle::try_current() else { return };
        let (endpoint, times) = (self.endpoint.clone(), self.times.clone());
        let task = home.spawn(async move {
            let resolver = Resolver::default();
            loop {
                let mut found = HashMap::with_capacity(nodes.len());
                for node in &nodes {
                    let place = HostPort { host: node.host().to_owned(), port: node.port() };
                    let until = Instant::now() + PATIENCE;
                    if let Ok((trip, _)) = measured(&endpoint, &resolver, &place, until).await {
                        found.insert(node.clone(), trip);
                    }
                }
                *times.write().unwrap_or_else(PoisonError::into_inner) = found;
                tokio::time::sleep(MEASURED).await;
            }
        });
        if let Some(before) = self.measuring().replace(task.abort_handle()) {
            before.abort();
        }
    }

    fn route_read<'a>(&self, candidates: &ReadCandidates<'a>) -> &'a NodeAddress {
        let times = self.times.read().unwrap_or_else(PoisonError::into_inner);
        match candidates {
            ReadCandidates::AnyNode(any) => {
                let all = std::iter::once(any.primary()).chain(any.replicas().iter());
                fastest(&times, all).unwrap_or(any.primary())
            }
            ReadCandidates::ReplicasOnly(only) => {
                let replicas = only.replicas();
                fastest(&times, replicas.iter()).unwrap_or(replicas.first())
            }
        }
    }
}

/// The first of the fastest: the primary, where nothing is known yet.
fn fastest<'a>(
    times: &HashMap<NodeAddress, Duration>,
    nodes: impl Iterator<Item = &'a NodeAddress>,
) -> Option<&'a NodeAddress> {
    nodes.min_by_key(|node| times.get(*node).copied().unwrap_or(Duration::MAX))
}

impl Drop for ByTime {
    fn drop(&mut self) {
        if let Some(task) = self.measuring().take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::RedisOptions;

    /// A server that answers everything with OK, after `delay`.
    async fn server(delay: Duration) -> HostPort {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        tokio::time::sleep(delay).await;
                        let commands = bytes[..read].iter().filter(|byte| **byte == b'*').count();
                        if stream.write_all("+OK\r\n".repeat(commands).as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        HostPort { host: "127.0.0.1".into(), port }
    }

    #[tokio::test]
    async fn the_nearest_is_the_one_of_the_shortest_round_trip() {
        let (far, near) = (Duration::from_millis(60), Duration::ZERO);
        let gone = HostPort { host: "127.0.0.1".into(), port: 1 };
        let nodes = [server(far).await, gone, server(near).await];
        let endpoint = Endpoint::new(&RedisOptions::default()).unwrap();
        let resolver = Resolver::default();
        let deadline = Instant::now() + Duration::from_secs(60);
        let (_, node) = nearest(&endpoint, &resolver, &nodes, None, deadline).await.unwrap();
        assert_eq!(node, nodes[2]);
        let (_, node) =
            nearest(&endpoint, &resolver, &nodes, Some(&nodes[0]), deadline).await.unwrap();
        assert_eq!(node, nodes[2]);
        let (_, node) = nearest(&endpoint, &resolver, &nodes[..2], None, deadline).await.unwrap();
        assert_eq!(node, nodes[0]);
        let none = nearest(&endpoint, &resolver, &nodes[1..2], None, deadline).await;
        assert_eq!(none.err().unwrap().kind(), ErrorKind::Connect);
    }

    #[test]
    fn of_those_that_are_known_the_fastest_is_chosen_and_else_the_first() {
        let nodes: Vec<_> = (1..=3).map(|port| NodeAddress::new("h", port)).collect();
        let mut times = HashMap::new();
        assert_eq!(fastest(&times, nodes.iter()), Some(&nodes[0]));
        times.insert(nodes[2].clone(), Duration::from_millis(2));
        assert_eq!(fastest(&times, nodes.iter()), Some(&nodes[2]));
        times.insert(nodes[1].clone(), Duration::from_millis(1));
        assert_eq!(fastest(&times, nodes.iter()), Some(&nodes[1]));
        assert_eq!(fastest(&times, [].iter()), None);
    }
}
