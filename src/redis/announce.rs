//! `invalidation=pubsub`: a cache that listens on a channel tells on it of its own writes.
//!
//! # Protocol
//! After each write of keys below the prefix a message for each key goes to the channel
//! `<prefix>__lc:i`: the number of this process's part of the cache ([`ORIGIN`] bytes), then the key
//! without its prefix. A message without a key says that any may have changed. To a single server the
//! messages leave in one write with what they tell of, behind it; on a Cluster, whose nodes pass messages
//! on, they follow when the write was answered. A listener drops its own ([`Channel::heard`]).
//! - A write that failed, and may have been executed, was perhaps not told of: what a Hybrid queues for
//!   that is told of when it is replayed.
//! - Only caches that listen so are heard; neither plain clients nor the server's own removals.

use ::redis::{Arg, Cmd, Value as Reply, cmd};

use super::commands::{Body, Replies, Request};
use super::error_map::{checked, no_reply};
use super::tags;
use crate::error::{Error, ErrorKind, Result};
use crate::key::RESERVED_PREFIX;
use crate::log::{self, Level};
use crate::random;

/// Bytes of an origin.
const ORIGIN: usize = 16;
/// More keys of one request than this are told of as all.
const MANY: usize = 64;

/// The channel of one cache in one process.
pub(super) struct Channel {
    pub(super) name: Vec<u8>,
    prefix: Vec<u8>,
    origin: [u8; ORIGIN],
}

/// What a message tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// Nothing new: it is our own, or no message of ours at all.
    Nothing,
    Key(&'a [u8]),
    All,
}

/// A request with its messages.
pub(super) enum Announced {
    /// In one write; so many replies are the request's.
    Together { request: Request, replies: usize, one: bool },
    /// To be sent when the request was answered.
    After(Request),
}

impl Channel {
    /// For keys that begin with `prefix`.
    pub(super) fn new(prefix: &[u8]) -> Result<Self> {
        let name = [prefix, RESERVED_PREFIX, b"i"].concat();
        Ok(Self { name, prefix: prefix.to_vec(), origin: random::bytes()? })
    }

    pub(super) fn heard<'a>(&self, message: &'a [u8]) -> Heard<'a> {
        match message.split_at_checked(ORIGIN) {
            None => Heard::Nothing,
            Some((origin, _)) if *origin == self.origin => Heard::Nothing,
            Some((_, [])) => Heard::All,
            Some((_, key)) => Heard::Key(key),
        }
    }

    /// `request` with the messages that it needs; `None` where it changes no key.
    pub(super) fn announce(&self, request: &Request, is_cluster: bool) -> Option<Announced> {
        if request.read_only {
            return None;
        }
        let commands: Vec<&Cmd> = match &request.body {
            Body::One(cmd) => vec![cmd],
            Body::Many(cmds) => cmds.cmd_iter().collect(),
        };
        let mut keys: Vec<&[u8]> = Vec::new();
        for &command in &commands {
            keys.extend(written(command).filter_map(|key| self.told(key)));
        }
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return None;
        }
        if keys.len() > MANY {
            keys = vec![b""];
        }
        let messages = keys.into_iter().map(|key| self.message(key));
        if is_cluster {
            return Some(Announced::After(Request::batch(messages, false)));
        }
        let replies = request.replies();
        let one = matches!(request.body, Body::One(_));
        let all = commands.into_iter().cloned().chain(messages);
        Some(Announced::Together { request: Request::batch(all, false), replies, one })
    }

    fn message(&self, key: &[u8]) -> Cmd {
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.name[..]).arg([&self.origin[..], key].concat());
        publish
    }

    /// A message that any key may have changed.
    pub(super) fn all(&self) -> Request {
        Request::batch(std::iter::once(self.message(b"")), false)
    }

    /// The key without its prefix, where anybody keeps it in an L1.
    fn told<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let key = key.strip_prefix(&self.prefix[..])?;
        (!key.is_empty() && (!key.starts_with(RESERVED_PREFIX) || tags::of_record(key).is_some()))
            .then_some(key)
    }
}

/// The keys that a command of this library changes.
fn written(command: &Cmd) -> impl Iterator<Item = &[u8]> {
    let name = argument(command, 0).unwrap_or_default().to_ascii_uppercase();
    let (first, count) = match &name[..] {
        b"SET" | b"PEXPIRE" | b"PERSIST" | b"GETEX" | b"INCRBY" => (1, 1),
        b"UNLINK" | b"DEL" => (1, usize::MAX),
        b"EVAL" | b"EVALSHA" => {
            let keys = argument(command, 2).and_then(|digits| std::str::from_utf8(digits).ok());
            (3, keys.and_then(|digits| digits.parse().ok()).unwrap_or(0))
        }
        _ => (0, 0),
    };
    command.args_iter().skip(first).take(count).map_while(bytes)
}

