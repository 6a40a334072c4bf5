//! Encryption of what leaves the process, and the digests that stand for a payload which can't be
//! compared byte by byte: XChaCha20-Poly1305 with keys of the option `encryption_keys`, and BLAKE2b.
//!
//! Left to others: where the parts of a sealed value are stored, and what is authenticated beside it
//! (`envelope` for values in Redis, the snapshot for files).
//!
//! # Invariants
//! - A nonce is used once: it is drawn for each value from the kernel, which a `fork()` can't duplicate
//!   as it does a generator in memory, and [`Sealing::finish`] consumes it. With 24 random bytes two of
//!   2^64 values have the same one with a chance of 2^-65.
//! - Keys leave this module in no form: not in messages, not in `Debug`. They are overwritten when they
//!   are dropped.
//! - The encryption key itself keys no digest: that has a key of its own, derived from it, so that
//!   neither algorithm sees what the other does with the key.

use std::fmt;

use blake2::digest::consts::{U16, U32};
use blake2::digest::{Digest as _, FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2b, Blake2bMac};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::AeadInOut as _;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// Length of a nonce.
pub const NONCE_LEN: usize = 24;
/// Length of an authentication tag.
pub const TAG_LEN: usize = 16;
/// Length of a digest.
pub const DIGEST_LEN: usize = 16;

/// 128 bits that stand for a payload.
pub type Digest = [u8; DIGEST_LEN];

const KEY_LEN: usize = 32;
/// 32 bytes in base64 without padding. The last character carries four bits.
const BASE64_LEN: usize = 43;
const KEY_FITS: &str = "BLAKE2b takes keys of up to 64 bytes";
/// What the key of a digest is derived from, with the encryption key.
const DIGEST_CONTEXT: &[u8] = b"lighter_cache digest 1";

/// The keys of a cache: the first encrypts, all decrypt.
pub struct Keyring {
    first: Key,
    others: Box<[Key]>,
}

struct Key {
    id: u32,
    encryption: Zeroizing<[u8; KEY_LEN]>,
    digest: Zeroizing<[u8; KEY_LEN]>,
}

/// What [`Keyring::seal`] makes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which key.
    pub key_id: u32,
    /// The nonce.
    pub nonce: [u8; NONCE_LEN],
    /// What was encrypted, and the authentication tag after it.
    pub bytes: Vec<u8>,
}

/// A nonce that was drawn for one value, for those who authenticate it and the key's id themselves.
pub struct Sealing<'a> {
    key: &'a Key,
    nonce: [u8; NONCE_LEN],
}

impl Keyring {
    /// Reads `ID:BASE64,…`: IDs are whole numbers below 2^32, each once; keys have 32 bytes. The
    /// message of an error ([`ErrorKind::Config`]) repeats nothing of `text`.
    pub fn parse(text: &str) -> Result<Self> {
        let config = |why| Error::new(ErrorKind::Config, format!("option `encryption_keys` {why}"));
        let mut keys = parse_all(text).map_err(config)?.into_iter();
        let first = keys.next().ok_or_else(|| config("names no key"))?;
        Ok(Self { first, others: keys.collect() })
    }

    /// What is wrong with `text`, as half a sentence that follows the option's name.
    pub(crate) fn check(text: &str) -> Result<(), &'static str> {
        parse_all(text).map(drop)
    }

    /// Encrypts and authenticates `plain`, and authenticates `aad`, with the first key and a new nonce.
    /// [`ErrorKind::Io`] where the kernel gives no random bytes.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Sealed> {
        let sealing = self.sealing()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(plain.len() + TAG_LEN).map_err(|_| no_memory())?;
        bytes.extend_from_slice(plain);
        let (key_id, nonce) = (sealing.key_id(), *sealing.nonce());
        let tag = sealing.finish(aad, &mut bytes)?;
        bytes.extend_from_slice(&tag);
        Ok(Sealed { key_id, nonce, bytes })
    }

    /// What [`Keyring::seal`] was given. [`ErrorKind::Corrupt`] where there is no such key, or anything
    /// is not as it was sealed.
    pub fn open(
        &self,
        key_id: u32,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let (sealed, tag) = bytes.split_last_chunk::<TAG_LEN>().ok_or_else(forged)?;
        let mut plain = Vec::new();
        plain.try_reserve_exact(sealed.len()).map_err(|_| no_memory())?;
        plain.extend_from_slice(sealed);
        self.open_in_place(key_id, nonce, aad, &mut plain, tag)?;
        Ok(plain)
    }

    /// Draws the nonce for one value that the first key is to encrypt.
    pub fn sealing(&self) -> Result<Sealing<'_>> {
        Ok(Sealing { key: &self.first, nonce: random::bytes()? })
    }

    /// As [`Keyring::open`] with the authentication tag apart. After an error `bytes` are worthless.
    pub fn open_in_place(
        &self,
        key_id: u32,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<()> {
        let Some(key) = self.key(key_id) else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "stored value is corrupt: it is encrypted with key {key_id}, which is none of `encryption_keys`"
                ),
            ));
        };
        key.cipher()
            .decrypt_inout_detached(nonce.into(), aad, bytes.into(), tag.into())
            .map_err(|_| forged())
    }

    /// The digest of `plain` under the key `key_id`; `None` where there is no such key.
    pub fn digest(&self, key_id: u32, plain: &[u8]) -> Option<Digest> {
        self.key(key_id).map(|key| key.digest(plain))
    }

    /// The digests of `plain` under each key, the first key's first.
    pub fn digests<'a>(&'a self, plain: &'a [u8]) -> impl Iterator<Item = (u32, Digest)> + 'a {
        self.keys().map(move |key| (key.id, key.digest(plain)))
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn key(&self, id: u32) -> Option<&Key> {
        self.keys().find(|key| key.id == id)
    }

    /// As [`Keyring::sealing`] with a nonce that is known, for golden vectors.
    #[cfg(test)]
    pub(crate) fn sealing_with(&self, nonce: [u8; NONCE_LEN]) -> Sealing<'_> {
        Sealing { key: &self.first, nonce }
    }
}

