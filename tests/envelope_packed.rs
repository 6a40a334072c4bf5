//! Compressed and encrypted values: the golden vectors, every kind of damage, other places and other
//! keys, and arbitrary payloads under every combination of options.

use lighter_cache::config::{Codec, RedisOptions, Secret, Wire};
use lighter_cache::envelope::{
    About, Compression, Envelope, FIXED_LEN, Header, Opened, PLAIN, Tag, decode, encode_with,
};
use lighter_cache::{Error, ErrorKind, Result, VALUE_MAX, seal};
use proptest::prelude::*;

#[path = "support/vectors.rs"]
mod vectors;

use vectors::Case;

/// How a cache is configured.
#[derive(Clone, Default)]
struct With<'a> {
    prefix: Option<&'a str>,
    codec: Option<Codec>,
    least: Option<usize>,
    keys: Option<String>,
    max_value: Option<usize>,
}

impl With<'_> {
    fn envelope(&self) -> Envelope {
        let mut options = RedisOptions::default();
        options.prefix = self.prefix.unwrap_or("app").to_owned();
        options.compress = self.codec;
        options.compress_min_bytes = self.least.unwrap_or(options.compress_min_bytes);
        options.encryption_keys = self.keys.as_deref().map(Secret::new);
        let keys = Envelope::keys(&options).unwrap();
        Envelope::new(&options, keys, self.max_value.unwrap_or(VALUE_MAX))
    }
}

fn of(case: &Case) -> Envelope {
    With { prefix: Some(&case.prefix), keys: case.keys.clone(), ..With::default() }.envelope()
}

/// An entry of the option `encryption_keys`.
fn key(id: u32, byte: u8) -> Option<String> {
    Some(format!("{id}:{}", vectors::base64(&[byte; 32])))
}

fn set(envelope: &Envelope, key: &[u8], payload: &[u8]) -> Vec<u8> {
    envelope.encode(key, payload, &About::NOTHING).unwrap().to_vec()
}

fn get(envelope: &Envelope, key: &[u8], stored: &[u8]) -> Result<Vec<u8>> {
    envelope.open(key, stored.to_vec()).map(|opened| opened.payload().to_vec())
}

fn assert_corrupt(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert!(error.message().starts_with("stored value is corrupt: "), "{what}: {error}");
}

#[test]
fn packed_vectors() {
    for case in vectors::read("packed") {
        let name = &case.name;
        let opened = of(&case).open(&case.key, case.stored.clone()).unwrap();
        assert_eq!(opened.payload(), case.payload, "{name}");
        assert_eq!(opened.about.stale_ms, case.header["stale_ms"].as_u64(), "{name}");
        let tags = case.header["tags"].as_array().map_or(0, Vec::len);
        assert_eq!(opened.about.tags.len(), tags, "{name}");
        assert_eq!(opened.about.negative, case.header["negative"] == true, "{name}");

        if let Some(header) = decode(&case.stored).unwrap().header {
            let digests = of(&case).digests(&case.payload);
            assert!(header.digest.is_none_or(|digest| digests.contains(&digest)), "{name}");
            assert_eq!(header.digest.is_some(), case.is_compressed() || case.is_encrypted());
        }
    }
}

#[test]
fn refused_vectors() {
    for case in vectors::read("refused") {
        let envelope = of(&case);
        match envelope.open(&case.key, case.stored.clone()) {
            Ok(opened) => panic!("{} was accepted: {opened:?}", case.name),
            Err(error) => assert_corrupt(&error, &case.name),
        }
    }
}

#[test]
fn every_flipped_bit_of_a_value_is_refused_or_shows_nowhere() {
    for case in vectors::read("packed") {
        if !case.is_compressed() && !case.is_encrypted() {
            continue;
        }
        let (envelope, whole) = (of(&case), case.stored.len());
        for bit in 0..whole * 8 {
            let mut stored = case.stored.clone();
            stored[bit / 8] ^= 1 << (bit % 8);
            match envelope.open(&case.key, stored) {
                Err(error) if error.kind() == ErrorKind::TooBig => assert!(!case.is_encrypted()),
                Err(error) => assert_corrupt(&error, &case.name),
                // Nothing protects a stale window or a tag that is not encrypted.
                Ok(opened) => {
                    assert!(!case.is_encrypted(), "{}: bit {bit}", case.name);
                    assert_eq!(opened.payload(), case.payload, "{}: bit {bit}", case.name);
                }
            }
        }
    }
}

