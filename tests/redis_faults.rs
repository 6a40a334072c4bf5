//! RedisCache when something is wrong: servers that die, hang, refuse, trickle, or talk nonsense.
//! Whatever happens, a call ends by its deadline with the right class of error, and the next call
//! after the fault works.

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fake::server_that;
use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Ttl, config::Config};
use support::{SERVERS, Server, eventually};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));
/// Far above what a machine under load adds to a deadline, far below what a hang would take.
const LATE: Duration = Duration::from_secs(5);

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

/// A blocking caller, on a connection of its own, and an asynchronous one, on a shared connection.
struct Both {
    cache: AnyCache,
    runtime: tokio::runtime::Runtime,
}

impl Both {
    fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { cache: open(url), runtime }
    }

    fn get(&self) -> [Result<(), ErrorKind>; 2] {
        let pipelined = self.runtime.block_on(self.cache.get_bytes(b"k"));
        [self.cache.get(b"k"), pipelined].map(|got| got.map(drop).map_err(|error| error.kind()))
    }
}

#[test]
fn a_restarted_server_is_found_again() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        let both = Both::open(&servers.url_with("prefix=app"));
        let cache = &both.cache;
        cache.set(b"k", b"v", HOUR).unwrap();
        servers.kill();
        eventually("it is seen as gone", || {
            both.get() == [Err(ErrorKind::Connect); 2]
                && cache.set(b"k", b"v", HOUR).unwrap_err().kind() == ErrorKind::Connect
        });
        assert!(cache.stats().unwrap().errors > 0);
        servers.restart();
        eventually("it is used again", || both.get() == [Ok(()); 2]);
        cache.set(b"k", b"w", HOUR).unwrap();
    }
}

#[test]
fn a_connection_that_the_server_closed_is_replaced_unseen() {
    let servers = Server::single();
    let both = Both::open(&servers.url_with("prefix=app&retries=0"));
    let (cache, runtime) = (&both.cache, &both.runtime);
    for round in 0..20 {
        cache.set(b"k", b"v", HOUR).unwrap();
        runtime.block_on(cache.get_bytes(b"k")).unwrap();
        servers.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        if round % 2 == 0 {
            assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"v");
        } else {
            cache.set(b"k", b"v", HOUR).unwrap();
            runtime.block_on(cache.set_bytes(b"k", b"v", HOUR)).unwrap();
        }
    }
    assert_eq!(cache.stats().unwrap().errors, 0);
}

#[test]
fn a_stopped_server_costs_the_deadline_and_no_more() {
    let servers = Server::single();
    let both = Both::open(&servers.url_with("prefix=app&timeout=150ms"));
    let cache = &both.cache;
    assert_eq!(both.get(), [Ok(()); 2]);
    servers.pause();
    let began = Instant::now();
    assert_eq!(both.get(), [Err(ErrorKind::Timeout); 2]);
    // The connection that timed out is not used again; a new one gets no handshake.
    assert_eq!(cache.set(b"k", b"v", HOUR).unwrap_err().kind(), ErrorKind::Connect);
    let big = vec![0; 64 << 20];
    assert!(cache.set(b"k", &big, HOUR).is_err());
    assert!(cache.get_many(&[b"a", b"b"]).is_err());
    assert!(cache.count().is_err());
    assert!(cache.clear().is_err());
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    servers.resume();
    eventually("it is used again", || both.get() == [Ok(()); 2]);
}

#[test]
fn a_stopped_cluster_costs_the_deadline_and_no_more() {
    let servers = Server::start("cluster", "redis");
    let cache = open(&servers.url_with("prefix=app&timeout=150ms"));
    eventually("it answers", || cache.set(b"k", b"v", HOUR).is_ok());
    servers.verb("pause all");
    let began = Instant::now();
    let error = cache.set(b"k", b"w", HOUR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(error.message().starts_with("no reply by the deadline"), "{error:?}");
    assert!(cache.get(b"k").is_err());
    assert!(cache.set_many(&[(b"a", b"v"), (b"b", b"v")], HOUR).is_err());
    assert!(cache.count().is_err());
    assert!(cache.clear().is_err());
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    servers.verb("resume all");
    eventually("it is used again", || cache.set(b"k", b"x", HOUR).is_ok());
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"x");
}

#[test]
fn a_call_that_timed_out_leaves_its_reply_to_nobody() {
    let servers = Server::single();
    let both = Both::open(&servers.url_with("prefix=app&timeout=100ms&connections=1"));
    let cache = &both.cache;
    for n in 0..50 {
        let key = format!("key{n}");
        cache.set(key.as_bytes(), key.as_bytes(), HOUR).unwrap();
    }
    for round in 0..3 {
        servers.pause();
        let _ = cache.get(b"key0");
        let _ = both.get();
        servers.resume();
        eventually("it answers", || cache.ping().is_ok());
        for n in 0..50 {
            let key = format!("key{n}");
            let value = cache.get(key.as_bytes()).unwrap().unwrap();
            assert_eq!(&*value, key.as_bytes(), "round {round}");
        }
    }
}

