//! `LocalCache.get` and `LocalCache.set` as the interpreter calls them: without the argument parsing and
//! the bookkeeping of PyO3's methods, which cost as much as the look-up itself.
//!
//! Only the plain case is done here: positional arguments (and `ttl=`), a `str` or `bytes` key, a `bytes`
//! value, a TTL that is an `int` or None. For everything else, and wherever the core answers with an
//! error, the methods of the same name of `Cache` are called: they have done nothing yet when they begin,
//! and they are the one place that says what is wrong.
//!
//! No reference of PyO3's is dropped here while this thread counts as detached for it (it was attached by
//! the interpreter, not by PyO3), except where nothing depends on when.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use lighter_cache::{AnyCache, BlockingCache, Error, ErrorKind, LocalCache, Ttl};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::cache::Cache;
use crate::{errors, slot, view};

type Object = *mut ffi::PyObject;

const GET_DOC: &CStr = c"get($self, key, default=None)\n--\n\n\
    The value of `key` as bytes, or `default`.";
const SET_DOC: &CStr = c"set($self, key, value, ttl=..., *, stale=..., tags=...)\n--\n\n\
    Stores `value`, any contiguous buffer.\n\n\
    `ttl`: seconds, timedelta, text such as \"5m\", None for never; omitted: the cache's\n\
    `default_ttl`. Zero or less: nothing is stored, an old value is removed. At most 100 years.\n\
    `stale`: how long past its TTL the value may be served where a reload fails. `tags`: names by\n\
    which `invalidate_tag` finds it.";

/// The methods of `Cache` that do what is not done here.
struct General {
    get: Py<PyAny>,
    set: Py<PyAny>,
    /// The interned name of the keyword.
    ttl: Py<PyAny>,
}

static GENERAL: PyOnceLock<General> = PyOnceLock::new();

/// Gives `class`, which is `LocalCache`, its two methods.
pub(crate) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let base = py.get_type::<Cache>();
    let general = General {
        get: base.getattr("get")?.unbind(),
        set: base.getattr("set")?.unbind(),
        ttl: PyString::intern(py, "ttl").into_any().unbind(),
    };
    // A second import finds the first one's.
    let _ = GENERAL.set(py, general);
    add(class, c"get", GET_DOC, get)?;
    add(class, c"set", SET_DOC, set)
}

fn add(
    class: &Bound<'_, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
    method: ffi::PyCFunctionFastWithKeywords,
) -> PyResult<()> {
    // Never freed: the descriptor points to it for as long as the process lives.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr().cast::<c_char>(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method },
        ml_flags: (ffi::METH_FASTCALL | ffi::METH_KEYWORDS) as c_int,
        ml_doc: doc.as_ptr().cast::<c_char>(),
    }));
    // SAFETY: `class` is a type, the definition lives for ever, and its flags are those of its function.
    let descriptor = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), descriptor)?
    };
    class.setattr(&*name.to_string_lossy(), descriptor)
}

/// What came of the plain case.
enum Done {
    /// The result, a new reference, or null with an exception set.
    With(Object),
    /// The key is not there.
    Missing,
    /// It is not the plain case.
    Not,
}

unsafe extern "C" fn get(
    this: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    names: Object,
) -> Object {
    if names.is_null() && (count == 1 || count == 2) {
        // SAFETY: the interpreter calls this attached, with `count` live arguments.
        let (py, key) = unsafe { (Python::assume_attached(), *args) };
        let done = caught(py, || match plain(py, &key) {
            // SAFETY: the descriptor has checked the class of `this`, and made sure that it lives.
            Some(key) => unsafe { slot::peek(py, this, |cache| find(py, cache, key)) },
            None => Done::Not,
        });
        match done {
            Done::With(object) => return object,
            Done::Missing => {
                // SAFETY: as above; the result is a new reference.
                return unsafe {
                    let default = if count == 2 { *args.add(1) } else { ffi::Py_None() };
                    ffi::Py_INCREF(default);
                    default
                };
            }
            Done::Not => {}
        }
    }
    // SAFETY: the arguments of this call.
    unsafe { general(this, args, count, names, |general| &general.get) }
}

unsafe extern "C" fn set(
    this: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    names: Object,
) -> Object {
    if count == 2 || count == 3 {
        // SAFETY: the interpreter calls this attached, with `count` live arguments, and as many more as
        // there are names.
        let (py, key, value, ttl) = unsafe {
            let py = Python::assume_attached();
            (py, *args, *args.add(1), plain_ttl(py, args.add(2), count - 2, names))
        };
        let done = caught(py, || match (plain(py, &key), bytes(&value), ttl) {
            // SAFETY: the descriptor has checked the class of `this`, and made sure that it lives.
            (Some(key), Some(value), Some(ttl)) => unsafe {
                slot::peek(py, this, |cache| store(cache, key, value, ttl))
            },
            _ => Done::Not,
        });
        if let Done::With(object) = done {
            return object;
        }
    }
    // SAFETY: the arguments of this call.
    unsafe { general(this, args, count, names, |general| &general.set) }
}

