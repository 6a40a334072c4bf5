//! The Hybrid on real servers: what other processes write is seen, and a server that stops, dies or
//! comes back costs neither errors nor waiting.

mod support;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use lighter_cache::config::{Config, ConfigBuilder};
use lighter_cache::{
    AnyCache, BlockingCache, Cache, CacheStats, ErrorKind, HybridCache, Kind, LocalCache,
    RedisCache, Remaining, Ttl,
};
use support::Server;

/// How long a test waits for what must come by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bounds of a cache whose server is expected to answer, on however busy a machine.
const BOUNDS: [(&str, &str); 4] =
    [("timeout", "20s"), ("connect_timeout", "20s"), ("l2_timeout", "20s"), ("watchdog", "20s")];

fn open(server: &Server, options: &[(&str, &str)]) -> AnyCache {
    try_open(&server.hybrid_url(), options).expect("it opens")
}

fn try_open(url: &str, options: &[(&str, &str)]) -> lighter_cache::Result<AnyCache> {
    let mut builder = ConfigBuilder::new(Some(url));
    let bounds = if url.starts_with("hybrid+") { &BOUNDS[..] } else { &BOUNDS[..2] };
    let given = |name: &str| options.iter().any(|option| option.0 == name);
    for (name, value) in bounds.iter().filter(|bound| !given(bound.0)).chain(options) {
        builder.set(name, value)?;
    }
    AnyCache::open(&builder.build()?)
}

/// Waits for something that other threads or processes bring about.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come in time");
        std::thread::yield_now();
    }
}

fn stats(cache: &AnyCache) -> CacheStats {
    BlockingCache::stats(cache).expect("counters need no server")
}

fn read(cache: &AnyCache, key: &str) -> Option<Vec<u8>> {
    BlockingCache::get(cache, key.as_bytes()).expect("no error").map(|value| value.to_vec())
}

fn write(cache: &AnyCache, key: &str, value: &str) {
    BlockingCache::set(cache, key.as_bytes(), value.as_bytes(), Ttl::Never).expect("no error");
}

fn exists(cache: &AnyCache, key: &str) -> bool {
    BlockingCache::exists(cache, key.as_bytes()).expect("no error")
}

fn delete(cache: &AnyCache, key: &str) -> bool {
    BlockingCache::delete(cache, key.as_bytes()).expect("no error")
}

fn joined(cache: &AnyCache) {
    until("the way back to L2", || !stats(cache).degraded);
}

/// What one process writes another one sees, although it held the old value.
fn foreign_writes_are_seen(server: &Server) {
    let (ours, theirs) = (open(server, &[]), open(server, &[]));
    joined(&ours);
    joined(&theirs);
    write(&theirs, "k", "one");
    assert_eq!(read(&ours, "k").as_deref(), Some(&b"one"[..]));
    write(&theirs, "k", "two");
    until("the new value", || read(&ours, "k").as_deref() == Some(b"two"));
    assert!(delete(&theirs, "k"));
    until("the removal", || read(&ours, "k").is_none());
    let keys: Vec<String> = (0..200).map(|i| format!("key:{i}")).collect();
    let items: Vec<(&[u8], &[u8])> =
        keys.iter().map(|key| (key.as_bytes(), &b"same"[..])).collect();
    BlockingCache::set_many(&theirs, &items, Ttl::Never).expect("no error");
    let keys: Vec<&[u8]> = items.iter().map(|item| item.0).collect();
    until("all of a batch", || {
        let values = BlockingCache::get_many(&ours, &keys).expect("no error");
        values.iter().all(|value| value.as_deref() == Some(b"same"))
    });
    BlockingCache::clear(&theirs).expect("no error");
    until("the clear", || {
        BlockingCache::get_many(&ours, &keys).expect("no error").iter().all(Option::is_none)
    });
    assert_eq!(BlockingCache::count(&ours).expect("no error"), 0);
}

#[test]
fn foreign_writes_are_seen_on_redis() {
    foreign_writes_are_seen(&Server::single());
}

