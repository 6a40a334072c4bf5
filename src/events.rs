//! Events of caches, and the one thread of the process that tells the program of them.
//!
//! Left to others: what an event is and when it happens. A cache has [`Subscriptions`], asks them with
//! [`Subscriptions::wants`] where something has happened, and [`Subscriptions::emit`]s it.
//!
//! # Protocol
//! - All subscriptions of the process stand in one [`State`] behind one lock, which is held inside the
//!   fork gate and only to look at lists or change them. `mask` repeats outside of the lock which events
//!   a cache's subscribers want, so that an event that nobody wants costs one relaxed load.
//! - `emit` copies the key, appends to a queue of bounded length and size, or drops the event and counts
//!   it. It never waits for the thread, and may be called inside the gate (but not under a lock).
//! - The thread is started by the first event in the queue, and ends when there is nobody to tell. Before
//!   each call it looks, under the lock, whether the subscription is still there, and notes that it calls
//!   it; afterwards it takes the note away.
//! - `unsubscribe` takes the subscription out first, and then waits until the note does not name it. On
//!   the thread itself it need not wait: no listener but the present one is running.
//!
//! # Invariants
//! 1. Listeners run on the thread only, one at a time, in the order of the events, outside of the gate
//!    and of all locks, marked as a library thread: what would wait answers
//!    [`ErrorKind::Reentrant`].
//! 2. A subscription that is not in the state is not called again.
//! 3. A listener is dropped outside of lock and gate, by whoever takes it out, or by the thread if that
//!    is inside the gate or the listener is running.
//! 4. A forked child has all subscriptions, an empty queue and no thread. A listener that was running in
//!    the parent at that moment is never dropped there.

mod dispatcher;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake as _;
use std::{fmt, mem};

use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::ops::{Event, Events, Listener};
use crate::runtime::{self, Parker};

/// Most events that wait to be heard, in the whole process.
const QUEUE_EVENTS: usize = 8192;
/// Most bytes of their keys.
const QUEUE_BYTES: usize = 4 << 20;

static STATE: Mutex<State> = Mutex::new(State::new());
/// Names caches and subscriptions.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// Who wants to hear of one cache's events. Dropping it ends all subscriptions.
pub(crate) struct Subscriptions {
    cache: u64,
    /// The bits of all events that a subscriber wants. Changed under the lock of the state.
    mask: AtomicU32,
    dropped: AtomicU64,
}

struct State {
    /// The process generation that the thread and its queue belong to.
    generation: u32,
    /// Of each cache that has some, in the order of their making.
    subscriptions: BTreeMap<u64, Vec<Subscription>>,
    queue: VecDeque<Queued>,
    /// Bytes of the keys in the queue.
    queue_bytes: usize,
    /// Listeners that the thread is to drop.
    discarded: Vec<Arc<Listener>>,
    thread: Thread,
    /// The subscription whose listener is being called.
    calling: Option<u64>,
    /// Who waits for the present call to end.
    waiting: Vec<Arc<Parker>>,
}

struct Subscription {
    id: u64,
    events: Events,
    listener: Arc<Listener>,
}

struct Queued {
    cache: u64,
    event: Event,
    key: Box<[u8]>,
}