#[test]
fn refusals_are_told_apart() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    let refused = |error: lighter_cache::Error, text: &str| {
        assert_eq!(error.kind(), ErrorKind::Server, "{error:?}");
        assert!(error.message().contains(text), "{error:?}");
    };
    servers.call(&["LPUSH", "app:list", "x"]);
    refused(cache.get(b"list").unwrap_err(), "WRONGTYPE");
    assert!(cache.get_many(&[b"list"]).unwrap()[0].is_none());

    refused(cache.replace(b"list", b"v", HOUR).unwrap_err(), "WRONGTYPE");
    assert_eq!(cache.incr(b"list", 1, HOUR).unwrap_err().kind(), ErrorKind::Type);
    assert_eq!(cache.incr(b"list", 1, Ttl::Never).unwrap_err().kind(), ErrorKind::Type);
    assert!(!cache.add(b"list", b"v", HOUR).unwrap());
    assert!(cache.exists(b"list").unwrap());

    let writes = |text: &str| {
        refused(cache.set(b"k", b"v", HOUR).unwrap_err(), text);
        refused(cache.set_many(&[(b"k", b"v")], HOUR).unwrap_err(), text);
        refused(cache.add(b"k", b"v", HOUR).unwrap_err(), text);
        refused(cache.incr(b"n", 1, HOUR).unwrap_err(), text);
        refused(cache.incr(b"n", 1, Ttl::Never).unwrap_err(), text);
        let lease = Duration::from_secs(1);
        refused(cache.lock(b"l", lease, Duration::ZERO).unwrap_err(), text);
    };
    servers.call(&["CONFIG", "SET", "maxmemory", "1"]);
    writes("OOM");
    servers.call(&["CONFIG", "SET", "maxmemory", "0"]);

    servers.call(&["REPLICAOF", "127.0.0.1", "1"]);
    writes("READONLY");
    servers.call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    refused(cache.get(b"k").unwrap_err(), "MASTERDOWN");
    servers.call(&["REPLICAOF", "NO", "ONE"]);
    servers.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    writes("NOREPLICAS");
    servers.call(&["CONFIG", "SET", "min-replicas-to-write", "0"]);

    servers.call(&["CONFIG", "SET", "lua-time-limit", "1"]);
    let mut busy = TcpStream::connect(("127.0.0.1", servers.info["port"].as_u64().unwrap() as u16));
    let busy = busy.as_mut().unwrap();
    busy.write_all(b"EVAL 'while true do end' 0\r\n").unwrap();
    eventually("the script is known to be long", || {
        cache.get(b"k").is_err_and(|error| error.message().contains("BUSY"))
    });
    writes("BUSY");
    // Says OK and has the script end at its next step.
    servers.call(&["SCRIPT", "KILL"]);
    eventually("the script has ended", || cache.set(b"k", b"v", HOUR).is_ok());
}

#[test]
fn damaged_values_are_corrupt() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    cache.set(b"whole", b"value", HOUR).unwrap();
    // The magic alone, by the server's own knife.
    servers.call(&["COPY", "app:whole", "app:cut"]);
    servers.call(&[
        "EVAL",
        "return redis.call('SET', KEYS[1], \
        string.sub(redis.call('GET', KEYS[1]), 1, 4))",
        "1",
        "app:cut",
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(cache.get(b"cut").unwrap_err().kind(), ErrorKind::Corrupt);
    let pipelined = runtime.block_on(cache.get_bytes(b"cut"));
    assert_eq!(pipelined.unwrap_err().kind(), ErrorKind::Corrupt);
    let many = cache.get_many(&[b"cut", b"whole"]).unwrap();
    assert!(many[0].is_none() && many[1].is_some());
    assert_eq!(cache.stats().unwrap().errors, 3);
}

#[test]
fn an_old_server_is_spoken_to_in_resp2() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    let unknown = "-ERR unknown command `X`, with args beginning with: \r\n";
                    let said = String::from_utf8_lossy(&bytes[..n]).into_owned();
                    for command in said.split("\r\n") {
                        let _ = stream.write_all(match command {
                            "HELLO" | "CLIENT" => unknown.as_bytes(),
                            "PING" => b"+PONG\r\n",
                            "GET" => b"$3\r\nold\r\n",
                            _ => b"",
                        });
                    }
                }
            });
        }
    });
    let both = Both::open(&format!("redis://127.0.0.1:{port}?prefix=app"));
    assert_eq!(both.get(), [Ok(()); 2]);
    assert_eq!(&*both.cache.get(b"k").unwrap().unwrap(), b"old");
}

