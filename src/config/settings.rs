//! The options that were given for one cache: each name known to its kind, each value parsed and in
//! range, no name twice. [`Settings::check`] then holds them against each other.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::nearest::nearest;
use super::options::{Endpoint, Secret};
use super::schema::{self, Row, Scope};
use super::value::Given;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Kind;

/// Checked options. What was not given has the schema's default.
#[derive(Clone)]
pub(crate) struct Settings {
    kind: Kind,
    given: Vec<(&'static Row, Given)>,
}

impl Settings {
    /// Nothing given.
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, given: Vec::new() }
    }

    /// Gives an option; one that was given before is an error.
    pub(super) fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let (row, value) = self.parse(name, text)?;
        if self.given(row.name).is_some() {
            return Err(option_error(name, "is given twice"));
        }
        self.given.push((row, value));
        Ok(())
    }

    /// Gives an option; it stands instead of one that was given before.
    pub(super) fn replace(&mut self, name: &str, text: &str) -> Result<()> {
        let (row, value) = self.parse(name, text)?;
        self.given.retain(|(known, _)| known.name != row.name);
        self.given.push((row, value));
        Ok(())
    }

    /// Gives what the URL says outside of its options; these may say the same, nothing else.
    pub(super) fn agree(&mut self, name: &str, text: &str) -> Result<()> {
        let (row, value) = self.parse(name, text)?;
        match self.given(row.name) {
            None => self.given.push((row, value)),
            Some(other) if *other == value => {}
            Some(_) => return Err(option_error(name, "contradicts the rest of the URL")),
        }
        Ok(())
    }

    fn parse(&self, name: &str, text: &str) -> Result<(&'static Row, Given)> {
        let row = schema::find(name, self.kind).ok_or_else(|| unknown(name, Some(self.kind)))?;
        let value = row.parse(text).map_err(|why| option_error(name, &why))?;
        Ok((row, value))
    }

    /// Refuses options that contradict each other, the kind of cache, or where the server is.
    pub(super) fn check(&self, endpoint: Option<&Endpoint>, tls: bool) -> Result<()> {
        let contradiction = |name: &str, why: &str| Err(option_error(name, why));
        if self.kind == Kind::Local {
            if self.choice("single_flight") == "fleet" && self.given("single_flight").is_some() {
                return contradiction(
                    "single_flight",
                    "is `process` on a Local cache: it has no fleet",
                );
            }
            return Ok(());
        }
        if !tls {
            for name in ["tls_ca", "tls_cert", "tls_key"] {
                if self.given(name).is_some() {
                    return contradiction(name, NO_TLS);
                }
            }
            if self.flag("tls_insecure") {
                return contradiction("tls_insecure", NO_TLS);
            }
        }
        match (self.given("tls_cert"), self.given("tls_key")) {
            (Some(_), None) => return contradiction("tls_cert", "needs `tls_key`"),
            (None, Some(_)) => return contradiction("tls_key", "needs `tls_cert`"),
            _ => {}
        }
        let on_cluster = matches!(endpoint, Some(Endpoint::Cluster(_)));
        if on_cluster && self.number::<u32>("db") != 0 {
            return contradiction("db", "must be 0: a Cluster has no other database");
        }
        let replicated = matches!(endpoint, Some(Endpoint::Cluster(_) | Endpoint::Sentinel { .. }));
        if self.choice("read_from") != "primary" && self.kind == Kind::Redis && !replicated {
            let why = format!(
                "can be `{}` only on a Cluster or behind Sentinels",
                self.choice("read_from")
            );
            return contradiction("read_from", &why);
        }
        if self.secret("username").is_some() && self.secret("password").is_none() {
            return contradiction(
                "username",
                "needs a password; a URL with a password alone is `redis://:PASSWORD@HOST`",
            );
        }
        self.check_wire()?;
        if self.kind == Kind::Hybrid {
            self.check_hybrid()?;
        }
        Ok(())
    }

    fn check_wire(&self) -> Result<()> {
        let raw = self.choice("wire") == "raw";
        if self.text("prefix").is_none() && (!raw || self.kind == Kind::Hybrid) {
            return Err(option_error(
                "prefix",
                "can't be empty but on a Redis cache with `wire=raw`",
            ));
        }
        let has_header = [
            ("compress", self.choice("compress") != "none"),
            ("encryption_keys", self.secret("encryption_keys").is_some()),
            ("stale_ttl", self.some_span("stale_ttl") > Duration::ZERO),
            ("negative_ttl", self.some_span("negative_ttl") > Duration::ZERO),
        ];
        match has_header.into_iter().find(|(_, on)| raw && *on) {
            Some((name, _)) => {
                Err(option_error(name, "contradicts `wire=raw`, which has no header"))
            }
            None => Ok(()),
        }
    }

    fn check_hybrid(&self) -> Result<()> {
        let from = self.choice("read_from");
        if from != "primary" {
            let why =
                format!("can't be `{from}` on a Hybrid: a replica may answer with an older value");
            return Err(option_error("read_from", &why));
        }
        if self.number::<u8>("protocol") == 2 && self.choice("invalidation") == "tracking" {
            return Err(option_error("protocol", "must be 3 for `invalidation=tracking`"));
        }
        Ok(())
    }

    /// Refuses options of the caches that a Hybrid is composed of.
    pub(super) fn check_composed(&self) -> Result<()> {
        match self.given.iter().find(|(row, _)| row.scope != Scope::Hybrid) {
            Some((row, _)) => Err(option_error(
                row.name,
                "is none of the Hybrid itself; give it to the cache that it is composed of",
            )),
            None => Ok(()),
        }
    }

    fn given(&self, name: &str) -> Option<&Given> {
        self.given.iter().find(|(row, _)| row.name == name).map(|(_, value)| value)
    }

    /// The value of `name`, given or by default.
    fn value(&self, name: &str) -> Option<Given> {
        if let Some(value) = self.given(name) {
            return Some(value.clone());
        }
        let row = schema::SCHEMA.iter().find(|row| row.name == name)?;
        match row.default_on(self.kind) {
            "" => None,
            default => row.parse(default).ok(),
        }
    }

    // What follows reads one option as the type that its row has; every call is made for each set of
    // defaults, so that a mismatch can't hide from the tests.

    /// Text, `None` where it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Given::Text(text)) => Some(text).filter(|text| !text.is_empty()),
            None => None,
            _ => mismatch(name),
        }
    }

    /// A secret, `None` where it is empty.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        match self.value(name) {
            Some(Given::Secret(secret)) => {
                Some(secret).filter(|secret| !secret.expose().is_empty())
            }
            None => None,
            _ => mismatch(name),
        }
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        match self.value(name) {
            Some(Given::Path(path)) => Some(path),
            None => None,
            _ => mismatch(name),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Given::Bool(flag)) => flag,
            _ => mismatch(name),
        }
    }

    pub(super) fn choice(&self, name: &str) -> &'static str {
        match self.value(name) {
            Some(Given::Choice(word)) => word,
            _ => mismatch(name),
        }
    }

    pub(super) fn optional_number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.value(name) {
            Some(Given::Number(number)) => {
                number.map(|number| T::try_from(number).unwrap_or_else(|_| mismatch(name)))
            }
            _ => mismatch(name),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        self.optional_number(name).unwrap_or_else(|| mismatch(name))
    }

    pub(super) fn span(&self, name: &str) -> Option<Duration> {
        match self.value(name) {
            Some(Given::Span(span)) => span,
            _ => mismatch(name),
        }
    }

    pub(super) fn share(&self, name: &str) -> Option<f64> {
        match self.value(name) {
            Some(Given::Share(share)) => share,
            _ => mismatch(name),
        }
    }

    pub(super) fn some_span(&self, name: &str) -> Duration {
        self.span(name).unwrap_or_else(|| mismatch(name))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.given.iter().map(|(row, value)| (row.name, value))).finish()
    }
}

