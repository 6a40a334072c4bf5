//! The calling thread's last error message: the one place where it is set, and `lc_last_error`.
//!
//! The message sits in a fixed buffer in thread-local storage without a destructor, so that a thread
//! may end after the library was unloaded, and nothing is allocated on an error path.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::mem::MaybeUninit;

use super::pointers;
use super::status::status_of;
use super::types::lc_status;
use crate::error::Error;

/// Bytes of the buffer; the last one is always the terminating NUL.
const CAPACITY: usize = 512;

thread_local! {
    static MESSAGE: UnsafeCell<[MaybeUninit<u8>; CAPACITY]> =
        const { UnsafeCell::new([MaybeUninit::new(0); CAPACITY]) };
}

/// Keeps the message of `error` for this thread and returns its status.
#[cold]
pub(super) fn record(error: &Error) -> lc_status {
    MESSAGE.with(|buffer| {
        // SAFETY: the buffer is this thread's own, and no other reference to it exists: `record` does
        // not call itself, and `lc_last_error` hands out a raw pointer that C reads between calls.
        pointers::copy_text(error.message(), unsafe { &mut *buffer.get() });
    });
    status_of(error.kind())
}

/// The message of this thread's last failed call.
///
/// Returns: one line of text, never NULL; "" if no call has failed on this thread. It is kept over
/// calls that succeed or miss, so read it right after a negative status. It never holds a key, a
/// value or a secret. Programs that switch tasks within one thread read it before they switch.
/// Threads: any; each thread has its own.
/// Blocks: never.
/// Ownership: the text belongs to the library and is valid until this thread's next failed call.
#[unsafe(no_mangle)]
pub extern "C" fn lc_last_error() -> *const c_char {
    MESSAGE.with(|buffer| buffer.get().cast_const().cast())
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::error::ErrorKind;
    use crate::ffi::status::LCACHE_EIO;

    fn last() -> String {
        // SAFETY: `lc_last_error` returns a NUL-terminated text, and no call fails while it is read.
        unsafe { CStr::from_ptr(lc_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn each_thread_has_its_own() {
        assert_eq!(last(), "");
        assert_eq!(record(&Error::new(ErrorKind::Io, "no such file")), LCACHE_EIO);
        assert_eq!(last(), "no such file");
        std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
        record(&Error::new(ErrorKind::Io, "short"));
        assert_eq!(last(), "short");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        for lead in 0..4 {
            record(&Error::new(ErrorKind::Io, format!("{}{}", "x".repeat(lead), "€".repeat(999))));
            let text = last();
            assert!(text.len() < CAPACITY && text.len() >= CAPACITY - 3);
            assert!(text.ends_with('€'));
        }
        record(&Error::new(ErrorKind::Io, "a\0b"));
        assert_eq!(last(), "a?b");
    }
}
