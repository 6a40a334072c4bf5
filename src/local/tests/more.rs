//! The operations beyond get and set: their meaning, and that each takes effect at one moment.

use std::ops::ControlFlow;
use std::thread;

use super::*;
use crate::local::change::{Change, Overwrite, Removed};
use crate::local::lifetime::Birth;
use crate::local::store::{Bounds, Store};
use crate::ops::{SetOptions, Stale, Swap, Tier};
use crate::value::NEVER;

fn options(ttl: Ttl, stale: u64, tags: &[&[u8]]) -> SetOptions {
    let mut options = SetOptions::new(ttl);
    options.stale = Stale::For(Duration::from_millis(stale));
    options.tags = tags.iter().map(|tag| tag.to_vec()).collect();
    options
}

/// By a hash of 64 bits that is drawn for each cache no test could find such keys.
#[test]
fn keys_of_one_hash_are_told_apart() {
    let store = Store::new(1, 1000, 1, Bounds::default());
    let hash = store.hash(b"any");
    let entry =
        |key: &[u8]| Birth::plain(NEVER).entry(hash, key, &key.to_ascii_uppercase()).unwrap();
    let long = [b'k'; 100];
    let keys: [&[u8]; 5] = [b"a", b"key-1234", b"key-1235", b"key-of-more-than-16-bytes", &long];
    let mut removed = Removed::default();
    let mut shard = store.write(hash);
    for key in keys {
        assert!(shard.find(hash, key).is_none());
        assert!(shard.put(entry(key), 0, &mut removed).unwrap().is_none());
    }
    for key in keys {
        assert_eq!(shard.find(hash, key).unwrap().key(), key);
        assert_eq!(shard.put(entry(key), 0, &mut removed).unwrap().unwrap().key(), key);
        let change = Change { value: key, expires_at: NEVER, stamp: None, now: 0 };
        let done = shard.overwrite(hash, key, &change, || true);
        assert!(matches!(done, Overwrite::Done { old_expiry: NEVER, removed: None }));
    }
    for key in keys {
        assert_eq!(**shard.find(hash, key).unwrap(), *key);
        assert_eq!(shard.take(hash, key).unwrap().key(), key);
        assert!(shard.find(hash, key).is_none());
    }
}

#[test]
fn add_and_replace() {
    let cache = LocalCache::new();
    assert!(!cache.replace(b"k", b"1", Ttl::Never).unwrap());
    assert!(cache.add(b"k", b"1", ms(60_000)).unwrap());
    assert!(!cache.add(b"k", b"2", Ttl::Never).unwrap());
    assert_eq!(get(&cache, b"k").unwrap(), b"1");
    assert!(matches!(cache.ttl(b"k").unwrap(), Some(Remaining::For(_))), "an add that lost");
    assert!(cache.replace(b"k", b"3", Ttl::Never).unwrap());
    assert_eq!(cache.ttl(b"k").unwrap(), Some(Remaining::Forever));
    // A TTL of zero stores nothing.
    assert!(cache.add(b"other", b"", ms(0)).unwrap() && !cache.exists(b"other").unwrap());
    assert!(!cache.add(b"k", b"", ms(0)).unwrap() && cache.exists(b"k").unwrap());
    assert!(!cache.replace(b"other", b"", ms(0)).unwrap());
    assert!(cache.replace(b"k", b"", ms(0)).unwrap() && !cache.exists(b"k").unwrap());
}

#[test]
fn of_many_adds_one_wins() {
    let cache = LocalCache::new();
    for round in 0..200_u32 {
        let key = round.to_le_bytes();
        let wins = thread::scope(|scope| {
            let adds: Vec<_> = (0..4_u8)
                .map(|n| {
                    scope.spawn({
                        let cache = &cache;
                        move || cache.add(&key, &[n], Ttl::Never).unwrap()
                    })
                })
                .collect();
            adds.into_iter().filter_map(|add| add.join().unwrap().then_some(())).count()
        });
        assert_eq!(wins, 1);
    }
}

#[test]
fn compare_and_set() {
    let cache = LocalCache::new();
    let swap =
        |expected: &[u8], value: &[u8], ttl| cache.compare_and_set(b"k", expected, value, ttl);
    assert_eq!(swap(b"", b"1", Ttl::Never).unwrap(), Swap::Absent);
    set(&cache, b"k", b"1", Ttl::Never);
    assert_eq!(swap(b"2", b"3", Ttl::Never).unwrap(), Swap::Conflict);
    assert_eq!(swap(b"1", &[9; 5000], ms(60_000)).unwrap(), Swap::Done);
    assert!(matches!(cache.ttl(b"k").unwrap(), Some(Remaining::For(_))));
    assert_eq!(swap(&[9; 5000], b"", Ttl::Never).unwrap(), Swap::Done);
    assert_eq!(swap(b"", b"gone", ms(0)).unwrap(), Swap::Done);
    assert_eq!(swap(b"gone", b"", Ttl::Never).unwrap(), Swap::Absent);
}

