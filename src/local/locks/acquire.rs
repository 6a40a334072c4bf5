//! Taking a lock, waiting for it, holding it. Protocol and invariants: the module's head.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::sync::{Instant, Mutex};
use super::table::{Name, Place, Table, Wakes, locked};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::KEY_MAX;
use crate::ops::{HeldLock, Lock, TTL_MAX_MS};
use crate::runtime::{self, Parker};

/// The locks of one cache.
pub(crate) struct Locks(Arc<Mutex<Table>>);

impl Locks {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Takes the lock `name` for `lease`, and waits for it up to `wait`; `None` where others had it all
    /// that time.
    ///
    /// Errors: [`ErrorKind::Invalid`] where the name is empty, or the lease zero or over 100 years,
    /// [`ErrorKind::TooBig`] where the name is longer than a key; [`ErrorKind::Reentrant`] where it would
    /// wait on a thread of the library; [`ErrorKind::Interrupted`]; [`ErrorKind::Closed`].
    pub(crate) fn acquire(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
    ) -> Result<Option<Lock>> {
        let request = Request::new(self, name, lease, wait)?;
        loop {
            let parker = Arc::new(Parker::default());
            let may_wait = !wait.is_zero() && !runtime::on_library_thread();
            let mut queued = match request.take(may_wait.then(|| Waker::from(parker.clone())))? {
                Taken::Held(lock) => return Ok(Some(lock)),
                Taken::Queued(queued) => queued,
                Taken::Nowhere if wait.is_zero() => return Ok(None),
                Taken::Nowhere => return Err(ErrorKind::Reentrant.into()),
            };
            // Where it loses its place, a fork took the queue away, or the grant ran out before this thread ran.
            loop {
                match queued.look()? {
                    Look::Held(lock) => return Ok(Some(lock)),
                    Look::TooLong => return Ok(queued.leave()),
                    Look::Lost => break,
                    Look::Wait(time) => {
                        parker.park(time);
                    }
                }
            }
        }
    }

    /// Ends all waits with [`ErrorKind::Closed`], and every later [`Locks::acquire`]. Who holds a lock
    /// keeps it.
    pub(crate) fn close(&self) {
        locked(&self.0, |table, wake| {
            table.closed = true;
            let waiting = table.names.values().flat_map(|name| &name.queue);
            wake.extend(waiting.map(|ticket| ticket.waker.clone()));
        });
    }

    /// Number of names in the table.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        locked(&self.0, |table, _| table.names.len())
    }

    /// Number of those who wait for `name`.
    #[cfg(test)]
    pub(super) fn waiting(&self, name: &[u8]) -> usize {
        locked(&self.0, |table, _| table.names.get(name).map_or(0, |name| name.queue.len()))
    }
}

/// One call's wish for a lock.
pub(super) struct Request {
    table: Arc<Mutex<Table>>,
    name: Arc<[u8]>,
    lease: Duration,
    deadline: Option<Instant>,
}

/// What an attempt came to.
pub(super) enum Taken<'a> {
    Held(Lock),
    Queued(Queued<'a>),
    /// Others have it, and nothing is to be waited by.
    Nowhere,
}

impl Request {
    pub(super) fn new(locks: &Locks, name: &[u8], lease: Duration, wait: Duration) -> Result<Self> {
        check_name(name)?;
        check_lease(lease)?;
        // A time that does not fit is as good as for ever.
        let deadline = Instant::now().checked_add(wait);
        Ok(Self { table: locks.0.clone(), name: name.into(), lease, deadline })
    }

    /// Takes the lock, or a place in the queue for the one that `waker` wakes.
    pub(super) fn take(&self, waker: Option<Waker>) -> Result<Taken<'_>> {
        let place =
            locked(&self.table, |table, wakes| table.take(&self.name, self.lease, waker, wakes))?;
        Ok(match place {
            Place::Held(fence) => Taken::Held(self.held(fence)),
            Place::Queued(number, _) => Taken::Queued(Queued {
                request: self,
                number: Some(number),
                shutdowns: runtime::shutdowns(),
                generation: fork::generation(),
            }),
            Place::Nowhere => Taken::Nowhere,
        })
    }

    fn held(&self, fence: u64) -> Lock {
        let (table, name) = (self.table.clone(), self.name.clone());
        Lock::new(Held { table, name, fence, generation: fork::generation() })
    }
}

/// A place in the queue, or a grant that was not noticed yet; given back when it is dropped.
pub(super) struct Queued<'a> {
    request: &'a Request,
    /// The ticket, unless it was given back or became a lock.
    number: Option<u64>,
    shutdowns: u32,
    generation: u32,
}

