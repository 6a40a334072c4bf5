//! Status numbers: their names, their texts, and the only table between [`ErrorKind`] and them.

use std::ffi::{CStr, c_char};

use super::types::lc_status;
use crate::error::ErrorKind;

/// Done.
pub const LCACHE_OK: i32 = 0;
/// The key is absent or has expired.
pub const LCACHE_MISS: i32 = 1;
/// The key was there already; nothing was stored.
pub const LCACHE_EXISTS: i32 = 2;
/// The value was another than expected; nothing was stored.
pub const LCACHE_CONFLICT: i32 = 3;
/// The lock was not obtained in the time given.
pub const LCACHE_BUSY: i32 = 4;
/// The lock is no longer held by this holder.
pub const LCACHE_LOST: i32 = 5;
/// A NULL where none is allowed, an empty key, a key beginning with "__lc:", a bad number.
pub const LCACHE_EINVAL: i32 = -1;
/// The handle was never issued, is already closed, or is of another generation.
pub const LCACHE_EHANDLE: i32 = -2;
/// An unknown scheme, an unknown or malformed option, or a contradiction: the message names it and
/// the nearest valid one.
pub const LCACHE_ECONFIG: i32 = -3;
/// The server is not reachable: the operation was surely not executed.
pub const LCACHE_ECONNECT: i32 = -4;
/// Sent, but no reply by the deadline or the connection broke: it may or may not have been executed.
pub const LCACHE_ETIMEOUT: i32 = -5;
/// The server refused the credentials or the permission (NOAUTH, WRONGPASS, NOPERM).
pub const LCACHE_EAUTH: i32 = -6;
/// Any other error reply of the server (OOM, READONLY, CROSSSLOT, ...): its text is in the message.
pub const LCACHE_ESERVER: i32 = -7;
/// The stored bytes are not a valid envelope, or fail authentication or decompression.
pub const LCACHE_ECORRUPT: i32 = -8;
/// The key is longer than LCACHE_KEY_MAX, the value longer than LCACHE_VALUE_MAX or the cache's
/// `max_value_bytes`.
pub const LCACHE_ETOOBIG: i32 = -9;
/// The caller's buffer is too small: nothing was copied, *len is the size needed.
pub const LCACHE_ERANGE: i32 = -10;
/// The stored value is no integer, or the sum overflows.
pub const LCACHE_ETYPE: i32 = -11;
/// This kind of cache, configuration or server can't do it.
pub const LCACHE_EUNSUPPORTED: i32 = -12;
/// The loader callback failed.
pub const LCACHE_ELOADER: i32 = -13;
/// A call that may block, made from a callback or from one of the library's own threads.
pub const LCACHE_EREENTRANT: i32 = -14;
/// The cache was closed, or the library shut down, while the call was waiting.
pub const LCACHE_ECLOSED: i32 = -15;
/// No memory for a key or value buffer.
pub const LCACHE_ENOMEM: i32 = -16;
/// A snapshot file can't be read or written.
pub const LCACHE_EIO: i32 = -17;
/// A bug in the library, caught at the boundary; the process goes on.
pub const LCACHE_EPANIC: i32 = -99;

/// The status number of an error.
pub(super) const fn status_of(kind: ErrorKind) -> lc_status {
    match kind {
        ErrorKind::Invalid => LCACHE_EINVAL,
        ErrorKind::Handle => LCACHE_EHANDLE,
        ErrorKind::Config => LCACHE_ECONFIG,
        ErrorKind::Connect => LCACHE_ECONNECT,
        // Only a caller that installs an interrupt check is interrupted, and no function here does;
        // like a timeout it leaves open whether the operation was executed.
        ErrorKind::Timeout | ErrorKind::Interrupted => LCACHE_ETIMEOUT,
        ErrorKind::Auth => LCACHE_EAUTH,
        ErrorKind::Server => LCACHE_ESERVER,
        ErrorKind::Corrupt => LCACHE_ECORRUPT,
        ErrorKind::TooBig => LCACHE_ETOOBIG,
        ErrorKind::Range => LCACHE_ERANGE,
        ErrorKind::Type => LCACHE_ETYPE,
        ErrorKind::Unsupported => LCACHE_EUNSUPPORTED,
        ErrorKind::Loader => LCACHE_ELOADER,
        ErrorKind::Reentrant => LCACHE_EREENTRANT,
        ErrorKind::Closed => LCACHE_ECLOSED,
        ErrorKind::NoMemory => LCACHE_ENOMEM,
        ErrorKind::Io => LCACHE_EIO,
        ErrorKind::Panic => LCACHE_EPANIC,
    }
}

/// `LCACHE_OK` where something was there, else `LCACHE_MISS`.
#[inline]
pub(super) const fn ok_or_miss(found: bool) -> lc_status {
    if found { LCACHE_OK } else { LCACHE_MISS }
}

/// What a status means, in a few words of English.
///
/// status: any integer.
///
/// Returns: a static text, never NULL; "unknown status" for a number that is none.
/// Threads: any.
/// Blocks: never.
/// Ownership: the text belongs to the library and lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn lc_strerror(status: lc_status) -> *const c_char {
    text_of(status).as_ptr()
}

/// What [`lc_strerror`] says.
pub(super) const fn text_of(status: lc_status) -> &'static CStr {
    match status {
        LCACHE_OK => c"ok",
        LCACHE_MISS => c"key absent or expired",
        LCACHE_EXISTS => c"key already there, nothing stored",
        LCACHE_CONFLICT => c"value is another than expected, nothing stored",
        LCACHE_BUSY => c"lock not obtained in time",
        LCACHE_LOST => c"lock no longer held",
        LCACHE_EINVAL => c"invalid argument",
        LCACHE_EHANDLE => c"invalid or closed handle",
        LCACHE_ECONFIG => c"invalid configuration",
        LCACHE_ECONNECT => c"server not reachable, operation not executed",
        LCACHE_ETIMEOUT => c"no reply in time, operation may have been executed",
        LCACHE_EAUTH => c"authentication or permission refused by the server",
        LCACHE_ESERVER => c"error reply from the server",
        LCACHE_ECORRUPT => c"stored value is corrupt",
        LCACHE_ETOOBIG => c"key or value too big",
        LCACHE_ERANGE => c"buffer too small",
        LCACHE_ETYPE => c"stored value has the wrong type",
        LCACHE_EUNSUPPORTED => c"not supported by this cache, configuration or server",
        LCACHE_ELOADER => c"loader callback failed",
        LCACHE_EREENTRANT => c"blocking call from a callback or a library thread",
        LCACHE_ECLOSED => c"cache closed while the call was waiting",
        LCACHE_ENOMEM => c"out of memory",
        LCACHE_EIO => c"file can't be read or written",
        LCACHE_EPANIC => c"internal error, caught at the boundary",
        _ => c"unknown status",
    }
}
