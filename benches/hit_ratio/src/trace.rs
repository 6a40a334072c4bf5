//! Traces from files: a key per request, in order.
//!
//! `NAME.u64` holds little-endian numbers of 64 bits, any other file of text a key per line; either may be
//! compressed (`.gz`).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::ids::hash_of_text;

/// Requests of a trace at most.
const REQUESTS_MAX: usize = 1 << 27;
/// Bytes of a file at most, decompressed: lines of text may be longer than numbers.
const BYTES_MAX: u64 = 4 << 30;
/// What files of a folder are taken for traces.
const ENDINGS: [&str; 4] = [".u64", ".u64.gz", ".txt", ".txt.gz"];

/// Requests in order.
pub struct Trace {
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The key of each.
    pub keys: Vec<u64>,
}

impl Trace {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let failed = |what: String| format!("{}: {what}", path.display());
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let compressed = path.extension().is_some_and(|ending| ending == "gz");
        let reader: Box<dyn Read> =
            if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut bytes = Vec::new();
        let read = reader.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(error.to_string()))?;
        let name = name_of(path);
        let is_binary = file_name(path).trim_end_matches(".gz").ends_with(".u64");
        let keys = if is_binary { numbers(&bytes) } else { lines(&bytes) }.map_err(failed)?;
        match keys.len() {
            _ if bytes.len() as u64 > BYTES_MAX => Err(failed("it is longer than 4 GiB".into())),
            0 => Err(failed("it holds no request".into())),
            n if n > REQUESTS_MAX => Err(failed(format!("more than {REQUESTS_MAX} requests"))),
            _ => Ok(Self { name, keys }),
        }
    }

    /// How many different keys it has.
    pub fn distinct(&self) -> usize {
        self.keys.iter().collect::<HashSet<_>>().len()
    }
}

/// The files that a list of files and folders means, those of a folder by name.
pub fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error| format!("{}: {error}", path.display());
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if ENDINGS.iter().any(|ending| file_name(&path).ends_with(ending)) {
                inside.push(path);
            }
        }
        if inside.is_empty() {
            let endings = ENDINGS.join(", ");
            return Err(format!("{}: no file in it ends with {endings}", path.display()));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name of the file without its ending, fit for a table and for the name of a picture.
fn name_of(path: &Path) -> String {
    let name = file_name(path);
    let short = ENDINGS.iter().rev().find_map(|ending| name.strip_suffix(ending));
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    short.unwrap_or(&name).chars().map(plain).collect()
}

fn numbers(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err("its length is not a multiple of 8 bytes".into());
    }
    Ok(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

fn lines(bytes: &[u8]) -> Result<Vec<u64>, String> {
    if bytes.contains(&0) {
        return Err("it is not text; name a file of 64-bit numbers NAME.u64".into());
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    Ok(lines.filter(|line| !line.is_empty()).map(hash_of_text).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("hit-ratio-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn numbers_and_lines_plain_and_compressed() {
        let folder = Folder::new("formats");
        let numbers = [7_u64, 1 << 63, 7].map(u64::to_le_bytes).concat();
        let text = b"user:7\r\n\nuser:8\nuser:7";
        for (name, bytes) in [
            ("a.u64", numbers.clone()),
            ("b.u64.gz", gz(&numbers)),
            ("c.txt", text.to_vec()),
            ("d.txt.gz", gz(text)),
            ("e.log", text.to_vec()),
        ] {
            let trace = Trace::load(&folder.file(name, &bytes)).unwrap();
            let keys = &trace.keys;
            assert_eq!(keys.len(), 3, "{name}");
            assert_eq!(trace.distinct(), 2);
            assert!(keys[0] == keys[2] && keys[0] != keys[1]);
            assert_eq!(trace.name, name.split(".t").next().unwrap().split(".u").next().unwrap());
        }
        let files = files(std::slice::from_ref(&folder.0)).unwrap();
        let names = files.iter().map(|path| file_name(path)).collect::<Vec<_>>();
        assert_eq!(names, ["a.u64", "b.u64.gz", "c.txt", "d.txt.gz"]);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let folder = Folder::new("refused");
        let refused = |name: &str, bytes: &[u8]| {
            Trace::load(&folder.file(name, bytes)).err().unwrap_or_default()
        };
        assert!(refused("a.u64", &[0; 12]).contains("multiple of 8"));
        assert!(refused("b.txt", &[0; 16]).contains("NAME.u64"));
        assert!(refused("c.txt", b"\n \n").contains("no request"));
        assert!(!refused("d.u64.gz", b"not compressed").is_empty());
        assert!(Trace::load(Path::new("/nonexistent")).is_err());
        let empty = Folder::new("empty");
        assert!(files(std::slice::from_ref(&empty.0)).is_err());
        assert_eq!(name_of(Path::new("/x/a b|c.u64.gz")), "a_b_c");
    }
}
