//! Which keys are being loaded, and the right to load one. Protocol and invariants: the module's head.

use std::array;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use super::landing::{End, Flight, Waiting};
use super::nesting::{self, Inside, Nested};
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::runtime::{self, Parker};

/// A power of two.
const SHARDS: usize = 16;
/// A table that held this many flights keeps its memory.
const KEPT: usize = 64;

/// The loads of one cache. `T` is what a load answers; cloning it runs no foreign code.
pub(crate) struct Flights<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    hasher: RandomState,
    closed: AtomicBool,
}

struct Shard<T> {
    /// The process generation that the rest belongs to.
    generation: u32,
    flights: HashTable<Arc<Flight<T>>>,
}

/// What became of a `join`.
pub(crate) enum Joined<L, T> {
    /// The caller is to load, after another look into the cache.
    Lead(L),
    /// Another has loaded meanwhile, with this result.
    Landed(Result<T>),
}

/// The right and the duty to load one key, on this thread.
pub(crate) struct Load<'a, T: Clone> {
    nested: Nested,
    turn: Turn<'a, T>,
}

/// The right and the duty to load one key, in a task.
pub(crate) struct Turn<'a, T: Clone> {
    flights: &'a Flights<T>,
    hash: u64,
    /// None where the result is for this caller alone, and from the end on.
    flight: Option<Arc<Flight<T>>>,
}

impl<T: Clone> Flights<T> {
    pub(crate) fn new() -> Self {
        let shard = || Shard { generation: fork::generation(), flights: HashTable::new() };
        Self {
            shards: array::from_fn(|_| Mutex::new(shard())),
            hasher: RandomState::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Leads the load of `key`, or waits for whoever does until `deadline` (`None`: as long as that one
    /// takes).
    ///
    /// Errors: [`ErrorKind::Reentrant`] where this thread is loading `key`, or would have to wait and
    /// belongs to the library; [`ErrorKind::Timeout`] at the deadline; [`ErrorKind::Interrupted`];
    /// [`ErrorKind::Closed`] where the cache or the library is closed.
    ///
    /// Blocks, outside of all locks. Not to be called inside the fork gate.
    pub(crate) fn join(
        &self,
        key: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Joined<Load<'_, T>, T>> {
        let hash = self.hasher.hash_one(key);
        let never_wait = nesting::inside_loader_of_another(hash)?;
        loop {
            let flight = match self.board(hash, key)? {
                Boarding::Lead(flight) => Some(flight),
                Boarding::Wait(_) if never_wait => None,
                Boarding::Wait(flight) => match wait(flight, deadline)? {
                    End::Landed(result) => return Ok(Joined::Landed(result)),
                    End::GivenUp => continue,
                },
            };
            let turn = Turn { flights: self, hash, flight };
            return Ok(Joined::Lead(Load { nested: Nested::new(hash), turn }));
        }
    }

    /// Leads the load of `key` where nobody does, and this thread is not loading it. Never waits.
    pub(crate) fn try_lead(&self, key: &[u8]) -> Option<Load<'_, T>> {
        let hash = self.hasher.hash_one(key);
        nesting::inside_loader_of_another(hash).ok()?;
        match self.board(hash, key) {
            Ok(Boarding::Lead(flight)) => {
                let turn = Turn { flights: self, hash, flight: Some(flight) };
                Some(Load { nested: Nested::new(hash), turn })
            }
            _ => None,
        }
    }

    /// Whether `key` is being loaded.
    pub(crate) fn is_loading(&self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let find =
            |shard: &mut Shard<T>| shard.flights.find(hash, |flight| *flight.key == *key).is_some();
        self.locked(shard_of(hash), find)
    }

    /// As [`Flights::join`] for tasks. Needs no runtime; a bound on the wait is the caller's to set, by
    /// dropping the future.
    pub(crate) async fn join_async(&self, key: &[u8]) -> Result<Joined<Turn<'_, T>, T>> {
        let hash = self.hasher.hash_one(key);
        let never_wait = nesting::inside_loader_of_another(hash)?;
        loop {
            let flight = match self.board(hash, key)? {
                Boarding::Lead(flight) => Some(flight),
                Boarding::Wait(_) if never_wait => None,
                Boarding::Wait(flight) => match Waiting::new(flight).await {
                    End::Landed(result) => return Ok(Joined::Landed(result)),
                    End::GivenUp => continue,
                },
            };
            return Ok(Joined::Lead(Turn { flights: self, hash, flight }));
        }
    }

    /// Ends all waits with [`ErrorKind::Closed`], and every later `join`. Loaders go on, for themselves.
    pub(crate) fn close(&self) {
        // Before the locks: who has boarded before them is found, who boards after them sees it.
        self.closed.store(true, Ordering::SeqCst);
        for shard in 0..SHARDS {
            let flights = self.locked(shard, |shard| mem::take(&mut shard.flights));
            for flight in flights {
                flight.end(End::Landed(Err(ErrorKind::Closed.into())));
            }
        }
    }

    /// Number of keys that are being loaded.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.locked(shard, |shard| shard.flights.len())).sum()
    }

    /// Number of those who wait for `key`.
    #[cfg(test)]
    pub(crate) fn waiting(&self, key: &[u8]) -> usize {
        let hash = self.hasher.hash_one(key);
        let find =
            |shard: &mut Shard<T>| shard.flights.find(hash, |flight| *flight.key == *key).cloned();
        self.locked(shard_of(hash), find).map_or(0, |flight| flight.waiting())
    }

