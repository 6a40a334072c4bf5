//! Each promise of *Coherence* (docs/coherence.md) and each row of the table of what a Hybrid does while its
//! server is away, by a test of its name. Most are shown at length elsewhere too: in `hybrid.rs`,
//! `hybrid_replay.rs`, `redis_ambiguity.rs`, the simulation and the chaos tests.

#[path = "support/apart.rs"]
mod apart;
mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use apart::{Apart, PATIENCE, until};
use lighter_cache::config::ConfigBuilder;
use lighter_cache::{
    AnyCache, BlockingCache, ErrorKind, Event, Events, GetOptions, HybridCache, Loaded, Remaining,
    SetOptions, Tier, Ttl,
};
use support::chaos::Fault;
use support::{SERVERS, Server};

fn found(cache: &AnyCache, key: &str) -> Option<(String, Tier, bool)> {
    let found = BlockingCache::get_ex(cache, key.as_bytes(), GetOptions::default());
    let found = found.expect("a read has no error")?;
    let text = String::from_utf8(found.value.to_vec()).expect("it is text");
    Some((text, found.tier, found.stale))
}

fn another_process(server: &Server) -> AnyCache {
    let url = server.url_with("prefix=app&timeout=20s&connect_timeout=20s&l2_timeout=20s");
    let config = ConfigBuilder::new(Some(&format!("hybrid+{url}"))).build().expect("it is valid");
    let cache = AnyCache::open(&config).expect("it opens");
    until("the way to L2", || !BlockingCache::stats(&cache).expect("counters").degraded);
    cache
}

// --- the promises

#[test]
fn promise_1_read_your_writes() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        for away in [false, true] {
            if away {
                apart.part();
            }
            thread::scope(|scope| {
                for thread in 0..4 {
                    let apart = &apart;
                    scope.spawn(move || {
                        let key = format!("k{thread}");
                        for round in 0..100 {
                            let value = format!("{away}{round}");
                            apart.set(&key, &value, Ttl::Never);
                            // On every thread.
                            let read =
                                thread::scope(|on| on.spawn(|| apart.get(&key)).join().unwrap());
                            assert_eq!(read, Some(value));
                            if round % 10 == 0 {
                                apart.delete(&key);
                                assert_eq!(apart.get(&key), None);
                            }
                        }
                    });
                }
            });
        }
        apart.rejoin();
        for thread in 0..4 {
            assert_eq!(apart.get(&format!("k{thread}")).as_deref(), Some("true99"));
        }
    }
}

#[test]
fn promise_2_no_resurrection() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        for key in ["deleted", "replaced", "foreign"] {
            apart.set(key, "old", Ttl::Never);
        }
        apart.part();
        apart.delete("deleted");
        apart.set("replaced", "new", Ttl::Never);
        apart.set("foreign", "ours", Ttl::Never);
        let theirs = another_process(&apart.server);
        BlockingCache::set(&theirs, b"foreign", b"theirs", Ttl::Never).expect("no error");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Neither while L2 is away, nor on the way back, nor after.
                while !over.load(SeqCst) {
                    assert_eq!(apart.get("deleted"), None);
                    assert_eq!(apart.get("replaced").as_deref(), Some("new"));
                    assert_ne!(apart.get("foreign").as_deref(), Some("old"));
                }
            });
            apart.rejoin();
            over.store(true, SeqCst);
        });
        assert_eq!(apart.get("foreign").as_deref(), Some("theirs"), "the foreign value wins");
        assert_eq!(apart.stats().dropped_writes, 1, "and ours is counted");
        assert_eq!(apart.other("deleted"), None);
        assert_eq!(apart.other("replaced").as_deref(), Some("new"));
    }
}

/// At length in `redis_ambiguity.rs`, of the cache below; here through a Hybrid.
#[test]
fn promise_3_no_late_write() {
    for server in SERVERS {
        let apart = Apart::on(server, &[("l2_timeout", "200ms"), ("breaker_failures", "1000")]);
        for round in 0..5 {
            // Requests are held up on the way, so that the first write ends with its timeout unexecuted.
            apart.proxy.set(Fault::Mute);
            apart.set("k", &format!("late {round}"), Ttl::Never);
            apart.proxy.set(Fault::None);
            apart.set("k", &format!("last {round}"), Ttl::Never);
            apart.joined();
            let last = format!("last {round}");
            assert_eq!(apart.other("k").as_deref(), Some(&last[..]));
            assert_eq!(apart.get("k").as_deref(), Some(&last[..]));
        }
    }
}

