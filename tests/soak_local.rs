//! All operations of Local caches, mixed, on several threads, for long: memory stays flat, bounds hold, no
//! value is torn or another's; afterwards no allocation, descriptor or thread is left.
//!
//! `cargo test` does it for 15 seconds, `make soak-local` for an hour, or as long as `SOAK_SECONDS` says.
//! Malloc's arenas, one per thread, fill during the first 20 million operations; from there on, and after a
//! fifth of the time, resident memory may grow by 2 %. A run that ends within 5 minutes of that has a coarse
//! bar; there what is left afterwards shows a leak.
//!
//! The one test of this program, since it counts all allocations.

#[path = "support/random.rs"]
mod random;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use lighter_cache::{
    BlockingCache, ErrorKind, Events, GetOptions, Loaded, LocalCache, SetOptions, Stale, Ttl, Value,
};
use random::Random;

const THREADS: u64 = 4;
const SHORT: u64 = 15;
/// After so many operations memory has settled.
const SETTLED: u64 = 20_000_000;
const SAMPLED: Duration = Duration::from_millis(200);
/// Samples of settled memory that are worth a verdict: 5 minutes.
const LONG: usize = 1_500;
/// By how much memory may grow in a long run, and in a short one, where it has hardly settled.
const GROWTH: f64 = 1.02;
const GROWTH_SHORT: f64 = 1.6;
const KEYS: u64 = 30_000;
const MAX_ENTRIES: usize = 10_000;
/// More threads than the test's own and those of the library (a sweeper, a dispatcher, a few reloads).
const MANY_THREADS: usize = 100;
/// By when the library's threads are gone after the last cache; they stay for seconds.
const GONE_BY: Duration = Duration::from_secs(60);
/// What may be allocated afterwards beyond what was before, in bytes: what threads and the test harness keep.
const LEFT: usize = 128 << 10;
const MIB: f64 = (1 << 20) as f64;

struct Counting;

/// Bytes that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and the block is the system's.
        unsafe { System.dealloc(block, layout) }
    }

    // In place where the system can: the library relies on it where it frees many entries.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Relaxed);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, and the block is the system's.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The caches that live as long as the test.
struct Caches {
    all: Vec<LocalCache>,
    folder: PathBuf,
    heard: AtomicU64,
}

impl Caches {
    fn new(folder: &Path) -> Arc<Self> {
        let builder = || LocalCache::builder().sweep_interval(Duration::from_millis(20));
        let all = [
            builder().max_entries(MAX_ENTRIES),
            builder().max_bytes(4 << 20).ttl_jitter(0.2),
            builder()
                .default_ttl(Duration::from_millis(300))
                .stale_ttl(Duration::from_millis(100))
                .negative_ttl(Duration::from_millis(50))
                .refresh_ahead(0.5),
        ];
        let all: Vec<LocalCache> = all.map(|builder| builder.build().unwrap()).into();
        // As full at the beginning as they ever are, so that memory has no reason to grow, however slow
        // the machine is.
        for (cache, number) in all.iter().flat_map(|cache| (0..KEYS).map(move |n| (cache, n))) {
            let value = value_of(number, number * 7);
            BlockingCache::set(cache, &key_of(number), &value, Ttl::Never).unwrap();
        }
        Arc::new(Self { all, folder: folder.to_owned(), heard: AtomicU64::new(0) })
    }
}

fn key_of(number: u64) -> Vec<u8> {
    let mut key = format!("{}:{number}", number % 64).into_bytes();
    key.resize(key.len() + (number % 5) as usize * 8, b'k');
    key
}

