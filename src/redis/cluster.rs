//! Requests on a Cluster: over the `redis` crate's cluster connection, which knows the slots and keeps a
//! connection to each node, but not by its own retries: it would send a write once more that may have
//! been executed. Told to retry nothing, it still learns from each failure where the slots are now, and
//! what is sent again is decided here:
//!
//! - what the server refused without executing it (MOVED, TRYAGAIN, CLUSTERDOWN, …), and what found no
//!   connection: always, after a while that grows;
//! - what may have been executed: if it only reads;
//! - ASK: over a connection of ours to the node that is named, as the crate's can't be told to send
//!   ASKING before a command of one caller and not of another.
//!
//! All within the deadline: it is the caller's, who drops the future.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::ConnectionLike;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo, Slot};
use ::redis::{
    Arg, Cmd, ErrorKind as Theirs, Pipeline, RedisError, ServerErrorKind, Value as Reply, cmd,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::commands::{Body, Replies, Request, first_key};
use super::connect::{self, Resolver, connect_deadline};
use super::endpoint::{Address, Endpoint};
use super::error_map::{Trip, broken, from_redis, is_tryagain};
use super::gate::backoff;
use super::pipe::Pipe;
use super::reads::REVIEWED;
use super::scripts::is_for_two;
use crate::config::HostPort;
use crate::error::{Error, ErrorKind, Result};

/// How often a request is sent again.
const RETRIES: u32 = 8;
/// Longest wait before that.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// So many answers in a row have to name the same nodes.
const AGREED: u32 = 3;
/// Connections that are kept to nodes which take slots over, or are asked apart from their slots.
const ASKED_MAX: usize = 64;

/// A Cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    connection: ClusterConnection,
    asking: Arc<Asking>,
}

/// Connections to nodes that take slots over, or are asked apart from their slots.
struct Asking {
    endpoint: Endpoint,
    resolver: Resolver,
    limit: usize,
    pipes: Mutex<HashMap<String, Pipe>>,
}

/// What becomes of a request that failed.
enum Next {
    Again,
    Ask(HostPort),
    Over(RedisError),
}

