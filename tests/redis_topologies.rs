//! Every way to a server: password, user, database, unix socket, TLS, Sentinel, Cluster, and what each
//! says when it is wrong.

mod support;

use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, Error, ErrorKind, RedisCache, Result, Ttl, config::Config,
};
use support::chaos::{Chaos, Fault};
use support::{SERVERS, Server, eventually, with_options};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));

fn try_open(url: &str) -> Result<AnyCache> {
    AnyCache::open(&Config::parse(url)?)
}

fn works(url: &str) -> AnyCache {
    let url = &with_options(url, "");
    let cache = try_open(url).unwrap_or_else(|error| panic!("{error:?}"));
    cache.set(b"k", b"v", HOUR).unwrap();
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"v");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let prefix = Config::parse(url).unwrap().redis.prefix;
    let value = runtime.block_on(async {
        use lighter_cache::ByteCache;
        let cache = RedisCache::new(url, &prefix).await.unwrap();
        cache.get_bytes(b"k").await.unwrap()
    });
    assert_eq!(&*value.unwrap(), b"v");
    cache
}

fn fails(url: &str) -> Error {
    let url = &with_options(url, "");
    let blocking = try_open(url).expect_err("it must not open");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let other = runtime.block_on(RedisCache::new(url, "app")).expect_err("it must not open");
    assert_eq!(blocking.kind(), other.kind(), "{blocking:?} {other:?}");
    let start = "Failed to create Redis connection manager: ";
    if matches!(blocking.kind(), ErrorKind::Connect | ErrorKind::Auth) {
        assert!(blocking.message().starts_with(start), "{blocking:?}");
        assert!(other.message().starts_with(start), "{other:?}");
    }
    blocking
}

#[test]
fn password() {
    for server in SERVERS {
        let servers = Server::start("password", server);
        works(servers.url());
        works(&servers.url_with("protocol=2"));
        let wrong = fails(servers.url_of("wrong_password"));
        assert_eq!(wrong.kind(), ErrorKind::Auth, "{wrong:?}");
        let wrong = fails(&with_options(servers.url_of("wrong_password"), "protocol=2"));
        assert_eq!(wrong.kind(), ErrorKind::Auth, "{wrong:?}");
        for none in ["", "?protocol=2"] {
            let address = format!("redis://127.0.0.1:{}{none}", servers.info["port"]);
            let wrong = fails(&address);
            assert_eq!(wrong.kind(), ErrorKind::Auth, "{wrong:?}");
        }
    }
}

#[test]
fn user() {
    for server in SERVERS {
        let servers = Server::start("acl", server);
        works(&servers.url_with("prefix=app"));
        works(&servers.url_with("prefix=app&protocol=2&client_name=tester"));
        let wrong = fails(servers.url_of("wrong_password"));
        assert_eq!(wrong.kind(), ErrorKind::Auth, "{wrong:?}");
        // Another prefix than the user may touch, and writing as one who may only read.
        let outside = try_open(&servers.url_with("prefix=other")).unwrap();
        assert_eq!(outside.get(b"k").unwrap_err().kind(), ErrorKind::Auth);
        let reader = try_open(&with_options(servers.url_of("readonly"), "prefix=app")).unwrap();
        assert!(reader.get(b"k").unwrap().is_some());
        assert_eq!(reader.set(b"k", b"v", HOUR).unwrap_err().kind(), ErrorKind::Auth);
    }
}

#[test]
fn database() {
    let servers = Server::single();
    let one = works(&format!("{}/1", servers.url()));
    let two = try_open(&servers.url_with("db=2")).unwrap();
    assert!(two.get(b"k").unwrap().is_none());
    assert!(one.get(b"k").unwrap().is_some());
    let none = fails(&servers.url_with("db=99999"));
    assert_eq!(none.kind(), ErrorKind::Connect, "{none:?}");
}

#[test]
fn unix_socket() {
    for server in SERVERS {
        let servers = Server::start("unix", server);
        works(servers.url());
        works(&servers.url_with("db=3"));
    }
    let gone = fails("redis+unix:///nowhere/at/all.sock");
    assert_eq!(gone.kind(), ErrorKind::Connect);
    assert!(gone.message().contains("/nowhere/at/all.sock"), "{gone:?}");
}

