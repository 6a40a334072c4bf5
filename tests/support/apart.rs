//! Hybrids of the prefix `app`; one of them can be parted from its server, while others reach that.

#![allow(dead_code, reason = "each test uses a part")]

use std::time::{Duration, Instant};

use lighter_cache::config::ConfigBuilder;
use lighter_cache::{AnyCache, BlockingCache, CacheStats, Ttl};

use crate::support::Server;
use crate::support::chaos::{Chaos, Fault};

/// How long a test waits for what must come by itself.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A Hybrid that is patient unless `options` say otherwise.
pub fn open(server: &Server, options: &[(&str, &str)]) -> AnyCache {
    let bounds = [
        ("timeout", "20s"),
        ("connect_timeout", "20s"),
        ("l2_timeout", "20s"),
        ("watchdog", "20s"),
    ];
    let mut builder = ConfigBuilder::new(Some(&server.hybrid_url()));
    builder.set("prefix", "app").unwrap();
    for (name, value) in bounds
        .iter()
        .filter(|bound| options.iter().all(|option| option.0 != bound.0))
        .chain(options)
    {
        builder.set(name, value).unwrap();
    }
    let cache = AnyCache::open(&builder.build().unwrap()).unwrap();
    until("it joins L2", || !stats(&cache).degraded);
    cache
}

pub fn stats(cache: &AnyCache) -> CacheStats {
    BlockingCache::stats(cache).unwrap()
}

/// A Hybrid that reaches the server through a proxy.
pub struct Apart {
    pub server: Server,
    pub proxy: Chaos,
    pub cache: AnyCache,
}

impl Apart {
    pub fn on(name: &str, options: &[(&str, &str)]) -> Self {
        let server = Server::start("single", name);
        let port = server.info["port"].as_u64().expect("it has a port") as u16;
        let proxy = Chaos::to(port);
        let mut builder = ConfigBuilder::new(Some(&format!(
            "hybrid+redis://127.0.0.1:{}?prefix=app&timeout=20s&connect_timeout=20s&l2_timeout=20s\
             &watchdog=100ms&breaker_open=50ms&max_backoff=50ms",
            proxy.port()
        )));
        for (name, value) in options {
            builder.set(name, value).expect("it is an option");
        }
        let cache = AnyCache::open(&builder.build().expect("it is valid")).expect("it opens");
        let apart = Self { server, proxy, cache };
        apart.joined();
        apart
    }

    pub fn stats(&self) -> CacheStats {
        BlockingCache::stats(&self.cache).expect("counters need no server")
    }

    pub fn joined(&self) {
        until("the way back to L2", || {
            let stats = self.stats();
            !stats.degraded && stats.queued_writes == 0
        });
    }

    /// Cuts the wire, and waits until the cache has noticed.
    pub fn part(&self) {
        self.proxy.set(Fault::Refuse);
        until("the breaker", || {
            let refusal = BlockingCache::ping(&self.cache).err();
            refusal.is_some_and(|error| error.message().contains("the last probe"))
        });
    }

    pub fn rejoin(&self) {
        self.proxy.set(Fault::None);
        self.joined();
    }

    pub fn set(&self, key: &str, value: &str, ttl: Ttl) {
        BlockingCache::set(&self.cache, key.as_bytes(), value.as_bytes(), ttl).expect("no error");
    }

    pub fn get(&self, key: &str) -> Option<String> {
        let value = BlockingCache::get(&self.cache, key.as_bytes()).expect("no error");
        value.map(|value| String::from_utf8(value.to_vec()).expect("it is text"))
    }

    pub fn delete(&self, key: &str) -> bool {
        BlockingCache::delete(&self.cache, key.as_bytes()).expect("no error")
    }

    /// What another process reads.
    pub fn other(&self, key: &str) -> Option<String> {
        let url = self.server.url_with("prefix=app");
        let other = AnyCache::open(&ConfigBuilder::new(Some(&url)).build().expect("valid"));
        let value =
            BlockingCache::get(&other.expect("it opens"), key.as_bytes()).expect("no error");
        value.map(|value| String::from_utf8(value.to_vec()).expect("it is text"))
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come in time");
        std::thread::yield_now();
    }
}
