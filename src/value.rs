//! [`Value`]: pinned, immutable, reference-counted bytes behind one thin pointer.
//!
//! A value is one allocation, called a block. The same block serves as an entry of the Local cache (its
//! key is inside, so that a look-up costs one pointer less and a get pins the entry itself instead of
//! copying it), as a value that came from the server, and as the `lc_value` of the C API.
//!
//! ```text
//!           pointer ──▶ 0         4                    8        12        14     15      16         22       24
//! | attributes          | refs    | value length, 30 b | hash    | key len | policy | flags | expires | place  | key | value |
//! | 0, 8 or 32 bytes    | u32     | + 2 flags          | u32     | u16     | u8     | u8    | u48 ms  | u16    |
//! ```
//! Most entries have no attributes. A Hybrid's have a stamp; those with a stale window, a time of refresh
//! or tags have all of [`Attributes`], whose last field is the stamp. `policy` and `place` belong to the
//! eviction policy.
//!
//! With the flag EXTERNAL there is no key, and an [`External`] (a vector and an offset into it) stands at
//! 24 instead of the value, so that a large reply of the server becomes a value without a copy.
//!
//! Memory per entry: the block takes `(24 + key + value + 8)` bytes rounded up to 16 in glibc's malloc
//! (its own 8 bytes included). What the cache adds for it is said in `local/store.rs`.
//!
//! # Invariants
//! - `refs` counts the holders: a table counts as one. The block lives until it falls to 0.
//! - Lengths, flags, hash, key and attributes but the stamp never change. The value's bytes and length
//!   change only in [`Value::overwrite`], whose caller proves that it is the only holder.
//! - The stamp, `policy`, `expires` and `place` are atomics and belong to the cache that holds the entry.
//!   `expires` and `place` share a word, which is changed under the table's write lock only.

#[path = "value/attributes.rs"]
mod attributes;
#[path = "value/freeing.rs"]
mod freeing;
#[path = "value/prefetch.rs"]
mod prefetch;

use std::alloc::{self, Layout};
use std::fmt;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

pub(crate) use self::attributes::{Attributes, Tag, TagMark};
pub(crate) use self::freeing::drop_many;
pub(crate) use self::prefetch::prefetch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KEY_MAX;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, all_gone};

/// The header of a block; what `lc_value *` points to. Opaque outside of this file.
#[repr(C, align(8))]
pub(crate) struct Block {
    refs: AtomicU32,
    /// The value's length; the two highest bits are [`EXTERNAL`] and [`KEY_64K`].
    length: u32,
    hash: u32,
    /// The key's length less [`KEY_64K`]'s 65,536.
    key_length: u16,
    policy: AtomicU8,
    flags: u8,
    /// When it expires in the low 48 bits, its place in a queue of the policy in the others.
    expires_place: AtomicU64,
}

/// The payload of a block that owns a vector instead of bytes.
struct External {
    bytes: Vec<u8>,
    start: usize,
}

const HEADER: usize = size_of::<Block>();
const _: () = assert!(HEADER == 24);

const EXTERNAL: u32 = 1 << 31;
const KEY_64K: u32 = 1 << 30;
const LENGTH: u32 = KEY_64K - 1;

/// There is a stamp before the header.
const STAMPED: u8 = 1;
/// There are [`Attributes`] before the header.
const EXTENDED: u8 = 2;
/// The entry says that there is no value.
const NEGATIVE: u8 = 4;

/// `expires_at` of an entry that never expires.
pub(crate) const NEVER: u64 = (1 << 48) - 1;

/// More holders than this are a leak; the process is stopped before the count wraps.
const REFS_MAX: u32 = i32::MAX as u32;

/// A value read from a cache: pinned, immutable bytes that any number of holders share.
///
/// Cloning adds a holder and copies nothing. The bytes outlive the cache that they came from.
#[repr(transparent)]
pub struct Value(NonNull<Block>);

// SAFETY: a block is immutable but for its atomics while it is shared (see the invariants above), and the
// count of its holders is atomic.
unsafe impl Send for Value {}
// SAFETY: as for `Send`.
unsafe impl Sync for Value {}

/// What the cache that holds an entry knows of it at its birth.
pub(crate) struct Entry<'a> {
    pub(crate) hash: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// At most [`NEVER`].
    pub(crate) expires_at: u64,
    pub(crate) extra: Extra,
}

/// What stands before the header.
#[derive(Default)]
pub(crate) enum Extra {
    #[default]
    None,
    /// The epoch in which a Hybrid knew the entry to be fresh.
    Stamp(u32),
    /// Attributes, and whether the entry says that there is no value.
    Attributes { attributes: Attributes, negative: bool },
}

