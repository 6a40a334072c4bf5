//! Pointers and lengths of C become slices, texts and places to write to, or are refused.
//!
//! Every function here is unsafe for one reason: a pointer that is neither NULL nor what the header asks
//! for can't be told from a good one. The lifetimes are those of the call.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use super::types::lc_bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KEY_MAX, VALUE_MAX};

/// Largest size of a size-tagged structure that is believed, in bytes.
const STRUCT_MAX: usize = 4096;

/// Why a pointer or a length is refused: small enough that the frequent functions pass it on in registers,
/// and made into an [`Error`] where they have come to their end.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Null(&'static str),
    /// A name of no bytes, and whether its pointer is NULL.
    Empty(&'static str, bool),
    /// What, its length, the largest one.
    TooBig(&'static str, usize, usize),
    Capacity,
}

impl From<Refusal> for Error {
    #[cold]
    #[inline(never)]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Null(what) | Refusal::Empty(what, true) => null(what),
            Refusal::Empty(what, false) => {
                Self::new(ErrorKind::Invalid, format!("the {what} is empty"))
            }
            Refusal::TooBig(what, len, limit) => Self::new(
                ErrorKind::TooBig,
                format!("the {what} has {len} bytes, {limit} are allowed"),
            ),
            Refusal::Capacity => {
                Self::new(ErrorKind::Invalid, "the buffer's capacity exceeds SSIZE_MAX")
            }
        }
    }
}

/// A key. Empty and reserved ones are left to the cache to refuse.
///
/// # Safety
/// `data` is NULL or points to `len` bytes that nobody writes to during the call.
#[inline]
pub(super) unsafe fn key<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Refusal> {
    // SAFETY: the caller's promise is the same.
    unsafe { name(data, len, "key") }
}

/// The name of a tag or a lock, or a key: not empty, and no longer than a key may be.
///
/// # Safety
/// As for [`key`].
#[inline]
pub(super) unsafe fn name<'a>(
    data: *const c_void,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Refusal> {
    if len == 0 {
        return Err(Refusal::Empty(what, data.is_null()));
    }
    // SAFETY: the caller's promise is the same.
    unsafe { bytes(data, len, KEY_MAX, what) }
}

/// What keys begin with. NULL with length 0 is a legal empty one.
///
/// # Safety
/// As for [`key`].
pub(super) unsafe fn prefix<'a>(data: *const c_void, len: usize) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise is the same.
    if len == 0 { Ok(&[]) } else { Ok(unsafe { bytes(data, len, KEY_MAX, "prefix")? }) }
}

/// A value. NULL with length 0 is a legal empty one.
///
/// # Safety
/// As for [`key`].
#[inline]
pub(super) unsafe fn value<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Refusal> {
    // SAFETY: the caller's promise is the same.
    if len == 0 { Ok(&[]) } else { unsafe { bytes(data, len, VALUE_MAX, "value") } }
}

#[inline]
unsafe fn bytes<'a>(
    data: *const c_void,
    len: usize,
    limit: usize,
    what: &'static str,
) -> Result<&'a [u8], Refusal> {
    if len > limit {
        return Err(Refusal::TooBig(what, len, limit));
    }
    let data = NonNull::new(data.cast_mut()).ok_or(Refusal::Null(what))?;
    // SAFETY: not NULL, `len` is far below `isize::MAX`, and the caller promises that the bytes are there
    // and stay as they are.
    Ok(unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), len) })
}

/// A buffer of the caller, which may be uninitialised. NULL with capacity 0 is a legal empty one.
///
/// # Safety
/// `data` is NULL or points to `capacity` writable bytes that nobody else uses during the call.
#[inline]
pub(super) unsafe fn buffer<'a>(
    data: *mut c_void,
    capacity: usize,
) -> Result<&'a mut [MaybeUninit<u8>], Refusal> {
    if capacity > isize::MAX as usize {
        return Err(Refusal::Capacity);
    }
    match NonNull::new(data) {
        // SAFETY: not NULL and not too long; the caller promises that the bytes are writable and unshared.
        Some(data) => Ok(unsafe { std::slice::from_raw_parts_mut(data.as_ptr().cast(), capacity) }),
        None if capacity == 0 => Ok(&mut []),
        None => Err(Refusal::Null("buffer")),
    }
}

