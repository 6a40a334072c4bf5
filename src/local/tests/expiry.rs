//! Expiry: absent from the first moment, freed in time and at a cost of its own, no growth.

use std::time::Instant;

use super::*;
use crate::fork::tests::in_fork;
use crate::local::operations::SWEEP_PORTION;

/// What the sweeper does when it comes round.
fn sweep(cache: &LocalCache) {
    let now = cache.0.clock.now();
    for shard in 0..cache.shard_count() {
        while cache.sweep_shard(shard, now, false) {}
    }
}

/// Waits for what another thread is to bring about.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 15, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn an_expired_entry_is_absent_for_every_operation() {
    let timed = Timed::new(LocalOptions::default());
    let cache = &timed.cache;
    let fill = || set(cache, b"k", b"v", ms(5));
    fill();
    timed.advance(4);
    assert_eq!(cache.ttl(b"k").unwrap(), Some(Remaining::For(Duration::from_millis(1))));
    assert_eq!(get(cache, b"k").unwrap(), b"v");
    let expired: [(&str, &dyn Fn() -> bool); 9] = [
        ("get", &|| get(cache, b"k").is_none()),
        ("get_into", &|| cache.get_into(b"k", &mut []).unwrap().is_none()),
        ("get_many", &|| cache.get_many(&[b"k"]).unwrap()[0].is_none()),
        ("exists", &|| !cache.exists(b"k").unwrap()),
        ("ttl", &|| cache.ttl(b"k").unwrap().is_none()),
        ("expire", &|| !cache.expire(b"k", Ttl::Never).unwrap()),
        ("delete", &|| !cache.delete(b"k").unwrap()),
        ("count", &|| cache.count().unwrap() == 0),
        ("keys", &|| cache.keys(b"").is_empty()),
    ];
    for (operation, is_absent) in expired {
        fill();
        timed.advance(5);
        assert!(is_absent(), "{operation}");
        cache.0.store.validate();
    }
    fill();
    timed.advance(5);
    set(cache, b"k", b"w", Ttl::Never);
    assert_eq!(get(cache, b"k").unwrap(), b"w");
    // The fills of get to ttl were overwritten when their time was over, the others taken out.
    let stats = BlockingCache::stats(cache).unwrap();
    assert_eq!((stats.expirations, stats.deletes, stats.size), (10, 0, 1));
}

#[test]
fn zero_removes() {
    let cache = LocalCache::builder().default_ttl(Duration::ZERO).build().unwrap();
    for ttl in [ms(0), Ttl::Default] {
        set(&cache, b"k", b"v", Ttl::Never);
        set(&cache, b"k", b"w", ttl);
        assert_eq!(held(&cache), 0);
        set(&cache, b"k", b"v", Ttl::Never);
        assert!(cache.expire(b"k", ttl).unwrap());
        assert!(!cache.expire(b"k", ttl).unwrap());
        assert_eq!(held(&cache), 0);
    }
    let stats = BlockingCache::stats(&cache).unwrap();
    assert_eq!((stats.sets, stats.deletes), (4, 4));
}

#[test]
fn the_default_ttl_is_used_and_rounded_up() {
    let cache = LocalCache::builder().default_ttl(Duration::from_nanos(1)).build().unwrap();
    set(&cache, b"k", b"v", Ttl::Default);
    assert_eq!(held(&cache), 1);
    set(&cache, b"n", b"v", Ttl::Never);
    assert_eq!(cache.ttl(b"n").unwrap(), Some(Remaining::Forever));
}