/// What one who waits finds.
pub(super) enum Look {
    Held(Lock),
    TooLong,
    /// It has to begin anew.
    Lost,
    /// It looks again when it is woken, or after this time.
    Wait(Duration),
}

impl Queued<'_> {
    pub(super) fn look(&mut self) -> Result<Look> {
        let (place, closed) = locked(&self.request.table, |table, wakes| {
            let number = self.number.unwrap_or(0);
            let place = table.visit(&self.request.name, wakes, |name, _, _| name.place_of(number));
            (place.unwrap_or(Place::Nowhere), table.closed)
        });
        let lease_end = match place {
            Place::Held(fence) => {
                self.number = None;
                return Ok(Look::Held(self.request.held(fence)));
            }
            Place::Nowhere => return Ok(Look::Lost),
            Place::Queued(_, lease_end) => lease_end,
        };
        if closed {
            return Err(ErrorKind::Closed.into());
        }
        if runtime::shutdowns() != self.shutdowns {
            return Err(Error::new(ErrorKind::Closed, "shut down while the call was waiting"));
        }
        if runtime::interrupted() {
            return Err(ErrorKind::Interrupted.into());
        }
        // The interrupt check is foreign code, and may fork. Then another thread of the parent may have
        // been waking this one, by what is not to be touched any more.
        if fork::generation() != self.generation {
            return Ok(Look::Lost);
        }
        let (now, deadline) = (Instant::now(), self.request.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(Look::TooLong);
        }
        let next = [deadline, lease_end, Some(now + runtime::SLICE)];
        let next = next.into_iter().flatten().min().unwrap_or(now);
        Ok(Look::Wait(next.saturating_duration_since(now)))
    }

    /// Stops waiting; the lock if it was granted meanwhile.
    pub(super) fn leave(mut self) -> Option<Lock> {
        let number = self.number.take()?;
        let fence = locked(&self.request.table, |table, wakes| {
            let left = |name: &mut Name, wakes: &mut Wakes, _| match name.place_of(number) {
                Place::Held(fence) => Some(fence),
                _ => {
                    name.quit(number, wakes);
                    None
                }
            };
            table.visit(&self.request.name, wakes, left).flatten()
        });
        fence.map(|fence| self.request.held(fence))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        locked(&self.request.table, |table, wakes| {
            table.visit(&self.request.name, wakes, |name, wakes, _| name.quit(number, wakes));
        });
    }
}

/// A lock that was acquired.
struct Held {
    table: Arc<Mutex<Table>>,
    name: Arc<[u8]>,
    fence: u64,
    /// The process that acquired it.
    generation: u32,
}

impl Held {
    /// Calls `access` if the lease is this one's and has not run out.
    fn visit(&self, access: impl FnOnce(&mut Name, &mut Wakes, Instant)) -> bool {
        // A child has none of its parent's locks; its table knows nothing of this one.
        if self.generation != fork::generation() {
            return false;
        }
        locked(&self.table, |table, wakes| {
            let visited = table.visit(&self.name, wakes, |name, wakes, now| {
                let is_own = name.holder.as_ref().is_some_and(|holder| holder.fence == self.fence);
                if is_own {
                    access(name, wakes, now);
                }
                is_own
            });
            visited.unwrap_or(false)
        })
    }
}

impl HeldLock for Held {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn extend(&self, lease: Duration) -> Result<bool> {
        check_lease(lease)?;
        Ok(self.visit(|name, wakes, now| {
            if let Some(holder) = &mut name.holder {
                holder.until = now + lease;
            }
            // The new lease may be shorter than the old one.
            name.wake_first(wakes);
        }))
    }

    fn release(&self) -> Result<bool> {
        Ok(self.visit(|name, _, _| name.holder = None))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // After a release it is not the holder any more.
        let _ = self.release();
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the name of the lock is empty"));
    }
    if name.len() > KEY_MAX {
        let message =
            format!("the name of the lock has {} bytes, {KEY_MAX} are allowed", name.len());
        return Err(Error::new(ErrorKind::TooBig, message));
    }
    Ok(())
}

fn check_lease(lease: Duration) -> Result<()> {
    if lease.is_zero() {
        return Err(Error::new(ErrorKind::Invalid, "the lease of a lock can't be zero"));
    }
    if lease > Duration::from_millis(TTL_MAX_MS) {
        return Err(Error::new(ErrorKind::Invalid, "a lease can't be longer than 100 years"));
    }
    Ok(())
}
