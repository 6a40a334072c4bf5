//! The tokio runtime that the library owns (placeholder until the `redis` branch lands).

use std::future::Future;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The runtime of this process, started by the first call that needs it.
pub(crate) fn handle() -> Result<tokio::runtime::Handle> {
    Err(Error::new(ErrorKind::Unsupported, "no runtime yet"))
}

/// Runs `future` on the calling thread until it is ready or `deadline` has come.
pub(crate) fn block_on<F: Future>(deadline: Instant, future: F) -> Result<F::Output> {
    let _ = (deadline, future);
    Err(Error::new(ErrorKind::Unsupported, "no runtime yet"))
}

/// Whether this thread belongs to the library: blocking calls are refused there.
pub(crate) fn on_library_thread() -> bool {
    false
}

/// Stops the runtime; a later call starts a new one.
pub fn shutdown(timeout: Duration) -> Result<()> {
    let _ = timeout;
    Ok(())
}

/// Runs `call` so that its waits ask `check` at least every 100 ms and end with
/// [`ErrorKind::Interrupted`] where it answers true.
pub fn interruptible<R>(check: fn() -> bool, call: impl FnOnce() -> R) -> R {
    let _ = check;
    call()
}
