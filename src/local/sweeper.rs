//! The thread that frees expired entries, one for all Local caches of the process.
//!
//! It starts when the first entry with a TTL is stored (again so in a forked child, which has no threads
//! of its parent), and ends when no cache with such entries has been left for a while. It knows caches by
//! weak references, and holds a strong one only inside the fork gate, for one portion of one shard: so
//! a forked child never has a reference whose thread is gone.
//!
//! # Protocol
//! A cache's `watched_in` names the generation of the process whose sweeper has it in its list.
//! - Who stores an entry with a TTL first registers it in the shard's wheel under the shard's lock, and
//!   then looks at `watched_in`; if that is not the present generation, it puts the cache on the list.
//! - The sweeper that finds all wheels of a cache empty first clears `watched_in`, and then looks at all
//!   wheels again under their locks; if one is not empty now, it keeps the cache.
//!
//! Of the two, whoever takes the shard's lock later sees what the other did. So a cache with
//! registrations is always on the list.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{mem, ptr, thread};

use super::{Inner, LocalCache};
use crate::fork;
use crate::log::{self, Level};
use crate::runtime::SignalsBlocked;

/// How long the thread stays without a cache, so that a rare TTL does not start a thread each time.
const LINGER: Duration = Duration::from_secs(2);
const STACK: usize = 128 << 10;

static LIST: Mutex<List> = Mutex::new(List { generation: 0, running: false, caches: Vec::new() });
/// Grows when the list does; the thread sleeps on it.
static BELL: AtomicU32 = AtomicU32::new(0);

struct List {
    /// The process generation that the rest belongs to.
    generation: u32,
    running: bool,
    caches: Vec<Watched>,
}

struct Watched {
    cache: Weak<Inner>,
    next: Instant,
}

/// Locks the list; in a forked child the parent's is forgotten. To be called inside the gate.
fn list() -> MutexGuard<'static, List> {
    let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = fork::generation();
    if list.generation != generation {
        *list = List { generation, running: false, caches: Vec::new() };
    }
    list
}

/// Sees to it that the sweeper knows `cache`. To be called after an entry was registered.
#[inline(always)]
pub(super) fn watch(cache: &Arc<Inner>) {
    if cache.watched_in.load(Acquire) != fork::generation() + 1 {
        start_watching(cache);
    }
}

#[cold]
#[inline(never)]
fn start_watching(cache: &Arc<Inner>) {
    let inside = fork::enter();
    let mut list = list();
    let generation = fork::generation();
    if cache.watched_in.swap(generation + 1, AcqRel) == generation + 1 {
        return;
    }
    let next = Instant::now() + cache.sweep_interval;
    list.caches.push(Watched { cache: Arc::downgrade(cache), next });
    let start = !mem::replace(&mut list.running, true);
    drop(list);
    drop(inside);
    if !start {
        BELL.fetch_add(1, Release);
        futex(libc::FUTEX_WAKE, 1, None);
    } else if let Err(error) = spawn(generation) {
        log::emit(Level::Warn, "local", format_args!("can't start the sweeper: {error}"));
        // The next entry with a TTL tries again.
        let _inside = fork::enter();
        let mut list = self::list();
        list.running = false;
        for watched in list.caches.drain(..) {
            if let Some(cache) = watched.cache.upgrade() {
                cache.watched_in.store(0, Release);
            }
        }
    }
}

/// Starts the thread with all signals blocked: the program's handlers run on the program's threads.
fn spawn(generation: u32) -> std::io::Result<()> {
    let _signals = SignalsBlocked::new();
    let builder = thread::Builder::new().name("lc-sweep".into()).stack_size(STACK);
    builder.spawn(move || run(generation)).map(drop)
}

fn run(generation: u32) {
    let mut idle_since = None;
    loop {
        let bell = BELL.load(Acquire);
        let due = {
            let _inside = fork::enter();
            let mut list = list();
            debug_assert_eq!(list.generation, generation);
            let now = Instant::now();
            list.caches.retain(|watched| watched.cache.strong_count() > 0);
            match list.caches.iter().map(|watched| watched.next).min() {
                Some(next) => {
                    idle_since = None;
                    if next <= now { Ok(take_due(&mut list, now)) } else { Err(next - now) }
                }
                None if *idle_since.get_or_insert(now) + LINGER <= now => {
                    list.running = false;
                    return;
                }
                None => Err(LINGER),
            }
        };
        match due {
            Ok(caches) => caches.iter().for_each(sweep),
            Err(time) => futex(libc::FUTEX_WAIT, bell, Some(time)),
        }
    }
}

/// The caches whose time has come, each with its next time set.
fn take_due(list: &mut List, now: Instant) -> Vec<Weak<Inner>> {
    let mut due = Vec::new();
    for watched in list.caches.iter_mut().filter(|watched| watched.next <= now) {
        if let Some(cache) = watched.cache.upgrade() {
            watched.next = now + cache.sweep_interval;
            due.push(watched.cache.clone());
        }
    }
    due
}

/// Sweeps one cache, and lets it go if nothing is registered in it any more.
fn sweep(cache: &Weak<Inner>) {
    let mut registered = false;
    let mut shard = 0;
    loop {
        let _inside = fork::enter();
        let Some(cache) = cache.upgrade().map(LocalCache) else { return };
        if shard == cache.shard_count() {
            break;
        }
        let now = cache.0.clock.now();
        if !cache.sweep_shard(shard, now, false) {
            registered |= !cache.0.store.read_shard(shard).nothing_registered();
            shard += 1;
        }
    }
    if registered {
        return;
    }
    let _inside = fork::enter();
    let Some(cache) = cache.upgrade().map(LocalCache) else { return };
    let mut list = list();
    cache.0.watched_in.store(0, Release);
    let empty = |shard| cache.0.store.read_shard(shard).nothing_registered();
    if (0..cache.shard_count()).all(empty) {
        list.caches.retain(|watched| !ptr::eq(watched.cache.as_ptr(), Arc::as_ptr(&cache.0)));
    } else {
        cache.0.watched_in.store(fork::generation() + 1, Release);
    }
}

/// Sleeps on the bell while it is `value`, or wakes `value` sleepers.
fn futex(operation: libc::c_int, value: u32, time: Option<Duration>) {
    let time = time.map(|time| libc::timespec {
        tv_sec: time.as_secs().min(1 << 30) as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    });
    // SAFETY: the word is a static; the timeout is null or valid during the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            BELL.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            time.as_ref().map_or(ptr::null(), ptr::from_ref),
        );
    }
}
