//! The file that a Local cache is saved to and loaded from: written whole or not at all, believed whole
//! or not at all. `docs/snapshot-format.md` has the format byte by byte.
//!
//! - `write`: from entries to a file that appears complete under its name
//! - `read`: from a file to entries, once all of it was found sound
//!
//! Left to others: which entries there are, and what is done with them (`local`); keys, nonces and the
//! algorithms of encryption and checksum (`seal`).
//!
//! # Invariants
//! 1. Nothing of a file reaches the cache before the whole of it was verified: each block, their order
//!    and number, the end, and the structure of every entry.
//! 2. Memory is bounded by a block and the largest entry. A length in a file is compared with its limit
//!    before anything is allocated for it, and memory grows only as the bytes arrive.
//! 3. The file under the path is the old one until the new one is complete and on the disk.
//! 4. A TTL is never longer after a load than it was at the save, whatever the wall clock did: what has
//!    passed since is deducted, and where the clock was set back, nothing is.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;

pub(crate) use self::read::load;
pub(crate) use self::write::save;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{VALUE_MAX, check_key};
use crate::ops::TTL_MAX_MS;

/// An entry in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    /// Empty where it is negative.
    pub(crate) value: &'a [u8],
    /// How long it has still to live, in ms; `None` for ever. 0 where it is past that and may only be
    /// served stale.
    pub(crate) remaining_ms: Option<u64>,
    /// How long past that it may still be served where a reload fails, in ms.
    pub(crate) stale_ms: u64,
    /// Each 1 to 65,536 bytes.
    pub(crate) tags: &'a [Vec<u8>],
    /// It says that there is no value.
    pub(crate) negative: bool,
}

/// The first bytes: one that is no ASCII, the name, and what a transfer as text would change.
const MAGIC: [u8; 8] = *b"\x89LCS\r\n\x1a\n";
const VERSION: u16 = 1;
/// The only flag of the header.
const ENCRYPTED: u16 = 1;

const HEADER_LEN: usize = 40;
/// What each block's checksum covers besides the block: the header, its number, kind and length.
const PREFIX_LEN: usize = HEADER_LEN + 8 + BLOCK_HEADER_LEN;
const BLOCK_HEADER_LEN: usize = 8;
/// Most bytes of entries in a block.
const BLOCK_MAX: usize = 256 << 10;

/// A block of entries.
const ENTRIES: u8 = 1;
/// The last block: the numbers of entries and of blocks before it.
const END: u8 = 2;
const END_LEN: usize = 16;

/// Flags of an entry.
const EXPIRES: u8 = 1;
const STALE: u8 = 2;
const NEGATIVE: u8 = 4;
/// Flags, length of the key, of the value, number of tags.
const ENTRY_HEADER_LEN: usize = 1 + 4 + 4 + 2;

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    flags: u16,
    /// 0 where it is not encrypted.
    key_id: u32,
    /// The wall clock when the save began, in ms since 1970.
    saved_at_ms: u64,
    /// Random: no block of another file fits.
    file_id: [u8; 16],
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.saved_at_ms.to_le_bytes());
        bytes[24..].copy_from_slice(&self.file_id);
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self> {
        if bytes[..8] != MAGIC {
            return Err(corrupt("it is none of this library's snapshots"));
        }
        let mut rest = &bytes[8..];
        let version = u16::from_le_bytes(number(&mut rest)?);
        if version != VERSION {
            let message = format!("the snapshot has format {version}, and {VERSION} is known");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let header = Self {
            flags: u16::from_le_bytes(number(&mut rest)?),
            key_id: u32::from_le_bytes(number(&mut rest)?),
            saved_at_ms: u64::from_le_bytes(number(&mut rest)?),
            file_id: number(&mut rest)?,
        };
        if header.flags & !ENCRYPTED != 0 || (!header.is_encrypted() && header.key_id != 0) {
            return Err(corrupt("its header is wrong"));
        }
        Ok(header)
    }

    fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }
}

/// The kind and the length of a block.
fn block_header(kind: u8, len: usize) -> [u8; BLOCK_HEADER_LEN] {
    // `BLOCK_MAX` fits.
    let [a, b, c, d] = (len as u32).to_le_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// What is authenticated or summed beside the bytes of a block.
fn prefix(header: &Header, index: u64, block_header: &[u8; BLOCK_HEADER_LEN]) -> [u8; PREFIX_LEN] {
    let mut bytes = [0; PREFIX_LEN];
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    bytes[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&index.to_le_bytes());
    bytes[HEADER_LEN + 8..].copy_from_slice(block_header);
    bytes
}

/// Refuses a length, time or key that no entry has.
fn check_entry(
    key: &[u8],
    value_len: usize,
    times_ms: [u64; 2],
    negative: bool,
) -> Result<(), &'static str> {
    if check_key(key).is_err() {
        return Err("it has a key that no cache accepts");
    }
    if value_len > VALUE_MAX || negative && value_len > 0 {
        return Err("it has a value that no cache accepts");
    }
    if times_ms.iter().any(|ms| *ms > TTL_MAX_MS) {
        return Err("it has a time of over 100 years");
    }
    Ok(())
}

/// The next bytes of a buffer, of a length that the type says.
fn number<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    *bytes = rest;
    Ok(*number)
}

fn corrupt(why: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the snapshot is not sound: {why}"))
}

fn unwritable(error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("can't write the snapshot: {error}"))
}

fn unreadable(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return corrupt("it is cut short");
    }
    Error::new(ErrorKind::Io, format!("can't read the snapshot: {error}"))
}

/// The wall clock in ms since 1970; 0 before.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
