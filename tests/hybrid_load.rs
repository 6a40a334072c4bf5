//! `get_or_load` on Hybrid caches: one load per key of all processes together, for which several caches stand
//! here, with L1 in between and L2 going away.

#[path = "support/apart.rs"]
mod apart;
mod support;
#[path = "support/together.rs"]
mod together;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use apart::{open, stats};
use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, Error, ErrorKind, Loaded, SetOptions, Value,
};
use support::{SERVERS, Server, eventually};
use together::together;

const HOUR: Duration = Duration::from_secs(3600);

fn options() -> SetOptions {
    SetOptions::new(HOUR)
}

fn text(value: Option<Value>) -> Option<String> {
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn get(cache: &AnyCache, key: &[u8]) -> Option<String> {
    text(BlockingCache::get(cache, key).unwrap())
}

fn load(cache: &AnyCache, key: &[u8], value: &str) -> Option<String> {
    text(cache.get_or_load(key, &options(), &mut |_| Ok(Some(Loaded::new(value)))).unwrap())
}

fn never(_: &[u8]) -> lighter_cache::Result<Option<Loaded>> {
    panic!("there is nothing to load")
}

fn failing(_: &[u8]) -> lighter_cache::Result<Option<Loaded>> {
    Err(Error::new(ErrorKind::Loader, "the source is away"))
}

/// Until L2 is bypassed: the first calls after its death may still ask it.
fn wait_for_the_breaker(cache: &AnyCache) {
    eventually("L2 is bypassed", || {
        let answers = BlockingCache::ping(cache).is_ok();
        !answers && stats(cache).degraded
    });
}

#[test]
fn one_of_all_processes_loads() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let caches: Vec<_> = (0..4).map(|_| open(&server, &[])).collect();
        for round in 0..10_u64 {
            let key = format!("shared:{round}");
            let (got, loads) = together(&caches, 4, key.as_bytes(), &options(), || {
                thread::sleep(Duration::from_millis(5 * round));
                Ok(Some(Loaded::new("v")))
            });
            assert!(got.into_iter().all(|one| text(one.unwrap()).unwrap() == "v"));
            assert_eq!(loads, 1);
            for cache in &caches {
                assert_eq!(get(cache, key.as_bytes()).unwrap(), "v");
            }
            assert!(caches[0].delete(key.as_bytes()).unwrap());
        }
        let coalesced: u64 = caches.iter().map(|cache| stats(cache).coalesced).sum();
        assert!(coalesced >= 10, "{coalesced}");
        assert!(caches.iter().all(|cache| stats(cache).errors == 0));
        eventually("all leases are given back", || {
            server.call(&["KEYS", "*:f:*"]) == serde_json::json!([])
        });
    }
}

#[test]
fn on_a_cluster_too() {
    let server = Server::start("cluster", "valkey");
    let caches: Vec<_> = (0..2).map(|_| open(&server, &[])).collect();
    for key in [&b"k"[..], b"{a}b", b"a}b", b"{}", b"*\0\xff\r\n"] {
        let (got, loads) = together(&caches, 2, key, &options(), || Ok(Some(Loaded::new("v"))));
        assert!(got.into_iter().all(|one| text(one.unwrap()).unwrap() == "v"));
        // Braces may leave no name for a lease on the node of the key: then one for each process.
        assert!((1..=2).contains(&loads), "{loads}");
        eventually("it is seen", || caches.iter().all(|cache| get(cache, key).is_some()));
        assert!(caches[1].delete(key).unwrap());
        eventually("it is gone", || caches.iter().all(|cache| get(cache, key).is_none()));
    }
    let keys: [&[u8]; 3] = [b"1", b"2", b"3"];
    for key in keys {
        load(&caches[0], key, "v");
    }
    assert_eq!(caches[1].delete_many(&keys).unwrap(), 3);
}

