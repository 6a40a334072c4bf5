//! What a value looks like in Redis: an envelope of a small header and the payload, or the bare bytes
//! of another program or of a number. `docs/wire-format.md` is the reference.
//!
//! # Rooms
//! | file | what |
//! |---|---|
//! | `mod` | taking stored bytes apart, and putting them together, from parts that are ready |
//! | `header` | the layout of the header |
//! | `pack` | [`Envelope`]: how one cache writes and reads, with its compression and its keys |
//! | `compress` | zstd and LZ4, bounded |
//! | `typed` | values of the Rust API as payloads |
//!
//! Left to others: what tags and stale windows mean, and all talk with the server.

mod compress;
mod header;
mod pack;
pub(crate) mod typed;

pub use header::{
    Compression, FIXED_LEN, Header, MAGIC, PLAIN, Seal, TAG_LEN_MAX, TAGS_MAX, Tag, VERSION,
};
pub use pack::{About, Encoded, Envelope, Opened};

use crate::error::{Error, ErrorKind, Result};

/// The bytes to store for a `body` of which `header` says more than that it is plain. The body is
/// stored as it is: compressing and encrypting it comes before.
pub fn encode_with(header: &Header, body: &[u8]) -> Result<Vec<u8>> {
    if header.negative && !body.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a negative entry has a payload"));
    }
    let mut stored = Vec::with_capacity(FIXED_LEN + body.len());
    header.encode(&mut stored)?;
    stored.extend_from_slice(body);
    Ok(stored)
}

/// Where the payload of stored bytes begins, and what the header says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The header; `None` for bytes without the magic, which are a payload as they are.
    pub header: Option<Header>,
    /// The payload is `stored[start..]`, compressed and encrypted as the header says.
    pub start: usize,
}

/// Takes stored bytes apart, whatever fields they have. Bytes without the magic are another
/// program's, and whole. [`ErrorKind::Corrupt`] where there is a magic, or one with a flipped bit,
/// and the rest of the header is damaged.
pub fn decode(stored: &[u8]) -> Result<Decoded> {
    if !stored.starts_with(&MAGIC) {
        if header::is_damaged_magic(stored) {
            return Err(header::corrupt("a bit of its magic is flipped"));
        }
        return Ok(Decoded { header: None, start: 0 });
    }
    let (header, start) = Header::decode(stored)?;
    Ok(Decoded { header: Some(header), start })
}

/// Whether `bytes` are an int64 as the server itself would print it.
#[inline]
pub fn is_canonical_int(bytes: &[u8]) -> bool {
    // 20 bytes is "-9223372036854775808", the longest.
    if bytes.is_empty() || bytes.len() > 20 {
        return false;
    }
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [b'0'] => digits.len() == bytes.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical && std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_ints() {
        for raw in ["0", "5", "-17", "9223372036854775807", "-9223372036854775808"] {
            assert!(is_canonical_int(raw.as_bytes()), "{raw}");
        }
        for other in ["", "-", "05", "-0", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808"] {
            assert!(!is_canonical_int(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_plain_header_is_what_the_encoder_writes() {
        assert_eq!(encode_with(&Header::default(), b"").unwrap(), PLAIN);
    }
}
