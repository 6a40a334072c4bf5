//! Files that a Local cache is to load: of whatever bytes, it loads all of them or none and says why; and
//! what it saves it loads.
//!
//! The first byte of the input chooses how the rest becomes a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use lighter_cache::seal::digest;
use lighter_cache::{BlockingCache, ErrorKind, LocalCache, Remaining, SetOptions, Ttl};

/// How the file comes about: the bits of the first byte.
pub const AS_IT_IS: u8 = 0;
/// The rest is what blocks hold, in a file that is otherwise right.
pub const ENTRIES: u8 = 1;
/// The rest says what is stored; the file is what the cache saves.
pub const SAVED: u8 = 2;
/// As `SAVED`, with damage.
pub const DAMAGED: u8 = 3;
const MODE: u8 = 3;
/// The cache has a key.
pub const ENCRYPTED: u8 = 4;

const KEYS: &str = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// From `docs/snapshot-format.md`.
const HEADER_LEN: usize = 40;
const MAGIC: &[u8; 8] = b"\x89LCS\r\n\x1a\n";

/// One input. The file is written to `folder`.
pub fn run(data: &[u8], folder: &Path) {
    let Some((&how, rest)) = data.split_first() else { return };
    match how & MODE {
        AS_IT_IS => drop(load(how, rest, folder)),
        ENTRIES => drop(load(how & !ENCRYPTED, &forged(rest), folder)),
        SAVED => saved(how, rest, folder),
        _ => damaged(how, rest, folder),
    }
}

/// The folder of this process's files, in memory where the system has that.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("lighter-cache-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    })
}

fn cache(how: u8) -> LocalCache {
    let builder = LocalCache::builder().shards(2);
    let builder = if how & ENCRYPTED == 0 { builder } else { builder.encryption_keys(KEYS) };
    builder.build().expect("options in their range")
}

/// The cache that loads a file of these bytes, if it is sound.
fn load(how: u8, bytes: &[u8], folder: &Path) -> Option<LocalCache> {
    let path = folder.join("loaded");
    fs::write(&path, bytes).expect("the file can be written");
    let cache = cache(how);
    match cache.load(&path) {
        Ok(loaded) => {
            assert!(cache.count().expect("it never fails") <= loaded);
            Some(cache)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert_eq!(cache.count().expect("it never fails"), 0, "a part of it was loaded");
            None
        }
    }
}

/// A file whose checksums are right, and whose end counts what its first two bytes say. A zero byte where a
/// length of a block would be makes the block as long as what is left.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let Some((&[count, cut], content)) = bytes.split_first_chunk() else { return Vec::new() };
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8] = 1;
    // Saved now: nothing is too old to be handed out.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    header[16..24].copy_from_slice(&(now.as_millis() as u64).to_le_bytes());
    let mut file = header.to_vec();
    let mut put = |index: u64, kind: u8, content: &[u8]| {
        let mut block = [kind, 0, 0, 0, 0, 0, 0, 0];
        block[4..].copy_from_slice(&(content.len() as u32).to_le_bytes());
        let summed = [&header[..], &index.to_le_bytes(), &block, content].concat();
        file.extend_from_slice(&block);
        file.extend_from_slice(content);
        file.extend_from_slice(&digest(&summed));
    };
    let length = if cut == 0 { content.len().max(1) } else { usize::from(cut) };
    let mut blocks = 0;
    for block in content.chunks(length) {
        put(blocks, 1, block);
        blocks += 1;
    }
    put(blocks, 2, &[u64::from(count).to_le_bytes(), blocks.to_le_bytes()].concat());
    file
}

/// A cache that holds what the bytes say: for each entry one byte that says what it is like, one that
/// says how long it is, and its bytes.
fn filled(how: u8, mut bytes: &[u8]) -> LocalCache {
    let cache = cache(how);
    while let Some((&[like, len], rest)) = bytes.split_first_chunk() {
        let (content, rest) = rest.split_at(rest.len().min(len.into()));
        bytes = rest;
        let (key, value) = content.split_at(content.len().min(1 + usize::from(like >> 4)));
        if key.is_empty() {
            continue;
        }
        let mut options = SetOptions::new(match like & 3 {
            0 | 1 => Ttl::Never,
            n => Ttl::After(Duration::from_secs(3_600 << n)),
        });
        options.tags = (0..like >> 2 & 3).map(|tag| vec![tag; 1 + usize::from(tag)]).collect();
        match cache.set_ex(key, value, &options) {
            Ok(()) => {}
            // A key of the library's own.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid),
        }
    }
    cache
}

fn saved_file(cache: &LocalCache, folder: &Path) -> Vec<u8> {
    let path = folder.join("saved");
    let saved = cache.save(&path).expect("it can be saved");
    assert_eq!(saved, cache.count().expect("it never fails"));
    fs::read(path).expect("it was saved")
}

fn saved(how: u8, bytes: &[u8], folder: &Path) {
    let cache = filled(how, bytes);
    let file = saved_file(&cache, folder);
    let loaded = load(how, &file, folder).expect("what was saved is sound");
    let keys = cache.keys(b"");
    assert_eq!(loaded.keys(b"").len(), keys.len());
    for key in keys {
        let both = [&cache, &loaded].map(|cache| BlockingCache::get(cache, &key).expect("a key"));
        assert_eq!(both[0].as_deref(), both[1].as_deref());
        let [before, after] = [&cache, &loaded].map(|cache| cache.ttl(&key).expect("a key"));
        match (before, after) {
            (Some(Remaining::Forever), after) => assert_eq!(after, Some(Remaining::Forever)),
            // Both count down.
            (Some(Remaining::For(before)), Some(Remaining::For(after))) => {
                assert!(after <= before + Duration::from_secs(1));
                assert!(before <= after + Duration::from_secs(60));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Three bytes say where the damage is, one which.
fn damaged(how: u8, bytes: &[u8], folder: &Path) {
    let Some((&[a, b, c, bits], rest)) = bytes.split_first_chunk() else { return };
    let mut file = saved_file(&filled(how, rest), folder);
    let at = u32::from_le_bytes([a, b, c, 0]) as usize % file.len();
    if bits == 0 {
        file.truncate(at);
    } else {
        file[at] ^= bits;
    }
    assert!(load(how, &file, folder).is_none(), "damage was not found");
}
