//! Tags on Hybrid caches: what one process invalidates no process reads any more, and what L1 knows of a tag costs
//! no trip.

#[path = "support/apart.rs"]
mod apart;
mod support;

use std::time::Duration;

use apart::{open, stats};
use lighter_cache::config::ConfigBuilder;
use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Loaded, SetOptions, Swap, Ttl};
use support::{SERVERS, Server, eventually};

const HOUR: Duration = Duration::from_secs(3600);
const RECORD: &str = "app:__lc:t:t";

fn tagged(tags: &[&str]) -> SetOptions {
    let mut options = SetOptions::new(HOUR);
    options.tags = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
    options
}

fn set(cache: &AnyCache, key: &str, value: &str, tags: &[&str]) {
    cache.set_ex(key.as_bytes(), value.as_bytes(), &tagged(tags)).unwrap();
}

fn get(cache: &AnyCache, key: &str) -> Option<String> {
    let value = BlockingCache::get(cache, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// Until L2 is bypassed: the first calls after its death may still ask it.
fn wait_for_the_breaker(cache: &AnyCache) {
    eventually("L2 is bypassed", || {
        let answers = BlockingCache::ping(cache).is_ok();
        !answers && stats(cache).degraded
    });
}

/// Reads until L1 answers by itself.
fn settled(cache: &AnyCache, key: &str, value: &str) {
    eventually("L1 answers", || {
        let before = stats(cache).l1_hits;
        assert_eq!(get(cache, key).as_deref(), Some(value));
        stats(cache).l1_hits > before
    });
}

fn two_processes(server: &Server) {
    let (one, two) = (open(server, &[]), open(server, &[]));
    set(&one, "k", "v", &["t", "other"]);
    set(&one, "l", "v", &["t"]);
    set(&one, "untouched", "v", &["other"]);
    for cache in [&one, &two] {
        for key in ["k", "l", "untouched"] {
            settled(cache, key, "v");
        }
        // Known to L1, a tag costs no trip.
        let before = stats(cache);
        for _ in 0..100 {
            assert_eq!(get(cache, "k").unwrap(), "v");
        }
        let after = stats(cache);
        assert_eq!((after.l1_hits - before.l1_hits, after.l2_hits - before.l2_hits), (100, 0));
    }
    // At once here, and soon in the other process.
    two.invalidate_tag(b"t").unwrap();
    for cache in [&two, &one] {
        eventually("it is seen", || get(cache, "k").is_none() && get(cache, "l").is_none());
        assert_eq!(get(cache, "untouched").unwrap(), "v");
        assert!(!cache.exists(b"k").unwrap() && cache.ttl(b"k").unwrap().is_none());
        assert!(!cache.expire(b"k", HOUR.into()).unwrap());
        assert!(!cache.replace(b"k", b"w", HOUR.into()).unwrap());
        assert_eq!(cache.compare_and_set(b"k", b"v", b"w", HOUR.into()).unwrap(), Swap::Absent);
        let keys: [&[u8]; 2] = [b"k", b"untouched"];
        let values = cache.get_many(&keys).unwrap();
        assert!(values[0].is_none() && values[1].is_some());
    }
    assert!(!one.delete(b"k").unwrap());
    assert_eq!(one.delete_many(&[b"l", b"untouched"]).unwrap(), 1);
    // What is stored with it from then on is there, and nothing of before.
    set(&one, "k", "new", &["t"]);
    assert_eq!(get(&one, "k").unwrap(), "new");
    eventually("the new value is seen", || get(&two, "k").as_deref() == Some("new"));
    one.invalidate_tag(b"t").unwrap();
    assert!(get(&one, "k").is_none());
    eventually("it is seen", || get(&two, "k").is_none());
    // A value without tags takes its place.
    one.set(b"k", b"plain", Ttl::Never).unwrap();
    two.invalidate_tag(b"t").unwrap();
    eventually("the value is seen", || get(&two, "k").as_deref() == Some("plain"));
}

#[test]
fn what_one_process_invalidates_no_process_reads_any_more() {
    for name in SERVERS {
        two_processes(&Server::start("single", name));
    }
}

#[test]
fn on_a_cluster_too() {
    two_processes(&Server::start("cluster", "redis"));
}

#[test]
fn a_record_that_the_server_evicted_reads_as_invalidated() {
    let server = Server::single();
    let (one, two) = (open(&server, &[]), open(&server, &[]));
    set(&one, "k", "v", &["t"]);
    settled(&one, "k", "v");
    settled(&two, "k", "v");
    assert_eq!(server.call(&["DEL", RECORD]), 1);
    for cache in [&one, &two] {
        eventually("it is seen", || get(cache, "k").is_none());
    }
    set(&one, "k", "v", &["t"]);
    settled(&two, "k", "v");
    server.call(&["FLUSHALL"]);
    for cache in [&one, &two] {
        eventually("it is seen", || get(cache, "k").is_none());
    }
    // A record that is only written again costs one more read.
    set(&one, "k", "v", &["t"]);
    settled(&two, "k", "v");
    assert_eq!(server.call(&["PEXPIRE", RECORD, "100000000"]), 1);
    for _ in 0..100 {
        assert_eq!(get(&two, "k").unwrap(), "v");
    }
    settled(&two, "k", "v");
}

#[test]
fn what_was_missed_while_the_stream_was_down_is_read_again() {
    let server = Server::single();
    let cache = open(&server, &[]);
    for round in 0..5 {
        let value = format!("v{round}");
        set(&cache, "k", &value, &["t"]);
        settled(&cache, "k", &value);
        server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.call(&["DEL", RECORD]);
        eventually("it is seen", || get(&cache, "k").is_none());
    }
}

#[test]
fn with_l2_away_an_invalidation_is_queued() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let brief = [("l2_timeout", "1s"), ("breaker_failures", "2")];
        let (cache, other) = (open(&server, &brief), open(&server, &[]));
        set(&cache, "held", "old", &["t"]);
        set(&cache, "kept", "old", &["other"]);
        settled(&cache, "held", "old");
        // Of another process, and never read by this one.
        set(&other, "unknown", "old", &["t"]);
        server.pause();
        wait_for_the_breaker(&cache);
        cache.invalidate_tag(b"t").unwrap();
        assert!(get(&cache, "held").is_none());
        assert_eq!(get(&cache, "kept").unwrap(), "old");
        assert_eq!(stats(&cache).queued_writes, 1);
        // Written after it, and before the server knows of it.
        set(&cache, "after", "new", &["t"]);
        assert_eq!(get(&cache, "after").unwrap(), "new");
        // Written, and then invalidated.
        set(&cache, "gone", "new", &["u"]);
        cache.invalidate_tag(b"u").unwrap();
        assert!(get(&cache, "gone").is_none());
        assert_eq!(stats(&cache).queued_writes, 4);
        server.resume();
        eventually("the way back", || {
            // Not even while the queue is replayed.
            assert!(get(&cache, "held").is_none() && get(&cache, "unknown").is_none());
            assert!(!cache.exists(b"unknown").unwrap() && get(&cache, "gone").is_none());
            // Replayed, and echoed, it is L2's to give, which is asked when all is replayed.
            let answers = !stats(&cache).degraded;
            let after = get(&cache, "after");
            assert!(after.as_deref() == Some("new") || after.is_none() && !answers);
            answers && stats(&cache).queued_writes == 0
        });
        eventually("the other process sees it", || {
            get(&other, "unknown").is_none() && get(&other, "held").is_none()
        });
        assert_eq!(get(&other, "after").unwrap(), "new");
        assert!(get(&other, "gone").is_none());
        assert_eq!(get(&other, "kept").unwrap(), "old");
        assert_eq!((stats(&cache).dropped_writes, stats(&cache).replayed_writes), (0, 4));
        for cache in [&cache, &other] {
            settled(cache, "after", "new");
        }
    }
}

