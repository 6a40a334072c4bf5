//! [`RedisCache`]: a cache in Redis or Valkey, on one server, behind Sentinels, or on a Cluster.
//!
//! # Rooms
//! | file | what |
//! |---|---|
//! | `mod` | opening a cache; what its clones share |
//! | `api` | the operations, blocking, and what both sorts of callers share |
//! | `tasks` | the same for callers with an event loop |
//! | `line`, `look`, `alter` | the operations of several steps, written once for both |
//! | `presence`, `tags`, `stored` | which entries count as there; what is stored with a value |
//! | `scripts`, `lua/` | what runs inside the server |
//! | `lock` | locks |
//! | `l2` | the same for a Hybrid: explicit deadlines, values with their remaining time |
//! | `replay` | a Hybrid's queued writes, on their way again |
//! | `trip` | one round trip: over which connection, what is tried again |
//! | `reads` | reads of replicas, and of the nearest node |
//! | `tracked` | the same over the connection of the invalidation stream |
//! | `abandoned` | writes that were given up don't come late |
//! | `commands` | requests and replies as pure functions |
//! | `scan` | walks over the keys: count, naming those that begin alike |
//! | `clear` | removing all keys, or those that begin alike |
//! | `listen` | the invalidation stream |
//! | `state`, `gate` | what a process has of connections; back-off |
//! | `direct`, `pipe`, `cluster` | a connection of one caller, of many, to many servers |
//! | `endpoint`, `tls`, `connect`, `sentinel`, `stream`, `socket`, `reply` | from options to bytes |
//! | `error_map` | failures to error classes |
//!
//! Left to others: values in memory (`local`), how both are kept coherent (`hybrid`), the envelope.

mod abandoned;
mod alter;
mod announce;
mod api;
mod bell;
mod clear;
mod cluster;
mod commands;
mod connect;
mod direct;
mod endpoint;
mod error_map;
mod gate;
mod l2;
mod lease;
mod lifetime;
mod limit;
mod line;
mod listen;
#[cfg(test)]
mod listen_tests;
mod load;
mod lock;
mod look;
mod pipe;
mod presence;
mod reads;
mod replay;
mod reply;
mod scan;
mod scripts;
mod sentinel;
mod socket;
mod state;
mod stored;
mod stream;
mod tags;
mod tasks;
mod tls;
mod tracked;
mod trip;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

pub(crate) use self::error_map::is_transient;
pub(crate) use self::l2::{Fetched, Got};
pub(crate) use self::lifetime::Lifetime;
pub(crate) use self::listen::InvalidationSink;
pub(crate) use self::load::{Claimed, Turn};
pub(crate) use self::replay::{Replay, Replayed};

use self::commands::Keyspace;
use self::endpoint::Endpoint;
use self::listen::Listener;
use self::state::{Generations, State};
use crate::config::{CommonOptions, Config, RedisOptions};
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::metrics::Durations;
use crate::ops::Kind;
use crate::runtime;
use crate::stats::Counters;
use crate::value::Value;

/// What a reply may have beyond the largest value: the envelope's header.
const REPLY_SLACK: usize = 1 << 20;

/// A cache in Redis or Valkey. A clone is another reference to the same cache.
///
/// All methods may be called from any thread, and after `fork()` in the child too, which then makes
/// connections of its own. A connection that broke is made anew by the next call.
#[derive(Clone)]
pub struct RedisCache {
    shared: Arc<Shared>,
}

/// What the clones of a cache share.
struct Shared {
    endpoint: Endpoint,
    keyspace: Keyspace,
    common: CommonOptions,
    counters: Counters,
    durations: Durations,
    /// Loads that are under way in this process.
    flights: Flights<Option<Value>>,
    /// Longest string in a reply.
    limit: usize,
    /// Up to so many calls at a time use a connection each; 0 for never.
    direct_max: usize,
    generations: Generations,
    listener: OnceBox<Listener>,
    /// Has the connections for what is not read from the primary.
    reader: Option<Arc<Shared>>,
}

impl RedisCache {
    /// Connects to the server of `url` (`redis://`, `rediss://`, `redis+unix://`,
    /// `redis+sentinel://`, a list of Cluster nodes, …), for keys below `prefix`.
    ///
    /// Errors: [`ErrorKind::Config`] for a URL that is not understood or is of another kind of cache,
    /// [`ErrorKind::Connect`], [`ErrorKind::Auth`].
    pub async fn new(url: &str, prefix: &str) -> Result<Self> {
        let mut config = Config::parse(url)?;
        if config.kind != Kind::Redis {
            return Err(Error::new(ErrorKind::Config, "the URL is not that of a Redis cache"));
        }
        config.redis.prefix = prefix.to_owned();
        Self::open_async(&config.common, &config.redis).await
    }

    /// Connects as `client` says: to its server, with its credentials, database and TLS settings.
    pub async fn from_client(client: ::redis::Client, prefix: &str) -> Result<Self> {
        let endpoint = Endpoint::from_client(client, prefix)?;
        let cache = Self::with_endpoint(&CommonOptions::default(), endpoint);
        cache.connect_async().await?;
        Ok(cache)
    }

