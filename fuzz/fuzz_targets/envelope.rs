//! Stored values of whatever bytes: see the body.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/envelope.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
