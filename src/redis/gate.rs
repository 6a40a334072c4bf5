//! [`Gate`]: how often a server that does not answer is tried again.
//!
//! While connecting works, everybody may connect. After a failure one caller at a time may try, and
//! only when a growing, jittered time has passed; the others are told at once what the last try came
//! to. Nothing here can stay broken: a try that never reports back counts as failed when its time is
//! over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::random;

const FIRST: Duration = Duration::from_millis(10);
/// Callers find a server that came back within this time, however long the back-off may grow.
const CALLERS_WAIT_MAX: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Gate {
    state: Mutex<State>,
    max_backoff: Duration,
    try_takes: Duration,
}

struct State {
    failures: u32,
    not_before: Instant,
    last: Option<Error>,
}

impl Gate {
    /// `try_takes`: longest time that one try takes.
    pub(super) fn new(max_backoff: Duration, try_takes: Duration) -> Self {
        let state = State { failures: 0, not_before: Instant::now(), last: None };
        Self { state: Mutex::new(state), max_backoff: max_backoff.min(CALLERS_WAIT_MAX), try_takes }
    }

    /// Asks for the right to connect; whoever gets it reports to [`Gate::record`].
    pub(super) fn enter(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures == 0 {
            return Ok(());
        }
        let now = Instant::now();
        if now < state.not_before {
            let last = state.last.clone();
            return Err(last.unwrap_or_else(|| ErrorKind::Connect.into()));
        }
        state.not_before = now + self.try_takes;
        Ok(())
    }

    /// What a try came to.
    pub(super) fn record<T>(&self, result: &Result<T>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                state.failures = 0;
                state.last = None;
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.not_before = Instant::now() + backoff(state.failures, self.max_backoff);
                state.last = Some(error.clone());
            }
        }
    }
}

/// The wait after so many failures in a row: doubling up to `max`, of which a random half is left out
/// so that many clients do not come at once.
pub(super) fn backoff(failures: u32, max: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max);
    doubled / 2 + (doubled / 2).mul_f64(random::share())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn failure() -> Result<()> {
        Err(Error::new(ErrorKind::Connect, "connection refused"))
    }

    #[test]
    fn closes_after_a_failure_and_opens_after_a_success() {
        let gate = Gate::new(HOUR, HOUR);
        assert!(gate.enter().is_ok() && gate.enter().is_ok());
        gate.record(&failure());
        assert_eq!(gate.enter().unwrap_err().message(), "connection refused");
        gate.record(&Ok(()));
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn lets_one_try_through_when_the_time_has_come() {
        let gate = Gate::new(Duration::ZERO, HOUR);
        gate.record(&failure());
        assert!(gate.enter().is_ok());
        assert!(gate.enter().is_err());
        gate.record(&failure());
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn a_try_that_never_reports_back_blocks_nobody_for_ever() {
        let gate = Gate::new(Duration::ZERO, Duration::ZERO);
        gate.record(&failure());
        assert!(gate.enter().is_ok());
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn backs_off_within_bounds() {
        for failures in 1..100 {
            let wait = backoff(failures, Duration::from_secs(2));
            assert!(wait >= FIRST / 2 && wait <= Duration::from_secs(2), "{failures}: {wait:?}");
        }
    }
}
