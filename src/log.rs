//! Where the library says what a person should know: to a listener that the program may set, and to
//! standard error if `LIGHTER_CACHE_LOG` asks for it. Nothing is said otherwise, at the cost of one
//! relaxed load.
//!
//! Messages never hold keys, values or secrets.
//!
//! # Protocol
//! * The listener stands behind a lock that is held, inside the fork gate, only to copy or replace a
//!   reference. It is called with a reference of its own, outside both, so it may call the library and
//!   set another listener, and a replaced one is dropped when its last call has returned.
//! * [`emit`] must not be called inside the gate: the gate covers no callback.
//! * What a listener causes to be said on its own thread does not reach it again: no recursion.
//! * Standard error is written to by one unlocked `write` per line, so that no lock of the standard
//!   library can be left taken in a forked child.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fork;

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

/// Hears what the library says.
pub(crate) trait Listener: Send + Sync {
    /// Takes one message. May be called on several threads at once, also on those of the library.
    fn hear(&self, level: Level, target: &str, message: &str);
}

/// The least important level that anybody wants; [`UNKNOWN`] before the environment was asked.
static WANTED: AtomicI32 = AtomicI32::new(UNKNOWN);
/// The same for standard error alone.
static WANTED_ON_STDERR: AtomicI32 = AtomicI32::new(UNKNOWN);
static LISTENER: Mutex<Option<Registered>> = Mutex::new(None);

const UNKNOWN: i32 = i32::MAX;
const NOTHING: i32 = 0;
const VARIABLE: &str = "LIGHTER_CACHE_LOG";

#[derive(Clone)]
struct Registered {
    max: Level,
    listener: Arc<dyn Listener>,
}

thread_local! {
    /// This thread is inside the listener.
    static HEARING: Cell<bool> = const { Cell::new(false) };
}

/// Says `message` to whoever listens at `level`. `target` is the module's name, as "redis". Not to be
/// called inside the fork gate.
#[inline]
pub(crate) fn emit(level: Level, target: &'static str, message: fmt::Arguments<'_>) {
    if level as i32 <= WANTED.load(Relaxed) {
        say(level, target, message);
    }
}

/// Sets the listener, which hears everything up to `max`, or none. The one before is dropped once its
/// last call has returned, which may be after this function.
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "set through the C API alone"))]
pub(crate) fn listen(listener: Option<(Level, Arc<dyn Listener>)>) {
    ask_environment();
    let next = listener.map(|(max, listener)| Registered { max, listener });
    // Dropped outside of the lock: it runs code of the program.
    let _before = with_listener(|current| {
        let max = next.as_ref().map_or(NOTHING, |next| next.max as i32);
        WANTED.store(max.max(WANTED_ON_STDERR.load(Relaxed)), Relaxed);
        std::mem::replace(current, next)
    });
}

#[cold]
fn say(level: Level, target: &'static str, message: fmt::Arguments<'_>) {
    ask_environment();
    if level as i32 <= WANTED_ON_STDERR.load(Relaxed) {
        write_line(level, target, message);
    }
    let registered = with_listener(|current| current.clone());
    let Some(registered) = registered.filter(|registered| level <= registered.max) else { return };
    if !HEARING.replace(true) {
        let _hearing = Hearing;
        registered.listener.hear(level, target, &message.to_string());
    }
}

struct Hearing;

impl Drop for Hearing {
    fn drop(&mut self) {
        HEARING.set(false);
    }
}

fn with_listener<R>(access: impl FnOnce(&mut Option<Registered>) -> R) -> R {
    let _inside = fork::enter();
    access(&mut LISTENER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Reads the environment, once.
fn ask_environment() {
    if WANTED_ON_STDERR.load(Relaxed) != UNKNOWN {
        return;
    }
    let given = std::env::var_os(VARIABLE).unwrap_or_default();
    let known = level_named(&given.to_string_lossy());
    let wanted = known.unwrap_or(Level::Warn as i32);
    // Of several threads that come here at once only one goes on.
    if WANTED_ON_STDERR.compare_exchange(UNKNOWN, wanted, Relaxed, Relaxed).is_err() {
        return;
    }
    with_listener(|current| {
        let max = current.as_ref().map_or(NOTHING, |current| current.max as i32);
        WANTED.store(max.max(wanted), Relaxed);
    });
    if known.is_none() {
        let text = format_args!("{VARIABLE} is none of off, error, warn, info, debug, trace: warn");
        write_line(Level::Warn, "log", text);
    }
}

/// The number of a level that the environment names.
fn level_named(name: &str) -> Option<i32> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "" | "off" => NOTHING,
        "error" => Level::Error as i32,
        "warn" => Level::Warn as i32,
        "info" => Level::Info as i32,
        "debug" => Level::Debug as i32,
        "trace" => Level::Trace as i32,
        _ => return None,
    })
}

fn write_line(level: Level, target: &str, message: fmt::Arguments<'_>) {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let line = format!("lighter_cache: {level}: {target}: {message}\n");
    // Where standard error is closed nobody can be told.
    let _ = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|stderr| File::from(stderr).write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what this test says: other tests talk at the same time.
    struct Heard(Mutex<Vec<(Level, String)>>);

    impl Listener for Heard {
        fn hear(&self, level: Level, target: &str, message: &str) {
            if target == "test" {
                self.0.lock().unwrap().push((level, message.to_owned()));
                emit(Level::Error, "test", format_args!("from within"));
                listen(None);
            }
        }
    }

    #[test]
    fn listeners_hear_up_to_their_level_and_may_call_back() {
        let heard = Arc::new(Heard(Mutex::default()));
        emit(Level::Error, "test", format_args!("nobody listens"));
        let register = || listen(Some((Level::Info, heard.clone() as Arc<dyn Listener>)));
        register();
        emit(Level::Debug, "test", format_args!("too detailed"));
        emit(Level::Info, "test", format_args!("number {}", 1));
        emit(Level::Error, "test", format_args!("the listener has removed itself"));
        register();
        emit(Level::Error, "test", format_args!("number {}", 2));
        listen(None);
        let heard = Arc::into_inner(heard).expect("the library keeps no reference");
        let expected =
            [(Level::Info, "number 1".to_owned()), (Level::Error, "number 2".to_owned())];
        assert_eq!(heard.0.into_inner().unwrap(), expected);
    }

    #[test]
    fn levels_of_the_environment() {
        let levels = ["", "off", "error", "WARN", " info ", "debug", "trace"].map(level_named);
        assert_eq!(levels, [0, 0, 1, 2, 3, 4, 5].map(Some));
        assert_eq!(level_named("loud"), None);
    }
}
