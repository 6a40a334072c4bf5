//! What a value looks like in Redis: an envelope of a small header and the payload, or the bare bytes
//! of another program or of a number. `docs/wire-format.md` is the reference, `header` its layout.
//!
//! Left to others: compressing, encrypting, tags and stale windows (a later version writes them; this
//! one reads such headers and says that it can't serve the value), and all talk with the server.

mod header;
pub(crate) mod typed;

pub use header::{
    Codec, Compression, FIXED_LEN, Header, MAGIC, PLAIN, Seal, TAG_LEN_MAX, TAGS_MAX, Tag, VERSION,
};

use crate::config::Wire;
use crate::error::{Error, ErrorKind, Result};

/// The bytes to store for a payload, in two parts so that the payload need not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    /// The header; empty where the payload is stored raw.
    pub head: &'static [u8],
    /// The payload.
    pub body: &'a [u8],
}

impl Encoded<'_> {
    /// Length of both parts, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether nothing at all is stored: an empty raw value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts in one buffer.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.head, self.body].concat()
    }
}

/// The bytes to store for a plain `payload`. A canonical decimal int64 stays raw, so that the
/// server's own INCR works on it.
#[inline]
pub fn encode(payload: &[u8], wire: Wire) -> Encoded<'_> {
    let raw = wire == Wire::Raw || is_canonical_int(payload);
    Encoded { head: if raw { &[] } else { &PLAIN }, body: payload }
}

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
    /// The payload is `stored[start..]`.
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

/// Where the value begins within `stored`, `None` where the entry says that there is no value.
///
/// [`ErrorKind::Corrupt`] as [`decode`]. [`ErrorKind::Unsupported`] for a value that is compressed,
/// encrypted, tagged or has a stale window: this version can't tell what it is or whether it holds.
#[inline]
pub fn payload_start(stored: &[u8], wire: Wire) -> Result<Option<usize>> {
    if wire == Wire::Raw {
        Ok(Some(0))
    } else if stored.starts_with(&PLAIN) {
        Ok(Some(FIXED_LEN))
    } else {
        odd_payload_start(stored)
    }
}

#[cold]
fn odd_payload_start(stored: &[u8]) -> Result<Option<usize>> {
    let Decoded { header, start } = decode(stored)?;
    let Some(header) = header else {
        return Ok(Some(start));
    };
    let needs = if header.seal.is_some() {
        "encrypted"
    } else if header.compression.is_some() {
        "compressed"
    } else if !header.tags.is_empty() {
        "tagged"
    } else if header.stale_ms.is_some() {
        "stored with a stale window"
    } else {
        return Ok(if header.negative { None } else { Some(start) });
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the stored value is {needs}; a later version of the library is needed to read it"),
    ))
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
            assert_eq!(encode(raw.as_bytes(), Wire::Envelope).to_vec(), raw.as_bytes());
        }
        for other in ["", "-", "05", "-0", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808"] {
            assert!(!is_canonical_int(other.as_bytes()), "{other}");
            assert!(encode(other.as_bytes(), Wire::Envelope).to_vec().starts_with(&PLAIN));
        }
    }

    #[test]
    fn the_plain_header_is_what_the_encoder_writes() {
        assert_eq!(encode_with(&Header::default(), b"").unwrap(), PLAIN);
    }
}
