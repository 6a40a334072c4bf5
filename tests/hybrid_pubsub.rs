//! `invalidation=pubsub`: Hybrids that tell each other of their writes, on real servers. Two handles of one
//! program tell each other nothing but over the server, as two processes do.

#[path = "support/apart.rs"]
mod apart;
mod support;

use std::time::Duration;

use apart::{Apart, until};
use lighter_cache::{AnyCache, BlockingCache, Loaded, SetOptions, Swap, Ttl};
use support::{SERVERS, Server};

fn open(server: &Server) -> AnyCache {
    apart::open(server, &[("invalidation", "pubsub"), ("watchdog", "200ms")])
}

fn get(cache: &AnyCache, key: &str) -> Option<String> {
    let value = BlockingCache::get(cache, key.as_bytes()).expect("no error")?;
    Some(String::from_utf8(value.to_vec()).expect("it is text"))
}

fn set(cache: &AnyCache, key: &str, value: &str) {
    BlockingCache::set(cache, key.as_bytes(), value.as_bytes(), Ttl::Never).expect("no error");
}

/// Holds the present value in L1, does `write` elsewhere, and waits until it is seen.
fn seen(ours: &AnyCache, what: &str, key: &str, becomes: Option<&str>, write: impl FnOnce()) {
    until("the value is held", || {
        let before = BlockingCache::stats(ours).expect("counters").l1_hits;
        get(ours, key);
        get(ours, key).is_none() || BlockingCache::stats(ours).expect("counters").l1_hits > before
    });
    write();
    until(what, || get(ours, key).as_deref() == becomes);
}

fn every_kind_of_write_is_seen(server: &Server) {
    let (ours, theirs) = (open(server), open(server));
    let hour = Ttl::After(Duration::from_secs(3600));
    set(&theirs, "k", "one");
    seen(&ours, "a set", "k", Some("two"), || set(&theirs, "k", "two"));
    seen(&ours, "a swap", "k", Some("three"), || {
        let swap = BlockingCache::compare_and_set(&theirs, b"k", b"two", b"three", hour);
        assert_eq!(swap, Ok(Swap::Done));
    });
    seen(&ours, "a replacement", "k", Some("4"), || {
        assert_eq!(BlockingCache::replace(&theirs, b"k", b"4", hour), Ok(true));
    });
    seen(&ours, "an increment", "k", Some("5"), || {
        assert_eq!(BlockingCache::incr(&theirs, b"k", 1, hour), Ok(5));
    });
    seen(&ours, "a deletion", "k", None, || {
        assert_eq!(BlockingCache::delete(&theirs, b"k"), Ok(true));
    });
    seen(&ours, "an addition", "k", Some("six"), || {
        assert_eq!(BlockingCache::add(&theirs, b"k", b"six", hour), Ok(true));
    });
    seen(&ours, "a batch", "k", Some("seven"), || {
        let items: [(&[u8], &[u8]); 2] = [(b"k", b"seven"), (b"other", b"v")];
        BlockingCache::set_many(&theirs, &items, hour).expect("no error");
    });
    seen(&ours, "delete_prefix", "k", None, || {
        assert_eq!(BlockingCache::delete_prefix(&theirs, b"k"), Ok(1));
    });
    seen(&ours, "a load", "k", Some("loaded"), || {
        let options = SetOptions::new(Duration::from_secs(3600));
        let mut load = |_: &[u8]| Ok(Some(Loaded::new(b"loaded".to_vec())));
        BlockingCache::get_or_load(&theirs, b"k", &options, &mut load).expect("no error");
    });
    let mut tagged = SetOptions::new(Duration::from_secs(3600));
    tagged.tags.push(b"tag".to_vec());
    BlockingCache::set_ex(&theirs, b"t", b"v", &tagged).expect("no error");
    seen(&ours, "a tag", "t", None, || {
        BlockingCache::invalidate_tag(&theirs, b"tag").expect("no error");
    });
    seen(&ours, "a clear", "k", None, || BlockingCache::clear(&theirs).expect("no error"));
}

#[test]
fn every_kind_of_write_is_seen_on_redis_and_valkey() {
    for server in SERVERS {
        every_kind_of_write_is_seen(&Server::start("single", server));
    }
}

#[test]
fn every_kind_of_write_is_seen_on_a_cluster() {
    every_kind_of_write_is_seen(&Server::start("cluster", "redis"));
}

#[test]
fn own_writes_stay_in_l1() {
    let server = Server::single();
    let (cache, theirs) = (open(&server), open(&server));
    for round in 0..50 {
        let value = round.to_string();
        set(&cache, "k", &value);
        // A message of the other comes after our own.
        set(&theirs, "marker", &value);
        until("the marker", || get(&cache, "marker").as_deref() == Some(&value));
        let before = BlockingCache::stats(&cache).expect("counters").l2_hits;
        assert_eq!(get(&cache, "k").as_deref(), Some(&value[..]));
        assert_eq!(BlockingCache::stats(&cache).expect("counters").l2_hits, before);
    }
}

#[test]
fn what_was_queued_is_told_of_when_it_is_replayed() {
    let apart = Apart::on("redis", &[("invalidation", "pubsub")]);
    let theirs = open(&apart.server);
    apart.set("k", "old", Ttl::Never);
    assert_eq!(get(&theirs, "k").as_deref(), Some("old"));
    apart.part();
    apart.set("k", "new", Ttl::Never);
    apart.rejoin();
    until("the replayed value", || get(&theirs, "k").as_deref() == Some("new"));
}

#[test]
fn what_may_have_been_missed_is_read_again() {
    let apart = Apart::on("valkey", &[("invalidation", "pubsub")]);
    let theirs = open(&apart.server);
    for round in 0..5 {
        set(&theirs, "k", &format!("{round}"));
        until("the value", || apart.get("k") == Some(format!("{round}")));
        apart.part();
        set(&theirs, "k", &format!("unheard {round}"));
        apart.rejoin();
        until("the value", || apart.get("k") == Some(format!("unheard {round}")));
    }
}
