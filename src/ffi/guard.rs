//! The outermost layer of every exported function: no panic leaves it, every error becomes a status.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::last_error;
use super::pointers::Refusal;
use super::types::lc_status;
use crate::error::{Error, ErrorKind, Result};

/// Runs the body of an exported function.
///
/// A panic is a bug of the library: it becomes `LCACHE_EPANIC`. Its payload is not shown, because it
/// might hold what no message may hold.
#[inline]
pub(super) fn guard(body: impl FnOnce() -> Result<lc_status>) -> lc_status {
    // The state behind the body is consistent after an unwind: locks do not poison, and what user
    // code could interrupt is never called with one held.
    //
    // The status is made inside: a `Result` that leaves a closure goes through memory, its four bytes of
    // status are read back as eight, and the processor waits for all stores before it.
    let status = || match body() {
        Ok(status) => status,
        Err(error) => last_error::record(&error),
    };
    catch_unwind(AssertUnwindSafe(status)).unwrap_or_else(caught)
}

/// As [`guard`], for the frequent functions: an error is recorded where it arises, so that the outcome
/// stays in registers.
#[inline]
pub(super) fn guard_frequent(body: impl FnOnce() -> Result<lc_status, Failed>) -> lc_status {
    let status = || match body() {
        Ok(status) | Err(Failed(status)) => status,
    };
    catch_unwind(AssertUnwindSafe(status)).unwrap_or_else(caught)
}

/// The status of an error whose message is kept already.
pub(super) struct Failed(lc_status);

impl From<Error> for Failed {
    #[cold]
    #[inline(never)]
    fn from(error: Error) -> Self {
        Self(last_error::record(&error))
    }
}

impl From<Refusal> for Failed {
    #[cold]
    #[inline(never)]
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

#[cold]
fn caught(payload: Box<dyn std::any::Any + Send>) -> lc_status {
    // Dropping a payload may run code that panics again; the few bytes of a bug's message are not
    // worth that risk.
    std::mem::forget(payload);
    last_error::record(&Error::new(
        ErrorKind::Panic,
        "internal error: a bug in the library was caught at its boundary",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::{LCACHE_EINVAL, LCACHE_EPANIC, LCACHE_ERANGE, LCACHE_MISS};

    #[test]
    fn outcomes_errors_and_panics_become_statuses() {
        assert_eq!(guard(|| Ok(LCACHE_MISS)), LCACHE_MISS);
        assert_eq!(guard(|| Err(ErrorKind::Range.into())), LCACHE_ERANGE);
        // `resume_unwind` panics without the hook that would write to standard error.
        let panic = || std::panic::resume_unwind(Box::new("a bug"));
        assert_eq!(guard(panic), LCACHE_EPANIC);
        assert_eq!(guard_frequent(|| Ok(LCACHE_MISS)), LCACHE_MISS);
        assert_eq!(guard_frequent(|| Err(Error::from(ErrorKind::Range).into())), LCACHE_ERANGE);
        assert_eq!(guard_frequent(|| Err(Refusal::Capacity.into())), LCACHE_EINVAL);
        let panic = || std::panic::resume_unwind(Box::new("a bug"));
        assert_eq!(guard_frequent(panic), LCACHE_EPANIC);
    }
}