impl Value {
    /// Copies `bytes`. [`ErrorKind::NoMemory`] where there is none, [`ErrorKind::TooBig`] from 1 GiB on.
    pub fn copy_from(bytes: &[u8]) -> Result<Self> {
        Self::entry(Entry {
            hash: 0,
            key: &[],
            value: bytes,
            expires_at: NEVER,
            extra: Extra::None,
        })
    }

    /// Takes `bytes` over without a copy; the value begins at `start`, or is empty where that lies past
    /// the end. Errors as [`Value::copy_from`].
    pub fn from_vec(bytes: Vec<u8>, start: usize) -> Result<Self> {
        let start = start.min(bytes.len());
        let length = length_of(bytes.len() - start)?;
        let block = allocate(external_layout(), 0)?;
        let header = Block::new(length | EXTERNAL, 0, 0, NEVER, 0);
        // SAFETY: the allocation has room for the header and an `External` behind it, aligned for both,
        // and nobody else knows it yet.
        unsafe {
            block.write(header);
            external_of(block).write(External { bytes, start });
        }
        Ok(Self(block))
    }

    /// A block with a key, as a table holds it.
    pub(crate) fn entry(entry: Entry<'_>) -> Result<Self> {
        let Entry { hash, key, value, expires_at, extra } = entry;
        if key.len() > KEY_MAX {
            return Err(ErrorKind::TooBig.into());
        }
        let mut length = length_of(value.len())?;
        if key.len() == KEY_MAX {
            length |= KEY_64K;
        }
        let flags = match &extra {
            Extra::None => 0,
            Extra::Stamp(_) => STAMPED,
            Extra::Attributes { negative: false, .. } => EXTENDED,
            Extra::Attributes { negative: true, .. } => EXTENDED | NEGATIVE,
        };
        let before = before(flags);
        let block = allocate(inline_layout(before, key.len() + value.len()), before)?;
        // SAFETY: the allocation has room for what stands before the header, the header, the key and the
        // value in this order, none of which overlaps a fresh allocation.
        unsafe {
            match extra {
                Extra::None => {}
                Extra::Stamp(stamp) => stamp_of(block).write(AtomicU32::new(stamp)),
                Extra::Attributes { attributes, .. } => attributes_of(block).write(attributes),
            }
            block.write(Block::new(length, key.len() as u16, hash, expires_at, flags));
            let bytes = block.add(1).cast::<u8>();
            bytes.copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
            bytes.add(key.len()).copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
        }
        Ok(Self(block))
    }

    /// Copies the value to the front of `buf` if it fits, and returns its length.
    #[inline]
    pub fn copy_into(&self, buf: &mut [MaybeUninit<u8>]) -> usize {
        let bytes: &[u8] = self;
        if bytes.len() <= buf.len() {
            // SAFETY: `buf` has room for `bytes.len()` bytes, and a `&mut` overlaps nothing else.
            unsafe {
                buf.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
            };
        }
        bytes.len()
    }