#[test]
fn a_server_that_hangs_is_not_met_with_ever_more_connections() {
    let servers = Server::single();
    let cache =
        open(&servers.url_with("prefix=app&timeout=20ms&connect_timeout=30s&connections=4"));
    servers.pause();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| assert!(cache.get(b"k").is_err())));
        }
    });
    servers.resume();
    eventually("it is used again", || cache.get(b"k").is_ok());
    let info = servers.call(&["INFO", "stats"]);
    let line = info.as_str().unwrap().lines().find(|line| line.starts_with("total_conn")).unwrap();
    let connections: u32 = line.split(':').nth(1).unwrap().trim().parse().unwrap();
    assert!(connections < 40, "{connections} connections");
}

#[test]
fn a_reply_that_trickles_in_can_not_outlast_the_deadline() {
    let url = server_that(|stream| {
        let _ = stream.write_all(b"$1000\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let both = Both::open(&format!("{url}&timeout=300ms"));
    let cache = &both.cache;
    let began = Instant::now();
    assert_eq!(both.get(), [Err(ErrorKind::Timeout); 2]);
    assert_eq!(cache.get_many(&[b"k"]).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

#[test]
fn nonsense_and_excess_are_refused() {
    let replies: [fn(&mut TcpStream); 4] = [
        |stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        |stream| drop(stream.write_all(b"$99999999999\r\n")),
        |stream| drop(stream.write_all(b"*99999999999\r\n")),
        |stream| drop(stream.write_all(b"$100000000\r\nabc")),
    ];
    let kinds = [ErrorKind::Server, ErrorKind::TooBig, ErrorKind::TooBig, ErrorKind::TooBig];
    let open = |reply: fn(&mut TcpStream)| {
        let url = server_that(reply);
        Both::open(&format!("{url}&timeout=200ms&max_value_bytes=1MiB"))
    };
    for (which, (reply, kind)) in replies.into_iter().zip(kinds).enumerate() {
        assert_eq!(open(reply).get(), [Err(kind); 2], "reply {which}");
    }
    // A length that lies ends as nonsense or as silence, by how its bytes arrive.
    let lies = open(|stream| drop(stream.write_all(b"$3\r\nabcdef\r\n")));
    assert!(lies.get().iter().all(Result::is_err));
}

#[test]
fn a_server_that_hangs_up_is_ambiguous_for_writes() {
    let url = server_that(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    let cache = open(&url);
    let error = cache.set(b"k", b"v", HOUR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(error.message().contains("may or may not"), "{error:?}");
}

#[test]
fn connecting_into_a_black_hole_ends_by_the_deadline() {
    let url = {
        // Accepts, and never says a word.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().map(Result::unwrap).collect::<Vec<_>>());
        format!("redis://127.0.0.1:{port}?prefix=app&connect_timeout=200ms")
    };
    let began = Instant::now();
    let error = AnyCache::open(&Config::parse(&url).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

#[test]
fn the_interrupt_check_ends_a_wait() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app&timeout=60s"));
    cache.ping().unwrap();
    servers.pause();
    let began = Instant::now();
    let ended = lighter_cache::runtime::interruptible(|| true, || cache.get(b"k").unwrap_err());
    assert_eq!(ended.kind(), ErrorKind::Interrupted);
    let ended = lighter_cache::runtime::interruptible(|| true, || cache.count().unwrap_err());
    assert_eq!(ended.kind(), ErrorKind::Interrupted);
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    servers.resume();
}

#[test]
fn no_secret_is_ever_shown() {
    const CANARY: &str = "canary-0c7f3a";
    let servers = Server::start("password", "redis");
    let tls = Server::start("tls", "redis");
    let port = servers.info["port"].to_string();
    let tls_port = tls.info["port"].to_string();
    let mut shown = String::new();
    for place in [
        format!("redis://:{CANARY}@127.0.0.1:{port}"),
        format!("redis://:{CANARY}@127.0.0.1:{port}?protocol=2"),
        format!("redis://user:{CANARY}@127.0.0.1:{port}"),
        format!("redis://:{CANARY}@127.0.0.1:1"),
        format!("rediss://:{CANARY}@127.0.0.1:{tls_port}"),
        format!("redis+cluster://:{CANARY}@127.0.0.1:{port}"),
        format!("redis+cluster://:{CANARY}@127.0.0.1:1"),
        format!("redis+sentinel://:{CANARY}@127.0.0.1:{port}/main"),
        format!("redis+sentinel://:{CANARY}@127.0.0.1:1/main"),
    ] {
        let config = Config::parse(&place).unwrap();
        let error = AnyCache::open(&config).unwrap_err();
        shown += &format!("{config:?} {error:?} {error}\n");
    }
    let cache = open(servers.url());
    shown += &format!("{cache:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    let password = servers.info["password"].as_str().unwrap();
    assert!(!shown.contains(password), "{shown}");
}
