//! Requests and the reading of replies, as pure functions: nothing here knows a connection.
//!
//! [`Keyspace`] puts the prefix before keys and values into their envelope; [`Request`] is what one
//! round trip sends; the functions at the end turn replies into results.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Arg, Cmd, Pipeline, RedisWrite, Value as Reply};

use super::error_map::checked;
use super::l2::Got;
use super::lifetime::Lifetime;
use super::scripts;
use crate::envelope::{About, Envelope, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Remaining;
use crate::value::Value;

/// What one round trip sends.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) body: Body,
    /// Executing it once more than asked for does no harm and shows nowhere.
    pub(super) read_only: bool,
}

/// One command, or several in one write.
#[derive(Clone, Debug)]
pub(super) enum Body {
    One(Cmd),
    Many(Pipeline),
}

/// The replies to a [`Request`], in its shape.
#[derive(Debug)]
pub(super) enum Replies {
    One(Reply),
    Many(Vec<Reply>),
}

impl Request {
    pub(super) fn read(cmd: Cmd) -> Self {
        Self { body: Body::One(cmd), read_only: true }
    }

    pub(super) fn write(cmd: Cmd) -> Self {
        Self { body: Body::One(cmd), read_only: false }
    }

    /// Several commands in one write.
    pub(super) fn batch(cmds: impl Iterator<Item = Cmd>, read_only: bool) -> Self {
        let mut pipeline = Pipeline::with_capacity(cmds.size_hint().0);
        for cmd in cmds {
            pipeline.add_command(cmd);
        }
        Self { body: Body::Many(pipeline), read_only }
    }

    /// How many replies it gets.
    pub(super) fn replies(&self) -> usize {
        match &self.body {
            Body::One(_) => 1,
            Body::Many(cmds) => cmds.len(),
        }
    }

    /// Appends the bytes to send.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::One(cmd) => cmd.write_packed_command(out),
            Body::Many(cmds) => {
                cmds.cmd_iter().for_each(|cmd| cmd.write_packed_command(out));
            }
        }
    }
}

impl Replies {
    /// The reply to a single command.
    pub(super) fn one(self) -> Result<Reply> {
        match self {
            Self::One(reply) => checked(reply),
            Self::Many(_) => Err(surprise("several replies")),
        }
    }

    /// The replies to several commands, error replies among them.
    pub(super) fn many(self) -> Vec<Reply> {
        match self {
            Self::One(reply) => vec![reply],
            Self::Many(replies) => replies,
        }
    }

    pub(super) fn any(&self, mut test: impl FnMut(&Reply) -> bool) -> bool {
        match self {
            Self::One(reply) => test(reply),
            Self::Many(replies) => replies.iter().any(test),
        }
    }
}

/// What MGET brought.
pub(super) struct Values {
    pub(super) values: Vec<Option<Value>>,
    /// How many could not be read.
    pub(super) unreadable: u64,
    /// The places and stored bytes of those whose conditions have to be looked at first.
    pub(super) conditional: Vec<(usize, Vec<u8>)>,
}

/// How keys and values are written.
#[derive(Clone, Debug)]
pub(super) struct Keyspace {
    /// The prefix and its colon; empty where keys are stored as they are.
    pub(super) prefix: Vec<u8>,
    pub(super) envelope: Arc<Envelope>,
}

impl Keyspace {
    pub(super) fn new(prefix: &str, envelope: Envelope) -> Self {
        let prefix = if prefix.is_empty() { Vec::new() } else { format!("{prefix}:").into_bytes() };
        Self { prefix, envelope: Arc::new(envelope) }
    }

    fn key(&self, cmd: &mut Cmd, key: &[u8]) {
        let mut arg = cmd.writer_for_next_arg();
        // Writing into memory can't fail.
        let _ = arg.write_all(&self.prefix);
        let _ = arg.write_all(key);
    }

    pub(super) fn command(&self, name: &str, key: &[u8]) -> Cmd {
        let mut cmd = Cmd::with_capacity(2, name.len() + self.prefix.len() + key.len());
        cmd.arg(name);
        self.key(&mut cmd, key);
        cmd
    }

