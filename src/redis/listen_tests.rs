//! The invalidation stream against real servers: what the sink is told, and when.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lifetime::Lifetime;
use super::{InvalidationSink, RedisCache};
use crate::config::Config;
use crate::runtime;
use support::{SERVERS, Server, eventually};

#[path = "../../tests/support/mod.rs"]
mod support;

/// Writes down what it is told.
#[derive(Default)]
struct Told {
    keys: Mutex<Vec<Vec<u8>>>,
    alls: AtomicU32,
    subscribed: AtomicU32,
    lost: AtomicU32,
    unavailable: AtomicU32,
    proven: Mutex<Option<Instant>>,
}

impl Told {
    fn has(&self, key: &[u8]) -> bool {
        self.keys.lock().unwrap().iter().any(|told| told == key)
    }

    fn is_proven_past(&self, then: Instant) -> bool {
        self.proven.lock().unwrap().is_some_and(|proven| proven >= then)
    }
}

impl InvalidationSink for Told {
    fn subscribed(&self) {
        self.subscribed.fetch_add(1, Ordering::SeqCst);
    }

    fn proven(&self, sent_at: Instant) {
        *self.proven.lock().unwrap() = Some(sent_at);
    }

    fn invalidated(&self, key: &[u8]) {
        self.keys.lock().unwrap().push(key.to_vec());
    }

    fn invalidated_all(&self) {
        self.alls.fetch_add(1, Ordering::SeqCst);
    }

    fn silent(&self) {}
    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    fn unavailable(&self) {
        self.unavailable.fetch_add(1, Ordering::SeqCst);
    }
}

