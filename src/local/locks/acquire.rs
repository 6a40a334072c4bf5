//! Taking a lock, waiting for it, holding it. Protocol and invariants: the module's head.

use std::sync::Arc;
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
        check_name(name)?;
        check_lease(lease)?;
        let name: Arc<[u8]> = name.into();
        let start = Instant::now();
        // A time that does not fit is as good as for ever.
        let deadline = start.checked_add(wait);
        let held = |fence| {
            let (table, name) = (self.0.clone(), name.clone());
            Some(Lock::new(Held { table, name, fence, generation: fork::generation() }))
        };
        loop {
            let parker = Arc::new(Parker::default());
            let may_wait = !wait.is_zero() && !runtime::on_library_thread();
            let ticket = may_wait.then(|| parker.clone());
            let taken = |table: &mut Table, wake: &mut _| table.take(&name, lease, ticket, wake);
            let number = match locked(&self.0, taken)? {
                Place::Held(fence) => return Ok(held(fence)),
                Place::Queued(number, _) => number,
                Place::Nowhere if wait.is_zero() => return Ok(None),
                Place::Nowhere => return Err(ErrorKind::Reentrant.into()),
            };
            let mut queued = Queued { table: &self.0, name: &name, number: Some(number) };
            match queued.wait(&parker, deadline)? {
                Waited::Held(fence) => return Ok(held(fence)),
                Waited::TooLong => return Ok(queued.leave().and_then(held)),
                // A fork took the queue away, or the grant ran out before this thread ran.
                Waited::Lost => {}
            }
        }
    }

    /// Ends all waits with [`ErrorKind::Closed`], and every later [`Locks::acquire`]. Who holds a lock
    /// keeps it.
    pub(crate) fn close(&self) {
        locked(&self.0, |table, wake| {
            table.closed = true;
            let waiting = table.names.values().flat_map(|name| &name.queue);
            wake.extend(waiting.map(|ticket| ticket.parker.clone()));
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

/// A place in the queue, or a grant that was not noticed yet; given back when it is dropped.
struct Queued<'a> {
    table: &'a Mutex<Table>,
    name: &'a [u8],
    /// The ticket, unless it was given back or became a lock.
    number: Option<u64>,
}

enum Waited {
    Held(u64),
    TooLong,
    Lost,
}

impl Queued<'_> {
    fn wait(&mut self, parker: &Parker, deadline: Option<Instant>) -> Result<Waited> {
        let (shutdowns, generation) = (runtime::shutdowns(), fork::generation());
        loop {
            let (place, closed) = locked(self.table, |table, wakes| {
                let number = self.number.unwrap_or(0);
                let place = table.visit(self.name, wakes, |name, _, _| name.place_of(number));
                (place.unwrap_or(Place::Nowhere), table.closed)
            });
            let lease_end = match place {
                Place::Held(fence) => {
                    self.number = None;
                    return Ok(Waited::Held(fence));
                }
                Place::Nowhere => return Ok(Waited::Lost),
                Place::Queued(_, lease_end) => lease_end,
            };
            if closed {
                return Err(ErrorKind::Closed.into());
            }
            if runtime::shutdowns() != shutdowns {
                return Err(Error::new(ErrorKind::Closed, "shut down while the call was waiting"));
            }
            if runtime::interrupted() {
                return Err(ErrorKind::Interrupted.into());
            }
            // The interrupt check is foreign code, and may fork. Then another thread of the parent may have
            // been waking the parker, which is not to be touched any more.
            if fork::generation() != generation {
                return Ok(Waited::Lost);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(Waited::TooLong);
            }
            let next = [deadline, lease_end, Some(now + runtime::SLICE)];
            let next = next.into_iter().flatten().min().unwrap_or(now);
            parker.park(next.saturating_duration_since(now));
        }
    }

    /// Stops waiting; the fence if the lock was granted meanwhile.
    fn leave(mut self) -> Option<u64> {
        let number = self.number.take()?;
        locked(self.table, |table, wakes| {
            let left = |name: &mut Name, wakes: &mut Wakes, _| match name.place_of(number) {
                Place::Held(fence) => Some(fence),
                _ => {
                    name.quit(number, wakes);
                    None
                }
            };
            table.visit(self.name, wakes, left).flatten()
        })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        locked(self.table, |table, wakes| {
            table.visit(self.name, wakes, |name, wakes, _| name.quit(number, wakes));
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
