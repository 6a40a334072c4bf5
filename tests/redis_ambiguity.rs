//! What may have been executed is never sent again: numbers that are counted up while connections break,
//! and a Cluster's slots that move under load. And what was given up does not come late.

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, ErrorKind, Loaded, SetOptions, Swap, Ttl, config::Config,
};
use support::{SERVERS, Server, eventually};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn nodes(servers: &Server) -> Vec<redis::Connection> {
    let ports = servers.info["ports"].as_array().unwrap();
    let connect = |port: &serde_json::Value| {
        redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection()
    };
    ports.iter().filter_map(|port| connect(port).ok()).collect()
}

/// Counts up from many threads while the server hangs up on them again and again. Each count that was
/// confirmed is there once; of the others nobody knows.
fn counts_exactly(servers: &Server, options: &str) {
    let url = servers.url_with(&format!("prefix=app&timeout=20s&connect_timeout=20s&{options}"));
    let (cache, mut nodes) = (open(&url), nodes(servers));
    let (over, confirmed, unknown) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let keys: Vec<String> = (0..6).map(|n| format!("n{n}")).collect();
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let (cache, over, key) = (&cache, &over, keys[thread % 6].as_bytes());
            let (confirmed, unknown) = (&confirmed, &unknown);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let ttl = if thread < 6 { Ttl::Never } else { HOUR };
                    match cache.incr(key, 1, ttl) {
                        Ok(_) => confirmed.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.kind() == ErrorKind::Timeout => {
                            unknown.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
                            0
                        }
                    };
                }
            });
        }
        for round in 0..150 {
            for node in &mut nodes {
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("TYPE").arg("normal").exec(node).unwrap();
            }
            // Some work in between.
            let enough = confirmed.load(Ordering::Relaxed) + 50;
            while round < 149 && confirmed.load(Ordering::Relaxed) < enough {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let sum: i64 = keys
        .iter()
        .map(|key| {
            let mut value = cache.incr(key.as_bytes(), 0, Ttl::Never);
            while value.is_err() {
                value = cache.incr(key.as_bytes(), 0, Ttl::Never);
            }
            value.unwrap()
        })
        .sum();
    let (confirmed, unknown) = (confirmed.into_inner(), unknown.into_inner());
    let sum = u64::try_from(sum).unwrap();
    assert!(
        (confirmed..=confirmed + unknown).contains(&sum),
        "{sum} counted, {confirmed} confirmed, {unknown} unknown"
    );
}

/// Passes bytes on to a server, and holds up what it is told to.
struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<Arc<Passing>>>>,
}

#[derive(Default)]
struct Passing {
    held: Mutex<bool>,
    changed: Condvar,
    /// How many of its two directions have ended.
    ended: AtomicU64,
}

