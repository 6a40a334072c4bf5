//! Who holds a lock and who waits for it. Protocol and invariants: the module's head.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use super::sync::{AtomicU64, Instant, Mutex, PoisonError};
use crate::error::{ErrorKind, Result};
use crate::fork;

/// The largest fence that was handed out.
static LAST_FENCE: AtomicU64 = AtomicU64::new(0);

/// Names that a table holds before it is first swept.
const SWEPT_FROM: usize = 64;

#[derive(Default)]
pub(super) struct Table {
    /// The process generation that the names belong to.
    generation: u32,
    pub(super) closed: bool,
    last_ticket: u64,
    sweep_at: usize,
    pub(super) names: HashMap<Arc<[u8]>, Name>,
}

#[derive(Default)]
pub(super) struct Name {
    pub(super) holder: Option<Holder>,
    pub(super) queue: VecDeque<Ticket>,
}

pub(super) struct Holder {
    pub(super) fence: u64,
    pub(super) until: Instant,
    /// Of one that waited for it; 0.
    ticket: u64,
}

pub(super) struct Ticket {
    number: u64,
    lease: Duration,
    pub(super) waker: Waker,
}

/// Where a caller stands.
pub(super) enum Place {
    /// It has the lock, with this fence.
    Held(u64),
    /// It waits with this ticket; where it is the first, the holder's lease ends then.
    Queued(u64, Option<Instant>),
    /// It neither has the lock nor waits for it.
    Nowhere,
}

/// Those to be woken once the table is unlocked: the one that a grant went to, and the new first.
pub(super) type Wakes = Vec<Waker>;

impl Table {
    /// Takes the lock if it is free, or queues with `ticket` if there is one.
    pub(super) fn take(
        &mut self,
        name: &Arc<[u8]>,
        lease: Duration,
        ticket: Option<Waker>,
        wakes: &mut Wakes,
    ) -> Result<Place> {
        if self.closed {
            return Err(ErrorKind::Closed.into());
        }
        let now = Instant::now();
        self.sweep(now);
        let entry = self.names.entry(name.clone()).or_default();
        entry.settle(now, wakes);
        if entry.holder.is_none() {
            let fence = next_fence(wall_us());
            entry.holder = Some(Holder { fence, until: now + lease, ticket: 0 });
            return Ok(Place::Held(fence));
        }
        let Some(waker) = ticket else { return Ok(Place::Nowhere) };
        self.last_ticket += 1;
        let number = self.last_ticket;
        entry.queue.push_back(Ticket { number, lease, waker });
        Ok(entry.place_of(number))
    }

    /// Calls `access` with `name`, if it is there. Before and after, the lock is granted if it is free;
    /// then the name is forgotten if nobody is left.
    pub(super) fn visit<R>(
        &mut self,
        name: &[u8],
        wakes: &mut Wakes,
        access: impl FnOnce(&mut Name, &mut Wakes, Instant) -> R,
    ) -> Option<R> {
        let entry = self.names.get_mut(name)?;
        let now = Instant::now();
        entry.settle(now, wakes);
        let result = access(entry, wakes, now);
        entry.settle(now, wakes);
        if entry.holder.is_none() {
            self.names.remove(name);
        }
        Some(result)
    }

    /// Forgets leases that ran out and were never released, when the table has doubled.
    fn sweep(&mut self, now: Instant) {
        if self.names.len() < self.sweep_at.max(SWEPT_FROM) {
            return;
        }
        self.names.retain(|_, name| {
            !name.queue.is_empty() || name.holder.as_ref().is_some_and(|holder| holder.until > now)
        });
        self.names.shrink_to(2 * self.names.len());
        self.sweep_at = 2 * self.names.len();
    }
}

impl Name {
    /// Ends a lease that has run out, and grants a free lock to the first in the queue. Afterwards nobody
    /// waits for a free lock.
    fn settle(&mut self, now: Instant, wakes: &mut Wakes) {
        if self.holder.as_ref().is_some_and(|holder| holder.until > now) {
            return;
        }
        self.holder = self.queue.pop_front().map(|first| {
            wakes.push(first.waker);
            let (fence, until) = (next_fence(wall_us()), now + first.lease);
            Holder { fence, until, ticket: first.number }
        });
        self.wake_first(wakes);
    }

    pub(super) fn wake_first(&self, wakes: &mut Wakes) {
        wakes.extend(self.queue.front().map(|first| first.waker.clone()));
    }

    /// Takes a ticket out of the queue, or gives back what was granted to it.
    pub(super) fn quit(&mut self, ticket: u64, wakes: &mut Wakes) {
        if self.holder.as_ref().is_some_and(|holder| holder.ticket == ticket) {
            self.holder = None;
        } else {
            self.queue.retain(|other| other.number != ticket);
            self.wake_first(wakes);
        }
    }

    pub(super) fn place_of(&self, ticket: u64) -> Place {
        let Some(holder) = &self.holder else { return Place::Nowhere };
        if holder.ticket == ticket {
            return Place::Held(holder.fence);
        }
        match self.queue.iter().position(|other| other.number == ticket) {
            None => Place::Nowhere,
            Some(at) => Place::Queued(ticket, (at == 0).then_some(holder.until)),
        }
    }
}

/// Calls `access` under the lock of `table`, and wakes whom it names afterwards.
pub(super) fn locked<R>(
    table: &Mutex<Table>,
    access: impl FnOnce(&mut Table, &mut Wakes) -> R,
) -> R {
    let mut wakes = Wakes::new();
    let result = {
        let _inside = fork::enter();
        // Nothing panics between two steps that belong together.
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = fork::generation();
        if table.generation != generation {
            table.generation = generation;
            table.names.clear();
        }
        access(&mut table, &mut wakes)
    };
    wakes.into_iter().for_each(Waker::wake);
    result
}

/// The fence of an acquisition at that time of the wall clock.
pub(super) fn next_fence(wall_us: u64) -> u64 {
    let next = |last: u64| Some(wall_us.max(last + 1));
    let last = LAST_FENCE.fetch_update(Relaxed, Relaxed, next).unwrap_or_else(|last| last);
    wall_us.max(last + 1)
}

/// The wall clock in microseconds; 0 before 1970.
fn wall_us() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}