#[test]
fn a_value_that_is_cut_anywhere_is_refused() {
    for case in vectors::read("packed") {
        if !case.is_compressed() && !case.is_encrypted() {
            continue;
        }
        // Fewer than three bytes are no magic, but another program's value: not where all is encrypted.
        let from = if case.is_encrypted() { 0 } else { 3 };
        for len in from..case.stored.len() {
            let cut = case.stored[..len].to_vec();
            assert_corrupt(&of(&case).open(&case.key, cut).unwrap_err(), &case.name);
        }
        let longer = [&case.stored[..], b"\0"].concat();
        assert_corrupt(&of(&case).open(&case.key, longer).unwrap_err(), &case.name);
    }
}

#[test]
fn a_value_belongs_to_its_key_and_prefix() {
    let with = With { keys: key(1, 1), ..With::default() };
    let (app, apq) = (with.envelope(), With { prefix: Some("apq"), ..with.clone() }.envelope());
    let colon = With { prefix: Some("app:a"), ..with }.envelope();
    let stored = set(&app, b"a:b", b"secret");
    assert_eq!(get(&app, b"a:b", &stored).unwrap(), b"secret");
    assert_corrupt(&get(&app, b"a:c", &stored).unwrap_err(), "another key");
    assert_corrupt(&get(&app, b"a:", &stored).unwrap_err(), "a shorter key");
    assert_corrupt(&get(&apq, b"a:b", &stored).unwrap_err(), "another prefix");
    // The server knows both as `app:a:b`.
    assert_corrupt(&get(&colon, b"b", &stored).unwrap_err(), "another split");
}

#[test]
fn keys_are_rotated_and_plaintext_is_refused() {
    let with = |keys: &[&Option<String>]| {
        let keys: Vec<&str> = keys.iter().filter_map(|key| key.as_deref()).collect();
        let keys = (!keys.is_empty()).then(|| keys.join(","));
        With { keys, ..With::default() }.envelope()
    };
    let (old, new) = (&key(1, 1), &key(2, 2));
    let by_old = set(&with(&[old]), b"k", b"v");
    let by_new = set(&with(&[new, old]), b"k", b"v");
    assert_eq!(get(&with(&[new, old]), b"k", &by_old).unwrap(), b"v");
    assert_eq!(get(&with(&[old, new]), b"k", &by_new).unwrap(), b"v");
    for (envelope, stored) in
        [(with(&[new]), &by_old), (with(&[old]), &by_new), (with(&[]), &by_new)]
    {
        assert_corrupt(&get(&envelope, b"k", stored).unwrap_err(), "no such key");
    }
    let impostor = With { keys: key(1, 9), ..With::default() }.envelope();
    assert_corrupt(&get(&impostor, b"k", &by_old).unwrap_err(), "another key of that id");

    let plain = with(&[]);
    assert!(!plain.encrypts() && with(&[old]).encrypts());
    for stored in [set(&plain, b"k", b"v"), b"17".to_vec(), b"foreign".to_vec(), Vec::new()] {
        assert_corrupt(&get(&with(&[old]), b"k", &stored).unwrap_err(), "not encrypted");
    }
    // A number is encrypted like all else.
    let number = set(&with(&[old]), b"k", b"17");
    assert!(decode(&number).unwrap().header.unwrap().seal.is_some());
    assert_eq!(get(&with(&[old]), b"k", &number).unwrap(), b"17");
}

