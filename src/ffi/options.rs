//! Reads and writes with options: `lc_get_ex` and `lc_set_ex`, and what the bytes of an
//! `lc_set_options` mean, wherever one is taken.

use std::ffi::c_void;
use std::mem::size_of;
use std::ptr;
use std::time::Duration;

use super::expiry::milliseconds;
use super::guard::guard;
use super::open_caches::{ttl, with_cache};
use super::pointers;
use super::status::{LCACHE_MISS, LCACHE_OK};
use super::types::{
    LCACHE_FROM_L1, LCACHE_FROM_L2, LCACHE_STALE, LCACHE_STALE_DEFAULT, lc_bytes, lc_cache,
    lc_get_options, lc_get_result, lc_set_options, lc_status, lc_value,
};
use super::value;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, Found, GetOptions, SetOptions, Stale, TTL_MAX_MS, Tier};

/// Reads a value, and says besides how long it has still to live, which tier answered and whether it
/// is past its proven freshness.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// options, options_size: what LCACHE_GET_OPTIONS_INIT began, and sizeof(lc_get_options); fields beyond a
/// smaller size count as 0. NULL takes the defaults.
/// result, result_size: the structure and sizeof(lc_get_result). A smaller size gets the first fields only
/// (no value where that one does not fit); what a larger one has behind the fields that the library knows
/// is zeroed. On every outcome but LCACHE_OK all of it is zero, so that its value is NULL.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL (also flags that are not 0, a larger structure whose
/// unknown fields are not 0, and a size beyond all reason); LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a
/// stored value over max_value_bytes); LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose
/// server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout; a timeout_ms of the
/// options takes their place.
/// Ownership: the caller frees result->value with lc_value_free; it outlives the cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_get_ex(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    options: *const lc_get_options,
    options_size: usize,
    result: *mut lc_get_result,
    result_size: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let result = unsafe { pointers::sized_out(result, result_size, "result")? };
        result.put(NOTHING);
        // SAFETY: as above.
        let (key, options) =
            unsafe { (pointers::key(key, key_len)?, get_options(options, options_size)?) };
        let Some(found) = with_cache(cache, |cache| cache.get_ex(key, options))? else {
            return Ok(LCACHE_MISS);
        };
        // Who has no room for the value could never free it.
        let keeps = result_size >= size_of::<*mut lc_value>();
        result.put(if keeps { describe(found) } else { NOTHING });
        Ok(LCACHE_OK)
    })
}

/// Stores a value, with a stale window, tags and a deadline of its own.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// options, options_size: what LCACHE_SET_OPTIONS_INIT began, and sizeof(lc_set_options). Fields beyond a
/// smaller size count as 0, which is no stale window and no tags; a ttl_ms that is 0 has already expired.
/// NULL takes the defaults, as lc_set with LCACHE_TTL_DEFAULT.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (also flags that are not 0, an empty tag, a time of more than 100
/// years, a larger structure whose unknown fields are not 0, and a size beyond all reason);
/// LCACHE_EHANDLE; LCACHE_ETOOBIG (also a tag of more than LCACHE_KEY_MAX bytes); LCACHE_EUNSUPPORTED (this
/// kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A
/// Hybrid whose server is away stores in L1.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout; a timeout_ms of the options takes
/// their place.
/// Ownership: key, value and tags are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_set_ex(
    cache: lc_cache,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    options: *const lc_set_options,
    options_size: usize,
) -> lc_status {
    guard(|| {
        // SAFETY: the caller passes NULL or what the header asks for.
        let (key, value, options) = unsafe {
            (
                pointers::key(key, key_len)?,
                pointers::value(value, value_len)?,
                set_options(options, options_size)?,
            )
        };
        let options = options.unwrap_or_default();
        with_cache(cache, |cache| cache.set_ex(key, value, &options))?;
        Ok(LCACHE_OK)
    })
}

const NOTHING: lc_get_result = lc_get_result {
    value: ptr::null_mut(),
    data: ptr::null(),
    len: 0,
    ttl_ms: 0,
    flags: 0,
    _reserved: 0,
};

fn describe(found: Found) -> lc_get_result {
    let tier = match found.tier {
        Tier::L1 => LCACHE_FROM_L1,
        Tier::L2 => LCACHE_FROM_L2,
    };
    lc_get_result {
        data: found.value.as_ptr().cast(),
        len: found.value.len(),
        value: value::into_raw(found.value),
        ttl_ms: milliseconds(found.remaining),
        flags: tier | if found.stale { LCACHE_STALE } else { 0 },
        _reserved: 0,
    }
}

/// # Safety
/// `options` is NULL or has `size` bytes that nobody writes to during the call.
unsafe fn get_options(options: *const lc_get_options, size: usize) -> Result<GetOptions> {
    let nothing = lc_get_options { timeout_ms: 0, flags: 0 };
    // SAFETY: the caller's promise is the same, and the structure is made of integers.
    let given = unsafe { pointers::sized_in(options, size, nothing, "options")? };
    let mut options = GetOptions::default();
    if let Some(given) = given {
        no_flags(given.flags)?;
        options.timeout = timeout(given.timeout_ms);
    }
    Ok(options)
}

