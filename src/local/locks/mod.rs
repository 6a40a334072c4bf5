//! Named locks within the process: one holder at a time, for a lease, with a fence that grows.
//!
//! Left to others: the entries of the cache, with which a lock has nothing in common but the handle. The
//! locks of a fleet are in `redis`.
//!
//! # Protocol
//! - A name is in the table while somebody holds it or waits for it. A holder is known by its fence.
//! - Who must wait queues, and sleeps outside of the gate until its waker is called. Whoever finds the name
//!   free (by a release, or because the lease ran out) *grants* it to the first in the queue: fence and
//!   lease begin then, under the table's lock, and the sleeper is woken to find them. A grant that its
//!   owner does not notice in time runs out as any lease does.
//! - No thread watches leases. The first in the queue sleeps no longer than to the end of the holder's
//!   lease; it is woken to look again where that changes, or where it has become the first.
//! - Who stops waiting (deadline, interrupt, close) leaves the queue, and gives a grant back.
//!
//! # Invariants
//! 1. Two leases of one name never overlap, measured on this process's monotonic clock.
//! 2. Fences grow over all names of the process, also where the table has forgotten a name and where the
//!    wall clock was set back: a fence is the larger of the wall clock in µs and the last fence plus one.
//! 3. Where nobody holds a name nobody waits for it. Without either it is not in the table, other than
//!    abandoned leases that have run out, which are swept when the table has doubled.
//! 4. The table's lock is held inside the fork gate, and nothing waits or is woken under it.
//! 5. A forked child finds an empty table: the locks are its parent's.
//!
//! - `acquire`: taking a lock, waiting for it, holding it; `tasks`: waiting in a task
//! - `table`: who holds a lock and who waits for it
//!
//! The files `acquire` and `table` are compiled a second time by `tests/locks_model.rs`, which replaces
//! `sync`, `fork` and `runtime` and runs them under many schedules.

mod acquire;
mod table;
mod tasks;
#[cfg(test)]
mod tests;

/// What the model replaces.
mod sync {
    pub(super) use std::sync::atomic::AtomicU64;
    pub(super) use std::sync::{Mutex, PoisonError};
    pub(super) use std::time::Instant;
}

pub(super) use self::acquire::Locks;
