//! From failures of the network and error replies to the library's error classes.
//!
//! The question that decides the class is whether the server can have executed the command:
//! [`Trip::NotSent`] says that it surely has not, [`Trip::Unknown`] that nobody knows.

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
    let code = reply.code();
    let kind = match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::Auth,
        _ => ErrorKind::Server,
    };
    let text = match reply.kind() {
        // The parser keeps the code "ERR" under this name of its own.
        Some(ServerErrorKind::ResponseError) => format!("ERR {}", reply.details().unwrap_or("")),
        _ => format!("{code} {}", reply.details().unwrap_or("")),
    };
    Error::new(kind, format!("{ANSWERED}{}", presentable(&text)))
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

/// Whether the server says that it is a replica, as a demoted master does after a fail-over.
pub(super) fn is_readonly(reply: &Reply) -> bool {
    matches!(reply, Reply::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly))
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
        _ => Err(Trip::Unknown(match Violation::named_in(&error.to_string()) {
            Some(violation) => violation.into(),
            None => broken(&error.category()),
        })),
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
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM User x has no permissions to run the 'get' command",
        ] {
            assert_eq!(mapped(line).kind(), ErrorKind::Auth, "{line}");
        }
        for line in ["OOM command not allowed", "READONLY You can't write", "ERR syntax error"] {
            let error = mapped(line);
            assert_eq!(error.kind(), ErrorKind::Server, "{line}");
            assert_eq!(error.message(), format!("the server answered: {line}"));
        }
    }

    #[test]
    fn arguments_are_cut_off() {
        let error = mapped("ERR unknown command 'X', with args beginning with: 'secret' ");
        assert_eq!(error.message(), "the server answered: ERR unknown command 'X'");
    }
}