#[test]
fn an_owner_who_died_is_followed_when_its_lease_ends() {
    let server = Server::single();
    let cache = open(&server, &[]);
    // The owner dies amid its load.
    // SAFETY: the child calls the library, which is made for it, and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child without the parent's destructors and handlers.
        let die = |code| -> ! { unsafe { libc::_exit(code) } };
        let _ = cache.get_or_load(b"k", &options(), &mut |_| die(0));
        die(1)
    }
    let mut status = 0;
    // SAFETY: `child` is our own child, and `status` is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child did not load");
    let lease = "app:__lc:f:{app:k}";
    assert_eq!(server.call(&["EXISTS", lease]), 1);
    // Not as long as it would run.
    assert_eq!(server.call(&["PEXPIRE", lease, "300"]), 1);
    let began = Instant::now();
    assert_eq!(load(&cache, b"k", "v").unwrap(), "v");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(get(&cache, b"k").unwrap(), "v");

    // Who wants to wait no longer does not, and inside of a loader nobody waits.
    cache.delete(b"k").unwrap();
    server.call(&["SET", lease, "another", "PX", "600000"]);
    let mut impatient = options();
    impatient.timeout = Some(Duration::from_millis(100));
    let error = cache.get_or_load(b"k", &impatient, &mut never).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let nested = cache
        .get_or_load(b"outer", &options(), &mut |_| Ok(load(&cache, b"k", "v").map(Loaded::new)));
    assert_eq!(text(nested.unwrap()).unwrap(), "v");
}

#[test]
fn what_was_overtaken_is_served_but_not_kept() {
    let server = Server::single();
    let (cache, other) = (open(&server, &[]), open(&server, &[]));
    let during = |key: &[u8], meanwhile: &dyn Fn()| {
        let got = cache.get_or_load(key, &options(), &mut |_| {
            meanwhile();
            Ok(Some(Loaded::new("loaded")))
        });
        assert_eq!(text(got.unwrap()).unwrap(), "loaded");
        // What this process and another one read afterwards.
        let own = get(&cache, key);
        assert_eq!(own, get(&open(&server, &[]), key));
        own
    };
    assert_eq!(during(b"1", &|| ()).unwrap(), "loaded");
    let newer = |cache: &AnyCache, key: &[u8]| cache.set(key, b"newer", HOUR.into()).unwrap();
    assert_eq!(during(b"2", &|| newer(&other, b"2")).unwrap(), "newer");
    assert_eq!(during(b"3", &|| newer(&cache, b"3")).unwrap(), "newer");
    assert_eq!(during(b"4", &|| assert!(!other.delete(b"4").unwrap())), None);
    assert_eq!(during(b"5", &|| assert!(!cache.delete(b"5").unwrap())), None);
    assert_eq!(during(b"6", &|| assert_eq!(other.delete_many(&[b"6", b"x"]).unwrap(), 0)), None);
    assert_eq!(during(b"7", &|| cache.clear().unwrap()), None);
    // Another took the lease over, when this one's had run out.
    let taken_over = || drop(server.call(&["SET", "app:__lc:f:{app:8}", "other"]));
    assert_eq!(during(b"8", &taken_over), None);
}

#[test]
fn a_failed_load_is_told_and_not_remembered() {
    let server = Server::single();
    let (one, two) = (open(&server, &[]), open(&server, &[]));
    let loads = AtomicU32::new(0);
    let (own, told) = thread::scope(|scope| {
        let (begun, begins) = std::sync::mpsc::channel();
        let (two, loads) = (&two, &loads);
        let waiter = scope.spawn(move || {
            begins.recv().unwrap();
            two.get_or_load(b"k", &options(), &mut |key| {
                loads.fetch_add(1, SeqCst);
                failing(key)
            })
        });
        let own = one.get_or_load(b"k", &options(), &mut |key| {
            begun.send(()).unwrap();
            let listens = || server.call(&["PUBSUB", "CHANNELS"]) != serde_json::json!([]);
            eventually("the other process listens", listens);
            failing(key)
        });
        (own.unwrap_err(), waiter.join().unwrap().unwrap_err())
    });
    assert_eq!((own.kind(), own.message()), (ErrorKind::Loader, "the source is away"));
    assert_eq!(told.kind(), ErrorKind::Loader);
    // Told in the moment in which it began to listen, it has tried for itself.
    assert!(loads.into_inner() <= 1);
    assert_eq!(load(&two, b"k", "v").unwrap(), "v");
    assert_eq!(stats(&one).errors + stats(&two).errors, 0);
}