#[test]
fn foreign_writes_are_seen_on_valkey() {
    foreign_writes_are_seen(&Server::start("single", "valkey"));
}

#[test]
fn foreign_writes_are_seen_on_a_cluster() {
    foreign_writes_are_seen(&Server::start("cluster", "redis"));
}

#[test]
fn foreign_writes_are_seen_behind_sentinels() {
    foreign_writes_are_seen(&Server::start("sentinel", "redis"));
}

#[test]
fn a_plain_clients_writes_are_seen() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    server.call(&["SET", "app:k", "by hand", "PX", "60000"]);
    until("the fill", || {
        let before = stats(&cache).l1_hits;
        assert_eq!(read(&cache, "k").as_deref(), Some(&b"by hand"[..]));
        stats(&cache).l1_hits > before
    });
    server.call(&["SET", "app:k", "again"]);
    until("the new value", || read(&cache, "k").as_deref() == Some(b"again"));
    server.call(&["FLUSHALL"]);
    until("the flush", || read(&cache, "k").is_none());
    assert!(stats(&cache).invalidations >= 1);
}

#[test]
fn an_own_write_stays_in_l1_and_reaches_l2() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    for round in 0..100 {
        write(&cache, "k", &format!("v{round}"));
        // Whoever asks the server in between gives an echo, if there were one, time to arrive.
        server.call(&["PING"]);
        assert_eq!(read(&cache, "k").expect("it is there"), format!("v{round}").into_bytes());
    }
    let seen = stats(&cache);
    assert_eq!((seen.l1_hits, seen.l2_hits, seen.misses, seen.sets), (100, 0, 0, 100));
    let other = open(&server, &[("prefix", "app")]);
    assert_eq!(read(&other, "k").as_deref(), Some(&b"v99"[..]));
    assert_eq!(stats(&other).backfills, 1);
}

#[test]
fn a_fill_lives_no_longer_than_the_servers_value() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app"), ("l1.max_ttl", "200s")]);
    joined(&cache);
    // Pushes come in order: where that of the last SET was heard, the others were, and take no fill away.
    write(&cache, "marker", "ours");
    server.call(&["SET", "app:short", "v", "PX", "60000"]);
    server.call(&["SET", "app:long", "v", "PX", "5000000"]);
    server.call(&["SET", "app:marker", "theirs"]);
    until("the pushes", || read(&cache, "marker").as_deref() == Some(b"theirs"));
    for key in ["short", "long"] {
        until("the fill", || {
            let before = stats(&cache).l1_hits;
            read(&cache, key).is_some() && stats(&cache).l1_hits > before
        });
    }
    let ttl = |key: &str| match BlockingCache::ttl(&cache, key.as_bytes()).expect("no error") {
        Some(Remaining::For(left)) => left,
        other => panic!("{key} has {other:?}"),
    };
    assert!(ttl("long") > Duration::from_secs(4000), "L2 is asked while it answers");
    server.kill();
    assert!(read(&cache, "short").is_some());
    assert!(ttl("short") <= Duration::from_secs(60));
    assert!(ttl("long") <= Duration::from_secs(200));
}

#[test]
fn it_opens_without_a_server_and_joins_it_later() {
    let server = Server::single();
    server.kill();
    let cache = open(&server, &[("prefix", "app")]);
    assert!(stats(&cache).degraded);
    write(&cache, "k", "v");
    assert_eq!(read(&cache, "k").as_deref(), Some(&b"v"[..]));
    assert_eq!(BlockingCache::ping(&cache).unwrap_err().kind(), ErrorKind::Connect);
    assert_eq!(stats(&cache).queued_writes, 1);
    server.restart();
    joined(&cache);
    until("the replay", || server.call(&["EXISTS", "app:k"]) == 1);
    BlockingCache::ping(&cache).expect("the server is back");
    write(&cache, "k", "w");
    assert_eq!((stats(&cache).replayed_writes, stats(&cache).dropped_writes), (1, 0));
}

