//! TTLs as Python says them: seconds, `timedelta`, text such as "5m", or `None` for never; and the
//! remaining time as Python gets it.

use std::time::Duration;

use lighter_cache::{Remaining, Ttl};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDeltaAccess, PyFloat, PyInt, PyString};

use crate::errors;

/// Longer than any TTL that the core accepts: it refuses it with its own message.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(1 << 40);

/// The argument `ttl`.
#[derive(Clone, Copy)]
pub(crate) struct TtlArg(pub(crate) Ttl);

impl TtlArg {
    /// What an omitted `ttl` means.
    pub(crate) const DEFAULT: Self = Self(Ttl::Default);
}

impl<'py> FromPyObject<'_, 'py> for TtlArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let object: &Bound<'py, PyAny> = &object;
        if object.is_none() {
            Ok(Self(Ttl::Never))
        } else if let Ok(seconds) = object.cast_exact::<PyInt>() {
            of_int(seconds.as_any())
        } else if let Ok(seconds) = object.cast::<PyFloat>() {
            of_seconds(seconds.value())
        } else if let Ok(delta) = object.cast::<PyDelta>() {
            Ok(Self(Ttl::After(of_delta(delta))))
        } else if let Ok(text) = object.cast::<PyString>() {
            of_text(object.py(), text.to_str()?)
        } else if object.is_instance_of::<PyBool>() {
            Err(PyTypeError::new_err("a TTL is a number of seconds, not bool"))
        } else if object.hasattr("__index__")? {
            of_int(object)
        } else if object.hasattr("__float__")? {
            of_seconds(object.call_method0("__float__")?.extract()?)
        } else {
            Err(PyTypeError::new_err(format!(
                "a TTL is a number of seconds, a timedelta, a text such as \"5m\", or None for never, \
                 not {}",
                object.get_type().fully_qualified_name()?
            )))
        }
    }
}

/// A length of time, said as a TTL is; `None` where it never ends. Less than nothing is nothing.
pub(crate) fn duration(object: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    Ok(match object.extract::<TtlArg>()?.0 {
        Ttl::After(duration) => Some(duration),
        Ttl::Never | Ttl::Default => None,
    })
}

fn of_int(seconds: &Bound<'_, PyAny>) -> PyResult<TtlArg> {
    let duration = match seconds.extract::<i64>() {
        Ok(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        // Beyond 64 bits: the sign decides.
        Err(_) if seconds.lt(0)? => Duration::ZERO,
        Err(_) => TOO_LONG,
    };
    Ok(TtlArg(Ttl::After(duration)))
}

/// Infinity means never, as [`seconds`] gives it back; NaN means nothing.
fn of_seconds(seconds: f64) -> PyResult<TtlArg> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err("a TTL can't be NaN"));
    }
    if seconds == f64::INFINITY {
        return Ok(TtlArg(Ttl::Never));
    }
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(TOO_LONG);
    Ok(TtlArg(Ttl::After(duration)))
}

fn of_delta(delta: &Bound<'_, PyDelta>) -> Duration {
    let seconds = i64::from(delta.get_days()) * 86_400 + i64::from(delta.get_seconds());
    // Python keeps the microseconds positive: a negative timedelta has negative days.
    u64::try_from(seconds).map_or(Duration::ZERO, |seconds| {
        Duration::from_secs(seconds) + Duration::from_micros(delta.get_microseconds() as u64)
    })
}

fn of_text(py: Python<'_>, text: &str) -> PyResult<TtlArg> {
    lighter_cache::config::parse_duration(text)
        .map(|duration| TtlArg(duration.into()))
        .map_err(|error| errors::raise(py, error))
}

/// The seconds of a TTL: infinite for never. Raises what an operation with that TTL would.
#[pyfunction(name = "seconds")]
pub(crate) fn of_argument(ttl: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(duration(ttl)?.map_or(f64::INFINITY, |duration| duration.as_secs_f64()))
}

/// The remaining time in seconds: infinite where the entry never expires.
pub(crate) fn seconds(remaining: Remaining) -> f64 {
    match remaining {
        Remaining::Forever => f64::INFINITY,
        Remaining::For(duration) => duration.as_secs_f64(),
    }
}
