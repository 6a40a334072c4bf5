//! `get_or_load` on Redis: one load per key of all processes together, for which several caches stand here.

mod support;
#[path = "support/together.rs"]
mod together;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, CacheStats, Error, ErrorKind, Loaded, Remaining,
    SetOptions, Stale, Ttl, Value, config::Config,
};
use support::{SERVERS, Server, eventually};
use together::together;

const HOUR: Duration = Duration::from_secs(3600);

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn options() -> SetOptions {
    SetOptions::new(HOUR)
}

fn get(cache: &AnyCache, key: &[u8], value: &str) -> lighter_cache::Result<Option<Value>> {
    cache.get_or_load(key, &options(), &mut |_| Ok(Some(Loaded::new(value))))
}

fn text(value: Option<Value>) -> Option<String> {
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn never(_: &[u8]) -> lighter_cache::Result<Option<Loaded>> {
    panic!("there is nothing to load")
}

fn failing(_: &[u8]) -> lighter_cache::Result<Option<Loaded>> {
    Err(Error::new(ErrorKind::Loader, "the source is away"))
}

fn stats(cache: &AnyCache) -> CacheStats {
    BlockingCache::stats(cache).unwrap()
}

fn short(remaining: Option<Remaining>, most: Duration) -> bool {
    matches!(remaining, Some(Remaining::For(left)) if left <= most)
}

/// What one process sees.
fn alone(url: &str) {
    let cache = open(url);
    assert_eq!(text(get(&cache, b"k", "v").unwrap()).unwrap(), "v");
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"v");
    assert!(short(cache.ttl(b"k").unwrap(), HOUR));
    assert_eq!(&*cache.get_or_load(b"k", &options(), &mut never).unwrap().unwrap(), b"v");
    assert_eq!((stats(&cache).misses, stats(&cache).sets), (1, 1));

    // There is none, which is not remembered unless asked for.
    assert!(cache.get_or_load(b"none", &options(), &mut |_| Ok(None)).unwrap().is_none());
    assert!(get(&cache, b"none", "now").unwrap().is_some());
    let error = cache.get_or_load(b"bad", &options(), &mut failing).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Loader, "the source is away"));
    assert_eq!(text(get(&cache, b"bad", "mended").unwrap()).unwrap(), "mended");

    // The loader knows better how to store it; what is not to be kept is not.
    let mut own = Loaded::new("v");
    own.options = Some(SetOptions::new(Duration::from_secs(60)));
    cache.get_or_load(b"own", &options(), &mut |_| Ok(Some(own.clone()))).unwrap();
    assert!(short(cache.ttl(b"own").unwrap(), Duration::from_secs(60)));
    own.options = Some(SetOptions::new(Duration::ZERO));
    let got = cache.get_or_load(b"over", &options(), &mut |_| Ok(Some(own.clone()))).unwrap();
    assert!(got.is_some() && !cache.exists(b"over").unwrap());

    // Tags, also those that are invalidated while the value is loaded.
    let mut tagged = options();
    tagged.tags.push(b"tag".to_vec());
    let load = |meanwhile: &dyn Fn()| {
        let mut loader = |_: &[u8]| {
            meanwhile();
            Ok(Some(Loaded::new("v")))
        };
        cache.get_or_load(b"tagged", &tagged, &mut loader).unwrap()
    };
    assert!(load(&|| ()).is_some() && cache.exists(b"tagged").unwrap());
    cache.invalidate_tag(b"tag").unwrap();
    assert!(load(&|| cache.invalidate_tag(b"tag").unwrap()).is_some());
    assert!(!cache.exists(b"tagged").unwrap());
    assert!(load(&|| ()).is_some() && cache.exists(b"tagged").unwrap());

    // Its own key again, another one, and what is no key.
    let nested = cache.get_or_load(b"outer", &options(), &mut |key| {
        assert_eq!(get(&cache, key, "x").unwrap_err().kind(), ErrorKind::Reentrant);
        Ok(get(&cache, b"inner", "v")?.map(|value| Loaded::new(value.to_vec())))
    });
    assert_eq!(text(nested.unwrap()).unwrap(), "v");
    assert_eq!(get(&cache, b"", "v").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(get(&cache, b"__lc:x", "v").unwrap_err().kind(), ErrorKind::Invalid);
    cache.clear().unwrap();
}

