//! Nothing of a RedisCache stays broken: whatever a server refused, the cache works again soon after it does
//! so no more, on connections of its own and on shared ones.

mod support;

use std::time::{Duration, Instant};

use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Ttl, config::Config};
use support::{SERVERS, Server, eventually};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));

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
        Self::of(open(url))
    }

    fn of(cache: AnyCache) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { cache, runtime }
    }

    fn set(&self) -> [Result<(), ErrorKind>; 2] {
        let pipelined = self.runtime.block_on(self.cache.set_bytes(b"k", b"v", HOUR));
        [self.cache.set(b"k", b"v", HOUR), pipelined].map(|got| got.map_err(|error| error.kind()))
    }

    /// Both are refused with errors of this class in the end, and connections that there were are gone.
    fn refused(&self, servers: &Server, kind: ErrorKind) {
        eventually("both are refused", || {
            servers.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            self.set() == [Err(kind); 2]
        });
    }

    /// Both work again, and that soon: nobody waits for a long back-off.
    fn works_again(&self) {
        let began = Instant::now();
        eventually("both work again", || self.set() == [Ok(()); 2]);
        // A second, and what a machine under load adds to it.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn after_the_password_was_changed_and_changed_back() {
    for name in SERVERS {
        let servers = Server::start("acl", name);
        let both = Both::open(&servers.url_with("prefix=app"));
        assert_eq!(both.set(), [Ok(()); 2]);
        let password = servers.info["users"]["app"].as_str().unwrap();
        servers.call(&["ACL", "SETUSER", "app", "resetpass", ">another"]);
        both.refused(&servers, ErrorKind::Auth);
        servers.call(&["ACL", "SETUSER", "app", "resetpass", &format!(">{password}")]);
        both.works_again();
    }
}

#[test]
fn after_a_user_was_switched_off_and_after_a_right_was_taken_away() {
    let servers = Server::start("acl", "redis");
    let both = Both::open(&servers.url_with("prefix=app"));
    servers.call(&["ACL", "SETUSER", "app", "off"]);
    both.refused(&servers, ErrorKind::Auth);
    servers.call(&["ACL", "SETUSER", "app", "on"]);
    both.works_again();
    servers.call(&["ACL", "SETUSER", "app", "-set"]);
    assert_eq!(both.set(), [Err(ErrorKind::Auth); 2]);
    servers.call(&["ACL", "SETUSER", "app", "+set"]);
    assert_eq!(both.set(), [Ok(()); 2]);
}

#[test]
fn after_the_server_had_too_many_clients() {
    for name in SERVERS {
        let servers = Server::start("single", name);
        let both = Both::open(&servers.url_with("prefix=app"));
        // More than are allowed soon. The harness's own connections would find no place.
        let port = servers.info["port"].as_u64().unwrap() as u16;
        let crowd: Vec<_> =
            (0..20).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut admin = client.get_connection().unwrap();
        let mut say = |words: &[&str]| {
            redis::cmd(words[0]).arg(&words[1..]).exec(&mut admin).unwrap();
        };
        assert_eq!(both.set(), [Ok(()); 2]);
        say(&["CONFIG", "SET", "maxclients", "5"]);
        // Who is there already is kept; whoever comes is refused.
        eventually("it is refused", || open_fails(&servers) == Some(ErrorKind::Connect));
        let own = both.cache.clone();
        drop(both);
        let both = Both::of(own);
        eventually("both are refused", || both.set()[1] == Err(ErrorKind::Connect));
        say(&["CONFIG", "SET", "maxclients", "1000"]);
        both.works_again();
        drop(crowd);
    }
}

/// The class of the error that opening another cache fails with.
fn open_fails(servers: &Server) -> Option<ErrorKind> {
    let config = Config::parse(&servers.url_with("prefix=app")).unwrap();
    AnyCache::open(&config).err().map(|error| error.kind())
}

#[test]
fn after_a_master_was_a_replica_for_a_while() {
    for name in SERVERS {
        let servers = Server::start("single", name);
        let both = Both::open(&servers.url_with("prefix=app"));
        servers.call(&["REPLICAOF", "127.0.0.1", "1"]);
        assert_eq!(both.set(), [Err(ErrorKind::Server); 2]);
        servers.call(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(both.set(), [Ok(()); 2]);
        // Scripts that the server has forgotten come back by themselves.
        assert!(both.cache.replace(b"k", b"w", HOUR).unwrap());
        servers.call(&["SCRIPT", "FLUSH"]);
        assert!(both.cache.replace(b"k", b"x", HOUR).unwrap());
        servers.kill();
        eventually("it is seen as gone", || both.set() == [Err(ErrorKind::Connect); 2]);
        servers.restart();
        both.works_again();
        assert!(both.cache.replace(b"k", b"y", HOUR).unwrap());
    }
}
