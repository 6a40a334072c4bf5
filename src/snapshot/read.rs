//! Reads a snapshot, twice: to verify it, and to hand it out. Format and invariants: the module's head.

use std::fs::OpenOptions;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Instant;

use super::{
    BLOCK_HEADER_LEN, BLOCK_MAX, END, END_LEN, ENTRIES, ENTRY_HEADER_LEN, EXPIRES, HEADER_LEN,
    Header, NEGATIVE, PREFIX_LEN, Record, STALE, block_header, check_entry, corrupt, number,
    prefix, unreadable, wall_ms,
};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KEY_MAX, VALUE_MAX};
use crate::seal::{self, DIGEST_LEN, Keyring, NONCE_LEN, TAG_LEN};

/// Verifies the file at `path`, and then hands its entries to `sink`, each with the time that it has left
/// now; those whose time is over are left out. Returns how many were handed out. Where there are `keys`
/// the file must be encrypted with one of them.
///
/// Errors: [`ErrorKind::Corrupt`], before `sink` was called (unless the file is changed under the reader's
/// eyes); [`ErrorKind::Io`]; those of `sink`, after which no more is handed out.
///
/// Blocks by reading; not to be called inside the gate.
pub(crate) fn load(
    path: &Path,
    keys: Option<&Keyring>,
    mut sink: impl FnMut(&Record<'_>) -> Result<()>,
) -> Result<u64> {
    // What is no file must not make the open wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = file.map_err(|error| unreadable(&error))?;
    if !file.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(Error::new(ErrorKind::Io, "can't read the snapshot: it is no regular file"));
    }
    let header = walk(&mut file, keys, &mut |_| Ok(()))?;
    file.rewind().map_err(|error| unreadable(&error))?;
    let age =
        Age { at_start_ms: wall_ms().saturating_sub(header.saved_at_ms), start: Instant::now() };
    let mut handed_out = 0;
    walk(&mut file, keys, &mut |record| {
        if let Some(record) = aged(*record, age.ms()) {
            sink(&record)?;
            handed_out += 1;
        }
        Ok(())
    })?;
    Ok(handed_out)
}

/// How long ago the file was saved: by the wall clock until the load began, since then by the monotonic.
struct Age {
    at_start_ms: u64,
    start: Instant,
}

impl Age {
    fn ms(&self) -> u64 {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_start_ms.saturating_add(since)
    }
}