    /// Gives this holder away as a pointer, for C.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) fn into_raw(self) -> NonNull<Block> {
        ManuallyDrop::new(self).0
    }

    /// Takes a holder back.
    ///
    /// # Safety
    /// `raw` came from [`Value::into_raw`], and each such pointer is taken back at most once.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) unsafe fn from_raw(raw: NonNull<Block>) -> Self {
        Self(raw)
    }

    /// Looks at a holder that C has.
    ///
    /// # Safety
    /// `raw` came from [`Value::into_raw`] and is not taken back while the result is used.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) unsafe fn borrow_raw(raw: &NonNull<Block>) -> &Self {
        // SAFETY: `Value` is a transparent wrapper of this very pointer.
        unsafe { &*std::ptr::from_ref(raw).cast() }
    }

    #[inline]
    fn block(&self) -> &Block {
        // SAFETY: `self` is a holder, so the block lives; its plain fields change only where this holder
        // is borrowed uniquely.
        unsafe { self.0.as_ref() }
    }

    /// Whether this and `other` hold the same block.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The key inside; empty where there is none.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        let block = self.block();
        // SAFETY: the key stands behind the header for as long as the block lives.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), block.key_len()) }
    }

    /// Whether `key` is the key inside. Keys of usual length are compared without a call.
    #[inline(always)]
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        // A key of KEY_MAX bytes, noted as 0, is not of usual length.
        if self.block().key_length != key.len() as u16 {
            return false;
        }
        // The two ends overlap, or meet.
        match key.len() {
            8..=16 => self.ends_like::<8>(key),
            17..=32 => self.ends_like::<16>(key),
            _ => unusual_keys_equal(self.key(), key),
        }
    }

    /// Whether `key`, which has `N` to `2 * N` bytes and no other length than the key inside, is that.
    #[inline(always)]
    fn ends_like<const N: usize>(&self, key: &[u8]) -> bool {
        debug_assert_eq!(self.block().key_len(), key.len());
        // SAFETY: the key stands behind the header for as long as the block lives, and is as long as `key`.
        let own =
            unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), key.len()) };
        ends::<N>(own) == ends::<N>(key)
    }

    /// Where the block stands, to be asked for before it is touched.
    #[inline]
    pub(crate) fn address(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// Asks for the lines behind the first one. Of a short block that is too much, and then nothing is
    /// lost but the asking.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch(self.address().wrapping_add(64));
        prefetch(self.address().wrapping_add(128));
    }

    /// The hash that was given at birth.
    #[inline]
    pub(crate) fn hash(&self) -> u32 {
        self.block().hash
    }

    /// When it expires, in milliseconds of the holder's clock; [`NEVER`]. With a stale window: when that
    /// ends.
    #[inline]
    pub(crate) fn expires_at(&self) -> u64 {
        self.block().expires_place.load(Relaxed) & NEVER
    }

    /// Changes when it expires. Under the write lock of the table that holds it.
    pub(crate) fn set_expires_at(&self, at: u64) {
        debug_assert!(at <= NEVER);
        let word = &self.block().expires_place;
        word.store(word.load(Relaxed) & !NEVER | at, Relaxed);
    }

    /// The place in a queue that [`Value::set_place`] noted.
    #[inline]
    pub(crate) fn place(&self) -> u16 {
        (self.block().expires_place.load(Relaxed) >> 48) as u16
    }

    /// Notes the place in a queue. Under the write lock of the table that holds it.
    #[inline]
    pub(crate) fn set_place(&self, place: u16) {
        let word = &self.block().expires_place;
        word.store(word.load(Relaxed) & NEVER | u64::from(place) << 48, Relaxed);
    }

    /// The byte of the eviction policy.
    #[inline]
    pub(crate) fn policy(&self) -> &AtomicU8 {
        &self.block().policy
    }

    /// The epoch in which a Hybrid knew this entry to be fresh; 0 where it has none.
    #[inline]
    pub(crate) fn stamp(&self) -> u32 {
        if self.block().flags & (STAMPED | EXTENDED) == 0 {
            return 0;
        }
        // SAFETY: the flags say that a stamp stands before the header.
        unsafe { stamp_of(self.0).as_ref() }.load(Acquire)
    }

    /// Whether it has neither attributes nor is negative: it is there until it expires.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.block().flags & EXTENDED == 0
    }

    /// Whether it says that there is no value.
    pub(crate) fn is_negative(&self) -> bool {
        self.block().flags & NEGATIVE != 0
    }

    /// Its attributes, if it has any.
    pub(crate) fn attributes(&self) -> Option<&Attributes> {
        // SAFETY: the flag says that attributes stand before the header.
        (!self.is_plain()).then(|| unsafe { attributes_of(self.0).as_ref() })
    }

    /// A copy of `bytes` that waits to be stored with a stale window of so many milliseconds, and tags.
    pub(crate) fn with_conditions(
        bytes: &[u8],
        window_ms: Option<u64>,
        tags: Vec<TagMark>,
    ) -> Result<Self> {
        let attributes = Attributes::new(window_ms.unwrap_or(0), NEVER, tags);
        let extra = Extra::Attributes { attributes, negative: false };
        Self::entry(Entry { hash: 0, key: &[], value: bytes, expires_at: NEVER, extra })
    }

    /// The stale window of [`Value::with_conditions`].
    pub(crate) fn window_ms(&self) -> Option<u64> {
        self.attributes().map(Attributes::fresh_until).filter(|ms| *ms > 0)
    }

    /// Its tags.
    pub(crate) fn marks(&self) -> &[TagMark] {
        self.attributes().map_or(&[], Attributes::tags)
    }

    /// Bytes that the block takes of the process's memory: with what the allocator adds, and a sixteenth
    /// (4 KiB at most) for what it loses between blocks of changing sizes, which was measured.
    #[inline]
    pub(crate) fn footprint(&self) -> usize {
        let block = self.block();
        let mut bytes = self.layout().size() + 8;
        bytes += (bytes / 16).min(4096);
        if block.length & EXTERNAL != 0 {
            // SAFETY: the flag says that an `External` stands behind the header.
            bytes += unsafe { external_of(self.0).as_ref().bytes.capacity() };
        }
        if let Some(attributes) = self.attributes() {
            bytes += attributes.footprint();
        }
        bytes
    }

    fn layout(&self) -> Layout {
        let block = self.block();
        match block.length & EXTERNAL {
            0 => inline_layout(before(block.flags), block.key_len() + block.value_len()),
            _ => external_layout(),
        }
    }

    /// Whether [`Value::overwrite`] may put `length` bytes here, stamped or not: this is the only holder,
    /// they fill the same size of allocation, and there are no attributes.
    #[inline(always)]
    pub(crate) fn can_overwrite(&self, length: usize, stamped: bool) -> bool {
        let block = self.block();
        let flags = if stamped { STAMPED } else { 0 };
        let payload = |length| block.key_len() + length;
        // Acquire: what former holders read is read before it changes.
        block.refs.load(Acquire) == 1
            && block.flags == flags
            && block.length & EXTERNAL == 0
            && length <= LENGTH as usize
            && inline_room(before(flags), payload(length))
                == inline_room(before(flags), payload(block.value_len()))
    }

    /// Replaces the value in place. Saves an allocation where a small value is overwritten.
    ///
    /// # Safety
    /// [`Value::can_overwrite`] has said yes, and nobody could add a holder or look at the value since:
    /// the caller has the write lock of the table that holds this entry, and holders are added only
    /// under its locks or by other holders.
    #[inline]
    pub(crate) unsafe fn overwrite(&mut self, value: &[u8], expires_at: u64, stamp: Option<u32>) {
        debug_assert!(self.can_overwrite(value.len(), stamp.is_some()));
        self.set_expires_at(expires_at);
        // SAFETY: there is one holder and `self` borrows it uniquely; the allocation is large enough
        // for the new value because its rounded size is the same. A stamp is there where one is given.
        unsafe {
            let block = self.0.as_mut();
            block.length = block.length & KEY_64K | value.len() as u32;
            if let Some(stamp) = stamp {
                *stamp_of(self.0).as_mut().get_mut() = stamp;
            }
            let target = self.0.add(1).cast::<u8>().add(self.block().key_len());
            target.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
        }
    }

    /// Replaces the bytes of a plain value that nobody else holds, if they fill the same size of allocation;
    /// false where nothing was done. For a value that is no entry of a table.
    pub(crate) fn try_replace(&mut self, bytes: &[u8]) -> bool {
        let fits = self.can_overwrite(bytes.len(), false);
        if fits {
            // SAFETY: just asked; the only holder is borrowed uniquely, and others could come by it alone.
            unsafe { self.overwrite(bytes, self.expires_at(), None) };
        }
        fits
    }

    #[cold]
    #[inline(never)]
    fn free(&mut self) {
        all_gone(&self.block().refs);
        let layout = self.layout();
        let start = self.drop_content();
        // SAFETY: the last holder is gone. The layout is the one of the allocation: it follows from
        // lengths whose rounded sum never changes.
        unsafe { alloc::dealloc(start.as_ptr(), layout) };
    }

    /// Drops what the block owns besides its bytes, and answers with the start of the allocation. Only
    /// for who frees it, once.
    fn drop_content(&mut self) -> NonNull<u8> {
        let flags = self.block().flags;
        // SAFETY: nobody else holds the block. An `External` and attributes are there where the flags say
        // so, and the allocation begins with what stands before the header.
        unsafe {
            if self.block().length & EXTERNAL != 0 {
                external_of(self.0).drop_in_place();
            }
            if flags & EXTENDED != 0 {
                attributes_of(self.0).drop_in_place();
            }
            self.0.cast::<u8>().sub(before(flags))
        }
    }
}

