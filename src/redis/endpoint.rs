//! [`Endpoint`]: where the server is and how to come to it, made once from the options. Opens no
//! connection; `connect` does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ::redis::cluster_read_routing::RandomReplicaStrategy;
use ::redis::io::tcp::{TcpSettings, socket2};
use ::redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::reads::Nearest;
use super::tls::Tls;
use crate::config::{self, HostPort, ReadFrom, RedisOptions, Secret, TlsOptions, Wire};
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{self, Level};
use crate::seal::Keyring;

/// One server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(HostPort),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Where the server is and how to come to it.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) options: RedisOptions,
    pub(super) tls: Option<Tls>,
    /// The keys of [`RedisOptions::encryption_keys`].
    pub(super) keys: Option<Arc<Keyring>>,
    /// Connections are for what only reads, to the node that `read_from` names.
    pub(super) reads: bool,
    /// A client whose TLS settings can't be taken over: it makes the connections itself.
    pub(super) client: Option<::redis::Client>,
}

impl Endpoint {
    /// Reads certificate files and encryption keys. [`ErrorKind::Config`] where something can't be used.
    pub(super) fn new(options: &RedisOptions) -> Result<Self> {
        if options.prefix.is_empty() && options.wire != Wire::Raw {
            return Err(Error::new(ErrorKind::Config, "an empty prefix needs wire=raw"));
        }
        let keys = Envelope::keys(options)?;
        let tls = options.tls.as_ref().map(Tls::new).transpose()?;
        if tls.as_ref().is_some_and(|tls| tls.insecure) {
            log::emit(
                Level::Warn,
                "redis",
                format_args!("tls_insecure=true: the server's certificate is not checked"),
            );
        }
        Ok(Self { options: options.clone(), tls, keys, reads: false, client: None })
    }

    /// Takes over the address, the credentials and the database of a client of the `redis` crate.
    pub(super) fn from_client(client: ::redis::Client, prefix: &str) -> Result<Self> {
        let info = client.get_connection_info();
        let mut options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::default() };
        let mut keep_client = false;
        options.endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                config::Endpoint::Tcp(HostPort { host: host.clone(), port: *port })
            }
            ConnectionAddr::TcpTls { host, port, insecure, tls_params } => {
                keep_client = tls_params.is_some();
                options.tls = Some(TlsOptions { insecure: *insecure, ..TlsOptions::default() });
                config::Endpoint::Tcp(HostPort { host: host.clone(), port: *port })
            }
            ConnectionAddr::Unix(path) => config::Endpoint::Unix(path.clone()),
            _ => return Err(Error::new(ErrorKind::Unsupported, "an address of an unknown kind")),
        };
        let settings = info.redis_settings();
        options.username = settings.username().map(str::to_owned);
        options.password = settings.password().map(Secret::new);
        options.db = u32::try_from(settings.db())
            .map_err(|_| Error::new(ErrorKind::Config, "the database number is negative"))?;
        let mut endpoint = Self::new(&options)?;
        endpoint.client = keep_client.then_some(client);
        Ok(endpoint)
    }

    /// Whether this is a Cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.options.endpoint, config::Endpoint::Cluster(_))
    }

    /// Whether the master is asked of Sentinels.
    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.options.endpoint, config::Endpoint::Sentinel { .. })
    }

    /// The same for the connections that only read, where those are others.
    pub(super) fn reader(&self) -> Option<Self> {
        let elsewhere = self.is_sentinel() && self.options.read_from != ReadFrom::Primary;
        (elsewhere && !self.reads).then(|| Self { reads: true, ..self.clone() })
    }

    /// The server, or the nodes to ask for it, for messages.
    pub(super) fn describe(&self) -> String {
        let list = |nodes: &[HostPort]| {
            nodes.iter().map(HostPort::to_string).collect::<Vec<_>>().join(", ")
        };
        match &self.options.endpoint {
            config::Endpoint::Tcp(address) => address.to_string(),
            config::Endpoint::Unix(path) => path.display().to_string(),
            config::Endpoint::Cluster(nodes) => format!("the Cluster at {}", list(nodes)),
            config::Endpoint::Sentinel { sentinels, service } => {
                format!("the master {service} of the Sentinels at {}", list(sentinels))
            }
        }
    }

    /// The client for a Cluster, which knows its slots. What is sent again is not its matter.
    pub(super) fn cluster_client(
        &self,
        nodes: &[HostPort],
    ) -> Result<::redis::cluster::ClusterClient> {
        let options = &self.options;
        let nodes = nodes.iter().map(|node| {
            let address = match &self.tls {
                None => ConnectionAddr::Tcp(node.host.clone(), node.port),
                Some(tls) => ConnectionAddr::TcpTls {
                    host: node.host.clone(),
                    port: node.port,
                    insecure: tls.insecure,
                    tls_params: None,
                },
            };
            let mut redis = RedisConnectionInfo::default().set_skip_set_lib_name();
            if let Some(username) = &options.username {
                redis = redis.set_username(username);
            }
            if let Some(password) = &options.password {
                redis = redis.set_password(password.expose());
            }
            address.into_connection_info().map(|info| info.set_redis_settings(redis))
        });
        let unusable = |error: ::redis::RedisError| {
            Error::new(ErrorKind::Config, format!("the Cluster's options: {}", error.category()))
        };
        let nodes: Vec<_> = nodes.collect::<::redis::RedisResult<_>>().map_err(unusable)?;
        let mut builder = ::redis::cluster::ClusterClientBuilder::new(nodes)
            .connection_timeout(options.connect_timeout)
            .response_timeout(options.timeout)
            .retries(0)
            .tcp_settings(self.tcp_settings())
            .use_protocol(match options.protocol {
                2 => ::redis::ProtocolVersion::RESP2,
                _ => ::redis::ProtocolVersion::RESP3,
            });
        builder = match options.read_from {
            ReadFrom::Primary => builder,
            ReadFrom::Replica => builder.read_routing_strategy(RandomReplicaStrategy),
            ReadFrom::Nearest => builder.read_routing_strategy(Nearest::new(self.clone())),
        };
        if let Some(tls) = &self.tls {
            Tls::choose_provider();
            builder = builder.certs(tls.certificates.clone()).tls(if tls.insecure {
                ::redis::TlsMode::Insecure
            } else {
                ::redis::TlsMode::Secure
            });
        }
        builder.build().map_err(unusable)
    }

    fn tcp_settings(&self) -> TcpSettings {
        let settings = TcpSettings::default().set_nodelay(true);
        match self.options.tcp_keepalive {
            Some(time) => settings.set_keepalive(socket2::TcpKeepalive::new().with_time(time)),
            None => settings,
        }
    }
}
