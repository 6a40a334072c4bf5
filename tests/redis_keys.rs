//! Naming and removing the keys of a RedisCache that begin alike, whatever bytes they have.

mod support;

use std::ops::ControlFlow;
use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, ErrorKind, SetOptions, Ttl, config::Config,
};
use support::{SERVERS, Server};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));
/// As an option of a URL, and as it is.
const PREFIXES: [(&str, &str); 4] =
    [("app", "app"), ("ap%2A", "ap*"), ("%3F%5Bp%5D%5C", "?[p]\\"), ("a%7Bb", "a{b")];

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn visited(cache: &AnyCache, prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    cache
        .for_each_key(prefix, &mut |key| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    keys.sort();
    keys.dedup();
    keys
}

fn names_and_removes(cache: &AnyCache, neighbours: &[AnyCache]) {
    let odd: [&[u8]; 8] =
        [b"*", b"**", b"?x", b"[a]", b"\\", b"\\*", b"\0\xff\r\n", b"\0\xff\r\n2"];
    for key in odd.iter().chain(&[&b"a"[..], b"ab"]) {
        cache.set(key, b"v", HOUR).unwrap();
        neighbours.iter().for_each(|other| other.set(key, b"v", HOUR).unwrap());
    }
    let mut options = SetOptions::new(HOUR);
    options.tags.push(b"tag".to_vec());
    cache.set_ex(b"tagged", b"v", &options).unwrap();
    let lock = cache.lock(b"lock", Duration::from_secs(60), Duration::ZERO).unwrap().unwrap();

    let named = |prefix: &[u8]| {
        let keys = block(cache.keys_bytes(prefix)).unwrap();
        assert_eq!(visited(cache, prefix), keys);
        keys
    };
    assert_eq!(named(b"").len(), 11);
    assert_eq!(named(b"*"), [&b"*"[..], b"**"]);
    assert_eq!(named(b"\\"), [&b"\\"[..], b"\\*"]);
    assert_eq!(named(b"["), [b"[a]"]);
    assert_eq!(named(b"\0\xff\r\n"), [&b"\0\xff\r\n"[..], b"\0\xff\r\n2"]);
    assert!(named(b"__lc:").is_empty());
    assert!(named(&vec![b'k'; 65_536]).is_empty());
    let long = vec![b'k'; 65_537];
    assert_eq!(cache.delete_prefix(&long).unwrap_err().kind(), ErrorKind::TooBig);

    assert_eq!(cache.delete_prefix(b"*").unwrap(), 2);
    assert_eq!(cache.delete_prefix(b"*").unwrap(), 0);
    assert_eq!(block(cache.delete_prefix_bytes(b"\\")).unwrap(), 2);
    assert_eq!(cache.delete_prefix(b"?x").unwrap(), 1);
    assert_eq!(cache.delete_prefix(b"__lc:").unwrap(), 0);
    assert_eq!(named(b"").len(), 6);
    assert_eq!(&*cache.get(b"tagged").unwrap().unwrap(), b"v");
    assert_eq!(cache.delete_prefix(b"").unwrap(), 6);
    assert!(named(b"").is_empty());
    assert!(neighbours.iter().all(|other| other.count().unwrap() == 10));
    assert!(lock.release().unwrap());
    neighbours.iter().for_each(|other| other.clear().unwrap());
}

#[test]
fn on_every_server() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        for protocol in [2, 3] {
            let url = |prefix: &str| {
                servers.url_with(&format!(
                    "prefix={prefix}&protocol={protocol}&timeout=20s&connect_timeout=20s"
                ))
            };
            for (prefix, raw) in PREFIXES {
                // Which a glob that was not escaped would take for the cache's own.
                let neighbours = ["app2", "apx", "ap", "xp%5C", "xp", "ab"].map(|o| open(&url(o)));
                names_and_removes(&open(&url(prefix)), &neighbours);
                // The keys are what other programs see.
                open(&url(prefix)).set(b"seen", b"5", HOUR).unwrap();
                assert_eq!(servers.call(&["GET", &format!("{raw}:seen")]), "5");
                open(&url(prefix)).clear().unwrap();
            }
        }
    }
}

#[test]
fn on_a_cluster() {
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        let url = |prefix: &str| {
            servers.url_with(&format!("prefix={prefix}&timeout=20s&connect_timeout=20s"))
        };
        for (prefix, _) in PREFIXES {
            names_and_removes(&open(&url(prefix)), &["app2", "ap"].map(|other| open(&url(other))));
        }
        // On every master.
        let cache = open(&url("app"));
        let names: Vec<String> = (0..5000).map(|n| format!("k{n}")).collect();
        let items: Vec<(&[u8], &[u8])> =
            names.iter().map(|name| (name.as_bytes(), &b"v"[..])).collect();
        cache.set_many(&items, HOUR).unwrap();
        assert_eq!(visited(&cache, b"k").len(), 5000);
        assert_eq!(cache.delete_prefix(b"k1").unwrap(), 1111);
        assert_eq!(cache.delete_prefix(b"k").unwrap(), 3889);
    }
}

#[test]
fn a_visitor_may_use_the_cache_and_stop() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    let names: Vec<String> = (0..3000).map(|n| format!("k{n}")).collect();
    let items: Vec<(&[u8], &[u8])> =
        names.iter().map(|name| (name.as_bytes(), name.as_bytes())).collect();
    cache.set_many(&items, HOUR).unwrap();
    cache
        .for_each_key(b"", &mut |key| {
            assert_eq!(&*cache.get(key).unwrap().unwrap(), key);
            assert!(cache.delete(key).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(cache.count().unwrap(), 0);
    cache.set_many(&items, HOUR).unwrap();
    let mut seen = 0;
    cache
        .for_each_key(b"", &mut |_| {
            seen += 1;
            if seen == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, 7);
}

#[test]
fn without_a_prefix_they_are_unsupported() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=&wire=raw"));
    let kinds = [
        cache.delete_prefix(b"").unwrap_err().kind(),
        block(cache.keys_bytes(b"")).unwrap_err().kind(),
        cache.for_each_key(b"", &mut |_| ControlFlow::Continue(())).unwrap_err().kind(),
        cache.invalidate_tag(b"t").unwrap_err().kind(),
        cache.lock(b"l", Duration::from_secs(1), Duration::ZERO).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unsupported; 5]);
    let raw = open(&servers.url_with("prefix=app&wire=raw"));
    assert_eq!(raw.invalidate_tag(b"t").unwrap_err().kind(), ErrorKind::Unsupported);
    let mut options = SetOptions::new(HOUR);
    options.tags.push(b"t".to_vec());
    assert_eq!(raw.set_ex(b"k", b"v", &options).unwrap_err().kind(), ErrorKind::Unsupported);
    raw.set(b"\xC1LC", b"\xC1LC\x01\x04\xFB", HOUR).unwrap();
    assert_eq!(block(raw.keys_bytes(b"\xC1")).unwrap(), [b"\xC1LC"]);
    assert_eq!(&*raw.get(b"\xC1LC").unwrap().unwrap(), b"\xC1LC\x01\x04\xFB");
    assert!(raw.exists(b"\xC1LC").unwrap());
}
