//! Configuration: one schema of options, parsed from a URL, from names and values, or from the
//! environment into the typed structures of `options` ("parse, don't validate": whoever holds a
//! [`Config`] need not check it again). The user's page is `docs/configuration.md`.
//!
//! `schema` defines the options, `value` and `units` read their text, `url` takes a URL apart,
//! `settings` holds what was given and finds contradictions, `docs` writes the page. Opening a cache
//! with a [`Config`] is left to `cache`.

#[doc(hidden)]
pub mod docs;
mod nearest;
mod options;
#[doc(hidden)]
pub mod schema;
mod settings;
mod units;
mod url;
mod value;

use std::env::VarError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use options::{
    Codec, CommonOptions, Endpoint, HostPort, HybridOptions, Invalidation, L1Alone, LocalOptions,
    ReadFrom, RedisOptions, Secret, TlsOptions, Wire,
};

use crate::error::{Error, ErrorKind, Result};
use crate::log::{Level, emit};
use crate::ops::Kind;
use settings::Settings;
use url::Url;

/// A complete, checked configuration of one cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which kind of cache.
    pub kind: Kind,
    /// Options of every kind.
    pub common: CommonOptions,
    /// Options of the Local cache, or of a Hybrid's L1.
    pub local: LocalOptions,
    /// Options of the Redis cache, or of a Hybrid's L2. Meaningless on a Local cache.
    pub redis: RedisOptions,
    /// Options of the Hybrid. Meaningless elsewhere.
    pub hybrid: HybridOptions,
}

impl Config {
    /// The configuration of `url`.
    ///
    /// [`ErrorKind::Config`] for an unknown scheme or option, a value that is malformed or out of
    /// range, or a contradiction; the message names the option and the nearest valid one.
    pub fn parse(url: &str) -> Result<Self> {
        ConfigBuilder::new(Some(url)).build()
    }

    /// The configuration of the environment: the URL in `LIGHTER_CACHE_URL`, else a Hybrid over the
    /// server in `REDIS_URL`, else a Local cache, with one warning to the log.
    pub fn from_env() -> Result<Self> {
        ConfigBuilder::new(None).build()
    }

    /// The options of a Hybrid that is composed of two open caches, as a query string such as
    /// `watchdog=2s&l2_timeout=100ms`. Errors as [`Config::parse`].
    pub fn hybrid_options(query: &str) -> Result<HybridOptions> {
        if query.chars().any(char::is_control) {
            return Err(Error::new(ErrorKind::Config, "the options hold a control character"));
        }
        let mut settings = Settings::new(Kind::Hybrid);
        for (name, value) in url::options(query)? {
            settings.add(&name, value.expose())?;
        }
        settings.check_composed()?;
        settings.check(None, false)?;
        Ok(HybridOptions::of(&settings))
    }
}

/// A time span, written as in the options: `250ms`, `1.5s`, `5m`, `2h`, `1d`, a bare number of seconds,
/// or `none`. [`ErrorKind::Invalid`] otherwise.
pub fn parse_duration(text: &str) -> Result<Option<Duration>> {
    if text == "none" {
        return Ok(None);
    }
    let invalid = |why| Error::new(ErrorKind::Invalid, format!("a time span {why}"));
    units::duration(text).map(Some).map_err(invalid)
}

/// A configuration in the making: a URL, and options by name that override the URL's.
#[derive(Clone)]
pub struct ConfigBuilder {
    url: Option<Secret>,
    options: Vec<(String, Secret)>,
}

impl ConfigBuilder {
    /// Starts from `url`, or from the environment as [`Config::from_env`] does. The URL is judged by
    /// [`ConfigBuilder::build`].
    pub fn new(url: Option<&str>) -> Self {
        Self { url: url.map(Secret::new), options: Vec::new() }
    }

    /// Sets the option `name`, as it is called in a URL, to `value`, written as there (without
    /// percent-encoding). It overrides the URL's and an earlier one.
    ///
    /// [`ErrorKind::Config`] where no kind of cache has such an option or it can't have such a value;
    /// then nothing is set. Whether this cache has it is judged by [`ConfigBuilder::build`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let kinds = [Kind::Local, Kind::Redis, Kind::Hybrid];
        let row = kinds.into_iter().find_map(|kind| schema::find(name, kind));
        let row = row.ok_or_else(|| settings::unknown(name, None))?;
        row.parse(value).map_err(|why| settings::option_error(name, &why))?;
        self.options.retain(|(known, _)| known != name);
        self.options.push((name.to_owned(), Secret::new(value)));
        Ok(())
    }

    /// The configuration. Errors as [`Config::parse`].
    pub fn build(&self) -> Result<Config> {
        match &self.url {
            Some(url) => self.assemble(url::parse(url.expose())?),
            None => {
                let (variable, url) = url_of_environment()?;
                let config = url::parse(&url).and_then(|url| self.assemble(url));
                config.map_err(|error| {
                    Error::new(error.kind(), format!("{variable}: {}", error.message()))
                })
            }
        }
    }

    fn assemble(&self, url: Url) -> Result<Config> {
        let mut settings = Settings::new(url.kind);
        for (name, value) in &url.options {
            settings.add(name, value.expose())?;
        }
        let parts = [("username", &url.username), ("password", &url.password)];
        for (name, secret) in parts {
            if let Some(secret) = secret {
                settings.agree(name, secret.expose())?;
            }
        }
        if let Some(db) = &url.db {
            settings.agree("db", db)?;
        }
        for (name, value) in &self.options {
            settings.replace(name, value.expose())?;
        }
        settings.check(url.endpoint.as_ref(), url.tls)?;
        let endpoint = url.endpoint.unwrap_or_default();
        Ok(Config {
            kind: url.kind,
            common: CommonOptions::of(&settings),
            local: LocalOptions::of(&settings),
            redis: RedisOptions::of(&settings, endpoint, url.tls),
            hybrid: HybridOptions::of(&settings),
        })
    }
}

impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The URL that the environment asks for, and the variable that it is from.
fn url_of_environment() -> Result<(&'static str, String)> {
    if let Some(url) = variable("LIGHTER_CACHE_URL")? {
        return Ok(("LIGHTER_CACHE_URL", url));
    }
    if let Some(url) = variable("REDIS_URL")? {
        return Ok(("REDIS_URL", format!("hybrid+{url}")));
    }
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        let message = "neither LIGHTER_CACHE_URL nor REDIS_URL is set: the cache is Local, of this process alone";
        emit(Level::Warn, "config", format_args!("{message}"));
    }
    Ok(("LIGHTER_CACHE_URL", "local:".into()))
}

/// A variable of the environment; an empty one is not set.
fn variable(name: &'static str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Error::new(ErrorKind::Config, format!("{name} is no UTF-8")))
        }
    }
}