#[test]
fn promise_4_no_lost_invalidation() {
    for server in SERVERS {
        let apart = Apart::on(server, &[("l1.max_entries", "64")]);
        let theirs = another_process(&apart.server);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // Fills and evictions without a pause, against the invalidations.
                    let mut other = 0u64;
                    while !over.load(SeqCst) {
                        apart.get("k");
                        other += 1;
                        apart.get(&format!("other{}", other % 500));
                    }
                });
            }
            for round in 0..300 {
                let value = round.to_string();
                BlockingCache::set(&theirs, b"k", value.as_bytes(), Ttl::Never).expect("no error");
                until("the new value", || apart.get("k").as_deref() == Some(&value));
            }
            over.store(true, SeqCst);
        });
    }
}

#[test]
fn promise_5_bounded_staleness() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        // With the stream up: another process's write, a plain client's, its expiry and FLUSHALL.
        apart.set("k", "ours", Ttl::Never);
        apart.server.call(&["SET", "app:k", "plain"]);
        until("the plain client's value", || apart.get("k").as_deref() == Some("plain"));
        apart.server.call(&["PEXPIRE", "app:k", "1"]);
        until("the expiry", || apart.get("k").is_none());
        apart.set("k", "ours", Ttl::Never);
        apart.server.call(&["FLUSHALL"]);
        until("the flush", || apart.get("k").is_none());
        // With the stream gone and L2 answering: each older entry is read again before it is served.
        apart.set("k", "ours", Ttl::Never);
        apart.proxy.reset();
        apart.server.call(&["SET", "app:k", "unheard"]);
        until("the way back", || apart.get("k").as_deref() == Some("unheard"));
        apart.joined();
        // With L2 silent: served to the end of its TTL, marked and counted, but not as if it were proven.
        apart.set("k", "ours", Ttl::After(Duration::from_secs(60)));
        apart.part();
        until("the end of trust", || found(&apart.cache, "k").is_some_and(|(_, _, stale)| stale));
        assert_eq!(found(&apart.cache, "k"), Some(("ours".into(), Tier::L1, true)));
        assert!(apart.stats().stale_served > 0);
    }
}

#[test]
fn promise_6_own_writes_do_not_evict_themselves() {
    for server in SERVERS {
        let apart = Apart::on(server, &[]);
        apart.set("marker", "0", Ttl::Never);
        let before = apart.stats();
        for round in 1..=50 {
            let value = round.to_string();
            apart.set("k", &value, Ttl::Never);
            assert_eq!(found(&apart.cache, "k"), Some((value.clone(), Tier::L1, false)));
            // A foreign write comes after whatever the server had to say of ours.
            apart.server.call(&["SET", "app:marker", &value]);
            until("the marker", || apart.get("marker").as_deref() == Some(&value));
            assert_eq!(found(&apart.cache, "k"), Some((value, Tier::L1, false)));
        }
        let after = apart.stats();
        assert_eq!(after.invalidations - before.invalidations, 50, "the marker's alone");
    }
}

#[test]
fn promise_7_a_dead_l2_costs_microseconds() {
    for server in SERVERS {
        let apart = Apart::on(server, &[("l2_timeout", "2s"), ("timeout", "1s")]);
        let (sender, heard) = mpsc::channel();
        let events = Events::from(Event::Degraded).with(Event::Recovered);
        let tell = Box::new(move |event, _: &[u8]| {
            let _ = sender.send(event);
        });
        BlockingCache::subscribe(&apart.cache, events, tell).expect("it is heard");
        apart.set("k", "v", Ttl::Never);
        apart.proxy.set(Fault::BlackHole);
        // Seen without any call from the user.
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(Event::Degraded));
        until("the breaker", || BlockingCache::ping(&apart.cache).is_err());
        let before = (apart.stats().errors, Instant::now());
        for _ in 0..2000 {
            assert_eq!(apart.get("k").as_deref(), Some("v"));
            assert_eq!(apart.get("absent"), None);
            apart.set("new", "v", Ttl::Never);
        }
        // Nobody waited for a single timeout: 6,000 of them would be hours.
        assert!(before.1.elapsed() < Duration::from_secs(10), "{:?}", before.1.elapsed());
        apart.proxy.set(Fault::None);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(Event::Recovered));
        apart.joined();
        assert_eq!(apart.other("new").as_deref(), Some("v"));
    }
}

