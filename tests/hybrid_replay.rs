//! Writes of a Hybrid while its server is away, on real servers: they reach it when it is back, and give
//! way to what other processes have written meanwhile. (*No resurrection*, *recovery by itself*.)

#[path = "support/apart.rs"]
mod apart;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use apart::{Apart, PATIENCE, until};
use lighter_cache::{
    BlockingCache, Event, Events, GetOptions, Loaded, SetOptions, Swap, Tier, Ttl,
};
use serde_json::json;
use support::SERVERS;
use support::chaos::Fault;

#[test]
fn queued_writes_reach_the_server() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        for key in ["changed", "gone", "touched"] {
            apart.set(key, "before", Ttl::Never);
        }
        apart.part();
        apart.set("changed", "after", Ttl::Never);
        apart.set("new", "1", Ttl::After(Duration::from_secs(100)));
        apart.set("short", "1", Ttl::After(Duration::from_millis(1)));
        assert!(apart.delete("gone") && !apart.delete("gone"));
        let minute = Ttl::After(Duration::from_secs(60));
        assert!(BlockingCache::expire(&apart.cache, b"touched", minute).expect("no error"));
        assert_eq!(apart.stats().queued_writes, 5);
        // Read your writes, also while they wait.
        assert_eq!(apart.get("changed").as_deref(), Some("after"));
        assert_eq!(apart.get("gone"), None);
        apart.rejoin();
        assert_eq!(apart.other("changed").as_deref(), Some("after"));
        assert_eq!((apart.other("gone"), apart.other("short")), (None, None));
        let left = |key: &str| apart.server.call(&["PTTL", key]).as_i64().expect("milliseconds");
        assert!((1..=100_000).contains(&left("app:new")), "its TTL ran from the call");
        assert!((1..=60_000).contains(&left("app:touched")));
        let stats = apart.stats();
        assert_eq!((stats.replayed_writes, stats.dropped_writes), (5, 0));
        assert_eq!(apart.get("gone"), None, "no resurrection");
    }
}

#[test]
fn another_processs_value_wins_over_a_queued_one() {
    let apart = Apart::on("redis", &[]);
    apart.set("k", "before", Ttl::Never);
    apart.set("d", "before", Ttl::Never);
    apart.part();
    apart.set("k", "ours", Ttl::Never);
    apart.set("n", "ours", Ttl::Never);
    apart.delete("d");
    for key in ["app:k", "app:n", "app:d"] {
        apart.server.call(&["SET", key, "theirs"]);
    }
    apart.rejoin();
    for key in ["k", "n", "d"] {
        assert_eq!(apart.get(key).as_deref(), Some("theirs"), "{key}");
    }
    assert_eq!(apart.stats().dropped_writes, 3);
}

#[test]
fn a_removal_of_what_was_never_seen_removes_it() {
    let apart = Apart::on("redis", &[]);
    apart.server.call(&["SET", "app:k", "theirs"]);
    apart.part();
    assert!(!apart.delete("k"));
    apart.rejoin();
    assert_eq!(apart.get("k"), None);
    assert_eq!(apart.server.call(&["EXISTS", "app:k"]), json!(0));
}

#[test]
fn a_value_that_is_compressed_or_encrypted_is_known_by_its_digest() {
    let key = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for options in [&[("compress", "zstd")][..], &[("encryption_keys", key)]] {
        let apart = Apart::on("redis", options);
        let (before, after) = ("before ".repeat(1000), "after ".repeat(1000));
        apart.set("k", &before, Ttl::Never);
        apart.part();
        apart.set("k", &after, Ttl::Never);
        apart.rejoin();
        assert_eq!(apart.get("k"), Some(after));
        assert_eq!((apart.stats().replayed_writes, apart.stats().dropped_writes), (1, 0));
    }
}

#[test]
fn a_clear_is_replayed_before_what_came_after_it() {
    let apart = Apart::on("redis", &[]);
    apart.set("old", "v", Ttl::Never);
    apart.part();
    apart.set("queued", "v", Ttl::Never);
    BlockingCache::clear(&apart.cache).expect("no error");
    apart.set("new", "v", Ttl::Never);
    apart.server.call(&["SET", "app2:k", "not ours"]);
    assert_eq!((apart.get("old"), apart.get("queued")), (None, None));
    apart.rejoin();
    assert_eq!((apart.other("old"), apart.other("queued")), (None, None));
    assert_eq!(apart.other("new").as_deref(), Some("v"));
    assert_eq!(apart.server.call(&["GET", "app2:k"]), json!("not ours"));
}

