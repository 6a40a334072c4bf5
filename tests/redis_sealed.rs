//! Compressed and encrypted values on real servers: what a cache reads back, what everybody else sees,
//! and what becomes of values that were tampered with.

mod support;

#[path = "support/vectors.rs"]
mod vectors;

use lighter_cache::config::ConfigBuilder;
use lighter_cache::{
    AnyCache, BlockingCache, Cache, CacheStats, ErrorKind, GetOptions, Kind, SetOptions, Stale,
    Swap, Ttl,
};
use support::{SERVERS, Server, eventually};

const SECRET: &str = "the canary sings";

fn open(url: &str, options: &[(&str, &str)]) -> AnyCache {
    let mut builder = ConfigBuilder::new(Some(url));
    for (name, value) in [("prefix", "app"), ("timeout", "20s")].iter().chain(options) {
        builder.set(name, value).unwrap();
    }
    AnyCache::open(&builder.build().unwrap()).unwrap()
}

/// Sees what is stored.
fn spy(server: &Server) -> AnyCache {
    open(server.url(), &[("wire", "raw")])
}

fn key(id: u32) -> String {
    format!("{id}:{}", vectors::base64(&[id as u8; 32]))
}

fn get(cache: &AnyCache, key: &str) -> Option<Vec<u8>> {
    BlockingCache::get(cache, key.as_bytes()).unwrap().map(|value| value.to_vec())
}

fn set(cache: &AnyCache, key: &str, value: &[u8]) {
    BlockingCache::set(cache, key.as_bytes(), value, Ttl::Never).unwrap();
}

fn stats(cache: &AnyCache) -> CacheStats {
    BlockingCache::stats(cache).unwrap()
}

fn shows(stored: &[u8], text: &str) -> bool {
    stored.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_was_written_is_read_by_the_cache_and_by_nobody_else() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let spy = spy(&server);
        let long = SECRET.repeat(10_000);
        for compress in ["none", "zstd", "lz4"] {
            for keys in [None, Some(key(1))] {
                let mut options = vec![("compress", compress)];
                options.extend(keys.as_deref().map(|keys| ("encryption_keys", keys)));
                let cache = open(server.url(), &options);
                let items: [(&str, &[u8]); 5] = [
                    ("short", SECRET.as_bytes()),
                    ("long", long.as_bytes()),
                    ("number", b"-17"),
                    ("empty", b""),
                    ("magic", b"\xC1LC\x01\x00\xFF"),
                ];
                for (key, value) in items {
                    set(&cache, key, value);
                    assert_eq!(get(&cache, key).unwrap(), value, "{compress} {key}");
                }
                BlockingCache::clear(&cache).unwrap();
                let pairs = items.map(|(key, value)| (key.as_bytes(), value));
                cache.set_many(&pairs, Ttl::After(std::time::Duration::from_secs(60))).unwrap();
                let read = cache.get_many(&items.map(|(key, _)| key.as_bytes())).unwrap();
                for ((key, value), read) in items.iter().zip(read) {
                    assert_eq!(&*read.unwrap(), *value, "{compress} {key}");
                }

                let stored = items.map(|(key, _)| get(&spy, key).unwrap());
                assert_eq!(shows(&stored[0], SECRET), keys.is_none());
                assert!(keys.is_none() || !shows(&stored[1], SECRET));
                assert_eq!(stored[1].len() < long.len() / 10, compress != "none");
                assert_eq!(stored[2] == b"-17", keys.is_none());
                assert_eq!(stats(&cache).errors, 0);
            }
        }
    }
}

#[test]
fn conditional_writes_compare_what_is_packed() {
    for name in SERVERS {
        let server = Server::start("single", name);
        let (spy, plain) = (spy(&server), open(server.url(), &[]));
        let long = SECRET.repeat(10_000);
        for compress in ["none", "zstd", "lz4"] {
            for keys in [None, Some(format!("{},{}", key(1), key(2)))] {
                let mut options = vec![("compress", compress)];
                options.extend(keys.as_deref().map(|keys| ("encryption_keys", keys)));
                let cache = open(server.url(), &options);
                let swap = |expected: &[u8], value: &[u8]| {
                    BlockingCache::compare_and_set(&cache, b"k", expected, value, Ttl::Never)
                        .unwrap()
                };
                assert_eq!(swap(b"", b"v"), Swap::Absent);
                assert!(cache.add(b"k", long.as_bytes(), Ttl::Never).unwrap());
                assert!(!cache.add(b"k", b"other", Ttl::Never).unwrap());
                assert_eq!(swap(&long.as_bytes()[1..], b"v"), Swap::Conflict);
                assert_eq!(swap(long.as_bytes(), SECRET.as_bytes()), Swap::Done);
                assert_eq!(swap(SECRET.as_bytes(), b""), Swap::Done);
                assert_eq!(swap(b"", b"17"), Swap::Done);
                assert_eq!(swap(b"17", long.as_bytes()), Swap::Done);
                assert!(cache.replace(b"k", SECRET.as_bytes(), Ttl::Never).unwrap());
                assert_eq!(get(&cache, "k").unwrap(), SECRET.as_bytes());
                assert_eq!(shows(&get(&spy, "k").unwrap(), SECRET), keys.is_none());

                // With tags and a window, and written with a key that is on its way out.
                let old_key = key(2);
                let mut old = vec![("compress", compress)];
                old.extend(keys.as_deref().map(|_| ("encryption_keys", &*old_key)));
                let mut tagged = SetOptions::new(std::time::Duration::from_secs(3600));
                tagged.tags.push(b"t".to_vec());
                tagged.stale = Stale::For(std::time::Duration::from_secs(60));
                open(server.url(), &old).set_ex(b"k", long.as_bytes(), &tagged).unwrap();
                let found = cache.get_ex(b"k", GetOptions::default()).unwrap().unwrap();
                assert_eq!(&*found.value, long.as_bytes());
                assert_eq!(swap(SECRET.as_bytes(), b"v"), Swap::Conflict);
                assert_eq!(swap(long.as_bytes(), b"v"), Swap::Done);
                open(server.url(), &old).set_ex(b"k", long.as_bytes(), &tagged).unwrap();
                cache.invalidate_tag(b"t").unwrap();
                assert_eq!(swap(long.as_bytes(), b"v"), Swap::Absent);
                assert!(cache.add(b"k", b"v", Ttl::Never).unwrap());

                if keys.is_some() {
                    let error = cache.incr(b"n", 1, Ttl::Never).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    set(&plain, "k", b"planted");
                    let planted = cache.compare_and_set(b"k", b"planted", b"v", Ttl::Never);
                    assert_eq!(planted.unwrap_err().kind(), ErrorKind::Corrupt);
                    assert_eq!(get(&plain, "k").unwrap(), b"planted");
                } else {
                    assert_eq!(cache.incr(b"n", 1, Ttl::Never).unwrap(), 1);
                }
                BlockingCache::clear(&cache).unwrap();
            }
        }
    }
}

