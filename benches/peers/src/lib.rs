//! quick_cache, moka and foyer as contenders of `benches/local`: each is called natively, in a loop that is
//! compiled for it (`contender.h` says what a contender is). The library's side of a row pays its C boundary;
//! these pay none.
//!
//! All three have foldhash, which is faster than their defaults, and the plainest set-up: no TTL, no
//! listeners, no statistics. With `timed` (for memory per entry) moka gets its TTL, and the others, which
//! have none, an expiry beside the value.

mod contender;
mod foyer;
mod moka;
mod quick_cache;

use std::ffi::{CStr, c_char};
use std::ptr;

use contender::{Contender, contender};

/// The contender of that name, or null.
///
/// # Safety
/// `name` is a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_find(name: *const c_char) -> *const Contender {
    static ALL: [Contender; 3] = [
        contender::<quick_cache::QuickCache>(c"quick_cache"),
        contender::<moka::Moka>(c"moka"),
        contender::<foyer::Foyer>(c"foyer"),
    ];
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    ALL.iter().find(|one| one.name() == name).map_or(ptr::null(), ptr::from_ref)
}
