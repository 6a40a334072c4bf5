//! Many threads at once, and forks beside them: no torn or foreign value, no hang, nothing lost.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use super::*;
use crate::fork::tests::{Stop, in_fork};

const KEYS: u64 = 64;

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

fn key_of(key: u64) -> Vec<u8> {
    let mut bytes = vec![b'k'; (key % 50) as usize];
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes
}

/// A value that names its key, and whose every byte follows from its first 16.
fn value_of(key: u64, version: u64) -> Vec<u8> {
    let len = [16, 100, 1000, 3000][(version % 4) as usize];
    let mut value = [key.to_le_bytes(), version.to_le_bytes()].concat();
    while value.len() < len {
        let i = value.len() as u64;
        value.push((key ^ version.wrapping_mul(i) >> 3) as u8);
    }
    value
}

fn check(key: u64, value: &[u8]) {
    let version = u64::from_le_bytes(value[8..16].try_into().unwrap());
    assert_eq!(value, value_of(key, version), "a torn or foreign value");
}

/// One of the operations on one of the keys.
fn random_operation(cache: &LocalCache, random: &mut u64) {
    let key = next(random) % KEYS;
    let bytes = key_of(key);
    match next(random) % 100 {
        0..30 => {
            let value = value_of(key, next(random));
            set(
                cache,
                &bytes,
                &value,
                [Ttl::Never, ms(1), ms(20), ms(3000)][(next(random) % 4) as usize],
            );
        }
        30..55 => {
            if let Some(value) = BlockingCache::get(cache, &bytes).unwrap() {
                check(key, &value);
            }
        }
        55..80 => {
            let mut buf = Vec::with_capacity(3000);
            if let Some(len) = cache.get_into(&bytes, buf.spare_capacity_mut()).unwrap() {
                // SAFETY: `len` bytes were written; no value is longer.
                unsafe { buf.set_len(len) };
                check(key, &buf);
            }
        }
        80..88 => drop(cache.delete(&bytes).unwrap()),
        88..94 => drop(cache.expire(&bytes, ms(next(random) % 50)).unwrap()),
        94..97 => drop(cache.ttl(&bytes).unwrap()),
        97 => drop(cache.count().unwrap()),
        98 => drop(cache.keys(b"k")),
        _ if next(random).is_multiple_of(10) => cache.clear().unwrap(),
        _ => drop(BlockingCache::stats(cache).unwrap()),
    }
}

#[test]
fn no_value_is_torn_or_foreign() {
    let cache =
        LocalCache::builder().shards(4).sweep_interval(Duration::from_millis(2)).build().unwrap();
    thread::scope(|scope| {
        for seed in 1..=6 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15);
                for _ in 0..20_000 {
                    random_operation(cache, &mut random);
                }
            });
        }
    });
    cache.0.store.validate();
    cache.clear().unwrap();
    assert!(cache.is_empty());
}

#[test]
fn a_fill_never_survives_the_invalidation_it_raced() {
    // The Hybrid's protocol: an invalidation bumps its sequence, then removes; a fill is valid as
    // long as the sequence is the one that it began with.
    let cache = LocalCache::new();
    let sequence = AtomicU64::new(0);
    for round in 0..3000_u64 {
        let begun = sequence.load(SeqCst);
        thread::scope(|scope| {
            scope.spawn(|| {
                let valid = || sequence.load(SeqCst) == begun;
                cache.set_stamped_if(b"k", &round.to_le_bytes(), None, 0, valid).unwrap();
            });
            sequence.fetch_add(1, SeqCst);
            cache.remove(b"k");
        });
        assert!(cache.get_stamped(b"k").unwrap().is_none());
    }
}

#[test]
fn forks_beside_busy_threads() {
    let cache =
        LocalCache::builder().shards(8).sweep_interval(Duration::from_millis(1)).build().unwrap();
    for i in 0..1000_u64 {
        set(&cache, &[b"stays", &i.to_le_bytes()[..]].concat(), &i.to_le_bytes(), Ttl::Never);
    }
    for threads in [4, 12] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for seed in 1..=threads {
                let (cache, stop) = (&cache, &stop);
                scope.spawn(move || {
                    let mut random = u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15);
                    while !stop.load(SeqCst) {
                        match next(&mut random) % 20 {
                            0 => drop(cache.keys(b"k")),
                            1 => cache.purge(),
                            _ => {
                                let key = next(&mut random) % KEYS;
                                set(cache, &key_of(key), &value_of(key, random), ms(random % 10));
                                if let Some(value) =
                                    BlockingCache::get(cache, &key_of(key)).unwrap()
                                {
                                    check(key, &value);
                                }
                            }
                        }
                    }
                });
            }
            let _stop = Stop(&stop);
            let start = Instant::now();
            let mut forks = 0;
            while forks < 5 || start.elapsed().as_millis() < 1500 {
                let ended = in_fork(|| {
                    let mut random = 7;
                    for i in 0..1000_u64 {
                        let key = [b"stays", &i.to_le_bytes()[..]].concat();
                        assert_eq!(get(&cache, &key).unwrap(), i.to_le_bytes());
                        let key = next(&mut random) % KEYS;
                        set(&cache, &key_of(key), &value_of(key, i), ms(60_000));
                        check(key, &get(&cache, &key_of(key)).unwrap());
                    }
                    cache.0.store.validate();
                    cache.clear().unwrap();
                    cache.is_empty()
                });
                assert_eq!(ended, 0, "after {forks} forks");
                forks += 1;
            }
        });
    }
    cache.0.store.validate();
}