#[test]
fn opening_fails_where_it_should() {
    let server = Server::start("password", "redis");
    let refused = try_open(&format!("hybrid+{}", server.url_of("wrong_password")), &[]);
    let error = refused.expect_err("the password is wrong");
    assert_eq!(error.kind(), ErrorKind::Auth);
    server.kill();
    let error = try_open(&server.hybrid_url(), &[("require_l2", "true")]).expect_err("it is away");
    assert_eq!(error.kind(), ErrorKind::Connect);
    let secret = server.info["password"].as_str().expect("it has one");
    assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret));
}

/// The table "Hybrid while L2 is away", for the operations that there are.
fn l1_goes_on_alone(cache: &AnyCache) {
    assert_eq!(read(cache, "held").as_deref(), Some(&b"v"[..]));
    assert!(read(cache, "absent").is_none());
    assert!(exists(cache, "held") && !exists(cache, "absent"));
    write(cache, "new", "v");
    assert_eq!(read(cache, "new").as_deref(), Some(&b"v"[..]));
    assert!(delete(cache, "new") && !delete(cache, "new"));
    let ttl = |key: &[u8]| BlockingCache::ttl(cache, key).expect("no error");
    assert_eq!(ttl(b"held"), Some(Remaining::Forever));
    assert_eq!(ttl(b"absent"), None);
    let minute = Ttl::After(Duration::from_secs(60));
    assert!(BlockingCache::expire(cache, b"held", minute).expect("no error"));
    assert!(matches!(ttl(b"held"), Some(Remaining::For(_))));
    assert!(BlockingCache::expire(cache, b"absent", minute).expect("no error"));
    let keys: [&[u8]; 2] = [b"held", b"absent"];
    let values = BlockingCache::get_many(cache, &keys).expect("no error");
    assert!(values[0].is_some() && values[1].is_none());
    BlockingCache::set_many(cache, &[(b"a", b"1"), (b"b", b"2")], Ttl::Never).expect("no error");
    let keys: [&[u8]; 3] = [b"a", b"b", b"absent"];
    assert_eq!(BlockingCache::delete_many(cache, &keys).expect("no error"), 2);
    assert_eq!(BlockingCache::count(cache).unwrap_err().kind(), ErrorKind::Connect);
    BlockingCache::clear(cache).expect("no error");
    assert!(read(cache, "held").is_none());
    let seen = stats(cache);
    assert!(seen.degraded && seen.queued_writes >= 1 && seen.dropped_writes == 0);
}

#[test]
fn a_killed_server_costs_no_errors() {
    let server = Server::single();
    let cache = open(&server, &[]);
    joined(&cache);
    write(&cache, "held", "v");
    server.kill();
    until("the breaker", || stats(&cache).degraded && BlockingCache::ping(&cache).is_err());
    l1_goes_on_alone(&cache);
    assert!(stats(&cache).stale_served >= 1);
    server.restart();
    joined(&cache);
    write(&cache, "k", "v");
    until("the replay", || server.call(&["DBSIZE"]) == 1);
}

#[test]
fn a_stopped_server_costs_a_few_timeouts_and_then_nothing() {
    let server = Server::single();
    let cache = open(&server, &[("l2_timeout", "500ms"), ("breaker_failures", "3")]);
    joined(&cache);
    write(&cache, "held", "v");
    server.pause();
    for _ in 0..3 {
        assert!(read(&cache, "absent").is_none());
    }
    let errors = stats(&cache).errors;
    assert_eq!(errors, 3);
    l1_goes_on_alone(&cache);
    for _ in 0..1000 {
        write(&cache, "k", "v");
        assert!(read(&cache, "k").is_some());
    }
    assert_eq!(stats(&cache).errors, errors, "nothing more was tried");
    server.resume();
    joined(&cache);
    until("the replay", || stats(&cache).queued_writes == 0);
    write(&cache, "k", "back");
    let other = open(&server, &[]);
    assert_eq!(read(&other, "k").as_deref(), Some(&b"back"[..]));
}