#[test]
fn what_was_invalidated_here_does_not_come_back_when_l2_goes_away() {
    let server = Server::single();
    let cache = open(&server, &[("l2_timeout", "5s")]);
    set(&cache, "k", "v", &["t"]);
    settled(&cache, "k", "v");
    cache.invalidate_tag(b"t").unwrap();
    server.kill();
    wait_for_the_breaker(&cache);
    assert!(get(&cache, "k").is_none());
    // What was not is served, to the end of its time.
    let server = Server::single();
    let cache = open(&server, &[("l2_timeout", "5s")]);
    set(&cache, "k", "v", &["t"]);
    settled(&cache, "k", "v");
    server.kill();
    wait_for_the_breaker(&cache);
    let found = cache.get_ex(b"k", Default::default()).unwrap().unwrap();
    assert!(found.stale && &*found.value == b"v");
    cache.invalidate_tag(b"t").unwrap();
    assert!(get(&cache, "k").is_none());
}

#[test]
fn values_that_are_loaded_carry_tags() {
    let server = Server::single();
    let (cache, other) = (open(&server, &[]), open(&server, &[]));
    let load = |meanwhile: &dyn Fn()| {
        let mut loader = |_: &[u8]| {
            meanwhile();
            Ok(Some(Loaded::new("v")))
        };
        let got = cache.get_or_load(b"k", &tagged(&["t"]), &mut loader).unwrap();
        assert!(got.is_some());
    };
    load(&|| ());
    settled(&cache, "k", "v");
    settled(&other, "k", "v");
    other.invalidate_tag(b"t").unwrap();
    eventually("it is seen", || get(&cache, "k").is_none());
    // What is invalidated during the load is given to the callers, and not to who asks then.
    load(&|| cache.invalidate_tag(b"t").unwrap());
    assert!(get(&cache, "k").is_none());
    load(&|| other.invalidate_tag(b"t").unwrap());
    eventually("it is seen", || get(&cache, "k").is_none());
    load(&|| ());
    assert_eq!(get(&cache, "k").unwrap(), "v");
    // The loader names them.
    let mut own = Loaded::new("v");
    own.options = Some(tagged(&["own"]));
    let got = cache.get_or_load(b"own", &tagged(&[]), &mut |_| Ok(Some(own.clone()))).unwrap();
    assert!(got.is_some());
    settled(&other, "own", "v");
    cache.invalidate_tag(b"own").unwrap();
    eventually("it is seen", || get(&other, "own").is_none());
}

