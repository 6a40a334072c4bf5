//! Files of whatever bytes, loaded by a Local cache: see the body.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/snapshot.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data, body::folder()));
