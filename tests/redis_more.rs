//! The operations of RedisCache beyond get and set whose outcome depends on what is stored, on both
//! servers, both protocols, a Cluster and behind Sentinels.

mod support;

use std::time::Duration;

use lighter_cache::{
    AnyCache, BlockingCache, ByteCache, ErrorKind, GetOptions, Remaining, SetOptions, Stale, Swap,
    Tier, Ttl, config::Config,
};
use support::{SERVERS, Server, eventually};

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));
const NOW: Ttl = Ttl::After(Duration::ZERO);

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn text(cache: &AnyCache, key: &[u8]) -> Option<Vec<u8>> {
    cache.get(key).unwrap().map(|value| value.to_vec())
}

fn long(remaining: Option<Remaining>) -> bool {
    matches!(remaining, Some(Remaining::For(left)) if left.as_secs() > 3500)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A key that a glob, a line and a Cluster's hash tag could stumble over.
const ODD: &[u8] = b"*?[a]\\\r\n\0\xff}{x}";

fn add_and_replace(cache: &AnyCache) {
    for key in [&b"k"[..], ODD] {
        assert!(!cache.replace(key, b"v", HOUR).unwrap());
        assert!(!cache.exists(key).unwrap());
        assert!(cache.add(key, b"v", HOUR).unwrap());
        assert!(long(cache.ttl(key).unwrap()));
        assert!(!cache.add(key, b"w", Ttl::Never).unwrap());
        assert_eq!(text(cache, key).unwrap(), b"v");
        assert!(long(cache.ttl(key).unwrap()));
        assert!(cache.replace(key, b"", Ttl::Never).unwrap());
        assert_eq!(text(cache, key).unwrap(), b"");
        assert_eq!(cache.ttl(key).unwrap(), Some(Remaining::Forever));
        assert!(!cache.add(key, b"w", HOUR).unwrap());

        // A TTL of zero stores nothing, and takes away what a replacement would have replaced.
        assert!(!cache.add(key, b"w", NOW).unwrap());
        assert!(cache.exists(key).unwrap());
        assert!(cache.replace(key, b"w", NOW).unwrap());
        assert!(cache.add(key, b"w", NOW).unwrap());
        assert!(!cache.exists(key).unwrap());

        assert!(block(cache.add_bytes(key, b"5", HOUR)).unwrap());
        assert!(!block(cache.add_bytes(key, b"6", HOUR)).unwrap());
        assert!(block(cache.replace_bytes(key, b"7", HOUR)).unwrap());
        assert_eq!(text(cache, key).unwrap(), b"7");
        assert!(cache.delete(key).unwrap());
    }
}

fn compare_and_set(cache: &AnyCache) {
    let swap =
        |expected: &[u8], value: &[u8]| cache.compare_and_set(ODD, expected, value, HOUR).unwrap();
    assert_eq!(swap(b"", b"v"), Swap::Absent);
    cache.set(ODD, b"one", Ttl::Never).unwrap();
    for wrong in [&b""[..], b"on", b"onee", b"two", b"\xC1LC\x01\x00\xFFone"] {
        assert_eq!(swap(wrong, b"v"), Swap::Conflict);
    }
    assert_eq!(text(cache, ODD).unwrap(), b"one");
    assert_eq!(cache.ttl(ODD).unwrap(), Some(Remaining::Forever));
    assert_eq!(swap(b"one", b""), Swap::Done);
    assert!(long(cache.ttl(ODD).unwrap()));
    assert_eq!(swap(b"", b"17"), Swap::Done);
    assert_eq!(swap(b"017", b"v"), Swap::Conflict);
    assert_eq!(swap(b"17", b"18"), Swap::Done);
    assert_eq!(cache.incr(ODD, 1, HOUR).unwrap(), 19);
    assert_eq!(swap(b"19", b"\xC1LC\x01\x00\xFFone"), Swap::Done);
    assert_eq!(text(cache, ODD).unwrap(), b"\xC1LC\x01\x00\xFFone");
    let big: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(n) >> 7) as u8).collect();
    assert_eq!(swap(b"\xC1LC\x01\x00\xFFone", &big), Swap::Done);
    let mut other = big.clone();
    other[1 << 19] ^= 1;
    assert_eq!(swap(&other, b"v"), Swap::Conflict);
    assert_eq!(block(cache.compare_and_set_bytes(ODD, &big, b"v", HOUR)).unwrap(), Swap::Done);
    assert_eq!(cache.compare_and_set(ODD, b"v", b"w", NOW).unwrap(), Swap::Done);
    assert!(!cache.exists(ODD).unwrap());
}

