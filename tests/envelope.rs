//! The envelope of stored values and its header, held against the golden vectors of `tests/vectors/`
//! (the same that `tests/wire_format.py` checks from the document alone) and against arbitrary bytes.
//! Compressed and encrypted values are those of `envelope_packed.rs`.

use std::borrow::Cow;

use lighter_cache::config::{Codec, RedisOptions, Wire};
use lighter_cache::envelope::{
    About, Compression, Decoded, Encoded, Envelope, FIXED_LEN, Header, MAGIC, PLAIN, Seal, Tag,
    decode, encode_with,
};
use lighter_cache::{ErrorKind, Result, VALUE_MAX};
use proptest::prelude::*;
use serde_json::Value;

fn vectors(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    cases
}

fn hex(case: &Value, field: &str) -> Vec<u8> {
    let digits = case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"));
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn header_of(case: &Value) -> Header {
    let has = |field: &str| case.get(field).is_some();
    let number = |field: &str| u32::try_from(case[field].as_u64().unwrap()).unwrap();
    let tags = case.get("tags").and_then(Value::as_array).into_iter().flatten();
    Header {
        digest: has("digest").then(|| hex(case, "digest").try_into().unwrap()),
        stale_ms: case.get("stale_ms").map(|ms| ms.as_u64().unwrap()),
        tags: tags
            .map(|tag| Tag { stamp: tag["stamp"].as_u64().unwrap(), name: hex(tag, "name") })
            .collect(),
        compression: has("codec").then(|| Compression {
            codec: if case["codec"] == "zstd" { Codec::Zstd } else { Codec::Lz4 },
            plain_len: number("plain_len"),
        }),
        seal: has("key_id").then(|| Seal {
            key_id: number("key_id"),
            nonce: hex(case, "nonce").try_into().unwrap(),
            tag: hex(case, "auth").try_into().unwrap(),
        }),
        negative: has("negative"),
    }
}

fn envelope(wire: Wire) -> Envelope {
    let mut options = RedisOptions::default();
    options.wire = wire;
    Envelope::new(&options, None, VALUE_MAX)
}

fn encode(payload: &[u8], wire: Wire) -> Encoded<'_> {
    envelope(wire).encode(b"k", payload, &About::NOTHING).unwrap()
}

/// The value, `None` where the entry says that there is none.
fn read(stored: &[u8], wire: Wire) -> Result<Option<Vec<u8>>> {
    let served = envelope(wire).open(b"k", stored.to_vec())?.served()?;
    Ok(served.map(|(bytes, start)| bytes[start..].to_vec()))
}