impl Cluster {
    /// Connects. Runs inside the runtime whose tasks drive the connection.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        limit: usize,
    ) -> Result<::redis::RedisResult<Self>> {
        let crate::config::Endpoint::Cluster(nodes) = &endpoint.options.endpoint else {
            return Err(Error::new(ErrorKind::Config, "this is no Cluster"));
        };
        let connection = endpoint.cluster_client(nodes)?.get_async_connection().await;
        let asking = Asking {
            endpoint: endpoint.clone(),
            resolver: Resolver::default(),
            limit,
            pipes: Mutex::default(),
        };
        Ok(connection.map(|connection| Self { connection, asking: Arc::new(asking) }))
    }

    /// Sends `request` and waits for its replies. A batch goes out as one pipeline per slot, all at once.
    pub(super) async fn call(&self, request: &Request, home: &Handle) -> Result<Replies, Trip> {
        let cmds = match &request.body {
            Body::One(cmd) => {
                return self.one(cmd, request.read_only, home).await.map(Replies::One);
            }
            Body::Many(cmds) => cmds,
        };
        let count = cmds.len();
        let mut slots: HashMap<Slot, (Vec<usize>, Pipeline)> = HashMap::new();
        for (place, cmd) in cmds.cmd_iter().enumerate() {
            let (places, pipeline) = slots.entry(Slot::for_key(first_key(cmd))).or_default();
            places.push(place);
            pipeline.add_command(cmd.clone());
        }
        let mut batches = JoinSet::new();
        for (places, pipeline) in slots.into_values() {
            let (cluster, read_only, task_home) = (self.clone(), request.read_only, home.clone());
            let sending = async move {
                let replies = cluster.many(&pipeline, read_only, &task_home).await?;
                Ok((places, replies))
            };
            batches.spawn_on(sending, home);
        }
        let mut replies = vec![Reply::Nil; count];
        while let Some(batch) = batches.join_next().await {
            let batch = batch.map_err(|_| Trip::Unknown(ErrorKind::Closed.into()))?;
            let (places, batch) = batch?;
            for (place, reply) in places.into_iter().zip(batch) {
                replies[place] = reply;
            }
        }
        Ok(Replies::Many(replies))
    }

    /// Waits until the Cluster has nodes that it did not have a moment ago. The crate asks for them only when a
    /// request fails: it would never read a replica that came later, or came back.
    pub(super) async fn until_it_grows(&self) {
        let (mut known, mut last, mut same) = (None::<HashSet<_>>, HashSet::new(), 0);
        loop {
            if let Some(nodes) = self.nodes().await {
                same = if nodes == last { same + 1 } else { 1 };
                last = nodes;
                // The nodes do not learn of each other at once: what all of those that were asked say counts.
                let grown = known.as_ref().is_some_and(|before| !last.is_subset(before));
                if same >= AGREED && grown {
                    return;
                }
                if same >= AGREED || known.is_none() {
                    known = Some(last.clone());
                }
            }
            tokio::time::sleep(REVIEWED).await;
        }
    }

    /// The nodes that one of them names.
    async fn nodes(&self) -> Option<HashSet<(Vec<u8>, i64)>> {
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let reply = self.connection.clone().route_command(question, to).await.ok()?;
        let Reply::Array(ranges) = reply else { return None };
        let mut found = HashSet::new();
        for range in ranges {
            let Reply::Array(parts) = range else { return None };
            // Behind the first and the last slot: address, port and more of each node.
            for node in parts.into_iter().skip(2) {
                let Reply::Array(node) = node else { return None };
                if let Ok([Reply::BulkString(host), Reply::Int(port)]) =
                    <[Reply; 2]>::try_from(node.into_iter().take(2).collect::<Vec<_>>())
                {
                    found.insert((host, port));
                }
            }
        }
        Some(found)
    }

    /// Asks one node, which only reads.
    pub(super) async fn ask_node(&self, node: &HostPort, question: &Cmd) -> Result<Reply, Trip> {
        let mut tried = 0;
        loop {
            let to = SingleNodeRoutingInfo::ByAddress { host: node.host.clone(), port: node.port };
            let mut connection = self.connection.clone();
            let sent = connection.route_command(question.clone(), RoutingInfo::SingleNode(to));
            match sent.await {
                Ok(reply) => return Ok(reply),
                Err(error) => match next(error, true, tried) {
                    Next::Again | Next::Ask(_) => tried = wait(tried).await,
                    Next::Over(error) => return over(error, true),
                },
            }
        }
    }

    /// Sends the commands of `request` to one node, in one write, and returns its replies: refusals too.
    pub(super) async fn call_node(
        &self,
        node: &HostPort,
        request: &Request,
        home: &Handle,
    ) -> Result<Vec<Reply>, Trip> {
        let pipe = self.asking.pipe(node, home).await.map_err(Trip::NotSent)?;
        let replies = pipe.call_server(request).await?.many();
        if replies.len() == request.replies() {
            Ok(replies)
        } else {
            Err(Trip::Unknown(broken(&"another number of replies")))
        }
    }

    async fn one(&self, cmd: &Cmd, read_only: bool, home: &Handle) -> Result<Reply, Trip> {
        let mut tried = 0;
        loop {
            let error = match self.connection.clone().req_packed_command(cmd).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if is_moving(&error) && is_for_many(cmd) {
                return self.key_by_key(cmd, read_only, home).await;
            }
            // A lease and its value: the caller goes step by step, however long the slot moves.
            let for_two = is_for_two(cmd);
            if for_two && error.kind() == Theirs::Server(ServerErrorKind::TryAgain) {
                return over(error, read_only);
            }
            match next(error, read_only, tried) {
                Next::Again => tried = wait(tried).await,
                Next::Ask(node) => match self.ask(&node, cmd, read_only, home).await {
                    // The slot may have been given over, or come back, meanwhile.
                    Ok(reply) if for_two && is_tryagain(&reply) => return Ok(reply),
                    Ok(Reply::ServerError(error))
                        if tried < RETRIES
                            && matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN") =>
                    {
                        tried = wait(tried).await;
                    }
                    Err(Trip::NotSent(_)) if tried < RETRIES => tried = wait(tried).await,
                    replied => return replied,
                },
                Next::Over(error) => return over(error, read_only),
            }
        }
    }

    /// The commands of one slot.
    async fn many(
        &self,
        cmds: &Pipeline,
        read_only: bool,
        home: &Handle,
    ) -> Result<Vec<Reply>, Trip> {
        let (count, mut tried) = (cmds.len(), 0);
        loop {
            let sent = self.connection.clone().req_packed_commands(cmds, 0, count).await;
            let error = match sent {
                Ok(replies) if replies.len() == count => return Ok(replies),
                Ok(_) => return Err(Trip::Unknown(broken(&"another number of replies"))),
                Err(error) => error,
            };
            match next(error, read_only, tried) {
                Next::Again => tried = wait(tried).await,
                // Some of their keys are here still, others there already.
                Next::Ask(_) => {
                    let mut replies = Vec::with_capacity(count);
                    for cmd in cmds.cmd_iter() {
                        replies.push(Box::pin(self.one(cmd, read_only, home)).await?);
                    }
                    return Ok(replies);
                }
                // One error reply stands for the whole batch.
                Next::Over(error) => {
                    return over(error, read_only).map(|reply| vec![reply; count]);
                }
            }
        }
    }

    /// A command for many keys, while the slot of some of them moves.
    async fn key_by_key(&self, cmd: &Cmd, read_only: bool, home: &Handle) -> Result<Reply, Trip> {
        let mut args = cmd.args_iter();
        let gets = matches!(args.next(), Some(Arg::Simple(b"MGET")));
        let (mut values, mut removed) = (Vec::new(), 0);
        for key in args {
            let Arg::Simple(key) = key else { continue };
            let mut single = ::redis::cmd(if gets { "GET" } else { "UNLINK" });
            single.arg(key);
            match Box::pin(self.one(&single, read_only, home)).await? {
                Reply::ServerError(error) => return Ok(Reply::ServerError(error)),
                Reply::Int(n) => removed += n,
                value => values.push(value),
            }
        }
        Ok(if gets { Reply::Array(values) } else { Reply::Int(removed) })
    }

    /// Sends a command to a node that takes its slot over.
    async fn ask(
        &self,
        node: &HostPort,
        command: &Cmd,
        read_only: bool,
        home: &Handle,
    ) -> Result<Reply, Trip> {
        let pipe = self.asking.pipe(node, home).await.map_err(Trip::NotSent)?;
        let both = [cmd("ASKING"), command.clone()];
        let request = Request::batch(both.into_iter(), read_only);
        let mut replies = pipe.call_server(&request).await?.many();
        replies.pop().ok_or_else(|| Trip::Unknown(broken(&"another number of replies")))
    }
}

