//! From failures of the network and error replies to the library's error classes.
//!
//! The question that decides the class is whether the server can have executed the command:
//! [`Trip::NotSent`] says that it surely has not, [`Trip::Unknown`] that nobody knows.

use std::borrow::Cow;
use std::io;

use ::redis::{ErrorKind as Theirs, RedisError, ServerError, ServerErrorKind, Value as Reply};

use super::reply::Violation;
use crate::error::{Error, ErrorKind, Result};

/// A round trip that brought no reply.
#[derive(Debug)]
pub(super) enum Trip {
    /// The server surely did not execute anything.
    NotSent(Error),
    /// It may or may not have been executed.
    Unknown(Error),
}

impl Trip {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Unknown(error) => error,
        }
    }
}

impl Trip {
    /// Whether nobody waited for the reply any more, so that the request may still be on its way. A
    /// connection that broke is known to the server as broken too.
    pub(super) fn was_given_up(&self) -> bool {
        match self {
            Self::NotSent(_) => false,
            Self::Unknown(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::Closed => true,
                ErrorKind::Timeout => error.message() == NO_REPLY,
                _ => false,
            },
        }
    }
}

/// What is said where the deadline came before the reply.
const NO_REPLY: &str = "no reply by the deadline: the operation may or may not have been executed";

/// Longest text of a server that goes into a message.
const TEXT_MAX: usize = 200;

/// The error that an error reply stands for.
pub(super) fn server_error(reply: &ServerError) -> Error {
    let text = plain_text(reply);
    let kind = match text.split(' ').next() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => ErrorKind::Auth,
        _ => ErrorKind::Server,
    };
    Error::new(kind, format!("{ANSWERED}{}", presentable(&text)))
}

/// An error reply with its code, also where it tells of a command inside of a script, which servers wrap
/// up, the older the more.
fn plain_text(reply: &ServerError) -> Cow<'_, str> {
    let details = reply.details().unwrap_or("");
    // " script: 948f…, on @user_script:1." at the end.
    let details = match details.rsplit_once(" script: ") {
        Some((said, place)) if place.contains(", on @user_script") => said,
        _ => details,
    };
    // The parser keeps the code "ERR" under a name of its own.
    let code = match reply.kind() {
        Some(ServerErrorKind::ResponseError) => "ERR",
        _ => reply.code(),
    };
    if code == "ERR" {
        if details.starts_with("ACL failure") || details.contains("user executing the script can't")
        {
            return Cow::Owned(format!("NOPERM {details}"));
        }
        // "Error running script (call to f_…): @user_script:1: @user_script: 1: -OOM command …".
        let inner = details.strip_prefix("Error running script").and_then(|rest| {
            let (_, said) = rest.rsplit_once("@user_script:")?;
            let (_, said) = said.split_once(": ")?;
            Some(said.trim_start_matches('-'))
        });
        if let Some(inner) = inner
            && let Some(code) = inner.split(' ').next()
            && !code.is_empty()
            && code.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            return Cow::Borrowed(inner);
        }
    }
    Cow::Owned(format!("{code} {details}"))
}

/// How the message of a server's error reply begins.
const ANSWERED: &str = "the server answered: ";

/// Error codes of a server that can't serve this now, but will again.
const TRANSIENT: [&str; 9] = [
    "OOM",
    "READONLY",
    "LOADING",
    "BUSY",
    "MISCONF",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
];

/// Whether an error reply tells of a state of the server that passes.
pub(crate) fn is_transient(error: &Error) -> bool {
    let code = error.message().strip_prefix(ANSWERED).and_then(|text| text.split(' ').next());
    code.is_some_and(|code| TRANSIENT.contains(&code))
}

/// One line without the arguments of the command, which a server repeats in some messages.
fn presentable(text: &str) -> String {
    let text = text.split(", with args beginning with").next().unwrap_or(text);
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(TEXT_MAX).collect::<String>().trim_end().to_owned()
}

/// Error replies become errors, all else stays a reply.
pub(super) fn checked(reply: Reply) -> Result<Reply> {
    match reply {
        Reply::ServerError(error) => Err(server_error(&error)),
        reply => Ok(reply),
    }
}

/// Whether a Cluster refused a command for several keys because some of them are on another node by now.
pub(super) fn is_tryagain(reply: &Reply) -> bool {
    matches!(reply, Reply::ServerError(error) if error.code() == "TRYAGAIN")
}

/// Whether the server says that it is a replica, as a demoted master does after a fail-over.
pub(super) fn is_readonly(reply: &Reply) -> bool {
    match reply {
        Reply::ServerError(error) => plain_text(error).starts_with("READONLY "),
        _ => false,
    }
}

/// A failed call on a connection of the `redis` crate. Error replies come back as replies.
pub(super) fn from_redis(error: RedisError) -> std::result::Result<Reply, Trip> {
    match error.kind() {
        Theirs::Server(_) | Theirs::Extension => match ServerError::try_from(error) {
            Ok(reply) => Ok(Reply::ServerError(reply)),
            Err(error) => Err(Trip::Unknown(Error::new(
                ErrorKind::Server,
                format!("{ANSWERED}{}", presentable(&error.to_string())),
            ))),
        },
        Theirs::AuthenticationFailed => {
            Err(Trip::NotSent(Error::new(ErrorKind::Auth, "the server refused the credentials")))
        }
        Theirs::ClusterConnectionNotFound => Err(Trip::NotSent(Error::new(
            ErrorKind::Connect,
            "no connection to the node of the Cluster that holds the key",
        ))),
        Theirs::Parse => Err(Trip::Unknown(Error::new(
            ErrorKind::Server,
            "the server sent something that is not the Redis protocol",
        ))),
        _ if error.is_connection_refusal() => {
            Err(Trip::NotSent(Error::new(ErrorKind::Connect, "connection refused")))
        }
        // The crate's own bound of a round trip, on a Cluster: the connection is in order.
        _ if error.is_timeout() => Err(Trip::Unknown(no_reply())),
        _ => Err(Trip::Unknown(match Violation::named_in(&error.to_string()) {
            Some(violation) => violation.into(),
            None => broken(&plain_redis(&error)),
        })),
    }
}

