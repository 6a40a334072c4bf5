//! Single flight: however many callers of this process ask for one key at once, one loads its value and
//! the others get what it got.
//!
//! - `table`: [`Flights`], one per cache: which keys are being loaded, and who leads
//! - `landing`: one load: those who wait for it, and what it ended with
//! - `nesting`: which keys the loader that runs on this thread is loading
//! - `background`: threads for reloads that nobody waits for
//! - `cancellable`: the turn of a task that may be cancelled
//!
//! Left to others: where a value is looked up and stored, what is counted, and the lease of a fleet.
//!
//! # Use
//! ```text
//! miss ── join ─┬─ Lead(load) ── look again ── load ── store ── load.land(result)
//!               └─ Landed(result)
//! ```
//! Who leads looks into the cache *again* before it loads: the load before its own may have ended
//! between its miss and its `join`. With this, one value is loaded once.
//!
//! # Protocol
//! - A flight is in the table from the `join` that made it until its leader lands it or drops it. It is
//!   taken out first and ends after: who comes later leads a flight of its own. So nobody is given an
//!   error that came before his call, other than one who found the flight in the table.
//! - A leader that is dropped without landing (its loader panicked, or an exception passed through) ends
//!   the flight with [`ErrorKind::Loader`](crate::ErrorKind::Loader).
//! - Who waits is a [`Waker`](std::task::Waker) in the flight's list, of a thread or of a task. Who stops
//!   waiting (deadline, interrupt, a dropped future) takes it out.
//! - A caller whose thread is inside of a loader never waits: where another leads, it loads for itself,
//!   and its result is nobody else's. So no cycle of waiters can come about. Its own key is refused.
//!
//! # Invariants
//! 1. At most one flight per key is in the table, and it has exactly one leader.
//! 2. Each flight ends exactly once. No list of wakers remains after its end.
//! 3. The table's locks and those of flights are held inside the fork gate only, one at a time, and no
//!    foreign code runs under them: wakers are cloned, woken and dropped outside.
//! 4. Nothing waits inside the gate.
//! 5. A forked child finds an empty table: its parent's flights belong to threads that it has not. What
//!    they hold is leaked, never dropped or woken, for it may refer to the parent's runtime. Who waits
//!    for such a flight starts over. A loader that forks may go on in the child; it wakes nobody there.
//!
//! The files `table`, `landing` and `nesting` are compiled a second time by `tests/flight_model.rs`, which
//! replaces `sync`, `fork` and `runtime` and runs them under many schedules.

mod background;
mod cancellable;
mod landing;
mod nesting;
mod table;
#[cfg(test)]
mod tests;

/// What the model replaces.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
    pub(super) use std::thread_local;
}

pub(crate) use self::background::in_background;
pub(crate) use self::cancellable::Cancellable;
pub use self::nesting::Loaders;
pub(crate) use self::nesting::inside_a_loader;
pub(crate) use self::table::{Flights, Joined, Load};
