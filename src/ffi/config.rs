//! A configuration put together option by option, for programs that do not want to build URLs.

use std::ffi::c_char;
use std::panic::catch_unwind;
use std::ptr::{self, NonNull};

use super::guard::guard;
use super::open_caches::{open, url_of};
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::{lc_cache, lc_config, lc_status};
use crate::config::ConfigBuilder;
use crate::error::Result;

/// What an `lc_config *` points to. The URL is judged when the cache is opened, so one that is no text at
/// all waits for that as an error.
type Draft = Result<ConfigBuilder>;

/// Begins a configuration.
///
/// url: as for lc_open; options that are set afterwards override the URL's. It is judged when the cache
/// is opened.
///
/// Returns: the configuration; NULL only without memory.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller frees it with lc_config_free; url is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_config_new(url: *const c_char) -> *mut lc_config {
    let begin = || {
        // SAFETY: the caller passes NULL or a NUL-terminated text.
        let draft: Draft = unsafe { url_of(url) }.map(ConfigBuilder::new);
        Box::into_raw(Box::new(draft)).cast()
    };
    catch_unwind(begin).unwrap_or(ptr::null_mut())
}

/// Sets an option.
///
/// config: a configuration; not NULL.
/// name, value: the option and its value, both as in a URL (docs/configuration.md), without
/// percent-encoding: "l1.max_bytes", "64MiB".
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (a NULL); LCACHE_ECONFIG (no cache has such an option, or it can't
/// have such a value: nothing is set); LCACHE_EPANIC.
/// Threads: one at a time for one configuration.
/// Blocks: never.
/// Ownership: name and value are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_config_set(
    config: *mut lc_config,
    name: *const c_char,
    value: *const c_char,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (name, value) =
            unsafe { (pointers::text(name, "name")?, pointers::text(value, "value")?) };
        let draft = NonNull::new(config).ok_or_else(|| pointers::null("config"))?;
        // SAFETY: the pointer came from `lc_config_new`, and one thread at a time uses it to set.
        match unsafe { draft.cast::<Draft>().as_mut() } {
            Ok(builder) => builder.set(name, value)?,
            Err(error) => return Err(error.clone()),
        }
        Ok(LCACHE_OK)
    })
}

/// Opens a cache as configured. One configuration may open many, which share nothing.
///
/// config: a configuration; not NULL.
/// out: receives the handle.
///
/// Returns: as lc_open; LCACHE_EINVAL also where config is NULL.
/// Threads: any, several at once, but not while an option is being set.
/// Blocks: as lc_open.
/// Ownership: the caller closes *out once, with lc_close; config stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_config_open(config: *const lc_config, out: *mut lc_cache) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let out = unsafe { Out::new(out, "out")? };
        let draft = NonNull::new(config.cast_mut()).ok_or_else(|| pointers::null("config"))?;
        // SAFETY: the pointer came from `lc_config_new` and nobody sets an option meanwhile.
        let builder = unsafe { draft.cast::<Draft>().as_ref() }.as_ref().map_err(Clone::clone)?;
        out.put(open(&builder.build()?)?);
        Ok(LCACHE_OK)
    })
}

/// Frees a configuration. Caches that were opened with it live on.
///
/// config: a configuration; NULL does nothing.
///
/// Threads: any.
/// Blocks: never.
/// Ownership: the configuration is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_config_free(config: *mut lc_config) {
    if !config.is_null() {
        // SAFETY: the pointer came from `Box::into_raw` in `lc_config_new`, and the caller gives it up.
        drop(unsafe { Box::from_raw(config.cast::<Draft>()) });
    }
}
