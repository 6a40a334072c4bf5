//! Tests of the Local cache as a whole: its meaning against a model, its memory, threads and forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::{Clock, LocalCache};
use crate::config::{CommonOptions, LocalOptions};
use crate::error::ErrorKind;
use crate::ops::{BlockingCache, ByteCache, Kind, Remaining, Ttl};

mod bounds;
mod expiry;
mod flooding;
mod fuzzed;
mod linearizable;
mod loading;
mod model;
mod more;
mod saving;
mod threads;

/// A cache whose time stands still until the test moves it.
struct Timed {
    cache: LocalCache,
    now: Arc<AtomicU64>,
}

impl Timed {
    fn new(local: LocalOptions) -> Self {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = Clock::Virtual(now.clone());
        Self {
            cache: LocalCache::with_clock(&CommonOptions::default(), &local, clock).unwrap(),
            now,
        }
    }

    fn advance(&self, ms: u64) {
        self.now.fetch_add(ms, SeqCst);
    }
}

/// Entries in the tables, expired ones included.
fn held(cache: &LocalCache) -> usize {
    (0..cache.shard_count()).map(|shard| cache.reading_shard(shard, |shard| shard.len())).sum()
}

fn ms(ms: u64) -> Ttl {
    Ttl::After(Duration::from_millis(ms))
}

fn get(cache: &LocalCache, key: &[u8]) -> Option<Vec<u8>> {
    BlockingCache::get(cache, key).unwrap().map(|value| value.to_vec())
}

fn set(cache: &LocalCache, key: &[u8], value: &[u8], ttl: Ttl) {
    BlockingCache::set(cache, key, value, ttl).unwrap();
}

#[test]
fn every_operation() {
    let cache = LocalCache::new();
    assert_eq!(BlockingCache::kind(&cache), Kind::Local);
    assert_eq!(get(&cache, b"a"), None);
    set(&cache, b"a", b"1", Ttl::Default);
    set(&cache, b"\0\xff\r\n", b"", Ttl::Never);
    assert_eq!(get(&cache, b"a").unwrap(), b"1");
    assert_eq!(get(&cache, b"\0\xff\r\n").unwrap(), b"");
    set(&cache, b"a", b"2", Ttl::Never);
    set(&cache, b"a", &[7; 5000], Ttl::Never);
    assert_eq!(get(&cache, b"a").unwrap(), [7; 5000]);
    assert!(cache.exists(b"a").unwrap() && !cache.exists(b"b").unwrap());
    assert_eq!(cache.ttl(b"a").unwrap(), Some(Remaining::Forever));
    assert_eq!(cache.ttl(b"b").unwrap(), None);
    assert!(cache.expire(b"a", ms(50_000)).unwrap() && !cache.expire(b"b", ms(1)).unwrap());
    assert!(matches!(cache.ttl(b"a").unwrap(), Some(Remaining::For(left)) if left.as_secs() >= 49));
    assert_eq!(cache.count().unwrap(), 2);
    assert!(cache.delete(b"a").unwrap() && !cache.delete(b"a").unwrap());
    cache.set_many(&[(b"x", b"1"), (b"y", b"2")], Ttl::Never).unwrap();
    let many = cache.get_many(&[b"y", b"z", b"x"]).unwrap();
    assert_eq!(
        many.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some(&b"2"[..]), None, Some(b"1")]
    );
    assert_eq!(cache.delete_many(&[b"x", b"z"]).unwrap(), 1);
    let mut keys = cache.keys(b"");
    keys.sort();
    assert_eq!(keys, [&b"\0\xff\r\n"[..], b"y"]);
    assert_eq!(cache.keys(b"y"), [b"y"]);
    cache.ping().unwrap();
    cache.0.store.validate();
    cache.clear().unwrap();
    assert!(cache.is_empty() && cache.keys(b"").is_empty());
    let stats = BlockingCache::stats(&cache).unwrap();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.deletes), (5, 2, 6, 4));
    cache.0.store.validate();
}

#[test]
fn get_into_copies_what_fits() {
    let cache = LocalCache::new();
    for len in [0, 1, 1023, 1024, 1025, 100_000] {
        let value: Vec<u8> = (0..len).map(|i| i as u8).collect();
        set(&cache, b"key", &value, Ttl::Never);
        let mut buf = Vec::with_capacity(len);
        assert_eq!(cache.get_into(b"key", buf.spare_capacity_mut()).unwrap(), Some(len));
        // SAFETY: `len` bytes were written.
        unsafe { buf.set_len(len) };
        assert_eq!(buf, value);
        if len > 0 {
            assert_eq!(cache.get_into(b"key", &mut []).unwrap(), Some(len), "too small is a hit");
        }
    }
    assert_eq!(cache.get_into(b"none", &mut []).unwrap(), None);
    let stats = BlockingCache::stats(&cache).unwrap();
    assert_eq!((stats.hits, stats.misses), (11, 1));
}

