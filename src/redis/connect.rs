//! From an [`Endpoint`] to a [`Link`]: look the name up, connect, TLS, handshake.
//!
//! Runs on tokio whoever asks for it, so that each step ends by the deadline, name look-up included.
//! Name look-ups can't be cancelled: one that hangs is left behind on its thread and shared by all who
//! ask for the same host, so that there is at most one per host.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, Value as Reply, cmd};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::endpoint::{Address, Endpoint};
use super::error_map::{checked, not_reached, plain_io};
use super::reads;
use super::reply::{Scanner, parse};
use super::sentinel;
use super::stream::Stream;
use crate::config::{self, HostPort};
use crate::error::{Error, ErrorKind, Result};

/// A connection that is ready for commands.
pub(super) struct Link {
    pub(super) stream: Stream,
    /// The server speaks RESP3 with us.
    pub(super) resp3: bool,
    /// The number by which the server knows this connection, where it tells.
    pub(super) id: Option<u64>,
    pub(super) address: Address,
}

/// Connects to the server, or to the master that the Sentinels name, by `deadline`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    resolver: &Resolver,
    deadline: Instant,
) -> Result<Link> {
    let address = match &endpoint.options.endpoint {
        config::Endpoint::Tcp(address) => Address::Tcp(address.clone()),
        config::Endpoint::Unix(path) => Address::Unix(path.clone()),
        config::Endpoint::Sentinel { sentinels, service } if endpoint.reads => {
            return reads::connect(endpoint, resolver, sentinels, service, deadline).await;
        }
        config::Endpoint::Sentinel { sentinels, service } => {
            return sentinel::connect(endpoint, resolver, sentinels, service, deadline).await;
        }
        config::Endpoint::Cluster(_) => {
            return Err(Error::new(ErrorKind::Connect, "a Cluster has no single server"));
        }
    };
    connect_to(endpoint, resolver, address, deadline).await
}

/// Connects to one server by `deadline`, with the handshake.
pub(super) async fn connect_to(
    endpoint: &Endpoint,
    resolver: &Resolver,
    address: Address,
    deadline: Instant,
) -> Result<Link> {
    let connecting = async {
        let mut stream = open(endpoint, resolver, &address, deadline).await?;
        let (resp3, id) = handshake(endpoint, &mut stream, &address).await?;
        Ok((stream, resp3, id))
    };
    match tokio::time::timeout_at(deadline, connecting).await {
        Ok(connected) => connected.map(|(stream, resp3, id)| Link { stream, resp3, id, address }),
        Err(_) => Err(not_reached(&address.to_string(), &"no answer in time")),
    }
}

/// Opens a stream, TLS included, without a handshake of the Redis protocol.
pub(super) async fn open(
    endpoint: &Endpoint,
    resolver: &Resolver,
    address: &Address,
    deadline: Instant,
) -> Result<Stream> {
    let failed = |error: io::Error| not_reached(&address.to_string(), &plain_io(&error));
    let server = match address {
        Address::Unix(path) => return open_unix(path).await.map(Stream::Unix).map_err(failed),
        Address::Tcp(server) => server,
    };
    let stream = open_tcp(resolver, server, deadline).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    if let Some(time) = endpoint.options.tcp_keepalive {
        let keepalive = socket2::TcpKeepalive::new().with_time(time);
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(failed)?;
    }
    let Some(tls) = &endpoint.tls else { return Ok(Stream::Tcp(stream)) };
    let name = ServerName::try_from(server.host.clone())
        .map_err(|_| not_reached(&address.to_string(), &"the host is no name that TLS knows"))?;
    let connected = TlsConnector::from(tls.config.clone()).connect(name, stream).await;
    match connected {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => {
            Err(not_reached(&address.to_string(), &format_args!("TLS: {}", plain_io(&error))))
        }
    }
}

async fn open_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Tries the addresses of the host in turn, each for its share of the time that is left.
async fn open_tcp(
    resolver: &Resolver,
    server: &HostPort,
    deadline: Instant,
) -> io::Result<TcpStream> {
    let addresses = resolver.look_up(server).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// What a connection says first. Returns whether the server speaks RESP3, and the connection's number.
async fn handshake(
    endpoint: &Endpoint,
    stream: &mut Stream,
    address: &Address,
) -> Result<(bool, Option<u64>)> {
    if endpoint.options.protocol >= 3 {
        let (cmds, needed) = greeting(endpoint, true);
        let replies = converse(stream, &cmds).await;
        let replies = replies.map_err(|error| in_handshake(address, &error))?;
        // A server before version 6, or an ACL without HELLO, knows no other way than RESP2.
        let refused = matches!(
            &replies[0],
            Reply::ServerError(error)
                if error.code() == "NOPROTO" || error.details().is_some_and(unknown_command)
        );
        if !refused {
            let id = replies.iter().find_map(connection_id);
            return accepted(replies, needed, address).map(|()| (true, id));
        }
    }
    let (cmds, needed) = greeting(endpoint, false);
    let replies = converse(stream, &cmds).await;
    let replies = replies.map_err(|error| in_handshake(address, &error))?;
    let id = replies.iter().rev().find_map(connection_id);
    accepted(replies, needed, address).map(|()| (false, id))
}

/// The number of a connection in the reply to HELLO, or to CLIENT ID.
fn connection_id(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Int(id) => u64::try_from(*id).ok(),
        Reply::Map(fields) => fields.iter().find_map(|(name, value)| match (name, value) {
            (Reply::BulkString(name), Reply::Int(id)) if name == b"id" => u64::try_from(*id).ok(),
            _ => None,
        }),
        _ => None,
    }
}

fn unknown_command(text: &str) -> bool {
    text.starts_with("unknown command")
}

