//! Loading what is missing: `lc_get_or_load`, and the sink that its loader fills.
//!
//! A sink lives on the stack of `lc_get_or_load` for one call of the loader. While that call runs nobody
//! but the functions here, called by the loader, touch it.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::guard::guard;
use super::open_caches::with_shared;
use super::options::set_options;
use super::pointers::{self, Out};
use super::status::{LCACHE_MISS, LCACHE_OK, text_of};
use super::types::{lc_cache, lc_load_fn, lc_set_options, lc_sink, lc_status, lc_value};
use super::value;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, Loaded, SetOptions};

/// Reads a value; where there is none, has it loaded and stores it. However many ask for one key at a
/// time, one of them loads, and the others wait for what it gets. A load that fails is not remembered;
/// where a stale value may still be served (stale_ms), that one is the answer instead.
///
/// The loader runs on this thread before the call returns, without any lock. It may call the library, but
/// not load its own key; keys that it loads in turn are loaded without waiting for anybody.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// options, options_size: how a loaded value is stored: what LCACHE_SET_OPTIONS_INIT began, and
/// sizeof(lc_set_options); fields beyond a smaller size count as 0. NULL takes the defaults.
/// load: the loader: is called with ctx, the key, and a sink that is valid during that call only.
/// ctx: passed to load; may be NULL.
/// value: receives the pinned value; NULL is written on every outcome but LCACHE_OK.
/// data, len: receive the value's bytes and their number; each may be NULL. Valid until lc_value_free.
///
/// Returns: LCACHE_OK; LCACHE_MISS (the loader says that there is none, or has said so within
/// negative_ttl); LCACHE_ELOADER (the loader returned neither of the two, or LCACHE_OK without a value;
/// the message has the status it returned; also where another thread's loader failed that this one waited
/// for); LCACHE_EREENTRANT (the loader of this key asks for it); LCACHE_EINVAL; LCACHE_EHANDLE;
/// LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ECLOSED; LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose server is away loads and stores in L1.
/// Threads: any.
/// Blocks: where it finds no value, as long as its loader runs, or another's for which it waits; and
/// on Redis and Hybrid for their round trips, as lc_get and lc_set.
/// Ownership: the caller frees *value with lc_value_free; ctx stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_get_or_load(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    options: *const lc_set_options,
    options_size: usize,
    load: lc_load_fn,
    ctx: *mut c_void,
    value: *mut *mut lc_value,
    data: *mut *const c_void,
    len: *mut usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (value, data, len) =
            unsafe { (Out::new(value, "value")?, Out::optional(data), Out::optional(len)) };
        value.put(ptr::null_mut());
        // SAFETY: as above.
        let (key, options) =
            unsafe { (pointers::key(key, key_len)?, set_options(options, options_size)?) };
        let load = load.ok_or_else(|| pointers::null("load"))?;
        let mut loader = |key: &[u8]| {
            let mut sink = Sink::default();
            let place: *mut Sink = &raw mut sink;
            // SAFETY: the program promised a function of this type that does not unwind; key and sink live
            // until it has returned, and it uses the sink on one thread at a time.
            let status = unsafe { load(ctx, key.as_ptr().cast(), key.len(), place.cast()) };
            outcome(status, sink)
        };
        let options = options.unwrap_or_default();
        let found = with_shared(cache, |cache| cache.get_or_load(key, &options, &mut loader))?;
        let Some(found) = found else { return Ok(LCACHE_MISS) };
        if let Some(data) = data {
            data.put(found.as_ptr().cast());
        }
        if let Some(len) = len {
            len.put(found.len());
        }
        value.put(value::into_raw(found));
        Ok(LCACHE_OK)
    })
}

/// Gives the value that a loader has loaded. The last call counts.
///
/// sink: what the loader was given, while it runs.
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 are an empty value.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC. After an error the sink
/// is as it was before.
/// Threads: one at a time for one sink.
/// Blocks: never.
/// Ownership: the value is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_sink_set(
    sink: *mut lc_sink,
    value: *const c_void,
    value_len: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let value = pointers::copied(unsafe { pointers::value(value, value_len)? })?;
        // SAFETY: as above.
        unsafe { sink_of(sink)? }.value = Some(value);
        Ok(LCACHE_OK)
    })
}