/// An array of `n` elements. NULL is legal where there are none.
///
/// # Safety
/// `data` is NULL or points to `n` elements that nobody writes to during the call.
pub(super) unsafe fn array<'a, T>(data: *const T, n: usize, what: &'static str) -> Result<&'a [T]> {
    check_count::<T>(n)?;
    match NonNull::new(data.cast_mut()) {
        _ if n == 0 => Ok(&[]),
        // SAFETY: not NULL and not too long; the caller promises that the elements are there.
        Some(data) => Ok(unsafe { std::slice::from_raw_parts(data.as_ptr(), n) }),
        None => Err(null(what)),
    }
}

/// Places for `n` elements. NULL is legal where there are none.
///
/// # Safety
/// `data` is NULL or points to `n` writable places that nobody else uses during the call.
pub(super) unsafe fn places<'a, T>(
    data: *mut T,
    n: usize,
    what: &'static str,
) -> Result<&'a mut [MaybeUninit<T>]> {
    check_count::<T>(n)?;
    match NonNull::new(data) {
        _ if n == 0 => Ok(&mut []),
        // SAFETY: not NULL and not too long; the caller promises that the places are writable, unshared.
        Some(data) => Ok(unsafe { std::slice::from_raw_parts_mut(data.as_ptr().cast(), n) }),
        None => Err(null(what)),
    }
}

/// Refuses a number of elements that no memory could hold.
pub(super) fn check_count<T>(n: usize) -> Result<()> {
    if n > isize::MAX as usize / size_of::<T>() {
        return Err(Error::new(ErrorKind::Invalid, "the number of elements is out of range"));
    }
    Ok(())
}

/// A key of a batch.
///
/// # Safety
/// As for [`key`], with the two fields.
pub(super) unsafe fn key_of<'a>(bytes: &lc_bytes) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise is the same.
    Ok(unsafe { key(bytes.data, bytes.len)? })
}

/// A value of a batch.
///
/// # Safety
/// As for [`value`], with the two fields.
pub(super) unsafe fn value_of<'a>(bytes: &lc_bytes) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise is the same.
    Ok(unsafe { value(bytes.data, bytes.len)? })
}

/// A NUL-terminated text in UTF-8.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated text that nobody writes to during the call.
pub(super) unsafe fn text<'a>(text: *const c_char, what: &'static str) -> Result<&'a str> {
    if text.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL; the caller promises that a NUL ends it.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("the {what} is not UTF-8")))
}

/// The name of a file, in whichever bytes the file system has.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path> {
    if path.is_null() {
        return Err(null("path"));
    }
    // SAFETY: not NULL; the caller promises that a NUL ends it.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the path is empty"));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// Bytes of the caller to be kept. No memory for them is an error, not the end of the process.
pub(super) fn copied(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())
        .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for bytes of this size"))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Converts the elements of an array; no memory for that is an error, not the end of the process.
pub(super) fn collect<T, U>(
    elements: impl Iterator<Item = T>,
    n: usize,
    convert: impl Fn(T) -> Result<U>,
) -> Result<Vec<U>> {
    let mut converted = Vec::new();
    converted
        .try_reserve_exact(n)
        .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for an array of this size"))?;
    for element in elements {
        converted.push(convert(element)?);
    }
    Ok(converted)
}

