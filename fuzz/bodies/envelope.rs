//! What may be stored in the server, by anyone: it is read or refused, within bounds, and what this
//! library writes comes back.
//!
//! The first byte of the input chooses what the rest is taken for, and by which cache it is read.

use std::sync::OnceLock;

use lighter_cache::ErrorKind;
use lighter_cache::config::{Codec, RedisOptions, Secret};
use lighter_cache::envelope::{
    About, Compression, Envelope, FIXED_LEN, Header, MAGIC, Tag, encode_with,
};

/// The largest value of the caches.
const LIMIT: usize = 1 << 16;
/// Where the golden vectors are stored, and the key that most are encrypted with.
const KEY: &[u8] = b"user:1";
const ENCRYPTION_KEYS: &str = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Bits of the first byte. The lowest two choose how the rest is taken.
pub const STORED: u8 = 0;
pub const COMPRESSED: u8 = 1;
pub const WRITTEN: u8 = 2;
pub const DAMAGED: u8 = 3;
const MODE: u8 = 3;
pub const ENCRYPTED: u8 = 4;
const LZ4: u8 = 8;
const FIT: u8 = 16;

/// One input.
pub fn run(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let envelope = envelope(how);
    match how & MODE {
        STORED => stored(envelope, how, rest),
        COMPRESSED => compressed(envelope, how, rest),
        WRITTEN => drop(written(envelope, rest)),
        _ => damaged(envelope, how, rest),
    }
}

fn envelope(how: u8) -> &'static Envelope {
    static ENVELOPES: OnceLock<[Envelope; 4]> = OnceLock::new();
    let envelopes = ENVELOPES.get_or_init(|| {
        [(Codec::Zstd, false), (Codec::Zstd, true), (Codec::Lz4, false), (Codec::Lz4, true)].map(
            |(codec, encrypted)| {
                let mut options = RedisOptions::default();
                options.prefix = "app".into();
                options.compress = Some(codec);
                options.compress_min_bytes = 32;
                options.encryption_keys = encrypted.then(|| Secret::new(ENCRYPTION_KEYS));
                Envelope::new(&options, Envelope::keys(&options).expect("one key"), LIMIT)
            },
        )
    });
    &envelopes[usize::from(how & ENCRYPTED != 0) + 2 * usize::from(how & LZ4 != 0)]
}

/// Reads `bytes`, and returns the payload with what goes with it.
fn open(envelope: &Envelope, bytes: Vec<u8>) -> Option<(Vec<u8>, About)> {
    match envelope.open(KEY, bytes) {
        Ok(opened) => {
            assert!(opened.payload().len() <= LIMIT);
            Some((opened.payload().to_vec(), opened.about))
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooBig), "{error:?}");
            None
        }
    }
}

/// Bytes as they come, or with a front that is past the first checks.
fn stored(envelope: &Envelope, how: u8, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if how & FIT != 0 && bytes.len() >= FIXED_LEN {
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = 1;
        bytes[5] = !bytes[4];
    }
    open(envelope, bytes);
}

/// A payload that says it is compressed: two bytes of its length, then the payload.
fn compressed(envelope: &Envelope, how: u8, bytes: &[u8]) {
    let Some((len, packed)) = bytes.split_first_chunk() else { return };
    let codec = if how & LZ4 != 0 { Codec::Lz4 } else { Codec::Zstd };
    let plain_len = u32::from(u16::from_le_bytes(*len));
    let header = Header {
        compression: Some(Compression { codec, plain_len }),
        digest: Some([0; 16]),
        ..Header::default()
    };
    let stored = encode_with(&header, packed).expect("it keeps the rules");
    assert!(open(envelope, stored).is_none(), "a digest of zeros fits");
}

/// A value that is written and read: a byte that says what goes with it, then the payload.
fn written(envelope: &Envelope, bytes: &[u8]) -> Option<Vec<u8>> {
    let (&with, payload) = bytes.split_first()?;
    let payload = &payload[..payload.len().min(LIMIT)];
    let negative = with & 1 != 0;
    let about = About {
        stale_ms: (with & 2 != 0).then(|| u64::from(with) + 1),
        tags: (0..with >> 5)
            .map(|n| Tag { stamp: n.into(), name: vec![n; 1 + n as usize] })
            .collect(),
        negative,
    };
    let payload = if negative { &[] } else { payload };
    let stored = envelope.encode(KEY, payload, &about).expect("it keeps the rules").to_vec();
    assert_eq!(
        open(envelope, stored.clone()).expect("it was just written"),
        (payload.to_vec(), about)
    );
    Some(stored)
}

/// The same, with damage: two bytes say where, one which bits.
fn damaged(envelope: &Envelope, how: u8, bytes: &[u8]) {
    let Some((&[low, high, bits], rest)) = bytes.split_first_chunk() else { return };
    let Some(mut stored) = written(envelope, rest) else { return };
    if stored.is_empty() {
        return;
    }
    let at = usize::from(u16::from_le_bytes([low, high])) % stored.len();
    if bits == 0 {
        stored.truncate(at);
    } else {
        stored[at] ^= bits;
    }
    let read = open(envelope, stored);
    assert!(how & ENCRYPTED == 0 || read.is_none(), "damage to an encrypted value was not found");
}