fn patient(server: &Server, options: &str) -> String {
    server.url_with(&format!("prefix=app{options}"))
}

#[test]
fn on_every_server() {
    for name in SERVERS {
        let server = Server::start("single", name);
        for options in ["", "&protocol=2", "&single_flight=process", "&compress=zstd"] {
            alone(&patient(&server, options));
        }
        // No lease stays behind.
        eventually("all leases are given back", || {
            server.call(&["KEYS", "*:f:*"]) == serde_json::json!([])
        });
    }
}

#[test]
fn on_a_cluster_and_encrypted() {
    let server = Server::start("cluster", "valkey");
    let key = format!("&encryption_keys=1:{}", "A".repeat(43) + "%3D");
    for options in ["", &key] {
        alone(&patient(&server, options));
    }
    let cache = open(&patient(&server, ""));
    // Whatever braces a key has.
    for key in [&b"{a}b"[..], b"a}b", b"{", b"}{", b"{}", b"*\0\xff\r\n"] {
        assert_eq!(text(get(&cache, key, "v").unwrap()).unwrap(), "v");
        assert!(cache.delete(key).unwrap());
    }
}

#[test]
fn one_of_all_processes_loads() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let caches: Vec<_> = (0..4).map(|_| open(&patient(&server, ""))).collect();
        for round in 0..10 {
            let (got, loads) = together(&caches, 4, b"shared", &options(), || {
                thread::sleep(Duration::from_millis(5 * round));
                Ok(Some(Loaded::new("v")))
            });
            assert!(got.into_iter().all(|one| text(one.unwrap()).unwrap() == "v"));
            assert_eq!(loads, 1);
            assert!(caches[0].delete(b"shared").unwrap());
        }
        let coalesced: u64 = caches.iter().map(|cache| stats(cache).coalesced).sum();
        assert!(coalesced >= 10, "{coalesced}");
        assert!(caches.iter().all(|cache| stats(cache).errors == 0));
    }
}

/// What two processes get of which one waits while the other's load fails. What is said in the moment in
/// which the waiter begins to listen it may miss, and then it loads for itself: asked again until not.
fn one_fails_and_one_waits(
    server: &Server,
    caches: [&AnyCache; 2],
) -> [lighter_cache::Result<Option<Value>>; 2] {
    let [one, two] = caches;
    for _ in 0..50 {
        let (begun, loading) = channel();
        let loaded = AtomicU32::new(0);
        let got = thread::scope(|scope| {
            let loaded = &loaded;
            let waiter = scope.spawn(move || {
                loading.recv().unwrap();
                two.get_or_load(b"k", &options(), &mut |key| {
                    loaded.fetch_add(1, SeqCst);
                    failing(key)
                })
            });
            let listens = || server.call(&["PUBSUB", "CHANNELS"]) != serde_json::json!([]);
            let got = one.get_or_load(b"k", &options(), &mut |key| {
                begun.send(()).unwrap();
                eventually("the other process listens", listens);
                failing(key)
            });
            [got, waiter.join().unwrap()]
        });
        if loaded.into_inner() == 0 {
            return got;
        }
        let silent = || server.call(&["PUBSUB", "CHANNELS"]) == serde_json::json!([]);
        eventually("nobody listens", silent);
    }
    panic!("the waiter is never told");
}

#[test]
fn a_failed_load_is_told_to_all_who_wait_and_not_to_the_next() {
    let server = Server::single();
    let (one, two) = (open(&patient(&server, "")), open(&patient(&server, "")));
    let [own, told] = one_fails_and_one_waits(&server, [&one, &two]).map(Result::unwrap_err);
    assert_eq!((own.kind(), own.message()), (ErrorKind::Loader, "the source is away"));
    assert_eq!(told.kind(), ErrorKind::Loader);
    assert!(
        told.message().contains("load of another process failed: the source is away"),
        "{told}"
    );
    assert_eq!(text(get(&two, b"k", "v").unwrap()).unwrap(), "v");
}

