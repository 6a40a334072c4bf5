//! Loading: once for all who ask, never older than a removal, stale and negative answers, reloads ahead.

use std::sync::atomic::AtomicUsize;
use std::sync::{Barrier, mpsc};
use std::thread;

use super::*;
use crate::error::{Error, Result};
use crate::ops::{Loaded, SetOptions, Stale};
use crate::runtime;

fn options(ttl: Ttl) -> SetOptions {
    SetOptions::new(ttl)
}

fn load(cache: &LocalCache, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut loader = |_: &[u8]| Ok(Some(Loaded::new(value)));
    let loaded = cache.get_or_load(key, &options(Ttl::Never), &mut loader).unwrap();
    loaded.map(|value| value.to_vec())
}

fn failing(_: &[u8]) -> Result<Option<Loaded>> {
    Err(Error::new(ErrorKind::Loader, "out of order"))
}

fn timed(common: CommonOptions) -> Timed {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Clock::Virtual(now.clone());
    Timed { cache: LocalCache::with_clock(&common, &LocalOptions::default(), clock).unwrap(), now }
}

#[test]
fn a_miss_loads_and_a_hit_does_not() {
    let cache = LocalCache::new();
    assert_eq!(load(&cache, b"k", b"1").unwrap(), b"1");
    assert_eq!(load(&cache, b"k", b"2").unwrap(), b"1");
    assert_eq!(get(&cache, b"k").unwrap(), b"1");
    let stats = BlockingCache::stats(&cache).unwrap();
    assert_eq!((stats.hits, stats.misses, stats.sets), (2, 1, 1));
    let error = cache.get_or_load(b"other", &options(Ttl::Never), &mut failing).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Loader, "out of order"));
    assert_eq!(load(&cache, b"other", b"3").unwrap(), b"3", "a failure is not remembered");
    let mut own = |_: &[u8]| {
        let mut loaded = Loaded::new("v");
        loaded.options = Some(options(ms(0)));
        Ok(Some(loaded))
    };
    let value = cache.get_or_load(b"zero", &options(Ttl::Never), &mut own).unwrap();
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
    assert!(!cache.exists(b"zero").unwrap(), "the loader's own TTL counts");
}

#[test]
fn ten_thousand_wait_for_one_load() {
    let _undisturbed = runtime::tests::undisturbed();
    const WAITERS: usize = 10_000;
    let cache = LocalCache::new();
    let loads = AtomicUsize::new(0);
    let (begun, has_begun) = mpsc::sync_channel(1);
    let (finish, may_finish) = mpsc::sync_channel::<()>(1);
    thread::scope(|scope| {
        let (cache, loads) = (&cache, &loads);
        scope.spawn(move || {
            let mut loader = |_: &[u8]| {
                loads.fetch_add(1, SeqCst);
                begun.send(()).unwrap();
                may_finish.recv().unwrap();
                Ok(Some(Loaded::new("v")))
            };
            cache.get_or_load(b"k", &options(Ttl::Never), &mut loader).unwrap();
        });
        has_begun.recv().unwrap();
        let spawn = || {
            thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, || {
                let mut loader = |_: &[u8]| {
                    loads.fetch_add(1, SeqCst);
                    Ok(Some(Loaded::new("another")))
                };
                let value = cache.get_or_load(b"k", &options(Ttl::Never), &mut loader).unwrap();
                assert_eq!(value.as_deref(), Some(&b"v"[..]));
            })
        };
        let waiters: Vec<_> = (0..WAITERS).map(|_| spawn().unwrap()).collect();
        while cache.0.flights.waiting(b"k") < WAITERS {
            thread::yield_now();
        }
        finish.send(()).unwrap();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
    assert_eq!(loads.into_inner(), 1);
    let stats = BlockingCache::stats(&cache).unwrap();
    assert_eq!((stats.coalesced, stats.misses), (WAITERS as u64, WAITERS as u64 + 1));
}

#[test]
fn a_loader_that_panics_frees_those_who_wait() {
    let _undisturbed = runtime::tests::undisturbed();
    let cache = LocalCache::new();
    let (begun, has_begun) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            let mut loader = |key: &[u8]| {
                begun.send(()).unwrap();
                while cache.0.flights.waiting(key) < 3 {
                    thread::yield_now();
                }
                std::panic::resume_unwind(Box::new("the loader's own trouble"));
            };
            cache.get_or_load(b"k", &options(Ttl::Never), &mut loader)
        });
        has_begun.recv().unwrap();
        for _ in 0..3 {
            scope.spawn(|| {
                let result = cache.get_or_load(b"k", &options(Ttl::Never), &mut failing);
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Loader);
            });
        }
        assert!(leader.join().is_err());
    });
    assert_eq!(load(&cache, b"k", b"v").unwrap(), b"v");
}