fn incr(cache: &AnyCache) {
    for (key, ttl) in [(&b"n"[..], HOUR), (ODD, Ttl::Never)] {
        let incr = |delta| cache.incr(key, delta, ttl);
        assert_eq!(incr(5).unwrap(), 5);
        assert_eq!(incr(-7).unwrap(), -2);
        assert_eq!(text(cache, key).unwrap(), b"-2");
        // Only where it creates: the TTL stays.
        assert_eq!(long(cache.ttl(key).unwrap()), ttl == HOUR);
        assert!(cache.expire(key, Ttl::Never).unwrap());
        assert_eq!(cache.incr(key, 1, HOUR).unwrap(), -1);
        assert_eq!(cache.ttl(key).unwrap(), Some(Remaining::Forever));

        cache.set(key, b"9007199254740993", HOUR).unwrap();
        assert_eq!(incr(1).unwrap(), 9_007_199_254_740_994);
        cache.set(key, i64::MAX.to_string().as_bytes(), HOUR).unwrap();
        assert_eq!(incr(0).unwrap(), i64::MAX);
        assert_eq!(incr(1).unwrap_err().kind(), ErrorKind::Type);
        assert_eq!(text(cache, key).unwrap(), i64::MAX.to_string().as_bytes());
        assert_eq!(incr(i64::MIN).unwrap(), -1);
        assert_eq!(incr(i64::MIN).unwrap_err().kind(), ErrorKind::Type);
        assert!(cache.delete(key).unwrap());
        assert_eq!(incr(i64::MIN).unwrap(), i64::MIN);
        for word in [&b""[..], b"x", b"05", b"-0", b"1.5", b" 1"] {
            cache.set(key, word, HOUR).unwrap();
            assert_eq!(incr(1).unwrap_err().kind(), ErrorKind::Type, "{word:?}");
            assert_eq!(text(cache, key).unwrap(), word);
        }
        assert!(cache.delete(key).unwrap());
        assert_eq!(cache.incr(key, 3, NOW).unwrap(), 3);
        assert!(!cache.exists(key).unwrap());
        assert_eq!(block(cache.incr_bytes(key, 3, HOUR)).unwrap(), 3);
        assert!(cache.delete(key).unwrap());
    }
}

fn get_ex(cache: &AnyCache) {
    let get = || cache.get_ex(ODD, GetOptions::default()).unwrap();
    assert!(get().is_none());
    cache.set(ODD, b"v", HOUR).unwrap();
    let found = get().unwrap();
    assert_eq!((&*found.value, found.tier, found.stale), (&b"v"[..], Tier::L2, false));
    assert!(long(Some(found.remaining)));
    cache.set_ex(ODD, b"w", &SetOptions::new(Ttl::Never)).unwrap();
    let found = block(cache.get_ex_bytes(ODD, GetOptions::default())).unwrap().unwrap();
    assert_eq!((&*found.value, found.remaining), (&b"w"[..], Remaining::Forever));
    block(cache.set_ex_bytes(ODD, b"w", &SetOptions::new(NOW))).unwrap();
    assert!(get().is_none());
}

