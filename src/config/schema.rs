//! The schema: the only place where an option is defined. The URL parser, `lc_config_set`, keyword
//! arguments, suggestions and the page `docs/configuration.md` all read [`SCHEMA`]; the typed
//! structures of `options` are filled by these names.

use std::borrow::Cow;
use std::time::Duration;

use crate::key::VALUE_MAX;
use crate::ops::Kind;
use crate::runtime;

/// Which caches have an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All three kinds.
    Common,
    /// The Local cache; on a Hybrid its L1, with the prefix `l1.`.
    Local,
    /// The Redis cache, and a Hybrid's L2.
    Redis,
    /// The Hybrid cache.
    Hybrid,
    /// The process: environment variables, read where they are needed.
    Process,
}

/// What values an option takes. Ranges include both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// Text without control characters, of at most so many bytes.
    Text(usize),
    /// Text of printable ASCII characters without spaces, of at most so many bytes.
    Word(usize),
    /// Text that is never shown.
    Secret,
    /// A path of a file.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number; `word` stands for "no number".
    Int {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// What may be written instead of a number.
        word: Option<&'static str>,
    },
    /// A power of two, or `auto`.
    PowerOfTwo {
        /// Largest.
        max: u64,
    },
    /// A number of bytes.
    Size {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// Whether `none` may be written.
        none: bool,
    },
    /// A time span.
    Span {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
        /// Whether `none` may be written.
        none: bool,
    },
    /// A share from 0 to 1, ends as the option says; `word` stands for "no share".
    Share {
        /// What may be written instead of a number.
        word: Option<&'static str>,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Encryption keys, `ID:BASE64,…`.
    Keys,
}

/// One option.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Which caches have it.
    pub scope: Scope,
    /// Its values.
    pub kind: Type,
    /// Its default, as it would be written; empty where there is none.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
}

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const MAX: u64 = i64::MAX as u64;

const fn row(
    scope: Scope,
    name: &'static str,
    default: &'static str,
    kind: Type,
    help: &'static str,
) -> Row {
    Row { name, scope, kind, default, help }
}

const fn span(min: Duration, max: Duration) -> Type {
    Type::Span { min, max, none: false }
}

const fn span_or_none(min: Duration, max: Duration) -> Type {
    Type::Span { min, max, none: true }
}

const fn int(min: u64, max: u64) -> Type {
    Type::Int { min, max, word: None }
}

use Scope::{Common, Hybrid, Local, Process, Redis};
use Type::{Bool, Choice, Keys, Path, PowerOfTwo, Secret, Share, Size, Text, Word};