/// What an `lc_set_options` says; `None` where there is none.
///
/// # Safety
/// `options` is NULL or has `size` bytes that nobody writes to during the call, nor to its tags.
pub(super) unsafe fn set_options(
    options: *const lc_set_options,
    size: usize,
) -> Result<Option<SetOptions>> {
    let nothing = lc_set_options {
        ttl_ms: 0,
        stale_ms: 0,
        tags: ptr::null(),
        tag_count: 0,
        timeout_ms: 0,
        flags: 0,
    };
    // SAFETY: the caller's promise is the same, and the structure is made of integers and a pointer.
    let given = unsafe { pointers::sized_in(options, size, nothing, "options")? };
    let Some(given) = given else { return Ok(None) };
    no_flags(given.flags)?;
    let mut options = SetOptions::new(ttl(given.ttl_ms));
    options.stale = stale(given.stale_ms)?;
    // SAFETY: the caller's promise includes the tags.
    options.tags = unsafe { tags(given.tags, given.tag_count)? };
    options.timeout = timeout(given.timeout_ms);
    Ok(Some(options))
}

/// # Safety
/// `tags` is NULL or points to `n` elements whose bytes are there during the call.
unsafe fn tags(tags: *const lc_bytes, n: usize) -> Result<Vec<Vec<u8>>> {
    // SAFETY: the caller's promise is the same.
    let tags = unsafe { pointers::array(tags, n, "tags")? };
    pointers::collect(tags.iter(), n, |tag| {
        // SAFETY: as above, for the bytes of each element.
        pointers::copied(unsafe { pointers::name(tag.data, tag.len, "tag")? })
    })
}

fn stale(stale_ms: u64) -> Result<Stale> {
    match stale_ms {
        LCACHE_STALE_DEFAULT => Ok(Stale::Default),
        0..=TTL_MAX_MS => Ok(Stale::For(Duration::from_millis(stale_ms))),
        _ => Err(Error::new(ErrorKind::Invalid, "a stale window can't be longer than 100 years")),
    }
}

/// 0 takes the cache's.
fn timeout(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()))
}

/// Flags are for later versions; one that is set asks for what this one does not know.
fn no_flags(flags: u32) -> Result<()> {
    if flags != 0 {
        return Err(Error::new(ErrorKind::Invalid, "the flags of the options have to be 0"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// What LCACHE_SET_OPTIONS_INIT begins with, and two tags.
    fn full(tags: &[lc_bytes; 2]) -> lc_set_options {
        lc_set_options {
            ttl_ms: crate::ffi::types::LCACHE_TTL_DEFAULT,
            stale_ms: LCACHE_STALE_DEFAULT,
            tags: tags.as_ptr(),
            tag_count: 2,
            timeout_ms: 5,
            flags: 0,
        }
    }

    fn read(options: &lc_set_options, size: usize) -> Result<Option<SetOptions>> {
        // SAFETY: the structure and its tags outlive the call, and `size` is not above its own.
        unsafe { set_options(options, size) }
    }

    #[test]
    fn options_say_what_their_bytes_say() {
        let tag = |text: &'static [u8]| lc_bytes { data: text.as_ptr().cast(), len: text.len() };
        let tags = [tag(b"red"), tag(b"b\0e")];
        let given = full(&tags);
        let options = read(&given, size_of_val(&given)).unwrap().unwrap();
        assert_eq!((options.ttl, options.stale), (crate::ops::Ttl::Default, Stale::Default));
        assert_eq!(options.tags, [b"red", b"b\0e"]);
        assert_eq!(options.timeout, Some(Duration::from_millis(5)));

        // What a shorter one leaves out is zero: no stale window, no tags, the cache's timeout.
        let options = read(&given, offset_of!(lc_set_options, stale_ms)).unwrap().unwrap();
        assert_eq!(
            (options.ttl, options.stale),
            (crate::ops::Ttl::Default, Stale::For(Duration::ZERO))
        );
        assert!(options.tags.is_empty() && options.timeout.is_none());
        let options = read(&given, offset_of!(lc_set_options, tag_count)).unwrap().unwrap();
        assert!(options.tags.is_empty() && options.stale == Stale::Default);
        let options = read(&given, 0).unwrap().unwrap();
        assert_eq!(options.ttl, crate::ops::Ttl::After(Duration::ZERO));
        // SAFETY: NULL is allowed.
        assert!(unsafe { set_options(ptr::null(), 40) }.unwrap().is_none());
    }

    #[test]
    fn a_longer_structure_has_to_end_in_zeros() {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Longer(lc_get_options, [u8; 9]);
        let mut given = Longer(lc_get_options { timeout_ms: 3, flags: 0 }, [0; 9]);
        // SAFETY: the structure outlives the calls, and `size` is not above its own.
        let read = |given: &Longer, size| unsafe { get_options((&raw const *given).cast(), size) };
        assert_eq!(read(&given, 17).unwrap().timeout, Some(Duration::from_millis(3)));
        given.1[8] = 1;
        assert_eq!(read(&given, 16).unwrap().timeout, Some(Duration::from_millis(3)));
        assert_eq!(read(&given, 17).unwrap_err().kind(), ErrorKind::Invalid);
        given.0.flags = 1;
        assert_eq!(read(&given, 8).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(read(&given, 4).unwrap().timeout, Some(Duration::from_millis(3)));
    }

    #[test]
    fn a_stale_window_is_bounded() {
        assert_eq!(stale(0).unwrap(), Stale::For(Duration::ZERO));
        assert_eq!(stale(LCACHE_STALE_DEFAULT).unwrap(), Stale::Default);
        assert!(stale(TTL_MAX_MS).is_ok() && stale(TTL_MAX_MS + 1).is_err());
        assert!(stale(u64::MAX).is_err());
    }
}