fn everything(cache: &AnyCache) {
    add_and_replace(cache);
    compare_and_set(cache);
    incr(cache);
    get_ex(cache);
    for bad in [&b""[..], b"__lc:x"] {
        let kinds = [
            cache.add(bad, b"", HOUR).unwrap_err().kind(),
            cache.replace(bad, b"", HOUR).unwrap_err().kind(),
            cache.compare_and_set(bad, b"", b"", HOUR).unwrap_err().kind(),
            cache.incr(bad, 1, HOUR).unwrap_err().kind(),
            cache.get_ex(bad, GetOptions::default()).unwrap_err().kind(),
            cache.set_ex(bad, b"", &SetOptions::default()).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::Invalid; 6]);
    }
    assert_eq!(cache.count().unwrap_or(0), 0);
}

/// Values with tags and stale windows, as they count for every operation. `other` is another process's.
fn conditions(cache: &AnyCache, other: &AnyCache) {
    let mut options = SetOptions::new(HOUR);
    options.tags = vec![b"red".to_vec(), b"*\0\xff".to_vec(), b"red".to_vec()];
    let store = |key: &[u8], value: &[u8]| cache.set_ex(key, value, &options).unwrap();
    let valid = |key: &[u8], value: &[u8]| {
        assert_eq!(text(other, key).unwrap(), value);
        assert!(other.exists(key).unwrap());
        assert!(long(other.ttl(key).unwrap()));
        assert!(other.expire(key, HOUR).unwrap());
        assert!(!other.add(key, b"added", HOUR).unwrap());
        assert_eq!(other.compare_and_set(key, b"wrong", b"", HOUR).unwrap(), Swap::Conflict);
        assert_eq!(other.incr(key, 1, Ttl::Never).unwrap_err().kind(), ErrorKind::Type);
        assert_eq!(other.incr(key, 1, HOUR).unwrap_err().kind(), ErrorKind::Type);
        let found = other.get_ex(key, GetOptions::default()).unwrap().unwrap();
        assert_eq!(&*found.value, value);
        assert!(long(Some(found.remaining)));
        assert_eq!(other.get_many(&[b"absent", key]).unwrap()[1].as_deref(), Some(value));
    };
    let absent = |key: &[u8]| {
        assert_eq!(text(other, key), None);
        assert!(!other.exists(key).unwrap());
        assert_eq!(other.ttl(key).unwrap(), None);
        assert!(!other.expire(key, HOUR).unwrap());
        assert!(!other.replace(key, b"replaced", HOUR).unwrap());
        assert_eq!(other.compare_and_set(key, b"5", b"", HOUR).unwrap(), Swap::Absent);
        assert!(other.get_ex(key, GetOptions::default()).unwrap().is_none());
        assert!(other.get_many(&[key]).unwrap()[0].is_none());
    };
    let invalidate = |tag: &[u8]| other.invalidate_tag(tag).unwrap();

    for value in [&b"5"[..], b"text", b""] {
        store(b"k", value);
        valid(b"k", value);
        assert!(other.replace(b"k", value, HOUR).unwrap());
        // The replacement has no tags.
        invalidate(b"red");
        assert_eq!(text(cache, b"k").unwrap(), value);

        store(b"k", value);
        assert_eq!(other.compare_and_set(b"k", value, b"new", HOUR).unwrap(), Swap::Done);
        assert_eq!(text(cache, b"k").unwrap(), b"new");

        for tag in &options.tags {
            store(b"k", value);
            invalidate(b"green");
            valid(b"k", value);
            invalidate(tag);
            absent(b"k");
            // The next value with the same tags is another.
            store(b"k", value);
            valid(b"k", value);
        }
        invalidate(b"red");
        assert!(other.add(b"k", b"added", HOUR).unwrap());
        assert_eq!(text(cache, b"k").unwrap(), b"added");
        for ttl in [HOUR, Ttl::Never] {
            store(b"k", value);
            invalidate(b"red");
            assert_eq!(other.incr(b"k", 3, ttl).unwrap(), 3);
            assert_eq!(text(cache, b"k").unwrap(), b"3");
        }
        store(b"k", value);
        assert!(other.delete(b"k").unwrap());
        store(b"k", value);
        invalidate(b"red");
        assert!(!other.delete(b"k").unwrap());
    }

    let names: Vec<String> = (0..100).map(|n| format!("many{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    block(async {
        for key in &keys {
            cache.set_ex_bytes(key, key, &options).await.unwrap();
        }
    });
    let read = block(other.get_many_bytes(&keys)).unwrap();
    assert!(std::iter::zip(read, &keys).all(|(value, key)| *value.unwrap() == **key));
    block(other.invalidate_tag_bytes(b"red")).unwrap();
    assert!(other.get_many(&keys).unwrap().iter().all(Option::is_none));
    cache.set(keys[0], b"v", HOUR).unwrap();
    assert_eq!(other.delete_many(&keys).unwrap(), 1);

    // As old as its TTL allows, and kept for a while.
    let mut stale = SetOptions::new(Duration::from_millis(1));
    stale.stale = Stale::For(Duration::from_secs(3600));
    cache.set_ex(b"old", b"5", &stale).unwrap();
    eventually("it is past its TTL", || !other.exists(b"old").unwrap());
    absent(b"old");
    assert!(!other.delete(b"old").unwrap());
    for create in [
        |c: &AnyCache| c.add(b"old", b"1", HOUR).unwrap(),
        |c: &AnyCache| c.incr(b"old", 1, HOUR).unwrap() == 1,
    ] {
        cache.set_ex(b"old", b"5", &stale).unwrap();
        eventually("it is past its TTL", || !other.exists(b"old").unwrap());
        assert!(create(other));
        assert_eq!(text(cache, b"old").unwrap(), b"1");
    }
    stale.ttl = HOUR;
    cache.set_ex(b"old", b"text", &stale).unwrap();
    valid(b"old", b"text");
    stale.tags = options.tags.clone();
    cache.set_ex(b"old", b"text", &stale).unwrap();
    valid(b"old", b"text");
    invalidate(b"red");
    absent(b"old");
    stale.ttl = Ttl::Never;
    cache.set_ex(b"old", b"text", &stale).unwrap();
    assert_eq!(other.ttl(b"old").unwrap(), Some(Remaining::Forever));
    assert_eq!(text(other, b"old").unwrap(), b"text");
    assert!(other.delete(b"old").unwrap());
    cache.clear().unwrap();
}