#[test]
fn what_may_have_been_missed_is_read_again() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    for round in 0..10 {
        server.call(&["SET", "app:k", &format!("v{round}")]);
        until("the value", || read(&cache, "k") == Some(format!("v{round}").into_bytes()));
        // Every connection of ours is cut, and the key changes before it can be made again.
        server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.call(&["SET", "app:k", &format!("w{round}")]);
        until("the value", || read(&cache, "k") == Some(format!("w{round}").into_bytes()));
    }
}

#[test]
fn l1_alone_can_be_refused() {
    let server = Server::single();
    let cache = open(&server, &[("l1_alone", "miss")]);
    joined(&cache);
    write(&cache, "k", "v");
    server.kill();
    until("the miss", || read(&cache, "k").is_none());
    assert!(!exists(&cache, "k"));
    assert_eq!(stats(&cache).stale_served, 0);
}

#[test]
fn without_a_channel_l1_keeps_what_it_has() {
    let server = Server::single();
    let cache = open(&server, &[("invalidation", "none"), ("prefix", "app")]);
    server.call(&["SET", "app:k", "old"]);
    assert_eq!(read(&cache, "k").as_deref(), Some(&b"old"[..]));
    server.call(&["SET", "app:k", "new"]);
    assert_eq!(read(&cache, "k").as_deref(), Some(&b"old"[..]));
    assert!(!stats(&cache).degraded);
}

#[test]
fn a_zero_ttl_removes_in_both_tiers() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    write(&cache, "k", "v");
    let gone = Ttl::After(Duration::ZERO);
    BlockingCache::set(&cache, b"k", b"w", gone).expect("no error");
    assert!(read(&cache, "k").is_none());
    assert_eq!(server.call(&["EXISTS", "app:k"]), 0);
    write(&cache, "k", "v");
    assert!(BlockingCache::expire(&cache, b"k", gone).expect("no error"));
    assert_eq!(server.call(&["EXISTS", "app:k"]), 0);
    write(&cache, "a", "1");
    BlockingCache::set_many(&cache, &[(b"a", b"2"), (b"b", b"2")], gone).expect("no error");
    assert!(!exists(&cache, "a") && !exists(&cache, "b"));
}

/// That the TTLs of these keys, stored with 100 s and half of that as jitter, are each its own.
fn are_spread(cache: &AnyCache, keys: &[&[u8]]) {
    let left = |key: &&[u8]| match BlockingCache::ttl(cache, key).expect("no error") {
        Some(Remaining::For(left)) => left.as_millis(),
        other => panic!("{other:?}"),
    };
    let left: Vec<u128> = keys.iter().map(left).collect();
    assert!(left.iter().all(|ms| (45_000..=100_000).contains(ms)), "{left:?}");
    let (least, most) = (left.iter().min().expect("some"), left.iter().max().expect("some"));
    assert!(most - least > 10_000, "{left:?}");
}

#[test]
fn ttl_jitter_spreads_expiry_in_both_tiers() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app"), ("ttl_jitter", "0.5")]);
    joined(&cache);
    let names: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let items: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (*key, &b"v"[..])).collect();
    let ttl = Ttl::After(Duration::from_secs(100));
    BlockingCache::set_many(&cache, &items, ttl).expect("no error");
    are_spread(&cache, &keys);
    keys.iter().for_each(|key| BlockingCache::set(&cache, key, b"w", ttl).expect("no error"));
    are_spread(&cache, &keys);
    for key in &keys {
        assert!(BlockingCache::expire(&cache, key, ttl).expect("no error"));
    }
    are_spread(&cache, &keys);
    assert!(keys.iter().all(|key| BlockingCache::get(&cache, key).expect("no error").is_some()));
    // The server is away: what L1 and the queue say.
    server.kill();
    until("the breaker", || stats(&cache).degraded && BlockingCache::ping(&cache).is_err());
    are_spread(&cache, &keys);
    BlockingCache::set_many(&cache, &items, ttl).expect("no error");
    are_spread(&cache, &keys);
}