#[test]
fn a_load_never_brings_back_what_was_removed_meanwhile() {
    type Removal = fn(&LocalCache);
    let removals: [Removal; 5] = [
        |cache| assert!(!cache.delete(b"k").unwrap()),
        |cache| cache.clear().unwrap(),
        |cache| assert_eq!(cache.delete_many(&[b"x", b"k", b"y"]).unwrap(), 0),
        |cache| assert_eq!(cache.delete_prefix(b"k").unwrap(), 0),
        |cache| set(cache, b"k", b"", ms(0)),
    ];
    for removal in removals {
        let cache = LocalCache::new();
        let mut loader = |_: &[u8]| {
            removal(&cache);
            Ok(Some(Loaded::new("old")))
        };
        let value = cache.get_or_load(b"k", &options(Ttl::Never), &mut loader).unwrap();
        assert_eq!(value.as_deref(), Some(&b"old"[..]), "the call overlaps the removal");
        assert!(!cache.exists(b"k").unwrap());
    }
    let cache = LocalCache::new();
    let mut loader = |_: &[u8]| {
        set(&cache, b"k", b"newer", Ttl::Never);
        Ok(Some(Loaded::new("old")))
    };
    cache.get_or_load(b"k", &options(Ttl::Never), &mut loader).unwrap();
    assert_eq!(get(&cache, b"k").unwrap(), b"newer");
    let mut tagged = options(Ttl::Never);
    tagged.tags.push(b"t".to_vec());
    let mut loader = |_: &[u8]| {
        cache.invalidate_tag(b"t").unwrap();
        Ok(Some(Loaded::new("old")))
    };
    cache.get_or_load(b"tagged", &tagged, &mut loader).unwrap();
    assert!(!cache.exists(b"tagged").unwrap());
}

#[test]
fn a_stale_value_stands_in_for_a_load_that_fails() {
    let timed = timed(CommonOptions { stale_ttl: Duration::from_secs(10), ..Default::default() });
    let cache = &timed.cache;
    let stale = |window| SetOptions { stale: window, ..options(ms(1000)) };
    let mut loader = |_: &[u8]| Ok(Some(Loaded::new("v")));
    for (window, served_for) in [(Stale::Default, 10_000), (Stale::For(Duration::ZERO), 0)] {
        cache.clear().unwrap();
        cache.get_or_load(b"k", &stale(window), &mut loader).unwrap();
        timed.advance(1000);
        let ask = || cache.get_or_load(b"k", &stale(window), &mut failing);
        assert_eq!(ask().ok().flatten().is_some(), served_for > 0);
        timed.advance(served_for);
        assert_eq!(ask().unwrap_err().kind(), ErrorKind::Loader, "the window is over");
    }
    assert_eq!(BlockingCache::stats(cache).unwrap().stale_served, 1);
    // A loader that finds nothing is right, and a new value is fresh.
    cache.get_or_load(b"k", &options(ms(1000)), &mut loader).unwrap();
    timed.advance(1000);
    assert!(cache.get_or_load(b"k", &options(ms(1000)), &mut |_| Ok(None)).unwrap().is_none());
    assert!(cache.get_or_load(b"k", &options(ms(1000)), &mut failing).is_err());
    cache.0.store.validate();
}

#[test]
fn that_there_is_none_is_remembered_as_long_as_asked() {
    let timed = timed(CommonOptions { negative_ttl: Duration::from_secs(5), ..Default::default() });
    let cache = &timed.cache;
    let mut loads = 0;
    let mut ask = |cache: &LocalCache| {
        let mut none = |_: &[u8]| {
            loads += 1;
            Ok(None)
        };
        assert!(cache.get_or_load(b"k", &options(Ttl::Never), &mut none).unwrap().is_none());
        loads
    };
    assert_eq!((ask(cache), ask(cache)), (1, 1));
    assert!(get(cache, b"k").is_none() && !cache.exists(b"k").unwrap());
    assert!(!cache.replace(b"k", b"", Ttl::Never).unwrap());
    timed.advance(5000);
    assert_eq!(ask(cache), 2);
    // A value takes its place.
    assert!(cache.add(b"k", b"v", Ttl::Never).unwrap());
    assert_eq!(get(cache, b"k").unwrap(), b"v");
    cache.0.store.validate();
}

