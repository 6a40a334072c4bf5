//! What the operations beyond get and set store, and what they make of stored bytes: all that these
//! operations know of the envelope.

use super::commands::Keyspace;
use crate::envelope::{self, About, Header, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;

/// Flags in the fifth byte of a header: a stale window, tags, negative.
const CONDITIONS: u8 = 0x02 | 0x04 | 0x20;

impl Keyspace {
    /// Whether values are stored as they are, so that none has a header.
    pub(super) fn is_raw(&self) -> bool {
        !self.envelope.has_headers()
    }

    /// Whether the first bytes of a stored value say that it has conditions: tags, a stale window, or
    /// that there is no value.
    #[inline]
    pub(super) fn has_conditions(&self, stored: &[u8]) -> bool {
        stored.starts_with(&envelope::MAGIC)
            && stored.get(4).is_some_and(|flags| flags & CONDITIONS != 0)
            && !self.is_raw()
    }

    /// The bytes to store for a value. [`ErrorKind::Unsupported`] for conditions that have no place.
    pub(super) fn stored(
        &self,
        key: &[u8],
        value: &[u8],
        stale_ms: Option<u64>,
        tags: Vec<Tag>,
    ) -> Result<Vec<u8>> {
        if stale_ms.is_some() || !tags.is_empty() {
            self.needs_envelope()?;
        }
        let about = About { stale_ms, tags, negative: false };
        Ok(self.envelope.encode(key, value, &about)?.to_vec())
    }

    /// What compare-and-set holds against the digest of a payload that is not stored as it is.
    pub(super) fn digests(&self, payload: &[u8]) -> Vec<Vec<u8>> {
        if self.is_raw() {
            return Vec::new();
        }
        self.envelope.digests(payload).iter().map(|digest| digest.to_vec()).collect()
    }

    /// The header of stored bytes; the one that says nothing where there is none. Nobody vouches for it
    /// before the value was opened.
    pub(super) fn header(&self, stored: &[u8]) -> Result<Header> {
        Ok(envelope::decode(stored)?.header.unwrap_or_default())
    }

    /// The value in bytes whose conditions hold, and whether they say that there is none.
    pub(super) fn opened(&self, key: &[u8], stored: Vec<u8>) -> Result<(Value, bool)> {
        let opened = self.envelope.open(key, stored)?;
        Ok((Value::from_vec(opened.bytes, opened.start)?, opened.about.negative))
    }

    /// Refuses to count where the server can't: it has no keys.
    pub(super) fn needs_plain_numbers(&self) -> Result<()> {
        if self.envelope.encrypts() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "numbers are encrypted, and the server can't add to them",
            ));
        }
        Ok(())
    }

    /// Refuses what has its place in the header where there is none.
    pub(super) fn needs_envelope(&self) -> Result<()> {
        if self.is_raw() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "tags and stale windows need the envelope, which wire=raw leaves out",
            ));
        }
        Ok(())
    }

    /// Refuses what concerns all keys of a cache, or needs keys of the library's own.
    pub(super) fn needs_prefix(&self) -> Result<()> {
        if self.prefix.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "enumerating, clearing, tags and locks need a prefix",
            ));
        }
        Ok(())
    }

    /// A key as it is stored.
    pub(super) fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}