#[test]
fn expire_reaches_both_tiers() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    write(&cache, "k", "v");
    let minute = Ttl::After(Duration::from_secs(60));
    assert!(BlockingCache::expire(&cache, b"k", minute).expect("no error"));
    let left = server.call(&["PTTL", "app:k"]).as_i64().expect("a number");
    assert!((1..=60_000).contains(&left));
    assert!(BlockingCache::expire(&cache, b"k", Ttl::Never).expect("no error"));
    assert_eq!(server.call(&["PTTL", "app:k"]), -1);
    assert!(!BlockingCache::expire(&cache, b"absent", minute).expect("no error"));
}

#[test]
fn a_corrupt_value_is_a_miss_that_may_be_overwritten() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    write(&cache, "k", "value");
    // An envelope that is cut off within its header.
    server.call(&["SETRANGE", "app:k", "4", "\u{1}"]);
    until("the miss", || read(&cache, "k").is_none());
    write(&cache, "k", "mended");
    assert_eq!(read(&open(&server, &[("prefix", "app")]), "k").as_deref(), Some(&b"mended"[..]));
}

#[test]
fn composition_takes_references_and_refuses_what_cannot_work() {
    let server = Server::single();
    let local = AnyCache::Local(LocalCache::new());
    let redis = try_open(server.url(), &[]).expect("it opens");
    let options = Config::hybrid_options("watchdog=2s").expect("options");
    let hybrid = AnyCache::compose(&local, Some(&redis), options.clone()).expect("it fits");
    joined(&hybrid);
    write(&hybrid, "k", "v");
    assert!(read(&local, "k").is_some() && read(&redis, "k").is_some());
    drop((local, redis));
    assert!(read(&hybrid, "k").is_some());

    let wrong = AnyCache::compose(&hybrid, None, options.clone()).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Config);
    let raw = format!("{}?prefix=&wire=raw", server.url());
    let raw = AnyCache::open(&Config::parse(&raw).expect("a URL")).expect("it opens");
    let local = AnyCache::Local(LocalCache::new());
    let wrong = AnyCache::compose(&local, Some(&raw), options).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Config);
}

#[test]
fn l1_alone_by_choice_is_no_outage() {
    let cache = AnyCache::Hybrid(HybridCache::local_only());
    assert_eq!(BlockingCache::kind(&cache), Kind::Hybrid);
    write(&cache, "k", "v");
    assert!(read(&cache, "k").is_some() && exists(&cache, "k"));
    BlockingCache::ping(&cache).expect("nothing is away");
    assert_eq!(BlockingCache::count(&cache).expect("no error"), 1);
    assert!(!BlockingCache::expire(&cache, b"absent", Ttl::Never).expect("no error"));
    assert!(delete(&cache, "k") && !delete(&cache, "k"));
    let seen = stats(&cache);
    assert!(!seen.degraded);
    assert_eq!((seen.dropped_writes, seen.stale_served), (0, 0));
}

/// Of the quick hits a sample is timed.
#[test]
fn hits_of_l1_are_among_the_times() {
    let cache = HybridCache::local_only();
    BlockingCache::set(&cache, b"k", b"v", Ttl::Never).expect("no error");
    for _ in 0..20_000 {
        assert!(cache.get_at_once(b"k").expect("no error").flatten().is_some());
    }
    let metrics = BlockingCache::metrics(&cache).expect("no error");
    let timed = metrics.lines().find(|line| {
        line.starts_with("cache_operation_duration_seconds_count") && line.contains("\"get\"")
    });
    let timed = timed.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(timed.is_some_and(|timed| timed > 0.0), "{metrics}");
}

