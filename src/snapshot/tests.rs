//! What is written comes back; damaged, truncated and forged files load nothing; files appear whole.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use proptest::prelude::*;

use super::read::{aged, walk};
use super::write::Sink;
use super::*;
use crate::fork::tests::in_fork;
use crate::key::KEY_MAX;
use crate::seal::{DIGEST_LEN, Keyring, NONCE_LEN, TAG_LEN};

const FIRST: &str = "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECOND: &str = "2:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const MINUTE: u64 = 60_000;

/// An entry that owns its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Owned {
    key: Vec<u8>,
    value: Vec<u8>,
    remaining_ms: Option<u64>,
    stale_ms: u64,
    tags: Vec<Vec<u8>>,
    negative: bool,
}

impl Owned {
    fn new(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    fn of(record: &Record<'_>) -> Self {
        Self {
            key: record.key.to_vec(),
            value: record.value.to_vec(),
            remaining_ms: record.remaining_ms,
            stale_ms: record.stale_ms,
            tags: record.tags.to_vec(),
            negative: record.negative,
        }
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

/// One of each sort.
fn some_entries() -> Vec<Owned> {
    let tags = vec![b"catalogue".to_vec(), b"\xff\0".to_vec()];
    vec![
        Owned::new("plain", "value"),
        Owned { remaining_ms: Some(MINUTE), stale_ms: 5, ..Owned::new("expires", "soon") },
        Owned { tags, ..Owned::new("tagged", "") },
        Owned { negative: true, remaining_ms: Some(MINUTE), ..Owned::new("negative", "") },
    ]
}

fn keyring(text: &str) -> Keyring {
    Keyring::parse(text).unwrap()
}

/// A file in memory.
fn written(entries: &[Owned], keys: Option<&Keyring>) -> Vec<u8> {
    let mut sink = Sink::new(Vec::new(), keys, 1_700_000_000_000, [7; 16]).unwrap();
    entries.iter().for_each(|entry| sink.put(&entry.record()).unwrap());
    let (count, bytes) = sink.finish().unwrap();
    assert_eq!(count, entries.len() as u64);
    bytes
}

/// A file with these bytes where entries belong.
fn forged(bytes: &[u8], entries: usize) -> Vec<u8> {
    let mut sink = Sink::new(Vec::new(), None, 0, [0; 16]).unwrap();
    sink.append(bytes).unwrap();
    let mut file = sink.finish().unwrap().1;
    // The number of entries in the end, and its checksum again.
    let end = file.len() - END_LEN - DIGEST_LEN;
    file[end..end + 8].copy_from_slice(&(entries as u64).to_le_bytes());
    let header = Header::from_bytes(&file[..HEADER_LEN].try_into().unwrap()).unwrap();
    let mut summed = prefix(&header, 1, &block_header(END, END_LEN)).to_vec();
    summed.extend_from_slice(&file[end..end + END_LEN]);
    file[end + END_LEN..].copy_from_slice(&crate::seal::digest(&summed));
    file
}

fn read(mut bytes: &[u8], keys: Option<&Keyring>) -> Result<Vec<Owned>> {
    let mut entries = Vec::new();
    walk(&mut bytes, keys, &mut |record| {
        entries.push(Owned::of(record));
        Ok(())
    })?;
    Ok(entries)
}

fn refused(bytes: &[u8], keys: Option<&Keyring>) -> String {
    let error = read(bytes, keys).expect_err("a file that is not sound is refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    error.message().to_owned()
}

/// A folder of its own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lc-snapshot-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cache.snapshot")
    }

    /// Names of all files, hidden ones too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn save_all(folder: &Folder, entries: &[Owned], keys: Option<&Keyring>) -> Result<u64> {
    save(&folder.file(), keys, |sink| {
        entries.iter().try_for_each(|entry| sink.put(&entry.record()))
    })
}

fn load_all(folder: &Folder, keys: Option<&Keyring>) -> Result<Vec<Owned>> {
    let mut entries = Vec::new();
    let count = load(&folder.file(), keys, |record| {
        entries.push(Owned::of(record));
        Ok(())
    })?;
    assert_eq!(count, entries.len() as u64);
    Ok(entries)
}

#[test]
fn entries_come_back_as_they_went() {
    let keys = keyring(FIRST);
    let large = Owned::new("large", vec![3; 3 * BLOCK_MAX + 17]);
    let longest = Owned::new(&"k".repeat(KEY_MAX), "long key");
    for entries in [vec![], some_entries(), vec![large, longest, Owned::new("last", "one")]] {
        for keys in [None, Some(&keys)] {
            assert_eq!(read(&written(&entries, keys), keys).unwrap(), entries);
        }
    }
}

#[test]
fn files_replace_each_other_and_leave_nothing_behind() {
    let folder = Folder::new();
    let entries: Vec<_> = (0..1000).map(|n| Owned::new(&format!("key {n}"), vec![0; n])).collect();
    assert_eq!(save_all(&folder, &entries, None).unwrap(), 1000);
    assert_eq!(load_all(&folder, None).unwrap(), entries);
    assert_eq!(save_all(&folder, &some_entries()[..1], None).unwrap(), 1);
    assert_eq!(load_all(&folder, None).unwrap(), some_entries()[..1]);
    assert_eq!(folder.names(), ["cache.snapshot"]);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "values may be secret");
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let keys = keyring(FIRST);
    for keys in [None, Some(&keys)] {
        let whole = written(&some_entries(), keys);
        for at in 0..whole.len() {
            refused(&whole[..at], keys);
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                refused(&flipped, keys);
            }
        }
        refused(&[&whole[..], b"x"].concat(), keys);
        refused(&[&whole[..], &whole[..]].concat(), keys);
    }
}