#[test]
fn who_waits_for_a_load_that_fails_gets_the_stale_value_too() {
    let server = Server::single();
    let open = || open(&patient(&server, "&stale_ttl=1h"));
    let (one, two) = (open(), open());
    one.set(b"k", b"old", Ttl::After(Duration::from_millis(1))).unwrap();
    eventually("its time is over", || one.get(b"k").unwrap().is_none());
    for got in one_fails_and_one_waits(&server, [&one, &two]) {
        assert_eq!(text(got.unwrap()).unwrap(), "old");
    }
    assert!([&one, &two].iter().all(|cache| stats(cache).stale_served > 0));
}

#[test]
fn an_owner_who_died_is_followed_when_its_lease_ends() {
    let server = Server::single();
    let cache = open(&patient(&server, ""));
    let lease = |ms: &str| server.call(&["SET", "app:__lc:f:{app:k}", "dead", "PX", ms]);
    lease("200");
    let began = Instant::now();
    assert_eq!(text(get(&cache, b"k", "v").unwrap()).unwrap(), "v");
    assert!(began.elapsed() >= Duration::from_millis(150));

    // Who wants to wait no longer does not.
    cache.delete(b"k").unwrap();
    lease("600000");
    let mut impatient = options();
    impatient.timeout = Some(Duration::from_millis(100));
    let error = cache.get_or_load(b"k", &impatient, &mut never).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // Inside of a loader nobody waits.
    let nested = cache.get_or_load(b"outer", &options(), &mut |_| {
        Ok(get(&cache, b"k", "v")?.map(|value| Loaded::new(value.to_vec())))
    });
    assert_eq!(text(nested.unwrap()).unwrap(), "v");
}

#[test]
fn what_is_loaded_late_or_was_overtaken_is_not_stored() {
    let server = Server::single();
    let (cache, other) = (open(&patient(&server, "")), open(&patient(&server, "")));
    let during = |meanwhile: &dyn Fn()| {
        let got = cache.get_or_load(b"k", &options(), &mut |_| {
            meanwhile();
            Ok(Some(Loaded::new("loaded")))
        });
        // The callers get it all the same.
        assert_eq!(text(got.unwrap()).unwrap(), "loaded");
        let stored = cache.get(b"k").unwrap();
        server.call(&["DEL", "app:k", "app:__lc:f:{app:k}"]);
        text(stored)
    };
    assert_eq!(during(&|| ()).unwrap(), "loaded");
    // Another took the lease over, when this one's had run out.
    assert_eq!(during(&|| drop(server.call(&["SET", "app:__lc:f:{app:k}", "other"]))), None);
    assert_eq!(during(&|| other.set(b"k", b"newer", HOUR.into()).unwrap()).unwrap(), "newer");
    // What begins otherwise is not concerned.
    assert_eq!(
        during(&|| assert_eq!(other.delete_prefix(b"other").unwrap(), 0)).unwrap(),
        "loaded"
    );
}

/// All ways to remove `k`, or what would be there if a load did not take so long.
const REMOVALS: [fn(&AnyCache); 10] = [
    |cache| assert!(cache.delete(b"k").is_ok()),
    |cache| assert!(cache.delete_many(&[b"k", b"other"]).is_ok()),
    |cache| assert!(cache.delete_prefix(b"").is_ok()),
    |cache| assert!(cache.delete_prefix(b"k").is_ok()),
    |cache| cache.clear().unwrap(),
    |cache| cache.set(b"k", b"v", Ttl::After(Duration::ZERO)).unwrap(),
    |cache| cache.set_many(&[(b"k", b"v")], Ttl::After(Duration::ZERO)).unwrap(),
    |cache| cache.set_ex(b"k", b"v", &SetOptions::new(Duration::ZERO)).unwrap(),
    |cache| assert!(cache.expire(b"k", Ttl::After(Duration::ZERO)).is_ok()),
    |cache| {
        cache.set(b"k", b"v", HOUR.into()).unwrap();
        assert!(cache.replace(b"k", b"v", Ttl::After(Duration::ZERO)).unwrap());
    },
];

