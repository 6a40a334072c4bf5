//! The log callback: what the library has to say goes to a function of the program.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::context::Context;
use super::guard::guard;
use super::status::LCACHE_OK;
use super::types::{
    LCACHE_LOG_DEBUG, LCACHE_LOG_ERROR, LCACHE_LOG_INFO, LCACHE_LOG_TRACE, LCACHE_LOG_WARN,
    lc_log_fn, lc_status,
};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{self, Level, Listener};
use crate::runtime;

/// Sets the function that hears what the library has to say, for the whole process: the program's to
/// call, never a library's. Without one nothing is said, unless LIGHTER_CACHE_LOG (error, warn, info,
/// debug or trace) in the environment asks for lines on standard error.
///
/// max_level: LCACHE_LOG_ERROR to LCACHE_LOG_TRACE: less important messages are not passed on.
/// callback: the function; NULL for none, then max_level means nothing.
/// ctx: passed to callback and destroy; may be NULL.
/// destroy: is called with ctx once callback will not be called any more: when another function has
/// replaced it and its last call, perhaps on another thread, has returned; at once where this call
/// fails or callback is NULL. May be NULL.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (max_level); LCACHE_EPANIC.
/// Threads: any, also from within the callback.
/// Blocks: never.
/// Ownership: ctx belongs to the library until destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_set_log_callback(
    max_level: i32,
    callback: lc_log_fn,
    ctx: *mut c_void,
    destroy: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
) -> lc_status {
    guard(|| {
        let ctx = Context::new(ctx, destroy);
        let listener = match callback {
            None => None,
            Some(function) => {
                let listener: Arc<dyn Listener> = Arc::new(Callback { function, ctx });
                Some((level_of(max_level)?, listener))
            }
        };
        log::listen(listener);
        Ok(LCACHE_OK)
    })
}

fn level_of(number: i32) -> Result<Level> {
    Ok(match number {
        LCACHE_LOG_ERROR => Level::Error,
        LCACHE_LOG_WARN => Level::Warn,
        LCACHE_LOG_INFO => Level::Info,
        LCACHE_LOG_DEBUG => Level::Debug,
        LCACHE_LOG_TRACE => Level::Trace,
        _ => return Err(Error::new(ErrorKind::Invalid, "max_level is none of LCACHE_LOG_...")),
    })
}

struct Callback {
    function: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    ctx: Context,
}

impl Listener for Callback {
    fn hear(&self, level: Level, target: &str, message: &str) {
        let (target, message) = (c_text(target), c_text(message));
        let _scope = runtime::library_thread_scope();
        // SAFETY: the program promised a function of this type that does not unwind; both texts live
        // until it has returned.
        unsafe {
            (self.function)(self.ctx.pointer(), level as i32, target.as_ptr(), message.as_ptr())
        };
    }
}

/// A NUL inside would end the text for C.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}