#[test]
fn blocks_stay_at_their_place_in_their_file() {
    let keys = keyring(FIRST);
    let entries = [Owned::new("large", vec![3; 2 * BLOCK_MAX])];
    for (keys, around) in [(None, DIGEST_LEN), (Some(&keys), NONCE_LEN + TAG_LEN)] {
        let whole = written(&entries, keys);
        let block = BLOCK_HEADER_LEN + BLOCK_MAX + around;
        let (head, rest) = whole.split_at(HEADER_LEN);
        let blocks: Vec<_> = rest.chunks(block).collect();
        let rebuilt = |order: &[usize]| {
            let mut file = head.to_vec();
            order.iter().for_each(|at| file.extend_from_slice(blocks[*at]));
            file
        };
        // The third block is not full; it stands in the last chunk together with the end.
        assert_eq!(blocks.len(), 3);
        assert!(read(&rebuilt(&[0, 1, 2]), keys).is_ok());
        for order in [&[1, 0, 2][..], &[0, 2], &[0, 0, 1, 2], &[2], &[0, 0, 2], &[0, 1, 2, 2]] {
            refused(&rebuilt(order), keys);
        }
        // Of another file with the same key.
        let mut sink = Sink::new(Vec::new(), keys, 1_700_000_000_000, [8; 16]).unwrap();
        sink.put(&entries[0].record()).unwrap();
        let other = sink.finish().unwrap().1;
        let mut mixed = whole.clone();
        mixed[HEADER_LEN..HEADER_LEN + block]
            .copy_from_slice(&other[HEADER_LEN..HEADER_LEN + block]);
        refused(&mixed, keys);
    }
}

#[test]
fn keys_rotate_and_others_do_not_open() {
    let (first, second) = (keyring(FIRST), keyring(SECOND));
    let rotated = keyring(&format!("{SECOND},{FIRST}"));
    let old = written(&some_entries(), Some(&first));
    assert_eq!(read(&old, Some(&rotated)).unwrap(), some_entries());
    assert_eq!(written(&[], Some(&rotated))[12..16], [2, 0, 0, 0], "the first key encrypts");
    assert!(refused(&old, Some(&second)).contains("encryption_keys"));
    // The right number, the wrong key.
    refused(&old, Some(&keyring(&SECOND.replacen('2', "1", 1))));
    assert!(refused(&old, None).contains("it is encrypted"));
    assert!(refused(&written(&some_entries(), None), Some(&first)).contains("not encrypted"));
    assert!(!old.windows(5).any(|bytes| bytes == b"value" || bytes == b"plain"));
}

