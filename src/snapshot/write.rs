//! Writes a snapshot. Format and invariants: the module's head.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{
    BLOCK_MAX, ENCRYPTED, END, ENTRIES, EXPIRES, Header, NEGATIVE, PREFIX_LEN, Record, STALE,
    block_header, check_entry, prefix, unwritable, wall_ms,
};
use crate::error::{Error, ErrorKind, Result};
use crate::key::KEY_MAX;
use crate::random;
use crate::seal::{self, Keyring};

/// Writes what `source` puts into the sink to a file at `path`, which appears complete or not at all, and
/// replaces an older one. Encrypted where there are `keys`. Returns the number of entries.
///
/// Errors: [`ErrorKind::Io`]; those of `source`; [`ErrorKind::Invalid`] or [`ErrorKind::TooBig`] for an
/// entry that no cache accepts. After an error the file that was there is there.
///
/// The file is readable by its owner only. Blocks by reading and writing; not to be called inside the gate.
pub(crate) fn save(
    path: &Path,
    keys: Option<&Keyring>,
    source: impl FnOnce(&mut Sink<'_, BufWriter<File>>) -> Result<()>,
) -> Result<u64> {
    let file_id: [u8; 16] = random::bytes()?;
    let (temporary, file) = Temporary::create(path, &file_id)?;
    let mut sink = Sink::new(BufWriter::new(file), keys, wall_ms(), file_id)?;
    source(&mut sink)?;
    let (entries, out) = sink.finish()?;
    let file = out.into_inner().map_err(|error| unwritable(error.error()))?;
    file.sync_all().map_err(|error| unwritable(&error))?;
    temporary.rename_to(path)?;
    Ok(entries)
}

/// Where entries are put.
pub(crate) struct Sink<'a, W> {
    out: W,
    keys: Option<&'a Keyring>,
    header: Header,
    /// [`PREFIX_LEN`] bytes for the prefix, then the entries of the present block.
    buffer: Vec<u8>,
    /// Number of the present block.
    index: u64,
    entries: u64,
}

impl<'a, W: Write> Sink<'a, W> {
    pub(super) fn new(
        mut out: W,
        keys: Option<&'a Keyring>,
        saved_at_ms: u64,
        file_id: [u8; 16],
    ) -> Result<Self> {
        let (flags, key_id) = match keys {
            Some(keys) => (ENCRYPTED, keys.sealing()?.key_id()),
            None => (0, 0),
        };
        let header = Header { flags, key_id, saved_at_ms, file_id };
        out.write_all(&header.to_bytes()).map_err(|error| unwritable(&error))?;
        let mut buffer = Vec::with_capacity(PREFIX_LEN + BLOCK_MAX);
        buffer.resize(PREFIX_LEN, 0);
        Ok(Self { out, keys, header, buffer, index: 0, entries: 0 })
    }

    /// Adds an entry.
    pub(crate) fn put(&mut self, record: &Record<'_>) -> Result<()> {
        let Record { key, value, remaining_ms, stale_ms, tags, negative } = *record;
        let times = [remaining_ms.unwrap_or(0), stale_ms];
        let invalid =
            |why| Error::new(ErrorKind::Invalid, format!("an entry can't be saved: {why}"));
        check_entry(key, value.len(), times, negative).map_err(invalid)?;
        let tag_count = u16::try_from(tags.len()).map_err(|_| invalid("it has too many tags"))?;
        if tags.iter().any(|tag| tag.is_empty() || tag.len() > KEY_MAX) {
            return Err(invalid("it has a tag that no cache accepts"));
        }
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(remaining_ms.is_some(), EXPIRES)
            | flag(stale_ms > 0, STALE)
            | flag(negative, NEGATIVE);
        self.append(&[flags])?;
        // Both are within their limits.
        self.append(&(key.len() as u32).to_le_bytes())?;
        self.append(&(value.len() as u32).to_le_bytes())?;
        self.append(&tag_count.to_le_bytes())?;
        if let Some(ms) = remaining_ms {
            self.append(&ms.to_le_bytes())?;
        }
        if stale_ms > 0 {
            self.append(&stale_ms.to_le_bytes())?;
        }
        for tag in tags {
            self.append(&(tag.len() as u32).to_le_bytes())?;
            self.append(tag)?;
        }
        self.append(key)?;
        self.append(value)?;
        self.entries += 1;
        Ok(())
    }

    /// Writes the end; returns how many entries there are.
    pub(super) fn finish(mut self) -> Result<(u64, W)> {
        if self.buffer.len() > PREFIX_LEN {
            self.write_block(ENTRIES)?;
        }
        let (entries, blocks) = (self.entries, self.index);
        self.buffer.extend_from_slice(&entries.to_le_bytes());
        self.buffer.extend_from_slice(&blocks.to_le_bytes());
        self.write_block(END)?;
        self.out.flush().map_err(|error| unwritable(&error))?;
        Ok((entries, self.out))
    }

    /// Appends bytes, which may go on in the next block.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = PREFIX_LEN + BLOCK_MAX - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PREFIX_LEN + BLOCK_MAX {
                self.write_block(ENTRIES)?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self, kind: u8) -> Result<()> {
        let block_header = block_header(kind, self.buffer.len() - PREFIX_LEN);
        let prefix = prefix(&self.header, self.index, &block_header);
        let mut parts: [&[u8]; 2] = [&[], &[]];
        let (nonce, sum);
        match self.keys {
            Some(keys) => {
                let sealing = keys.sealing()?;
                nonce = *sealing.nonce();
                sum = sealing.finish(&prefix, &mut self.buffer[PREFIX_LEN..])?;
                parts = [&nonce, &sum];
            }
            None => {
                self.buffer[..PREFIX_LEN].copy_from_slice(&prefix);
                sum = seal::digest(&self.buffer);
                parts[1] = &sum;
            }
        }
        for bytes in [&block_header, parts[0], &self.buffer[PREFIX_LEN..], parts[1]] {
            self.out.write_all(bytes).map_err(|error| unwritable(&error))?;
        }
        self.buffer.truncate(PREFIX_LEN);
        self.index += 1;
        Ok(())
    }
}

/// A file beside the one that it is to become; removed when it is dropped before.
struct Temporary {
    path: PathBuf,
    folder: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(target: &Path, random: &[u8; 16]) -> Result<(Self, File)> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::new(ErrorKind::Io, "the path of the snapshot names no file"))?;
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // Long names are cut by the system's limit: the random part alone is used then.
        let mut hidden = OsString::from(".");
        if name.len() <= 200 {
            hidden.push(name);
        }
        let [a, b, c, d, ..] = *random;
        hidden.push(format!(".{:08x}.tmp", u32::from_le_bytes([a, b, c, d])));
        let path = folder.join(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unwritable(&error))?;
        Ok((Self { path, folder, renamed: false }, file))
    }

    fn rename_to(mut self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).map_err(|error| unwritable(&error))?;
        self.renamed = true;
        // The name is as durable as the content, where the folder can be opened at all.
        match File::open(&self.folder) {
            Ok(folder) => folder.sync_all().map_err(|error| unwritable(&error)),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Whoever is told of the error can do no more about it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