#[test]
fn enveloped_vectors() {
    for case in vectors("enveloped") {
        let (header, stored) = (header_of(&case["header"]), hex(&case, "stored"));
        let payload = hex(&case, "payload");
        let name = &case["name"];
        assert_eq!(encode_with(&header, &payload).unwrap(), stored, "{name}");
        let Decoded { header: taken, start } = decode(&stored).unwrap();
        assert_eq!((taken.as_ref(), &stored[start..]), (Some(&header), &payload[..]), "{name}");

        let served = read(&stored, Wire::Envelope);
        if header.seal.is_some() {
            // Their payloads are none: these vectors show the layout of the header.
            assert_eq!(served.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
        } else if header.compression.is_some() {
            let refused = served.err().map(|error| error.kind());
            let kinds = [None, Some(ErrorKind::Corrupt), Some(ErrorKind::Unsupported)];
            assert!(kinds.contains(&refused), "{name}: {refused:?}");
        } else if !header.tags.is_empty() || header.stale_ms.is_some() {
            let error = served.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
            assert!(error.message().contains("later version"), "{name}: {error}");
        } else {
            assert_eq!(served.unwrap(), (!header.negative).then_some(payload), "{name}");
        }
        assert_eq!(read(&stored, Wire::Raw).unwrap(), Some(stored), "{name}");
    }
}

#[test]
fn plain_vectors() {
    for case in vectors("plain") {
        let (payload, stored) = (hex(&case, "payload"), hex(&case, "stored"));
        let encoded = encode(&payload, Wire::Envelope);
        assert_eq!(encoded.to_vec(), stored, "{}", case["name"]);
        assert_eq!(encoded.len(), stored.len());
        assert!(matches!(encoded.head, Cow::Borrowed(_)));
        assert_eq!(encoded.body.as_ptr(), payload.as_ptr(), "the payload is not copied");
        assert_eq!(read(&stored, Wire::Envelope).unwrap().as_ref(), Some(&payload));
        assert_eq!(encode(&payload, Wire::Raw).to_vec(), payload);
    }
}

#[test]
fn foreign_vectors() {
    for case in vectors("foreign") {
        let stored = hex(&case, "stored");
        assert_eq!(
            decode(&stored).unwrap(),
            Decoded { header: None, start: 0 },
            "{}",
            case["name"]
        );
        assert_eq!(read(&stored, Wire::Envelope).unwrap(), Some(stored), "{}", case["name"]);
    }
}

#[test]
fn corrupt_vectors() {
    for case in vectors("corrupt") {
        let stored = hex(&case, "stored");
        for error in [
            decode(&stored).expect_err(case["name"].as_str().unwrap()),
            read(&stored, Wire::Envelope).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", case["name"]);
            assert!(error.message().starts_with("stored value is corrupt: "), "{error}");
        }
        assert_eq!(read(&stored, Wire::Raw).unwrap(), Some(stored));
    }
    let future = [MAGIC.as_slice(), &[7, 0, 255]].concat();
    assert!(decode(&future).unwrap_err().message().contains("version 7"));
}

#[test]
fn headers_that_break_the_rules_are_not_written() {
    let plain = Header::default;
    let tag = |len| Tag { stamp: 1, name: vec![b't'; len] };
    let compression = Some(Compression { codec: Codec::Lz4, plain_len: 1 });
    let too_long = Some(Compression { codec: Codec::Lz4, plain_len: u32::MAX });
    for (why, header) in [
        ("digest alone", Header { digest: Some([0; 16]), ..plain() }),
        ("codec alone", Header { compression, ..plain() }),
        ("too long", Header { compression: too_long, digest: Some([0; 16]), ..plain() }),
        ("negative", Header { compression, digest: Some([0; 16]), negative: true, ..plain() }),
        ("stale 0", Header { stale_ms: Some(0), ..plain() }),
        ("stale", Header { stale_ms: Some(u64::MAX), ..plain() }),
        ("empty tag", Header { tags: vec![tag(0)], ..plain() }),
        ("long tag", Header { tags: vec![tag(1025)], ..plain() }),
        ("very long tag", Header { tags: vec![tag(70_000)], ..plain() }),
        ("many tags", Header { tags: vec![tag(1); 257], ..plain() }),
        ("very many tags", Header { tags: vec![tag(1); 65_537], ..plain() }),
    ] {
        assert_eq!(encode_with(&header, b"").unwrap_err().kind(), ErrorKind::Invalid, "{why}");
    }
    let negative = Header { negative: true, ..plain() };
    assert_eq!(encode_with(&negative, b"x").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_goes_with_a_value_has_no_place_in_a_raw_one() {
    let about = [
        About { stale_ms: Some(1), ..About::NOTHING },
        About { tags: vec![Tag { stamp: 1, name: vec![b't'] }], ..About::NOTHING },
        About { negative: true, ..About::NOTHING },
    ];
    for about in about {
        let refused = envelope(Wire::Raw).encode(b"k", b"", &about).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        let stored = envelope(Wire::Envelope).encode(b"k", b"", &about).unwrap().to_vec();
        assert_eq!(envelope(Wire::Envelope).open(b"k", stored).unwrap().about, about);
    }
    let absent = About { negative: true, ..About::NOTHING };
    let refused = envelope(Wire::Envelope).encode(b"k", b"v", &absent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let many = About { tags: vec![Tag { stamp: 1, name: vec![] }], ..About::NOTHING };
    let refused = envelope(Wire::Envelope).encode(b"k", b"v", &many).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

/// Any header that keeps the rules.
fn header() -> impl Strategy<Value = Header> {
    let tags = (any::<u64>(), prop::collection::vec(any::<u8>(), 1..40))
        .prop_map(|(stamp, name)| Tag { stamp, name });
    let codec = prop::sample::select(&[Codec::Zstd, Codec::Lz4][..]);
    let seal = (any::<u32>(), any::<[u8; 24]>(), any::<[u8; 16]>());
    (
        any::<[u8; 16]>(),
        prop::option::of(1..=3_153_600_000_000u64),
        prop::collection::vec(tags, 0..5),
        prop::option::of((codec, 0..=511u32 << 20)),
        prop::option::of(seal),
        any::<bool>(),
    )
        .prop_map(|(digest, stale_ms, tags, codec, seal, negative)| {
            let compression = codec
                .filter(|_| !negative)
                .map(|(codec, plain_len)| Compression { codec, plain_len });
            let seal = seal.map(|(key_id, nonce, tag)| Seal { key_id, nonce, tag });
            let digest = (compression.is_some() || seal.is_some()).then_some(digest);
            Header { digest, stale_ms, tags, compression, seal, negative }
        })
}

proptest! {
    #[test]
    fn every_header_comes_back(header in header(), body in prop::collection::vec(any::<u8>(), 0..64)) {
        let body = if header.negative { Vec::new() } else { body };
        let stored = encode_with(&header, &body).unwrap();
        let Decoded { header: read, start } = decode(&stored).unwrap();
        prop_assert_eq!(&stored[start..], body);
        prop_assert_eq!(read, Some(header));
        for len in MAGIC.len()..start {
            prop_assert_eq!(decode(&stored[..len]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn every_payload_comes_back(payload in prop::collection::vec(any::<u8>(), 0..64), magic: bool) {
        let payload = if magic { [&PLAIN[..], &payload].concat() } else { payload };
        for wire in [Wire::Envelope, Wire::Raw] {
            let stored = encode(&payload, wire).to_vec();
            prop_assert!(stored.len() <= payload.len() + 8);
            prop_assert_eq!(read(&stored, wire).unwrap(), Some(payload.clone()));
        }
    }

    #[test]
    fn every_int_is_stored_raw(number: i64) {
        let digits = number.to_string();
        prop_assert_eq!(encode(digits.as_bytes(), Wire::Envelope).to_vec(), digits.into_bytes());
    }

    #[test]
    fn a_flipped_bit_of_the_fixed_part_is_an_error(header in header(), bit in 0..FIXED_LEN * 8) {
        let body: &[u8] = if header.negative { b"" } else { b"body" };
        let mut stored = encode_with(&header, body).unwrap();
        stored[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(decode(&stored).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn arbitrary_bytes_are_taken_apart_or_refused(
        front in prop::sample::select(vec![0, MAGIC.len(), MAGIC.len() + 1]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
        fit: bool,
    ) {
        let mut stored = [&PLAIN[..front], &rest].concat();
        if fit && stored.len() >= FIXED_LEN {
            // Past the check byte, to reach the fields behind it.
            stored[4] &= 0x3F;
            stored[5] = !stored[4];
        }
        match decode(&stored) {
            Ok(Decoded { header: None, start }) => {
                prop_assert!(start == 0 && !stored.starts_with(&MAGIC));
            }
            Ok(Decoded { header: Some(header), start }) => {
                // What is accepted is written in one way only.
                prop_assert_eq!(&encode_with(&header, &stored[start..]).unwrap(), &stored);
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
        let _ = read(&stored, Wire::Envelope);
    }
}
