//! The environment as a source of the configuration. Each case is a process of its own: this program
//! again, as it can't change its own environment while other tests run.

use std::process::Command;

use lighter_cache::config::Config;

const ROLE: &str = "CONFIG_TEST_ROLE";

#[test]
fn environment() {
    if std::env::var_os(ROLE).is_some() {
        match Config::from_env() {
            Ok(config) => println!(
                "<{:?} {:?} {} {:?}>",
                config.kind, config.redis.endpoint, config.redis.prefix, config.local.shards
            ),
            Err(error) => println!("<{error:?}>"),
        }
        return;
    }
    for (url, redis_url, says) in [
        (None, None, "<Local "),
        (Some(""), Some(""), "<Local "),
        (Some("local:?shards=4"), Some("redis://r"), "Some(4)>"),
        (Some("redis://a?prefix=p"), None, "<Redis Tcp(HostPort { host: \"a\", port: 6379 }) p "),
        (None, Some("redis://r/2"), "<Hybrid Tcp(HostPort { host: \"r\", port: 6379 }) lc "),
        (None, Some("redis://r?prefix=own"), " own "),
        (
            Some("redis://u:canary@ss@h"),
            None,
            "<Config: LIGHTER_CACHE_URL: in the URL `@` stands once",
        ),
        (None, Some("unix:///run/s"), "<Config: REDIS_URL: the URL has the unknown scheme"),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "environment", "--nocapture"]).env(ROLE, "child");
        for (name, value) in [("LIGHTER_CACHE_URL", url), ("REDIS_URL", redis_url)] {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(says), "{url:?} {redis_url:?}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
