//! The header of an envelope, byte by byte as `docs/wire-format.md` lays it down: a fixed part of six
//! bytes, then the fields that its flags name, in one order. What a payload means, and which headers
//! this version can serve, is left to the module above.
//!
//! Every number is written with bincode's fixed-width
//! little-endian configuration, so the layout stands without it. Nothing is allocated by a number that
//! was read: each length is held against the bytes that are really there.

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit, legacy};
use bincode::{Decode, Encode};

use crate::config::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::key::VALUE_MAX;
use crate::ops::TTL_MAX_MS;

/// The first three bytes. `C1` is in no UTF-8 text and begins no MessagePack value.
pub const MAGIC: [u8; 3] = [0xC1, b'L', b'C'];
/// The version of the format that is written.
pub const VERSION: u8 = 1;
/// Length of the fixed part: magic, version, flags, complement of the flags.
pub const FIXED_LEN: usize = 6;
/// Most tags of one value.
pub const TAGS_MAX: usize = 256;
/// Longest tag, in bytes.
pub const TAG_LEN_MAX: usize = 1024;

const DIGEST: u8 = 0x01;
const STALE: u8 = 0x02;
const TAGS: u8 = 0x04;
const CODEC: u8 = 0x08;
const SEAL: u8 = 0x10;
const NEGATIVE: u8 = 0x20;
const KNOWN: u8 = DIGEST | STALE | TAGS | CODEC | SEAL | NEGATIVE;

const BINCODE: Configuration<LittleEndian, Fixint, NoLimit> = legacy();

/// The header of a value that is stored as it is, with nothing to say about it.
pub const PLAIN: [u8; FIXED_LEN] = [MAGIC[0], MAGIC[1], MAGIC[2], VERSION, 0, 0xFF];

/// Compression of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// Length of the payload once it is decompressed, in bytes.
    pub plain_len: u32,
}

/// Encryption of the payload, with XChaCha20-Poly1305.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Which key.
    pub key_id: u32,
    /// The nonce.
    pub nonce: [u8; 24],
    /// The authentication tag.
    pub tag: [u8; 16],
}

/// One tag of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The tag's stamp when the value was written: another stamp now means invalidated.
    pub stamp: u64,
    /// The tag itself, 1 to [`TAG_LEN_MAX`] bytes.
    pub name: Vec<u8>,
}

/// What an envelope says of its payload. The default one is that of a plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Digest of the plain payload; there exactly where the payload is compressed or encrypted.
    pub digest: Option<[u8; 16]>,
    /// How long past its TTL the value may be served, in milliseconds.
    pub stale_ms: Option<u64>,
    /// The value's tags.
    pub tags: Vec<Tag>,
    /// Compression.
    pub compression: Option<Compression>,
    /// Encryption.
    pub seal: Option<Seal>,
    /// The loader said that there is no such value: it reads as a miss.
    pub negative: bool,
}