#[test]
fn promise_8_every_round_trip_ends_by_its_deadline() {
    let faults = [Fault::BlackHole, Fault::Deaf, Fault::Mute, Fault::Drip, Fault::Refuse];
    // A wire is a wire: the second server meets but one of the faults.
    for (server, faults) in SERVERS.into_iter().zip([&faults[..], &faults[..1]]) {
        for &fault in faults {
            let apart = Apart::on(
                server,
                &[("l2_timeout", "100ms"), ("breaker_failures", "1000"), ("watchdog", "30s")],
            );
            let cache = &apart.cache;
            apart.proxy.set(fault);
            let minute = Duration::from_secs(60);
            let calls: [(&str, &dyn Fn()); 9] = [
                ("get", &|| drop(BlockingCache::get(cache, b"a"))),
                ("set", &|| drop(BlockingCache::set(cache, b"a", &[7; 4000], Ttl::Never))),
                ("delete", &|| drop(BlockingCache::delete(cache, b"a"))),
                ("exists", &|| drop(BlockingCache::exists(cache, b"b"))),
                ("expire", &|| drop(BlockingCache::expire(cache, b"c", Ttl::Never))),
                ("add", &|| drop(BlockingCache::add(cache, b"d", b"v", Ttl::Never))),
                ("incr", &|| drop(BlockingCache::incr(cache, b"e", 1, Ttl::Never))),
                ("get_many", &|| drop(BlockingCache::get_many(cache, &[b"f", b"g"]))),
                ("lock", &|| drop(BlockingCache::lock(cache, b"l", minute, Duration::ZERO))),
            ];
            for (name, call) in calls {
                let began = Instant::now();
                call();
                // Wide, for a busy machine; without a deadline it would be for ever.
                let took = began.elapsed();
                assert!(took < Duration::from_secs(5), "{name} took {took:?} under {fault:?}");
            }
        }
    }
}

// --- the table "Hybrid while L2 is away"

#[test]
fn away_reads_are_answered_from_l1_and_never_fail() {
    let apart = Apart::on("redis", &[]);
    apart.set("held", "v", Ttl::After(Duration::from_secs(60)));
    apart.part();
    let keys: [&[u8]; 2] = [b"held", b"absent"];
    assert_eq!(apart.get("held").as_deref(), Some("v"));
    assert_eq!(apart.get("absent"), None);
    let many = BlockingCache::get_many(&apart.cache, &keys).expect("no error");
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    for (key, there) in keys.iter().zip([true, false]) {
        assert_eq!(BlockingCache::exists(&apart.cache, key), Ok(there));
        let ttl = BlockingCache::ttl(&apart.cache, key).expect("no error");
        assert_eq!(ttl.is_some(), there);
        assert!(ttl.is_none_or(|ttl| matches!(ttl, Remaining::For(_))));
    }
}

#[test]
fn away_writes_change_l1_and_are_queued() {
    let apart = Apart::on("redis", &[]);
    apart.set("held", "v", Ttl::Never);
    apart.part();
    let cache = &apart.cache;
    apart.set("a", "1", Ttl::Never);
    BlockingCache::set_many(cache, &[(b"b", b"2"), (b"c", b"3")], Ttl::Never).expect("no error");
    assert_eq!(apart.get("b").as_deref(), Some("2"));
    let minute = Ttl::After(Duration::from_secs(60));
    assert_eq!(BlockingCache::expire(cache, b"a", minute), Ok(true));
    assert_eq!(BlockingCache::expire(cache, b"not held here", minute), Ok(true));
    assert!(apart.delete("held"), "L1 held it");
    assert!(!apart.delete("held"), "neither L1 nor the queue holds it");
    assert_eq!(BlockingCache::delete_many(cache, &[b"b", b"never"]), Ok(1));
    assert_eq!(apart.stats().queued_writes, 6);
    apart.rejoin();
    assert_eq!(apart.other("a").as_deref(), Some("1"));
    assert_eq!((apart.other("b"), apart.other("held")), (None, None));
    apart.part();
    BlockingCache::clear(cache).expect("no error");
    assert_eq!(apart.get("a"), None);
    apart.set("after", "v", Ttl::Never);
    apart.rejoin();
    assert_eq!((apart.other("a"), apart.other("after").as_deref()), (None, Some("v")));
}