impl Block {
    fn new(length: u32, key_length: u16, hash: u32, expires_at: u64, flags: u8) -> Self {
        debug_assert!(expires_at <= NEVER);
        Self {
            refs: AtomicU32::new(1),
            length,
            hash,
            key_length,
            policy: AtomicU8::new(0),
            flags,
            expires_place: AtomicU64::new(expires_at),
        }
    }

    #[inline]
    fn key_len(&self) -> usize {
        // KEY_64K is bit 30, 65,536 is bit 16.
        (self.length & KEY_64K) as usize >> 14 | usize::from(self.key_length)
    }

    #[inline]
    fn value_len(&self) -> usize {
        (self.length & LENGTH) as usize
    }
}

/// The first `N` bytes and the last `N` bytes, where there are so many.
#[inline(always)]
fn ends<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
    Some((bytes.first_chunk()?, bytes.last_chunk()?))
}

#[inline(never)]
fn unusual_keys_equal(one: &[u8], other: &[u8]) -> bool {
    one == other
}

fn length_of(bytes: usize) -> Result<u32> {
    match u32::try_from(bytes) {
        Ok(length) if length <= LENGTH => Ok(length),
        _ => Err(Error::new(ErrorKind::TooBig, "a value can't have 1 GiB or more")),
    }
}

