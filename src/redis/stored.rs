//! What the operations beyond get and set store, and what they make of stored bytes: all that these
//! operations know of the envelope.

use super::commands::Keyspace;
use crate::config::Wire;
use crate::envelope::{self, Header, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::key::check_value;
use crate::value::Value;

/// Flags in the fifth byte of a header: a stale window, tags.
const CONDITIONS: u8 = 0x02 | 0x04;

impl Keyspace {
    /// Whether values are stored as they are, so that none has a header.
    pub(super) fn is_raw(&self) -> bool {
        self.wire == Wire::Raw
    }

    /// Whether the first bytes of a stored value say that it has conditions: tags or a stale window.
    #[inline]
    pub(super) fn has_conditions(&self, stored: &[u8]) -> bool {
        stored.starts_with(&envelope::MAGIC)
            && stored.get(4).is_some_and(|flags| flags & CONDITIONS != 0)
            && !self.is_raw()
    }

    /// The bytes to store for a value. [`ErrorKind::Unsupported`] for conditions that have no place.
    pub(super) fn stored(
        &self,
        _key: &[u8],
        value: &[u8],
        stale_ms: Option<u64>,
        tags: Vec<Tag>,
    ) -> Result<Vec<u8>> {
        if stale_ms.is_none() && tags.is_empty() {
            return Ok(envelope::encode(value, self.wire).to_vec());
        }
        self.needs_envelope()?;
        envelope::encode_with(&Header { stale_ms, tags, ..Header::default() }, value)
    }

    /// What compare-and-set holds against the digest of a payload that is not stored as it is.
    pub(super) fn digests(&self, _payload: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The header of stored bytes; the one that says nothing where there is none.
    pub(super) fn header(&self, stored: &[u8]) -> Result<Header> {
        Ok(envelope::decode(stored)?.header.unwrap_or_default())
    }

    /// The value in bytes whose conditions hold, `None` where they say that there is none.
    pub(super) fn opened(&self, _key: &[u8], stored: Vec<u8>) -> Result<Option<Value>> {
        let decoded = envelope::decode(&stored)?;
        let start = match &decoded.header {
            Some(header) if header.negative => return Ok(None),
            Some(header) if header.seal.is_none() && header.compression.is_none() => decoded.start,
            _ => match envelope::payload_start(&stored, self.wire)? {
                Some(start) => start,
                None => return Ok(None),
            },
        };
        check_value(&stored[start..], self.max_value)?;
        Value::from_vec(stored, start).map(Some)
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
