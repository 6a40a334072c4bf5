//! Sentinel: asks one Sentinel after another who the master is, and believes it only if the server
//! there says so itself. Asked anew for each connection, so a fail-over is followed by connecting
//! again.
//!
//! A master that was replaced while it lived goes on as if nothing had happened for about ten seconds,
//! until the Sentinels make it a replica; what is written to it then is lost. So a cache in use also
//! asks once a second whether its master is still the master ([`watch`]).

use std::sync::Arc;

use ::redis::{Cmd, Value as Reply, cmd};
use tokio::time::Instant;

use super::Shared;
use super::connect::{self, Link, Resolver};
use super::endpoint::{Address, Endpoint};
use super::error_map::{not_reached, plain_io};
use super::reads;
use super::state::State;
use crate::config::{Endpoint as Place, HostPort};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime;

/// Connects to the master of `service` by `deadline`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    service: &str,
    deadline: Instant,
) -> Result<Link> {
    let mut last = Error::new(ErrorKind::Connect, "no Sentinel is configured");
    for (tried, sentinel) in sentinels.iter().enumerate() {
        // A Sentinel that does not answer must leave time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + left / (sentinels.len() - tried) as u32;
        let asking = async {
            let master = ask(endpoint, resolver, sentinel, service, until).await?;
            let mut link =
                connect::connect_to(endpoint, resolver, Address::Tcp(master), until).await?;
            expect_master(&mut link).await?;
            Ok::<Link, Error>(link)
        };
        match tokio::time::timeout_at(until, asking).await {
            Ok(Ok(link)) => return Ok(link),
            // Another Sentinel does not know other credentials.
            Ok(Err(error)) if error.kind() == ErrorKind::Auth => return Err(error),
            Ok(Err(error)) => last = error,
            Err(_) => last = not_reached(&sentinel.to_string(), &"no answer in time"),
        }
    }
    Err(last)
}

/// Has the Sentinels asked, in the background, if that is due; where they name another master, a new
/// epoch begins.
pub(super) fn watch(shared: &Arc<Shared>, state: &Arc<State>) {
    if !state.master_check_is_due(shared.review_ms()) {
        return;
    }
    let (shared, state) = (shared.clone(), state.clone());
    let asking = async move {
        let Place::Sentinel { sentinels, service } = &shared.endpoint.options.endpoint else {
            return;
        };
        if shared.endpoint.reads {
            let until = connect::connect_deadline(shared.endpoint.options.connect_timeout);
            return reads::review(&shared, &state, sentinels, service, until).await;
        }
        for sentinel in sentinels {
            let until = connect::connect_deadline(shared.endpoint.options.connect_timeout);
            let answer = ask(&shared.endpoint, &state.resolver, sentinel, service, until);
            if let Ok(Ok(master)) = tokio::time::timeout_at(until, answer).await {
                state.master_is(master);
                return;
            }
        }
    };
    // Without a runtime there are no connections to watch over either.
    drop(runtime::spawn(asking));
}

/// What the first of the Sentinels that answers says to `question`, by `deadline`.
async fn first(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    question: &Cmd,
    deadline: Instant,
) -> Result<Reply> {
    let mut last = Error::new(ErrorKind::Connect, "no Sentinel is configured");
    for (tried, sentinel) in sentinels.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + left / (sentinels.len() - tried) as u32;
        let asking = inquire(endpoint, resolver, sentinel, question, until);
        match tokio::time::timeout_at(until, asking).await {
            Ok(Ok(Reply::ServerError(error))) => last = super::error_map::server_error(&error),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error,
            Err(_) => last = not_reached(&sentinel.to_string(), &"no answer in time"),
        }
    }
    Err(last)
}

/// The master's address.
pub(super) async fn primary(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    service: &str,
    deadline: Instant,
) -> Result<HostPort> {
    match first(endpoint, resolver, sentinels, &question(service), deadline).await? {
        Reply::Array(parts) => master_of(&parts),
        _ => None,
    }
    .ok_or_else(|| not_reached(service, &"the Sentinel's answer is no address"))
}

