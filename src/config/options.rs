//! The typed structures that the rest of the library reads, filled from checked [`Settings`]. Their
//! defaults are those of the schema.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::settings::Settings;
use crate::ops::{Kind, Ttls};

/// Options of every kind of cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommonOptions {
    /// Name in metrics and logs.
    pub name: Option<String>,
    /// TTL where a call names none.
    pub default_ttl: Option<Duration>,
    /// Largest value, in bytes.
    pub max_value_bytes: usize,
    /// Largest share by which a TTL is shortened at random, 0 to 1.
    pub ttl_jitter: f64,
    /// How long past its TTL a value may be served where a loader or the server fails.
    pub stale_ttl: Duration,
    /// The share of its TTL after which a value is loaded anew.
    pub refresh_ahead: Option<f64>,
    /// How long it is remembered that a loader found nothing.
    pub negative_ttl: Duration,
    /// Whether one load per key runs in all processes together, rather than one in each.
    pub fleet_flight: bool,
    /// Keys that encrypt a Local cache's snapshots and what is stored in the server, `ID:BASE64,…`.
    pub encryption_keys: Option<Secret>,
}

impl CommonOptions {
    pub(crate) fn ttls(&self) -> Ttls {
        Ttls { default: self.default_ttl, jitter: self.ttl_jitter }
    }
}

/// Options of the Local cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Most entries.
    pub max_entries: Option<usize>,
    /// Most bytes of keys, values and their bookkeeping.
    pub max_bytes: Option<usize>,
    /// Number of shards, a power of two; `None` chooses from the processors.
    pub shards: Option<usize>,
    /// How often expired entries are freed.
    pub sweep_interval: Duration,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// One server by TCP.
    Tcp(HostPort),
    /// One server by a unix socket.
    Unix(PathBuf),
    /// Some nodes of a Cluster.
    Cluster(Vec<HostPort>),
    /// Some Sentinels and the name of the service that they watch.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<HostPort>,
        /// The master's name.
        service: String,
    },
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Host name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A password or key: it never shows itself in `Debug`, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself, for those alone who use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// TLS of the connections to the server.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsOptions {
    /// File of CA certificates (PEM) instead of the built-in roots.
    pub ca: Option<PathBuf>,
    /// File of the client's certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// File of the client's private key (PEM).
    pub key: Option<PathBuf>,
    /// Accept any certificate for any name. Warned about at each open.
    pub insecure: bool,
}

/// Which nodes are read. A replica may answer with an older value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary,
    /// Any replica; the primary where there is none.
    Replica,
    /// Whichever of primary and replicas answers fastest.
    Nearest,
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// In the envelope of `docs/wire-format.md`; raw values of other clients are read too.
    Envelope,
    /// As they are, and read as they are.
    Raw,
}

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Zstandard (RFC 8878), one frame.
    Zstd,
    /// LZ4, one block without a frame.
    Lz4,
}

/// Options of the Redis cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Keys are stored as `PREFIX:KEY`; empty only with [`Wire::Raw`].
    pub prefix: String,
    /// RESP version to ask for, 2 or 3.
    pub protocol: u8,
    /// Bound of one round trip.
    pub timeout: Duration,
    /// Bound of connecting, TLS and handshake included.
    pub connect_timeout: Duration,
    /// How often an idempotent read is repeated within its deadline.
    pub retries: u32,
    /// Longest wait between two attempts to reconnect.
    pub max_backoff: Duration,
    /// Most direct connections that are kept; `None` chooses from the processors.
    pub connections: Option<usize>,
    /// Idle time before TCP keepalive probes; `None` for none.
    pub tcp_keepalive: Option<Duration>,
    /// CLIENT SETNAME.
    pub client_name: Option<String>,
    /// Database number.
    pub db: u32,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// TLS, where asked for.
    pub tls: Option<TlsOptions>,
    /// Which nodes of a Cluster, or behind Sentinels, are read.
    pub read_from: ReadFrom,
    /// How values are written.
    pub wire: Wire,
    /// Compression of values that it makes a tenth smaller; `None` for none. Not with [`Wire::Raw`].
    pub compress: Option<Codec>,
    /// Smaller values are not compressed.
    pub compress_min_bytes: usize,
    /// Keys as `ID:BASE64,…`: the first encrypts, all decrypt. Not with [`Wire::Raw`].
    pub encryption_keys: Option<Secret>,
}

/// How a Hybrid hears of other processes' writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Server-assisted: CLIENT TRACKING BCAST.
    Tracking,
    /// By what other caches that listen so tell on a channel.
    PubSub,
    /// Not at all: L1 may be stale to the end of its TTL.
    None,
}

