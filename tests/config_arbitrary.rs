//! The configuration under arbitrary text: it never panics, it shows no secret, and what is written
//! by the rules is read back as it was meant.

use std::time::Duration;

use lighter_cache::ErrorKind;
use lighter_cache::config::{Config, ConfigBuilder, Endpoint, HostPort, Secret, schema};
use proptest::prelude::*;

/// Pieces of which URLs are made, right ones and wrong ones.
const PIECES: &[&str] = &[
    "local:",
    "redis",
    "rediss",
    "valkey",
    "hybrid+",
    "+unix",
    "+cluster",
    "+sentinel",
    "://",
    ":",
    "/",
    "//",
    "?",
    "&",
    "=",
    "@",
    "#",
    "%",
    "%40",
    "%0a",
    "%ff",
    "[",
    "]",
    "[::1]",
    ",",
    "host",
    "6379",
    "0",
    "1",
    "-1",
    "5ms",
    "64MiB",
    "none",
    "auto",
    "true",
    "prefix",
    "db",
    "timeout",
    "shards",
    "l1.",
    "tls_ca",
    "wire",
    "raw",
    "é",
    "\u{0}",
    "99999999999999999999",
    "1.5",
    ".",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(PIECES).prop_map(String::from), 1 => any::<String>()]
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        if let Err(error) = Config::parse(&text) {
            prop_assert_eq!(error.kind(), ErrorKind::Config);
            prop_assert!(error.message().len() < 500);
        }
        let _ = Config::hybrid_options(&text);
    }

    #[test]
    fn no_value_of_an_option_makes_it_panic(
        at in 0..schema::SCHEMA.len(),
        pieces in prop::collection::vec(piece(), 0..6),
    ) {
        let _ = ConfigBuilder::new(None).set(schema::SCHEMA[at].name, &pieces.concat());
    }

    #[test]
    fn a_password_is_never_shown(
        before in "[a-z0-9@:/?#%&=+,.]{0,3}",
        after in "[a-z0-9@:/?#%&=+,.]{0,3}",
        rest in prop::collection::vec(piece(), 0..6),
        scheme in prop::sample::select(&["redis", "rediss", "hybrid+redis", "redis+sentinel", "rdis"][..]),
    ) {
        let canary = format!("{before}Canary{after}");
        for url in [
            format!("{scheme}://u:{canary}@host/{}", rest.concat()),
            format!("{scheme}://:{canary}{}@host", rest.concat()),
            format!("{scheme}://host?password={}&{}", percent_encoded(&canary), rest.concat()),
            format!("{scheme}://{}?x=1&encryption_keys={}", rest.concat(), percent_encoded(&canary)),
        ] {
            let shown = match Config::parse(&url) {
                Ok(config) => format!("{config:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("Canary"), "{} gave {}", url, shown);
        }
        let mut builder = ConfigBuilder::new(Some(&format!("redis://u:{}@h", percent_encoded(&canary))));
        builder.set("password", &canary).unwrap();
        let shown = format!("{builder:?} {:?}", builder.build());
        prop_assert!(!shown.contains("Canary"), "{}", shown);
    }

    #[test]
    fn what_is_written_is_read(
        host in "[a-z][a-z0-9.-]{0,20}",
        port in 1..=u16::MAX,
        db in 0..1000u32,
        username in "\\PC{1,10}",
        password in "\\PC{1,10}",
        prefix in "\\PC{1,10}",
        timeout_ms in 1..=3_600_000u64,
        max_value in 1..=511u64 << 20,
        shards in 0..=12u32,
    ) {
        let config = Config::parse(&format!(
            "hybrid+redis://{}:{}@{host}:{port}/{db}?prefix={}&timeout={timeout_ms}ms\
             &max_value_bytes={max_value}&l1.shards={}",
            percent_encoded(&username),
            percent_encoded(&password),
            percent_encoded(&prefix),
            1 << shards,
        )).unwrap();
        prop_assert_eq!(config.redis.endpoint, Endpoint::Tcp(HostPort { host, port }));
        prop_assert_eq!(config.redis.db, db);
        prop_assert_eq!(config.redis.username, Some(username));
        prop_assert_eq!(config.redis.password, Some(Secret::new(password)));
        prop_assert_eq!(config.redis.prefix, prefix);
        prop_assert_eq!(config.redis.timeout, Duration::from_millis(timeout_ms));
        prop_assert_eq!(config.common.max_value_bytes as u64, max_value);
        prop_assert_eq!(config.local.shards, Some(1 << shards));
    }
}