    /// Connects by typed options; blocks up to `connect_timeout`.
    ///
    /// Errors: [`ErrorKind::Config`], [`ErrorKind::Connect`], [`ErrorKind::Auth`].
    pub fn open(common: &CommonOptions, redis: &RedisOptions) -> Result<Self> {
        let cache = Self::connect_lazily(common, redis)?;
        cache.connect()?;
        Ok(cache)
    }

    /// As [`RedisCache::open`], inside a tokio runtime, which the connections then use.
    pub async fn open_async(common: &CommonOptions, redis: &RedisOptions) -> Result<Self> {
        let cache = Self::connect_lazily(common, redis)?;
        cache.connect_async().await?;
        Ok(cache)
    }

    /// A cache that connects with its first call. [`ErrorKind::Config`] where certificates can't be
    /// read and the like; touches no network.
    pub(crate) fn connect_lazily(common: &CommonOptions, redis: &RedisOptions) -> Result<Self> {
        Ok(Self::with_endpoint(common, Endpoint::new(redis)?))
    }

    /// The same server and keys with connections, counters and an invalidation stream of its own.
    /// Its round trips are bounded by `timeout`.
    pub(crate) fn sibling(&self, timeout: Duration) -> Self {
        let mut endpoint = self.shared.endpoint.clone();
        endpoint.options.timeout = timeout;
        Self::with_endpoint(&self.shared.common, endpoint)
    }

    fn with_endpoint(common: &CommonOptions, endpoint: Endpoint) -> Self {
        let reader = endpoint.reader().map(|reads| Self::with_endpoint(common, reads).shared);
        let shared_only = endpoint.is_cluster() || endpoint.client.is_some();
        let direct_max = match endpoint.options.connections {
            _ if shared_only => 0,
            Some(connections) => connections,
            None => direct_by_processors(),
        };
        let options = &endpoint.options;
        let envelope = Envelope::new(options, endpoint.keys.clone(), common.max_value_bytes);
        let keyspace = Keyspace::new(&options.prefix, envelope);
        let generations = Generations::new(&endpoint, direct_max);
        let shared = Shared {
            endpoint,
            keyspace,
            limit: common.max_value_bytes.saturating_add(REPLY_SLACK),
            common: common.clone(),
            counters: Counters::default(),
            durations: Durations::new(),
            flights: Flights::new(),
            direct_max,
            generations,
            listener: OnceBox::new(),
            reader,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the first connection, or tells why there is none.
    pub(crate) fn connect(&self) -> Result<()> {
        let shared = &self.shared;
        let deadline = shared.connect_deadline();
        let state = shared.state();
        let connected = if let Some(leave) = state.begin_connecting() {
            shared.connect_directly(state, leave, deadline).map(|direct| state.check_in(direct))
        } else {
            crate::runtime::handle().and_then(|home| {
                crate::runtime::block_on(deadline, shared.pipe(state, &home))?.map(drop)
            })
        };
        connected.map_err(|error| shared.failed_to_open(error))
    }

    /// As [`RedisCache::connect`], from a task.
    pub(crate) async fn connect_async(&self) -> Result<()> {
        let shared = &self.shared;
        let connecting = async {
            let home = runtime::home()?;
            let pipe = shared.pipe(shared.state(), &home);
            match runtime::timeout_at(&home, shared.connect_deadline(), pipe).await {
                Some(pipe) => pipe.map(drop),
                None => Err(ErrorKind::Timeout.into()),
            }
        };
        connecting.await.map_err(|error| shared.failed_to_open(error))
    }
}

impl Shared {
    /// The state of this process. In a child of `fork()` the first call makes it, and has the
    /// invalidation stream taken up again.
    fn state(self: &Arc<Self>) -> &Arc<State> {
        let (state, new_process) = self.generations.current(&self.endpoint, self.direct_max);
        if new_process {
            self.listen_in_child(state);
        }
        if self.endpoint.is_sentinel() {
            sentinel::watch(self, state);
        }
        state
    }

    /// The deadline of a round trip that begins now.
    fn deadline(&self) -> Instant {
        Instant::now() + self.endpoint.options.timeout
    }

    /// A little later than the attempt's own bound, so that its message is heard.
    fn connect_deadline(&self) -> Instant {
        Instant::now() + self.endpoint.options.connect_timeout + Duration::from_millis(10)
    }

    fn failed_to_open(&self, error: Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::Timeout => ErrorKind::Connect,
            kind => kind,
        };
        if !matches!(kind, ErrorKind::Connect | ErrorKind::Auth) {
            return error;
        }
        let mut message = error.message().to_owned();
        let place = self.endpoint.describe();
        if !message.contains(&place) {
            message = format!("{place}: {message}");
        }
        Error::new(kind, format!("Failed to create Redis connection manager: {message}"))
    }
}

/// How many callers may have a connection each before sharing one is faster: measured as 2 where all
/// run on one processor and 8 where there are two.
fn direct_by_processors() -> usize {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => 2,
        processors => (4 * processors).min(32),
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("server", &self.shared.endpoint.describe())
            .field("prefix", &self.shared.endpoint.options.prefix)
            .finish_non_exhaustive()
    }
}