#[test]
fn limits_hold_everywhere() {
    let cache = LocalCache::builder().max_value_bytes(4).build().unwrap();
    let long = vec![b'k'; crate::KEY_MAX + 1];
    for (key, kind) in [
        (&b""[..], ErrorKind::Invalid),
        (b"__lc:x", ErrorKind::Invalid),
        (&long, ErrorKind::TooBig),
    ] {
        let kinds = [
            BlockingCache::get(&cache, key).unwrap_err().kind(),
            cache.get_into(key, &mut []).unwrap_err().kind(),
            BlockingCache::set(&cache, key, b"", Ttl::Never).unwrap_err().kind(),
            BlockingCache::delete(&cache, key).unwrap_err().kind(),
            BlockingCache::exists(&cache, key).unwrap_err().kind(),
            cache.ttl(key).unwrap_err().kind(),
            cache.expire(key, Ttl::Never).unwrap_err().kind(),
            cache.get_many(&[b"ok", key]).unwrap_err().kind(),
            cache.set_many(&[(b"ok", b""), (key, b"")], Ttl::Never).unwrap_err().kind(),
            cache.delete_many(&[b"ok", key]).unwrap_err().kind(),
            cache.get_stamped(key).unwrap_err().kind(),
            cache.set_stamped_if(key, b"", None, 0, || true).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [kind; 12]);
    }
    let too_big = BlockingCache::set(&cache, b"k", b"12345", Ttl::Never).unwrap_err();
    assert_eq!(too_big.kind(), ErrorKind::TooBig);
    let too_long = Ttl::After(Duration::from_millis(crate::TTL_MAX_MS + 1));
    for result in [
        BlockingCache::set(&cache, b"k", b"", too_long),
        cache.set_many(&[(b"k", b"")], too_long),
        cache.expire(b"k", too_long).map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(cache.is_empty());
    let longest = &long[1..];
    set(&cache, longest, b"1234", ms(crate::TTL_MAX_MS));
    assert_eq!(get(&cache, longest).unwrap(), b"1234");
    cache.0.store.validate();
}

#[test]
fn options_out_of_range() {
    let builder = LocalCache::builder;
    for wrong in [
        builder().shards(0),
        builder().shards(1 << 17),
        builder().sweep_interval(Duration::ZERO),
        builder().max_value_bytes(usize::MAX),
        builder().default_ttl(Duration::MAX),
    ] {
        assert_eq!(wrong.build().unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(LocalCache::with_shard_count(5).shard_count(), 8);
    assert_eq!(LocalCache::with_shard_count(0).shard_count(), 2);
    assert!(LocalCache::new().shard_count() >= 64);
    let named = builder().name("n").shards(4).build().unwrap();
    assert_eq!(format!("{named:?}"), "LocalCache { name: Some(\"n\"), shards: 4, .. }");
}

#[test]
fn a_pinned_value_outlives_everything() {
    let cache = LocalCache::new();
    set(&cache, b"k", b"first", Ttl::Never);
    let pin = BlockingCache::get(&cache, b"k").unwrap().unwrap();
    set(&cache, b"k", b"other", Ttl::Never);
    assert_eq!(get(&cache, b"k").unwrap(), b"other");
    cache.clear().unwrap();
    drop(cache);
    assert_eq!(&*pin, b"first");
}

#[test]
fn futures_are_ready_at_once() {
    use std::task::{Context, Poll, Waker};
    fn now<T>(mut future: crate::BoxFuture<'_, T>) -> T {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("a local operation waited"),
        }
    }
    let cache: &dyn ByteCache = &LocalCache::new();
    now(cache.set_bytes(b"a", b"1", Ttl::Never)).unwrap();
    now(cache.set_many_bytes(&[(b"b", b"2")], Ttl::Never)).unwrap();
    assert_eq!(now(cache.get_bytes(b"a")).unwrap().as_deref(), Some(&b"1"[..]));
    assert!(now(cache.get_many_bytes(&[b"b"])).unwrap()[0].is_some());
    assert!(now(cache.exists_bytes(b"a")).unwrap());
    assert!(now(cache.expire_bytes(b"a", Ttl::Never)).unwrap());
    assert_eq!(now(cache.ttl_bytes(b"a")).unwrap(), Some(Remaining::Forever));
    assert_eq!(now(cache.count_bytes()).unwrap(), 2);
    assert_eq!(now(cache.stats_bytes()).unwrap().sets, 2);
    assert!(now(cache.delete_bytes(b"a")).unwrap());
    assert_eq!(now(cache.delete_many_bytes(&[b"b"])).unwrap(), 1);
    now(cache.clear_bytes()).unwrap();
    now(cache.ping_bytes()).unwrap();
    assert_eq!(cache.kind(), Kind::Local);
}

#[test]
fn bytes_follow_the_content() {
    let cache = LocalCache::new();
    let bytes = || BlockingCache::stats(&cache).unwrap().bytes;
    assert_eq!(bytes(), 0);
    for i in 0..1000_u32 {
        set(&cache, &i.to_ne_bytes(), &[1; 1000], Ttl::Never);
    }
    let full = bytes();
    assert!(full > 1_040_000 && full < 1_130_000, "{full}");
    for i in 0..1000_u32 {
        set(&cache, &i.to_ne_bytes(), &[1; 10], Ttl::Never);
    }
    assert!(bytes() < 100_000);
    cache.clear().unwrap();
    assert_eq!(bytes(), 0);
}

#[test]
fn keys_that_defeat_a_weak_hash_are_spread() {
    let cache = LocalCache::with_shard_count(64);
    let keys: Vec<[u8; 16]> = (0..100_000_u64)
        .map(|i| {
            let mut key = [0; 16];
            // These collide in hashes that only multiply, or that fold both halves into one.
            key[..8].copy_from_slice(&(i << 46).to_le_bytes());
            key[8..].copy_from_slice(&(i << 46 ^ i >> 9).to_le_bytes());
            key
        })
        .collect();
    let hash = |key| cache.0.store.hash(key);
    let mut hashes: Vec<u32> = keys.iter().map(|key| hash(key).in_shard()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let mut different = keys.clone();
    different.sort_unstable();
    different.dedup();
    // Of 100,000 random numbers of 32 bits about one pair is equal.
    assert!(hashes.len() + 10 > different.len(), "{} of {}", hashes.len(), different.len());
    for key in &keys {
        set(&cache, key, b"", Ttl::Never);
    }
    let largest = (0..64).map(|shard| cache.reading_shard(shard, |shard| shard.len())).max();
    assert!(largest.unwrap() < different.len() / 64 * 5 / 4);
    // Another cache has another key.
    let other = LocalCache::new();
    assert!(keys.iter().all(|key| hash(key) != other.0.store.hash(key)));
}

#[test]
fn stamps_and_conditions() {
    let Timed { cache, now } = &Timed::new(LocalOptions::default());
    let stamp = || cache.get_stamped(b"k").unwrap().map(|entry| (entry.stamp, entry.ttl_ms));
    assert!(!cache.set_stamped_if(b"k", b"v", None, 1, || false).unwrap());
    assert_eq!(stamp(), None);
    assert!(cache.set_stamped_if(b"k", b"v", None, 1, || true).unwrap());
    assert_eq!(stamp(), Some((1, None)));
    // In place and not, refused and not.
    for value in [&b"w"[..], &[0; 3000]] {
        let before = get(cache, b"k").unwrap();
        assert!(!cache.set_stamped_if(b"k", value, Some(5), 2, || false).unwrap());
        assert_eq!(get(cache, b"k").unwrap(), before);
        assert!(cache.set_stamped_if(b"k", value, Some(5), 2, || true).unwrap());
        assert_eq!(stamp(), Some((2, Some(5))));
    }
    assert!(cache.set_ttl(b"k", None) && cache.set_ttl(b"k", Some(7)));
    assert_eq!(stamp(), Some((2, Some(7))));
    cache.remove_if(b"k", || false);
    assert_eq!(stamp(), Some((2, Some(7))));
    cache.remove_if(b"k", || true);
    assert_eq!(stamp(), None);
    assert!(!cache.set_ttl(b"k", None));
    cache.set_stamped_if(b"k", b"v", None, 4, || true).unwrap();
    assert_eq!((cache.remove_all(), cache.remove_all()), (1, 0));
    cache.set_stamped_if(b"k", b"v", None, 4, || true).unwrap();
    assert!(cache.remove(b"k") && !cache.remove(b"k"));
    cache.set_stamped_if(b"k", b"", Some(10), 5, || true).unwrap();
    now.fetch_add(10, SeqCst);
    assert_eq!(stamp(), None);
    assert!(!cache.remove(b"k"));
    cache.set_stamped_if(b"k", b"", None, 5, || true).unwrap();
    cache.set_stamped_if(b"k", b"", Some(0), 5, || true).unwrap();
    assert_eq!(stamp(), None);
    let stats = BlockingCache::stats(cache).unwrap();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.deletes), (4, 0, 0, 1));
}
