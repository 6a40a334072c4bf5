//! Locks that all processes share. One script takes a lock and its fence together, in one key, so that it
//! runs on any server of a Cluster; another gives it back or prolongs it, if the random token in the key
//! is still the holder's. Whose token is gone has lost the lock, and is told so.
//!
//! The fence is one more than the last one, and at least the server's time in microseconds: it grows also
//! where the key was evicted or has expired.
//!
//! # Waiting
//! Giving a lock back is published on a channel of its own, to which a waiter listens (`bell`). What is
//! missed, as a lease that ran out, is found by asking again: when the lease that was seen ends, and from
//! time to time.
//!
//! # Fork
//! A child holds none of its parent's locks: what it does with them has no effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::redis::Value as Reply;

use super::bell::Vigil;
use super::commands::{integer, surprise};
use super::line::{Line, now};
use super::{Shared, scripts};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::{KEY_MAX, RESERVED_PREFIX};
use crate::ops::{BoxFuture, HeldLock, Lock, Ttl};
use crate::random;
use crate::runtime;
use crate::stats::Counter;

/// How long the server keeps the fence of a lock that nobody takes any more, in milliseconds.
const KEEP_MS: u64 = 24 * 3600 * 1000;
/// Longest wait of a dropped lock for its own release.
const DROP_MAX: Duration = Duration::from_millis(50);

/// How much longer than its wait and its last trip a wait may take.
const GRACE: Duration = Duration::from_millis(10);

/// What is the same for all calls about one lock by one holder.
#[derive(Clone)]
struct Ticket {
    shared: Arc<Shared>,
    key: Vec<u8>,
    channel: Vec<u8>,
    token: [u8; 16],
}

/// What an attempt came to.
enum Attempt {
    Held(u64),
    /// Another's, for this long as it seems.
    Busy(Duration),
}

impl Shared {
    /// Takes the lock `name`; see [`BlockingCache::lock`](crate::BlockingCache::lock). Each round trip is
    /// bounded by `per_trip`.
    pub(super) fn lock(
        self: &Arc<Self>,
        name: &[u8],
        lease: Duration,
        wait: Duration,
        per_trip: Duration,
    ) -> Result<Option<Lock>> {
        runtime::refuse_library_thread()?;
        let (ticket, lease_ms) = self.ticket(name, lease)?;
        let until = end_of(wait);
        let attempt = match now(ticket.attempt(&self.blocking_line(Some(per_trip)), lease_ms)) {
            Ok(Attempt::Busy(_)) if wait.is_zero() => Ok(None),
            Ok(Attempt::Busy(rest)) => {
                let waiting = ticket.wait(lease_ms, until, rest);
                runtime::block_on(until + per_trip + GRACE, waiting).and_then(|held| held)
            }
            Ok(Attempt::Held(fence)) => Ok(Some(fence)),
            Err(error) => Err(error),
        };
        self.taken(ticket, attempt)
    }

    /// As [`Shared::lock`], from a task. Where that is cancelled, the lock is given back.
    pub(super) async fn lock_async(
        self: &Arc<Self>,
        name: &[u8],
        lease: Duration,
        wait: Duration,
        per_trip: Duration,
    ) -> Result<Option<Lock>> {
        let (ticket, lease_ms) = self.ticket(name, lease)?;
        let until = end_of(wait);
        let unnoticed = Unnoticed(Some(ticket.clone()));
        let attempt = async {
            match ticket.attempt(&self.task_line(Some(per_trip)), lease_ms).await? {
                Attempt::Held(fence) => Ok(Some(fence)),
                Attempt::Busy(_) if wait.is_zero() => Ok(None),
                Attempt::Busy(rest) => {
                    let waiting = ticket.wait(lease_ms, until, rest);
                    let bounded =
                        runtime::timeout_at(&runtime::home()?, until + per_trip + GRACE, waiting)
                            .await;
                    bounded.unwrap_or_else(|| Err(ErrorKind::Timeout.into()))
                }
            }
        };
        let attempt = attempt.await;
        unnoticed.noticed();
        self.taken(ticket, attempt)
    }

    fn ticket(self: &Arc<Self>, name: &[u8], lease: Duration) -> Result<(Ticket, u64)> {
        check_name(name)?;
        let lease_ms = lease_ms(lease)?;
        self.keyspace.needs_prefix()?;
        let key = |kind: &[u8]| [&self.keyspace.prefix[..], RESERVED_PREFIX, kind, name].concat();
        let token = random::bytes()?;
        let ticket = Ticket { shared: self.clone(), key: key(b"l:"), channel: key(b"w:"), token };
        Ok((ticket, lease_ms))
    }

    /// What came of an attempt to take a lock: its fence, where it was taken.
    fn taken(&self, ticket: Ticket, attempt: Result<Option<u64>>) -> Result<Option<Lock>> {
        match attempt {
            Ok(fence) => Ok(fence.map(|fence| Lock::new(Held::new(ticket, fence)))),
            Err(error) => {
                self.counters.count(Counter::Errors);
                // It may have been taken without our knowing.
                if error.kind() != ErrorKind::Connect {
                    drop(ticket.release_in_background());
                }
                Err(error)
            }
        }
    }
}

/// When a wait that begins now ends.
fn end_of(wait: Duration) -> Instant {
    let until = Instant::now().checked_add(wait);
    // A century is for ever.
    until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_153_600_000))
}

