//! The configuration as a user meets it: URLs, options by name, the environment, the generated page.

use std::time::Duration;

use lighter_cache::config::{
    Codec, Config, ConfigBuilder, Endpoint, HostPort, Invalidation, L1Alone, Wire, docs, schema,
};
use lighter_cache::{ErrorKind, Kind};

fn host(host: &str, port: u16) -> HostPort {
    HostPort { host: host.into(), port }
}

fn parse(url: &str) -> Config {
    Config::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn forms_of_url() {
    for url in ["local:", "local://", "LOCAL:?", "local://?shards=16", "local:?shards=16"] {
        assert_eq!(parse(url).kind, Kind::Local, "{url}");
    }
    let one = |name: &str, port| Endpoint::Tcp(host(name, port));
    let nodes = Endpoint::Cluster(vec![host("a", 6379), host("b", 7000), host("::1", 7001)]);
    let cases = [
        ("redis://localhost", one("localhost", 6379)),
        ("redis://localhost/", one("localhost", 6379)),
        ("valkey://10.0.0.1:7000", one("10.0.0.1", 7000)),
        ("rediss://[::1]:6380/0", one("::1", 6380)),
        ("valkeys://[::1]", one("::1", 6379)),
        ("redis+unix:///run/a%20b.sock?db=1", Endpoint::Unix("/run/a b.sock".into())),
        ("valkey+unix://user:pw@/run/s", Endpoint::Unix("/run/s".into())),
        ("redis://a,b:7000,[::1]:7001", nodes.clone()),
        ("rediss+cluster://a,b:7000,[::1]:7001/0", nodes),
        ("redis+cluster://a", Endpoint::Cluster(vec![host("a", 6379)])),
        (
            "redis+sentinel://u:p@s1,s2:26380/my%2Fmaster/3",
            Endpoint::Sentinel {
                sentinels: vec![host("s1", 26379), host("s2", 26380)],
                service: "my/master".into(),
            },
        ),
    ];
    for (url, endpoint) in cases {
        let config = parse(url);
        assert_eq!((config.kind, &config.redis.endpoint), (Kind::Redis, &endpoint), "{url}");
        let tls = url.starts_with("rediss") || url.starts_with("valkeys");
        assert_eq!(config.redis.tls.is_some(), tls, "{url}");
        let hybrid = parse(&format!("hybrid+{url}"));
        assert_eq!((hybrid.kind, &hybrid.redis.endpoint), (Kind::Hybrid, &endpoint), "{url}");
    }
}

fn refused(url: &str) -> String {
    match Config::parse(url) {
        Ok(config) => panic!("{url} was accepted: {config:?}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            error.message().to_owned()
        }
    }
}

#[test]
fn credentials_and_database() {
    let who = |url: &str| {
        let redis = parse(url).redis;
        (redis.username, redis.password.map(|p| p.expose().to_owned()), redis.db)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(who("redis://h"), (None, None, 0));
    assert_eq!(who("redis://@h/7"), (None, None, 7));
    assert_eq!(who("redis://:@h?db=7"), (None, None, 7));
    assert_eq!(who("redis://:pw@h"), (None, some("pw"), 0));
    assert_eq!(who("redis://u:a:b@h"), (some("u"), some("a:b"), 0));
    assert_eq!(
        who("redis://u%40x:%40%2f%3F%23%25%C3%A9@h/1?db=1"),
        (some("u@x"), some("@/?#%é"), 1)
    );
    assert_eq!(who("redis://u@h?password=p+%26"), (some("u"), some("p+&"), 0));
    assert_eq!(who("redis://u:p@h?username=u&password=p"), (some("u"), some("p"), 0));
}

#[test]
fn every_option_of_this_version() {
    let url = "hybrid+rediss://h?name=n&default_ttl=5m&max_value_bytes=1.5MiB&l1.shards=32\
        &l1.sweep_interval=0.25&prefix=app:x&protocol=3&timeout=200ms&connect_timeout=2s&retries=0\
        &max_backoff=1h&connections=4&tcp_keepalive=none&client_name=me&db=3&username=u&password=p\
        &tls_ca=/ca&tls_cert=/cert&tls_key=/key&tls_insecure=yes&wire=raw&invalidation=none\
        &watchdog=2s&l2_timeout=100ms&require_l2=on&l1_alone=miss&breaker_failures=1\
        &breaker_open=50ms&l1.max_ttl=1d";
    let config = parse(url);
    let (common, local) = (config.common, config.local);
    let (redis, hybrid) = (config.redis, config.hybrid);
    let ms = Duration::from_millis;
    assert_eq!(common.name.as_deref(), Some("n"));
    assert_eq!((common.default_ttl, common.max_value_bytes), (Some(ms(300_000)), 3 << 19));
    assert_eq!((local.shards, local.sweep_interval), (Some(32), ms(250)));
    assert_eq!((redis.prefix.as_str(), redis.protocol, redis.retries), ("app:x", 3, 0));
    assert_eq!((redis.timeout, redis.connect_timeout), (ms(200), ms(2000)));
    assert_eq!((redis.max_backoff, redis.connections), (ms(3_600_000), Some(4)));
    assert_eq!((redis.tcp_keepalive, redis.client_name.as_deref()), (None, Some("me")));
    assert_eq!((redis.db, redis.username.as_deref(), redis.wire), (3, Some("u"), Wire::Raw));
    let tls = redis.tls.unwrap();
    assert_eq!((tls.ca, tls.cert), (Some("/ca".into()), Some("/cert".into())));
    assert_eq!((tls.key, tls.insecure), (Some("/key".into()), true));
    assert_eq!((hybrid.invalidation, hybrid.l1_alone), (Invalidation::None, L1Alone::Miss));
    assert_eq!((hybrid.watchdog, hybrid.l2_timeout, hybrid.require_l2), (ms(2000), ms(100), true));
    assert_eq!((hybrid.breaker_failures, hybrid.breaker_open), (1, ms(50)));
    assert_eq!(hybrid.l1_max_ttl, Some(ms(86_400_000)));

    let plain = parse("hybrid+redis://h");
    assert_eq!((plain.common.default_ttl, plain.common.max_value_bytes), (None, 511 << 20));
    assert_eq!((plain.local.shards, plain.redis.prefix.as_str()), (None, "lc"));
    assert_eq!((plain.redis.timeout, plain.hybrid.l2_timeout), (ms(1000), ms(250)));
    assert_eq!((plain.redis.connections, plain.redis.tcp_keepalive), (None, Some(ms(30_000))));
    assert_eq!(
        (plain.hybrid.invalidation, plain.redis.wire),
        (Invalidation::Tracking, Wire::Envelope)
    );
}

#[test]
fn refused_urls_say_why() {
    let key = "A".repeat(43);
    let keys = format!("encryption_keys=2:{key}");
    for (url, says) in [
        ("", "nearest is"),
        ("redi://h", "`redi`; the nearest is `redis://`"),
        ("hybrid+rediss+sentinl://h/s", "nearest is `hybrid+rediss+sentinel://`"),
        ("hybrid+local:", "nearest is"),
        ("locale:", "nearest is `local:`"),
        ("http://h", "unknown scheme `http`"),
        ("localhost:6379", "no known scheme"),
        ("redis:h", "`//`"),
        ("redis://", "no host"),
        ("redis://:6379", "no host"),
        ("redis:///0", "no host"),
        ("redis://a,,b", "no host, or an empty one"),
        ("redis://u:p@ss@h", "%40"),
        ("redis://u:p/ss@h", "%40"),
        ("redis://u:12/ss@h", "%40"),
        ("redis://u:12?ss=1@h", "%40"),
        ("redis://u:p@12?ss=1@h", "%40"),
        ("redis://u:p@12?name=ss@h", "%40"),
        ("redis+sentinel://u:p@12/ss@h/s", "%40"),
        ("redis://h#insecure", "tls_insecure=true"),
        ("redis://h/0#", "fragment"),
        ("redis://u:%zz@h", "%25"),
        ("redis://u:%f@h", "%25"),
        ("redis://u:%ff@h", "UTF-8"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:65536", "1 to 65535"),
        ("redis://h:", "1 to 65535"),
        ("redis://h:+1", "1 to 65535"),
        ("redis://h:6379x", "1 to 65535"),
        ("redis://::1", "`[::1]:6379`"),
        ("redis://[::1", "closing `]`"),
        ("redis://[h]", "IPv6"),
        ("redis://[::1]6379", "after `]`"),
        ("redis://a b", "a host is a name"),
        ("redis://h\n", "control character"),
        ("redis://h/x", "number of a database"),
        ("redis://h/0/1", "number of a database"),
        ("redis://h/-1", "number of a database"),
        ("redis://h/99999999999", "`db` is out of range"),
        ("redis://h/1?db=2", "`db` contradicts"),
        ("redis://u:p@h?password=q", "`password` contradicts"),
        ("redis://u@h", "`username` needs a password"),
        ("redis+unix://run/s", "three slashes"),
        ("redis+unix://", "three slashes"),
        ("redis+sentinel://h", "service"),
        ("redis+sentinel://h/s/x", "number of a database"),
        ("redis://a,b/1", "`db` must be 0"),
        ("redis+cluster://a?db=1", "`db` must be 0"),
        ("local://h", "no host"),
        ("local:/x", "no host"),
        ("local:?prefix=x", "`prefix` is one of the Redis cache"),
        (
            "local:?l1.shards=2",
            "`l1.shards` is one of the Hybrid cache, not of the Local cache; the nearest is `shards`",
        ),
        ("hybrid+redis://h?shards=2", "on a Hybrid write `l1.shards`"),
        ("redis://h?prefx=a", "unknown option `prefx`; the nearest is `prefix`"),
        ("redis://h?conect-timeout=1s", "the nearest is `connect_timeout`"),
        ("redis://h?%20=1", "unknown option; the nearest is"),
        ("redis://h?timeout", "no value"),
        ("redis://h?timeout=1s&timeout=1s", "`timeout` is given twice"),
        ("redis://h?timeout=", "`timeout` must be a number with a unit"),
        ("redis://h?timeout=5sec", "unit `sec`"),
        ("redis://h?timeout=5MS", "the nearest is `ms`"),
        ("redis://h?timeout=-5s", "`timeout` can't be negative"),
        ("redis://h?timeout=0", "`timeout` is out of range; it takes duration from 1ms to 1h"),
        ("redis://h?timeout=none", "`timeout` must be a number with a unit"),
        ("redis://h?timeout=99999999999999999999999999999999999999999s", "is too large"),
        ("local:?default_ttl=0", "out of range"),
        ("local:?default_ttl=36501d", "out of range"),
        ("local:?max_bytes=64mb", "unit `mb`; the nearest is `MB`"),
        ("local:?max_bytes=64 MiB", "unknown unit"),
        ("local:?max_value_bytes=512MiB", "out of range; it takes size from 1 to 511MiB"),
        ("local:?max_bytes=99999999999TiB", "is too large"),
        ("local:?shards=12", "power of two from 1 to 4096"),
        ("local:?shards=8192", "power of two from 1 to 4096"),
        ("local:?shards=0", "power of two"),
        ("local:?policy=lru", "`policy` has an unknown value; the nearest is `default`"),
        ("local:?ttl_jitter=1.5", "at most 1"),
        ("local:?ttl_jitter=inf", "fraction"),
        ("local:?refresh_ahead=1", "fraction between 0 and 1, or `off`"),
        ("local:?single_flight=fleet", "`process` on a Local cache"),
        ("redis://h?protocol=4", "from 2 to 3"),
        ("redis://h?retries=1.5", "whole number"),
        ("redis://h?tls_insecure=maybe", "`true` or `false`"),
        ("redis://h?compress=ztsd", "the nearest is `zstd`"),
        ("redis://h?client_name=a%20b", "no spaces"),
        ("redis://h?prefix=a%0Ab", "`prefix` holds a control character"),
        ("redis://h?prefix=", "`prefix` can't be empty"),
        ("hybrid+redis://h?prefix=&wire=raw", "`prefix` can't be empty"),
        ("redis://h?tls_ca=/f", "write `rediss://`"),
        ("redis://h?tls_insecure=1", "write `rediss://`"),
        ("rediss://h?tls_cert=/f", "`tls_cert` needs `tls_key`"),
        ("rediss://h?tls_key=/f", "`tls_key` needs `tls_cert`"),
        ("rediss://h?tls_ca=", "path of a file"),
        ("redis://h?wire=raw&compress=lz4", "`compress` contradicts `wire=raw`"),
        (&format!("redis://h?wire=raw&{keys}"), "`encryption_keys` contradicts `wire=raw`"),
        (&format!("redis://h?{keys},2:{key}"), "`encryption_keys` names an ID twice"),
        ("redis://h?compress_min_bytes=0", "out of range"),
        ("redis://h?encryption_keys=1", "`ID:BASE64`"),
        ("redis://h?encryption_keys=x:AAAA", "ID"),
        ("redis://h?encryption_keys=1:AAAA", "base64 of 32 bytes"),
        ("hybrid+redis://h?read_from=replica", "`read_from` can't be `replica`"),
        ("hybrid+redis+cluster://h?read_from=nearest", "`read_from` can't be `nearest`"),
        ("redis://h?read_from=replica", "`read_from` can be `replica` only on a Cluster"),
        ("redis://h?read_from=nearest", "`read_from` can be `nearest` only on a Cluster"),
        ("hybrid+redis://h?protocol=2", "`protocol` must be 3"),
        ("hybrid+redis://h?invalidation=push", "has an unknown value"),
        ("redis://h?watchdog=1s", "`watchdog` is one of the Hybrid cache, not of the Redis cache"),
        ("redis://h?LIGHTER_CACHE_LOG=off", "unknown option"),
    ] {
        let message = refused(url);
        assert!(message.contains(says), "{url}: {message}");
        assert!(!message.contains('\n'), "{url}: {message}");
    }
    let long = refused(&format!("redis://h?{}=1", "x".repeat(100_000)));
    assert!(long.len() < 200, "{long}");
    assert!(refused(&format!("redis://h?prefix={}", "x".repeat(1025))).contains("longer"));
}

#[test]
fn compression_and_encryption_of_the_server_s_values() {
    for scheme in ["redis", "hybrid+redis"] {
        let defaults = parse(&format!("{scheme}://h")).redis;
        assert_eq!((defaults.compress, defaults.compress_min_bytes), (None, 1024));
        assert_eq!(defaults.encryption_keys, None);
        let key = "c".repeat(42) + "A";
        let keys = format!("1:{key}=,4294967295:{}", "+/-_".repeat(10) + "+/w");
        let url =
            format!("{scheme}://h?compress=zstd&compress_min_bytes=4KiB&encryption_keys={keys}");
        let config = parse(&url);
        assert_eq!(config.redis.compress, Some(Codec::Zstd));
        assert_eq!(config.redis.compress_min_bytes, 4096);
        assert_eq!(config.redis.encryption_keys.as_ref().unwrap().expose(), keys);
        assert!(!format!("{config:?}").contains(&key[..8]));
        let lz4 = parse(&format!("{scheme}://h?compress=lz4")).redis;
        assert_eq!(lz4.compress, Some(Codec::Lz4));
    }
}

#[test]
fn every_kind_takes_what_is_for_all() {
    let common = "ttl_jitter=0.1&stale_ttl=1m&refresh_ahead=0.8&negative_ttl=5s&default_ttl=1h";
    for url in ["local:", "redis://h", "hybrid+redis://h"] {
        let config = parse(&format!("{url}?{common}&single_flight=process"));
        assert_eq!(config.common.ttl_jitter, 0.1);
        assert_eq!(config.common.refresh_ahead, Some(0.8));
    }
    for url in [
        "local:?single_flight=process&max_entries=none&max_bytes=none&policy=default",
        "redis+cluster://h?read_from=replica",
        "redis+cluster://h?read_from=nearest",
        "redis+sentinel://h/main?read_from=replica",
        "redis+sentinel://h/main?read_from=nearest",
        "local:?max_entries=1000&max_bytes=64MiB",
        "hybrid+redis://h?l1.max_bytes=64MiB&l1.max_entries=1000",
        "hybrid+redis://h?single_flight=fleet&l1.max_bytes=none",
        "hybrid+redis://h?read_from=primary&replay_limit=1&replay_bytes=1MB&invalidation=tracking",
    ] {
        parse(url);
    }
}

#[test]
fn options_by_name_override_the_url() {
    let mut builder = ConfigBuilder::new(Some("hybrid+redis://u:old@h/1?timeout=1s"));
    for (name, value) in [
        ("timeout", "5s"),
        ("timeout", "2s"),
        ("db", "2"),
        ("password", "canary"),
        ("l1.shards", "8"),
        ("prefix", "a&b=c%20"),
    ] {
        builder.set(name, value).unwrap();
    }
    assert!(!format!("{builder:?}").contains("canary"));
    let config = builder.build().unwrap();
    assert_eq!((config.redis.timeout, config.redis.db), (Duration::from_secs(2), 2));
    assert_eq!(config.redis.password.as_ref().unwrap().expose(), "canary");
    assert_eq!((config.local.shards, config.redis.prefix.as_str()), (Some(8), "a&b=c%20"));

    let error = builder.set("l1_shards", "8").unwrap_err();
    assert!(error.message().contains("`l1.shards`"), "{error}");
    assert!(builder.set("timeout", "5 parsec").unwrap_err().message().contains("`timeout`"));
    assert_eq!(builder.build().unwrap().redis.timeout, Duration::from_secs(2));

    let mut local = ConfigBuilder::new(Some("local:"));
    local.set("prefix", "x").unwrap();
    assert!(local.build().unwrap_err().message().contains("`prefix` is one of the Redis cache"));
    let judged_late = ConfigBuilder::new(Some("nonsense"));
    assert_eq!(judged_late.build().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(schema::find_keyword("l1_max_bytes").as_deref(), Some("l1.max_bytes"));
}

#[test]
fn options_of_a_composed_hybrid() {
    let defaults = Config::hybrid_options("").unwrap();
    assert_eq!(defaults.watchdog, Duration::from_secs(1));
    let options = Config::hybrid_options("watchdog=2s&l2_timeout=100ms&l1.max_ttl=1m").unwrap();
    assert_eq!(options.watchdog, Duration::from_secs(2));
    assert_eq!(options.l2_timeout, Duration::from_millis(100));
    assert_eq!(options.l1_max_ttl, Some(Duration::from_secs(60)));
    for (query, kind, says) in [
        ("watchdg=2s", ErrorKind::Config, "`watchdog`"),
        ("watchdog=2s&watchdog=2s", ErrorKind::Config, "twice"),
        ("watchdog", ErrorKind::Config, "no value"),
        ("l1.shards=2", ErrorKind::Config, "composed of"),
        ("timeout=2s", ErrorKind::Config, "composed of"),
        ("watchdog=2s\n", ErrorKind::Config, "control"),
    ] {
        let error = Config::hybrid_options(query).unwrap_err();
        assert_eq!(error.kind(), kind, "{query}");
        assert!(error.message().contains(says), "{query}: {error}");
    }
}

#[test]
fn the_page_is_that_of_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = docs::markdown();
    if std::env::var_os("LC_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page,
        "docs/configuration.md is not what the schema says; `LC_WRITE_DOCS=1 cargo test --test config` writes it"
    );
}
