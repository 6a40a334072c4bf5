//! Waiting for a lock in a task. Protocol and invariants: the module's head.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::Locks;
use super::acquire::{Look, Request, Taken};
use crate::error::Result;
use crate::ops::Lock;
use crate::runtime;

/// Wakes whatever task waits for it, by whatever waker that has at the time.
#[derive(Default)]
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Locks {
    /// As [`Locks::acquire`], from a task: only where it waits, it needs a runtime for its timer. Dropped
    /// amid that, it leaves the queue.
    pub(crate) async fn acquire_async(
        &self,
        name: &[u8],
        lease: Duration,
        wait: Duration,
    ) -> Result<Option<Lock>> {
        let request = Request::new(self, name, lease, wait)?;
        loop {
            let alarm = Arc::new(Alarm::default());
            let waker = (!wait.is_zero()).then(|| Waker::from(alarm.clone()));
            let mut queued = match request.take(waker)? {
                Taken::Held(lock) => return Ok(Some(lock)),
                Taken::Queued(queued) => queued,
                Taken::Nowhere => return Ok(None),
            };
            loop {
                match queued.look()? {
                    Look::Held(lock) => return Ok(Some(lock)),
                    Look::TooLong => return Ok(queued.leave()),
                    Look::Lost => break,
                    Look::Wait(time) => {
                        runtime::within(time, alarm.0.notified()).await?;
                    }
                }
            }
        }
    }
}