/// What a Hybrid answers from L1 while L2 is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L1Alone {
    /// Serve entries to the end of their TTL.
    Stale,
    /// Read as a miss.
    Miss,
}

/// Options of the Hybrid cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HybridOptions {
    /// The invalidation channel.
    pub invalidation: Invalidation,
    /// How often the channel is proven; L1 is trusted no longer than this past the last proof.
    pub watchdog: Duration,
    /// Bound of each leg to L2.
    pub l2_timeout: Duration,
    /// Opening fails where L2 is not reachable.
    pub require_l2: bool,
    /// What L1 answers while L2 is away.
    pub l1_alone: L1Alone,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// Time between two probes while the breaker is open.
    pub breaker_open: Duration,
    /// Most keys whose writes are queued for an L2 that is away.
    pub replay_limit: usize,
    /// Most memory of that queue, in bytes.
    pub replay_bytes: usize,
    /// Longest time that a value of L2 is kept in L1.
    pub l1_max_ttl: Option<Duration>,
}

impl CommonOptions {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            name: settings.text("name"),
            default_ttl: settings.span("default_ttl"),
            max_value_bytes: settings.number("max_value_bytes"),
            ttl_jitter: settings.share("ttl_jitter").unwrap_or(0.0),
            stale_ttl: settings.some_span("stale_ttl"),
            refresh_ahead: settings.share("refresh_ahead"),
            negative_ttl: settings.some_span("negative_ttl"),
            fleet_flight: settings.choice("single_flight") == "fleet",
            encryption_keys: settings.secret("encryption_keys"),
        }
    }
}

impl LocalOptions {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            max_entries: settings.optional_number("max_entries"),
            max_bytes: settings.optional_number("max_bytes"),
            shards: settings.optional_number("shards"),
            sweep_interval: settings.some_span("sweep_interval"),
        }
    }
}

impl RedisOptions {
    pub(super) fn of(settings: &Settings, endpoint: Endpoint, tls: bool) -> Self {
        Self {
            endpoint,
            prefix: settings.text("prefix").unwrap_or_default(),
            protocol: settings.number("protocol"),
            timeout: settings.some_span("timeout"),
            connect_timeout: settings.some_span("connect_timeout"),
            retries: settings.number("retries"),
            max_backoff: settings.some_span("max_backoff"),
            connections: settings.optional_number("connections"),
            tcp_keepalive: settings.span("tcp_keepalive"),
            client_name: settings.text("client_name"),
            db: settings.number("db"),
            username: settings.secret("username").map(|name| name.expose().to_owned()),
            password: settings.secret("password"),
            tls: tls.then(|| TlsOptions {
                ca: settings.path("tls_ca"),
                cert: settings.path("tls_cert"),
                key: settings.path("tls_key"),
                insecure: settings.flag("tls_insecure"),
            }),
            read_from: match settings.choice("read_from") {
                "replica" => ReadFrom::Replica,
                "nearest" => ReadFrom::Nearest,
                _ => ReadFrom::Primary,
            },
            wire: if settings.choice("wire") == "raw" { Wire::Raw } else { Wire::Envelope },
            compress: match settings.choice("compress") {
                "zstd" => Some(Codec::Zstd),
                "lz4" => Some(Codec::Lz4),
                _ => None,
            },
            compress_min_bytes: settings.number("compress_min_bytes"),
            encryption_keys: settings.secret("encryption_keys"),
        }
    }
}

impl HybridOptions {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            invalidation: match settings.choice("invalidation") {
                "none" => Invalidation::None,
                "pubsub" => Invalidation::PubSub,
                _ => Invalidation::Tracking,
            },
            watchdog: settings.some_span("watchdog"),
            l2_timeout: settings.some_span("l2_timeout"),
            require_l2: settings.flag("require_l2"),
            l1_alone: match settings.choice("l1_alone") {
                "miss" => L1Alone::Miss,
                _ => L1Alone::Stale,
            },
            breaker_failures: settings.number("breaker_failures"),
            breaker_open: settings.some_span("breaker_open"),
            replay_limit: settings.number("replay_limit"),
            replay_bytes: settings.number("replay_bytes"),
            l1_max_ttl: settings.span("l1.max_ttl"),
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Tcp(HostPort { host: "localhost".into(), port: 6379 })
    }
}

impl Default for CommonOptions {
    fn default() -> Self {
        Self::of(&Settings::new(Kind::Local))
    }
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self::of(&Settings::new(Kind::Local))
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::of(&Settings::new(Kind::Redis), Endpoint::default(), false)
    }
}

impl Default for HybridOptions {
    fn default() -> Self {
        Self::of(&Settings::new(Kind::Hybrid))
    }
}
