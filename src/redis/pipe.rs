//! [`Pipe`]: a connection that many callers share, each sending without waiting for the others'
//! replies. One server's by the `redis` crate's multiplexed connection over a stream of ours; a Cluster's
//! is the matter of `cluster`.
//!
//! Deadlines are the callers': dropping the future of a call leaves the pipe in order, its reply is
//! thrown away when it comes. A pipe on which calls time out and nothing comes back is given up
//! ([`Pipe::gave_nothing_since`]), so that a half-open link does not live for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, PushInfo, RedisConnectionInfo};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::cluster::Cluster;
use super::commands::{Body, Replies, Request};
use super::connect::Link;
use super::endpoint::Endpoint;
use super::error_map::{Trip, broken, from_redis, not_reached, plain_redis};
use super::stream::Guarded;
use crate::config::ReadFrom;
use crate::error::{Error, ErrorKind, Result};

/// How many requests may wait to be written.
const QUEUE: usize = 256;

/// Without a reply for this long, the server may have hung up meanwhile.
const IDLE: Duration = Duration::from_micros(100);

/// What is called with each push of the server, on a thread of the runtime: it must not block.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A shared connection. Clones share it.
#[derive(Clone)]
pub(super) struct Pipe {
    wire: Wire,
    life: Arc<Life>,
}

#[derive(Clone)]
enum Wire {
    Single(MultiplexedConnection),
    Cluster(Cluster),
}

struct Life {
    epoch: u64,
    /// The number by which the server knows it.
    id: Option<u64>,
    /// The connection has ended.
    dead: Arc<AtomicBool>,
    /// When it was made.
    born: Instant,
    /// When the last reply came, in microseconds since then.
    last_reply: AtomicU64,
    driver: Option<AbortHandle>,
}

impl Life {
    fn new(epoch: u64, dead: Arc<AtomicBool>, driver: Option<AbortHandle>) -> Self {
        Self { epoch, id: None, dead, born: Instant::now(), last_reply: AtomicU64::new(0), driver }
    }

    fn replied(&self) {
        self.last_reply.store(self.born.elapsed().as_micros() as u64, Ordering::Release);
    }
}

/// Says that a connection has ended when the task that drives it does, however it ends.
struct MarkDead(Arc<AtomicBool>);

impl Drop for MarkDead {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

impl Pipe {
    /// Shares the connection `link`, which is driven by a task of `home`.
    pub(super) async fn single(
        link: Link,
        home: &Handle,
        limit: usize,
        epoch: u64,
        on_push: Option<OnPush>,
    ) -> Result<Self> {
        let (address, id) = (link.address.to_string(), link.id);
        let mut config = settings();
        // The handshake is done already: told that this is RESP2, the crate adds nothing to it. Only
        // with a receiver of pushes it insists on a HELLO of its own, which does no harm.
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(on_push) = on_push {
            info = info.set_protocol(::redis::ProtocolVersion::RESP3);
            config = config.set_push_sender(move |push: PushInfo| {
                on_push(push);
                Ok::<(), ()>(())
            });
        }
        let stream = Guarded::new(link.stream, limit);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) =
            made.map_err(|error| not_reached(&address, &plain_redis(&error)))?;
        let dead = Arc::new(AtomicBool::new(false));
        let mark = MarkDead(dead.clone());
        let driver = home.spawn(async move {
            driver.await;
            drop(mark);
        });
        let mut life = Life::new(epoch, dead, Some(driver.abort_handle()));
        life.id = id;
        Ok(Self { wire: Wire::Single(connection), life: Arc::new(life) })
    }

    /// Connects to the Cluster. Runs inside the runtime whose tasks drive it.
    pub(super) async fn cluster(endpoint: &Endpoint, limit: usize, epoch: u64) -> Result<Self> {
        let cluster = Cluster::connect(endpoint, limit).await?;
        let cluster = cluster.map_err(|error| refused(&endpoint.describe(), &error))?;
        let dead = Arc::new(AtomicBool::new(false));
        let watch = (endpoint.options.read_from != ReadFrom::Primary).then(|| {
            let (watched, mark) = (cluster.clone(), MarkDead(dead.clone()));
            let watch = async move {
                watched.until_it_grows().await;
                // The next call connects anew, to all of them.
                drop(mark);
            };
            tokio::spawn(watch).abort_handle()
        });
        let life = Life::new(epoch, dead, watch);
        Ok(Self { wire: Wire::Cluster(cluster), life: Arc::new(life) })
    }