#[test]
fn what_was_removed_during_its_load_does_not_come_back() {
    let removed_meanwhile = |server: &Server, options: &str| {
        let (cache, other) = (open(&patient(server, options)), open(&patient(server, options)));
        for (at, remove) in REMOVALS.iter().enumerate() {
            let got = cache.get_or_load(b"k", &self::options(), &mut |_| {
                remove(&other);
                Ok(Some(Loaded::new("from before")))
            });
            // The caller gets it all the same.
            assert_eq!(text(got.unwrap()).unwrap(), "from before");
            assert!(cache.get(b"k").unwrap().is_none(), "removal {at}, {options}");
            // The next load is stored.
            assert!(get(&cache, b"k", "v").unwrap().is_some());
            assert_eq!(text(cache.get(b"k").unwrap()).unwrap(), "v");
            assert!(cache.delete(b"k").unwrap());
            // Inside of a loader it is loaded beside another process that does it, and both hear of it.
            let (begun, ended) = (Barrier::new(2), Barrier::new(2));
            let nested = thread::scope(|scope| {
                scope.spawn(|| {
                    let got = other.get_or_load(b"k", &self::options(), &mut |_| {
                        begun.wait();
                        ended.wait();
                        Ok(Some(Loaded::new("from before")))
                    });
                    assert!(got.unwrap().is_some());
                });
                begun.wait();
                let outer = cache.get_or_load(b"outer", &self::options(), &mut |_| {
                    let got = cache.get_or_load(b"k", &self::options(), &mut |_| {
                        remove(&other);
                        Ok(Some(Loaded::new("from before")))
                    });
                    assert!(got.unwrap().is_some());
                    Ok(None)
                });
                assert!(outer.unwrap().is_none());
                let stored = cache.get(b"k").unwrap();
                ended.wait();
                stored
            });
            assert!(nested.is_none(), "nested removal {at}, {options}");
            assert!(cache.get(b"k").unwrap().is_none(), "removal of two {at}, {options}");
        }
    };
    let single = Server::single();
    removed_meanwhile(&single, "");
    removed_meanwhile(&single, "&single_flight=process");
    removed_meanwhile(&single, "&wire=raw");
    let cluster = Server::start("cluster", "valkey");
    removed_meanwhile(&cluster, "");
    removed_meanwhile(&cluster, "&wire=raw&single_flight=process");
}

#[test]
fn each_process_may_load_for_itself() {
    let server = Server::single();
    let open = || open(&patient(&server, "&single_flight=process"));
    let caches = [open(), open()];
    let loading = Barrier::new(2);
    let (got, loads) = together(&caches, 1, b"shared", &options(), || {
        loading.wait();
        Ok(Some(Loaded::new("v")))
    });
    assert!(got.into_iter().all(|one| text(one.unwrap()).unwrap() == "v"));
    assert_eq!(loads, 2);
    assert_eq!(text(caches[0].get(b"shared").unwrap()).unwrap(), "v");
    assert_eq!(server.call(&["KEYS", "app:__lc:*"]), serde_json::json!([]));
}

#[test]
fn a_failure_is_nothing_to_the_next_call() {
    let server = Server::single();
    let cache = open(&patient(&server, ""));
    let client = redis::Client::open(server.url()).unwrap();
    let mut plain = client.get_connection().unwrap();
    for _ in 0..200 {
        let error = cache.get_or_load(b"k", &options(), &mut failing).unwrap_err();
        // Who finds the lease would wait, and might hear of this very failure.
        let held: bool = redis::cmd("EXISTS").arg("app:__lc:f:{app:k}").query(&mut plain).unwrap();
        assert!(!held);
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(text(get(&cache, b"k", "loaded").unwrap()).unwrap(), "loaded");
        assert!(cache.delete(b"k").unwrap());
    }
}

