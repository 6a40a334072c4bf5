//! Locks in Redis: one holder at a time, fences that grow, leases that end, and waiters that are woken.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Lock, config::Config};
use support::{SERVERS, Server, eventually};

const MINUTE: Duration = Duration::from_secs(60);
const NAME: &[u8] = b"*job}\0\xff{";

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn take(cache: &AnyCache, lease: Duration) -> Option<Lock> {
    cache.lock(NAME, lease, Duration::ZERO).unwrap()
}

fn one_holder(cache: &AnyCache, other: &AnyCache) {
    let first = take(cache, MINUTE).unwrap();
    assert!(take(other, MINUTE).is_none());
    assert!(take(cache, MINUTE).is_none());
    assert!(first.extend(MINUTE).unwrap());
    let mut fence = first.fence();
    assert!(first.release().unwrap());
    for n in 0..20 {
        let taker = if n % 2 == 0 { other } else { cache };
        let lock = taker.lock(NAME, MINUTE, MINUTE).unwrap().unwrap();
        assert!(lock.fence() > fence);
        fence = lock.fence();
        // Dropping gives back too.
        if n % 3 == 0 {
            assert!(lock.release().unwrap());
        }
    }

    let short = cache.lock(NAME, Duration::from_millis(20), MINUTE).unwrap().unwrap();
    let next = other.lock(NAME, MINUTE, MINUTE).unwrap().unwrap();
    assert!(next.fence() > short.fence());
    assert!(!short.extend(MINUTE).unwrap());
    assert!(!short.release().unwrap());
    assert!(next.extend(MINUTE).unwrap());
    assert!(take(cache, MINUTE).is_none());
    assert!(next.release().unwrap());

    let began = Instant::now();
    let held = take(cache, MINUTE).unwrap();
    let wait = Duration::from_millis(100);
    assert!(other.lock(NAME, MINUTE, wait).unwrap().is_none());
    assert!(began.elapsed() >= wait && began.elapsed() < Duration::from_secs(20));
    drop(held);
    assert!(other.lock(NAME, MINUTE, MINUTE).unwrap().unwrap().release().unwrap());

    for zero in [Duration::ZERO, Duration::from_secs(u64::MAX)] {
        let refused = cache.lock(NAME, zero, Duration::ZERO).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    assert_eq!(cache.lock(b"", MINUTE, MINUTE).unwrap_err().kind(), ErrorKind::Invalid);
    let long = vec![b'n'; 65_537];
    assert_eq!(cache.lock(&long, MINUTE, MINUTE).unwrap_err().kind(), ErrorKind::TooBig);
    assert_eq!(cache.count().unwrap(), 0);
}

/// Each takes the lock again and again, and finds nobody else inside.
fn exclusion(url: &str) {
    let (inside, rounds, last) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let cache = open(url);
                for _ in 0..15 {
                    let lock = cache.lock(b"all", MINUTE, MINUTE).unwrap().unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    assert!(last.swap(lock.fence(), Ordering::SeqCst) < lock.fence());
                    rounds.fetch_add(1, Ordering::SeqCst);
                    assert!(inside.swap(false, Ordering::SeqCst));
                    assert!(lock.release().unwrap());
                }
            });
        }
    });
    assert_eq!(rounds.into_inner(), 90);
}

#[test]
fn on_every_server_and_protocol() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        for protocol in [2, 3] {
            let url = servers.url_with(&format!(
                "prefix=%2A&protocol={protocol}&timeout=20s&connect_timeout=20s"
            ));
            one_holder(&open(&url), &open(&url));
            exclusion(&url);
        }
    }
}

#[test]
fn on_a_cluster() {
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        for prefix in ["app", "a%7Bb", "%7B%7D"] {
            let url = servers.url_with(&format!("prefix={prefix}&timeout=20s&connect_timeout=20s"));
            one_holder(&open(&url), &open(&url));
        }
        exclusion(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    }
}

#[test]
fn behind_sentinels() {
    let servers = Server::start("sentinel", "valkey");
    let url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
    one_holder(&open(&url), &open(&url));
    exclusion(&url);
}