#[test]
fn away_what_only_l2_decides_fails_at_once() {
    let apart = Apart::on("redis", &[]);
    apart.set("k", "1", Ttl::Never);
    apart.part();
    let cache = &apart.cache;
    let minute = Duration::from_secs(60);
    let refusals = [
        ("add", BlockingCache::add(cache, b"n", b"v", Ttl::Never).map(drop)),
        ("replace", BlockingCache::replace(cache, b"k", b"v", Ttl::Never).map(drop)),
        ("cas", BlockingCache::compare_and_set(cache, b"k", b"1", b"v", Ttl::Never).map(drop)),
        ("incr", BlockingCache::incr(cache, b"k", 1, Ttl::Never).map(drop)),
        ("lock", BlockingCache::lock(cache, b"l", minute, minute).map(drop)),
        ("foreach_key", BlockingCache::for_each_key(cache, b"", &mut |_| panic!("none"))),
        ("delete_prefix", BlockingCache::delete_prefix(cache, b"").map(drop)),
        ("warm", BlockingCache::warm(cache, &[b"k"]).map(drop)),
        ("warm_prefix", BlockingCache::warm_prefix(cache, b"", 10).map(drop)),
        ("count", BlockingCache::count(cache).map(drop)),
        ("ping", BlockingCache::ping(cache)),
    ];
    for (name, refusal) in refusals {
        assert_eq!(refusal.unwrap_err().kind(), ErrorKind::Connect, "{name}");
    }
    assert_eq!(apart.get("k").as_deref(), Some("1"), "L1 is as it was");
    assert_eq!(apart.stats().queued_writes, 0);
}

#[test]
fn away_one_load_for_each_process() {
    let apart = Apart::on("redis", &[]);
    apart.part();
    let loads = std::sync::atomic::AtomicUsize::new(0);
    let options = SetOptions::new(Duration::from_secs(60));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut load = |_: &[u8]| {
                    loads.fetch_add(1, SeqCst);
                    // Long enough for the others to come.
                    thread::sleep(Duration::from_millis(100));
                    Ok(Some(Loaded::new(b"loaded".to_vec())))
                };
                let value = BlockingCache::get_or_load(&apart.cache, b"k", &options, &mut load);
                let value = value.expect("no error").expect("it was loaded");
                assert_eq!(value[..], b"loaded"[..]);
            });
        }
    });
    assert_eq!(loads.load(SeqCst), 1);
    apart.rejoin();
    assert_eq!(apart.other("k").as_deref(), Some("loaded"));
}

// --- and the lines below the table

#[test]
fn errors_of_a_reachable_server_queue_the_write_or_fail_it() {
    let apart = Apart::on("redis", &[]);
    apart.set("k", "old", Ttl::Never);
    apart.server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    apart.set("k", "new", Ttl::Never);
    assert_eq!(apart.get("k").as_deref(), Some("new"));
    assert_eq!(apart.stats().queued_writes, 1);
    apart.server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    apart.joined();
    assert_eq!(apart.other("k").as_deref(), Some("new"));
    // NOPERM is the caller's to hear, and L1 lets go of the key.
    apart.server.call(&["ACL", "SETUSER", "default", "-set"]);
    let refused = BlockingCache::set(&apart.cache, b"k", b"refused", Ttl::Never);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Auth);
    assert_eq!(apart.get("k").as_deref(), Some("new"), "as L2 holds it");
    assert_eq!(apart.stats().queued_writes, 0);
}

#[test]
fn without_an_l2_nothing_is_degraded_or_queued() {
    let cache = AnyCache::Hybrid(HybridCache::local_only());
    BlockingCache::set(&cache, b"k", b"1", Ttl::Never).expect("no error");
    assert_eq!(BlockingCache::incr(&cache, b"k", 1, Ttl::Never), Ok(2));
    assert_eq!(BlockingCache::add(&cache, b"k", b"1", Ttl::Never), Ok(false));
    assert_eq!(BlockingCache::ping(&cache), Ok(()));
    let stats = BlockingCache::stats(&cache).expect("counters");
    assert!(!stats.degraded && stats.queued_writes == 0 && stats.stale_served == 0);
}
