//! The scripts that run inside the server, and how they are called: by their hash, and as a whole where
//! the server does not know it (after SCRIPT FLUSH, a restart or a fail-over). The server says so instead
//! of doing anything, so calling again is no repetition.
//!
//! Each touches one key, or a second one that is kept beside it ([`Invocation::also`]), so that it runs on
//! any server of a Cluster. Nothing that is a part of a call gets into a script's text: keys and values are
//! arguments.
//!
//! The texts are in `lua/`. What they have to know of the envelope is in `lua/standing.lua`, and nowhere
//! else: the layout of the header as `docs/wire-format.md` has it.

use std::borrow::Cow;

use ::redis::{Arg, Cmd, Value as Reply};
use once_cell::race::OnceBox;

/// One script.
pub(super) struct Script {
    /// What comes before the body.
    head: &'static str,
    body: &'static str,
    /// The whole text and its hash, by the first call.
    made: OnceBox<::redis::Script>,
    text: OnceBox<String>,
}

/// Looks first whether the entry counts as there.
const STANDING: &str = include_str!("lua/standing.lua");

pub(super) static ADD: Script = Script::new(STANDING, include_str!("lua/add.lua"));
pub(super) static REPLACE: Script = Script::new(STANDING, include_str!("lua/replace.lua"));
pub(super) static COMPARE_AND_SET: Script =
    Script::new(STANDING, include_str!("lua/compare_and_set.lua"));
pub(super) static INCR: Script = Script::new(STANDING, include_str!("lua/incr.lua"));
pub(super) static DELETE: Script = Script::new(STANDING, include_str!("lua/delete.lua"));
pub(super) static EXPIRE: Script = Script::new(STANDING, include_str!("lua/expire.lua"));
pub(super) static TTL: Script = Script::new(STANDING, include_str!("lua/ttl.lua"));
pub(super) static EXISTS: Script = Script::new(STANDING, include_str!("lua/exists.lua"));
pub(super) static READ: Script = Script::new("", include_str!("lua/read.lua"));
pub(super) static STAMP: Script = Script::new("", include_str!("lua/stamp.lua"));
pub(super) static LOCK: Script = Script::new("", include_str!("lua/lock.lua"));
pub(super) static EXTEND: Script = Script::new("", include_str!("lua/extend.lua"));
pub(super) static RELEASE: Script = Script::new("", include_str!("lua/release.lua"));
pub(super) static CLAIM: Script = Script::new("", include_str!("lua/claim.lua"));
pub(super) static TAKE: Script = Script::new("", include_str!("lua/take.lua"));
pub(super) static FILL: Script = Script::new("", include_str!("lua/fill.lua"));
pub(super) static RENEW: Script = Script::new("", include_str!("lua/renew.lua"));
pub(super) static FORGO: Script = Script::new("", include_str!("lua/forgo.lua"));

impl Script {
    const fn new(head: &'static str, body: &'static str) -> Self {
        Self { head, body, made: OnceBox::new(), text: OnceBox::new() }
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| Box::new([self.head, self.body].concat()))
    }

    fn hash(&self) -> &str {
        self.made.get_or_init(|| Box::new(::redis::Script::new(self.text()))).get_hash()
    }

    /// A call for `key`, as it is stored.
    pub(super) fn call<'a>(&'static self, key: impl Into<Cow<'a, [u8]>>) -> Invocation<'a> {
        let mut args = Vec::with_capacity(6);
        if !self.head.is_empty() {
            // What `Invocation::judge` fills in.
            args.resize(2, Cow::Borrowed(&b""[..]));
        }
        Invocation { script: self, key: key.into(), second: None, args }
    }
}

/// One call of a script.
#[derive(Clone)]
pub(super) struct Invocation<'a> {
    script: &'static Script,
    /// The key that it touches.
    key: Cow<'a, [u8]>,
    /// Another one on the same node.
    second: Option<Cow<'a, [u8]>>,
    args: Vec<Cow<'a, [u8]>>,
}