impl Header {
    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.digest.is_some(), DIGEST)
            | flag(self.stale_ms.is_some(), STALE)
            | flag(!self.tags.is_empty(), TAGS)
            | flag(self.compression.is_some(), CODEC)
            | flag(self.seal.is_some(), SEAL)
            | flag(self.negative, NEGATIVE)
    }

    /// Appends the header to `out`. [`ErrorKind::Invalid`] where it breaks a rule of the format.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let invalid = |why: &'static str| Error::new(ErrorKind::Invalid, why);
        let flags = self.flags();
        rules(flags).map_err(invalid)?;
        let mut body = Vec::new();
        if let Some(digest) = self.digest {
            put(&mut body, digest)?;
        }
        if let Some(stale_ms) = self.stale_ms {
            put(&mut body, stale(stale_ms).map_err(invalid)?)?;
        }
        if !self.tags.is_empty() {
            let count = u16::try_from(self.tags.len()).unwrap_or(u16::MAX);
            put(&mut body, tag_count(count).map_err(invalid)?)?;
            for tag in &self.tags {
                let len = u16::try_from(tag.name.len()).unwrap_or(u16::MAX);
                put(&mut body, (tag.stamp, tag_len(len).map_err(invalid)?))?;
                body.extend_from_slice(&tag.name);
            }
        }
        if let Some(Compression { codec, plain_len }) = self.compression {
            let number: u8 = match codec {
                Codec::Zstd => 1,
                Codec::Lz4 => 2,
            };
            put(&mut body, (number, self::plain_len(plain_len).map_err(invalid)?))?;
        }
        if let Some(Seal { key_id, nonce, tag }) = self.seal {
            put(&mut body, (key_id, nonce, tag))?;
        }
        put(out, (MAGIC, VERSION, flags, !flags))?;
        out.append(&mut body);
        Ok(())
    }

    /// Reads the header at the front of `stored`, which begins with [`MAGIC`], and returns it with
    /// its length. [`ErrorKind::Corrupt`] where it is damaged or of an unknown version.
    pub fn decode(stored: &[u8]) -> Result<(Self, usize)> {
        let mut rest = Reader { bytes: stored };
        let (_, version, flags, check): ([u8; 3], u8, u8, u8) = rest.take()?;
        if flags ^ check != 0xFF {
            return Err(corrupt("its flags and their check byte do not fit"));
        }
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("stored value is corrupt: format version {version} is unknown"),
            ));
        }
        if flags & !KNOWN != 0 {
            return Err(corrupt("it has flags that format version 1 does not know"));
        }
        rules(flags).map_err(corrupt)?;

        let mut header = Self { negative: flags & NEGATIVE != 0, ..Self::default() };
        if flags & DIGEST != 0 {
            header.digest = Some(rest.take()?);
        }
        if flags & STALE != 0 {
            header.stale_ms = Some(stale(rest.take()?).map_err(corrupt)?);
        }
        if flags & TAGS != 0 {
            for _ in 0..tag_count(rest.take()?).map_err(corrupt)? {
                let (stamp, len): (u64, u16) = rest.take()?;
                let name = rest.bytes(usize::from(tag_len(len).map_err(corrupt)?))?.to_vec();
                header.tags.push(Tag { stamp, name });
            }
        }
        if flags & CODEC != 0 {
            let (number, len): (u8, u32) = rest.take()?;
            let codec = match number {
                1 => Codec::Zstd,
                2 => Codec::Lz4,
                _ => return Err(corrupt("its codec is unknown")),
            };
            header.compression =
                Some(Compression { codec, plain_len: plain_len(len).map_err(corrupt)? });
        }
        if flags & SEAL != 0 {
            let (key_id, nonce, tag) = rest.take()?;
            header.seal = Some(Seal { key_id, nonce, tag });
        }
        if header.negative && !rest.bytes.is_empty() {
            return Err(corrupt("a negative entry has a payload"));
        }
        Ok((header, stored.len() - rest.bytes.len()))
    }
}

/// Whether `stored`, which does not begin with [`MAGIC`], is an envelope with one bit of its magic
/// flipped. Random bytes look so with a chance of 2^-37.
pub fn is_damaged_magic(stored: &[u8]) -> bool {
    let Some(&[m0, m1, m2, version, flags, check]) = stored.first_chunk::<FIXED_LEN>() else {
        return false;
    };
    let flipped = u32::from_le_bytes([m0 ^ MAGIC[0], m1 ^ MAGIC[1], m2 ^ MAGIC[2], 0]);
    flipped.count_ones() == 1 && version == VERSION && flags ^ check == 0xFF && flags & !KNOWN == 0
}

/// Which flags go together.
fn rules(flags: u8) -> Result<(), &'static str> {
    if (flags & DIGEST != 0) != (flags & (CODEC | SEAL) != 0) {
        return Err("a digest goes with a compressed or encrypted payload and with no other");
    }
    if flags & NEGATIVE != 0 && flags & CODEC != 0 {
        return Err("a negative entry has nothing to compress");
    }
    Ok(())
}

fn stale(ms: u64) -> Result<u64, &'static str> {
    if (1..=TTL_MAX_MS).contains(&ms) { Ok(ms) } else { Err("its stale window is out of range") }
}

fn tag_count(count: u16) -> Result<u16, &'static str> {
    if (1..=TAGS_MAX).contains(&usize::from(count)) {
        Ok(count)
    } else {
        Err("its number of tags is out of range")
    }
}

fn tag_len(len: u16) -> Result<u16, &'static str> {
    if (1..=TAG_LEN_MAX).contains(&usize::from(len)) {
        Ok(len)
    } else {
        Err("the length of a tag is out of range")
    }
}

fn plain_len(len: u32) -> Result<u32, &'static str> {
    if len as usize <= VALUE_MAX { Ok(len) } else { Err("its uncompressed length is out of range") }
}

#[cold]
pub(super) fn corrupt(why: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("stored value is corrupt: {why}"))
}

fn put(out: &mut Vec<u8>, fields: impl Encode) -> Result<()> {
    bincode::encode_into_std_write(fields, out, BINCODE)
        .map(|_| ())
        .map_err(|_| Error::new(ErrorKind::NoMemory, "no memory for the header of a value"))
}

/// Takes fields off the front of bytes that nobody vouches for.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<T: Decode<()>>(&mut self) -> Result<T> {
        let (fields, len) = bincode::decode_from_slice(self.bytes, BINCODE)
            .map_err(|_| corrupt("it ends within its header"))?;
        self.bytes = &self.bytes[len..];
        Ok(fields)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (front, rest) =
            self.bytes.split_at_checked(len).ok_or_else(|| corrupt("it ends within its header"))?;
        self.bytes = rest;
        Ok(front)
    }
}