/// A value that says whose it is, of 16 bytes to a few thousand.
fn value_of(number: u64, random: u64) -> Vec<u8> {
    let len = 16 + if random.is_multiple_of(16) { random % 6_000 } else { random % 300 };
    let mut value = vec![random as u8; len as usize];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

fn check(number: u64, value: &[u8]) {
    assert_eq!(value[..8], number.to_le_bytes(), "a foreign value");
    assert!(value[8..].iter().all(|byte| *byte == value[8]), "a torn value");
}

fn ttl(random: &mut Random) -> Ttl {
    match random.below(4) {
        0 => Ttl::Default,
        1 => Ttl::Never,
        n => Ttl::After(Duration::from_millis(1 + random.below(n * 400))),
    }
}

/// One operation, or now and then a rare one.
fn step(caches: &Arc<Caches>, thread: u64, random: &mut Random) {
    let cache = &caches.all[random.below(3) as usize];
    let number = random.below(KEYS);
    let key = &key_of(number)[..];
    let read = |value: Option<Value>| value.iter().for_each(|value| check(number, value));
    match random.below(100) {
        0..30 => read(BlockingCache::get(cache, key).unwrap()),
        30..40 => {
            let mut buf = Vec::with_capacity(7_000);
            let len = cache.get_into(key, buf.spare_capacity_mut()).unwrap();
            // SAFETY: as many bytes were written; no value is longer.
            unsafe { buf.set_len(len.unwrap_or(0)) };
            len.into_iter().for_each(|_| check(number, &buf));
        }
        40..60 => {
            let value = value_of(number, random.next());
            BlockingCache::set(cache, key, &value, ttl(random)).unwrap();
        }
        60..64 => {
            let value = value_of(number, random.next());
            cache.add(key, &value, ttl(random)).unwrap();
        }
        64..66 => {
            let value = value_of(number, random.next());
            cache.replace(key, &value, ttl(random)).unwrap();
        }
        66..68 => {
            if let Some(old) = BlockingCache::get(cache, key).unwrap() {
                let value = value_of(number, random.next());
                cache.compare_and_set(key, &old, &value, ttl(random)).unwrap();
            }
        }
        68..71 => drop(cache.incr(format!("n{}", number % 100).as_bytes(), 1, Ttl::Never).unwrap()),
        71..76 => drop(cache.delete(key).unwrap()),
        76 => drop(cache.exists(key).unwrap()),
        77 => drop(cache.ttl(key).unwrap()),
        78 => drop(cache.expire(key, ttl(random)).unwrap()),
        79 => drop(cache.get_ex(key, GetOptions::default()).unwrap()),
        80..83 => {
            let mut options = SetOptions::new(ttl(random));
            options.tags = vec![format!("tag{}", random.below(2_000)).into_bytes()];
            options.stale = Stale::For(Duration::from_millis(random.below(200)));
            cache.set_ex(key, &value_of(number, random.next()), &options).unwrap();
        }
        83 => cache.invalidate_tag(format!("tag{}", random.below(2_000)).as_bytes()).unwrap(),
        84..88 => {
            let (fails, random) = (random.below(10), random.next());
            let load = &mut |_: &[u8]| match fails {
                0 => Err(ErrorKind::Loader.into()),
                1 => Ok(None),
                _ => Ok(Some(Loaded::new(value_of(number, random)))),
            };
            match cache.get_or_load(key, &SetOptions::default(), load) {
                Ok(value) => read(value),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Loader),
            }
        }
        88 => {
            let random = random.next();
            let load = Arc::new(move |_: &[u8]| Ok(Some(Loaded::new(value_of(number, random)))));
            read(cache.get_or_load_owned(key, &SetOptions::default(), load).unwrap());
        }
        89..91 => {
            let numbers: Vec<u64> = (0..20).map(|n| (number + n) % KEYS).collect();
            let keys: Vec<_> = numbers.iter().map(|number| key_of(*number)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            for (number, value) in numbers.iter().zip(cache.get_many(&keys).unwrap()) {
                value.iter().for_each(|value| check(*number, value));
            }
            if random.below(4) == 0 {
                cache.delete_many(&keys).unwrap();
            }
        }
        91 => {
            let value = value_of(number, 7);
            cache.set_many(&[(key, &value)], ttl(random)).unwrap();
        }
        92 => {
            let name = format!("lock{}", number % 8);
            let (lease, wait) = (Duration::from_secs(1), Duration::from_millis(1));
            if let Some(lock) = cache.lock(name.as_bytes(), lease, wait).unwrap() {
                let _ = lock.extend(lease).unwrap();
                // Released or dropped.
                let _ = random.below(2) == 0 || lock.release().unwrap();
            }
        }
        93 => drop(cache.get_with(key, |value| check(number, value)).unwrap()),
        _ if random.below(200) == 0 => rare(caches, cache, thread, random),
        _ => {}
    }
}

/// What looks at whole caches, makes some or writes files.
fn rare(caches: &Arc<Caches>, cache: &LocalCache, thread: u64, random: &mut Random) {
    match random.below(9) {
        0 => {
            cache.ping().unwrap();
            assert!(caches.all[0].count().unwrap() <= MAX_ENTRIES as u64);
        }
        8 => assert!(cache.keys(b"1:").iter().all(|key| key.starts_with(b"1:"))),
        1 => drop(cache.delete_prefix(format!("{}:", random.below(64)).as_bytes()).unwrap()),
        2 => {
            let mut seen = 0;
            let visit = &mut |_: &[u8]| {
                seen += 1;
                if seen < 1_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            cache.for_each_key(b"", visit).unwrap();
        }
        3 => assert!(cache.metrics().unwrap().contains("cache_hits_total")),
        4 => {
            let counted = caches.clone();
            let hear = move |_, _: &[u8]| {
                counted.heard.fetch_add(1, Relaxed);
            };
            let id = cache.subscribe(Events::ALL, Box::new(hear)).unwrap();
            assert!(cache.unsubscribe(id).unwrap());
        }
        // Large entries, which borrow from all shards, and a cache that is made, filled and closed.
        5 => {
            let own = LocalCache::builder().max_bytes(1 << 20).build().unwrap();
            for number in 0..200 {
                let value = value_of(number, random.next());
                BlockingCache::set(&own, &key_of(number), &value, ttl(random)).unwrap();
            }
            BlockingCache::set(&own, b"large", &vec![1; 700 << 10], Ttl::Never).unwrap();
        }
        6 if random.below(4) == 0 => cache.clear().unwrap(),
        _ => {
            let small = LocalCache::builder().max_entries(500).build().unwrap();
            let file = caches.folder.join(format!("{thread}"));
            cache.save(&file).unwrap();
            small.load(&file).unwrap();
            fs::remove_file(file).unwrap();
        }
    }
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn median(mut numbers: Vec<u64>) -> f64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2] as f64
}

/// Works for so long; returns resident memory at each sample, and after how many operations.
fn soak(caches: &Arc<Caches>, seconds: u64, seed: u64) -> Vec<(u64, u64)> {
    let (stop, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let work = |thread| {
            let (stop, steps) = (&stop, &steps);
            let mut random = Random::of(seed.wrapping_mul(thread * 2 + 1));
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    (0..100).for_each(|_| step(caches, thread, &mut random));
                    steps.fetch_add(100, Relaxed);
                }
            })
        };
        let workers: Vec<_> = (0..THREADS).map(work).collect();
        let start = Instant::now();
        let mut said = 0;
        while start.elapsed().as_secs() < seconds {
            thread::sleep(SAMPLED);
            samples.push((steps.load(Relaxed), resident()));
            let minutes = start.elapsed().as_secs() / 60;
            if minutes > said {
                said = minutes;
                let (mib, live) = (resident() as f64 / MIB, LIVE.load(Relaxed) as f64 / MIB);
                println!(
                    "{minutes} min: {mib:.1} MiB, {live:.1} of them allocated, {} descriptors, {} threads, {} operations",
                    descriptors(),
                    threads(),
                    steps.load(Relaxed)
                );
            }
            // A panic here would wait for the others for ever.
            if threads() > MANY_THREADS || workers.iter().any(|worker| worker.is_finished()) {
                break;
            }
        }
        stop.store(true, Relaxed);
    });
    println!("{} operations", steps.into_inner());
    samples
}