/// All options, in the order of the documentation.
#[rustfmt::skip]
pub static SCHEMA: &[Row] = &[
    row(Common, "name", "", Text(128), "Name of the cache in metrics and logs."),
    row(Common, "default_ttl", "none", span_or_none(MS, CENTURY), "TTL of values that are set without one."),
    row(Common, "ttl_jitter", "0", Share { word: None }, "Spreads expiry: each TTL is shortened by a random share of up to this."),
    row(Common, "max_value_bytes", "511MiB", Size { min: 1, max: VALUE_MAX as u64, none: false }, "Largest value."),
    row(Common, "stale_ttl", "0", span(Duration::ZERO, CENTURY), "How long past its TTL a value may be served when the loader or the server fails."),
    row(Common, "refresh_ahead", "off", Share { word: Some("off") }, "Past this share of its TTL a value is loaded anew while the present one is served."),
    row(Common, "negative_ttl", "0", span(Duration::ZERO, CENTURY), "How long it is remembered that a loader found nothing."),
    row(Common, "single_flight", "fleet", Choice(&["fleet", "process"]), "Whether one load per key runs in the whole fleet or in each process. On a Local cache `process`, which is its default."),
    row(Common, "encryption_keys", "", Keys, "Encryption of the values in the server and of a Local cache's snapshots: keys of 32 bytes as `ID:BASE64,…`, the first encrypts, all decrypt. IDs are whole numbers below 2^32. What is not encrypted is refused then."),

    row(Local, "max_entries", "none", Type::Int { min: 1, max: MAX, word: Some("none") }, "Most entries."),
    row(Local, "max_bytes", "none", Size { min: 1, max: MAX, none: true }, "Most memory of keys, values and their bookkeeping."),
    row(Local, "policy", "default", Choice(&["default"]), "Which entry is evicted once a bound is reached."),
    row(Local, "shards", "auto", PowerOfTwo { max: 4096 }, "Number of independently locked parts, at least 2 (1 is taken for 2); `auto` chooses from the processors. Fewer where a bound leaves too little to each."),
    row(Local, "sweep_interval", "1s", span(Duration::from_millis(10), HOUR), "How often the memory of expired entries is freed."),

    row(Redis, "prefix", "lc", Text(1024), "Keys are stored as `PREFIX:KEY`. Empty only on a Redis cache with `wire=raw`."),
    row(Redis, "protocol", "3", int(2, 3), "RESP version to ask the server for."),
    row(Redis, "timeout", "1s", span(MS, HOUR), "Bound of opening and of each round trip."),
    row(Redis, "connect_timeout", "1s", span(MS, HOUR), "Bound of connecting, TLS and handshake included."),
    row(Redis, "retries", "1", int(0, 10), "How often an idempotent read is repeated within its deadline."),
    row(Redis, "max_backoff", "2s", span(MS, HOUR), "Longest wait between two attempts to reconnect."),
    row(Redis, "connections", "auto", Type::Int { min: 1, max: 1024, word: Some("auto") }, "Most direct connections that are kept; `auto` chooses from the processors."),
    row(Redis, "tcp_keepalive", "30s", span_or_none(Duration::from_secs(1), HOUR), "Idle time before TCP keepalive probes."),
    row(Redis, "client_name", "", Word(128), "Name of the connections in the server's CLIENT LIST."),
    row(Redis, "db", "0", int(0, i32::MAX as u64), "Database number; 0 on a Cluster. Also as the path of the URL."),
    row(Redis, "username", "", Secret, "ACL user. Also in the URL."),
    row(Redis, "password", "", Secret, "Password. Also in the URL."),
    row(Redis, "tls_ca", "", Path, "File of CA certificates (PEM) to trust instead of the built-in roots."),
    row(Redis, "tls_cert", "", Path, "File of the client's certificate chain (PEM); needs `tls_key`."),
    row(Redis, "tls_key", "", Path, "File of the client's private key (PEM); needs `tls_cert`."),
    row(Redis, "tls_insecure", "false", Bool, "Accept any certificate. Warned about at each open."),
    row(Redis, "read_from", "primary", Choice(&["primary", "replica", "nearest"]), "Which nodes are read, on a Cluster or behind Sentinels. `replica`: any replica (of the slot), by the primary where there is none; `nearest`: whichever of primary and replicas answers fastest, measured anew every ten seconds. A replica may answer with an older value. Not on a Hybrid."),
    row(Redis, "wire", "envelope", Choice(&["envelope", "raw"]), "How values are stored: with the header of `docs/wire-format.md`, or as they are."),
    row(Redis, "compress", "none", Choice(&["none", "zstd", "lz4"]), "Compression of values from `compress_min_bytes` on, where it saves a tenth. Read is every kind."),
    row(Redis, "compress_min_bytes", "1KiB", Size { min: 1, max: VALUE_MAX as u64, none: false }, "Smaller values are not compressed."),

    row(Hybrid, "invalidation", "tracking", Choice(&["tracking", "pubsub", "none"]), "How writes of other processes are heard of. `tracking`: the server tells of every client's. `pubsub`: the caches tell each other, for servers and proxies without tracking; all of one prefix have to, and neither plain clients' writes nor the server's own removals are heard of."),
    row(Hybrid, "watchdog", "1s", span(Duration::from_millis(10), HOUR), "How often the invalidation stream is proven; without proof L1 is not trusted."),
    row(Hybrid, "l2_timeout", "250ms", span(MS, HOUR), "Bound of each leg to the server."),
    row(Hybrid, "require_l2", "false", Bool, "Opening fails where the server is not reachable."),
    row(Hybrid, "l1_alone", "stale", Choice(&["stale", "miss"]), "What L1 answers while the server is away: its entries to the end of their TTL, or nothing."),
    row(Hybrid, "breaker_failures", "5", int(1, 1000), "Failures in a row after which the server is bypassed."),
    row(Hybrid, "breaker_open", "500ms", span(MS, HOUR), "Time between two probes of a server that is bypassed."),
    row(Hybrid, "replay_limit", "10000", int(0, MAX), "Most keys whose writes are queued for a server that is away; past it the oldest is dropped, counted and logged."),
    row(Hybrid, "replay_bytes", "64MiB", Size { min: 0, max: MAX, none: false }, "Most memory of that queue."),
    row(Hybrid, "l1.max_ttl", "none", span_or_none(MS, CENTURY), "Longest time that a value is kept in L1."),

    row(Process, "LIGHTER_CACHE_WORKERS", "2", int(1, runtime::MAX_WORKERS as u64), "Threads of the library's runtime. A cache that is Local has no need of them."),
    row(Process, "LIGHTER_CACHE_LOG", "off", Choice(&["off", "error", "warn", "info", "debug", "trace"]), "What is written to standard error. A log callback hears what it asks for besides."),
];

