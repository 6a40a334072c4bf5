//! A cache's URL, taken apart: which kind, where the server is, who asks, and the options as text.
//!
//! Whatever stands in a URL may be a piece of a password that was not escaped, so no message repeats
//! any of it but a scheme that is followed by `://`.

use std::net::Ipv6Addr;

use super::nearest::nearest;
use super::options::{Endpoint, HostPort, Secret};
use super::units;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Kind;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Unix,
    Cluster,
    Sentinel,
}

/// Scheme, transport, TLS. `hybrid+` may stand before each.
pub(super) const SCHEMES: [(&str, Transport, bool); 14] = [
    ("redis", Transport::Tcp, false),
    ("rediss", Transport::Tcp, true),
    ("valkey", Transport::Tcp, false),
    ("valkeys", Transport::Tcp, true),
    ("redis+unix", Transport::Unix, false),
    ("valkey+unix", Transport::Unix, false),
    ("redis+cluster", Transport::Cluster, false),
    ("rediss+cluster", Transport::Cluster, true),
    ("valkey+cluster", Transport::Cluster, false),
    ("valkeys+cluster", Transport::Cluster, true),
    ("redis+sentinel", Transport::Sentinel, false),
    ("rediss+sentinel", Transport::Sentinel, true),
    ("valkey+sentinel", Transport::Sentinel, false),
    ("valkeys+sentinel", Transport::Sentinel, true),
];

/// The parts of a URL.
#[derive(Debug)]
pub(super) struct Url {
    pub kind: Kind,
    /// `None` on a Local cache.
    pub endpoint: Option<Endpoint>,
    pub tls: bool,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    /// The database of the path.
    pub db: Option<String>,
    /// Names and values of the options.
    pub options: Vec<(String, Secret)>,
}

/// Takes `text` apart.
pub(super) fn parse(text: &str) -> Result<Url> {
    if text.chars().any(char::is_control) {
        return refuse("the URL holds a control character; write it as %XX");
    }
    if text.contains('#') {
        return refuse(
            "the URL has a fragment, which no cache takes; `#` in a password is written %23, and \
             `#insecure` is the option `tls_insecure=true`",
        );
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(unknown_scheme(text, false));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "local" {
        return parse_local(rest);
    }
    let (kind, server) = match scheme.strip_prefix("hybrid+") {
        Some(server) => (Kind::Hybrid, server),
        None => (Kind::Redis, scheme.as_str()),
    };
    let found = SCHEMES.iter().find(|(name, ..)| *name == server);
    let Some(&(_, transport, tls)) = found else {
        return Err(unknown_scheme(&scheme, rest.starts_with("//")));
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return refuse("after the scheme the URL needs `//`, as in `redis://localhost`");
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // An `@` elsewhere may be that of a password with a `/`, `?` or `@` in it.
    if path.contains('@') || query.contains('@') {
        return refuse(UNESCAPED);
    }
    let (user, hosts) = match authority.split_once('@') {
        Some((_, hosts)) if hosts.contains('@') => return refuse(UNESCAPED),
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let (username, password) = credentials(user)?;
    let (endpoint, db) = endpoint(transport, hosts, path)?;
    let options = options(query)?;
    Ok(Url { kind, endpoint: Some(endpoint), tls, username, password, db, options })
}

fn parse_local(rest: &str) -> Result<Url> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(place, "" | "/") {
        return refuse(
            "a Local cache has no host and no path; write `local:` or `local://?OPTIONS`",
        );
    }
    Ok(Url {
        kind: Kind::Local,
        endpoint: None,
        tls: false,
        username: None,
        password: None,
        db: None,
        options: options(query)?,
    })
}

fn unknown_scheme(scheme: &str, shown: bool) -> Error {
    let mut known = vec!["local".to_owned()];
    for (name, ..) in SCHEMES {
        known.extend([name.to_owned(), format!("hybrid+{name}")]);
    }
    let near = nearest(scheme, known.iter().map(String::as_str)).unwrap_or_default();
    let example = if near == "local" { "local:".to_owned() } else { format!("{near}://") };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._".contains(&b);
    let message = if shown && scheme.len() <= 40 && scheme.bytes().all(plain) {
        format!("the URL has the unknown scheme `{scheme}`; the nearest is `{example}`")
    } else {
        format!("the URL begins with no known scheme; the nearest is `{example}`")
    };
    Error::new(ErrorKind::Config, message)
}

/// User name and password. Empty ones are none.
fn credentials(user: Option<&str>) -> Result<(Option<Secret>, Option<Secret>)> {
    let (name, password) = match user {
        None => return Ok((None, None)),
        Some(user) => user.split_once(':').unwrap_or((user, "")),
    };
    let part = |text: &str| -> Result<Option<Secret>> {
        let text = decode(text, "the user name or password")?;
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    };
    Ok((part(name)?, part(password)?))
}

/// Where the server is, and the database that the path names.
fn endpoint(transport: Transport, hosts: &str, path: &str) -> Result<(Endpoint, Option<String>)> {
    if transport == Transport::Unix {
        if !hosts.is_empty() || path.len() < 2 {
            return refuse("a unix socket is written `redis+unix:///PATH`, with three slashes");
        }
        return Ok((Endpoint::Unix(decode(path, "the path")?.into()), None));
    }
    let default_port = if transport == Transport::Sentinel { 26379 } else { 6379 };
    let mut servers = Vec::new();
    for host in hosts.split(',') {
        servers.push(host_port(host, default_port)?);
    }
    let path = path.strip_prefix('/').unwrap_or_default();
    if transport == Transport::Sentinel {
        let (service, db) = path.split_once('/').unwrap_or((path, ""));
        let service = decode(service, "the service name")?;
        if service.is_empty() || service.chars().any(char::is_control) {
            return refuse(
                "with Sentinel the URL needs the service: `redis+sentinel://HOST/SERVICE`",
            );
        }
        return Ok((Endpoint::Sentinel { sentinels: servers, service }, database(db)?));
    }
    let endpoint = match (transport, servers.len()) {
        (Transport::Tcp, 1) => Endpoint::Tcp(servers.remove(0)),
        _ => Endpoint::Cluster(servers),
    };
    Ok((endpoint, database(path)?))
}

fn database(path: &str) -> Result<Option<String>> {
    if path.is_empty() {
        Ok(None)
    } else if path.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Some(path.to_owned()))
    } else {
        refuse("the path of the URL must be the number of a database, as in `redis://HOST/0`")
    }
}