#[test]
fn with_l2_away_each_process_loads_once_and_what_it_loaded_is_replayed() {
    let server = Server::single();
    let cache = open(&server, &[("l2_timeout", "2s")]);
    server.kill();
    wait_for_the_breaker(&cache);
    let caches = [cache.clone()];
    let (got, loads) = together(&caches, 8, b"k", &options(), || {
        thread::sleep(Duration::from_millis(20));
        Ok(Some(Loaded::new("v")))
    });
    assert!(got.into_iter().all(|one| text(one.unwrap()).unwrap() == "v"));
    assert_eq!(loads, 1);
    assert_eq!(text(cache.get_or_load(b"k", &options(), &mut never).unwrap()).unwrap(), "v");
    let error = cache.get_or_load(b"bad", &options(), &mut failing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert_eq!(stats(&cache).queued_writes, 1);
    server.restart();
    eventually("the replay", || server.call(&["EXISTS", "app:k"]) == 1);
}

#[test]
fn l2_may_go_away_during_a_load() {
    let server = Server::single();
    let cache = open(&server, &[("l2_timeout", "2s")]);
    let got = cache.get_or_load(b"k", &options(), &mut |_| {
        server.kill();
        Ok(Some(Loaded::new("v")))
    });
    assert_eq!(text(got.unwrap()).unwrap(), "v");
    assert_eq!(get(&cache, b"k").unwrap(), "v");
    assert_eq!(stats(&cache).queued_writes, 1);
    server.restart();
    eventually("the replay", || server.call(&["EXISTS", "app:k"]) == 1);
}

#[test]
fn tasks_load_once_too_and_a_cancelled_one_is_followed() {
    let server = Server::single();
    let (one, two) = (open(&server, &[]), open(&server, &[]));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = options();
        let hangs = one.get_or_load_bytes(b"k", &options, Box::pin(std::future::pending()));
        let follows = async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if server.call(&["EXISTS", "app:__lc:f:{app:k}"]) == 1 {
                    return;
                }
            }
        };
        // It is dropped while it loads.
        tokio::select! {
            _ = hangs => panic!("it hangs"),
            () = follows => {}
        }
        let load = Box::pin(async { Ok(Some(Loaded::new("v"))) });
        let got = two.get_or_load_bytes(b"k", &options, load).await.unwrap();
        assert_eq!(text(got).unwrap(), "v");
        let load = Box::pin(async { panic!("it is there") });
        let got = one.get_or_load_bytes(b"k", &options, load).await.unwrap();
        assert_eq!(text(got).unwrap(), "v");
    });
}

/// Asks until the answer comes from L1, which is then what is remembered there.
fn in_l1(cache: &AnyCache, key: &[u8], value: Option<&str>) {
    eventually("L1 knows it", || {
        let before = stats(cache);
        assert_eq!(get(cache, key).as_deref(), value);
        let after = stats(cache);
        match value {
            Some(_) => after.l1_hits > before.l1_hits,
            None => after.backfills == before.backfills,
        }
    });
}

#[test]
fn that_there_is_none_is_remembered_in_all_processes() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let (one, two) = (open(&server, &[("negative_ttl", "1h")]), open(&server, &[]));
        let none = |cache: &AnyCache| {
            cache.get_or_load(b"k", &options(), &mut |_| Ok(None)).unwrap().is_none()
        };
        assert!(none(&one));
        for cache in [&one, &two] {
            for _ in 0..3 {
                let got = cache.get_or_load(b"k", &options(), &mut never).unwrap();
                assert!(got.is_none());
            }
            in_l1(cache, b"k", None);
            assert!(get(cache, b"k").is_none() && !cache.exists(b"k").unwrap());
            assert!(cache.get_many(&[b"k"]).unwrap()[0].is_none());
            assert!(cache.ttl(b"k").unwrap().is_none() && !cache.delete(b"other").unwrap());
            assert!(!cache.replace(b"k", b"v", HOUR.into()).unwrap());
        }
        // It is no value that could be deleted, and it is one that may be added.
        assert!(!two.delete(b"k").unwrap());
        assert!(none(&one));
        assert!(two.add(b"k", b"v", HOUR.into()).unwrap());
        eventually("the value is seen", || get(&one, b"k").as_deref() == Some("v"));
        let got = one.get_or_load(b"k", &options(), &mut never).unwrap();
        assert_eq!(text(got).unwrap(), "v");
        // A set ends it too, at once in its own process.
        assert!(two.delete(b"k").unwrap());
        eventually("it is gone", || get(&one, b"k").is_none());
        assert!(none(&one));
        one.set(b"k", b"w", HOUR.into()).unwrap();
        assert_eq!(get(&one, b"k").unwrap(), "w");
        eventually("the value is seen", || get(&two, b"k").as_deref() == Some("w"));
    }
}

