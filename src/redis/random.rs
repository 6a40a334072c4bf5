//! Random bytes of the operating system: not even a forked child draws the same as its parent.

use crate::error::{Error, ErrorKind, Result};

/// Drawn now.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Io, "the operating system gives no random bytes"))?;
    Ok(bytes)
}