#[test]
fn without_a_channel_what_others_invalidate_is_seen_when_l1_lets_go() {
    let server = Server::single();
    let set_none = [("invalidation", "none")];
    let (cache, other) = (open(&server, &set_none), open(&server, &set_none));
    set(&cache, "k", "v", &["t"]);
    settled(&cache, "k", "v");
    other.invalidate_tag(b"t").unwrap();
    assert_eq!(get(&cache, "k").unwrap(), "v");
    set(&other, "l", "v", &["t"]);
    // What it reads anew has the new stamp, and what it had is gone with the old one.
    assert_eq!(get(&cache, "l").unwrap(), "v");
    assert!(get(&cache, "k").is_none());
    cache.invalidate_tag(b"t").unwrap();
    assert!(get(&cache, "l").is_none());
}

#[test]
fn what_is_no_tag_is_refused_and_the_rest_is_not() {
    let server = Server::single();
    let cache = open(&server, &[]);
    assert_eq!(cache.invalidate_tag(b"").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(cache.invalidate_tag(&[b'x'; 1025]).unwrap_err().kind(), ErrorKind::TooBig);
    let wrong = cache.set_ex(b"k", b"v", &tagged(&[""])).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
    cache.invalidate_tag(b"nobody has it").unwrap();
    let many: Vec<String> = (0..256).map(|n| format!("tag {n}\r\n\0")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    set(&cache, "k", "v", &many);
    settled(&cache, "k", "v");
    cache.invalidate_tag(many[255].as_bytes()).unwrap();
    assert!(get(&cache, "k").is_none());
    // A zero TTL removes, and incr is for numbers without tags.
    set(&cache, "n", "1", &["t"]);
    assert_eq!(cache.incr(b"n", 1, Ttl::Never).unwrap_err().kind(), ErrorKind::Type);
    let mut over = tagged(&["t"]);
    over.ttl = Ttl::After(Duration::ZERO);
    cache.set_ex(b"n", b"v", &over).unwrap();
    assert!(get(&cache, "n").is_none());
    let raw = open(&server, &[("wire", "raw")]);
    assert_eq!(raw.invalidate_tag(b"t").unwrap_err().kind(), ErrorKind::Unsupported);
    let wrong = raw.set_ex(b"k", b"v", &tagged(&["t"])).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unsupported);
}

#[test]
fn tasks_and_warming() {
    let server = Server::single();
    let (cache, other) = (open(&server, &[]), open(&server, &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        cache.set_ex_bytes(b"k", b"v", &tagged(&["t"])).await.unwrap();
        assert!(cache.get_bytes(b"k").await.unwrap().is_some());
        assert!(other.get_bytes(b"k").await.unwrap().is_some());
        cache.invalidate_tag_bytes(b"t").await.unwrap();
        assert!(cache.get_bytes(b"k").await.unwrap().is_none());
        cache.set_ex_bytes(b"k", b"v", &tagged(&["t"])).await.unwrap();
    });
    set(&cache, "gone", "v", &["gone"]);
    cache.invalidate_tag(b"gone").unwrap();
    assert_eq!(other.warm(&[b"k", b"gone", b"absent"]).unwrap(), 1);
    assert_eq!(other.warm_prefix(b"", 10).unwrap(), 1);
    settled(&other, "k", "v");
    cache.invalidate_tag(b"t").unwrap();
    eventually("it is seen", || get(&other, "k").is_none());
}

/// Processes set, invalidate and read at once; when they are done, all agree with the server.
#[test]
fn after_a_storm_all_agree() {
    let server = Server::single();
    let caches = [open(&server, &[]), open(&server, &[]), open(&server, &[])];
    std::thread::scope(|scope| {
        for (who, cache) in caches.iter().enumerate() {
            for thread in 0..2_u64 {
                scope.spawn(move || {
                    let mut dice =
                        (who as u64 * 10 + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    for step in 0..400 {
                        dice ^= dice << 13;
                        dice ^= dice >> 7;
                        dice ^= dice << 17;
                        let key = format!("k{}", dice % 4);
                        let tag = ["t", "u"][(dice >> 8) as usize % 2];
                        match dice >> 32 & 7 {
                            0 => cache.invalidate_tag(tag.as_bytes()).unwrap(),
                            1 | 2 => set(cache, &key, &format!("{who} {thread} {step}"), &[tag]),
                            _ => drop(get(cache, &key)),
                        }
                    }
                });
            }
        }
    });
    let mut truth = ConfigBuilder::new(Some(server.url()));
    for (name, value) in [("prefix", "app"), ("timeout", "20s"), ("connect_timeout", "20s")] {
        truth.set(name, value).unwrap();
    }
    let truth = AnyCache::open(&truth.build().unwrap()).unwrap();
    for key in ["k0", "k1", "k2", "k3"] {
        let held = get(&truth, key);
        for cache in &caches {
            eventually("agreement", || get(cache, key) == held);
        }
    }
    for cache in &caches {
        assert_eq!((stats(cache).dropped_writes, stats(cache).queued_writes), (0, 0));
    }
}