/// The typed API, inside a runtime of the program.
#[tokio::test(flavor = "current_thread")]
async fn typed_values_in_all_three_kinds() {
    async fn tour(cache: &impl Cache) {
        let value = (7u32, "seven".to_string());
        cache.set("typed", &value, Duration::from_secs(60)).await.expect("no error");
        assert_eq!(cache.get("typed").await.expect("no error"), Some(value));
        assert!(cache.exists("typed").await.expect("no error"));
        assert!(cache.delete("typed").await.expect("no error"));
        assert_eq!(cache.get::<String>("typed").await.expect("no error"), None);
        let seen = cache.stats().await.expect("no error");
        assert!(seen.hits >= 1 && seen.misses >= 1 && seen.hit_rate > 0.0);
        cache.clear().await.expect("no error");
    }
    let server = Server::single();
    let redis = RedisCache::new(&server.url_with(""), "typed").await.expect("it connects");
    tour(&LocalCache::new()).await;
    tour(&redis).await;
    tour(&HybridCache::new(LocalCache::new(), Some(redis))).await;
    tour(&HybridCache::local_only()).await;
    let url = format!("hybrid+{}", server.url());
    let any = AnyCache::open_async(&Config::parse(&url).expect("a URL")).await.expect("it opens");
    tour(&any).await;
}

/// Threads of two processes' worth of caches change a few keys at once; when they are done, what each
/// L1 answers is what the server holds.
#[test]
fn after_a_storm_all_agree() {
    let server = Server::single();
    let caches = [open(&server, &[]), open(&server, &[])];
    caches.iter().for_each(joined);
    let keys: Vec<String> = (0..8).map(|i| format!("k{i}")).collect();
    std::thread::scope(|scope| {
        for (who, cache) in caches.iter().enumerate() {
            for thread in 0..3u64 {
                let keys = &keys;
                scope.spawn(move || {
                    let mut dice =
                        (who as u64 * 10 + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    for step in 0..1500 {
                        dice ^= dice << 13;
                        dice ^= dice >> 7;
                        dice ^= dice << 17;
                        let key = &keys[dice as usize % keys.len()];
                        match dice >> 32 & 7 {
                            0 => drop(delete(cache, key)),
                            1 | 2 => write(cache, key, &format!("{who} {thread} {step}")),
                            _ => drop(read(cache, key)),
                        }
                    }
                });
            }
        }
    });
    let truth = try_open(server.url(), &[]).expect("it opens");
    for key in &keys {
        let held = read(&truth, key);
        for cache in &caches {
            until("agreement", || read(cache, key) == held);
        }
    }
    assert_eq!(stats(&caches[0]).dropped_writes + stats(&caches[1]).dropped_writes, 0);
}

#[test]
fn a_forked_child_goes_on_with_the_same_cache() {
    let server = Server::single();
    let cache = open(&server, &[("prefix", "app")]);
    joined(&cache);
    write(&cache, "before", "v");
    // SAFETY: the child calls the library, which is made for it, and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let went_on = std::panic::catch_unwind(AssertUnwindSafe(|| {
            assert_eq!(read(&cache, "before").as_deref(), Some(&b"v"[..]));
            write(&cache, "child", "v");
            assert!(read(&cache, "child").is_some());
            joined(&cache);
        }));
        // SAFETY: ends the child without the parent's destructors and handlers.
        unsafe { libc::_exit(i32::from(went_on.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `child` is our own child, and `status` is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
    assert_eq!(read(&cache, "child").as_deref(), Some(&b"v"[..]));
    write(&cache, "before", "w");
    assert_eq!(read(&cache, "before").as_deref(), Some(&b"w"[..]));
}

#[test]
fn a_value_over_the_limit_is_refused_whoever_stored_it() {
    let server = Server::single();
    server.call(&["SET", "app:big", &"v".repeat(5000)]);
    for url in [server.url().to_owned(), server.hybrid_url()] {
        let options = [("prefix", "app"), ("max_value_bytes", "1000")];
        let cache = try_open(&url, &options).expect("it opens");
        let error = BlockingCache::get(&cache, b"big").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooBig);
        let values =
            BlockingCache::get_many(&cache, &[b"big"]).expect("a value that can't be read");
        assert!(values[0].is_none());
        let error = BlockingCache::set(&cache, b"k", &[0; 1001], Ttl::Never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooBig);
        assert!(read(&cache, "k").is_none());
    }
}