#[inline]
fn local(cache: Option<&AnyCache>) -> Option<&LocalCache> {
    match cache {
        Some(AnyCache::Local(cache)) => Some(cache),
        _ => None,
    }
}

#[inline]
fn find(py: Python<'_>, cache: Option<&AnyCache>, key: &[u8]) -> Done {
    let Some(cache) = local(cache) else { return Done::Not };
    match cache.get_with(key, |value| view::copy_raw(py, value)) {
        Ok(Some(object)) => Done::With(object),
        Ok(None) => Done::Missing,
        Err(_) => Done::Not,
    }
}

#[inline]
fn store(cache: Option<&AnyCache>, key: &[u8], value: &[u8], ttl: Ttl) -> Done {
    let Some(cache) = local(cache) else { return Done::Not };
    match cache.set(key, value, ttl) {
        // SAFETY: None is always there; the result is a new reference.
        Ok(()) => Done::With(unsafe {
            ffi::Py_INCREF(ffi::Py_None());
            ffi::Py_None()
        }),
        Err(_) => Done::Not,
    }
}

/// The bytes of a key that is `str` without surrogates, or `bytes`.
#[inline]
fn plain<'a>(_py: Python<'_>, key: &'a Object) -> Option<&'a [u8]> {
    // SAFETY: the object lives as long as the caller's reference to it; the text of a `str` is kept by it
    // as UTF-8, for ASCII as it is. What can't be UTF-8 leaves an exception, which goes.
    unsafe {
        if ffi::PyUnicode_Check(*key) == 0 {
            return bytes(key);
        }
        let mut length = 0;
        let text = ffi::PyUnicode_AsUTF8AndSize(*key, &mut length);
        if text.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::slice::from_raw_parts(text.cast(), length as usize))
    }
}

/// The bytes of a `bytes`.
#[inline]
fn bytes(object: &Object) -> Option<&[u8]> {
    // SAFETY: as in `plain`; a `bytes` object never changes, and its pointer is never null.
    unsafe {
        if ffi::PyBytes_Check(*object) == 0 {
            return None;
        }
        let data = ffi::PyBytes_AsString(*object);
        Some(std::slice::from_raw_parts(data.cast(), ffi::PyBytes_Size(*object) as usize))
    }
}

/// The TTL of a call: `rest` is what comes after the value, `count` of it by position.
///
/// # Safety
/// The arguments of a fastcall: as many live objects as `count` and `names` say.
#[inline]
unsafe fn plain_ttl(
    py: Python<'_>,
    rest: *const Object,
    count: ffi::Py_ssize_t,
    names: Object,
) -> Option<Ttl> {
    // SAFETY: by the contract of this function.
    let ttl = unsafe {
        if names.is_null() {
            if count == 0 {
                return Some(Ttl::Default);
            }
            *rest
        } else if count == 0
            && ffi::PyTuple_Size(names) == 1
            && ffi::PyTuple_GetItem(names, 0) == GENERAL.get(py)?.ttl.as_ptr()
        {
            *rest
        } else {
            return None;
        }
    };
    // SAFETY: a live object; the conversion of an exact int runs no code, and what it can't hold is left
    // to the general method, without its exception.
    unsafe {
        if ttl == ffi::Py_None() {
            return Some(Ttl::Never);
        }
        if ffi::PyLong_CheckExact(ttl) == 0 {
            return None;
        }
        let mut overflow = 0;
        let seconds = ffi::PyLong_AsLongLongAndOverflow(ttl, &mut overflow);
        let seconds = u64::try_from(seconds).ok().filter(|_| overflow == 0)?;
        Some(Ttl::After(Duration::from_secs(seconds)))
    }
}

/// Runs `work`; a panic in it becomes an exception, since nothing may unwind into the interpreter.
#[inline]
fn caught(py: Python<'_>, work: impl FnOnce() -> Done) -> Done {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panicked(py))
}

#[cold]
fn panicked(py: Python<'_>) -> Done {
    errors::raise(py, Error::from(ErrorKind::Panic)).restore(py);
    Done::With(ptr::null_mut())
}

/// Calls one of `Cache`'s methods with the arguments of this call.
///
/// # Safety
/// The arguments of a fastcall to a method of `this`, attached.
#[cold]
unsafe fn general(
    this: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    names: Object,
    which: impl FnOnce(&General) -> &Py<PyAny>,
) -> Object {
    // SAFETY: by the contract of this function; the names are a tuple or null.
    unsafe {
        let py = Python::assume_attached();
        let Some(methods) = GENERAL.get(py) else { return ptr::null_mut() };
        let named = if names.is_null() { 0 } else { ffi::PyTuple_Size(names) };
        let given = (count + named) as usize;
        let mut all = Vec::with_capacity(given + 1);
        all.push(this);
        all.extend((0..given).map(|n| *args.add(n)));
        ffi::PyObject_Vectorcall(which(methods).as_ptr(), all.as_ptr(), count as usize + 1, names)
    }
}