#[test]
fn memory_stays_flat_and_nothing_is_left_open() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(SHORT).max(5);
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}, {seconds} s");
    let folder = std::env::temp_dir().join(format!("lighter-cache-soak-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (open_before, threads_before, live_before) = (descriptors(), threads(), LIVE.load(Relaxed));
    let caches = Caches::new(&folder);

    let samples = soak(&caches, seconds, seed);
    assert!(threads() <= MANY_THREADS, "{} threads", threads());
    let later = &samples[samples.len() / 5..];
    let settled = &later[later.partition_point(|(operations, _)| *operations < SETTLED)..];
    let (warm, most) = if settled.len() < LONG { (later, GROWTH_SHORT) } else { (settled, GROWTH) };
    let memory = |samples: &[(u64, u64)]| median(samples.iter().map(|(_, bytes)| *bytes).collect());
    let quarter = (warm.len() / 4).max(1);
    let (first, last) = (memory(&warm[..quarter]), memory(&warm[warm.len() - quarter..]));
    let growth = last / first;
    println!(
        "resident {:.1} MiB, then {:.1} MiB: {growth:.4}, of at most {most}",
        first / MIB,
        last / MIB
    );
    for cache in &caches.all {
        let stats = BlockingCache::stats(cache).unwrap();
        println!("{stats:?}");
        assert!(
            stats.hits > 0 && stats.misses > 0 && stats.expirations > 0,
            "nothing much happened"
        );
    }
    assert!(growth <= most, "memory grew by {:.1} %", (growth - 1.0) * 100.0);

    drop((caches, samples));
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(descriptors(), open_before, "a descriptor is left open");
    // Nothing tells when the library's threads have ended.
    let waiting = Instant::now();
    while threads() > threads_before {
        assert!(waiting.elapsed() < GONE_BY, "{} threads, before {threads_before}", threads());
        thread::sleep(Duration::from_millis(50));
    }
    let live = LIVE.load(Relaxed);
    println!("allocated {live_before} bytes before, {live} afterwards");
    assert!(live <= live_before + LEFT, "{} bytes are left", live - live_before);
}