/// The commands that a connection begins with, and how many of them, from the first, the server must
/// accept. The others are for those who look at its list of clients.
fn greeting(endpoint: &Endpoint, resp3: bool) -> (Vec<Cmd>, usize) {
    let options = &endpoint.options;
    let mut cmds = Vec::with_capacity(5);
    let password = options.password.as_ref().map(|password| password.expose());
    if resp3 {
        let mut hello = cmd("HELLO");
        hello.arg(3);
        if let Some(password) = password {
            let username = options.username.as_deref().unwrap_or("default");
            hello.arg("AUTH").arg(username).arg(password);
        }
        cmds.push(hello);
    } else if let Some(password) = password {
        cmds.push(auth(options.username.as_deref(), password));
    }
    if options.db != 0 {
        let mut select = cmd("SELECT");
        select.arg(options.db);
        cmds.push(select);
    } else if !resp3 {
        // Shows at once whether the server wants credentials, as HELLO does.
        cmds.push(cmd("PING"));
    }
    let needed = cmds.len();
    if let Some(name) = &options.client_name {
        let mut set_name = cmd("CLIENT");
        set_name.arg("SETNAME").arg(name);
        cmds.push(set_name);
    }
    for (field, value) in [("LIB-NAME", "lighter_cache"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
        let mut set_info = cmd("CLIENT");
        set_info.arg("SETINFO").arg(field).arg(value);
        cmds.push(set_info);
    }
    if !resp3 {
        let mut id = cmd("CLIENT");
        id.arg("ID");
        cmds.push(id);
    }
    (cmds, needed)
}

/// AUTH as servers of every version understand it.
pub(super) fn auth(username: Option<&str>, password: &str) -> Cmd {
    let mut auth = cmd("AUTH");
    if let Some(username) = username {
        auth.arg(username);
    }
    auth.arg(password);
    auth
}

/// Judges the replies to a greeting.
fn accepted(replies: Vec<Reply>, needed: usize, address: &Address) -> Result<()> {
    for reply in replies.into_iter().take(needed) {
        let Err(error) = checked(reply) else { continue };
        let kind = match error.kind() {
            ErrorKind::Auth => ErrorKind::Auth,
            // A server without a password says so in a plain error when it is given one.
            _ if error.message().contains("AUTH") => ErrorKind::Auth,
            _ => ErrorKind::Connect,
        };
        return Err(Error::new(kind, format!("{address}: {}", error.message())));
    }
    Ok(())
}

fn in_handshake(address: &Address, error: &io::Error) -> Error {
    not_reached(&address.to_string(), &format_args!("handshake: {}", plain_io(error)))
}

/// Most bytes of all replies of a handshake together.
const HANDSHAKE_MAX: usize = 1 << 20;

/// Sends `cmds` in one write and reads their replies, on a connection that nobody else uses.
pub(super) async fn converse(stream: &mut Stream, cmds: &[Cmd]) -> io::Result<Vec<Reply>> {
    let mut bytes = Vec::with_capacity(256);
    cmds.iter().for_each(|cmd| cmd.write_packed_command(&mut bytes));
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    bytes.clear();
    let mut replies = Vec::with_capacity(cmds.len());
    let mut scanner = Scanner::new(HANDSHAKE_MAX);
    // `bytes[begun..seen]` is the part of a reply that the scanner has walked over.
    let (mut begun, mut seen) = (0, 0);
    while replies.len() < cmds.len() {
        if seen == bytes.len() {
            if bytes.len() > HANDSHAKE_MAX {
                return Err(io::Error::other("too long an answer"));
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let (used, ended) = scanner.feed(&bytes[seen..]).map_err(io::Error::other)?;
        seen += used;
        if ended {
            replies.push(parse(&bytes[begun..seen]).map_err(io::Error::other)?);
            begun = seen;
        }
    }
    Ok(replies)
}

type LookedUp = Option<Result<Vec<SocketAddr>, String>>;

/// Looks host names up, each anew for every connection, but never one host twice at a time.
#[derive(Default)]
pub(super) struct Resolver {
    running: Mutex<HashMap<String, watch::Receiver<LookedUp>>>,
    /// The node of the shortest round trip, where that was measured.
    nearest: Mutex<Option<HostPort>>,
}

impl Resolver {
    pub(super) fn nearest(&self) -> Option<HostPort> {
        self.nearest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_nearest(&self, node: Option<HostPort>) {
        *self.nearest.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    async fn look_up(&self, server: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = server.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, server.port)]);
        }
        let mut answer = self.join_or_start(server);
        let failed = |why: &str| io::Error::new(io::ErrorKind::NotFound, why.to_owned());
        let found = answer.wait_for(Option::is_some).await;
        let found = found.map_err(|_| failed("the look-up of the host was given up"))?.clone();
        match found {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(why)) => Err(failed(&why)),
            None => Err(failed("the look-up of the host brought nothing")),
        }
    }

    fn join_or_start(&self, server: &HostPort) -> watch::Receiver<LookedUp> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // What is finished is of the past: DNS may say something else now.
        running.retain(|_, answer| answer.borrow().is_none() && answer.has_changed().is_ok());
        let name = server.to_string();
        if let Some(answer) = running.get(&name) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        running.insert(name, answer.clone());
        let server = server.clone();
        tokio::task::spawn_blocking(move || {
            let found = (server.host.as_str(), server.port).to_socket_addrs();
            let found = found.map(Iterator::collect).map_err(|error| plain_io(&error));
            sender.send_replace(Some(found));
        });
        answer
    }
}

/// Bound of connecting from now on.
pub(super) fn connect_deadline(connect_timeout: Duration) -> Instant {
    Instant::now() + connect_timeout
}