/// What is left of an entry after `ms`; `None` where that is nothing.
pub(super) fn aged(mut record: Record<'_>, ms: u64) -> Option<Record<'_>> {
    if let Some(remaining) = &mut record.remaining_ms {
        let over = ms.saturating_sub(*remaining);
        *remaining = remaining.saturating_sub(ms);
        record.stale_ms = record.stale_ms.saturating_sub(over);
        if *remaining == 0 && record.stale_ms == 0 {
            return None;
        }
    }
    Some(record)
}

/// Reads all of `input`, verifies it, and shows its entries to `visit`.
pub(super) fn walk(
    input: &mut impl Read,
    keys: Option<&Keyring>,
    visit: &mut dyn FnMut(&Record<'_>) -> Result<()>,
) -> Result<Header> {
    let mut blocks = Blocks::new(BufReader::with_capacity(64 << 10, input), keys)?;
    let mut entry = Entry::default();
    let mut entries = 0;
    while blocks.has_more()? {
        entry.read(&mut blocks)?;
        visit(&entry.record())?;
        entries += 1;
    }
    blocks.finish(entries)?;
    Ok(blocks.header)
}

/// The bytes of the entries, verified block by block.
struct Blocks<'a, R> {
    input: R,
    keys: Option<&'a Keyring>,
    header: Header,
    /// Number of the next block.
    index: u64,
    /// [`PREFIX_LEN`] bytes for the prefix, then the present block.
    buffer: Vec<u8>,
    /// Where in the buffer the unread bytes begin.
    at: usize,
    /// The numbers of entries and of blocks, from the end.
    end: Option<[u64; 2]>,
}

impl<'a, R: Read> Blocks<'a, R> {
    fn new(mut input: R, keys: Option<&'a Keyring>) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        read_exact(&mut input, &mut bytes)?;
        let header = Header::from_bytes(&bytes)?;
        match (header.is_encrypted(), keys) {
            (true, None) => Err(corrupt("it is encrypted, and there are no `encryption_keys`")),
            (false, Some(_)) => {
                Err(corrupt("it is not encrypted, and `encryption_keys` are given"))
            }
            _ => Ok(Self {
                input,
                keys,
                header,
                index: 0,
                buffer: vec![0; PREFIX_LEN],
                at: PREFIX_LEN,
                end: None,
            }),
        }
    }

    /// Whether an entry follows.
    fn has_more(&mut self) -> Result<bool> {
        if self.at == self.buffer.len() && self.end.is_none() {
            self.read_block()?;
        }
        Ok(self.end.is_none())
    }

    /// Appends the next `len` bytes to `bytes`. `len` is within a limit; memory grows as they arrive.
    fn append_to(&mut self, bytes: &mut Vec<u8>, len: usize) -> Result<()> {
        let mut missing = len;
        while missing > 0 {
            if !self.has_more()? {
                return Err(corrupt("it ends within an entry"));
            }
            let unread = &self.buffer[self.at..];
            let now = &unread[..missing.min(unread.len())];
            bytes.try_reserve(now.len()).map_err(|_| {
                Error::new(ErrorKind::NoMemory, "no memory for an entry of the snapshot")
            })?;
            bytes.extend_from_slice(now);
            self.at += now.len();
            missing -= now.len();
        }
        Ok(())
    }

    /// The next bytes, of a length that the type says.
    fn next<const N: usize>(&mut self, scratch: &mut Vec<u8>) -> Result<[u8; N]> {
        scratch.clear();
        self.append_to(scratch, N)?;
        number(&mut scratch.as_slice())
    }

    fn read_block(&mut self) -> Result<()> {
        let mut given = [0; BLOCK_HEADER_LEN];
        read_exact(&mut self.input, &mut given)?;
        let [kind, .., a, b, c, d] = given;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let fits = match kind {
            ENTRIES => (1..=BLOCK_MAX).contains(&len),
            END => len == END_LEN,
            _ => false,
        };
        if !fits || given != block_header(kind, len) {
            return Err(corrupt("it has a block that can't be"));
        }
        let prefix = prefix(&self.header, self.index, &given);
        self.buffer.resize(PREFIX_LEN + len, 0);
        self.buffer[..PREFIX_LEN].copy_from_slice(&prefix);
        match self.keys {
            Some(keys) => {
                let (mut nonce, mut tag) = ([0; NONCE_LEN], [0; TAG_LEN]);
                read_exact(&mut self.input, &mut nonce)?;
                let bytes = &mut self.buffer[PREFIX_LEN..];
                read_exact(&mut self.input, bytes)?;
                read_exact(&mut self.input, &mut tag)?;
                keys.open_in_place(self.header.key_id, &nonce, &prefix, bytes, &tag).map_err(
                    |_| corrupt("it is not what was encrypted with one of `encryption_keys`"),
                )?;
            }
            None => {
                let mut sum = [0; DIGEST_LEN];
                read_exact(&mut self.input, &mut self.buffer[PREFIX_LEN..])?;
                read_exact(&mut self.input, &mut sum)?;
                if seal::digest(&self.buffer) != sum {
                    return Err(corrupt("a checksum is wrong"));
                }
            }
        }
        self.at = PREFIX_LEN;
        if kind == END {
            let mut bytes = &self.buffer[PREFIX_LEN..];
            let entries = u64::from_le_bytes(number(&mut bytes)?);
            self.end = Some([entries, u64::from_le_bytes(number(&mut bytes)?)]);
        } else {
            self.index += 1;
        }
        Ok(())
    }

    /// Verifies the end.
    fn finish(&mut self, entries: u64) -> Result<()> {
        if self.end != Some([entries, self.index]) {
            return Err(corrupt("its end tells of another number of entries"));
        }
        match self.input.read_exact(&mut [0]) {
            Ok(()) => Err(corrupt("something follows its end")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

/// An entry that was read; its buffers are used again.
#[derive(Default)]
struct Entry {
    scratch: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    tags: Vec<Vec<u8>>,
    remaining_ms: Option<u64>,
    stale_ms: u64,
    negative: bool,
}

impl Entry {
    fn read(&mut self, blocks: &mut Blocks<'_, impl Read>) -> Result<()> {
        let scratch = &mut self.scratch;
        let head: [u8; ENTRY_HEADER_LEN] = blocks.next(scratch)?;
        let mut rest = &head[..];
        let [flags] = number(&mut rest)?;
        let key_len = u32::from_le_bytes(number(&mut rest)?) as usize;
        let value_len = u32::from_le_bytes(number(&mut rest)?) as usize;
        let tag_count = u16::from_le_bytes(number(&mut rest)?);
        if flags & !(EXPIRES | STALE | NEGATIVE) != 0 || key_len > KEY_MAX || value_len > VALUE_MAX
        {
            return Err(corrupt("an entry is larger than any, or of an unknown kind"));
        }
        let mut time = |flag| match flags & flag {
            0 => Ok(None),
            _ => blocks.next(scratch).map(|ms| Some(u64::from_le_bytes(ms))),
        };
        self.remaining_ms = time(EXPIRES)?;
        self.stale_ms = time(STALE)?.unwrap_or(0);
        self.negative = flags & NEGATIVE != 0;
        self.tags.clear();
        for _ in 0..tag_count {
            let len = u32::from_le_bytes(blocks.next(scratch)?) as usize;
            if !(1..=KEY_MAX).contains(&len) {
                return Err(corrupt("a tag is empty or larger than any"));
            }
            let mut tag = Vec::new();
            blocks.append_to(&mut tag, len)?;
            self.tags.push(tag);
        }
        self.key.clear();
        blocks.append_to(&mut self.key, key_len)?;
        self.value.clear();
        blocks.append_to(&mut self.value, value_len)?;
        let times = [self.remaining_ms.unwrap_or(0), self.stale_ms];
        check_entry(&self.key, value_len, times, self.negative).map_err(corrupt)
    }

    fn record(&self) -> Record<'_> {
        Record {
            key: &self.key,
            value: &self.value,
            remaining_ms: self.remaining_ms,
            stale_ms: self.stale_ms,
            tags: &self.tags,
            negative: self.negative,
        }
    }
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    input.read_exact(bytes).map_err(|error| unreadable(&error))
}