    fn command_of_many(&self, name: &str, keys: &[&[u8]]) -> Cmd {
        let bytes = keys.iter().map(|key| key.len() + self.prefix.len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(keys.len() + 1, name.len() + bytes);
        cmd.arg(name);
        keys.iter().for_each(|key| self.key(&mut cmd, key));
        cmd
    }

    pub(super) fn get(&self, key: &[u8]) -> Request {
        Request::read(self.command("GET", key))
    }

    pub(super) fn get_many(&self, keys: &[&[u8]]) -> Request {
        Request::read(self.command_of_many("MGET", keys))
    }

    pub(super) fn exists(&self, key: &[u8]) -> Request {
        Request::read(self.command("EXISTS", key))
    }

    pub(super) fn pttl(&self, key: &[u8]) -> Request {
        Request::read(self.command("PTTL", key))
    }

    /// For each key its remaining time, then its value.
    pub(super) fn fetch(&self, keys: &[&[u8]]) -> Request {
        let cmds =
            keys.iter().flat_map(|key| [self.command("PTTL", key), self.command("GET", key)]);
        Request::batch(cmds, true)
    }

    fn set_command(&self, key: &[u8], value: &[u8], lifetime: Lifetime) -> Result<Cmd> {
        let about = About { stale_ms: lifetime.stale_ms, ..About::NOTHING };
        let stored = self.envelope.encode(key, value, &about)?;
        let bytes = 32 + self.prefix.len() + key.len() + stored.len();
        let mut cmd = Cmd::with_capacity(5, bytes);
        cmd.arg("SET");
        self.key(&mut cmd, key);
        {
            let mut arg = cmd.writer_for_next_arg();
            let _ = arg.write_all(&stored.head);
            let _ = arg.write_all(&stored.body);
        }
        if let Some(ms) = lifetime.kept_ms() {
            cmd.arg("PX").arg(ms);
        }
        Ok(cmd)
    }

    /// A TTL of zero has already expired: the old value is removed.
    pub(super) fn set(&self, key: &[u8], value: &[u8], lifetime: Lifetime) -> Result<Request> {
        if lifetime.is_over() {
            return Ok(self.unlink(key));
        }
        self.set_command(key, value, lifetime).map(Request::write)
    }

    pub(super) fn set_many(
        &self,
        items: &[(&[u8], &[u8])],
        lifetimes: &[Lifetime],
    ) -> Result<Request> {
        // All of them, as they have one TTL.
        if lifetimes.iter().any(|lifetime| lifetime.is_over()) {
            let keys: Vec<&[u8]> = items.iter().map(|(key, _)| *key).collect();
            return Ok(self.unlink_many(&keys));
        }
        let cmds = std::iter::zip(items, lifetimes)
            .map(|((key, value), lifetime)| self.set_command(key, value, *lifetime));
        let cmds: Vec<Cmd> = cmds.collect::<Result<_>>()?;
        Ok(Request::batch(cmds.into_iter(), false))
    }

    pub(super) fn unlink(&self, key: &[u8]) -> Request {
        Request::write(self.command("UNLINK", key))
    }

    pub(super) fn unlink_many(&self, keys: &[&[u8]]) -> Request {
        Request::write(self.command_of_many("UNLINK", keys))
    }

    /// A new TTL: `None` for ever, zero removes.
    pub(super) fn expire(&self, key: &[u8], ttl_ms: Option<u64>) -> Request {
        match ttl_ms {
            Some(0) => self.unlink(key),
            Some(ms) => {
                let mut cmd = self.command("PEXPIRE", key);
                cmd.arg(ms);
                Request::write(cmd)
            }
            // PERSIST answers 0 for a key without a TTL too, so the key's existence is asked besides.
            None => {
                let cmds = [self.command("PERSIST", key), self.command("EXISTS", key)];
                Request::batch(cmds.into_iter(), false)
            }
        }
    }

    /// The value of `key` in the reply to GET: `None` for a miss and for a negative entry.
    pub(super) fn value(&self, key: &[u8], reply: Reply) -> Result<Option<Value>> {
        match checked(reply)? {
            Reply::Nil => Ok(None),
            Reply::BulkString(stored) => match self.envelope.open(key, stored)?.served()? {
                None => Ok(None),
                Some((bytes, start)) => Value::from_vec(bytes, start).map(Some),
            },
            _ => Err(surprise("no string")),
        }
    }

    /// The values in the reply to MGET. A value that can't be read is a miss, and counted.
    pub(super) fn values(&self, keys: &[&[u8]], reply: Reply) -> Result<Values> {
        let Reply::Array(replies) = reply else { return Err(surprise("no array")) };
        if replies.len() != keys.len() {
            return Err(surprise("another number of values"));
        }
        let (mut unreadable, mut conditional) = (0, Vec::new());
        let mut values = Vec::with_capacity(keys.len());
        for (key, reply) in keys.iter().zip(replies) {
            if let Reply::BulkString(stored) = &reply
                && self.has_conditions(stored)
            {
                conditional.push((values.len(), stored.clone()));
                values.push(None);
                continue;
            }
            values.push(match self.value(key, reply) {
                Ok(value) => value,
                Err(error) if error.kind() == ErrorKind::NoMemory => return Err(error),
                Err(_) => {
                    unreadable += 1;
                    None
                }
            });
        }
        Ok(Values { values, unreadable, conditional })
    }

    /// The replies to [`Keyspace::fetch`] for one key.
    pub(super) fn fetched(&self, key: &[u8], pttl: Reply, get: Reply) -> Result<Option<Got>> {
        // Without it, the key came into being, or expired, between the two commands.
        let Some(left) = remaining(pttl)? else { return Ok(None) };
        match checked(get)? {
            Reply::Nil => Ok(None),
            Reply::BulkString(stored) => {
                let Opened { bytes, start, about } = self.envelope.open(key, stored)?;
                let about = (about != About::NOTHING).then(|| Box::new(about));
                Ok(Some(Got { value: Value::from_vec(bytes, start)?, left, about }))
            }
            _ => Err(surprise("no string")),
        }
    }
}

/// The first key of a command of this module, or of a script.
pub(super) fn first_key(cmd: &Cmd) -> &[u8] {
    if let Some(key) = scripts::key_of(cmd) {
        return key;
    }
    match cmd.args_iter().nth(1) {
        Some(Arg::Simple(key)) => key,
        _ => &[],
    }
}

/// The reply to SET and the like.
pub(super) fn done(reply: Reply) -> Result<()> {
    match checked(reply)? {
        Reply::Okay => Ok(()),
        // SET with a TTL of zero was sent as UNLINK.
        Reply::Int(_) => Ok(()),
        _ => Err(surprise("no OK")),
    }
}

/// An integer reply.
pub(super) fn integer(reply: Reply) -> Result<i64> {
    match checked(reply)? {
        Reply::Int(n) => Ok(n),
        _ => Err(surprise("no integer")),
    }
}

/// The replies to [`Keyspace::expire`]: whether the key is there.
pub(super) fn expired(replies: Replies) -> Result<bool> {
    match replies {
        Replies::One(reply) => Ok(integer(reply)? > 0),
        Replies::Many(replies) => {
            let mut found = false;
            for reply in replies {
                found |= integer(reply)? > 0;
            }
            Ok(found)
        }
    }
}

/// The reply to PTTL: `None` where there is no such key.
pub(super) fn remaining(reply: Reply) -> Result<Option<Remaining>> {
    match integer(reply)? {
        -1 => Ok(Some(Remaining::Forever)),
        ms @ 0.. => Ok(Some(Remaining::For(Duration::from_millis(ms.unsigned_abs())))),
        _ => Ok(None),
    }
}

/// A reply of another shape than the command has.
pub(super) fn surprise(what: &str) -> Error {
    Error::new(ErrorKind::Server, format!("the server's reply has an unexpected shape: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RedisOptions, Wire};

    fn packed(request: &Request) -> String {
        let mut bytes = Vec::new();
        request.pack(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn keyspace(prefix: &str, wire: Wire) -> Keyspace {
        let mut options = RedisOptions::default();
        (options.prefix, options.wire) = (prefix.into(), wire);
        Keyspace::new(prefix, Envelope::new(&options, None, 8))
    }

    fn app() -> Keyspace {
        keyspace("app", Wire::Envelope)
    }

    #[test]
    fn keys_carry_the_prefix() {
        assert_eq!(packed(&app().get(b"k")), "*2\r\n$3\r\nGET\r\n$5\r\napp:k\r\n");
        let raw = keyspace("", Wire::Raw);
        assert_eq!(packed(&raw.get(b"k")), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
        assert_eq!(first_key(&app().command("GET", b"k")), b"app:k");
    }

    #[test]
    fn a_ttl_of_zero_removes() {
        assert!(
            packed(&app().set(b"k", b"v", Lifetime::plain(Some(0))).unwrap()).contains("UNLINK")
        );
        assert!(packed(&app().expire(b"k", Some(0))).contains("UNLINK"));
        assert!(
            packed(&app().set_many(&[(b"k", b"v")], &[Lifetime::plain(Some(0))]).unwrap())
                .contains("UNLINK")
        );
    }

    #[test]
    fn numbers_are_stored_as_they_are() {
        let set = packed(&app().set(b"k", b"-17", Lifetime::plain(Some(5))).unwrap());
        assert_eq!(set, "*5\r\n$3\r\nSET\r\n$5\r\napp:k\r\n$3\r\n-17\r\n$2\r\nPX\r\n$1\r\n5\r\n");
    }

    #[test]
    fn replies_become_results() {
        let bulk = |bytes: &[u8]| Reply::BulkString(bytes.to_vec());
        assert_eq!(&*app().value(b"k", bulk(b"raw")).unwrap().unwrap(), b"raw");
        assert!(app().value(b"k", Reply::Nil).unwrap().is_none());
        assert_eq!(app().value(b"k", Reply::Int(1)).unwrap_err().kind(), ErrorKind::Server);
        let stored = app().envelope.encode(b"k", b"hello", &About::NOTHING).unwrap().to_vec();
        assert_eq!(&*app().value(b"k", bulk(&stored)).unwrap().unwrap(), b"hello");
        assert_eq!(app().value(b"k", bulk(b"nine bytes")).unwrap_err().kind(), ErrorKind::TooBig);
        let damaged = bulk(&stored[..3]);
        assert_eq!(app().value(b"k", damaged.clone()).unwrap_err().kind(), ErrorKind::Corrupt);
        let tagged = bulk(b"\xC1LC\x01\x04\xFB");
        let read = vec![bulk(&stored), Reply::Nil, damaged, tagged];
        let read = app().values(&[&b"k"[..]; 4], Reply::Array(read)).unwrap();
        assert_eq!((read.values.iter().flatten().count(), read.unreadable), (1, 1));
        assert_eq!(read.conditional.len(), 1);
        assert_eq!(remaining(Reply::Int(-2)).unwrap(), None);
        assert_eq!(remaining(Reply::Int(-1)).unwrap(), Some(Remaining::Forever));
    }
}