#[test]
fn tls() {
    for server in SERVERS {
        let servers = Server::start("tls", server);
        let ca = format!("tls_ca={}", servers.cert("ca"));
        let with_ca = |name: &str| with_options(servers.url_of(name), &ca);
        let cache = works(&with_ca("main"));
        let big = vec![7; 3 << 20];
        cache.set(b"big", &big, HOUR).unwrap();
        assert!(*cache.get(b"big").unwrap().unwrap() == big);
        for name in ["wrong_host", "expired", "untrusted", "mutual"] {
            let refused = fails(&with_ca(name));
            assert_eq!(refused.kind(), ErrorKind::Connect, "{name}: {refused:?}");
        }
        // Without the CA the built-in roots do not know this server.
        assert_eq!(fails(servers.url()).kind(), ErrorKind::Connect);
        let client = format!(
            "{ca}&tls_cert={}&tls_key={}",
            servers.cert("client"),
            servers.cert("client_key")
        );
        works(&with_options(servers.url_of("mutual"), &client));
        for name in ["main", "wrong_host", "expired", "untrusted"] {
            works(&with_options(servers.url_of(name), "tls_insecure=true"));
        }
        // A server that speaks no TLS, and certificates that are none.
        let plain = fails(&format!("rediss://127.0.0.1:{}?{ca}&timeout=200ms", closed_port()));
        assert_eq!(plain.kind(), ErrorKind::Connect);
        let none = fails(&servers.url_with("tls_ca=/nowhere/ca.pem"));
        assert_eq!(none.kind(), ErrorKind::Config);
        assert!(none.message().contains("tls_ca"), "{none:?}");
    }
}

/// A port on which nothing listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn nobody_there() {
    let port = closed_port();
    let refused = fails(&format!("redis://127.0.0.1:{port}"));
    assert_eq!(refused.kind(), ErrorKind::Connect);
    assert!(refused.message().contains(&format!("127.0.0.1:{port}")), "{refused:?}");
    let unknown = fails("redis://no-such-host.invalid:6379");
    assert_eq!(unknown.kind(), ErrorKind::Connect);
    assert!(unknown.message().contains("no-such-host.invalid"), "{unknown:?}");
    let cluster = fails(&format!("redis+cluster://127.0.0.1:{port}"));
    assert_eq!(cluster.kind(), ErrorKind::Connect, "{cluster:?}");
    let sentinel = fails(&format!("redis+sentinel://127.0.0.1:{port}/main"));
    assert_eq!(sentinel.kind(), ErrorKind::Connect, "{sentinel:?}");
    assert!(sentinel.message().contains(&port.to_string()), "{sentinel:?}");
}

#[test]
fn sentinel_follows_the_master() {
    for server in SERVERS {
        let servers = Server::start("sentinel", server);
        let cache = works(servers.url());
        // Whether a write reaches the server that the Sentinels call the master.
        let reaches = |key: &str| {
            cache.set(key.as_bytes(), b"v", HOUR).is_ok()
                && servers.call(&["EXISTS", &format!("lc:{key}")]) == 1
        };
        servers.failover();
        eventually("the new master is written to", || reaches("after"));
        servers.kill();
        eventually("the next master is written to", || cache.set(b"k", b"again", HOUR).is_ok());
    }
    let servers = Server::start("sentinel", "redis");
    let url = servers.url().rsplit_once('/').unwrap().0.to_owned() + "/nobody";
    let unknown = fails(&url);
    assert_eq!(unknown.kind(), ErrorKind::Connect);
    assert!(unknown.message().contains("nobody"), "{unknown:?}");
}

#[test]
fn cluster_survives_its_masters() {
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        let cache = works(&servers.url_with("prefix=app"));
        let set_all = |value: &[u8]| {
            let names: Vec<String> = (0..100).map(|n| format!("key{n}")).collect();
            let items: Vec<_> = names.iter().map(|name| (name.as_bytes(), value)).collect();
            cache.set_many(&items, HOUR)
        };
        set_all(b"before").unwrap();
        servers.failover();
        eventually("all slots are written to", || set_all(b"after").is_ok());
        servers.kill();
        eventually("all slots are served again", || set_all(b"again").is_ok());
        eventually("all keys are seen", || cache.count().is_ok_and(|count| count == 101));
        cache.clear().unwrap();
        assert_eq!(cache.count().unwrap(), 0);
    }
}

#[test]
fn cluster_with_a_password() {
    let servers = Server::start("cluster", "redis");
    for port in servers.info["ports"].as_array().unwrap() {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut node = client.get_connection().unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("masterauth").arg("s3cret").arg("requirepass").arg("s3cret");
        set.exec(&mut node).unwrap();
    }
    let with = |password: &str| servers.url().replacen("://", &format!("://{password}"), 1);
    let cache = works(&with(":s3cret@"));
    assert_eq!(cache.count().unwrap(), 1);
    for wrong in ["", ":wrong@"] {
        let refused = fails(&with(wrong));
        assert_eq!(refused.kind(), ErrorKind::Auth, "{refused:?}");
        assert!(!refused.message().contains("wrong"), "{refused:?}");
    }
}

