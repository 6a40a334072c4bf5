//! RedisCache under many threads, in forked children, and around the library's own runtime.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Ttl, config::Config, runtime};
use support::{SERVERS, Server};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

/// A value that tells whose it is and whether it is whole.
fn value_of(key: &str, version: u64) -> Vec<u8> {
    let text = format!("{key}/{version}/");
    let length = 20 + (version as usize * 7919) % 4000;
    text.bytes().cycle().take(text.len() + length).collect()
}

fn check(key: &str, value: &[u8]) {
    let text = value.split(|&byte| byte == b'/').nth(1).expect("a version");
    let version: u64 = std::str::from_utf8(text).unwrap().parse().unwrap();
    assert!(value == value_of(key, version), "{key} got another's value, or a torn one");
}

/// Gets and sets of `threads` threads on shared keys; each value read must be whole and its key's.
fn hammer(cache: &AnyCache, threads: u64, rounds: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for round in 0..rounds {
                    let key = format!("key{}", (thread * 31 + round * 17) % 40);
                    match (thread + round) % 4 {
                        0 => cache.set(key.as_bytes(), &value_of(&key, round), HOUR).unwrap(),
                        1 => {
                            let other = format!("key{}", round % 40);
                            let keys = [key.as_bytes(), other.as_bytes()];
                            let values = cache.get_many(&keys).unwrap();
                            for (key, value) in [key, other].iter().zip(values) {
                                value.iter().for_each(|value| check(key, value));
                            }
                        }
                        _ => {
                            let value = cache.get(key.as_bytes()).unwrap();
                            value.iter().for_each(|value| check(&key, value));
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn no_thread_gets_the_reply_of_another() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        hammer(&open(&servers.url_with("prefix=app")), 32, 300);
        // Nearly all on the shared connection.
        let shared = open(&servers.url_with("prefix=app&connections=1"));
        hammer(&shared, 32, 300);
        assert_eq!(shared.stats().unwrap().errors, 0);
    }
    let servers = Server::start("cluster", "redis");
    hammer(&open(&servers.url_with("prefix=app")), 16, 100);
}

#[test]
fn no_task_gets_the_reply_of_another_when_some_are_dropped() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    tasks.unwrap().block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for task in 0..32_u64 {
            let cache = cache.clone();
            running.spawn(async move {
                for round in 0..200 {
                    let key = format!("key{}", (task * 31 + round * 17) % 40);
                    let value = value_of(&key, round);
                    let set = cache.set_bytes(key.as_bytes(), &value, HOUR);
                    if (task + round) % 3 == 0 {
                        // Given up at some point between not begun and done.
                        let patience = Duration::from_micros(task * round % 300);
                        let _ = tokio::time::timeout(patience, set).await;
                    } else {
                        set.await.unwrap();
                    }
                    let value = cache.get_bytes(key.as_bytes()).await.unwrap();
                    value.iter().for_each(|value| check(&key, value));
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    });
}

/// Runs `child` in a forked process; what it returns is whether all went well.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs the library, which is made for that, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a plain system call; it ends a child that hangs.
            unsafe { libc::alarm(60) };
            let well = catch_unwind(AssertUnwindSafe(child)).unwrap_or(false);
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(!well)) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            let mut status = 0;
            // SAFETY: waits for the child just made, into a local integer.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn child_works(cache: &AnyCache, fork: u64) -> bool {
    let key = format!("child{fork}");
    cache.set(key.as_bytes(), b"mine", HOUR).unwrap();
    cache.get(key.as_bytes()).unwrap().is_some_and(|value| &*value == b"mine")
        && cache.count().unwrap() > 0
        && cache.get(b"parent").unwrap().is_some_and(|value| &*value == b"theirs")
}

fn connections_so_far(servers: &Server) -> u64 {
    let info = servers.call(&["INFO", "stats"]);
    let line = info
        .as_str()
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:").map(str::to_owned));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn forked_children_use_the_handle_while_the_parent_is_busy() {
    let servers = Server::single();
    for options in ["prefix=app", "prefix=app&connections=1"] {
        let cache = open(&servers.url_with(options));
        cache.set(b"parent", b"theirs", HOUR).unwrap();
        let connections = connections_so_far(&servers);
        let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(&*cache.get(b"parent").unwrap().unwrap(), b"theirs");
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut failed = 0;
            for fork in 0..60 {
                let well = in_child(|| {
                    child_works(&cache, fork)
                        && (fork % 10 != 0 || in_child(|| child_works(&cache, fork)))
                });
                failed += u32::from(!well);
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0, "children that hung, crashed or read a wrong value");
        });
        assert!(calls.load(Ordering::Relaxed) > 0);
        assert!(connections_so_far(&servers) >= connections + 60, "each child has its own");
        assert_eq!(cache.stats().unwrap().errors, 0);
        // A child that drops the handle takes nothing from the parent.
        assert!(in_child(|| {
            drop(cache.clone());
            true
        }));
        cache.ping().unwrap();
    }
}

#[test]
fn forked_children_of_a_cluster() {
    let servers = Server::start("cluster", "redis");
    let cache = open(&servers.url_with("prefix=app"));
    cache.set(b"parent", b"theirs", HOUR).unwrap();
    for fork in 0..5 {
        assert!(in_child(|| child_works(&cache, fork)));
        cache.ping().unwrap();
    }
}

#[test]
fn exit_during_a_call_neither_hangs_nor_crashes() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=60s&connections=1"));
    let well = in_child(|| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while cache.get(b"k").is_ok() {});
            }
            std::thread::sleep(Duration::from_millis(50));
            std::process::exit(0)
        })
    });
    assert!(well);
}

#[test]
fn a_shut_down_runtime_is_started_again() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&connections=1"));
    let well = in_child(|| {
        hammer(&cache, 8, 20);
        runtime::shutdown(Duration::from_secs(5)).unwrap();
        hammer(&cache, 8, 20);
        cache.count().unwrap();
        true
    });
    assert!(well);
}

#[test]
fn blocking_calls_from_the_programs_own_tasks_do_not_panic() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    for builder in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let mut builder = builder;
        builder.enable_all().build().unwrap().block_on(async {
            cache.set(b"k", b"v", HOUR).unwrap();
            assert!(cache.get(b"k").unwrap().is_some());
            cache.clear().unwrap();
            let error = cache.get(b"").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        });
    }
}