/// An output parameter.
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `place` is NULL or a writable, aligned place that nobody else uses during the call.
    #[inline]
    pub(super) unsafe fn new(place: *mut T, what: &'static str) -> Result<Self, Refusal> {
        NonNull::new(place).map(Self).ok_or(Refusal::Null(what))
    }

    /// As [`Out::new`], but NULL is legal: nothing is asked for.
    ///
    /// # Safety
    /// As for [`Out::new`].
    #[inline]
    pub(super) unsafe fn optional(place: *mut T) -> Option<Self> {
        NonNull::new(place).map(Self)
    }

    /// Writes the parameter; the last thing that a function does.
    #[inline]
    pub(super) fn put(&self, value: T) {
        // SAFETY: `new` was promised that the place may be written.
        unsafe { self.0.write(value) };
    }
}

/// An input structure of which the caller knows `size` bytes: what it does not know is as in `zero`, what
/// the library does not know has to be zero. `None` where it is NULL.
///
/// # Safety
/// `place` is NULL or has `size` bytes that nobody writes to during the call, and every pattern of bits is
/// a `T`.
pub(super) unsafe fn sized_in<T: Copy>(
    place: *const T,
    size: usize,
    zero: T,
    what: &'static str,
) -> Result<Option<T>> {
    if place.is_null() {
        return Ok(None);
    }
    check_size(size, what)?;
    let known = size.min(size_of::<T>());
    // SAFETY: not NULL, not too long, and the caller promises that the bytes are there.
    let tail = unsafe { std::slice::from_raw_parts(place.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|byte| *byte != 0) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{what} has a field of a later version that is not 0"),
        ));
    }
    let mut value = zero;
    // SAFETY: both are at least `known` bytes long, and `value` is a structure of its own. It is copied as
    // bytes, so that neither alignment nor a cut between fields matters.
    unsafe { place.cast::<u8>().copy_to_nonoverlapping((&raw mut value).cast(), known) };
    Ok(Some(value))
}

/// Refuses the size of a structure that none has.
fn check_size(size: usize, what: &'static str) -> Result<()> {
    if size > STRUCT_MAX {
        return Err(Error::new(ErrorKind::Invalid, format!("the size of {what} is out of range")));
    }
    Ok(())
}

/// An output structure together with the size that the caller knows of it.
pub(super) struct SizedOut<T> {
    place: NonNull<T>,
    size: usize,
}

/// # Safety
/// `place` is NULL or has `size` writable bytes that nobody else uses during the call.
pub(super) unsafe fn sized_out<T>(
    place: *mut T,
    size: usize,
    what: &'static str,
) -> Result<SizedOut<T>> {
    check_size(size, what)?;
    let place = NonNull::new(place).ok_or_else(|| null(what))?;
    Ok(SizedOut { place, size })
}

impl<T: Copy> SizedOut<T> {
    /// Writes as much of the structure as the caller has room for, and zeroes what it has beyond.
    pub(super) fn put(&self, value: T) {
        let place = self.place.as_ptr().cast::<u8>();
        let known = self.size.min(size_of::<T>());
        // SAFETY: `sized_out` was promised `size` writable bytes, and `value` is a structure of its own.
        // It is copied as bytes, so that neither alignment nor padding matters.
        unsafe {
            place.copy_from_nonoverlapping((&raw const value).cast(), known);
            place.add(known).write_bytes(0, self.size - known);
        }
    }
}

/// Copies `text` with a terminating NUL, cut between two characters where `buffer` is too short. Does
/// nothing where there is no buffer.
pub(super) fn copy_text(text: &str, buffer: &mut [MaybeUninit<u8>]) {
    let Some(room) = buffer.len().checked_sub(1) else { return };
    let mut len = text.len().min(room);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    for (to, from) in buffer.iter_mut().zip(&text.as_bytes()[..len]) {
        // A NUL inside would end the text for C.
        to.write(if *from == 0 { b'?' } else { *from });
    }
    buffer[len].write(0);
}

#[cold]
pub(super) fn null(what: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what} is NULL"))
}
