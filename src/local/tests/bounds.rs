//! Bounds: never passed, reached, shared among shards, and what is evicted.

use super::*;
use crate::config::LocalOptions;

fn bounded(entries: Option<usize>, bytes: Option<usize>, shards: usize) -> Timed {
    Timed::new(LocalOptions {
        max_entries: entries,
        max_bytes: bytes,
        shards: Some(shards),
        ..LocalOptions::default()
    })
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

#[test]
fn the_number_of_entries_is_exact() {
    for (most, shards) in [(1, 64), (2, 1), (100, 64), (1000, 64), (5001, 4), (20_000, 16)] {
        let timed = bounded(Some(most), None, shards);
        let cache = &timed.cache;
        for i in 0..10 * most as u64 {
            set(cache, &i.to_le_bytes(), b"v", Ttl::Never);
            assert!(held(cache) <= most);
        }
        cache.0.store.validate();
        // Ageing may have taken one more than was needed from each shard.
        let len = cache.len();
        assert!(len + cache.shard_count() >= most, "{len} of {most}");
        let stats = BlockingCache::stats(cache).unwrap();
        let counted = (stats.sets, stats.evictions, stats.size);
        assert_eq!(counted, (10 * most as u64, (10 * most - len) as u64, len as u64));
    }
}

#[test]
fn small_caches_have_few_shards() {
    let shards = |entries| bounded(Some(entries), None, 64).cache.shard_count();
    assert_eq!([1, 100, 4095, 4096, 100_000, 1_000_000].map(shards), [1, 1, 1, 2, 32, 64]);
    let unasked =
        |entries| LocalCache::builder().max_entries(entries).build().unwrap().shard_count();
    assert_eq!(unasked(1000), 1);
    assert_eq!(unasked(10_000_000), 1024);
}

#[test]
fn bytes_are_never_more_than_allowed_and_mostly_used() {
    for (most, shards) in [(10_000, 1), (1 << 20, 4), (4 << 20, 16)] {
        let timed = bounded(None, Some(most), shards);
        let cache = &timed.cache;
        let mut random = 7;
        for i in 0..most as u64 / 40 {
            let len = next(&mut random) % 300;
            let ttl = if i % 3 == 0 { ms(1 + next(&mut random) % 10_000) } else { Ttl::Never };
            set(cache, &(next(&mut random) % 50_000).to_le_bytes(), &vec![1; len as usize], ttl);
            if i % 7 == 0 {
                cache.delete(&(next(&mut random) % 50_000).to_le_bytes()).unwrap();
            }
            if i % 2048 == 0 {
                timed.advance(400);
                cache.0.store.validate();
            }
        }
        let bytes = cache.bytes();
        assert!(bytes <= most && bytes > most * 3 / 4, "{bytes} of {most}");
        cache.clear().unwrap();
        assert_eq!(cache.bytes(), 0);
        cache.0.store.validate();
    }
}

#[test]
fn an_entry_larger_than_the_cache_is_refused_and_nothing_is_lost() {
    for shards in [1, 4] {
        let timed = bounded(None, Some(1 << 20), shards);
        let cache = &timed.cache;
        for i in 0..1000_u32 {
            set(cache, &i.to_le_bytes(), &[1; 100], Ttl::Never);
        }
        let entries = cache.len();
        let error = BlockingCache::set(cache, b"k", &vec![0; 1 << 20], Ttl::Never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooBig);
        assert_eq!(cache.len(), entries);
        cache.0.store.validate();
    }
}

#[test]
fn a_large_entry_borrows_from_other_shards() {
    let most = 4 << 20;
    let timed = bounded(None, Some(most), 16);
    let cache = &timed.cache;
    assert_eq!(cache.shard_count(), 4);
    let fill = |from: u32| {
        for i in from..from + 30_000 {
            set(cache, &i.to_le_bytes(), &[1; 100], Ttl::Never);
        }
        cache.0.store.validate();
    };
    fill(0);
    // From a share of 1 MiB up to nearly everything.
    for len in [100 << 10, 300 << 10, 1 << 20, 3 << 20, most - 100_000] {
        let value = vec![7; len];
        set(cache, b"large", &value, Ttl::Never);
        cache.0.store.validate();
        assert_eq!(get(cache, b"large").unwrap().len(), len);
        fill(1_000_000);
    }
    cache.delete(b"large").unwrap();
    cache.0.store.validate();
    fill(0);
    assert!(cache.bytes() > most * 3 / 4, "what was lent is back");
    // Several that do not fit together.
    for round in 0..12_u32 {
        set(cache, &[&b"large"[..], &round.to_le_bytes()].concat(), &vec![1; 1 << 20], Ttl::Never);
        cache.0.store.validate();
        fill(round);
    }
    cache.clear().unwrap();
    fill(0);
    assert!(cache.bytes() > most * 3 / 4);
}

#[test]
fn what_is_used_stays() {
    let timed = bounded(Some(1000), None, 1);
    let cache = &timed.cache;
    let hot: Vec<[u8; 8]> = (0..200_u64).map(|i| (u64::MAX - i).to_le_bytes()).collect();
    for key in &hot {
        set(cache, key, b"hot", Ttl::Never);
    }
    for i in 0..50_000_u64 {
        set(cache, &i.to_le_bytes(), b"once", Ttl::Never);
        if get(cache, &hot[i as usize % hot.len()]).is_none() {
            set(cache, &hot[i as usize % hot.len()], b"hot", Ttl::Never);
        }
    }
    let there = hot.iter().filter(|key| cache.exists(*key).unwrap()).count();
    assert!(there > 195, "{there} of 200");
    let stats = BlockingCache::stats(cache).unwrap();
    assert!(stats.hit_rate > 0.99, "{}", stats.hit_rate);
}

#[test]
fn a_loop_over_more_than_fits_keeps_a_part() {
    let timed = bounded(Some(500), None, 1);
    let cache = &timed.cache;
    let mut hits = 0;
    for i in 0..100_000_u32 {
        let key = (i % 1000).to_le_bytes();
        match get(cache, &key) {
            Some(_) => hits += 1,
            None => set(cache, &key, b"", Ttl::Never),
        }
    }
    assert!(hits > 45_000, "LRU has none, the best possible is 50 %: {hits}");
}

#[test]
fn expiry_deletion_and_eviction_agree() {
    for bytes in [None, Some(60_000)] {
        let timed = bounded(Some(300), bytes, 1);
        let cache = &timed.cache;
        let mut random = 99;
        for step in 0..60_000_u64 {
            let key = (next(&mut random) % 700).to_le_bytes();
            match next(&mut random) % 10 {
                0..5 => {
                    let len = next(&mut random) % 200;
                    let ttl = if len < 100 { Ttl::Never } else { ms(1 + len * 20) };
                    set(cache, &key, &vec![step as u8; len as usize], ttl);
                }
                5 => drop(cache.delete(&key).unwrap()),
                6 => drop(cache.expire(&key, ms(1 + step % 500)).unwrap()),
                _ => drop(get(cache, &key)),
            }
            if step % 16 == 0 {
                timed.advance(3);
            }
            if step % 256 == 0 {
                let now = timed.now.load(SeqCst);
                while cache.sweep_shard(0, now, false) {}
                cache.0.store.validate();
            }
        }
        cache.0.store.validate();
        let stats = BlockingCache::stats(cache).unwrap();
        assert!(stats.evictions > 0 && stats.expirations > 0 && stats.deletes > 0);
        cache.clear().unwrap();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }
}

#[test]
fn removals_leave_no_garbage_behind() {
    let timed = bounded(Some(100_000), None, 1);
    let cache = &timed.cache;
    set(cache, b"stays", b"", Ttl::Never);
    for i in 0..1_000_000_u32 {
        set(cache, &i.to_le_bytes(), b"", Ttl::Never);
        assert!(cache.delete(&i.to_le_bytes()).unwrap());
    }
    cache.0.store.validate();
    assert!(cache.bytes() < 4_000, "{}", cache.bytes());
}

#[test]
fn threads_never_pass_a_bound() {
    let cache = LocalCache::builder().max_entries(2000).max_bytes(400_000).build().unwrap();
    std::thread::scope(|scope| {
        for seed in 1..=6_u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..30_000 {
                    let key = (next(&mut random) % 10_000).to_le_bytes();
                    match next(&mut random) % 20 {
                        0 => set(cache, &key, &vec![1; 50_000], Ttl::Never),
                        1..10 => set(cache, &key, &key.repeat(10), ms(1 + random % 50)),
                        10 => drop(cache.delete(&key).unwrap()),
                        11 if random % 64 == 0 => cache.clear().unwrap(),
                        _ => {
                            if let Some(value) = get(cache, &key) {
                                assert!(value == key.repeat(10) || value == vec![1; 50_000]);
                            }
                        }
                    }
                }
            });
        }
    });
    cache.0.store.validate();
    assert!(cache.len() <= 2000 && cache.bytes() <= 400_000);
}