const NO_TLS: &str = "contradicts the URL, which is without TLS: write `rediss://`";

fn mismatch(name: &str) -> ! {
    unreachable!("the schema's row of `{name}` has another type")
}

/// An error about the option `name`.
pub(super) fn option_error(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("option `{name}` {why}"))
}

/// The error for a name that a cache of `kind` has not, or none has.
pub(super) fn unknown(name: &str, kind: Option<Kind>) -> Error {
    let all = [Kind::Local, Kind::Redis, Kind::Hybrid];
    let of_kind = match kind {
        Some(kind) => schema::names(kind),
        None => all.into_iter().flat_map(schema::names).collect(),
    };
    let near = nearest(name, of_kind.iter().map(AsRef::as_ref)).unwrap_or_default();
    if let Some(kind) = kind {
        let elsewhere = all.into_iter().find(|other| schema::find(name, *other).is_some());
        if let Some(other) = elsewhere {
            let why = if kind == Kind::Hybrid {
                format!("is one of the {other:?} cache; on a Hybrid write `l1.{name}`")
            } else {
                format!(
                    "is one of the {other:?} cache, not of the {kind:?} cache; the nearest is `{near}`"
                )
            };
            return option_error(name, &why);
        }
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let shown = name.len() <= 40 && name.bytes().all(word) && !name.is_empty();
    let name = if shown { format!(" `{name}`") } else { String::new() };
    Error::new(ErrorKind::Config, format!("unknown option{name}; the nearest is `{near}`"))
}