#[test]
fn a_value_is_loaded_ahead_of_its_end() {
    let timed = timed(CommonOptions { refresh_ahead: Some(0.8), ..Default::default() });
    let cache = &timed.cache;
    let ask = |value: &str| {
        let mut loader = |_: &[u8]| Ok(Some(Loaded::new(value)));
        cache.get_or_load(b"k", &options(ms(1000)), &mut loader).unwrap().unwrap().to_vec()
    };
    assert_eq!(ask("1"), b"1");
    timed.advance(799);
    assert_eq!((ask("2"), get(cache, b"k").unwrap()), (b"1".to_vec(), b"1".to_vec()));
    timed.advance(1);
    assert_eq!(ask("3"), b"1", "the present value is given");
    assert_eq!(get(cache, b"k").unwrap(), b"3", "and a new one is there");
    timed.advance(999);
    // A reload that fails leaves it alone, one that finds nothing takes it away.
    assert!(cache.get_or_load(b"k", &options(ms(1000)), &mut failing).unwrap().is_some());
    assert_eq!(get(cache, b"k").unwrap(), b"3");
    assert!(cache.get_or_load(b"k", &options(ms(1000)), &mut |_| Ok(None)).unwrap().is_some());
    assert!(get(cache, b"k").is_none());
    // With a loader of its own it happens in the background.
    assert_eq!(ask("4"), b"4");
    timed.advance(900);
    let (done, is_done) = mpsc::channel();
    let caller = thread::current().id();
    let owned: crate::ops::OwnedLoader = Arc::new(move |_: &[u8]| {
        assert_ne!(thread::current().id(), caller);
        done.send(()).unwrap();
        Ok(Some(Loaded::new("5")))
    });
    let value = cache.get_or_load_owned(b"k", &options(ms(1000)), owned).unwrap();
    assert_eq!(value.as_deref(), Some(&b"4"[..]));
    is_done.recv().unwrap();
    while get(cache, b"k").as_deref() != Some(b"5") {
        thread::yield_now();
    }
}

#[test]
fn loaders_nest_but_not_in_themselves() {
    let _undisturbed = runtime::tests::undisturbed();
    let cache = LocalCache::new();
    let mut outer = |_: &[u8]| {
        let inner = load(&cache, b"inner", b"1").unwrap();
        let own = cache.get_or_load(b"outer", &options(Ttl::Never), &mut failing);
        assert_eq!(own.unwrap_err().kind(), ErrorKind::Reentrant);
        Ok(Some(Loaded::new(inner)))
    };
    let value = cache.get_or_load(b"outer", &options(Ttl::Never), &mut outer).unwrap();
    assert_eq!(value.as_deref(), Some(&b"1"[..]));
    // Two that load each other's key, at once.
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for (own, other) in [(&b"a"[..], &b"b"[..]), (b"b", b"a")] {
            let (cache, both) = (&cache, &both);
            scope.spawn(move || {
                let mut loader = |_: &[u8]| {
                    both.wait();
                    Ok(Some(Loaded::new(load(cache, other, b"x").unwrap())))
                };
                cache.get_or_load(own, &options(Ttl::Never), &mut loader).unwrap();
            });
        }
    });
}

#[test]
fn tasks_load_once_and_outlive_a_cancelled_one() {
    use crate::Cache;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let cache = LocalCache::new();
    let loads = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let ask = |value: u32, wait: bool| {
            let (cache, loads) = (cache.clone(), loads.clone());
            async move {
                let load = async {
                    loads.fetch_add(1, SeqCst);
                    if wait {
                        std::future::pending::<()>().await;
                    }
                    Ok(Some(value))
                };
                Cache::get_or_load::<u32>(&cache, "k", Ttl::Never, load).await.unwrap()
            }
        };
        let stuck = tokio::spawn(ask(1, true));
        while loads.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let waiting: Vec<_> = (0..100).map(|_| tokio::spawn(ask(2, false))).collect();
        while cache.0.flights.waiting(b"k") < 100 {
            tokio::task::yield_now().await;
        }
        stuck.abort();
        for task in waiting {
            assert_eq!(task.await.unwrap(), Some(2));
        }
        assert_eq!(loads.load(SeqCst), 2);
    });
}

#[test]
fn closing_ends_waits() {
    let _undisturbed = runtime::tests::undisturbed();
    let cache = LocalCache::new();
    let (begun, has_begun) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let cache = &cache;
        scope.spawn(move || {
            let mut loader = |key: &[u8]| {
                begun.send(()).unwrap();
                while cache.0.flights.is_loading(key) {
                    thread::yield_now();
                }
                Ok(Some(Loaded::new("v")))
            };
            let _ = cache.get_or_load(b"k", &options(Ttl::Never), &mut loader);
        });
        has_begun.recv().unwrap();
        let waiter = scope.spawn(|| cache.get_or_load(b"k", &options(Ttl::Never), &mut failing));
        while cache.0.flights.waiting(b"k") == 0 {
            thread::yield_now();
        }
        cache.close();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
}