#[test]
fn stale_values_are_served_where_a_load_fails() {
    let server = Server::single();
    let cache = open(&patient(&server, "&stale_ttl=1h"));
    cache.set(b"k", b"old", Ttl::After(Duration::from_millis(300))).unwrap();
    cache.set_many(&[(b"many", b"old")], Ttl::After(Duration::from_millis(300))).unwrap();
    assert!(short(cache.ttl(b"k").unwrap(), Duration::from_millis(300)));
    assert_eq!(&*cache.get_or_load(b"k", &options(), &mut never).unwrap().unwrap(), b"old");
    for key in [&b"k"[..], b"many"] {
        eventually("its time is over", || cache.get(key).unwrap().is_none());
        assert!(!cache.exists(key).unwrap());
        let got = cache.get_or_load(key, &options(), &mut failing).unwrap().unwrap();
        assert_eq!(&*got, b"old");
    }
    assert_eq!(stats(&cache).stale_served, 2);
    assert_eq!(text(get(&cache, b"k", "new").unwrap()).unwrap(), "new");
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"new");
    // There is none any more: neither is the old one.
    assert!(cache.get_or_load(b"many", &options(), &mut |_| Ok(None)).unwrap().is_none());
    let error = cache.get_or_load(b"many", &options(), &mut failing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    let mut own = options();
    own.stale = Stale::For(Duration::ZERO);
    cache.set_ex(b"k", b"v", &own).unwrap();
    assert!(short(cache.ttl(b"k").unwrap(), HOUR));
}

#[test]
fn that_there_is_none_is_remembered_as_long_as_asked_for() {
    let server = Server::single();
    let cache = open(&patient(&server, "&negative_ttl=1h"));
    let other = open(&patient(&server, ""));
    assert!(cache.get_or_load(b"k", &options(), &mut |_| Ok(None)).unwrap().is_none());
    assert!(other.get_or_load(b"k", &options(), &mut never).unwrap().is_none());
    for cache in [&cache, &other] {
        assert!(cache.get(b"k").unwrap().is_none() && !cache.exists(b"k").unwrap());
        assert!(cache.get_many(&[b"k"]).unwrap()[0].is_none());
    }
    assert!(cache.add(b"k", b"v", HOUR.into()).unwrap());
    assert_eq!(&*other.get_or_load(b"k", &options(), &mut never).unwrap().unwrap(), b"v");
}

#[test]
fn a_value_that_is_due_is_loaded_anew_by_one() {
    let server = Server::single();
    let cache = open(&patient(&server, "&refresh_ahead=0.5"));
    let other = open(&patient(&server, "&refresh_ahead=0.5"));
    // Past half of the hour.
    let age = || cache.set(b"k", b"old", Ttl::After(HOUR / 3)).unwrap();
    age();
    let got = cache.get_or_load(b"k", &options(), &mut |_| {
        // The others get the present one meanwhile.
        let got = other.get_or_load(b"k", &options(), &mut never).unwrap();
        assert_eq!(text(got).unwrap(), "old");
        Ok(Some(Loaded::new("new")))
    });
    assert_eq!(text(got.unwrap()).unwrap(), "old");
    assert_eq!(&*cache.get_or_load(b"k", &options(), &mut never).unwrap().unwrap(), b"new");
    age();
    assert_eq!(&*cache.get_or_load(b"k", &options(), &mut failing).unwrap().unwrap(), b"old");
    // In the background, where the loader owns what it needs: by whoever asks when the lease of the load
    // that failed has been given back.
    let load = std::sync::Arc::new(|_: &[u8]| Ok(Some(Loaded::new("newer"))));
    assert_eq!(
        text(cache.get_or_load_owned(b"k", &options(), load.clone()).unwrap()).unwrap(),
        "old"
    );
    eventually("it is loaded anew", || {
        let got = cache.get_or_load_owned(b"k", &options(), load.clone()).unwrap();
        text(got).unwrap() == "newer"
    });
}

#[test]
fn tasks_load_once_too_and_a_cancelled_one_is_followed() {
    let server = Server::single();
    let (one, two) = (open(&patient(&server, "")), open(&patient(&server, "")));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = options();
        let hangs = one.get_or_load_bytes(b"k", &options, Box::pin(std::future::pending()));
        let follows = async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if two.count_bytes().await.unwrap() == 0
                    && server.call(&["EXISTS", "app:__lc:f:{app:k}"]) == 1
                {
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