#[test]
fn on_every_server_and_protocol() {
    for server in SERVERS {
        let servers = Server::start("single", server);
        for protocol in [2, 3] {
            let options = format!("protocol={protocol}&timeout=20s&connect_timeout=20s");
            for prefix in ["app", "%2A%3F%5B%5C", "a{b", "{}"] {
                let url = servers.url_with(&format!("prefix={prefix}{protocol}&{options}"));
                everything(&open(&url));
                conditions(&open(&url), &open(&url));
            }
            everything(&open(&servers.url_with(&format!("prefix=raw&wire=raw&{options}"))));
            everything(&open(&servers.url_with(&format!("prefix=&wire=raw&{options}"))));
        }
    }
}

#[test]
fn on_a_cluster() {
    for server in SERVERS {
        let servers = Server::start("cluster", server);
        for prefix in ["app", "a{b", "%7B%7D"] {
            let url = servers.url_with(&format!("prefix={prefix}&timeout=20s&connect_timeout=20s"));
            everything(&open(&url));
            conditions(&open(&url), &open(&url));
        }
    }
}

#[test]
fn behind_sentinels_also_after_a_fail_over() {
    let servers = Server::start("sentinel", "redis");
    let cache = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    let other = open(&servers.url_with("prefix=app&timeout=20s&connect_timeout=20s"));
    everything(&cache);
    conditions(&cache, &other);
    servers.failover();
    // The old master may be there for a while, and would take what is lost with it.
    for (cache, key) in [(&cache, "one"), (&other, "two")] {
        eventually("the new master is used", || {
            cache.set(key.as_bytes(), b"5", HOUR).is_ok()
                && servers.call(&["GET", &format!("app:{key}")]) == "5"
        });
    }
    cache.clear().unwrap();
    everything(&cache);
    conditions(&cache, &other);
}