/// The digest of a payload that is not encrypted.
pub fn digest(plain: &[u8]) -> Digest {
    Blake2b::<U16>::digest(plain).into()
}

impl Sealing<'_> {
    /// Which key.
    pub fn key_id(&self) -> u32 {
        self.key.id
    }

    /// The nonce.
    pub fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// The keyed digest of a payload.
    pub fn digest(&self, plain: &[u8]) -> Digest {
        self.key.digest(plain)
    }

    /// Encrypts `bytes` where they are; returns the authentication tag over them and `aad`.
    pub fn finish(self, aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        self.key
            .cipher()
            .encrypt_inout_detached((&self.nonce).into(), aad, bytes.into())
            .map(Into::into)
            .map_err(|_| ErrorKind::TooBig.into())
    }
}

impl Key {
    fn new(id: u32, encryption: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let mut derived = Blake2bMac::<U32>::new_from_slice(&*encryption).expect(KEY_FITS);
        derived.update(DIGEST_CONTEXT);
        let digest = Zeroizing::new(derived.finalize_fixed().into());
        Self { id, encryption, digest }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        use chacha20poly1305::KeyInit as _;
        XChaCha20Poly1305::new((&*self.encryption).into())
    }

    fn digest(&self, plain: &[u8]) -> Digest {
        let mut state = Blake2bMac::<U16>::new_from_slice(&*self.digest).expect(KEY_FITS);
        state.update(plain);
        state.finalize_fixed().into()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().map(|key| key.id)).finish()
    }
}

/// Reads `ID:BASE64,…`. The error is half a sentence that follows the option's name.
fn parse_all(text: &str) -> Result<Vec<Key>, &'static str> {
    // Room for all from the start: a vector that grew would leave copies of keys behind.
    let mut keys: Vec<Key> = Vec::with_capacity(1 + text.matches(',').count());
    for key in text.split(',') {
        let (id, base64) = key
            .split_once(':')
            .ok_or("must be `ID:BASE64`, several of them with commas between")?;
        let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        let id = id.parse::<u32>().ok().filter(|_| digits);
        let id = id.ok_or("has an ID that is no whole number below 2^32")?;
        if keys.iter().any(|known| known.id == id) {
            return Err("names an ID twice");
        }
        let bytes = base64_key(base64).ok_or("has a key that is no base64 of 32 bytes")?;
        keys.push(Key::new(id, bytes));
    }
    Ok(keys)
}

/// 32 bytes in base64, of the usual alphabet or that of URLs, padded or not.
fn base64_key(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let digits = text.strip_suffix('=').unwrap_or(text).as_bytes();
    if digits.len() != BASE64_LEN {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let (mut bits, mut held, mut at) = (0_u32, 0, 0);
    for digit in digits {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            key[at] = (bits >> held) as u8;
            at += 1;
            bits &= (1 << held) - 1;
        }
    }
    // The two bits that are left over say nothing, so they are zero.
    (bits == 0).then_some(key)
}

#[cold]
fn forged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "stored value is corrupt: it is not what was encrypted for this place with this key",
    )
}

#[cold]
fn no_memory() -> Error {
    Error::new(ErrorKind::NoMemory, "no memory to encrypt or decrypt a value")
}

#[cfg(test)]
mod tests;
