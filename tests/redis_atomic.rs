//! Operations that are atomic across processes, while the server forgets its scripts; and the rights that
//! they need.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, ErrorKind, SetOptions, Stale, Swap, Ttl, config::Config,
};
use support::{SERVERS, Server, eventually};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

/// Eight caches count, add and swap as one, whatever the server forgets meanwhile.
fn contended(servers: &Server, flush: bool) {
    let url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
    let (over, winners) = (AtomicBool::new(false), AtomicU64::new(0));
    open(&url).set(b"swapped", b"0", HOUR).unwrap();
    open(&url).set(b"text", b"#0", HOUR).unwrap();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let cache = open(&url);
                    for n in 0..60 {
                        cache.incr(b"counted", 1, HOUR).unwrap();
                        if cache.add(format!("added{n}").as_bytes(), b"v", HOUR).unwrap() {
                            winners.fetch_add(1, Ordering::SeqCst);
                        }
                        for (key, sign) in [(&b"swapped"[..], ""), (b"text", "#")] {
                            loop {
                                let seen = cache.get(key).unwrap().unwrap().to_vec();
                                let number = String::from_utf8(seen.clone()).unwrap();
                                let number: u64 = number.trim_start_matches('#').parse().unwrap();
                                let next = format!("{sign}{}", number + 1);
                                let swap = cache.compare_and_set(key, &seen, next.as_bytes(), HOUR);
                                match swap.unwrap() {
                                    Swap::Done => break,
                                    Swap::Conflict => {}
                                    Swap::Absent => panic!("it is always there"),
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while flush && !over.load(Ordering::SeqCst) {
                servers.call(&["SCRIPT", "FLUSH"]);
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|worker| worker.unwrap());
    });
    let cache = open(&url);
    assert_eq!(winners.into_inner(), 60);
    assert_eq!(&*cache.get(b"counted").unwrap().unwrap(), b"480");
    assert_eq!(&*cache.get(b"swapped").unwrap().unwrap(), b"480");
    assert_eq!(&*cache.get(b"text").unwrap().unwrap(), b"#480");
}

#[test]
fn on_every_server_while_scripts_are_flushed() {
    for server in SERVERS {
        contended(&Server::start("single", server), true);
    }
}

#[test]
fn on_a_cluster() {
    contended(&Server::start("cluster", "valkey"), false);
}

/// The rights of `docs/production.md` after `start`, up to the next paragraph or item.
fn rights(start: &str) -> Vec<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{root}/docs/production.md")).unwrap();
    let (_, section) = page.split_once("\n## ACL rights").unwrap();
    let (_, item) = section.split_once(start).unwrap();
    let item = item.split("\n\n").next().unwrap().split("\n- ").next().unwrap();
    item.split(['`', ' ', '\n'])
        .filter(|word| word.starts_with('+') || word.starts_with('&'))
        .map(str::to_owned)
        .collect()
}

fn allow(servers: &Server, rights: &[String]) {
    let user =
        ["ACL", "SETUSER", "app", "reset", "on", ">secret", "resetchannels", "~app:*", "-@all"];
    let rights = rights.iter().map(String::as_str);
    servers.call(&user.into_iter().chain(rights).collect::<Vec<_>>());
    servers.call(&["SCRIPT", "FLUSH"]);
}

/// Runs what needs more than get and set; says what was refused.
fn refused(servers: &Server) -> Vec<&'static str> {
    let mut url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
    url = url.replacen("://", "://app:secret@", 1);
    let mut refused = Vec::new();
    let mut attempt = |name: &'static str, outcome: Result<(), lighter_cache::Error>| {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Auth, "{name}: {error:?}");
            refused.push(name);
        }
    };
    let cache = match AnyCache::open(&Config::parse(&url).unwrap()) {
        Ok(cache) => cache,
        Err(_) => return vec!["open"],
    };
    let mut options = SetOptions::new(HOUR);
    options.tags.push(b"tag".to_vec());
    options.stale = Stale::For(Duration::from_secs(1));
    attempt("set_ex", cache.set_ex(b"tagged", b"v", &options));
    attempt("get", cache.get(b"tagged").map(drop));
    attempt("invalidate", cache.invalidate_tag(b"tag"));
    attempt("add", cache.add(b"k", b"v", HOUR).map(drop));
    attempt("replace", cache.replace(b"k", b"v", HOUR).map(drop));
    attempt("swap", cache.compare_and_set(b"k", b"v", b"w", HOUR).map(drop));
    attempt("incr", cache.incr(b"n", 1, Ttl::Never).map(drop));
    attempt("incr with a TTL", cache.incr(b"m", 1, HOUR).map(drop));
    attempt("delete_prefix", cache.delete_prefix(b"").map(drop));
    let lease = Duration::from_secs(60);
    match cache.lock(b"l", lease, Duration::ZERO) {
        Ok(lock) => {
            let lock = lock.unwrap();
            attempt("extend", lock.extend(lease).map(drop));
            attempt("release", lock.release().map(drop));
        }
        Err(error) => attempt("lock", Err(error)),
    }
    refused
}

#[test]
fn each_right_of_the_page_is_needed_and_no_other() {
    let plain = rights("ACL SETUSER app on >SECRET");
    let counting = rights("\n- Counting");
    let locks: Vec<String> = rights("\n- Locks").into_iter().take(4).collect();
    assert!(plain.len() > 10 && counting.len() == 2 && locks.len() == 4);
    for server in SERVERS {
        let servers = Server::start("single", server);
        let all: Vec<String> = [&plain[..], &counting, &locks].concat();
        allow(&servers, &all);
        assert_eq!(refused(&servers), Vec::<&str>::new());
        for right in counting.iter().chain(&locks) {
            let others: Vec<String> = all.iter().filter(|other| *other != right).cloned().collect();
            servers.call(&["FLUSHALL"]);
            allow(&servers, &others);
            assert!(!refused(&servers).is_empty(), "{right} is not needed");
        }
    }
}

#[test]
fn with_the_rights_of_the_page_waiters_are_woken() {
    let servers = Server::single();
    let plain = rights("ACL SETUSER app on >SECRET");
    allow(&servers, &[plain, rights("\n- Locks"), rights("\n- Who waits")].concat());
    let url = servers.url_with("prefix=app&timeout=20s&connect_timeout=20s");
    let cache = open(&url.replacen("://", "://app:secret@", 1));
    let lease = Duration::from_secs(60);
    let held = cache.lock(b"l", lease, lease).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.lock(b"l", lease, lease).unwrap().unwrap());
        eventually("it listens", || {
            let heard = servers.call(&["PUBSUB", "CHANNELS", "*"]);
            heard.as_array().unwrap().len() == 1
        });
        assert!(held.release().unwrap());
        assert!(waiter.join().unwrap().release().unwrap());
    });
}