/// What went wrong on a connection of the `redis` crate, without its texts, which may repeat what was
/// sent.
pub(super) fn plain_redis(error: &RedisError) -> &str {
    match error.kind() {
        _ if error.is_timeout() => "timed out",
        _ if error.is_connection_refusal() => "connection refused",
        _ if error.is_connection_dropped() => "closed by the server",
        _ => error.category(),
    }
}

/// The connection ended between the request and its reply.
pub(super) fn broken(why: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "the connection broke before the reply ({why}): the operation may or may not have been \
             executed"
        ),
    )
}

/// The deadline came between the request and its reply.
pub(super) fn no_reply() -> Error {
    Error::new(ErrorKind::Timeout, NO_REPLY)
}

/// No connection to `address`.
pub(super) fn not_reached(address: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Connect, format!("can't reach {address}: {why}"))
}

/// What went wrong on a socket, in the words of the operating system and without its error number.
pub(super) fn plain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timed out".into(),
        io::ErrorKind::UnexpectedEof => "closed by the server".into(),
        _ => presentable(&error.to_string()),
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::TooBig => ErrorKind::TooBig,
            _ => ErrorKind::Server,
        };
        Self::new(kind, violation.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(line: &str) -> Error {
        let reply = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        checked(reply).unwrap_err()
    }

    #[test]
    fn classes_of_error_replies() {
        for (line, kind, transient) in [
            ("NOAUTH Authentication required.", ErrorKind::Auth, false),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                ErrorKind::Auth,
                false,
            ),
            ("NOPERM User x has no permissions to run the 'get' command", ErrorKind::Auth, false),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Server, true),
            ("READONLY You can't write against a read only replica.", ErrorKind::Server, true),
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Server, true),
            ("BUSY Redis is busy running a script.", ErrorKind::Server, true),
            ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::Server, true),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::Server, true),
            ("CLUSTERDOWN The cluster is down", ErrorKind::Server, true),
            ("MASTERDOWN Link with MASTER is down", ErrorKind::Server, true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Server, true),
            ("CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::Server, false),
            ("NOSCRIPT No matching script.", ErrorKind::Server, false),
            ("WRONGTYPE Operation against a key", ErrorKind::Server, false),
            ("ERR syntax error", ErrorKind::Server, false),
        ] {
            let error = mapped(line);
            assert_eq!((error.kind(), is_transient(&error)), (kind, transient), "{line}");
            assert_eq!(error.message(), format!("the server answered: {line}"));
        }
    }

    #[test]
    fn a_late_reply_is_no_broken_connection() {
        let trip = |kind: io::ErrorKind| match from_redis(io::Error::from(kind).into()) {
            Err(Trip::Unknown(error)) => error,
            other => panic!("{other:?}"),
        };
        let late = trip(io::ErrorKind::TimedOut);
        assert_eq!((late.kind(), late.message()), (ErrorKind::Timeout, no_reply().message()));
        let broken = trip(io::ErrorKind::BrokenPipe);
        assert_eq!(broken.kind(), ErrorKind::Timeout);
        assert!(broken.message().contains("broke"), "{broken}");
    }

    #[test]
    fn errors_inside_of_scripts_are_those_of_their_commands() {
        const OLD: &str = "ERR Error running script (call to f_948fb05a): @user_script:1: ";
        const NEW: &str = " script: 948fb05a800633cd285d7440e4d64ca534f7c396, on @user_script:1.";
        for (line, kind, message) in [
            (format!("{OLD}@user_script: 1: -OOM no memory"), ErrorKind::Server, "OOM no memory"),
            (format!("OOM no memory{NEW}"), ErrorKind::Server, "OOM no memory"),
            (format!("{OLD}WRONGTYPE Operation"), ErrorKind::Server, "WRONGTYPE Operation"),
            (
                format!("ERR ACL failure in script: User u has no permissions{NEW}"),
                ErrorKind::Auth,
                "NOPERM ACL failure in script: User u has no permissions",
            ),
            (
                format!("{OLD}@user_script: 1: The user executing the script can't run this"),
                ErrorKind::Auth,
                "NOPERM Error running script (call to f_948fb05a): @user_script:1: @user_script: 1: \
                 The user executing the script can't run this",
            ),
        ] {
            let error = mapped(&line);
            assert_eq!(error.kind(), kind, "{line}");
            assert_eq!(error.message(), format!("the server answered: {message}"));
        }
        let readonly = |line: &str| {
            is_readonly(&::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap())
        };
        assert!(readonly("READONLY You can't write against a read only replica."));
        assert!(readonly(&format!("{OLD}@user_script: 1: -READONLY You can't write")));
        assert!(!readonly("ERR READONLY"));
    }

    #[test]
    fn arguments_are_cut_off() {
        let error = mapped("ERR unknown command 'X', with args beginning with: 'secret' ");
        assert_eq!(error.message(), "the server answered: ERR unknown command 'X'");
    }
}