#[test]
fn only_what_pays_is_compressed() {
    let noise = noise(1 << 20);
    for codec in [Codec::Zstd, Codec::Lz4] {
        let envelope = With { codec: Some(codec), ..With::default() }.envelope();
        let text = "compress me, please. ".repeat(1000);
        let stored = set(&envelope, b"k", text.as_bytes());
        assert!(stored.len() < text.len() / 10, "{codec:?}: {}", stored.len());
        let header = decode(&stored).unwrap().header.unwrap();
        assert_eq!(header.compression, Some(Compression { codec, plain_len: 21_000 }));
        assert_eq!(get(&envelope, b"k", &stored).unwrap(), text.as_bytes());
        // Whoever reads needs no such option.
        assert_eq!(get(&With::default().envelope(), b"k", &stored).unwrap(), text.as_bytes());

        assert!(set(&envelope, b"k", &noise).starts_with(&PLAIN), "{codec:?}");
        let short = &text.as_bytes()[..1023];
        assert!(set(&envelope, b"k", short).starts_with(&PLAIN), "{codec:?}");
        let eager = With { codec: Some(codec), least: Some(1), ..With::default() }.envelope();
        assert!(!set(&eager, b"k", short).starts_with(&PLAIN), "{codec:?}");
        assert_eq!(set(&eager, b"k", b"17"), b"17");

        // Noise and zeros in every proportion: never more than nine tenths, never more than plain.
        let mut compressed = 0;
        for zeros in 0..=200 {
            let payload = [&noise[..2000 - 10 * zeros], &vec![0; 10 * zeros]].concat();
            let stored = set(&envelope, b"k", &payload);
            if stored.starts_with(&PLAIN) {
                assert_eq!(stored.len(), payload.len() + FIXED_LEN);
            } else {
                assert!(stored.len() <= payload.len() * 9 / 10 + FIXED_LEN, "{zeros}");
                compressed += 1;
            }
            assert_eq!(get(&envelope, b"k", &stored).unwrap(), payload);
        }
        assert!((150..200).contains(&compressed), "{codec:?}: {compressed}");
    }
}

#[test]
fn the_largest_value_bounds_what_is_read() {
    let zeros = vec![0; 4096];
    for codec in [Codec::Zstd, Codec::Lz4] {
        for keys in [None, key(1, 1)] {
            let with = With { codec: Some(codec), keys, ..With::default() };
            let stored = set(&with.envelope(), b"k", &zeros);
            let fits = With { max_value: Some(4096), ..with.clone() }.envelope();
            assert_eq!(get(&fits, b"k", &stored).unwrap(), zeros);
            let small = With { max_value: Some(4095), ..with }.envelope();
            assert_eq!(get(&small, b"k", &stored).unwrap_err().kind(), ErrorKind::TooBig);
        }
    }
    let small = With { max_value: Some(4), keys: key(1, 1), ..With::default() }.envelope();
    let stored = set(&small, b"k", b"five!");
    assert_eq!(get(&small, b"k", &stored).unwrap_err().kind(), ErrorKind::TooBig);
}

#[test]
fn a_raw_wire_has_neither() {
    let mut options = RedisOptions::default();
    options.wire = Wire::Raw;
    options.compress = Some(Codec::Lz4);
    assert_eq!(Envelope::keys(&options).unwrap_err().kind(), ErrorKind::Config);
    options.compress = None;
    options.encryption_keys = key(1, 1).map(Secret::new);
    let refused = Envelope::keys(&options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.message().contains("`encryption_keys`"), "{refused}");
    options.wire = Wire::Envelope;
    assert!(Envelope::keys(&options).unwrap().is_some());
    options.encryption_keys = Some(Secret::new("1:canary"));
    let refused = Envelope::keys(&options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(!refused.message().contains("canary"), "{refused}");
}

#[test]
fn many_threads_share_a_cache_and_its_contexts() {
    let with = With { codec: Some(Codec::Zstd), keys: key(1, 1), ..With::default() };
    let envelope = with.envelope();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let envelope = &envelope;
            scope.spawn(move || {
                for round in 0..200 {
                    let payload = vec![thread; 1024 + 16 * round];
                    let stored = set(envelope, &[thread], &payload);
                    assert!(stored.len() < 300);
                    assert_eq!(get(envelope, &[thread], &stored).unwrap(), payload);
                }
            });
        }
    });
}