/// The addresses of the replicas that are up and have their master's data.
pub(super) async fn replicas(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinels: &[HostPort],
    service: &str,
    deadline: Instant,
) -> Result<Vec<HostPort>> {
    let mut question = cmd("SENTINEL");
    question.arg("replicas").arg(service);
    match first(endpoint, resolver, sentinels, &question, deadline).await? {
        Reply::Array(replicas) => Ok(replicas.iter().filter_map(replica_of).collect()),
        _ => Err(not_reached(service, &"the Sentinel's answer is no list")),
    }
}

/// A replica that can be read.
fn replica_of(fields: &Reply) -> Option<HostPort> {
    let Reply::Array(fields) = fields else { return None };
    let field = |name: &str| {
        fields.chunks_exact(2).find_map(|pair| match pair {
            [Reply::BulkString(key), Reply::BulkString(value)] if key == name.as_bytes() => {
                std::str::from_utf8(value).ok()
            }
            _ => None,
        })
    };
    let mut flags = field("flags")?.split(',');
    let down = flags.any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
    if down || field("master-link-status")? != "ok" {
        return None;
    }
    Some(HostPort { host: field("ip")?.to_owned(), port: field("port")?.parse().ok()? })
}

/// Asks one Sentinel for the master's address.
async fn ask(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinel: &HostPort,
    service: &str,
    deadline: Instant,
) -> Result<HostPort> {
    match inquire(endpoint, resolver, sentinel, &question(service), deadline).await? {
        Reply::Array(parts) => master_of(&parts).ok_or_else(|| {
            not_reached(&sentinel.to_string(), &"the Sentinel's answer is no address")
        }),
        Reply::Nil => Err(not_reached(
            &sentinel.to_string(),
            &format_args!("the Sentinel knows no master named {service}"),
        )),
        Reply::ServerError(error) => Err(super::error_map::server_error(&error)),
        _ => Err(not_reached(&sentinel.to_string(), &"the Sentinel's answer is no address")),
    }
}

/// Asks one Sentinel.
async fn inquire(
    endpoint: &Endpoint,
    resolver: &Resolver,
    sentinel: &HostPort,
    question: &Cmd,
    deadline: Instant,
) -> Result<Reply> {
    let address = Address::Tcp(sentinel.clone());
    let mut stream = connect::open(endpoint, resolver, &address, deadline).await?;
    let failed = |error: std::io::Error| not_reached(&sentinel.to_string(), &plain_io(&error));
    let mut replies =
        connect::converse(&mut stream, std::slice::from_ref(question)).await.map_err(failed)?;
    if refuses_strangers(&replies)
        && let Some(password) = &endpoint.options.password
    {
        let auth = connect::auth(endpoint.options.username.as_deref(), password.expose());
        replies =
            connect::converse(&mut stream, &[auth, question.clone()]).await.map_err(failed)?;
    }
    replies.pop().ok_or_else(|| not_reached(&sentinel.to_string(), &"no answer"))
}

fn question(service: &str) -> Cmd {
    let mut question = cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(service);
    question
}

fn refuses_strangers(replies: &[Reply]) -> bool {
    matches!(replies, [Reply::ServerError(error)] if error.code() == "NOAUTH")
}

fn master_of(parts: &[Reply]) -> Option<HostPort> {
    let [Reply::BulkString(host), Reply::BulkString(port)] = parts else { return None };
    Some(HostPort {
        host: String::from_utf8(host.clone()).ok()?,
        port: std::str::from_utf8(port).ok()?.parse().ok()?,
    })
}

/// Right after a fail-over a Sentinel may still name the old master, which has become a replica.
async fn expect_master(link: &mut Link) -> Result<()> {
    let address = link.address.to_string();
    let replies = connect::converse(&mut link.stream, &[cmd("ROLE")]).await;
    let replies = replies.map_err(|error| not_reached(&address, &plain_io(&error)))?;
    match replies.first() {
        Some(Reply::Array(role)) => match role.first() {
            Some(Reply::BulkString(role)) if role == b"master" => Ok(()),
            _ => Err(not_reached(&address, &"it is no master any more")),
        },
        // A user without the right to ask ROLE finds out by the READONLY of a replica.
        Some(Reply::ServerError(error)) if error.code() == "NOPERM" => Ok(()),
        _ => Err(not_reached(&address, &"it does not tell its role")),
    }
}