    /// The flight of `key`, made if there is none.
    fn board(&self, hash: u64, key: &[u8]) -> Result<Boarding<T>> {
        let find =
            |shard: &Shard<T>| shard.flights.find(hash, |flight| *flight.key == *key).cloned();
        if let Some(flight) = self.locked(shard_of(hash), |shard| find(shard)) {
            return Ok(Boarding::Wait(flight));
        }
        // Allocated outside of the lock, and of no use where another was faster.
        let fresh = Arc::new(Flight::new(key, hash));
        self.locked(shard_of(hash), |shard| {
            if self.closed.load(Ordering::SeqCst) {
                return Err(ErrorKind::Closed.into());
            }
            if let Some(flight) = find(shard) {
                return Ok(Boarding::Wait(flight));
            }
            shard
                .flights
                .try_reserve(1, |flight| flight.hash)
                .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for a load"))?;
            shard.flights.insert_unique(hash, fresh.clone(), |flight| flight.hash);
            Ok(Boarding::Lead(fresh.clone()))
        })
    }

    /// Takes `flight` out, if it is there.
    fn remove(&self, flight: &Arc<Flight<T>>) {
        let removed = self.locked(shard_of(flight.hash), |shard| {
            let found = shard.flights.find_entry(flight.hash, |other| Arc::ptr_eq(other, flight));
            let removed = found.ok().map(|entry| entry.remove().0);
            let (len, capacity) = (shard.flights.len(), shard.flights.capacity());
            if capacity > KEPT && len < capacity / 8 {
                shard.flights.shrink_to(len * 2, |flight| flight.hash);
            }
            removed
        });
        drop(removed);
    }

    fn locked<R>(&self, shard: usize, access: impl FnOnce(&mut Shard<T>) -> R) -> R {
        let _inside = fork::enter();
        // Nothing panics between two steps that belong together.
        let mut shard: MutexGuard<'_, _> =
            self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let generation = fork::generation();
        if shard.generation != generation {
            shard.generation = generation;
            // Of the parent's threads: leaked, see the invariants.
            mem::forget(mem::take(&mut shard.flights));
        }
        access(&mut shard)
    }
}

enum Boarding<T> {
    Lead(Arc<Flight<T>>),
    Wait(Arc<Flight<T>>),
}

fn shard_of(hash: u64) -> usize {
    // Not the bits that place it within the shard's table.
    (hash >> 32) as usize % SHARDS
}

/// Waits on this thread for the end of `flight`.
fn wait<T: Clone>(flight: Arc<Flight<T>>, deadline: Option<Instant>) -> Result<End<T>> {
    let shutdowns = runtime::shutdowns();
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut waiting = Waiting::new(flight);
    loop {
        if let Poll::Ready(end) = Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
            return Ok(end);
        }
        loop {
            runtime::refuse_library_thread()?;
            if runtime::shutdowns() != shutdowns {
                return Err(Error::new(ErrorKind::Closed, "shut down while the call was waiting"));
            }
            if runtime::interrupted() {
                return Err(ErrorKind::Interrupted.into());
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                let late = "another caller is still loading the value";
                return Err(Error::new(ErrorKind::Timeout, late));
            }
            // The interrupt check is foreign code, and may fork. Then another thread of the parent may have
            // been waking the parker, which is not to be touched any more.
            if waiting.is_orphaned() || parker.park(left.min(runtime::SLICE)) {
                break;
            }
        }
    }
}

impl<T: Clone> Load<'_, T> {
    /// Whether the result is for this caller alone: another one leads, but this one must not wait.
    #[cfg(test)]
    pub(crate) fn is_alone(&self) -> bool {
        self.turn.is_alone()
    }

    /// Gives those who wait what was loaded. To be called after it is in the cache.
    pub(crate) fn land(self, result: Result<T>) {
        let Self { nested, turn } = self;
        drop(nested);
        turn.land(result);
    }

    /// As [`Turn::give_up`].
    pub(crate) fn give_up(self) {
        let Self { nested, turn } = self;
        drop(nested);
        turn.give_up();
    }
}

impl<T: Clone> Turn<'_, T> {
    /// As [`Load::is_alone`].
    #[cfg(test)]
    pub(crate) fn is_alone(&self) -> bool {
        self.flight.is_none()
    }

    /// As [`Load::land`].
    pub(crate) fn land(mut self, result: Result<T>) {
        self.end(End::Landed(result));
    }

    /// Ends without an answer: those who wait look again, and one of them leads. For a task that is
    /// cancelled.
    pub(crate) fn give_up(mut self) {
        self.end(End::GivenUp);
    }

    /// The loader's future. Inside of it its own key is refused, and other keys are not waited for. Tasks
    /// that it spawns are not inside.
    pub(crate) fn inside<F: Future>(&self, loader: F) -> Inside<F> {
        Inside::new(self.hash, loader)
    }

    fn end(&mut self, end: End<T>) {
        if let Some(flight) = self.flight.take() {
            self.flights.remove(&flight);
            flight.end(end);
        }
    }
}

impl<T: Clone> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let error = || Error::new(ErrorKind::Loader, "the loader ended without a result");
        if self.flight.is_some() {
            self.end(End::Landed(Err(error())));
        }
    }
}
