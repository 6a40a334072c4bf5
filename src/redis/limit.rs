//! [`Limit`]: how many calls of a cache are under way at a time, and who waits where those are too many.
//!
//! Every request that is sent and not answered costs memory here, in the sockets and in the server. So
//! from [`CALLS_MAX`] calls on the next ones wait, each until its own deadline, and from [`WAITING_MAX`]
//! waiting ones on the next are told at once: a program that asks for more than its server can do hears
//! of it, instead of growing until it is killed. Nothing of a call that is turned away was sent.
//!
//! # Invariants
//! - `calls` never exceeds the limit: a place is taken by one exchange, or not at all.
//! - No place stays free while somebody waits: who waits says so before the last try, who leaves gives the
//!   place back before the look whether somebody waits, all in one total order. A call that was woken and
//!   finds the place taken waits again, and whoever took it wakes somebody when it leaves.
//! - Who holds a place never waits for another one: a call is one round trip, and takes one.

use std::pin::pin;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Instant;

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime;

/// Calls of one cache in one process that are under way at a time.
const CALLS_MAX: usize = 4096;
/// How many wait for one of those to end.
const WAITING_MAX: usize = 1 << 16;

/// See the module.
pub(super) struct Limit {
    max: usize,
    calls: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A call that is under way.
pub(super) struct InFlight<'a> {
    /// How many there were when this one began, itself included.
    pub(super) calls: usize,
    limit: &'a Limit,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.limit.calls.fetch_sub(1, SeqCst);
        if self.limit.waiting.load(SeqCst) > 0 {
            self.limit.freed.notify_one();
        }
    }
}

/// One that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::of(CALLS_MAX)
    }
}

impl Limit {
    fn of(max: usize) -> Self {
        Self { max, calls: AtomicUsize::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// A place for a call from a thread without an event loop.
    pub(super) fn enter(&self, deadline: Instant) -> Result<InFlight<'_>> {
        match self.try_enter() {
            Some(call) => Ok(call),
            None => match runtime::block_on(deadline, self.wait()) {
                Ok(call) => call,
                Err(error) if error.kind() == ErrorKind::Timeout => Err(self.too_many()),
                Err(error) => Err(error),
            },
        }
    }

    /// As [`Limit::enter`], from a task.
    pub(super) async fn enter_async(&self, deadline: Instant) -> Result<InFlight<'_>> {
        match self.try_enter() {
            Some(call) => Ok(call),
            None => match runtime::timeout_at(&runtime::home()?, deadline, self.wait()).await {
                Some(call) => call,
                None => Err(self.too_many()),
            },
        }
    }

    fn try_enter(&self) -> Option<InFlight<'_>> {
        let one_more = |calls| (calls < self.max).then_some(calls + 1);
        let before = self.calls.fetch_update(SeqCst, Relaxed, one_more).ok()?;
        Some(InFlight { calls: before + 1, limit: self })
    }

    async fn wait(&self) -> Result<InFlight<'_>> {
        let others = self.waiting.fetch_add(1, SeqCst);
        let _waiting = Waiting(&self.waiting);
        if others >= WAITING_MAX {
            return Err(self.too_many());
        }
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on it hears of a place that is freed.
            freed.as_mut().enable();
            if let Some(call) = self.try_enter() {
                return Ok(call);
            }
            freed.await;
        }
    }

    fn too_many(&self) -> Error {
        let why = format!(
            "{} calls are under way, and too few of them ended by the deadline: nothing was sent",
            self.max
        );
        Error::new(ErrorKind::Connect, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_more_than_the_limit_and_none_left_behind() {
        let (limit, inside, most) = (Limit::of(2), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let deadline = Instant::now() + Duration::from_secs(60);
                        let call = limit.enter(deadline).unwrap();
                        assert!((1..=2).contains(&call.calls));
                        most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(
            (most.into_inner(), limit.calls.load(SeqCst), limit.waiting.load(SeqCst)),
            (2, 0, 0)
        );
    }

    #[test]
    fn who_waits_in_vain_is_told_at_the_deadline() {
        let limit = Limit::of(1);
        let call = limit.try_enter().unwrap();
        let error = limit.enter(Instant::now() + Duration::from_millis(20)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.message().starts_with("1 calls are under way"), "{error}");
        // Nor is one told later than at once where very many wait.
        limit.waiting.store(WAITING_MAX, SeqCst);
        let error = limit.enter(Instant::now() + Duration::from_secs(60)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Connect);
        limit.waiting.store(0, SeqCst);
        drop(call);
        assert!(limit.enter(Instant::now()).is_ok());
    }
}