#[test]
fn with_l2_away_it_is_remembered_here() {
    let server = Server::single();
    let cache = open(&server, &[("negative_ttl", "1h"), ("l2_timeout", "2s")]);
    server.kill();
    wait_for_the_breaker(&cache);
    assert!(cache.get_or_load(b"k", &options(), &mut |_| Ok(None)).unwrap().is_none());
    assert!(cache.get_or_load(b"k", &options(), &mut never).unwrap().is_none());
    assert_eq!(stats(&cache).queued_writes, 0);
    cache.set(b"k", b"v", HOUR.into()).unwrap();
    assert_eq!(get(&cache, b"k").unwrap(), "v");
}

#[test]
fn a_value_past_its_ttl_is_served_where_a_load_or_l2_fails() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let set = [("stale_ttl", "1h"), ("l2_timeout", "5s")];
        let (one, two) = (open(&server, &set), open(&server, &set));
        let brief = Duration::from_millis(500).into();
        one.set(b"k", b"old", brief).unwrap();
        one.set_many(&[(b"many", b"old"), (b"gone", b"old")], brief).unwrap();
        for cache in [&one, &two] {
            assert_eq!(get(cache, b"k").unwrap(), "old");
            assert_eq!(get(cache, b"many").unwrap(), "old");
        }
        for cache in [&one, &two] {
            for key in [&b"k"[..], b"many"] {
                eventually("its time is over", || get(cache, key).is_none());
                assert!(!cache.exists(key).unwrap() && cache.ttl(key).unwrap().is_none());
                let got = cache.get_or_load(key, &options(), &mut failing).unwrap();
                assert_eq!(text(got).unwrap(), "old");
            }
            assert_eq!(stats(cache).stale_served, 2);
        }
        // It is no value that could be deleted.
        assert!(!one.delete(b"gone").unwrap());
        let error = one.get_or_load(b"gone", &options(), &mut failing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(load(&one, b"many", "new").unwrap(), "new");
        eventually("the new value is seen", || get(&two, b"many").as_deref() == Some("new"));

        server.kill();
        wait_for_the_breaker(&one);
        let found = one.get_ex(b"k", Default::default()).unwrap().unwrap();
        assert!(found.stale && &*found.value == b"old");
        assert!(!one.exists(b"k").unwrap());
        assert_eq!(one.get_many(&[b"k"]).unwrap()[0].as_deref(), Some(&b"old"[..]));
        let got = one.get_or_load(b"k", &options(), &mut failing).unwrap();
        assert_eq!(text(got).unwrap(), "old");
        assert_eq!(load(&one, b"k", "newer").unwrap(), "newer");
        assert_eq!(get(&one, b"k").unwrap(), "newer");
        server.restart();
        eventually("the replay", || server.call(&["EXISTS", "app:k"]) == 1);
        let left = server.call(&["PTTL", "app:k"]).as_i64().unwrap();
        assert!(left > 3_600_000, "the window comes after the TTL: {left}");
        eventually("it is seen", || get(&two, b"k").as_deref() == Some("newer"));
    }
}

#[test]
fn a_window_of_ones_own_and_a_new_ttl() {
    let server = Server::single();
    let (one, two) = (open(&server, &[]), open(&server, &[]));
    let mut own = SetOptions::new(Duration::from_secs(60));
    own.stale = lighter_cache::Stale::For(HOUR);
    one.set_ex(b"k", b"v", &own).unwrap();
    let short = |cache: &AnyCache, most: u64| {
        let left = cache.ttl(b"k").unwrap();
        matches!(left, Some(lighter_cache::Remaining::For(left)) if left <= Duration::from_secs(most))
    };
    let left = |server: &Server| server.call(&["PTTL", "app:k"]).as_i64().unwrap();
    for cache in [&one, &two] {
        assert_eq!(get(cache, b"k").unwrap(), "v");
        assert!(short(cache, 60));
        let found = cache.get_ex(b"k", Default::default()).unwrap().unwrap();
        assert!(matches!(found.remaining, lighter_cache::Remaining::For(left)
            if left <= Duration::from_secs(60)));
    }
    assert!(left(&server) > 3_600_000);
    assert!(two.expire(b"k", Duration::from_secs(10).into()).unwrap());
    eventually("the new TTL is seen", || short(&one, 10));
    assert!(left(&server) > 3_600_000);
    // Without one there is no window.
    own.stale = lighter_cache::Stale::For(Duration::ZERO);
    one.set_ex(b"k", b"w", &own).unwrap();
    assert!(left(&server) <= 60_000);
}

