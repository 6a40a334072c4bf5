//! The version, as macros for the compiler and as functions for the running program.

use std::ffi::c_char;

/// Major version of this header.
pub const LCACHE_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const LCACHE_VERSION_MINOR: u32 = 1;
/// Patch level of this header.
pub const LCACHE_VERSION_PATCH: u32 = 0;
/// The version of this header as one number: major * 1000000 + minor * 1000 + patch.
pub const LCACHE_VERSION_NUMBER: u32 = 1000;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library that runs, as "0.1.0".
///
/// Returns: a static text, never NULL.
/// Threads: any.
/// Blocks: never.
/// Ownership: the text belongs to the library and lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn lc_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The version of the library that runs, as one number; LCACHE_VERSION_NUMBER is that of the header.
///
/// Returns: major * 1000000 + minor * 1000 + patch.
/// Threads: any.
/// Blocks: never.
/// Ownership: none.
#[unsafe(no_mangle)]
pub extern "C" fn lc_version_number() -> u32 {
    LCACHE_VERSION_NUMBER
}

/// The number in `text`, which cargo guarantees to be one.
const fn number(text: &str) -> u32 {
    let (digits, mut value, mut i) = (text.as_bytes(), 0, 0);
    while i < digits.len() {
        value = value * 10 + (digits[i] - b'0') as u32;
        i += 1;
    }
    value
}

// The header can only show literals; the package's version is the truth.
const _: () = {
    assert!(LCACHE_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR")));
    assert!(LCACHE_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR")));
    assert!(LCACHE_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH")));
    let number =
        LCACHE_VERSION_MAJOR * 1_000_000 + LCACHE_VERSION_MINOR * 1000 + LCACHE_VERSION_PATCH;
    assert!(LCACHE_VERSION_NUMBER == number);
};