impl Row {
    /// What is written for this option on a cache of `kind`; `None` where that kind has it not.
    pub fn name_on(&self, kind: Kind) -> Option<Cow<'static, str>> {
        match (self.scope, kind) {
            (Scope::Common, _)
            | (Scope::Local, Kind::Local)
            | (Scope::Redis, Kind::Redis | Kind::Hybrid)
            | (Scope::Hybrid, Kind::Hybrid) => Some(Cow::Borrowed(self.name)),
            (Scope::Local, Kind::Hybrid) => Some(Cow::Owned(format!("l1.{}", self.name))),
            _ => None,
        }
    }

    /// The default on a cache of `kind`, as it would be written.
    pub fn default_on(&self, kind: Kind) -> &'static str {
        // The one option whose default depends on the kind.
        if self.name == "single_flight" && kind == Kind::Local { "process" } else { self.default }
    }
}

/// The option that is called `name` on a cache of `kind`.
pub fn find(name: &str, kind: Kind) -> Option<&'static Row> {
    SCHEMA.iter().find(|row| row.name_on(kind).is_some_and(|known| known == name))
}

/// The names of all options of a cache of `kind`.
pub fn names(kind: Kind) -> Vec<Cow<'static, str>> {
    SCHEMA.iter().filter_map(|row| row.name_on(kind)).collect()
}

/// The name of the option that a keyword argument stands for: the same with `_` for `.`, as
/// `l1_max_bytes` for `l1.max_bytes`. `None` where no kind of cache has it.
pub fn find_keyword(keyword: &str) -> Option<Cow<'static, str>> {
    [Kind::Local, Kind::Redis, Kind::Hybrid]
        .into_iter()
        .flat_map(names)
        .find(|name| name == keyword || name.replace('.', "_") == keyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Local, Kind::Redis, Kind::Hybrid];

    #[test]
    fn names_are_unique_and_found_by_their_keyword() {
        for kind in KINDS {
            let names = names(kind);
            for (i, name) in names.iter().enumerate() {
                assert!(!names[..i].contains(name), "{name}");
                assert!(find(name, kind).is_some());
                assert_eq!(find_keyword(&name.replace('.', "_")).as_ref(), Some(name));
                assert_eq!(find_keyword(name).as_ref(), Some(name));
            }
        }
        assert_eq!(find_keyword("l1_max_bytes").as_deref(), Some("l1.max_bytes"));
        assert_eq!(find_keyword("LIGHTER_CACHE_LOG"), None);
        assert_eq!(find_keyword("prefx"), None);
    }

    #[test]
    fn defaults_are_in_range() {
        for row in SCHEMA {
            for default in KINDS.map(|kind| row.default_on(kind)) {
                assert!(default.is_empty() || row.parse(default).is_ok(), "{}", row.name);
            }
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
        let workers = SCHEMA.iter().find(|row| row.name == "LIGHTER_CACHE_WORKERS").unwrap();
        assert_eq!(workers.default, runtime::DEFAULT_WORKERS.to_string());
    }
}
