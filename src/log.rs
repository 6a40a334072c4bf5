//! Where the library says what a person should know: a callback that the program may set, or standard
//! error if `LIGHTER_CACHE_LOG` asks for it. Nothing is written otherwise.
//!
//! Messages never hold keys, values or secrets.

use std::fmt;

/// How much a message matters. The numbers are those of the C API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is broken.
    Error = 1,
    /// Something is off, and the library goes on.
    Warn = 2,
    /// A change of state that an operator wants to see.
    Info = 3,
    /// For those who look for a fault.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// Says `message` to whoever listens at `level`. `target` is the module's name, as "redis".
pub(crate) fn emit(level: Level, target: &'static str, message: fmt::Arguments<'_>) {
    let _ = (level, target, message);
}