#[test]
fn a_full_server_has_its_writes_later() {
    let apart = Apart::on("redis", &[("breaker_failures", "1000")]);
    apart.set("k", "before", Ttl::Never);
    apart.server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    apart.set("k", "after", Ttl::Never);
    assert_eq!(apart.stats().queued_writes, 1);
    assert_eq!(apart.get("k").as_deref(), Some("after"));
    apart.server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    apart.joined();
    assert_eq!(apart.other("k").as_deref(), Some("after"));
}

#[test]
fn the_queue_is_bounded_and_says_so() {
    let apart = Apart::on("redis", &[("replay_limit", "10")]);
    apart.part();
    for key in 0..25 {
        apart.set(&format!("key:{key}"), "v", Ttl::Never);
    }
    let stats = apart.stats();
    assert_eq!((stats.queued_writes, stats.dropped_writes), (10, 15));
    apart.rejoin();
    assert_eq!(apart.server.call(&["DBSIZE"]), json!(10));
    assert_eq!(apart.other("key:24").as_deref(), Some("v"));
}

#[test]
fn losing_and_finding_the_server_is_told_without_a_call() {
    let apart = Apart::on("redis", &[]);
    let (sender, heard) = mpsc::channel();
    let events = Events::from(Event::Degraded).with(Event::Recovered).with(Event::Invalidated);
    let listener = Box::new(move |event: Event, key: &[u8]| {
        let _ = sender.send((event, key.to_vec()));
    });
    BlockingCache::subscribe(&apart.cache, events, listener).expect("it is heard");
    apart.set("k", "v", Ttl::Never);
    apart.server.call(&["SET", "app:k", "theirs"]);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok((Event::Invalidated, b"k".to_vec())));
    apart.proxy.set(Fault::Refuse);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok((Event::Degraded, Vec::new())));
    apart.proxy.set(Fault::None);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok((Event::Recovered, Vec::new())));
}

#[test]
fn a_closed_cache_still_delivers_what_waits() {
    let apart = Apart::on("redis", &[]);
    apart.part();
    apart.set("k", "v", Ttl::Never);
    let Apart { server, proxy, cache } = apart;
    drop(cache);
    proxy.set(Fault::None);
    until("the write", || server.call(&["EXISTS", "app:k"]) == json!(1));
}

#[test]
fn what_the_server_decides_is_seen_at_once() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        let cache = &apart.cache;
        for round in 0..20 {
            apart.set("n", "1", Ttl::Never);
            assert!(!BlockingCache::add(cache, b"n", b"x", Ttl::Never).expect("no error"));
            assert_eq!(BlockingCache::incr(cache, b"n", 4, Ttl::Never), Ok(5));
            assert_eq!(apart.get("n").as_deref(), Some("5"), "{round}");
            let swap = |expected: &[u8], value: &[u8]| {
                BlockingCache::compare_and_set(cache, b"n", expected, value, Ttl::Never)
            };
            assert_eq!(
                (swap(b"4", b"six"), swap(b"5", b"six")),
                (Ok(Swap::Conflict), Ok(Swap::Done))
            );
            assert_eq!(apart.get("n").as_deref(), Some("six"));
            assert!(BlockingCache::replace(cache, b"n", b"seven", Ttl::Never).expect("no error"));
            assert_eq!(apart.get("n").as_deref(), Some("seven"));
            assert_eq!(BlockingCache::delete_prefix(cache, b"n"), Ok(1));
            assert_eq!(apart.get("n"), None);
            assert!(BlockingCache::add(cache, b"n", b"new", Ttl::Never).expect("no error"));
            assert_eq!(
                (apart.get("n"), apart.other("n")),
                (Some("new".into()), Some("new".into()))
            );
            assert!(apart.delete("n"));
        }
        let minute = Duration::from_secs(60);
        let lock = BlockingCache::lock(cache, b"l", minute, Duration::ZERO).expect("no error");
        let again = BlockingCache::lock(cache, b"l", minute, Duration::ZERO).expect("no error");
        assert!(lock.is_some() && again.is_none());
    }
}

#[test]
fn warming_reads_l2_into_l1_and_counts_as_no_read() {
    let apart = Apart::on("redis", &[]);
    for key in 0..1000 {
        apart.server.call(&["SET", &format!("app:key:{key}"), "v"]);
    }
    let before = apart.stats();
    assert_eq!(BlockingCache::warm(&apart.cache, &[b"key:1", b"absent"]), Ok(1));
    assert_eq!(BlockingCache::warm_prefix(&apart.cache, b"key:", 10), Ok(10));
    // What the server has yet to tell of the writes above keeps a value out of L1.
    until("all in L1", || {
        assert_eq!(BlockingCache::warm_prefix(&apart.cache, b"key:", 5000), Ok(1000));
        apart.stats().size == 1000
    });
    let stats = apart.stats();
    assert_eq!((stats.hits, stats.misses), (before.hits, before.misses));
    let found = BlockingCache::get_ex(&apart.cache, b"key:7", GetOptions::default());
    let found = found.expect("no error").expect("it is there");
    assert_eq!((found.tier, found.stale), (Tier::L1, false));
    apart.part();
    until("staleness", || {
        let found = BlockingCache::get_ex(&apart.cache, b"key:7", GetOptions::default());
        found.expect("no error").expect("it is there").stale
    });
}