#[test]
fn no_swap_is_lost() {
    let cache = LocalCache::new();
    for large in [false, true] {
        let value = |n: u64| n.to_le_bytes().repeat(if large { 300 } else { 1 });
        set(&cache, b"k", &value(0), Ttl::Never);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        loop {
                            let present = get(&cache, b"k").unwrap();
                            let n = u64::from_le_bytes(present[..8].try_into().unwrap());
                            let done = cache
                                .compare_and_set(b"k", &present, &value(n + 1), Ttl::Never)
                                .unwrap();
                            if done == Swap::Done {
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(get(&cache, b"k").unwrap(), value(2000));
    }
}

#[test]
fn numbers() {
    let timed = Timed::new(LocalOptions::default());
    let cache = &timed.cache;
    assert_eq!(cache.incr(b"n", 5, ms(1000)).unwrap(), 5);
    assert_eq!(cache.incr(b"n", -15, ms(9000)).unwrap(), -10);
    assert_eq!(cache.ttl(b"n").unwrap(), Some(Remaining::For(Duration::from_secs(1))));
    assert_eq!(get(cache, b"n").unwrap(), b"-10");
    timed.advance(1000);
    assert_eq!(cache.incr(b"n", 1, Ttl::Never).unwrap(), 1, "an expired one counts as 0");
    set(cache, b"n", i64::MAX.to_string().as_bytes(), Ttl::Never);
    let kind = |key: &[u8], delta| cache.incr(key, delta, Ttl::Never).unwrap_err().kind();
    assert_eq!(kind(b"n", 1), ErrorKind::Type);
    assert_eq!(get(cache, b"n").unwrap(), i64::MAX.to_string().as_bytes());
    assert_eq!(cache.incr(b"n", i64::MIN, Ttl::Never).unwrap(), -1);
    for value in [&b""[..], b"x", b"01", b"+1", b" 1", b"1.0", b"9223372036854775808"] {
        set(cache, b"n", value, Ttl::Never);
        assert_eq!(kind(b"n", 1), ErrorKind::Type, "{value:?}");
    }
    for (stale, tags) in [(1000, &[][..]), (0, &[&b"t"[..]][..])] {
        cache.set_ex(b"n", b"1", &options(ms(1000), stale, tags)).unwrap();
        assert_eq!(kind(b"n", 1), ErrorKind::Type);
    }
    assert_eq!(cache.incr(b"zero", 7, ms(0)).unwrap(), 7);
    assert!(!cache.exists(b"zero").unwrap());
    cache.0.store.validate();
}

#[test]
fn no_increment_is_lost() {
    let cache = LocalCache::builder().max_entries(100).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    cache.incr(b"n", 1, Ttl::Never).unwrap();
                    cache.incr(b"ttl", -3, ms(1_000_000)).unwrap();
                    // A pin forces a new block.
                    drop(BlockingCache::get(&cache, b"n").unwrap());
                }
            });
        }
    });
    assert_eq!(get(&cache, b"n").unwrap(), b"20000");
    assert_eq!(get(&cache, b"ttl").unwrap(), b"-60000");
}