/// Says how the value that a loader has loaded is to be stored, where the loader knows better than the
/// caller of lc_get_or_load. The last call counts.
///
/// sink: what the loader was given, while it runs.
/// options, options_size: as for lc_set_ex; NULL leaves it to the caller's options.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_ETOOBIG (a tag); LCACHE_ENOMEM; LCACHE_EPANIC. After an error
/// the sink is as it was before.
/// Threads: one at a time for one sink.
/// Blocks: never.
/// Ownership: the options and their tags are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_sink_set_options(
    sink: *mut lc_sink,
    options: *const lc_set_options,
    options_size: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let options = unsafe { set_options(options, options_size)? };
        // SAFETY: as above.
        unsafe { sink_of(sink)? }.options = options;
        Ok(LCACHE_OK)
    })
}

/// What an `lc_sink *` points to.
#[derive(Default)]
struct Sink {
    value: Option<Vec<u8>>,
    options: Option<SetOptions>,
}

/// # Safety
/// `sink` is NULL or what a loader was given that still runs, and no other thread uses it.
unsafe fn sink_of<'a>(sink: *mut lc_sink) -> Result<&'a mut Sink> {
    let sink = NonNull::new(sink).ok_or_else(|| pointers::null("sink"))?;
    // SAFETY: the pointer came from `lc_get_or_load`, whose sink lives while its loader runs.
    Ok(unsafe { sink.cast().as_mut() })
}

/// What a loader that returned `status` has loaded.
fn outcome(status: lc_status, sink: Sink) -> Result<Option<Loaded>> {
    match (status, sink.value) {
        (LCACHE_OK, Some(value)) => Ok(Some(Loaded { value, options: sink.options })),
        (LCACHE_OK, None) => Err(Error::new(
            ErrorKind::Loader,
            "the loader returned LCACHE_OK without having called lc_sink_set",
        )),
        (LCACHE_MISS, _) => Ok(None),
        (status, _) => Err(failed(status)),
    }
}

#[cold]
fn failed(status: lc_status) -> Error {
    let text = text_of(status).to_string_lossy();
    Error::new(ErrorKind::Loader, format!("the loader failed with status {status} ({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::{LCACHE_ECONNECT, LCACHE_EXISTS};

    fn sink(value: Option<&[u8]>) -> Sink {
        Sink { value: value.map(<[u8]>::to_vec), options: None }
    }

    #[test]
    fn what_a_loader_returns_is_told_apart() {
        let loaded = outcome(LCACHE_OK, sink(Some(b"v"))).unwrap().unwrap();
        assert_eq!(loaded.value, b"v");
        assert!(outcome(LCACHE_OK, sink(Some(b""))).unwrap().is_some());
        assert!(outcome(LCACHE_MISS, sink(Some(b"v"))).unwrap().is_none());
        for (status, value, part) in [
            (LCACHE_OK, None, "lc_sink_set"),
            (LCACHE_ECONNECT, Some(&b"v"[..]), "-4 (server not reachable"),
            (LCACHE_EXISTS, Some(b"v"), "2 ("),
            (i32::MIN, None, "-2147483648 (unknown status)"),
        ] {
            let error = outcome(status, sink(value)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Loader);
            assert!(error.message().contains(part), "{}", error.message());
        }
    }

    #[test]
    fn a_sink_keeps_what_it_was_given_last() {
        let mut sink = Sink::default();
        let place: *mut lc_sink = (&raw mut sink).cast();
        let options = lc_set_options {
            ttl_ms: 5,
            stale_ms: 0,
            tags: ptr::null(),
            tag_count: 0,
            timeout_ms: 7,
            flags: 0,
        };
        let size = size_of::<lc_set_options>();
        // SAFETY: the sink and the options live until the end of this test, and all bytes are there.
        unsafe {
            assert_eq!(lc_sink_set(place, b"one".as_ptr().cast(), 3), LCACHE_OK);
            assert_eq!(lc_sink_set(place, b"three".as_ptr().cast(), 5), LCACHE_OK);
            assert_eq!(lc_sink_set_options(place, &raw const options, size), LCACHE_OK);
            assert!(lc_sink_set(place, ptr::null(), 3) < 0);
            assert!(lc_sink_set_options(place, &raw const options, usize::MAX) < 0);
            assert!(lc_sink_set(ptr::null_mut(), ptr::null(), 0) < 0);
            assert!(lc_sink_set_options(ptr::null_mut(), ptr::null(), 0) < 0);
        }
        assert_eq!(sink.value.as_deref(), Some(&b"three"[..]));
        assert_eq!(sink.options.as_ref().unwrap().timeout.unwrap().as_millis(), 7);
        // SAFETY: as above.
        assert_eq!(unsafe { lc_sink_set_options(place, ptr::null(), size) }, LCACHE_OK);
        assert!(sink.options.is_none());
    }
}