#[test]
fn many_callers_of_one_key_load_it_once() {
    let apart = Apart::on("redis", &[]);
    let loads = AtomicUsize::new(0);
    let started = Barrier::new(64);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                started.wait();
                let options = SetOptions::new(Ttl::Never);
                let value = BlockingCache::get_or_load(&apart.cache, b"k", &options, &mut |_| {
                    loads.fetch_add(1, SeqCst);
                    Ok(Some(Loaded::new("loaded")))
                });
                assert_eq!(value.expect("no error").as_deref(), Some(&b"loaded"[..]));
            });
        }
    });
    assert_eq!(loads.load(SeqCst), 1);
    assert_eq!(apart.other("k").as_deref(), Some("loaded"));
}

#[test]
fn what_was_loaded_while_the_key_was_removed_is_not_kept() {
    let apart = Apart::on("redis", &[]);
    let options = SetOptions::new(Ttl::Never);
    let value = BlockingCache::get_or_load(&apart.cache, b"k", &options, &mut |_| {
        apart.delete("k");
        Ok(Some(Loaded::new("outdated")))
    });
    assert_eq!(value.expect("no error").as_deref(), Some(&b"outdated"[..]));
    assert_eq!((apart.get("k"), apart.other("k")), (None, None));
}

/// The table "Hybrid while L2 is away": the loader runs, and what it loaded is queued.
#[test]
fn a_load_without_the_server_is_kept_and_delivered_later() {
    let apart = Apart::on("redis", &[]);
    apart.part();
    let options = SetOptions::new(Ttl::Never);
    let load = |loads: &mut u32| {
        let value = BlockingCache::get_or_load(&apart.cache, b"k", &options, &mut |_| {
            *loads += 1;
            Ok(Some(Loaded::new("loaded")))
        });
        value.expect("no error").map(|value| value.to_vec())
    };
    let mut loads = 0;
    assert_eq!(load(&mut loads).as_deref(), Some(&b"loaded"[..]));
    assert_eq!(load(&mut loads).as_deref(), Some(&b"loaded"[..]));
    assert_eq!(loads, 1);
    apart.rejoin();
    assert_eq!(apart.other("k").as_deref(), Some("loaded"));
}

/// The server cuts off who does not read what it is told; what was missed is read again. (Valkey 9 lets such a
/// client be, whatever its limit says: there the watchdog ends it.)
#[test]
fn a_listener_that_is_too_slow_is_cut_off_and_comes_back() {
    let apart = Apart::on("redis", &[("watchdog", "20s")]);
    apart.set("k", "old", Ttl::Never);
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"];
    apart.server.call(&limit);
    let clients = || {
        let list = apart.server.call(&["CLIENT", "LIST", "TYPE", "normal"]);
        list.as_str().map_or(0, |list| list.lines().count())
    };
    let before = clients();
    apart.proxy.set(Fault::Deaf);
    // Far more than the sockets between take.
    let flood =
        "for i = 1, 30000 do redis.call('SET', KEYS[1] .. string.rep('x', 1000) .. i, '') end";
    apart.server.call(&["EVAL", flood, "1", "app:"]);
    apart.server.call(&["SET", "app:k", "new"]);
    until("the end of the connection", || clients() < before);
    apart.proxy.set(Fault::None);
    until("the new value", || apart.get("k").as_deref() == Some("new"));
    apart.joined();
}

#[test]
fn what_the_server_evicts_leaves_l1() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        apart.set("k", "v", Ttl::Never);
        assert_eq!(apart.get("k").as_deref(), Some("v"));
        apart.server.call(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
        apart.server.call(&["CONFIG", "SET", "maxmemory", "1"]);
        // Nothing may stay but what it can't do without.
        until("the eviction", || {
            // Refused when there is nothing left to evict.
            apart.server.try_verb(r#"call ["SET", "other", "v"]"#);
            apart.server.call(&["EXISTS", "app:k"]) == json!(0)
        });
        until("L1 hears of it", || apart.get("k").is_none());
    }
}