fn argument(command: &Cmd, place: usize) -> Option<&[u8]> {
    bytes(command.args_iter().nth(place)?)
}

fn bytes(argument: Arg<&[u8]>) -> Option<&[u8]> {
    match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

/// The replies to the request alone, the messages' taken off.
pub(super) fn without_messages(replies: Replies, count: usize, one: bool) -> Replies {
    let mut replies = replies.many();
    let messages = replies.split_off(count.min(replies.len()));
    note_refusals(messages);
    match one.then(|| replies.pop()).flatten() {
        Some(reply) => Replies::One(reply),
        None => Replies::Many(replies),
    }
}

/// What a request that was answered came to, whose messages followed it: where they may not have been sent, it is
/// not said that the request was not executed.
pub(super) fn followed(replies: Replies, messages: Result<Replies>) -> Result<Replies> {
    match messages {
        Ok(messages) => {
            note_refusals(messages.many());
            Ok(replies)
        }
        Err(error) if error.kind() == ErrorKind::Connect => Err(no_reply()),
        Err(error) => Err(error),
    }
}

/// Says in the log that other processes were not told, and why.
pub(super) fn note_refusals(messages: Vec<Reply>) {
    for message in messages {
        if let Err(error) = checked(message) {
            note_refusal(&error);
        }
    }
}

pub(super) fn note_refusal(error: &Error) {
    log::emit(Level::Warn, "redis", format_args!("others were not told of a write: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(request: &Request) -> Vec<Vec<u8>> {
        let channel = Channel::new(b"app:").unwrap();
        let Some(Announced::After(messages)) = channel.announce(request, true) else {
            return Vec::new();
        };
        let Body::Many(messages) = messages.body else { panic!("it is a batch") };
        let message = |cmd: &Cmd| argument(cmd, 2).unwrap()[ORIGIN..].to_vec();
        messages.cmd_iter().map(message).collect()
    }

    fn command(words: &[&str]) -> Cmd {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
    }

    #[test]
    fn it_tells_of_the_keys_that_are_written() {
        let told = |words: &[&str]| keys(&Request::write(command(words)));
        assert_eq!(told(&["SET", "app:k", "v", "PX", "5"]), [b"k"]);
        assert_eq!(told(&["UNLINK", "app:a", "app:b"]), [b"a", b"b"]);
        assert_eq!(told(&["EVALSHA", "sha", "2", "app:a", "app:__lc:f:a", "x"]), [b"a"]);
        assert_eq!(told(&["SET", "app:__lc:t:tag", "v"]), [b"__lc:t:tag"]);
        assert!(told(&["SET", "other:k", "v"]).is_empty());
        assert!(told(&["PING"]).is_empty() && told(&["EVAL", "x", "0"]).is_empty());
        assert!(keys(&Request::read(command(&["GET", "app:k"]))).is_empty());
        let many = (0..=MANY).map(|number| command(&["SET", &format!("app:{number}"), "v"]));
        assert_eq!(keys(&Request::batch(many, false)), [b""], "that is: all");
    }

    #[test]
    fn own_messages_are_not_heard() {
        let (ours, theirs) = (Channel::new(b"app:").unwrap(), Channel::new(b"app:").unwrap());
        assert_eq!(ours.name, b"app:__lc:i");
        let message = [&theirs.origin[..], b"k"].concat();
        assert_eq!(ours.heard(&message), Heard::Key(b"k"));
        assert_eq!(theirs.heard(&message), Heard::Nothing);
        assert_eq!(ours.heard(&theirs.origin), Heard::All);
        assert_eq!(ours.heard(b"short"), Heard::Nothing);
    }

    #[test]
    fn what_was_executed_is_not_called_unsent_for_its_messages() {
        let answered = || Replies::One(Reply::Okay);
        let unsent = followed(answered(), Err(ErrorKind::Connect.into()));
        assert_eq!(unsent.unwrap_err().kind(), ErrorKind::Timeout);
        let told = followed(answered(), Ok(Replies::Many(vec![Reply::Int(1)])));
        assert!(matches!(told, Ok(Replies::One(Reply::Okay))));
    }

    #[test]
    fn the_replies_are_the_requests() {
        let replies = |count| Replies::Many((0..count).map(Reply::Int).collect());
        assert!(matches!(without_messages(replies(3), 1, true), Replies::One(Reply::Int(0))));
        let many = without_messages(replies(3), 2, false).many();
        assert_eq!(many, [Reply::Int(0), Reply::Int(1)]);
    }
}