#[test]
fn a_damaged_file_loads_nothing() {
    let folder = Folder::new();
    let entries = [Owned::new("first", "value"), Owned::new("large", vec![1; 3 * BLOCK_MAX])];
    save_all(&folder, &entries, None).unwrap();
    let mut bytes = fs::read(folder.file()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(folder.file(), &bytes).unwrap();
    let loaded = load(&folder.file(), None, |_| panic!("nothing is handed out"));
    assert_eq!(loaded.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn lengths_over_the_limits_are_refused_before_they_are_believed() {
    let entry = |flags: u8, key: u32, value: u32, tags: u16| {
        let mut bytes = vec![flags];
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes.extend_from_slice(&tags.to_le_bytes());
        bytes
    };
    let with = |mut bytes: Vec<u8>, more: &[u8]| {
        bytes.extend_from_slice(more);
        bytes
    };
    assert_eq!(read(&forged(&with(entry(0, 1, 1, 0), b"kv"), 1), None).unwrap().len(), 1);
    let century = TTL_MAX_MS.to_le_bytes();
    let more = (TTL_MAX_MS + 1).to_le_bytes();
    let timed = |ms: &[u8]| with(with(entry(EXPIRES, 1, 0, 0), ms), b"k");
    assert_eq!(read(&forged(&timed(&century), 1), None).unwrap().len(), 1);
    let refused_ones = [
        with(entry(0, u32::MAX, 0, 0), b"k"),
        with(entry(0, KEY_MAX as u32 + 1, 0, 0), &vec![b'k'; KEY_MAX + 1]),
        with(entry(0, 1, u32::MAX, 0), b"k"),
        with(entry(0, 1, VALUE_MAX as u32, 0), b"k"),
        with(entry(0, 0, 1, 0), b"v"),
        with(entry(0, 5, 0, 0), b"__lc:"),
        with(entry(8, 1, 0, 0), b"k"),
        with(entry(NEGATIVE, 1, 1, 0), b"kv"),
        with(entry(0, 1, 0, u16::MAX), b"k"),
        with(entry(0, 1, 0, 1), b"\xff\xff\xff\xffk"),
        with(entry(0, 1, 0, 1), b"\0\0\0\0k"),
        timed(&more),
        timed(&u64::MAX.to_le_bytes()),
        vec![0],
    ];
    for bytes in refused_ones {
        refused(&forged(&bytes, 1), None);
    }
    for entries in [0, 2, usize::MAX] {
        let message = refused(&forged(&with(entry(0, 1, 1, 0), b"kv"), entries), None);
        assert!(message.contains("another number of entries"));
    }
    let mut block = written(&[], None);
    block[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&block_header(ENTRIES, BLOCK_MAX + 1));
    assert!(refused(&block, None).contains("a block that can't be"));
}

#[test]
fn what_no_cache_accepts_is_not_saved() {
    let kind = |entry: Owned| {
        let mut sink = Sink::new(Vec::new(), None, 0, [0; 16]).unwrap();
        sink.put(&entry.record()).unwrap_err().kind()
    };
    let valid = Owned::new("key", "value");
    for entry in [
        Owned::new("", "value"),
        Owned::new("__lc:key", "value"),
        Owned { negative: true, ..valid.clone() },
        Owned { remaining_ms: Some(TTL_MAX_MS + 1), ..valid.clone() },
        Owned { stale_ms: u64::MAX, ..valid.clone() },
        Owned { tags: vec![vec![]], ..valid.clone() },
        Owned { tags: vec![vec![0; KEY_MAX + 1]], ..valid.clone() },
        Owned { tags: vec![vec![0]; 1 << 16], ..valid },
    ] {
        assert_eq!(kind(entry), ErrorKind::Invalid);
    }
}

#[test]
fn time_is_deducted_and_never_added() {
    let entry = Owned { remaining_ms: Some(100), stale_ms: 50, ..Owned::new("key", "value") };
    let left = |ms| {
        let record = aged(entry.record(), ms)?;
        Some((record.remaining_ms, record.stale_ms))
    };
    assert_eq!(left(0), Some((Some(100), 50)));
    assert_eq!(left(99), Some((Some(1), 50)));
    assert_eq!(left(100), Some((Some(0), 50)));
    assert_eq!(left(149), Some((Some(0), 1)));
    assert_eq!(left(150), None);
    assert_eq!(left(u64::MAX), None);
    let forever = Owned::new("key", "value");
    assert!(aged(forever.record(), u64::MAX).is_some());

    // Saved an hour ago; then "saved" in an hour, as where the clock was set back meanwhile.
    let folder = Folder::new();
    let hour = 60 * MINUTE;
    let loaded = |saved_at_ms| {
        let mut sink = Sink::new(Vec::new(), None, saved_at_ms, [0; 16]).unwrap();
        for (key, remaining_ms) in [("short", hour - 1), ("long", 3 * hour)] {
            let entry = Owned { remaining_ms: Some(remaining_ms), ..Owned::new(key, "") };
            sink.put(&entry.record()).unwrap();
        }
        fs::write(folder.file(), sink.finish().unwrap().1).unwrap();
        let entries = load_all(&folder, None).unwrap();
        let left = entries.into_iter().map(|entry| entry.remaining_ms.unwrap());
        left.collect::<Vec<_>>()
    };
    let [left] = loaded(wall_ms() - hour)[..] else { panic!("one entry is over") };
    assert!(left <= 2 * hour && left > 2 * hour - 10 * MINUTE);
    let [short, long] = loaded(wall_ms() + hour)[..] else { panic!("both live") };
    assert!(short < hour && long <= 3 * hour && long > 3 * hour - 10 * MINUTE);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = Folder::new();
    save_all(&folder, &some_entries(), None).unwrap();
    let before = fs::read(folder.file()).unwrap();
    let child = in_fork(|| {
        // No file of more than 64 KiB: the system says so in the midst of the write.
        let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
        // SAFETY: the limit is valid during the call, and a signal is ignored, in a child of its own.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
        }
        let large = Owned::new("large", vec![1; 2 * BLOCK_MAX]);
        save_all(&folder, &[large], None).is_err_and(|error| error.kind() == ErrorKind::Io)
    });
    assert_eq!(child, 0);
    assert_eq!(fs::read(folder.file()).unwrap(), before);
    assert_eq!(folder.names(), ["cache.snapshot"]);
}

#[test]
fn a_source_that_fails_leaves_the_old_file() {
    let folder = Folder::new();
    save_all(&folder, &some_entries(), None).unwrap();
    let failed = save(&folder.file(), None, |sink| {
        sink.put(&Owned::new("key", "value").record())?;
        Err(ErrorKind::Closed.into())
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Closed);
    let panicked = std::panic::catch_unwind(|| {
        save(&folder.file(), None, |_| std::panic::resume_unwind(Box::new("the source panics")))
    });
    assert!(panicked.is_err());
    assert_eq!(load_all(&folder, None).unwrap().len(), 4);
    assert_eq!(folder.names(), ["cache.snapshot"]);
}

#[test]
fn a_sink_that_fails_ends_the_load() {
    let folder = Folder::new();
    save_all(&folder, &some_entries(), None).unwrap();
    let mut seen = 0;
    let failed = load(&folder.file(), None, |_| {
        seen += 1;
        Err(ErrorKind::TooBig.into())
    });
    assert_eq!((failed.unwrap_err().kind(), seen), (ErrorKind::TooBig, 1));
}

#[test]
fn paths_that_are_no_files_are_io_errors() {
    let folder = Folder::new();
    let fifo = folder.0.join("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name ends with a NUL and lives during the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let load = |path: &std::path::Path| load(path, None, |_| Ok(())).unwrap_err().kind();
    assert_eq!(load(&fifo), ErrorKind::Io, "and does not wait for a writer");
    assert_eq!(load(&folder.0), ErrorKind::Io);
    assert_eq!(load(&folder.file()), ErrorKind::Io);
    assert_eq!(load(std::path::Path::new("")), ErrorKind::Io);
    let save = |path: &std::path::Path| save(path, None, |_| Ok(())).unwrap_err().kind();
    assert_eq!(save(&folder.0), ErrorKind::Io);
    assert_eq!(save(&folder.0.join("none/cache")), ErrorKind::Io);
    assert_eq!(save(std::path::Path::new("..")), ErrorKind::Io);
}

#[test]
fn messages_hold_nothing_of_keys_and_values() {
    let folder = Folder::new();
    let keys = keyring(FIRST);
    let canary = "canary-5e3f";
    let entries = [Owned::new(canary, canary)];
    save_all(&folder, &entries, Some(&keys)).unwrap();
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[HEADER_LEN + 50] ^= 1;
    fs::write(folder.file(), bytes).unwrap();
    let too_long = Owned { stale_ms: u64::MAX, ..entries[0].clone() };
    for error in [
        load_all(&folder, Some(&keys)).unwrap_err(),
        load_all(&folder, None).unwrap_err(),
        save_all(&folder, &[too_long], None).unwrap_err(),
    ] {
        assert!(!format!("{error:?} {error}").contains(canary));
    }
}

#[test]
fn the_example_of_the_format_page_is_what_is_written() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/snapshot-format.md");
    let page = fs::read_to_string(page).unwrap();
    let example = page.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    // What follows two spaces says what the bytes are.
    let digits = example.lines().map(|line| line.split("  ").next().unwrap());
    let digits: String = digits.collect::<String>().replace(' ', "");
    let shown: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let entry = Owned {
        remaining_ms: Some(MINUTE),
        tags: vec![b"people".to_vec()],
        ..Owned::new("user:7", "Ada")
    };
    let written = written(&[entry], None);
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, written, "the file is {hex}");
}

proptest! {
    #[test]
    fn any_entries_come_back(
        entries in prop::collection::vec(
            (
                prop::collection::vec(any::<u8>(), 1..40),
                prop::collection::vec(any::<u8>(), 0..200),
                prop::option::of(0..=TTL_MAX_MS),
                0..=TTL_MAX_MS,
                prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4),
                any::<bool>(),
            ),
            0..20,
        ),
        encrypted in any::<bool>(),
    ) {
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|(key, ..)| check_key(key).is_ok())
            .map(|(key, value, remaining_ms, stale_ms, tags, negative)| {
                let value = if negative { Vec::new() } else { value };
                Owned { key, value, remaining_ms, stale_ms, tags, negative }
            })
            .collect();
        let keys = keyring(FIRST);
        let keys = encrypted.then_some(&keys);
        prop_assert_eq!(read(&written(&entries, keys), keys).unwrap(), entries);
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes, None).is_err());
        // Behind a header and a checksum that are right.
        if let Ok(entries) = read(&forged(&[&[0], &bytes[..]].concat(), 1), None) {
            prop_assert_eq!(entries.len(), 1);
        }
    }
}