/// Bytes before the header.
#[inline]
const fn before(flags: u8) -> usize {
    match flags & (STAMPED | EXTENDED) {
        0 => 0,
        STAMPED => 8,
        _ => size_of::<Attributes>(),
    }
}

/// The allocation for `payload` bytes behind the header, rounded up to what glibc's malloc would take
/// anyway (a multiple of 16 less 8), so that values of slightly different length can replace each other.
#[inline]
fn inline_layout(before: usize, payload: usize) -> Layout {
    let size = inline_room(before, payload) - 8;
    // SAFETY: 8 is a power of two; key and value are far below `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(size, align_of::<Block>()) }
}

/// What an allocation takes of the process's memory, glibc's own 8 bytes included.
#[inline]
const fn inline_room(before: usize, payload: usize) -> usize {
    // To a multiple of 16; `next_multiple_of` takes a division's way there.
    (before + HEADER + payload + 8 + 15) & !15
}

fn external_layout() -> Layout {
    const { assert!(align_of::<External>() <= align_of::<Block>()) };
    const { assert!(align_of::<Attributes>() <= align_of::<Block>()) };
    // SAFETY: 8 is a power of two, and the size is a small constant.
    unsafe {
        Layout::from_size_align_unchecked(HEADER + size_of::<External>(), align_of::<Block>())
    }
}

/// Where the header is to stand in a new allocation of `layout`: behind `before` bytes.
fn allocate(layout: Layout, before: usize) -> Result<NonNull<Block>> {
    // SAFETY: every layout here has the header in it, so its size is not 0.
    let bytes = unsafe { alloc::alloc(layout) };
    let start = NonNull::new(bytes)
        .ok_or_else(|| Error::new(ErrorKind::NoMemory, "no memory for a key or a value"))?;
    // SAFETY: every layout here has `before` bytes and more.
    Ok(unsafe { start.add(before) }.cast())
}

/// Where the stamp of a block stands, in either form.
///
/// # Safety
/// `block` is an allocation with a stamp or attributes before the header.
#[inline]
unsafe fn stamp_of(block: NonNull<Block>) -> NonNull<AtomicU32> {
    const { assert!(size_of::<Attributes>() == 32) };
    const { assert!(mem::offset_of!(Attributes, stamp) == 28) };
    // SAFETY: both forms end with the stamp.
    unsafe { block.cast::<AtomicU32>().sub(1) }
}

/// Where the attributes of a block stand.
///
/// # Safety
/// `block` is an allocation with attributes before the header.
unsafe fn attributes_of(block: NonNull<Block>) -> NonNull<Attributes> {
    // SAFETY: they end where the header begins.
    unsafe { block.cast::<Attributes>().sub(1) }
}

/// Where the `External` of a block stands.
///
/// # Safety
/// `block` is an allocation of [`external_layout`].
unsafe fn external_of(block: NonNull<Block>) -> NonNull<External> {
    // SAFETY: the allocation has room for the header and an `External`.
    unsafe { block.add(1).cast() }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let block = self.block();
        // SAFETY: the value stands behind the key, or in the vector of the `External`; both live and
        // stay as they are as long as `self` is borrowed.
        unsafe {
            if block.length & EXTERNAL != 0 {
                let external = external_of(self.0).as_ref();
                return external.bytes.get_unchecked(external.start..);
            }
            let start = self.0.add(1).cast::<u8>().add(block.key_len());
            std::slice::from_raw_parts(start.as_ptr(), block.value_len())
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for Value {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: a new holder comes from a holder, which keeps the block alive.
        if self.block().refs.fetch_add(1, Relaxed) > REFS_MAX {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for Value {
    #[inline]
    fn drop(&mut self) {
        if self.block().refs.fetch_sub(1, Release) == 1 {
            self.free();
        }
    }
}

/// Shows the length; the bytes may be secret.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

const _: () = assert!(mem::size_of::<Option<Value>>() == mem::size_of::<usize>());

#[cfg(test)]
#[path = "value/tests.rs"]
mod tests;