#[test]
fn sentinels_with_a_password() {
    let servers = Server::start("sentinel", "redis");
    let (_, addresses) = servers.url().split_once("://").unwrap();
    let (addresses, service) = addresses.split_once('/').unwrap();
    let order = |address: &str, command: &[&str]| {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut node = client.get_connection().unwrap();
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut node).unwrap();
    };
    let password = ["CONFIG", "SET", "masterauth", "s3cret", "requirepass", "s3cret"];
    order(&format!("127.0.0.1:{}", servers.info["port"]), &password);
    let url = |password: &str| format!("redis+sentinel://{password}{addresses}/{service}");
    // Only the master wants the password; then the Sentinels want it too.
    works(&url(":s3cret@"));
    for sentinel in addresses.split(',') {
        order(sentinel, &["ACL", "SETUSER", "default", "resetpass", ">s3cret"]);
    }
    works(&url(":s3cret@"));
    for wrong in ["", ":wrong@"] {
        let refused = fails(&url(wrong));
        assert_eq!(refused.kind(), ErrorKind::Auth, "{refused:?}");
    }
}

/// How many GETs the masters and the replicas of a Cluster have served.
fn gets(servers: &Server) -> (u64, u64) {
    let (mut masters, mut replicas) = (0, 0);
    for port in servers.info["ports"].as_array().unwrap() {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut node = client.get_connection().unwrap();
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("replication").arg("commandstats").query(&mut node).unwrap();
        let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        let calls = calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap());
        *if info.contains("role:master") { &mut masters } else { &mut replicas } += calls;
    }
    (masters, replicas)
}

#[test]
fn a_cluster_is_read_from_its_replicas_where_asked_for() {
    let servers = Server::start("cluster", "valkey");
    let primary = works(&servers.url_with("prefix=app"));
    let cache = try_open(&servers.url_with("prefix=app&read_from=replica")).unwrap();
    let keys: Vec<String> = (0..50).map(|n| format!("key{n}")).collect();
    for key in &keys {
        cache.set(key.as_bytes(), key.as_bytes(), HOUR).unwrap();
    }
    let before = gets(&servers);
    for key in &keys {
        // A replica may be behind for a moment.
        support::eventually("it is there too", || {
            cache.get(key.as_bytes()).unwrap().is_some_and(|value| *value == *key.as_bytes())
        });
    }
    let after = gets(&servers);
    assert_eq!(after.0, before.0);
    assert!(after.1 >= before.1 + 50);
    primary.get(b"key0").unwrap();
    assert_eq!(gets(&servers).0, after.0 + 1);
}

#[test]
fn a_cluster_is_read_from_the_nearest_nodes_where_asked_for() {
    let servers = Server::start("cluster", "redis");
    let cache = try_open(&servers.url_with("prefix=app&read_from=nearest")).unwrap();
    let keys: Vec<String> = (0..50).map(|n| format!("key{n}")).collect();
    for key in &keys {
        cache.set(key.as_bytes(), key.as_bytes(), HOUR).unwrap();
        support::eventually("it is there", || {
            cache.get(key.as_bytes()).unwrap().is_some_and(|value| *value == *key.as_bytes())
        });
    }
    // A node that does not answer is not the nearest one: without its masters it is read from those.
    servers.failover();
    servers.kill();
    support::eventually("all of them are read", || {
        keys.iter().all(|key| cache.get(key.as_bytes()).is_ok_and(|value| value.is_some()))
    });
}

/// A connection to each node of the Cluster, its port, and whether it is a master.
fn nodes(servers: &Server) -> Vec<(redis::Connection, u16, bool)> {
    let ports = servers.info["ports"].as_array().unwrap();
    let each = ports.iter().map(|port| {
        let port = port.as_u64().unwrap() as u16;
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut node = client.get_connection().unwrap();
        let info: String = redis::cmd("INFO").arg("replication").query(&mut node).unwrap();
        (node, port, info.contains("role:master"))
    });
    each.collect()
}

/// A connection to each node that is there.
fn nodes_that_run(servers: &Server) -> Vec<redis::Connection> {
    let ports = servers.info["ports"].as_array().unwrap();
    let connect = |port: &serde_json::Value| {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        client.get_connection().ok()
    };
    ports.iter().filter_map(connect).collect()
}

/// The ports of all nodes that have slots, as this one names them.
fn slots(node: &mut redis::Connection) -> Vec<u16> {
    let ranges: Vec<redis::Value> = redis::cmd("CLUSTER").arg("SLOTS").query(node).unwrap();
    let mut ports = Vec::new();
    for range in ranges {
        let redis::Value::Array(parts) = range else { panic!("{range:?}") };
        for node in &parts[2..] {
            let redis::Value::Array(parts) = node else { panic!("{node:?}") };
            let redis::Value::Int(port) = parts[1] else { panic!("{node:?}") };
            ports.push(port as u16);
        }
    }
    ports
}

