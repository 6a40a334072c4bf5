//! Tasks that are cancelled at any moment of a call, as by `tokio::time::timeout` or `select!`: no reply
//! reaches another caller (G5 of the stress in `redis_stress.rs`, which has threads only), and a write that
//! was dropped does not land after a later one that was acknowledged, over whichever connection that went.
//!
//! `LC_SOAK_SECONDS` and `LC_SOAK_SEED` as there.

#[path = "support/random.rs"]
mod random;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lighter_cache::{AnyCache, BlockingCache, ByteCache, ErrorKind, Ttl, config::Config};
use random::Random;
use support::chaos::{Chaos, Fault};
use support::{SERVERS, Server};

const TIMEOUT: Duration = Duration::from_millis(150);
const WRITERS: u64 = 6;
const KEYS: u64 = 3;

/// Of different lengths, so that a reply that is cut at the wrong place shows.
fn value_of(key: &str, version: u64) -> Vec<u8> {
    format!("{key}={version};{}", "x".repeat((version % 700) as usize)).into_bytes()
}

fn version_in(key: &str, value: &[u8]) -> u64 {
    let version = std::str::from_utf8(value).ok().and_then(|text| {
        text.strip_prefix(key)?.strip_prefix('=')?.split_once(';')?.0.parse().ok()
    });
    match version {
        Some(version) if value_of(key, version) == value => version,
        _ => panic!("G5: {key} reads as {:?}", String::from_utf8_lossy(value)),
    }
}

struct Run {
    cache: AnyCache,
    over: AtomicBool,
    calls: AtomicU64,
    cancelled: AtomicU64,
}

/// Has the others end too where one panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Run {
    /// Awaits `call`, or drops it after a while; `None` then.
    async fn at_most<T>(&self, dice: &mut Random, call: impl Future<Output = T>) -> Option<T> {
        let patience = match dice.below(3) {
            0 => Duration::from_micros(dice.below(3000)),
            _ => 10 * TIMEOUT,
        };
        let outcome = tokio::time::timeout(patience, call).await.ok();
        let counter = if outcome.is_some() { &self.calls } else { &self.cancelled };
        counter.fetch_add(1, SeqCst);
        outcome
    }

    /// The only writer of its keys: it knows what each may hold.
    fn writer(&self, number: u64, seed: u64, runtime: &tokio::runtime::Handle) {
        let mut dice = Random::of(seed + 1000 + number);
        let keys: Vec<String> = (0..KEYS).map(|n| format!("own{number}-{n}")).collect();
        // Versions that may be there; `None` where nothing may.
        let mut may_be: Vec<Vec<Option<u64>>> = vec![vec![None]; keys.len()];
        let mut version = 0;
        while !self.over.load(SeqCst) {
            let at = dice.below(KEYS) as usize;
            let (key, may_be) = (&keys[at], &mut may_be[at]);
            let as_task = dice.below(2) == 0;
            if dice.below(2) == 0 {
                let got = if as_task {
                    runtime.block_on(self.at_most(&mut dice, self.cache.get_bytes(key.as_bytes())))
                } else {
                    Some(self.cache.get(key.as_bytes()))
                };
                if let Some(Ok(value)) = got {
                    let read = value.map(|value| version_in(key, &value));
                    assert!(may_be.contains(&read), "{key} holds {read:?}, and may: {may_be:?}");
                }
                continue;
            }
            version += 1;
            let value = value_of(key, version);
            let stored = if as_task {
                let set = self.cache.set_bytes(key.as_bytes(), &value, Ttl::Never);
                runtime.block_on(self.at_most(&mut dice, set))
            } else {
                Some(self.cache.set(key.as_bytes(), &value, Ttl::Never))
            };
            match stored {
                Some(Ok(())) => *may_be = vec![Some(version)],
                Some(Err(error)) if error.kind() == ErrorKind::Connect => {}
                Some(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                    may_be.push(Some(version));
                }
                None => may_be.push(Some(version)),
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn what_is_cancelled_reaches_nobody_and_does_not_come_late() {
    let seed = setting("LC_SOAK_SEED").unwrap_or_else(|| {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 16
    });
    for name in SERVERS {
        println!("{name}: LC_SOAK_SEED={seed}");
        let server = Server::start("single", name);
        let chaos = Chaos::to(u16::try_from(server.info["port"].as_u64().unwrap()).unwrap());
        let (port, ms) = (chaos.port(), TIMEOUT.as_millis());
        let url = format!("redis://127.0.0.1:{port}?prefix=app&timeout={ms}ms&connect_timeout=10s");
        let run = Run {
            cache: AnyCache::open(&Config::parse(&url).unwrap()).unwrap(),
            over: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let until = Instant::now() + Duration::from_secs(setting("LC_SOAK_SECONDS").unwrap_or(3));
        std::thread::scope(|scope| {
            for number in 0..WRITERS {
                let (run, handle) = (&run, runtime.handle());
                scope.spawn(move || {
                    let _ends = Ends(&run.over);
                    run.writer(number, seed, handle);
                });
            }
            let _ends = Ends(&run.over);
            let mut dice = Random::of(seed);
            while Instant::now() < until && !run.over.load(SeqCst) {
                chaos.set(Fault::ALL[dice.place(Fault::ALL.len())]);
                std::thread::sleep(Duration::from_millis(10 + dice.below(300)));
                chaos.set(Fault::None);
                std::thread::sleep(Duration::from_millis(20 + dice.below(150)));
            }
        });
        let (calls, cancelled) = (run.calls.into_inner(), run.cancelled.into_inner());
        let connections = chaos.connections();
        println!(
            "{name}: {calls} calls of tasks, {cancelled} cancelled, {connections} connections"
        );
        assert!(calls > 20 && cancelled > 5);
    }
}
