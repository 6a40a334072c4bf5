//! Operations on a Local cache, beside a plain map: see the body.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/operations.rs"]
mod body;

fuzz_target!(|data: &[u8]| drop(body::run(data)));