#[test]
fn everything_is_freed_within_two_sweeps() {
    const SWEEP: u64 = 1000;
    let timed = Timed::new(LocalOptions { shards: Some(2), ..LocalOptions::default() });
    let cache = &timed.cache;
    let mut ends = std::collections::BTreeMap::new();
    let mut random = 88_172_645_463_325_252_u64;
    let mut start = timed.now.load(SeqCst);
    for i in 0..4000_u32 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let ttl = 1 + random % (1 << (random >> 32 & 15) << 4);
        set(cache, &i.to_ne_bytes(), b"", ms(ttl));
        *ends.entry(start + ttl).or_insert(0_usize) += 1;
    }
    // Some get another time afterwards, to either side.
    for i in 0..500_u32 {
        let key = i.to_ne_bytes();
        let Some(Remaining::For(left)) = cache.ttl(&key).unwrap() else { panic!("{i} is gone") };
        let (left, ttl) = (left.as_millis() as u64, [1, 40_000, 400_000][i as usize % 3]);
        assert!(cache.expire(&key, ms(ttl)).unwrap());
        *ends.get_mut(&(start + left)).unwrap() -= 1;
        *ends.entry(start + ttl).or_insert(0) += 1;
    }
    let mut passes = 0;
    while held(cache) > 0 {
        timed.advance(SWEEP);
        start += SWEEP;
        sweep(cache);
        cache.0.store.validate();
        let alive: usize = ends.range(start + 1..).map(|(_, count)| count).sum();
        let late: usize = ends.range(start + 1 - 2 * SWEEP..).map(|(_, count)| count).sum();
        assert!((alive..=late).contains(&held(cache)));
        passes += 1;
    }
    assert!(passes > 400);
    assert_eq!(BlockingCache::stats(cache).unwrap().expirations, 4000);
    assert!((0..2).all(|shard| cache.reading_shard(shard, |shard| shard.nothing_registered())));
}

#[test]
fn a_sweep_goes_in_portions() {
    let timed = Timed::new(LocalOptions { shards: Some(2), ..LocalOptions::default() });
    let cache = &timed.cache;
    let entries = 10 * SWEEP_PORTION;
    for i in 0..entries {
        set(cache, &i.to_ne_bytes(), b"", ms(100));
    }
    timed.advance(2000);
    let now = timed.now.load(SeqCst);
    assert!(cache.sweep_shard(0, now, false));
    assert_eq!(held(cache), entries - SWEEP_PORTION);
    sweep(cache);
    assert_eq!(held(cache), 0);
}

#[test]
fn one_key_a_million_times_does_not_grow() {
    let timed = Timed::new(LocalOptions { shards: Some(2), ..LocalOptions::default() });
    let cache = &timed.cache;
    let mut largest = 0;
    for i in 0..1_000_000_u64 {
        match i % 4 {
            0 | 1 => set(cache, b"k", b"v", ms(1 + i * 7919 % 1_000_000)),
            2 => drop(cache.expire(b"k", ms(1 + i * 104_729 % 10_000_000)).unwrap()),
            _ => drop(cache.delete(b"k").unwrap()),
        }
        if i % 1000 == 0 {
            timed.advance(1);
            largest = largest.max(cache.bytes());
        }
    }
    cache.0.store.validate();
    assert!(largest < 15_000, "{largest} bytes");
}

#[test]
fn overwriting_many_keys_does_not_grow() {
    let timed = Timed::new(LocalOptions::default());
    let cache = &timed.cache;
    let mut sizes = Vec::new();
    for round in 0..20_u64 {
        for key in 0..2000_u32 {
            let value = vec![0; (round * u64::from(key) % 40) as usize];
            set(cache, &key.to_ne_bytes(), &value, ms(1_000_000 - round * 40_000));
        }
        sizes.push(cache.bytes());
    }
    cache.0.store.validate();
    assert!(sizes[19] < 2 * sizes[4], "{sizes:?}");
}

#[test]
fn the_sweeper_frees_without_being_asked_and_restarts_in_a_child() {
    let options = || LocalCache::builder().sweep_interval(Duration::from_millis(5)).shards(2);
    let cache = options().build().unwrap();
    let fill = |cache: &LocalCache| {
        for i in 0..2000_u32 {
            set(cache, &i.to_ne_bytes(), b"v", ms(10));
        }
    };
    set(&cache, b"stays", b"", Ttl::Never);
    fill(&cache);
    wait_until("freeing", || held(&cache) == 1);
    // The cache is let go; the next entry with a TTL puts it back.
    wait_until("letting go", || cache.0.watched_in.load(SeqCst) == 0);
    fill(&cache);
    let ended = in_fork(|| {
        fill(&cache);
        let other = options().build().unwrap();
        fill(&other);
        wait_until("freeing in the child", || held(&cache) == 1 && held(&other) == 0);
        true
    });
    assert_eq!(ended, 0);
    wait_until("freeing again", || held(&cache) == 1);
}
