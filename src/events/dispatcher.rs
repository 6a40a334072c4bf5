//! The thread that calls the listeners. Protocol and invariants: the module's head.

use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Wake as _;
use std::time::Duration;

use super::{Queued, State, Thread, with_state};
use crate::fork;
use crate::log::{self, Level};
use crate::ops::Listener;
use crate::runtime::{self, Parker};

/// The thread runs the program's code: it has the stack that threads usually have.
const STACK: usize = 2 << 20;
/// How long the thread sleeps where nobody wakes it.
const NAP: Duration = Duration::from_secs(3600);

thread_local! {
    /// The process generation plus one in which this thread calls listeners; 0 for other threads.
    static CALLS_IN: Cell<u32> = const { Cell::new(0) };
}

/// Whether this is the thread that calls listeners.
pub(super) fn is_this_thread() -> bool {
    CALLS_IN.get() == fork::generation() + 1
}

/// Starts the thread. Where it can't be had the queue is emptied; returns how many events that lost.
#[cold]
pub(super) fn start() -> u64 {
    let Err(error) = runtime::spawn_thread("lc-events", STACK, run) else { return 0 };
    // The next event tries again; listeners that were to be dropped wait for it.
    let lost = with_state(|state| {
        state.thread = Thread::None;
        state.queue_bytes = 0;
        mem::take(&mut state.queue).len()
    });
    // Inside the gate nothing may be said: it calls back.
    if !fork::is_inside() {
        log::emit(
            Level::Warn,
            "events",
            format_args!("can't start the thread of the listeners: {error}"),
        );
    }
    lost as u64
}

/// What the thread has found to do.
enum Work {
    /// To call these for an event, each after another look.
    Tell(Queued, Vec<u64>),
    Drop(Vec<Arc<Listener>>),
    Sleep(Arc<Parker>),
    /// Nobody is left to be told.
    End,
}

fn run() {
    let generation = fork::generation();
    CALLS_IN.set(generation + 1);
    // A listener may fork; what goes on in the child is not the child's thread of listeners.
    while fork::generation() == generation {
        match with_state(next) {
            Work::Tell(queued, listeners) => {
                listeners.into_iter().for_each(|id| tell(&queued, id));
            }
            Work::Drop(listeners) => listeners.into_iter().for_each(|one| guarded(|| drop(one))),
            Work::Sleep(parker) => {
                parker.park(NAP);
            }
            Work::End => return,
        }
    }
}

fn next(state: &mut State) -> Work {
    if !state.discarded.is_empty() {
        return Work::Drop(mem::take(&mut state.discarded));
    }
    if let Some(queued) = state.queue.pop_front() {
        state.queue_bytes -= queued.key.len();
        let list = state.subscriptions.get(&queued.cache);
        let wanted = list.into_iter().flatten().filter(|one| one.events.contains(queued.event));
        let listeners = wanted.map(|one| one.id).collect();
        return Work::Tell(queued, listeners);
    }
    if state.subscriptions.is_empty() {
        state.thread = Thread::None;
        return Work::End;
    }
    let parker = Arc::new(Parker::default());
    state.thread = Thread::Asleep(parker.clone());
    Work::Sleep(parker)
}

/// Calls one listener, if it is still subscribed.
fn tell(queued: &Queued, id: u64) {
    let listener = with_state(|state| {
        let list = state.subscriptions.get(&queued.cache)?;
        let listener = list.iter().find(|one| one.id == id)?.listener.clone();
        state.calling = Some(id);
        Some(listener)
    });
    let Some(listener) = listener else { return };
    let generation = fork::generation();
    guarded(|| listener(queued.event, &queued.key));
    if fork::generation() != generation {
        return;
    }
    // The last reference where it was unsubscribed meanwhile: who waits for that wants it dropped.
    guarded(|| drop(listener));
    let waiting = with_state(|state| {
        state.calling = None;
        mem::take(&mut state.waiting)
    });
    waiting.into_iter().for_each(|parker| parker.wake());
}

/// Runs code of the program, whose panics end here.
fn guarded(run: impl FnOnce()) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            log::emit(Level::Error, "events", format_args!("a listener panicked"));
            drop(payload);
        }
    }));
    // The payload of a panic that panics when it is dropped.
    mem::forget(ended);
}
