//! Who hears what and when; listeners that panic, block, end themselves or each other; forks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Barrier, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::fork::tests::{Stop, in_fork};

/// Tests that stop the process's one thread of listeners, or count on it, run one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const SOON: Duration = Duration::from_secs(30);

type Heard = Receiver<(Event, Vec<u8>)>;

/// A listener that passes on what it hears.
fn listener() -> (Listener, Heard) {
    let (sender, heard) = mpsc::channel();
    let listener = move |event, key: &[u8]| {
        let _ = sender.send((event, key.to_vec()));
    };
    (Box::new(listener), heard)
}

fn next(heard: &Heard) -> (Event, Vec<u8>) {
    heard.recv_timeout(SOON).expect("an event is heard")
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}

fn no_thread() -> bool {
    with_state(|state| matches!(state.thread, Thread::None))
}

#[test]
fn subscribers_hear_what_they_want_in_order() {
    let _alone = alone();
    let (cache, other) = (Subscriptions::new(), Subscriptions::new());
    assert!(!cache.wants(Event::Evicted));
    cache.emit(Event::Evicted, b"nobody listens");
    let (all, heard_all) = listener();
    let (some, heard_some) = listener();
    let first = cache.subscribe(Events::ALL, all).unwrap();
    let second = cache.subscribe(Events::from(Event::Expired), some).unwrap();
    assert!(cache.wants(Event::Evicted) && cache.wants(Event::Recovered));
    assert!(!other.wants(Event::Evicted));
    for number in 0..100_u8 {
        cache.emit(Event::Evicted, &[number]);
        cache.emit(Event::Expired, &[number]);
        other.emit(Event::Expired, b"not heard here");
    }
    cache.emit(Event::Degraded, b"");
    for number in 0..100_u8 {
        assert_eq!(next(&heard_all), (Event::Evicted, vec![number]));
        assert_eq!(next(&heard_all), (Event::Expired, vec![number]));
        assert_eq!(next(&heard_some), (Event::Expired, vec![number]));
    }
    assert_eq!(next(&heard_all), (Event::Degraded, vec![]));
    assert!(!other.unsubscribe(first).unwrap(), "a subscription of another cache");
    assert!(cache.unsubscribe(first).unwrap());
    assert!(!cache.unsubscribe(first).unwrap());
    assert!(cache.wants(Event::Expired) && !cache.wants(Event::Evicted));
    assert!(cache.unsubscribe(second).unwrap());
    assert!(!cache.wants(Event::Expired));
    let none = cache.subscribe(Events::default(), listener().0);
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(cache.dropped(), 0);
}

#[test]
fn listeners_run_on_a_library_thread_without_signals() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let (sender, told) = mpsc::channel();
    let tells = move |_, _: &[u8]| {
        let refused = runtime::refuse_library_thread().map_err(|error| error.kind());
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
        sender.send((refused, fork::is_inside(), blocked)).unwrap();
    };
    cache.subscribe(Events::ALL, Box::new(tells)).unwrap();
    cache.emit(Event::Expired, b"key");
    let (refused, inside, blocked) = told.recv_timeout(SOON).unwrap();
    assert_eq!(refused, Err(ErrorKind::Reentrant));
    assert!(!inside);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1] {
        assert_ne!(blocked & (1 << (signal - 1)), 0);
    }
}

#[test]
fn a_listener_that_panics_stops_nobody() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let panics = |_, _: &[u8]| std::panic::resume_unwind(Box::new("a listener panics"));
    cache.subscribe(Events::ALL, Box::new(panics)).unwrap();
    let (listener, heard) = listener();
    cache.subscribe(Events::ALL, listener).unwrap();
    for key in [b"a", b"b"] {
        cache.emit(Event::Expired, key);
        assert_eq!(next(&heard), (Event::Expired, key.to_vec()));
    }
}