enum Thread {
    None,
    Awake,
    /// It has found nothing to do, and sleeps.
    Asleep(Arc<Parker>),
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        let cache = LAST_ID.fetch_add(1, Relaxed) + 1;
        Self { cache, mask: AtomicU32::new(0), dropped: AtomicU64::new(0) }
    }

    /// Whether anybody wants to hear of `event`.
    #[inline]
    pub(crate) fn wants(&self, event: Event) -> bool {
        self.mask.load(Relaxed) & event as u32 != 0
    }

    /// Tells those who want to hear of it that `event` has happened to `key` (empty where it concerns
    /// none), soon and on another thread. Drops and counts it where too many wait.
    ///
    /// Never blocks. May be called inside the fork gate, but not under a lock.
    #[inline]
    pub(crate) fn emit(&self, event: Event, key: &[u8]) {
        if self.wants(event) {
            self.queue(event, key);
        }
    }

    /// Events that were dropped because too many waited.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Calls `listener` for each of `events` from now on; returns a number for
    /// [`Subscriptions::unsubscribe`]. [`ErrorKind::Invalid`] where `events` are none.
    pub(crate) fn subscribe(&self, events: Events, listener: Listener) -> Result<u64> {
        if events == Events::default() {
            return Err(Error::new(ErrorKind::Invalid, "a subscription needs an event"));
        }
        let id = LAST_ID.fetch_add(1, Relaxed) + 1;
        let subscription = Subscription { id, events, listener: Arc::new(listener) };
        with_state(|state| {
            state.subscriptions.entry(self.cache).or_default().push(subscription);
            self.update_mask(state);
        });
        Ok(id)
    }

    /// Ends a subscription; false for a number that names none of this cache. When it has returned, the
    /// listener is not running and is not called again; where it is called by a listener, that one is
    /// running still.
    ///
    /// Errors, after which the listener is not called again but may be running:
    /// [`ErrorKind::Interrupted`]; [`ErrorKind::Reentrant`] on a thread of the library other than that
    /// of the listeners, where it would have to wait.
    pub(crate) fn unsubscribe(&self, id: u64) -> Result<bool> {
        let parker = Arc::new(Parker::default());
        let (taken, running) = with_state(|state| {
            let taken = self.take(state, |subscription| subscription.id == id);
            (taken, state.note_waiting(id, &parker))
        });
        let Some(subscription) = taken.into_iter().next() else { return Ok(false) };
        // Where the listener is running, the thread has a reference too, and drops it after the call.
        discard(vec![subscription.listener]);
        if running && !dispatcher::is_this_thread() {
            runtime::refuse_library_thread()?;
            wait_for(id, &parker)?;
        }
        Ok(true)
    }

    /// Ends all subscriptions, without waiting for a listener that is running.
    pub(crate) fn close(&self) {
        let taken = with_state(|state| self.take(state, |_| true));
        discard(taken.into_iter().map(|subscription| subscription.listener).collect());
    }

    /// Takes the subscriptions out that `which` names. The thread ends if they were the last.
    fn take(&self, state: &mut State, which: impl Fn(&Subscription) -> bool) -> Vec<Subscription> {
        let Some(list) = state.subscriptions.get_mut(&self.cache) else { return Vec::new() };
        let taken = list.extract_if(.., |subscription| which(subscription)).collect();
        if list.is_empty() {
            state.subscriptions.remove(&self.cache);
        }
        self.update_mask(state);
        if state.subscriptions.is_empty()
            && let Thread::Asleep(parker) = &state.thread
        {
            parker.wake_by_ref();
            state.thread = Thread::Awake;
        }
        taken
    }

    /// To be called after the list has changed.
    fn update_mask(&self, state: &State) {
        let list = state.subscriptions.get(&self.cache);
        let bits = list.into_iter().flatten().fold(0, |bits, one| bits | one.events.bits());
        self.mask.store(bits, Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn queue(&self, event: Event, key: &[u8]) {
        let queued = Queued { cache: self.cache, event, key: key.into() };
        let next = with_state(|state| {
            if state.queue.len() >= QUEUE_EVENTS || state.queue_bytes + key.len() > QUEUE_BYTES {
                return Next::Dropped;
            }
            state.queue_bytes += key.len();
            state.queue.push_back(queued);
            state.wake()
        });
        match next {
            Next::Dropped => {
                self.dropped.fetch_add(1, Relaxed);
            }
            Next::Nothing => {}
            Next::Wake(parker) => parker.wake(),
            Next::Start => {
                let lost = dispatcher::start();
                self.dropped.fetch_add(lost, Relaxed);
            }
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions").field("mask", &self.mask).finish_non_exhaustive()
    }
}

/// What is to be done after something was put into the state.
enum Next {
    Nothing,
    Dropped,
    Wake(Arc<Parker>),
    Start,
}

impl State {
    const fn new() -> Self {
        Self {
            generation: 0,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            discarded: Vec::new(),
            thread: Thread::None,
            calling: None,
            waiting: Vec::new(),
        }
    }

    /// Whether the listener of `id` is running; `parker` is woken when it is not any more.
    fn note_waiting(&mut self, id: u64, parker: &Arc<Parker>) -> bool {
        let running = self.calling == Some(id);
        if running {
            self.waiting.push(parker.clone());
        }
        running
    }

    /// Sees to it that the thread looks at the state.
    fn wake(&mut self) -> Next {
        match mem::replace(&mut self.thread, Thread::Awake) {
            Thread::None => Next::Start,
            Thread::Awake => Next::Nothing,
            Thread::Asleep(parker) => Next::Wake(parker),
        }
    }
}

/// Drops listeners here, or on the thread where this one is inside the gate.
fn discard(listeners: Vec<Arc<Listener>>) {
    if listeners.is_empty() {
        return;
    }
    if !fork::is_inside() {
        return drop(listeners);
    }
    match with_state(|state| {
        state.discarded.extend(listeners);
        state.wake()
    }) {
        Next::Wake(parker) => parker.wake(),
        Next::Start => {
            dispatcher::start();
        }
        Next::Nothing | Next::Dropped => {}
    }
}

/// Waits until the listener of `id` is not running.
fn wait_for(id: u64, parker: &Arc<Parker>) -> Result<()> {
    let generation = fork::generation();
    let still_running = || {
        with_state(|state| {
            state.waiting.retain(|other| !Arc::ptr_eq(other, parker));
            state.note_waiting(id, parker)
        })
    };
    loop {
        if runtime::interrupted() {
            with_state(|state| state.waiting.retain(|other| !Arc::ptr_eq(other, parker)));
            return Err(ErrorKind::Interrupted.into());
        }
        // The interrupt check is foreign code, and may fork: in the child no listener is running.
        if fork::generation() != generation {
            return Ok(());
        }
        if parker.park(runtime::SLICE) && !still_running() {
            return Ok(());
        }
    }
}

fn with_state<R>(access: impl FnOnce(&mut State) -> R) -> R {
    let _inside = fork::enter();
    // Nothing panics between two steps that belong together.
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = fork::generation();
    if state.generation != generation {
        state.generation = generation;
        state.queue.clear();
        state.queue_bytes = 0;
        state.thread = Thread::None;
        state.calling = None;
        state.waiting.clear();
        // To be dropped inside the parent, outside of the gate.
        mem::forget(mem::take(&mut state.discarded));
    }
    access(&mut state)
}