/// A lock that may have been taken by a task that does not know it yet: given back, should it be dropped.
struct Unnoticed(Option<Ticket>);

impl Unnoticed {
    fn noticed(mut self) {
        self.0 = None;
    }
}

impl Drop for Unnoticed {
    fn drop(&mut self) {
        if let Some(ticket) = &self.0 {
            drop(ticket.release_in_background());
        }
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Error::new(ErrorKind::Invalid, "the name of the lock is empty")),
        1..=KEY_MAX => Ok(()),
        length => Err(Error::new(
            ErrorKind::TooBig,
            format!("the name of the lock has {length} bytes, {KEY_MAX} are allowed"),
        )),
    }
}

fn lease_ms(lease: Duration) -> Result<u64> {
    match Ttl::After(lease).resolve(None)? {
        Some(ms @ 1..) => Ok(ms),
        _ => Err(Error::new(ErrorKind::Invalid, "the lease of a lock is zero")),
    }
}

impl Ticket {
    async fn attempt(&self, line: &Line<'_>, lease_ms: u64) -> Result<Attempt> {
        let call = scripts::LOCK.call(&self.key[..]).arg(&self.token[..]);
        let call = call.number(lease_ms.saturating_mul(1000));
        let reply = line.run(&call.number(lease_ms.saturating_add(KEEP_MS)), false).await?;
        let Reply::BulkString(digits) = reply else { return Err(surprise("no fence")) };
        let number = std::str::from_utf8(&digits).ok().and_then(|text| text.parse::<i64>().ok());
        match number.ok_or_else(|| surprise("no fence"))? {
            fence @ 1.. => Ok(Attempt::Held(fence.unsigned_abs())),
            rest => Ok(Attempt::Busy(Duration::from_micros(rest.unsigned_abs()))),
        }
    }

    /// Tries again until `until`. `rest`: how long the lease that was seen has still to run.
    async fn wait(&self, lease_ms: u64, until: Instant, rest: Duration) -> Result<Option<u64>> {
        let mut vigil = Vigil::new(&self.shared, &self.channel, until);
        let mut rest = rest;
        loop {
            vigil.round(rest).await;
            match self.attempt(&self.shared.task_line(None), lease_ms).await? {
                Attempt::Held(fence) => return Ok(Some(fence)),
                Attempt::Busy(_) if Instant::now() >= until => return Ok(None),
                Attempt::Busy(left) => rest = left,
            }
        }
    }

    /// Gives the lock back; false where it is not this holder's any more.
    async fn release(&self, line: &Line<'_>) -> Result<bool> {
        let call = scripts::RELEASE.call(&self.key[..]).arg(&self.token[..]);
        Ok(integer(line.run(&call.arg(&self.channel[..]), false).await?)? > 0)
    }

    /// The same by a task, for whoever can't wait. Should it fail, the lease ends by itself.
    fn release_in_background(&self) -> Result<tokio::task::JoinHandle<()>> {
        let ticket = self.clone();
        runtime::spawn(async move {
            drop(ticket.release(&ticket.shared.task_line(None)).await);
        })
    }
}

/// A lock that this process has taken.
struct Held {
    ticket: Ticket,
    fence: u64,
    generation: u32,
    /// It was given back.
    over: AtomicBool,
}

impl Held {
    fn new(ticket: Ticket, fence: u64) -> Self {
        Self { ticket, fence, generation: fork::generation(), over: AtomicBool::new(false) }
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation() && !self.over.load(Ordering::Acquire)
    }

    async fn extend_over(&self, line: Line<'_>, lease: Duration) -> Result<bool> {
        let lease_ms = lease_ms(lease)?;
        if !self.is_ours() {
            return Ok(false);
        }
        let call = scripts::EXTEND.call(&self.ticket.key[..]).arg(&self.ticket.token[..]);
        let call = call.number(lease_ms.saturating_mul(1000));
        let call = call.number(lease_ms.saturating_add(KEEP_MS));
        let extended = line.run(&call, false).await.and_then(integer);
        self.counted(extended).map(|held| held > 0)
    }

    async fn release_over(&self, line: Line<'_>) -> Result<bool> {
        if !self.is_ours() {
            return Ok(false);
        }
        let released = self.ticket.release(&line).await;
        // Where that failed, dropping tries once more.
        self.over.store(released.is_ok(), Ordering::Release);
        self.counted(released)
    }

    fn counted<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.ticket.shared.counters.count(Counter::Errors);
        }
        outcome
    }
}

impl HeldLock for Held {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn extend(&self, lease: Duration) -> Result<bool> {
        now(self.extend_over(self.ticket.shared.blocking_line(None), lease))
    }

    fn release(&self) -> Result<bool> {
        now(self.release_over(self.ticket.shared.blocking_line(None)))
    }

    fn extend_async(&self, lease: Duration) -> BoxFuture<'_, Result<bool>> {
        Box::pin(self.extend_over(self.ticket.shared.task_line(None), lease))
    }

    fn release_async(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(self.release_over(self.ticket.shared.task_line(None)))
    }

    fn abandon(&self) {
        if self.is_ours() {
            self.over.store(true, Ordering::Release);
            drop(self.ticket.release_in_background());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        // The task goes on where waiting for it ends, as on a thread of the library at once.
        if let Ok(task) = self.ticket.release_in_background() {
            drop(runtime::block_on(Instant::now() + DROP_MAX, task));
        }
    }
}
