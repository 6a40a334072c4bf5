//! The bodies of the fuzz targets in `fuzz/`, on seeded random input. Not that of `operations`: it needs a
//! clock, so `src/local/tests/fuzzed.rs` runs it.

#[path = "../fuzz/bodies/envelope.rs"]
mod envelope;
#[path = "support/fuzzer.rs"]
mod fuzzer;
#[path = "../fuzz/bodies/snapshot.rs"]
mod snapshot;
#[path = "support/vectors.rs"]
mod vectors;

/// The golden vectors as inputs.
#[test]
fn stored_values() {
    let mut inputs = Vec::new();
    for case in vectors::read("packed").into_iter().chain(vectors::read("refused")) {
        let encrypted = if case.keys.is_some() { envelope::ENCRYPTED } else { 0 };
        inputs.push([&[envelope::STORED | encrypted], &case.stored[..]].concat());
        inputs.push([&[envelope::WRITTEN | encrypted, 0x62], &case.payload[..]].concat());
        inputs.push([&[envelope::DAMAGED | encrypted, 9, 0, 4, 2], &case.payload[..]].concat());
        if let Some(packed) = case.packed {
            let len = (case.payload.len() as u16).to_le_bytes();
            let lz4 = if case.header["codec"] == "lz4" { 8 } else { 0 };
            inputs.push([&[envelope::COMPRESSED | lz4], &len[..], &packed].concat());
        }
    }
    fuzzer::run("envelope", 15_000, 200, &inputs, envelope::run);
}

/// An entry as a file has it.
fn entry(flags: u8, key: &[u8], value: &[u8], times: &[u64], tags: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(tags.len() as u16).to_le_bytes());
    times.iter().for_each(|time| bytes.extend_from_slice(&time.to_le_bytes()));
    for tag in tags {
        bytes.extend_from_slice(&(tag.len() as u32).to_le_bytes());
        bytes.extend_from_slice(tag);
    }
    [&bytes, key, value].concat()
}

#[test]
fn snapshots() {
    let entries = [
        entry(0, b"key", b"value", &[], &[]),
        entry(3, b"expires", b"soon", &[60_000, 5], &[]),
        entry(0, b"tagged", b"", &[], &[b"catalogue", b"\xff\0"]),
        entry(5, b"negative", b"", &[60_000], &[]),
    ];
    let all = entries.concat();
    let contents = b"\x20\x08key 1234\x33\x0etagged, a while";
    let mut inputs = vec![
        [&[snapshot::ENTRIES, 4, 0], &all[..]].concat(),
        [&[snapshot::ENTRIES, 4, 7], &all[..]].concat(),
    ];
    inputs.extend(entries.map(|entry| [&[snapshot::ENTRIES, 1, 0], &entry[..]].concat()));
    for how in [snapshot::SAVED, snapshot::SAVED | snapshot::ENCRYPTED] {
        inputs.push([&[how], &contents[..]].concat());
        let how = how & snapshot::ENCRYPTED | snapshot::DAMAGED;
        inputs.push([&[how, 50, 0, 0, 1], &contents[..]].concat());
    }
    // No file at all, and what every file begins with.
    let begin = b"\x89LCS\r\n\x1a\n\x01\0\0\0\0\0\0\0";
    inputs.push([&[snapshot::AS_IT_IS], &begin[..]].concat());
    let folder = snapshot::folder();
    fuzzer::run("snapshot", 6_000, 300, &inputs, |input| snapshot::run(input, folder));
    std::fs::remove_dir_all(folder).unwrap();
}