impl Proxy {
    fn to(port: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let connections = Arc::<Mutex<Vec<Arc<Passing>>>>::default();
        let all = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port as u16)) else { return };
                let passing = Arc::<Passing>::default();
                all.lock().unwrap().push(passing.clone());
                for (mut from, mut to, held) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), true),
                    (server, client, false),
                ] {
                    let passing = passing.clone();
                    std::thread::spawn(move || {
                        let mut bytes = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut bytes) {
                            if held {
                                let closed = passing.held.lock().unwrap();
                                drop(passing.changed.wait_while(closed, |closed| *closed));
                            }
                            if to.write_all(&bytes[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                        passing.ended.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { port: own, connections }
    }

    /// Holds up what comes from the connections that there are, or lets it go on.
    fn hold(&self, hold: bool) {
        for passing in self.connections.lock().unwrap().iter() {
            *passing.held.lock().unwrap() = hold;
            passing.changed.notify_all();
        }
    }

    fn first_ended(&self, count: usize) -> bool {
        let connections = self.connections.lock().unwrap();
        connections[..count].iter().all(|one| one.ended.load(Ordering::SeqCst) == 2)
    }
}

#[test]
fn a_write_that_was_given_up_does_not_come_late() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        for protocol in [2, 3] {
            for blocking in [true, false] {
                let proxy = Proxy::to(servers.info["port"].as_u64().unwrap());
                let url = format!(
                    "redis://127.0.0.1:{}?prefix=app&timeout=1s&connections=1&protocol={protocol}",
                    proxy.port
                );
                let cache = open(&url);
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                let runtime = runtime.unwrap();
                let set = |value: &[u8]| {
                    if blocking {
                        cache.set(b"k", value, HOUR)
                    } else {
                        runtime.block_on(cache.set_bytes(b"k", value, HOUR))
                    }
                };
                set(b"1").unwrap();
                let before = proxy.connections.lock().unwrap().len();
                proxy.hold(true);
                assert_eq!(set(b"2").unwrap_err().kind(), ErrorKind::Timeout);
                set(b"3").unwrap();
                proxy.hold(false);
                // The server has ended what it was told to, and the rest with its client.
                drop(cache);
                drop(runtime);
                eventually("nothing is on its way", || proxy.first_ended(before));
                assert_eq!(servers.call(&["GET", "app:k"]), "3", "{server} {protocol} {blocking}");
            }
        }
    }
}

#[test]
fn on_one_server() {
    let servers = Server::single();
    counts_exactly(&servers, "connections=1");
    servers.call(&["FLUSHALL"]);
    counts_exactly(&servers, "connections=16");
}

#[test]
fn on_a_cluster() {
    counts_exactly(&Server::start("cluster", "redis"), "");
}

#[test]
fn a_slot_that_moves() {
    let servers = Server::start("cluster", "redis");
    let cache = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    let names: Vec<String> = (0..40).map(|n| format!("{{t}}{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let items: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (*key, *key)).collect();
    cache.set_many(&items, HOUR).unwrap();

    let mut nodes = nodes(&servers);
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg("{t}").query(&mut nodes[0]).unwrap();
    let (mut ids, mut masters, mut owner) = (HashMap::new(), Vec::new(), None);
    for (at, node) in nodes.iter_mut().enumerate() {
        let id: String = redis::cmd("CLUSTER").arg("MYID").query(node).unwrap();
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(node).unwrap();
        if role[0] == redis::Value::BulkString(b"master".to_vec()) {
            masters.push(at);
            let mut count = redis::cmd("CLUSTER");
            if count.arg("COUNTKEYSINSLOT").arg(slot).query::<u32>(node).unwrap() > 0 {
                owner = Some(at);
            }
        }
        ids.insert(at, id);
    }
    let from = owner.unwrap();
    let to = masters.into_iter().find(|at| *at != from).unwrap();
    let mut set_slot = |at: usize, how: &str, id: &str| {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(slot).arg(how).arg(id);
        command.exec(&mut nodes[at]).unwrap();
    };
    set_slot(to, "IMPORTING", &ids[&from]);
    set_slot(from, "MIGRATING", &ids[&to]);

    // Half of the keys are there already, half here still; a further one is nowhere.
    let port = servers.info["ports"][to].as_u64().unwrap();
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(port).arg("").arg(0).arg(5000).arg("KEYS");
    names[..20].iter().for_each(|name| {
        migrate.arg(format!("app:{name}"));
    });
    migrate.exec(&mut nodes[from]).unwrap();
    let loading = SetOptions::new(HOUR);
    let works = |round: i64| {
        for key in &keys {
            assert_eq!(&*cache.get(key).unwrap().unwrap(), *key);
            assert!(cache.exists(key).unwrap());
            assert!(!cache.add(key, b"v", HOUR).unwrap());
            assert!(cache.replace(key, key, HOUR).unwrap());
            assert_eq!(cache.compare_and_set(key, key, key, HOUR).unwrap(), Swap::Done);
        }
        let read = cache.get_many(&keys).unwrap();
        assert!(std::iter::zip(read, &keys).all(|(value, key)| *value.unwrap() == **key));
        assert_eq!(cache.incr(b"{t}new", 1, HOUR).unwrap(), round);
        assert!(cache.add(b"{t}added", b"v", HOUR).unwrap());
        assert!(cache.delete(b"{t}added").unwrap());
        cache.set_many(&items, HOUR).unwrap();
        let never = &mut |_: &[u8]| panic!("it is there");
        for load in 0..3 {
            // Once it is loaded, once removed meanwhile, once it is there.
            let key = format!("{{t}}load{load}");
            let removed = load == 1;
            let got = cache.get_or_load(key.as_bytes(), &loading, &mut |_| {
                let removals = if removed { cache.delete(key.as_bytes())? } else { false };
                assert!(!removals);
                Ok(Some(Loaded::new("loaded")))
            });
            assert_eq!(&*got.unwrap().unwrap(), b"loaded");
            assert_eq!(cache.exists(key.as_bytes()).unwrap(), !removed);
            if !removed {
                let got = cache.get_or_load(key.as_bytes(), &loading, never).unwrap();
                assert_eq!(&*got.unwrap(), b"loaded");
                assert_eq!(cache.delete_prefix(key.as_bytes()).unwrap(), 1);
            }
        }
        assert!(cache.get_or_load(keys[0], &loading, never).unwrap().is_some());
        assert!(cache.get_or_load(keys[39], &loading, never).unwrap().is_some());
        let lock = cache.lock(b"{t}", Duration::from_secs(60), Duration::ZERO).unwrap().unwrap();
        assert!(lock.release().unwrap());
    };
    works(1);
    works(2);
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(port).arg("").arg(0).arg(5000).arg("KEYS");
    names[20..].iter().for_each(|name| {
        migrate.arg(format!("app:{name}"));
    });
    migrate.exec(&mut nodes[from]).unwrap();
    for at in [to, from] {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(slot).arg("NODE").arg(&ids[&to]);
        command.exec(&mut nodes[at]).unwrap();
    }
    works(3);
    assert_eq!(cache.delete_many(&keys).unwrap(), 40);
    assert_eq!(cache.count().unwrap(), 1);
}
