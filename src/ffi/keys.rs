//! The naming helper: keys of common things, spelled the same in every language.

use std::ffi::c_char;

use super::guard::guard;
use super::pointers::{self, Out};
use super::status::LCACHE_OK;
use super::types::lc_status;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{CacheKey, check_key};

/// Writes the key "user:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_user(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::user(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "token:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_token(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::token(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "permission:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_permission(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::permission(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "role:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_role(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::role(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "session:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_session(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::session(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "user:ID:permissions".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_user_permissions(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe {
        write_key(CacheKey::user_permissions(pointers::text(id, "id")?), buf, cap, len)
    })
}

/// Writes the key "user:ID:roles".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_user_roles(
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe { write_key(CacheKey::user_roles(pointers::text(id, "id")?), buf, cap, len) })
}

/// Writes the key "NS:ID".
///
/// ns, id: NUL-terminated texts in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL (also for the namespace
/// "__lc", which is the library's own); LCACHE_ETOOBIG (the key would be longer than LCACHE_KEY_MAX);
/// LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lc_key_custom(
    ns: *const c_char,
    id: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> lc_status {
    // SAFETY: the caller passes NULL or what the header asks for.
    guard(|| unsafe {
        let key = CacheKey::custom(pointers::text(ns, "ns")?, pointers::text(id, "id")?);
        write_key(key, buf, cap, len)
    })
}

/// # Safety
/// `buf` is NULL or has `cap` writable bytes; `len` is NULL or may be written.
unsafe fn write_key(
    key: CacheKey,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> Result<lc_status> {
    // SAFETY: the caller's promise is the same.
    let (len, buf) = unsafe { (Out::new(len, "len")?, pointers::buffer(buf.cast(), cap)?) };
    let text = key.as_str();
    check_key(text.as_bytes())?;
    len.put(text.len());
    if text.len() >= cap {
        let needed = text.len() + 1;
        return Err(Error::new(
            ErrorKind::Range,
            format!("the key needs {needed} bytes with its NUL, the buffer has {cap}"),
        ));
    }
    pointers::copy_text(text, buf);
    Ok(LCACHE_OK)
}