fn host_port(text: &str, default_port: u16) -> Result<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return refuse("an IPv6 address in the URL lacks its closing `]`");
            };
            if address.parse::<Ipv6Addr>().is_err() {
                return refuse("between `[` and `]` the URL needs an IPv6 address");
            }
            match port.strip_prefix(':') {
                None if !port.is_empty() => {
                    return refuse("after `]` the URL needs `:` and a port");
                }
                port => (address, port),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return refuse(
                    "a host has more than one `:`; an IPv6 address is written `[::1]:6379`",
                );
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return refuse("the URL has no host, or an empty one between commas");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !text.starts_with('[') && (!host.bytes().all(allowed) || host.len() > 253) {
        return refuse(
            "a host is a name or an address of letters, digits, `-`, `.` and `_`; other characters \
             of a user name or password must be percent-encoded",
        );
    }
    let port = match port {
        None => default_port,
        Some(port) => match units::integer(port).ok().and_then(|port| u16::try_from(port).ok()) {
            Some(port @ 1..) => port,
            _ => return refuse("the port in the URL is no number from 1 to 65535"),
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// The options of a query string.
pub(super) fn options(query: &str) -> Result<Vec<(String, Secret)>> {
    let mut options = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return refuse(
                "an option in the URL has no value; options are written `?NAME=VALUE&…`",
            );
        };
        let name = decode(name, "the name of an option")?;
        let value = decode(value, "the value of an option")?;
        options.push((name, Secret::new(value)));
    }
    Ok(options)
}

/// Replaces `%XX`. The text must be UTF-8 then.
fn decode(text: &str, what: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            let why = format!("{what} in the URL has a `%` without two hex digits; write it %25");
            return Err(Error::new(ErrorKind::Config, why));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::Config, format!("{what} in the URL is no UTF-8")))
}

const UNESCAPED: &str = "in the URL `@` stands once, before the host; elsewhere, as in a password, write \
                         `@` as %40, `/` as %2F, `?` as %3F, `#` as %23, `%` as %25";

fn refuse<T>(why: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Config, why))
}