#[test]
fn a_value_that_is_due_is_loaded_anew_by_one() {
    let server = Server::single();
    let set = [("refresh_ahead", "0.5")];
    let (cache, other) = (open(&server, &set), open(&server, &set));
    // Past half of the hour.
    let age = || cache.set(b"k", b"old", (HOUR / 3).into()).unwrap();
    age();
    let got = cache.get_or_load(b"k", &options(), &mut |_| {
        // The others get the present one meanwhile, and do not wait.
        let got = other.get_or_load(b"k", &options(), &mut never).unwrap();
        assert_eq!(text(got).unwrap(), "old");
        let got = thread::scope(|scope| {
            scope.spawn(|| cache.get_or_load(b"k", &options(), &mut never).unwrap()).join().unwrap()
        });
        assert_eq!(text(got).unwrap(), "old");
        Ok(Some(Loaded::new("new")))
    });
    assert_eq!(text(got.unwrap()).unwrap(), "old");
    assert_eq!(text(cache.get_or_load(b"k", &options(), &mut never).unwrap()).unwrap(), "new");
    eventually("the others see it", || get(&other, b"k").as_deref() == Some("new"));
    age();
    assert_eq!(text(cache.get_or_load(b"k", &options(), &mut failing).unwrap()).unwrap(), "old");
    // In the background, where the loader owns what it needs.
    let newer = std::sync::Arc::new(|_: &[u8]| Ok(Some(Loaded::new("newer"))));
    let owned = || text(cache.get_or_load_owned(b"k", &options(), newer.clone()).unwrap()).unwrap();
    assert_eq!(owned(), "old");
    eventually("it is loaded anew", || owned() == "newer");
}

#[test]
fn what_l1_keeps_for_less_is_not_due_for_that() {
    let server = Server::single();
    let cache = open(&server, &[("refresh_ahead", "0.5"), ("l1.max_ttl", "10s")]);
    load(&cache, b"k", "v");
    for _ in 0..10 {
        let got = cache.get_or_load(b"k", &options(), &mut never).unwrap();
        assert_eq!(text(got).unwrap(), "v");
    }
    cache.set(b"set", b"v", HOUR.into()).unwrap();
    let got = cache.get_or_load(b"set", &options(), &mut never).unwrap();
    assert_eq!(text(got).unwrap(), "v");
    assert!(stats(&cache).l1_hits >= 2);
}

#[test]
fn tasks_reload_and_remember_too() {
    let server = Server::single();
    let set = [("refresh_ahead", "0.5"), ("negative_ttl", "1h"), ("stale_ttl", "1h")];
    let cache = open(&server, &set);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    cache.set(b"k", b"old", (HOUR / 3).into()).unwrap();
    cache.set(b"stale", b"old", Duration::from_millis(1).into()).unwrap();
    runtime.block_on(async {
        let options = options();
        let load = |key: &'static [u8], result: lighter_cache::Result<Option<Loaded>>| {
            cache.get_or_load_bytes(key, &options, Box::pin(async move { result }))
        };
        let away = || Err(Error::new(ErrorKind::Loader, "the source is away"));
        assert_eq!(text(load(b"k", away()).await.unwrap()).unwrap(), "old");
        assert_eq!(text(load(b"k", Ok(Some(Loaded::new("new")))).await.unwrap()).unwrap(), "new");
        assert_eq!(text(load(b"k", away()).await.unwrap()).unwrap(), "new");
        assert!(load(b"none", Ok(None)).await.unwrap().is_none());
        assert!(load(b"none", away()).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(text(load(b"stale", away()).await.unwrap()).unwrap(), "old");
    });
}
