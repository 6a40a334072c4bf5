//! Every operation of RedisCache on both servers and both protocols, blocking and asynchronous.

mod support;

use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, ErrorKind, RedisCache, Remaining, SetOptions, Swap, Ttl,
    config::Config,
};
use support::{SERVERS, Server};

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn bytes(value: Option<lighter_cache::Value>) -> Option<Vec<u8>> {
    value.map(|value| value.to_vec())
}

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));
/// What is stored with it has expired already.
const NOW: Ttl = Ttl::After(Duration::ZERO);

fn blocking(cache: &impl BlockingCache) {
    cache.ping().unwrap();
    assert_eq!(bytes(cache.get(b"k").unwrap()), None);
    cache.set(b"k", b"v", Ttl::Never).unwrap();
    assert_eq!(bytes(cache.get(b"k").unwrap()).unwrap(), b"v");
    assert_eq!(cache.ttl(b"k").unwrap(), Some(Remaining::Forever));
    assert!(cache.exists(b"k").unwrap());
    assert!(cache.expire(b"k", HOUR).unwrap());
    assert!(
        matches!(cache.ttl(b"k").unwrap(), Some(Remaining::For(left)) if left.as_secs() > 3500)
    );
    assert!(cache.expire(b"k", Ttl::Never).unwrap());
    assert_eq!(cache.ttl(b"k").unwrap(), Some(Remaining::Forever));
    assert!(cache.expire(b"k", Ttl::Never).unwrap());
    assert!(!cache.expire(b"absent", Ttl::Never).unwrap());
    assert!(!cache.expire(b"absent", HOUR).unwrap());
    assert_eq!(cache.ttl(b"absent").unwrap(), None);
    assert!(cache.expire(b"k", Ttl::After(Duration::ZERO)).unwrap());
    assert!(!cache.exists(b"k").unwrap());

    cache.set(b"k", b"v", HOUR).unwrap();
    cache.set(b"k", b"w", Ttl::After(Duration::ZERO)).unwrap();
    assert!(!cache.exists(b"k").unwrap());
    assert!(!cache.delete(b"k").unwrap());
    cache.set(b"k", b"", Ttl::Default).unwrap();
    assert_eq!(bytes(cache.get(b"k").unwrap()).unwrap(), b"");
    assert!(cache.delete(b"k").unwrap());

    let keys: [&[u8]; 3] = [b"a", b"\0\r\n\xff*?[]\\", b"c{tag}"];
    let values: [&[u8]; 3] = [b"17", b"\0\r\n\xff", b""];
    let items: Vec<_> = keys.into_iter().zip(values).collect();
    cache.set_many(&items, HOUR).unwrap();
    let read = cache.get_many(&[keys[0], b"absent", keys[1], keys[2]]).unwrap();
    let read: Vec<_> = read.into_iter().map(bytes).collect();
    let expected: Vec<_> = [Some(values[0]), None, Some(values[1]), Some(values[2])]
        .map(|value| value.map(<[u8]>::to_vec))
        .into();
    assert_eq!(read, expected);
    assert_eq!(cache.count().unwrap(), 3);
    assert_eq!(cache.delete_many(&[keys[0], b"absent", keys[1]]).unwrap(), 2);
    assert_eq!(cache.count().unwrap(), 1);
    assert_eq!(cache.get_many(&[]).unwrap().len(), 0);
    cache.set_many(&[], HOUR).unwrap();
    assert_eq!(cache.delete_many(&[]).unwrap(), 0);

    let big: Vec<u8> = (0..8 << 20).map(|n: u32| (n.wrapping_mul(n) >> 7) as u8).collect();
    cache.set(b"big", &big, HOUR).unwrap();
    assert!(bytes(cache.get(b"big").unwrap()).unwrap() == big);
    let both = cache.get_many(&[b"big", b"big"]).unwrap();
    assert!(both.into_iter().all(|value| bytes(value).unwrap() == big));

    cache.clear().unwrap();
    assert_eq!(cache.count().unwrap(), 0);

    for bad in [&b""[..], b"__lc:x"] {
        assert_eq!(cache.get(bad).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(cache.set(bad, b"", HOUR).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(cache.get_many(&[bad]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let long = vec![b'k'; 65_537];
    assert_eq!(cache.get(&long).unwrap_err().kind(), ErrorKind::TooBig);
    cache.set(&long[1..], b"v", HOUR).unwrap();
    assert!(cache.delete(&long[1..]).unwrap());
    let century = Ttl::After(Duration::from_secs(101 * 365 * 24 * 3600));
    assert_eq!(cache.set(b"k", b"v", century).unwrap_err().kind(), ErrorKind::Invalid);
}

async fn asynchronous(cache: &impl ByteCache) {
    cache.ping_bytes().await.unwrap();
    cache.set_bytes(b"k", b"v", HOUR).await.unwrap();
    assert_eq!(bytes(cache.get_bytes(b"k").await.unwrap()).unwrap(), b"v");
    assert!(cache.exists_bytes(b"k").await.unwrap());
    assert!(matches!(cache.ttl_bytes(b"k").await.unwrap(), Some(Remaining::For(_))));
    assert!(cache.expire_bytes(b"k", Ttl::Never).await.unwrap());
    assert_eq!(cache.ttl_bytes(b"k").await.unwrap(), Some(Remaining::Forever));
    assert!(cache.delete_bytes(b"k").await.unwrap());
    assert!(!cache.delete_bytes(b"k").await.unwrap());
    let names: Vec<String> = (0..500).map(|n| format!("key{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let items: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (*key, *key)).collect();
    cache.set_many_bytes(&items, HOUR).await.unwrap();
    let read = cache.get_many_bytes(&keys).await.unwrap();
    assert!(read.iter().zip(&keys).all(|(value, key)| **value.as_ref().unwrap() == **key));
    assert_eq!(cache.count_bytes().await.unwrap(), 500);
    assert_eq!(cache.delete_many_bytes(&keys[..100]).await.unwrap(), 100);
    cache.clear_bytes().await.unwrap();
    assert_eq!(cache.count_bytes().await.unwrap(), 0);
}

#[test]
fn every_operation_on_every_server_and_protocol() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        for protocol in [2, 3] {
            let url = servers.url_with(&format!("prefix=app{protocol}&protocol={protocol}"));
            let cache = open(&url);
            blocking(&cache);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(asynchronous(&cache));
            // Outside of any runtime of the program.
            assert_eq!(bytes(cache.get(b"k").unwrap()), None);
        }
    }
}

#[test]
fn every_operation_on_a_cluster() {
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        let cache = open(&servers.url_with("prefix=app"));
        blocking(&cache);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(asynchronous(&cache));
    }
}

#[test]
fn counts_what_it_does() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    cache.set(b"k", b"v", HOUR).unwrap();
    cache.get(b"k").unwrap();
    cache.get(b"absent").unwrap();
    cache.get_many(&[b"k", b"absent"]).unwrap();
    cache.exists(b"k").unwrap();
    cache.delete(b"k").unwrap();
    let stats = cache.stats().unwrap();
    assert_eq!(stats.size, u64::MAX);
    let counted = (stats.hits, stats.misses, stats.sets, stats.deletes, stats.errors);
    assert_eq!(counted, (2, 2, 1, 1, 0));
}

#[test]
fn deletes_are_values_that_were_there_and_a_call_removed() {
    let servers = Server::single();
    let urls =
        [&servers.url_with("prefix=app"), &servers.url_with("prefix=raw&wire=raw"), "local:"];
    for url in urls {
        let cache = open(url);
        let mut expected = 0;
        let mut deleted = |count: u64, what: &str| {
            expected += count;
            assert_eq!(cache.stats().unwrap().deletes, expected, "{what}, {url}");
            let stored: Vec<_> = [&b"a"[..], b"b", b"c"].map(|key| (key, &b"v"[..])).into();
            cache.set_many(&stored, HOUR).unwrap();
        };
        deleted(0, "nothing");
        assert!(cache.delete(b"a").unwrap() && !cache.delete(b"a").unwrap());
        deleted(1, "delete");
        assert_eq!(cache.delete_many(&[b"a", b"b", b"absent"]).unwrap(), 2);
        deleted(2, "delete_many");
        cache.set(b"a", b"v", NOW).unwrap();
        cache.set(b"absent", b"v", NOW).unwrap();
        deleted(1, "set");
        cache.set_many(&[(b"a", b"v"), (b"b", b"v"), (b"absent", b"v")], NOW).unwrap();
        deleted(2, "set_many");
        cache.set_ex(b"a", b"v", &SetOptions::new(NOW)).unwrap();
        cache.set_ex(b"absent", b"v", &SetOptions::new(NOW)).unwrap();
        deleted(1, "set_ex");
        assert!(cache.expire(b"a", NOW).unwrap() && !cache.expire(b"a", NOW).unwrap());
        deleted(1, "expire");
        assert!(cache.add(b"absent", b"v", NOW).unwrap() && !cache.add(b"a", b"v", NOW).unwrap());
        deleted(0, "add");
        assert!(cache.replace(b"a", b"v", NOW).unwrap());
        assert!(!cache.replace(b"absent", b"v", NOW).unwrap());
        deleted(1, "replace");
        assert_eq!(cache.compare_and_set(b"a", b"v", b"w", NOW).unwrap(), Swap::Done);
        assert_eq!(cache.compare_and_set(b"b", b"w", b"w", NOW).unwrap(), Swap::Conflict);
        deleted(1, "compare_and_set");
        assert_eq!(cache.delete_prefix(b"a").unwrap(), 1);
        deleted(1, "delete_prefix");
        cache.clear().unwrap();
        deleted(3, "clear");
        // Each of the twelve rounds stored three; nothing else was stored.
        assert_eq!(cache.stats().unwrap().sets, 36, "{url}");
    }
}

#[test]
fn clear_leaves_other_prefixes_alone() {
    let servers = Server::single();
    let other = open(&servers.url_with("prefix=app2"));
    other.set(b"k", b"v", HOUR).unwrap();
    for prefix in ["app", "ap*", "a[pq]p2", "?pp2", "a\\", "**"] {
        let encoded: String = prefix.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let cache = open(&servers.url_with(&format!("prefix={encoded}")));
        cache.set(b"mine", b"v", HOUR).unwrap();
        servers.call(&["SET", &format!("{prefix}:__lc:own"), "v"]);
        cache.clear().unwrap();
        assert!(!cache.exists(b"mine").unwrap(), "{prefix}");
        assert_eq!(servers.call(&["EXISTS", &format!("{prefix}:__lc:own")]), 1, "{prefix}");
        assert!(other.exists(b"k").unwrap(), "{prefix}");
    }
}

#[test]
fn without_a_prefix_there_is_no_clear() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=&wire=raw"));
    cache.set(b"k", b"v", HOUR).unwrap();
    assert_eq!(cache.clear().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(cache.count().unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(cache.exists(b"k").unwrap());
}

#[test]
fn reads_what_other_programs_write_and_the_other_way_round() {
    let servers = Server::single();
    let cache = open(&servers.url_with("prefix=app"));
    servers.call(&["SET", "app:foreign", "plain text"]);
    assert_eq!(bytes(cache.get(b"foreign").unwrap()).unwrap(), b"plain text");
    cache.set(b"number", b"41", HOUR).unwrap();
    assert_eq!(servers.call(&["INCR", "app:number"]), 42);
    assert_eq!(bytes(cache.get(b"number").unwrap()).unwrap(), b"42");
    let raw = open(&servers.url_with("prefix=app&wire=raw"));
    raw.set(b"raw", b"as it is", HOUR).unwrap();
    assert_eq!(servers.call(&["GET", "app:raw"]), "as it is");
    cache.set(b"enveloped", b"x", HOUR).unwrap();
    let stored = servers.call(&["STRLEN", "app:enveloped"]).as_u64().unwrap();
    assert!(stored > 1 && stored <= 1 + 8, "{stored}");
}

#[test]
fn opens_by_the_asynchronous_constructors() {
    let servers = Server::single();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cache = RedisCache::new(&servers.url_with(""), "app").await.unwrap();
        cache.set_bytes(b"k", b"v", HOUR).await.unwrap();
        let client = redis::Client::open(servers.url()).unwrap();
        let same = RedisCache::from_client(client, "app").await.unwrap();
        assert_eq!(bytes(same.get_bytes(b"k").await.unwrap()).unwrap(), b"v");
        let wrong = RedisCache::new("local:", "app").await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Config);
        // A blocking call inside of the program's runtime blocks, but does not panic.
        assert_eq!(bytes(same.get(b"k").unwrap()).unwrap(), b"v");
    });
}