impl<'a> Invocation<'a> {
    /// Tells the script what was found of the tags in `header`; see `lua/standing.lua`.
    pub(super) fn judge(&mut self, header: Vec<u8>, verdict: &'static [u8]) {
        self.args[0] = Cow::Owned(header);
        self.args[1] = Cow::Borrowed(verdict);
    }

    /// With a second key, which is in the slot of the first one.
    pub(super) fn also(mut self, key: impl Into<Cow<'a, [u8]>>) -> Self {
        self.second = Some(key.into());
        self
    }

    /// With one argument more.
    pub(super) fn arg(mut self, arg: impl Into<Cow<'a, [u8]>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With a number as argument.
    pub(super) fn number(self, number: impl ToString) -> Self {
        self.arg(number.to_string().into_bytes())
    }

    /// With a TTL as argument: `None` for ever.
    pub(super) fn ttl(self, ms: Option<u64>) -> Self {
        match ms {
            Some(ms) => self.number(ms),
            None => self.arg(&b""[..]),
        }
    }

    /// The call by the script's hash.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash())
    }

    /// The call that brings the script along.
    pub(super) fn whole(&self) -> Cmd {
        self.command("EVAL", self.script.text())
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let bytes = self.args.iter().map(|arg| arg.len() + 1).sum::<usize>();
        let keys = self.key.len() + self.second.as_ref().map_or(0, |key| key.len());
        let bytes = bytes + name.len() + script.len() + keys + 1;
        let mut command = Cmd::with_capacity(5 + self.args.len(), bytes);
        command.arg(name).arg(script).arg(1 + u8::from(self.second.is_some())).arg(&self.key[..]);
        if let Some(second) = &self.second {
            command.arg(&second[..]);
        }
        self.args.iter().for_each(|arg| {
            command.arg(&arg[..]);
        });
        command
    }
}

/// Whether the server does not know the script that it was to run.
pub(super) fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Reply::ServerError(error) if error.code() == "NOSCRIPT")
}

/// The key of a command that calls a script.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut args = command.args_iter();
    match args.next() {
        Some(Arg::Simple(b"EVALSHA" | b"EVAL")) => match args.nth(2) {
            Some(Arg::Simple(key)) => Some(key),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a command calls a script for two keys.
pub(super) fn is_for_two(command: &Cmd) -> bool {
    key_of(command).is_some() && matches!(command.args_iter().nth(2), Some(Arg::Simple(b"2")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_name_their_keys() {
        let call = ADD.call(&b"app:k"[..]).arg(&b"v"[..]).number(-7).ttl(None).ttl(Some(5));
        for command in [call.by_hash(), call.whole()] {
            assert_eq!(key_of(&command), Some(&b"app:k"[..]));
            let args: Vec<_> = command.args_iter().skip(4).collect();
            let expected = [&b""[..], b"", b"v", b"-7", b"", b"5"].map(Arg::Simple);
            assert_eq!(args, expected);
        }
        let two = FILL.call(&b"app:k"[..]).also(&b"app:l"[..]).arg(&b"v"[..]).by_hash();
        assert_eq!(key_of(&two), Some(&b"app:k"[..]));
        let args: Vec<_> = two.args_iter().skip(2).collect();
        assert_eq!(args, [&b"2"[..], b"app:k", b"app:l", b"v"].map(Arg::Simple));
        assert!(is_for_two(&two) && !is_for_two(&call.by_hash()));
        assert_eq!(key_of(&::redis::cmd("PING")), None);
        assert_ne!(ADD.hash(), REPLACE.hash());
    }

    #[test]
    fn unknown_scripts_are_told_from_other_errors() {
        let parse = |text: &[u8]| ::redis::parse_redis_value(text).unwrap();
        assert!(is_unknown(&parse(b"-NOSCRIPT No matching script.\r\n")));
        assert!(!is_unknown(&parse(b"-ERR no\r\n")));
        assert!(!is_unknown(&Reply::Nil));
    }
}
