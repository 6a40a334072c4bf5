//! [`Envelope`]: how one cache writes its values and reads what is stored, made once from its options.
//!
//! Writing: compress where it pays, then encrypt, and put the header before it. Reading: the reverse,
//! each step bounded by the largest value. A plain value, the usual case, is neither copied nor looked
//! at beyond its first bytes.
//!
//! Left to others: whether a value with tags or a stale window still holds ([`Opened::served`] refuses
//! them), and how the parts get to the server.

use std::borrow::Cow;
use std::sync::Arc;

use super::compress::Contexts;
use super::header::{Compression, FIXED_LEN, Header, PLAIN, Seal, Tag, corrupt};
use super::{Decoded, decode, is_canonical_int};
use crate::config::{Codec, RedisOptions, Wire};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{check_value, check_value_len};
use crate::seal::{self, Digest, Keyring, Sealing, TAG_LEN};

/// How one cache writes and reads its values.
pub struct Envelope {
    wire: Wire,
    /// What every key's associated data begin with: the prefix after its length.
    place: Vec<u8>,
    /// The codec, and the shortest payload that it is tried on.
    compression: Option<(Codec, usize)>,
    keys: Option<Arc<Keyring>>,
    /// The largest payload, in bytes.
    max_value: usize,
    contexts: Contexts,
}

/// What is stored with a payload besides how it is packed. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// How long past its TTL the value may be served, in milliseconds.
    pub stale_ms: Option<u64>,
    /// The value's tags.
    pub tags: Vec<Tag>,
    /// There is no such value, a loader said.
    pub negative: bool,
}

impl About {
    /// Of a value as it is.
    pub const NOTHING: Self = Self { stale_ms: None, tags: Vec::new(), negative: false };

    fn says_nothing(&self) -> bool {
        self.stale_ms.is_none() && self.tags.is_empty() && !self.negative
    }
}

/// The bytes to store for a payload, in two parts so that a plain one need not be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    /// The header; empty where the payload is stored raw.
    pub head: Cow<'static, [u8]>,
    /// The payload, compressed and encrypted where the header says so.
    pub body: Cow<'a, [u8]>,
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
        [&*self.head, &*self.body].concat()
    }
}

/// A stored value that was read: the payload is `bytes[start..]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What is left of the stored bytes, or the payload in a buffer of its own.
    pub bytes: Vec<u8>,
    /// Where the payload begins.
    pub start: usize,
    /// What was stored with it.
    pub about: About,
}

impl Opened {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes, and where in them the value begins, for those who know neither tags nor stale
    /// windows: `None` where the entry says that there is no value, [`ErrorKind::Unsupported`] where
    /// it can't be told whether the value still holds.
    #[inline]
    pub fn served(self) -> Result<Option<(Vec<u8>, usize)>> {
        if self.about.says_nothing() {
            return Ok(Some((self.bytes, self.start)));
        }
        let needs = if !self.about.tags.is_empty() {
            "tagged"
        } else if self.about.stale_ms.is_some() {
            "stored with a stale window"
        } else {
            return Ok(None);
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the stored value is {needs}; a later version of the library is needed to read it"
            ),
        ))
    }
}

impl Envelope {
    /// How values below the prefix of `options` are written and read. The keys are those of
    /// [`Envelope::keys`]; with [`Wire::Raw`] there is neither compression nor encryption.
    pub fn new(options: &RedisOptions, keys: Option<Arc<Keyring>>, max_value: usize) -> Self {
        let prefix = options.prefix.as_bytes();
        // The prefix is an option, and short.
        let length = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        Self {
            wire: options.wire,
            place: [&length.to_le_bytes(), prefix].concat(),
            compression: options.compress.map(|codec| (codec, options.compress_min_bytes)),
            keys,
            max_value,
            contexts: Contexts::default(),
        }
    }

    /// The keys that `options` name. [`ErrorKind::Config`] where they can't be read, or where there is
    /// no header to go with them or with compression.
    pub fn keys(options: &RedisOptions) -> Result<Option<Arc<Keyring>>> {
        if options.wire == Wire::Raw {
            for (name, given) in [
                ("compress", options.compress.is_some()),
                ("encryption_keys", options.encryption_keys.is_some()),
            ] {
                if given {
                    let why = "contradicts `wire=raw`, which has no header";
                    return Err(Error::new(ErrorKind::Config, format!("option `{name}` {why}")));
                }
            }
        }
        let keys = options.encryption_keys.as_ref();
        keys.map(|keys| Keyring::parse(keys.expose()).map(Arc::new)).transpose()
    }

    /// Whether values have headers; with [`Wire::Raw`] they are stored as they are.
    pub fn has_headers(&self) -> bool {
        self.wire != Wire::Raw
    }

    /// Whether values are encrypted, and those that are not refused.
    pub fn encrypts(&self) -> bool {
        self.keys.is_some()
    }

    /// The digests of which a compressed or encrypted value has one in its header if its payload is
    /// `payload`: one for each key, or the one without a key where nothing is encrypted.
    pub fn digests(&self, payload: &[u8]) -> Vec<Digest> {
        match &self.keys {
            None => vec![seal::digest(payload)],
            Some(keys) => keys.digests(payload).map(|(_, digest)| digest).collect(),
        }
    }