    /// A connection of a client that the program made itself.
    pub(super) async fn by_client(client: &::redis::Client, epoch: u64) -> Result<Self> {
        let connection = client.get_multiplexed_async_connection_with_config(&settings()).await;
        let address = client.get_connection_info().addr().to_string();
        let connection = connection.map_err(|error| refused(&address, &error))?;
        let life = Life::new(epoch, Arc::default(), None);
        Ok(Self { wire: Wire::Single(connection), life: Arc::new(life) })
    }

    /// Made for this state of the topology, and not known to have ended.
    pub(super) fn usable(&self, epoch: u64) -> bool {
        self.life.epoch == epoch && !self.life.dead.load(Ordering::Acquire)
    }

    /// Ends the connection for all who share it.
    pub(super) fn give_up(&self) {
        self.life.dead.store(true, Ordering::Release);
        if let Some(driver) = &self.life.driver {
            driver.abort();
        }
    }

    /// The number by which the server knows it.
    pub(super) fn id(&self) -> Option<u64> {
        self.life.id
    }

    /// Whether no reply came to anybody since `then`.
    pub(super) fn gave_nothing_since(&self, then: Instant) -> bool {
        self.last_reply() < then
    }

    /// Whether it was there before `then`: the server may have closed it while it lay idle.
    pub(super) fn older_than(&self, then: Instant) -> bool {
        self.life.born < then
    }

    /// Whether nothing came over it just now.
    pub(super) fn idle(&self) -> bool {
        self.last_reply().elapsed() > IDLE
    }

    fn last_reply(&self) -> Instant {
        self.life.born + Duration::from_micros(self.life.last_reply.load(Ordering::Acquire))
    }

    /// The Cluster, where it is one.
    pub(super) fn as_cluster(&self) -> Option<&Cluster> {
        match &self.wire {
            Wire::Cluster(cluster) => Some(cluster),
            Wire::Single(_) => None,
        }
    }

    /// Sends `request` and waits for its replies, without a bound of its own.
    pub(super) async fn call(&self, request: &Request, home: &Handle) -> Result<Replies, Trip> {
        match &self.wire {
            Wire::Single(_) => self.call_server(request).await,
            // A Cluster's connection mends itself.
            Wire::Cluster(cluster) => {
                let replied = cluster.call(request, home).await;
                if replied.is_ok() {
                    self.life.replied();
                }
                replied
            }
        }
    }

    /// As [`Pipe::call`], on a pipe to one server.
    pub(super) async fn call_server(&self, request: &Request) -> Result<Replies, Trip> {
        let Wire::Single(connection) = &self.wire else {
            return Err(Trip::NotSent(ErrorKind::Unsupported.into()));
        };
        let replied = single(connection.clone(), request).await;
        match &replied {
            Ok(_) => self.life.replied(),
            Err(_) => self.life.dead.store(true, Ordering::Release),
        }
        replied
    }
}

fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
}

/// Why the `redis` crate could not connect.
fn refused(place: &str, error: &::redis::RedisError) -> Error {
    let text = error.to_string();
    let auth = error.kind() == ::redis::ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|code| text.contains(code));
    if auth {
        return Error::new(ErrorKind::Auth, format!("{place}: the credentials were refused"));
    }
    not_reached(place, &plain_redis(error))
}

async fn single(mut connection: MultiplexedConnection, request: &Request) -> Result<Replies, Trip> {
    match &request.body {
        Body::One(cmd) => {
            let reply = connection.send_packed_command(cmd).await;
            reply.or_else(from_redis).map(Replies::One)
        }
        Body::Many(cmds) if cmds.is_empty() => Ok(Replies::Many(Vec::new())),
        Body::Many(cmds) => {
            let count = cmds.len();
            many(connection.send_packed_commands(cmds, 0, count).await, count)
        }
    }
}

fn many(replies: ::redis::RedisResult<Vec<::redis::Value>>, count: usize) -> Result<Replies, Trip> {
    match replies {
        Ok(replies) if replies.len() == count => Ok(Replies::Many(replies)),
        Ok(_) => Err(Trip::Unknown(broken(&"another number of replies"))),
        // One error reply stands for the whole batch.
        Err(error) => from_redis(error).map(|reply| Replies::Many(vec![reply; count])),
    }
}