#[test]
fn typed_values_of_tasks() {
    let server = Server::single();
    let (cache, spy) =
        (open(server.url(), &[("compress", "zstd"), ("encryption_keys", &key(1))]), spy(&server));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let value = vec![SECRET.to_owned(); 1000];
        Cache::set(&cache, "k", &value, Ttl::Never).await.unwrap();
        assert_eq!(Cache::get::<Vec<String>>(&cache, "k").await.unwrap(), Some(value));
    });
    let stored = get(&spy, "k").unwrap();
    assert!(!shows(&stored, SECRET) && stored.len() < 1000);
}

#[test]
fn values_that_were_tampered_with_are_refused() {
    let server = Server::single();
    let (cache, spy) = (open(server.url(), &[("encryption_keys", &key(1))]), spy(&server));
    let corrupt = |key: &str| {
        let before = stats(&cache).errors;
        let error = BlockingCache::get(&cache, key.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error}");
        assert!(!error.message().contains(SECRET));
        let many = cache.get_many(&[b"good", key.as_bytes()]).unwrap();
        assert!(many[0].is_some() && many[1].is_none());
        assert_eq!(stats(&cache).errors, before + 2);
    };
    set(&cache, "good", SECRET.as_bytes());
    server.call(&["COPY", "app:good", "app:moved"]);
    corrupt("moved");
    let mut stored = get(&spy, "good").unwrap();
    *stored.last_mut().unwrap() ^= 1;
    set(&spy, "changed", &stored);
    corrupt("changed");
    set(&open(server.url(), &[]), "plain", b"planted");
    corrupt("plain");
    set(&spy, "foreign", b"planted");
    corrupt("foreign");
    set(&spy, "number", b"17");
    corrupt("number");
    set(&open(server.url(), &[("encryption_keys", &key(2))]), "other", b"v");
    corrupt("other");

    // Over the largest value only once it is decompressed.
    let long = vec![0; 1 << 20];
    set(&open(server.url(), &[("compress", "zstd")]), "bomb", &long);
    let small = open(server.url(), &[("max_value_bytes", "1MB")]);
    let error = BlockingCache::get(&small, b"bomb").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooBig);
    // The connection is as good as before.
    assert_eq!(get(&small, "absent"), None);
}

#[test]
fn keys_are_exchanged_while_caches_run() {
    let server = Server::single();
    let with = |keys: String| open(server.url(), &[("encryption_keys", &keys)]);
    let (old, both_old, both_new, new) = (
        with(key(1)),
        with(format!("{},{}", key(1), key(2))),
        with(format!("{},{}", key(2), key(1))),
        with(key(2)),
    );
    set(&old, "a", b"1");
    set(&both_old, "b", b"2");
    set(&both_new, "c", b"3");
    for cache in [&both_old, &both_new] {
        let read = ["a", "b", "c"].map(|key| get(cache, key).unwrap());
        assert_eq!(read, [b"1", b"2", b"3"]);
    }
    let gone = BlockingCache::get(&new, b"a").unwrap_err();
    assert!(gone.message().contains("key 1"), "{gone}");
    assert_eq!(BlockingCache::get(&old, b"c").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_hybrid_reads_what_another_wrote_and_takes_damage_for_a_miss() {
    let server = Server::single();
    let keys = key(1);
    let options = [("compress", "lz4"), ("encryption_keys", &*keys), ("require_l2", "true")];
    let (one, two) = (open(&server.hybrid_url(), &options), open(&server.hybrid_url(), &options));
    let spy = spy(&server);
    assert_eq!(one.kind(), Kind::Hybrid);
    let long = SECRET.repeat(1000);
    set(&one, "k", long.as_bytes());
    assert_eq!(get(&two, "k").unwrap(), long.as_bytes());
    assert_eq!(get(&one, "k").unwrap(), long.as_bytes());
    let stored = get(&spy, "k").unwrap();
    assert!(!shows(&stored, SECRET) && stored.len() < 1000);

    // The invalidation reaches both; then there is no value that they could read.
    set(&spy, "k", b"planted");
    eventually("the planted value is a miss", || get(&one, "k").is_none());
    eventually("the planted value is a miss", || get(&two, "k").is_none());
    set(&two, "k", b"anew");
    eventually("the value is read again", || get(&one, "k").as_deref() == Some(b"anew"));
}