#[test]
fn replicas_that_come_later_are_read() {
    let servers = Server::start("cluster", "valkey");
    let replicas: Vec<u16> = nodes(&servers)
        .into_iter()
        .filter_map(|(_, port, is_master)| (!is_master).then_some(port))
        .collect();
    for port in &replicas {
        servers.verb(&format!("kill {port}"));
    }
    let mut first = nodes_that_run(&servers).remove(0);
    eventually("the Cluster has no replicas", || slots(&mut first).len() == 3);
    let cache = try_open(&servers.url_with("prefix=app&read_from=replica")).unwrap();
    cache.set(b"k", b"v", HOUR).unwrap();
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), b"v");
    for port in &replicas {
        servers.verb(&format!("restart {port}"));
    }
    eventually("a replica is read", || {
        let before = gets(&servers).0;
        let found = cache.get(b"k").unwrap();
        found.is_some_and(|value| *value == *b"v") && gets(&servers).0 == before
    });
}

#[test]
fn of_the_nodes_of_a_cluster_those_are_read_that_are_not_far() {
    let servers = Server::start("cluster", "redis");
    for masters_are_far in [true, false] {
        // The others, and clients, reach those that are far by a proxy alone, which holds everything up.
        let mut proxies = Vec::new();
        for (mut node, port, is_master) in nodes(&servers) {
            let mut announced = 0;
            if is_master == masters_are_far {
                let proxy = Chaos::to(port);
                proxy.set(Fault::Slow);
                announced = proxy.port();
                proxies.push(proxy);
            }
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg("cluster-announce-port").arg(announced);
            set.exec(&mut node).unwrap();
        }
        eventually("all have heard of it", || {
            nodes(&servers).iter_mut().all(|(node, ..)| {
                // A replica is named again when it has heard its master by its new address.
                let known = slots(node);
                let far = |proxy: &Chaos| known.contains(&proxy.port());
                known.len() == 6 && proxies.iter().all(far)
            })
        });
        let options = "prefix=app&read_from=nearest&timeout=20s&connect_timeout=20s";
        let cache = try_open(&servers.url_with(options)).unwrap();
        let keys: Vec<String> = (0..30).map(|n| format!("key{n}")).collect();
        for key in &keys {
            cache.set(key.as_bytes(), key.as_bytes(), HOUR).unwrap();
        }
        eventually("only those that are near are read", || {
            let before = gets(&servers);
            for key in &keys {
                // A replica may be behind for a moment.
                cache.get(key.as_bytes()).unwrap();
            }
            let after = gets(&servers);
            let (masters, replicas) = (after.0 - before.0, after.1 - before.1);
            (masters, replicas) == if masters_are_far { (0, 30) } else { (30, 0) }
        });
    }
}

#[test]
fn behind_sentinels_a_replica_is_read_where_asked_for() {
    for (server, from) in [("redis", "replica"), ("valkey", "nearest")] {
        let servers = Server::start("sentinel", server);
        let primary = works(&servers.url_with("prefix=app"));
        let cache = try_open(&servers.url_with(&format!("prefix=app&read_from={from}"))).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let read = |key: &str| {
            use lighter_cache::ByteCache;
            let value = cache.get(key.as_bytes())?;
            let again = runtime.block_on(cache.get_bytes(key.as_bytes()))?;
            Ok::<_, Error>([value, again].iter().flatten().count())
        };
        cache.set(b"k", b"v", HOUR).unwrap();
        eventually("a replica has it too", || read("k").unwrap() == 2);
        let before = gets(&servers);
        for _ in 0..50 {
            assert_eq!(read("k").unwrap(), 2);
        }
        let after = gets(&servers);
        assert_eq!(after.0 + after.1, before.0 + before.1 + 100);
        if from == "replica" {
            assert_eq!(after.0, before.0);
        }
        // What is written, counted and cleared is so on the primary, whatever the replica has.
        assert!(cache.add(b"new", b"v", HOUR).unwrap());
        assert_eq!(cache.count().unwrap(), 2);
        cache.clear().unwrap();
        assert_eq!(primary.count().unwrap(), 0);
        eventually("the replica has heard of it", || read("k").unwrap() == 0);

        // After a fail-over the replica is another one; where none is left the primary is read.
        // What the old master got in between is lost.
        let both = || cache.set(b"k", b"v", HOUR).is_ok() && read("k").is_ok_and(|read| read == 2);
        servers.failover();
        eventually("it is written and read again", both);
        servers.kill();
        eventually("it is written to the last one, and read from it", both);
    }
}