fn count(counter: &AtomicU32) -> u32 {
    counter.load(Ordering::SeqCst)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn lazy(url: &str) -> RedisCache {
    let config = Config::parse(url).unwrap();
    RedisCache::connect_lazily(&config.common, &config.redis).unwrap()
}

fn listening(url: &str) -> (RedisCache, Arc<Told>) {
    let cache = lazy(url);
    let told = Arc::new(Told::default());
    let sink: Arc<dyn InvalidationSink> = told.clone();
    cache.listen(&sink, Duration::from_millis(50), false).unwrap();
    eventually("subscribed", || count(&told.subscribed) == 1);
    (cache, told)
}

/// Writes a mark from outside until it is told: all that was pushed before has been told then too.
fn flush(servers: &Server, told: &Told) {
    let mark = format!("mark{:?}", Instant::now());
    servers.call(&["SET", &format!("app:{mark}"), "x"]);
    eventually("the mark is told", || told.has(mark.as_bytes()));
}

fn put(cache: &RedisCache, key: &[u8]) {
    runtime::block_on(soon(), cache.put_async(key, b"v", Lifetime::default(), &[], soon()))
        .unwrap()
        .unwrap();
}

/// Writes until a write is answered: nodes of a Cluster that wait for a processor for a second take each
/// other for dead, and who fails over closes connections.
fn put_at_last(cache: &RedisCache, key: &[u8]) {
    eventually("a write is answered", || {
        let put = cache.put_async(key, b"v", Lifetime::default(), &[], soon());
        runtime::block_on(soon(), put).is_ok_and(|put| put.is_ok())
    });
}

#[test]
fn tells_of_others_writes_and_not_of_own() {
    let _undisturbed = runtime::tests::undisturbed();
    for server in SERVERS {
        let servers = Server::start("single", server);
        let (cache, told) = listening(&servers.url_with("prefix=app"));
        put(&cache, b"own");
        servers.call(&["SET", "app:foreign", "x"]);
        servers.call(&["SET", "app2:other", "x"]);
        servers.call(&["SET", "app:__lc:internal", "x"]);
        servers.call(&["SET", "app:expiring", "x", "PX", "30"]);
        flush(&servers, &told);
        assert!(told.has(b"foreign"));
        assert!(!told.has(b"own"), "own writes are not echoed");
        assert!(told.keys.lock().unwrap().iter().all(|key| !key.starts_with(b"__lc:")));
        assert!(!told.has(b"other"));
        let expired = || {
            let keys = told.keys.lock().unwrap();
            keys.iter().filter(|key| *key == b"expiring").count() >= 2
        };
        eventually("expiry is told", expired);
        servers.call(&["DEL", "app:own"]);
        flush(&servers, &told);
        assert!(told.has(b"own"));
        servers.call(&["FLUSHALL"]);
        eventually("FLUSHALL is told", || count(&told.alls) > 0);
        let now = Instant::now();
        eventually("the watchdog proves the stream", || told.is_proven_past(now));
        assert_eq!(count(&told.lost), 0);
    }
}

#[test]
fn a_tracked_write_proves_the_stream() {
    let _undisturbed = runtime::tests::undisturbed();
    let servers = Server::single();
    let cache = lazy(&servers.url_with("prefix=app"));
    let told = Arc::new(Told::default());
    let sink: Arc<dyn InvalidationSink> = told.clone();
    cache.listen(&sink, Duration::from_secs(3600), false).unwrap();
    eventually("subscribed", || count(&told.subscribed) == 1);
    let before = Instant::now();
    eventually("a write over the tracked connection", || {
        put(&cache, b"k");
        told.is_proven_past(before)
    });
}

#[test]
fn is_lost_with_the_server_and_comes_back_with_it() {
    let _undisturbed = runtime::tests::undisturbed();
    for server in SERVERS {
        let servers = Server::start("single", server);
        let (cache, told) = listening(&servers.url_with("prefix=app&timeout=200ms"));
        servers.kill();
        eventually("lost", || count(&told.lost) == 1);
        servers.restart();
        eventually("subscribed again", || count(&told.subscribed) == 2);
        servers.call(&["SET", "app:foreign", "x"]);
        eventually("told again", || told.has(b"foreign"));
        eventually("own writes work", || {
            let put = cache.put_async(b"k", b"v", Lifetime::default(), &[], soon());
            runtime::block_on(soon(), put).is_ok_and(|put| put.is_ok())
        });
        // A server that hangs says nothing; the watchdog finds out.
        servers.pause();
        eventually("lost", || count(&told.lost) == 2);
        servers.resume();
        eventually("subscribed again", || count(&told.subscribed) == 3);
    }
}

#[test]
fn begins_when_the_server_does() {
    let _undisturbed = runtime::tests::undisturbed();
    let servers = Server::single();
    servers.kill();
    let cache = lazy(&servers.url_with("prefix=app"));
    let told = Arc::new(Told::default());
    let sink: Arc<dyn InvalidationSink> = told.clone();
    cache.listen(&sink, Duration::from_millis(50), false).unwrap();
    servers.restart();
    eventually("subscribed", || count(&told.subscribed) == 1);
    assert_eq!(count(&told.lost), 0);
}

#[test]
fn is_unavailable_without_the_right_to_it() {
    let _undisturbed = runtime::tests::undisturbed();
    let servers = Server::start("acl", "redis");
    let admin = |command: &[&str]| servers.call(command);
    admin(&["ACL", "SETUSER", "mute", "on", ">pw", "~app:*", "+@all", "-client|tracking"]);
    let port = &servers.info["port"];
    let cache = lazy(&format!("redis://mute:pw@127.0.0.1:{port}?prefix=app"));
    let told = Arc::new(Told::default());
    let sink: Arc<dyn InvalidationSink> = told.clone();
    cache.listen(&sink, Duration::from_millis(50), false).unwrap();
    eventually("unavailable", || count(&told.unavailable) == 1);
    assert_eq!(count(&told.subscribed), 0);
    put(&cache, b"k");
    let old = lazy(&servers.url_with("prefix=app&protocol=2"));
    let told = Arc::new(Told::default());
    let sink: Arc<dyn InvalidationSink> = told.clone();
    old.listen(&sink, Duration::from_millis(50), false).unwrap();
    eventually("unavailable by RESP2", || count(&told.unavailable) == 1);
}

#[test]
fn hears_every_master_of_a_cluster() {
    let _undisturbed = runtime::tests::undisturbed();
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        let (cache, told) = listening(&servers.url_with("prefix=app"));
        let writer = lazy(&servers.url_with("prefix=app"));
        for n in 0..50 {
            put_at_last(&writer, format!("key{n}").as_bytes());
        }
        eventually("all are told", || (0..50).all(|n| told.has(format!("key{n}").as_bytes())));
        put_at_last(&cache, b"own");
        let before = count(&told.subscribed);
        servers.failover();
        eventually("subscribed to the new masters", || count(&told.subscribed) > before);
        eventually("told by the new masters", || {
            told.keys.lock().unwrap().clear();
            let wrote = (0..50).all(|n| {
                let key = format!("key{n}");
                let put = writer.put_async(key.as_bytes(), b"w", Lifetime::default(), &[], soon());
                runtime::block_on(soon(), put).is_ok_and(|put| put.is_ok())
            });
            std::thread::sleep(Duration::from_millis(20));
            wrote && (0..50).all(|n| told.has(format!("key{n}").as_bytes()))
        });
    }
}

#[test]
fn follows_the_master_of_sentinels() {
    let _undisturbed = runtime::tests::undisturbed();
    let servers = Server::start("sentinel", "redis");
    let (cache, told) = listening(&servers.url_with("prefix=app"));
    servers.failover();
    eventually("lost", || count(&told.lost) >= 1);
    eventually("own writes reach the new master", || {
        let put = cache.put_async(b"own", b"v", Lifetime::default(), &[], soon());
        runtime::block_on(soon(), put).is_ok_and(|put| put.is_ok())
    });
    eventually("told by the new master", || {
        servers.call(&["SET", "app:foreign", "x"]);
        told.has(b"foreign")
    });
}

#[test]
fn ends_with_the_cache_or_the_sink() {
    let _undisturbed = runtime::tests::undisturbed();
    let servers = Server::single();
    let listeners = || {
        let clients = servers.call(&["CLIENT", "LIST"]);
        clients.as_str().unwrap().lines().filter(|line| line.contains("flags=tB")).count()
    };
    let (cache, told) = listening(&servers.url_with("prefix=app"));
    let (other, sink) = listening(&servers.url_with("prefix=app"));
    eventually("both listen", || listeners() == 2);
    drop(cache);
    eventually("one has ended", || listeners() == 1);
    eventually("its sink is told", || count(&told.lost) == 1);
    drop(sink);
    eventually("the other has ended", || listeners() == 0);
    drop(other);
}
