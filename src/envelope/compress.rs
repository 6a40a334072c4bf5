//! Compression of payloads: zstd frames and LZ4 blocks, and the contexts that zstd works with.
//!
//! Nothing is allocated by a length that was read before it is held against the limit and against what
//! the compressed bytes could hold at most, and nothing is written past that length.
//!
//! # Protocol of the contexts
//! Making a context takes longer than compressing a small value, so a few are kept in slots. A slot's
//! lock is only ever tried, and held for no longer than a context is moved in or out: nobody waits.
//! In the child of a `fork()` a slot that another thread was just touching stays locked for good, and
//! is passed over like one that is in use.

use std::sync::Mutex;

use zstd_safe::{CCtx, DCtx};

use super::header::corrupt;
use crate::config::Codec;
use crate::error::{Error, ErrorKind, Result};

/// What a compressed value has besides a plain one: digest, codec and length.
pub(super) const OVERHEAD: usize = 16 + 5;

/// Contexts of each direction that are kept.
const KEPT: usize = 4;
/// zstd's level. The next ones save a few hundredths more of text and JSON, but take a third longer
/// and twice the memory.
const LEVEL: i32 = 1;
/// How a zstd frame begins. Frames of versions before 1.0 and skippable ones begin otherwise.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// The most that four bytes of a zstd frame can stand for: a block of one byte, repeated.
const ZSTD_BLOCK: u64 = 128 << 10;
/// The most that a byte of an LZ4 block can stand for.
const LZ4_RATIO: u64 = 255;

/// The working memory of one cache's compression.
#[derive(Default)]
pub(super) struct Contexts {
    compress: Pool<CCtx<'static>>,
    decompress: Pool<DCtx<'static>>,
}

impl Contexts {
    /// `plain` compressed, or `None` where storing it so would save less than a tenth.
    pub(super) fn compress(&self, codec: Codec, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(most) = (plain.len() - plain.len().div_ceil(10)).checked_sub(OVERHEAD) else {
            return Ok(None);
        };
        match codec {
            Codec::Zstd => self.compress_zstd(plain, most),
            Codec::Lz4 => compress_lz4(plain, most),
        }
    }

    /// What `packed` was before compression: exactly `len` bytes, which the caller has found to be
    /// within the limits. [`ErrorKind::Corrupt`] for anything else.
    pub(super) fn decompress(&self, codec: Codec, packed: &[u8], len: usize) -> Result<Vec<u8>> {
        let most = match codec {
            Codec::Zstd => packed.len().div_ceil(4) as u64 * ZSTD_BLOCK,
            Codec::Lz4 => packed.len() as u64 * LZ4_RATIO,
        };
        if len as u64 > most {
            return Err(corrupt("it can't decompress to the length that it names"));
        }
        match codec {
            Codec::Zstd => self.decompress_zstd(packed, len),
            Codec::Lz4 => decompress_lz4(packed, len),
        }
    }

    fn compress_zstd(&self, plain: &[u8], most: usize) -> Result<Option<Vec<u8>>> {
        let mut context = match self.compress.take() {
            Some(context) => context,
            None => CCtx::try_create().ok_or_else(no_memory)?,
        };
        let mut packed = buffer(most)?;
        // The only failures are too little room, which means that it does not pay, and memory.
        let done = context.compress(&mut packed, plain, LEVEL).is_ok();
        self.compress.put(context);
        // A buffer may be larger than asked for.
        Ok(Some(packed).filter(|packed| done && packed.len() <= most))
    }

    fn decompress_zstd(&self, packed: &[u8], len: usize) -> Result<Vec<u8>> {
        let one_frame = packed.starts_with(&ZSTD_MAGIC)
            && zstd_safe::find_frame_compressed_size(packed) == Ok(packed.len());
        if !one_frame {
            return Err(corrupt("its payload is not one zstd frame"));
        }
        if !matches!(zstd_safe::get_frame_content_size(packed), Ok(named) if named.is_none_or(|named| named == len as u64))
        {
            return Err(corrupt(OTHER_LENGTH));
        }
        let mut context = match self.decompress.take() {
            Some(context) => context,
            None => DCtx::try_create().ok_or_else(no_memory)?,
        };
        let mut plain = buffer(len)?;
        let done = context.decompress(&mut plain, packed);
        self.decompress.put(context);
        match done {
            Ok(written) if written == len => Ok(plain),
            Ok(_) => Err(corrupt(OTHER_LENGTH)),
            Err(_) => Err(corrupt("its payload does not decompress")),
        }
    }
}

const OTHER_LENGTH: &str = "it decompresses to another length than it names";

fn compress_lz4(plain: &[u8], most: usize) -> Result<Option<Vec<u8>>> {
    // The encoder asks for room for the worst case.
    let mut packed = zeroed(lz4_flex::block::get_maximum_output_size(plain.len()))?;
    let done = lz4_flex::block::compress_into(plain, &mut packed);
    packed.truncate(done.unwrap_or(usize::MAX));
    Ok(Some(packed).filter(|packed| packed.len() <= most))
}

fn decompress_lz4(packed: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut plain = zeroed(len)?;
    match lz4_flex::block::decompress_into(packed, &mut plain) {
        Ok(written) if written == len => Ok(plain),
        Ok(_) => Err(corrupt(OTHER_LENGTH)),
        Err(_) => Err(corrupt("its payload does not decompress")),
    }
}

fn buffer(capacity: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity).map_err(|_| no_memory())?;
    Ok(bytes)
}

fn zeroed(len: usize) -> Result<Vec<u8>> {
    let mut bytes = buffer(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

#[cold]
fn no_memory() -> Error {
    Error::new(ErrorKind::NoMemory, "no memory to compress or decompress a value")
}

/// A few things that are dear to make.
struct Pool<T>([Mutex<Option<T>>; KEPT]);

impl<T> Pool<T> {
    fn take(&self) -> Option<T> {
        self.0.iter().find_map(|slot| slot.try_lock().ok()?.take())
    }

    fn put(&self, thing: T) {
        let mut thing = Some(thing);
        for slot in &self.0 {
            if let Ok(mut slot) = slot.try_lock()
                && slot.is_none()
            {
                *slot = thing.take();
                return;
            }
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_are_locked_are_passed_over() {
        let pool = Pool::default();
        for thing in 0..=KEPT {
            pool.put(thing);
        }
        let kept: Vec<usize> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(kept, [0, 1, 2, 3]);
        // As in the child of a fork while other threads were at all of them.
        let locked = pool.0.each_ref().map(|slot| slot.lock().unwrap());
        assert_eq!(pool.take(), None);
        pool.put(9);
        drop(locked);
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn what_saves_less_than_a_tenth_is_left_alone() {
        let contexts = Contexts::default();
        for codec in [Codec::Zstd, Codec::Lz4] {
            for len in [0, 1, 10, 23, 24] {
                assert_eq!(contexts.compress(codec, &vec![0; len]).unwrap(), None, "{len}");
            }
            let packed = contexts.compress(codec, &[0; 300]).unwrap().unwrap();
            assert!(packed.len() + OVERHEAD <= 270);
            assert_eq!(contexts.decompress(codec, &packed, 300).unwrap(), [0; 300]);
        }
    }
}
