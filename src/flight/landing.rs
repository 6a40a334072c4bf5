//! One flight: who waits for it, and what it ended with. Protocol and invariants: the module's head.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, PoisonError};
use crate::error::Result;
use crate::fork;

/// A load that is under way or has ended.
pub(super) struct Flight<T> {
    pub(super) key: Box<[u8]>,
    pub(super) hash: u64,
    /// The process that its leader lives in.
    generation: u32,
    state: Mutex<State<T>>,
}

enum State<T> {
    Flying(Waiters),
    Ended(End<T>),
}

/// How a flight ended.
#[derive(Clone)]
pub(super) enum End<T> {
    /// With this, for everybody who waits.
    Landed(Result<T>),
    /// Without an answer: those who wait start over.
    GivenUp,
}

impl<T: Clone> Flight<T> {
    pub(super) fn new(key: &[u8], hash: u64) -> Self {
        let state = Mutex::new(State::Flying(Waiters::default()));
        Self { key: key.into(), hash, generation: fork::generation(), state }
    }

    /// Ends it and wakes those who wait, unless it has ended already.
    pub(super) fn end(&self, end: End<T>) {
        // What is not used is dropped outside of the lock.
        let mut end = Some(end);
        let waiters = self.locked(|state| match state {
            State::Ended(_) => Waiters::default(),
            State::Flying(waiters) => {
                let waiters = mem::take(waiters);
                if let Some(end) = end.take() {
                    *state = State::Ended(end);
                }
                waiters
            }
        });
        let mut wakers = waiters.places.into_iter().flatten();
        while self.is_of_this_process() {
            // A waker is foreign code, and may fork.
            let Some(waker) = wakers.next() else { return };
            waker.wake();
        }
        mem::forget(wakers);
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.locked(|state| match state {
            State::Flying(waiters) => waiters.places.iter().flatten().count(),
            State::Ended(_) => 0,
        })
    }

    /// Whether whoever leads it lives in this process.
    fn is_of_this_process(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Calls `access` under the lock, in which no foreign code may run.
    fn locked<R>(&self, access: impl FnOnce(&mut State<T>) -> R) -> R {
        let _inside = fork::enter();
        // Nothing panics between two steps that belong together.
        access(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The end of a flight that another leads. Holds a place in its list while it is pending.
pub(super) struct Waiting<T: Clone> {
    flight: Arc<Flight<T>>,
    place: Option<usize>,
}

impl<T: Clone> Waiting<T> {
    pub(super) fn new(flight: Arc<Flight<T>>) -> Self {
        Self { flight, place: None }
    }

    /// Whether a fork took the leader away: to be polled again, nobody wakes.
    pub(super) fn is_orphaned(&self) -> bool {
        !self.flight.is_of_this_process()
    }
}

impl<T: Clone> Future for Waiting<T> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End<T>> {
        let this = &mut *self;
        let orphaned = this.is_orphaned();
        let mut waker = Some(context.waker().clone());
        this.flight.locked(|state| match state {
            State::Ended(end) => Poll::Ready(end.clone()),
            State::Flying(_) if orphaned => Poll::Ready(End::GivenUp),
            State::Flying(waiters) => {
                // The waker that was there before is dropped with the variable.
                waiters.put(&mut this.place, &mut waker);
                Poll::Pending
            }
        })
    }
}

impl<T: Clone> Drop for Waiting<T> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let waker = self.flight.locked(|state| match state {
            State::Flying(waiters) => waiters.take(place),
            State::Ended(_) => None,
        });
        drop(waker);
    }
}

/// Wakers at places that stay the same while they wait.
#[derive(Default)]
struct Waiters {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Waiters {
    /// Puts `waker` at `place`, or at a new one, and leaves what was there in it.
    fn put(&mut self, place: &mut Option<usize>, waker: &mut Option<Waker>) {
        let at = *place.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        mem::swap(&mut self.places[at], waker);
    }

    fn take(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.places[place].take()
    }
}