#[test]
fn a_waiter_is_woken_when_it_is_given_back() {
    let servers = Server::single();
    let url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
    let (cache, other) = (open(&url), open(&url));
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let held = take(&cache, MINUTE).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let lock = other.lock(NAME, MINUTE, MINUTE).unwrap().unwrap();
                let now = Instant::now();
                assert!(lock.release().unwrap());
                now
            });
            let channel = "app:__lc:w:*";
            eventually("it listens", || {
                !servers.call(&["PUBSUB", "CHANNELS", channel]).as_array().unwrap().is_empty()
            });
            let began = Instant::now();
            assert!(held.release().unwrap());
            fastest = fastest.min(waiter.join().unwrap() - began);
        });
        eventually("it listens no more", || {
            servers.call(&["PUBSUB", "CHANNELS", "*"]).as_array().unwrap().is_empty()
        });
    }
    // Well below the time after which it would have asked by itself.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn tasks_take_it_one_at_a_time() {
    let servers = Server::single();
    for kind in ["", "hybrid+"] {
        let url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
        let cache = open(&format!("{kind}{url}"));
        let inside = std::sync::Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (cache, inside) = (cache.clone(), inside.clone());
                async move {
                    let mut last = 0;
                    for _ in 0..10 {
                        let lock = cache.lock_bytes(NAME, MINUTE, MINUTE).await.unwrap().unwrap();
                        assert!(!inside.swap(true, Ordering::SeqCst));
                        assert!(lock.fence() > last);
                        last = lock.fence();
                        assert!(lock.extend_async(MINUTE).await.unwrap());
                        assert!(inside.swap(false, Ordering::SeqCst));
                        assert!(lock.release_async().await.unwrap());
                    }
                }
            })
            .collect();
        let runtime = runtime();
        let running: Vec<_> = tasks.into_iter().map(|task| runtime.spawn(task)).collect();
        for task in running {
            runtime.block_on(task).unwrap();
        }
    }
}

#[test]
fn a_task_that_is_dropped_gives_it_back() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    let runtime = runtime();
    let soon = Duration::from_millis(30);
    let drop_amid = |wait: Duration| {
        runtime.block_on(async {
            let taking = cache.lock_bytes(NAME, MINUTE, wait);
            assert!(tokio::time::timeout(soon, taking).await.is_err());
        });
    };
    // Amid the wait for another's.
    let held = take(&cache, MINUTE).unwrap();
    drop_amid(MINUTE);
    assert!(held.release().unwrap());
    // Amid a trip of which nobody hears whether it took it.
    servers.verb("pause");
    drop_amid(Duration::ZERO);
    servers.verb("resume");
    assert!(cache.lock(NAME, MINUTE, MINUTE / 2).unwrap().unwrap().release().unwrap());
    // Taken, and given back without a wait.
    let held = runtime.block_on(cache.lock_bytes(NAME, MINUTE, Duration::ZERO)).unwrap().unwrap();
    held.abandon();
    assert!(cache.lock(NAME, MINUTE, MINUTE / 2).unwrap().unwrap().release().unwrap());
}

#[test]
fn many_waiters_get_it_one_after_the_other() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    let held = take(&cache, MINUTE).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                assert!(cache.lock(NAME, MINUTE, MINUTE).unwrap().unwrap().release().unwrap());
            });
        }
        assert!(held.release().unwrap());
    });
}

#[test]
fn a_lock_that_was_lost_is_known_to_be() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    for forget_scripts in [false, true] {
        let lock = take(&cache, MINUTE).unwrap();
        let fence = lock.fence();
        servers.call(&["FLUSHALL"]);
        if forget_scripts {
            servers.call(&["SCRIPT", "FLUSH"]);
        }
        assert!(!lock.extend(MINUTE).unwrap());
        // The fence grows all the same.
        let next = take(&cache, MINUTE).unwrap();
        assert!(next.fence() > fence);
        assert!(!lock.release().unwrap());
        assert!(next.release().unwrap());
    }
}

#[test]
fn a_server_that_is_away_ends_the_wait() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=1s&connect_timeout=2s"));
    let held = take(&cache, MINUTE).unwrap();
    servers.pause();
    let began = Instant::now();
    let refused = cache.lock(NAME, MINUTE, Duration::from_secs(2)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Timeout | ErrorKind::Connect), "{refused:?}");
    drop(held);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    servers.resume();
    eventually("the dropped one is free", || take(&cache, MINUTE).is_some());
}

#[test]
fn a_forked_child_holds_none_of_its_parents() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    let held = cache.lock(NAME, MINUTE, Duration::ZERO).unwrap().unwrap();
    // SAFETY: the child calls nothing but the library, which goes on after a fork whatever the other
    // threads were doing, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let alone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let lost = matches!(held.extend(MINUTE), Ok(false));
            let taken = matches!(cache.lock(NAME, MINUTE, Duration::ZERO), Ok(None));
            let own = cache.lock(b"own", MINUTE, Duration::ZERO).ok().flatten();
            lost && taken
                && own.is_some_and(|own| own.release().is_ok_and(|released| released))
                && held.release().is_ok_and(|released| !released)
        }));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!alone.unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable, and `child` a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(held.extend(MINUTE).unwrap());
    assert!(held.release().unwrap());
}