#[test]
fn unsubscribe_waits_for_the_listener_that_is_running() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let (started, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (calls, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Counted(drops.clone());
    let listener = {
        let (started, goes_on, calls) = (started.clone(), goes_on.clone(), calls.clone());
        move |_, _: &[u8]| {
            let _ = &counted;
            started.wait();
            goes_on.wait();
            calls.fetch_add(1, SeqCst);
        }
    };
    let id = cache.subscribe(Events::ALL, Box::new(listener)).unwrap();
    cache.emit(Event::Expired, b"first");
    cache.emit(Event::Expired, b"never heard");
    started.wait();
    thread::scope(|scope| {
        let ends = scope.spawn(|| {
            let ended = cache.unsubscribe(id).unwrap();
            (ended, calls.load(SeqCst), drops.load(SeqCst))
        });
        until(|| with_state(|state| !state.waiting.is_empty()));
        assert!(!cache.unsubscribe(id).unwrap(), "it is already taken out");
        let again = runtime::interruptible(|| true, || cache.unsubscribe(id)).unwrap();
        assert!(!again);
        goes_on.wait();
        assert_eq!(ends.join().unwrap(), (true, 1, 1));
    });
    assert_eq!(calls.load(SeqCst), 1);
}

#[test]
fn a_wait_for_a_listener_can_be_interrupted_and_is_refused_to_library_threads() {
    let _alone = alone();
    let cache = Subscriptions::new();
    for interrupt in [true, false] {
        let (started, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (runs, ends) = (started.clone(), goes_on.clone());
        let listener = move |_, _: &[u8]| {
            runs.wait();
            ends.wait();
        };
        let id = cache.subscribe(Events::ALL, Box::new(listener)).unwrap();
        cache.emit(Event::Expired, b"key");
        started.wait();
        let kind = if interrupt {
            runtime::interruptible(|| true, || cache.unsubscribe(id)).unwrap_err().kind()
        } else {
            let _scope = runtime::library_thread_scope();
            cache.unsubscribe(id).unwrap_err().kind()
        };
        let expected = if interrupt { ErrorKind::Interrupted } else { ErrorKind::Reentrant };
        assert_eq!(kind, expected);
        goes_on.wait();
        assert!(!cache.wants(Event::Expired));
    }
}

#[test]
fn a_listener_may_end_its_own_subscription_and_those_of_others() {
    let _alone = alone();
    let cache = Arc::new(Subscriptions::new());
    let (other, heard_by_other) = listener();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (sender, told) = mpsc::channel();
    let ends_all = {
        let (cache, ids) = (cache.clone(), ids.clone());
        move |_, _: &[u8]| {
            let ids = mem::take(&mut *ids.lock().unwrap());
            let ended: Vec<_> = ids.into_iter().map(|id| cache.unsubscribe(id).unwrap()).collect();
            sender.send(ended).unwrap();
        }
    };
    let mut list = ids.lock().unwrap();
    list.push(cache.subscribe(Events::ALL, Box::new(ends_all)).unwrap());
    list.push(cache.subscribe(Events::ALL, other).unwrap());
    drop(list);
    cache.emit(Event::Expired, b"key");
    assert_eq!(told.recv_timeout(SOON).unwrap(), [true, true]);
    // Its listener is gone, unheard: the one before took it out.
    assert!(heard_by_other.recv_timeout(SOON).is_err());
    until(|| Arc::strong_count(&cache) == 1);
}

#[test]
fn the_listeners_go_with_the_cache_and_the_thread_with_the_last() {
    let _alone = alone();
    let drops = Arc::new(AtomicUsize::new(0));
    let subscribe = |cache: &Subscriptions, heard: Option<mpsc::Sender<bool>>| {
        let counted = Counted(drops.clone());
        let listener = move |_, _: &[u8]| {
            let _ = &counted;
            if let Some(heard) = &heard {
                heard.send(true).unwrap();
            }
        };
        cache.subscribe(Events::ALL, Box::new(listener)).unwrap()
    };
    // That of another test may be about to end.
    until(no_thread);
    let cache = Subscriptions::new();
    let (sender, heard) = mpsc::channel();
    subscribe(&cache, Some(sender));
    subscribe(&cache, None);
    assert!(no_thread(), "no event, no thread");
    cache.emit(Event::Expired, b"key");
    heard.recv_timeout(SOON).unwrap();
    drop(cache);
    until(|| drops.load(SeqCst) == 2 && no_thread());

    // Inside the gate no foreign code may run: the thread drops them.
    let cache = Subscriptions::new();
    subscribe(&cache, None);
    let inside = fork::enter();
    drop(cache);
    drop(inside);
    until(|| drops.load(SeqCst) == 3 && no_thread());
}

#[test]
fn events_that_come_too_fast_are_dropped_and_counted() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let (started, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = {
        let (started, goes_on, heard) = (started.clone(), goes_on.clone(), heard.clone());
        move |event, _: &[u8]| match event {
            Event::Degraded => {
                started.wait();
                goes_on.wait();
            }
            _ => {
                heard.fetch_add(1, SeqCst);
            }
        }
    };
    cache.subscribe(Events::ALL, Box::new(listener)).unwrap();
    let mut dropped = 0;
    for key_length in [1, 64 << 10] {
        cache.emit(Event::Degraded, b"");
        started.wait();
        let fit = QUEUE_EVENTS.min(QUEUE_BYTES / key_length);
        for _ in 0..fit + 5 {
            cache.emit(Event::Evicted, &vec![0; key_length]);
        }
        dropped += 5;
        assert_eq!(cache.dropped(), dropped);
        goes_on.wait();
        until(|| heard.load(SeqCst) == fit);
        heard.store(0, SeqCst);
    }
}

#[test]
fn a_child_keeps_the_subscriptions_and_has_a_thread_of_its_own() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let (passes_on, heard) = listener();
    let (started, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (runs, ends) = (started.clone(), goes_on.clone());
    let parent = std::process::id();
    let listener = move |event, key: &[u8]| {
        passes_on(event, key);
        if std::process::id() == parent {
            runs.wait();
            ends.wait();
        }
    };
    let id = cache.subscribe(Events::ALL, Box::new(listener)).unwrap();
    cache.emit(Event::Expired, b"running");
    started.wait();
    cache.emit(Event::Expired, b"queued");
    assert_eq!(next(&heard), (Event::Expired, b"running".to_vec()));
    let child = in_fork(|| {
        // The parent's queue is not the child's, nor is the call that was under way.
        cache.emit(Event::Evicted, b"child");
        next(&heard) == (Event::Evicted, b"child".to_vec()) && cache.unsubscribe(id).unwrap()
    });
    assert_eq!(child, 0);
    goes_on.wait();
    started.wait();
    assert_eq!(next(&heard), (Event::Expired, b"queued".to_vec()));
    goes_on.wait();
    assert!(cache.unsubscribe(id).unwrap());
}

#[test]
fn forks_in_a_storm_of_events() {
    let _alone = alone();
    let cache = Subscriptions::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let counts = heard.clone();
    let count = move |_, _: &[u8]| {
        counts.fetch_add(1, SeqCst);
    };
    cache.subscribe(Events::ALL, Box::new(count)).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    cache.emit(Event::Evicted, b"key");
                    let id = cache.subscribe(Events::ALL, listener().0).unwrap();
                    assert!(cache.unsubscribe(id).unwrap());
                }
            });
        }
        let _stop = Stop(&stop);
        for _ in 0..20 {
            let child = in_fork(|| {
                let before = heard.load(SeqCst);
                cache.emit(Event::Evicted, b"child");
                until(|| heard.load(SeqCst) > before);
                true
            });
            assert_eq!(child, 0);
        }
    });
}