#[test]
fn batches_are_in_order_and_counted() {
    let cache = LocalCache::with_shard_count(8);
    let keys: Vec<Vec<u8>> = (0..500_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let items: Vec<(&[u8], &[u8])> =
        keys.iter().map(|key| (&key[..], &key[..])).chain([(&keys[3][..], &b"last"[..])]).collect();
    cache.set_many(&items, Ttl::Never).unwrap();
    assert_eq!(get(&cache, &keys[3]).unwrap(), b"last", "of two writes the later one wins");
    let asked: Vec<&[u8]> =
        keys.iter().map(|key| &key[..]).chain([&b"none"[..], &keys[0]]).collect();
    let found = cache.get_many(&asked).unwrap();
    for (i, value) in found.iter().enumerate() {
        match i {
            3 => assert_eq!(value.as_deref(), Some(&b"last"[..])),
            500 => assert!(value.is_none()),
            _ => assert_eq!(value.as_deref(), Some(asked[i])),
        }
    }
    assert_eq!(cache.delete_many(&asked).unwrap(), 500);
    let stats = BlockingCache::stats(&cache).unwrap();
    let counted = (stats.hits, stats.misses, stats.sets, stats.deletes);
    assert_eq!(counted, (502, 1, 501, 500));
    cache.0.store.validate();
}

#[test]
fn prefixes() {
    let cache = LocalCache::new();
    for i in 0..300_u32 {
        set(&cache, format!("a:{i}").as_bytes(), b"", Ttl::Never);
        set(&cache, format!("b*:{i}").as_bytes(), b"", Ttl::Never);
    }
    let mut seen = Vec::new();
    cache
        .for_each_key(b"a:", &mut |key| {
            // No lock is held: the cache can be used.
            assert!(cache.delete(key).unwrap());
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 300);
    assert_eq!(cache.delete_prefix(b"a:").unwrap(), 0);
    let mut visits = 0;
    let mut stop = |_: &[u8]| {
        visits += 1;
        if visits == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    cache.for_each_key(b"", &mut stop).unwrap();
    assert_eq!(visits, 7);
    set(&cache, b"b", b"", Ttl::Never);
    assert_eq!(cache.delete_prefix(b"b*").unwrap(), 300);
    assert_eq!(cache.keys(b""), [b"b"]);
    assert_eq!(cache.delete_prefix(b"").unwrap(), 1);
    cache.0.store.validate();
}

#[test]
fn a_stale_value_is_absent() {
    let timed = Timed::new(LocalOptions::default());
    let cache = &timed.cache;
    let fill = || cache.set_ex(b"k", b"v", &options(ms(100), 400, &[])).unwrap();
    fill();
    let found = cache.get_ex(b"k", Default::default()).unwrap().unwrap();
    assert_eq!(found.remaining, Remaining::For(Duration::from_millis(100)));
    assert_eq!((&*found.value, found.tier, found.stale), (&b"v"[..], Tier::L1, false));
    assert_eq!(cache.ttl(b"k").unwrap(), Some(found.remaining));
    timed.advance(100);
    assert!(get(cache, b"k").is_none() && !cache.exists(b"k").unwrap());
    assert!(cache.ttl(b"k").unwrap().is_none() && !cache.expire(b"k", Ttl::Never).unwrap());
    assert!(!cache.replace(b"k", b"", Ttl::Never).unwrap() && !cache.delete(b"k").unwrap());
    fill();
    timed.advance(100);
    assert!(cache.add(b"k", b"w", Ttl::Never).unwrap());
    assert_eq!(get(cache, b"k").unwrap(), b"w");
    // Another TTL keeps the window.
    fill();
    assert!(cache.expire(b"k", ms(1000)).unwrap());
    timed.advance(999);
    assert!(get(cache, b"k").is_some());
    timed.advance(1);
    assert!(get(cache, b"k").is_none());
    assert_eq!(held(cache), 1);
    timed.advance(400);
    assert_eq!(cache.len(), 0);
    cache.0.store.validate();
}

#[test]
fn an_invalidated_tag_takes_its_values() {
    let cache = LocalCache::new();
    for i in 0..100_u32 {
        let tags: &[&[u8]] = if i % 2 == 0 { &[b"even", b"all"] } else { &[b"all"] };
        cache.set_ex(&i.to_le_bytes(), b"v", &options(Ttl::Never, 0, tags)).unwrap();
    }
    set(&cache, b"untagged", b"v", Ttl::Never);
    let there = || (0..100_u32).filter(|i| cache.exists(&i.to_le_bytes()).unwrap()).count();
    cache.invalidate_tag(b"unknown").unwrap();
    assert_eq!(there(), 100);
    cache.invalidate_tag(b"even").unwrap();
    assert_eq!(there(), 50);
    assert!(get(&cache, &0_u32.to_le_bytes()).is_none());
    cache.set_ex(&0_u32.to_le_bytes(), b"new", &options(Ttl::Never, 0, &[b"even"])).unwrap();
    assert_eq!(there(), 51);
    cache.invalidate_tag(b"all").unwrap();
    assert_eq!(there(), 1);
    assert!(cache.exists(b"untagged").unwrap());
    assert_eq!(cache.keys(b"").len(), 2);
    assert_eq!(cache.invalidate_tag(b"").unwrap_err().kind(), ErrorKind::Invalid);
    cache.0.store.validate();
}

#[test]
fn ttls_are_spread_as_asked() {
    let cache = LocalCache::builder().ttl_jitter(0.5).build().unwrap();
    let mut shortest = u64::MAX;
    let mut longest = 0;
    for i in 0..1000_u32 {
        set(&cache, &i.to_le_bytes(), b"", ms(1_000_000));
        let Some(Remaining::For(left)) = cache.ttl(&i.to_le_bytes()).unwrap() else { panic!() };
        shortest = shortest.min(left.as_millis() as u64);
        longest = longest.max(left.as_millis() as u64);
    }
    assert!((495_000..600_000).contains(&shortest), "{shortest}");
    assert!((900_000..=1_000_000).contains(&longest), "{longest}");
    set(&cache, b"k", b"", ms(1));
    assert_eq!(held(&cache), 1001, "never shortened to nothing");
}