    /// The bytes to store for `payload` under `key`, which has no prefix. A canonical decimal int64 of
    /// which there is no more to say stays raw, so that the server's own INCR works on it.
    ///
    /// [`ErrorKind::Invalid`] where `about` breaks a rule of the format, or says something that can't
    /// be stored with [`Wire::Raw`].
    #[inline]
    pub fn encode<'a>(&self, key: &[u8], payload: &'a [u8], about: &About) -> Result<Encoded<'a>> {
        let body = Cow::Borrowed(payload);
        if self.wire == Wire::Raw && about.says_nothing() {
            return Ok(Encoded { head: Cow::Borrowed(&[]), body });
        }
        if self.keys.is_none() && about.says_nothing() {
            if is_canonical_int(payload) {
                return Ok(Encoded { head: Cow::Borrowed(&[]), body });
            }
            if self.compression.is_none_or(|(_, least)| payload.len() < least) {
                return Ok(Encoded { head: Cow::Borrowed(&PLAIN), body });
            }
        }
        self.pack(key, payload, about)
    }

    #[inline(never)]
    fn pack<'a>(&self, key: &[u8], payload: &'a [u8], about: &About) -> Result<Encoded<'a>> {
        let sealing = self.keys.as_ref().map(|keys| keys.sealing()).transpose()?;
        self.pack_with(key, payload, about, sealing)
    }

    fn pack_with<'a>(
        &self,
        key: &[u8],
        payload: &'a [u8],
        about: &About,
        sealing: Option<Sealing<'_>>,
    ) -> Result<Encoded<'a>> {
        let invalid = |why| Err(Error::new(ErrorKind::Invalid, why));
        if self.wire == Wire::Raw {
            return invalid("with `wire=raw` there is no header for what goes with the value");
        }
        if about.negative && !payload.is_empty() {
            return invalid("a negative entry has a payload");
        }
        let packed = match self.compression {
            Some((codec, least)) if payload.len() >= least && !about.negative => {
                self.contexts.compress(codec, payload)?.map(|packed| (codec, packed))
            }
            _ => None,
        };
        let mut header = Header {
            stale_ms: about.stale_ms,
            tags: about.tags.clone(),
            negative: about.negative,
            ..Header::default()
        };
        let mut body = Cow::Borrowed(payload);
        if let Some((codec, packed)) = packed {
            let plain_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            header.compression = Some(Compression { codec, plain_len });
            body = Cow::Owned(packed);
        }
        let mut head = Vec::new();
        let Some(sealing) = sealing else {
            header.digest = header.compression.map(|_| seal::digest(payload));
            header.encode(&mut head)?;
            return Ok(Encoded { head: Cow::Owned(head), body });
        };
        header.digest = Some(sealing.digest(payload));
        // The tag comes last in the header, and is known last.
        let (key_id, nonce) = (sealing.key_id(), *sealing.nonce());
        header.seal = Some(Seal { key_id, nonce, tag: [0; TAG_LEN] });
        header.encode(&mut head)?;
        let mut body = owned(body)?;
        let tag = sealing.finish(&self.associated(&head, key), &mut body)?;
        let len = head.len();
        head[len - TAG_LEN..].copy_from_slice(&tag);
        Ok(Encoded { head: Cow::Owned(head), body: Cow::Owned(body) })
    }

    /// What is authenticated with a value: the `head` from the version up to the tag, the prefix, the
    /// key.
    fn associated(&self, head: &[u8], key: &[u8]) -> Vec<u8> {
        [&head[super::MAGIC.len()..head.len() - TAG_LEN], &self.place, key].concat()
    }

    /// Reads what is stored under `key`, which has no prefix.
    ///
    /// [`ErrorKind::Corrupt`] where it is damaged, was encrypted for another key or with none of the
    /// keys, or is not encrypted though it should be; [`ErrorKind::TooBig`] where it is larger than
    /// the largest value.
    #[inline]
    pub fn open(&self, key: &[u8], stored: Vec<u8>) -> Result<Opened> {
        let start = if self.wire == Wire::Raw {
            0
        } else if self.keys.is_none() && stored.starts_with(&PLAIN) {
            FIXED_LEN
        } else {
            return self.unpack(key, stored);
        };
        check_value(&stored[start..], self.max_value)?;
        Ok(Opened { bytes: stored, start, about: About::NOTHING })
    }

    #[inline(never)]
    fn unpack(&self, key: &[u8], mut stored: Vec<u8>) -> Result<Opened> {
        let Decoded { header, start } = decode(&stored)?;
        let header = header.unwrap_or_default();
        match (&header.seal, &self.keys) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err(corrupt(
                    "it is not encrypted, as all is where there are `encryption_keys`",
                ));
            }
            (Some(_), None) => {
                return Err(corrupt("it is encrypted, and there are no `encryption_keys`"));
            }
            (Some(Seal { key_id, nonce, tag }), Some(keys)) => {
                let (head, body) = stored.split_at_mut(start);
                keys.open_in_place(*key_id, nonce, &self.associated(head, key), body, tag)?;
            }
        }
        let about =
            About { stale_ms: header.stale_ms, tags: header.tags, negative: header.negative };
        let Some(Compression { codec, plain_len }) = header.compression else {
            check_value(&stored[start..], self.max_value)?;
            return Ok(Opened { bytes: stored, start, about });
        };
        let plain_len = plain_len as usize;
        check_value_len(plain_len, self.max_value)?;
        let bytes = self.contexts.decompress(codec, &stored[start..], plain_len)?;
        // What was encrypted is authenticated already.
        if header.seal.is_none() && header.digest != Some(seal::digest(&bytes)) {
            return Err(corrupt("its payload does not fit its digest"));
        }
        Ok(Opened { bytes, start: 0, about })
    }
}

fn owned(body: Cow<'_, [u8]>) -> Result<Vec<u8>> {
    match body {
        Cow::Owned(bytes) => Ok(bytes),
        Cow::Borrowed(bytes) => {
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len())
                .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory to encrypt a value"))?;
            copy.extend_from_slice(bytes);
            Ok(copy)
        }
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("wire", &self.wire)
            .field("compression", &self.compression)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