/// Bytes that nothing compresses, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        // Of few letters and of repetitions, which compress.
        prop::collection::vec(0..4_u8, 0..3000),
        (prop::collection::vec(any::<u8>(), 1..40), 1..200_usize)
            .prop_map(|(part, times)| part.repeat(times)),
    ]
}

fn about() -> impl Strategy<Value = About> {
    let tag = (any::<u64>(), prop::collection::vec(any::<u8>(), 1..20))
        .prop_map(|(stamp, name)| Tag { stamp, name });
    (
        prop::option::of(1..=3_153_600_000_000u64),
        prop::collection::vec(tag, 0..4),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(stale_ms, tags, negative)| About { stale_ms, tags, negative })
}

proptest! {
    #[test]
    fn everything_comes_back(
        payload in payload(),
        about in about(),
        name in prop::collection::vec(any::<u8>(), 1..50),
        codec in prop::sample::select(&[None, Some(Codec::Zstd), Some(Codec::Lz4)][..]),
        least in 1..2000_usize,
        encrypted: bool,
    ) {
        let keys = if encrypted { key(u32::MAX, 3) } else { None };
        let envelope = With { codec, least: Some(least), keys, ..With::default() }.envelope();
        let payload = if about.negative { Vec::new() } else { payload };
        let encoded = envelope.encode(&name, &payload, &about).unwrap();
        let stored = encoded.to_vec();
        prop_assert_eq!(encoded.len(), stored.len());
        let opened = envelope.open(&name, stored.clone()).unwrap();
        prop_assert_eq!(opened.payload(), &payload[..]);
        prop_assert_eq!(&opened.about, &about);

        let header = decode(&stored).unwrap().header.unwrap_or_default();
        prop_assert_eq!(header.seal.is_some(), encrypted);
        if let Some(digest) = header.digest {
            prop_assert_eq!(vec![digest], envelope.digests(&payload));
            prop_assert_eq!(encrypted, digest != seal::digest(&payload));
        }
        if payload.len() >= 4 && encrypted {
            let shown = stored.windows(payload.len()).any(|window| window == &payload[..]);
            prop_assert!(!shown, "the payload shows");
        }
    }

    #[test]
    fn any_damage_is_found(
        payload in payload(),
        about in about(),
        codec in prop::sample::select(&[None, Some(Codec::Zstd), Some(Codec::Lz4)][..]),
        at: prop::sample::Index,
        flip in 1..=255_u8,
        cut: prop::sample::Index,
    ) {
        let keys = key(1, 3);
        let envelope = With { codec, least: Some(1), keys, ..With::default() }.envelope();
        let payload = if about.negative { Vec::new() } else { payload };
        let stored = envelope.encode(b"k", &payload, &about).unwrap().to_vec();
        let mut damaged = stored.clone();
        damaged[at.index(stored.len())] ^= flip;
        prop_assert_eq!(envelope.open(b"k", damaged).unwrap_err().kind(), ErrorKind::Corrupt);
        let cut = stored[..cut.index(stored.len())].to_vec();
        prop_assert_eq!(envelope.open(b"k", cut).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn compressed_bytes_of_anyone_are_bounded(
        packed in prop::collection::vec(any::<u8>(), 0..100),
        magic: bool,
        plain_len in prop_oneof![0..1000_u32, 0..=511_u32 << 20],
        codec in prop::sample::select(&[Codec::Zstd, Codec::Lz4][..]),
    ) {
        let packed = if magic { [b"\x28\xB5\x2F\xFD", &packed[..]].concat() } else { packed };
        let compression = Some(Compression { codec, plain_len });
        let header = Header { compression, digest: Some([0; 16]), ..Header::default() };
        let stored = encode_with(&header, &packed).unwrap();
        let envelope = With { max_value: Some(1 << 20), ..With::default() }.envelope();
        match envelope.open(b"k", stored) {
            Ok(Opened { .. }) => prop_assert!(false, "a digest of zeros fits"),
            Err(error) => {
                prop_assert_eq!(error.kind() == ErrorKind::TooBig, plain_len > 1 << 20);
                prop_assert!(matches!(error.kind(), ErrorKind::TooBig | ErrorKind::Corrupt));
            }
        }
    }
}
