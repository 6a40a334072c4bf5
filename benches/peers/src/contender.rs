//! `contender.h` in Rust: the structures, and the loops over the operations, compiled for each peer.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::slice::from_raw_parts;

/// One cache under measurement.
pub(crate) trait Peer: Sync {
    fn open(setup: &Setup) -> Self;
    /// Copies the value into `buf`, which is as long as the value should be; false for a miss.
    fn get_into(&self, key: &[u8], buf: &mut [u8]) -> bool;
    /// Pins the value, looks at its length, and gives it back.
    fn get(&self, key: &[u8], len: usize) -> bool;
    fn set(&self, key: &[u8], value: &[u8]);
}

#[repr(C)]
pub(crate) struct Setup {
    capacity: usize,
    keys: usize,
    timed: c_int,
    url: *const c_char,
}

impl Setup {
    /// The bound in entries.
    pub(crate) fn capacity(&self) -> usize {
        if self.capacity == 0 { 2 * self.keys } else { self.capacity }
    }

    pub(crate) fn timed(&self) -> bool {
        self.timed != 0
    }
}

#[repr(C)]
struct Key {
    len: u8,
    bytes: [u8; 39],
}

impl Key {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[repr(C)]
struct Work {
    keys: *const Key,
    n: usize,
    value: *const u8,
    value_len: usize,
    buf: *mut u8,
}

/// `struct bench_contender`.
#[repr(C)]
pub struct Contender {
    name: *const c_char,
    open: unsafe extern "C" fn(*const Setup) -> *mut c_void,
    run: unsafe extern "C" fn(*mut c_void, c_int, *const Work) -> usize,
    close: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: the name is static, and the rest are functions.
unsafe impl Sync for Contender {}

impl Contender {
    pub(crate) fn name(&self) -> &'static CStr {
        // SAFETY: `contender` was given a static text.
        unsafe { CStr::from_ptr(self.name) }
    }
}

pub(crate) const fn contender<P: Peer>(name: &'static CStr) -> Contender {
    Contender { name: name.as_ptr(), open: open::<P>, run: run::<P>, close: close::<P> }
}

unsafe extern "C" fn open<P: Peer>(setup: *const Setup) -> *mut c_void {
    // SAFETY: the harness passes a set-up.
    Box::into_raw(Box::new(P::open(unsafe { &*setup }))).cast()
}

unsafe extern "C" fn close<P: Peer>(peer: *mut c_void) {
    // SAFETY: the harness passes what `open` gave it, once.
    drop(unsafe { Box::from_raw(peer.cast::<P>()) });
}

unsafe extern "C" fn run<P: Peer>(peer: *mut c_void, op: c_int, work: *const Work) -> usize {
    // SAFETY: the harness passes what `open` gave it, and work whose pointers are good for their lengths; only
    // filling, which reads nothing, comes without a buffer.
    let (peer, keys, value, buf) = unsafe {
        let work = &*work;
        let buf: &mut [u8] = if work.buf.is_null() {
            &mut []
        } else {
            std::slice::from_raw_parts_mut(work.buf, work.value_len)
        };
        (
            &*peer.cast::<P>(),
            from_raw_parts(work.keys, work.n),
            from_raw_parts(work.value, work.value_len),
            buf,
        )
    };
    let keys = keys.iter().map(Key::bytes);
    let set = |key| {
        peer.set(key, value);
        true
    };
    // The order is that of `enum bench_op`.
    match op {
        0 => keys.filter(|key| peer.get_into(key, buf)).count(),
        1 => keys.filter(|key| peer.get(key, value.len())).count(),
        2 | 3 => keys.filter(|key| set(key)).count(),
        4 => keys.filter(|key| !peer.get_into(key, buf)).count(),
        5 => (1..)
            .zip(keys)
            .filter(|(turn, key)| if turn % 20 == 0 { set(key) } else { peer.get_into(key, buf) })
            .count(),
        6 => keys.filter(|key| peer.get_into(key, buf) || !set(key)).count(),
        _ => 0,
    }
}
