//! Many callers at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use lighter_cache::{AnyCache, BlockingCache, Loaded, Result, SetOptions, Value};

/// `callers` threads in each of `caches` ask for `key` at once; returns what they got, and how often it was
/// loaded.
pub fn together(
    caches: &[AnyCache],
    callers: usize,
    key: &[u8],
    options: &SetOptions,
    load: impl Fn() -> Result<Option<Loaded>> + Sync,
) -> (Vec<Result<Option<Value>>>, u32) {
    let (loads, barrier) = (AtomicU32::new(0), Barrier::new(caches.len() * callers));
    let ask = |cache: &AnyCache| {
        barrier.wait();
        cache.get_or_load(key, options, &mut |_| {
            loads.fetch_add(1, SeqCst);
            load()
        })
    };
    let got = thread::scope(|scope| {
        let asking: Vec<_> = caches
            .iter()
            .flat_map(|cache| (0..callers).map(move |_| cache))
            .map(|cache| scope.spawn(|| ask(cache)))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    (got, loads.into_inner())
}