impl Asking {
    async fn pipe(&self, node: &HostPort, home: &Handle) -> Result<Pipe> {
        let name = node.to_string();
        let kept = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(pipe) = kept.filter(|pipe| pipe.usable(0)) {
            return Ok(pipe);
        }
        let deadline = connect_deadline(self.endpoint.options.connect_timeout);
        let address = Address::Tcp(node.clone());
        let link = connect::connect_to(&self.endpoint, &self.resolver, address, deadline).await?;
        let pipe = Pipe::single(link, home, self.limit, 0, None).await?;
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        if pipes.len() >= ASKED_MAX {
            pipes.clear();
        }
        pipes.insert(name, pipe.clone());
        Ok(pipe)
    }
}

fn next(error: RedisError, read_only: bool, tried: u32) -> Next {
    let again = match error.kind() {
        Theirs::Server(ServerErrorKind::Ask) if tried < RETRIES => match error.redirect_node() {
            Some((address, _)) => match node(address) {
                Some(node) => return Next::Ask(node),
                None => true,
            },
            None => true,
        },
        Theirs::Server(
            ServerErrorKind::Ask
            | ServerErrorKind::Moved
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::ReadOnly,
        )
        | Theirs::ClusterConnectionNotFound => true,
        Theirs::Io => read_only,
        _ => false,
    };
    if again && tried < RETRIES { Next::Again } else { Next::Over(error) }
}

/// What a request came to that is not sent again. A connection that could not be made may be another
/// than the one that the request went over, and failed while it was under way.
fn over(error: RedisError, read_only: bool) -> Result<Reply, Trip> {
    let io = error.kind() == Theirs::Io;
    match from_redis(error) {
        Err(Trip::NotSent(error)) if io && !read_only => {
            Err(Trip::Unknown(broken(&error.message())))
        }
        replied => replied,
    }
}

async fn wait(tried: u32) -> u32 {
    // The first time at once: where a slot is now was told with the refusal.
    if tried > 0 {
        tokio::time::sleep(backoff(tried, WAIT_MAX)).await;
    }
    tried + 1
}

fn node(address: &str) -> Option<HostPort> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return None;
    }
    Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
}

/// Whether some keys of the slot are there already, others here still.
fn is_moving(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, TryAgain};
    matches!(error.kind(), Theirs::Server(Ask | TryAgain))
}

fn is_for_many(cmd: &Cmd) -> bool {
    let mut args = cmd.args_iter();
    matches!(args.next(), Some(Arg::Simple(b"MGET" | b"UNLINK"))) && args.nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> RedisError {
        let reply = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        reply.extract_error().unwrap_err()
    }

    fn io(kind: std::io::ErrorKind) -> RedisError {
        std::io::Error::from(kind).into()
    }

    #[test]
    fn what_was_not_executed_is_sent_again() {
        for line in ["MOVED 1 h:7000", "TRYAGAIN x", "CLUSTERDOWN x", "READONLY x", "LOADING x"] {
            assert!(matches!(next(error(line), false, 0), Next::Again), "{line}");
            assert!(matches!(next(error(line), false, RETRIES), Next::Over(_)), "{line}");
        }
        assert!(matches!(next(error("ERR no"), false, 0), Next::Over(_)));
        assert!(matches!(next(error("NOSCRIPT no"), true, 0), Next::Over(_)));
        assert!(
            matches!(next(error("ASK 1 [::1]:7"), false, 0), Next::Ask(n) if n.host == "::1" && n.port == 7)
        );
    }

    #[test]
    fn what_may_have_been_executed_is_only_read_again() {
        for kind in [
            std::io::ErrorKind::ConnectionReset,
            std::io::ErrorKind::TimedOut,
            std::io::ErrorKind::ConnectionRefused,
        ] {
            assert!(matches!(next(io(kind), true, 0), Next::Again));
            let Next::Over(error) = next(io(kind), false, 0) else { panic!("{kind}") };
            assert!(matches!(over(error, false), Err(Trip::Unknown(_))), "{kind}");
        }
    }
}
