//! The C API: every exported `lc_...` function, and nothing else of the library leaves it.
//!
//! `include/lighter_cache.h` is generated from these files, comments included; a comment here is a page
//! of the manual there.
//!
//! # Rules of the boundary
//! * An exported function is: check the arguments, call the core, convert the result. Policy lives in
//!   `cache` and below.
//! * Everything runs inside [`guard::guard`]: no panic crosses into C, every error becomes a status, and
//!   the thread's last message is set in one place.
//! * Every pointer is checked for NULL and every length for its limit before a slice is made of them.
//!   Memory that C may not have initialised is `MaybeUninit`, never `&mut [u8]`.
//! * Numbers come in as integers, never as Rust enums: C may pass any.
//! * Output parameters are written last, and only on success. `*len` on `LCACHE_ERANGE` and NULL in an
//!   `lc_value **` on every other outcome are the exceptions.
//! * The order of the modules and of the functions in them is the order of the header.

#![allow(non_camel_case_types, reason = "these are the names of the C API")]
#![allow(unreachable_pub, reason = "the header is made of what is `pub`")]

mod status;

mod types;

mod last_error;

mod life;

mod config;

mod version;

mod bytes;

mod value;

mod batch;

mod expiry;

mod keys;

mod conditional;

mod options;

mod groups;

mod load;

mod lock;

mod warm;

mod snapshot;

mod stats;

mod events;

mod log;

mod context;
mod guard;
mod open_caches;
mod pointers;
