//! Known answers, every kind of damage, and nonces across forks.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};

use super::*;
use crate::fork::tests::in_fork;

/// 32 bytes that begin with `first` and count up, in base64.
fn base64(first: u8) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let key: Vec<u8> = (first..first + 32).chain([0]).collect();
    let digits = key.chunks(3).flat_map(|three| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize]))
    });
    digits.take(BASE64_LEN).collect()
}

fn ring(text: &str) -> Keyring {
    Keyring::parse(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The example of draft-irtf-cfrg-xchacha-03, A.3.1.
#[test]
fn known_answer_of_the_cipher() {
    let ring = ring(&format!("7:{}=", base64(0x80)));
    let nonce: [u8; NONCE_LEN] = std::array::from_fn(|at| 0x40 + at as u8);
    let aad = b"\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7";
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                  only one tip for the future, sunscreen would be it.";
    let mut bytes = plain.to_vec();
    let tag = ring.sealing_with(nonce).finish(aad, &mut bytes).unwrap();
    assert_eq!(
        hex(&bytes),
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
         731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
         2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
         21f9664c97637da9768812f615c68b13b52e"
    );
    assert_eq!(hex(&tag), "c0875924c1c7987947deafd8780acf49");
    bytes.extend_from_slice(&tag);
    assert_eq!(ring.open(7, &nonce, aad, &bytes).unwrap(), plain);
}

/// As Python's hashlib computes them.
#[test]
fn known_answers_of_the_digests() {
    let ring = ring(&format!("1:{},2:{}", base64(0), base64(1)));
    assert_eq!(hex(&digest(b"")), "cae66941d9efbd404e4d88758ea67670");
    assert_eq!(hex(&digest(b"hello")), "46fb7408d4f285228f4af516ea25851b");
    assert_eq!(hex(&ring.digest(1, b"").unwrap()), "372820bfa87816e895a1ac218192f6d4");
    assert_eq!(hex(&ring.digest(1, b"hello").unwrap()), "0b0ba61406f28482ae5119a5178b24cb");
    assert_eq!(ring.digest(3, b"hello"), None);
    let all: Vec<_> = ring.digests(b"hello").collect();
    assert_eq!(all.len(), 2);
    for (id, digest) in all {
        assert_eq!(ring.digest(id, b"hello"), Some(digest));
    }
    assert_ne!(ring.digest(1, b"hello"), ring.digest(2, b"hello"));
    assert_eq!(Some(ring.sealing().unwrap().digest(b"hello")), ring.digest(1, b"hello"));
}

#[test]
fn base64_of_both_alphabets_padded_or_not() {
    // 0xFB 0xEF 0xBE … is all `++++`, 0xFF all `////`.
    for (text, first) in [("+".repeat(42), 0xFB), ("/".repeat(42), 0xFF), ("A".repeat(42), 0)] {
        for last in ["A", "A="] {
            let text = format!("{text}{last}");
            let key = base64_key(&text).unwrap();
            assert_eq!(key[0], first);
            assert_eq!(*key, *base64_key(&text.replace('+', "-").replace('/', "_")).unwrap());
        }
    }
    let key: [u8; KEY_LEN] = std::array::from_fn(|at| 0x80 + at as u8);
    assert_eq!(*base64_key(&base64(0x80)).unwrap(), key);
    for wrong in ["", "A", &"A".repeat(42), &"A".repeat(44), &format!("{}B", "A".repeat(42))] {
        assert!(base64_key(wrong).is_none(), "{wrong}");
    }
    for wrong in ["!", " ", "=", "\u{e4}"] {
        assert!(base64_key(&format!("{wrong}{}", "A".repeat(43 - wrong.len()))).is_none());
    }
}

#[test]
fn wrong_options_are_named_without_a_key() {
    let key = base64(9);
    for (text, why) in [
        (String::new(), "must be `ID:BASE64`"),
        (key.clone(), "must be `ID:BASE64`"),
        (format!("1:{key},"), "must be `ID:BASE64`"),
        (format!(":{key}"), "whole number below 2^32"),
        (format!("+1:{key}"), "whole number below 2^32"),
        (format!("-1:{key}"), "whole number below 2^32"),
        (format!(" 1:{key}"), "whole number below 2^32"),
        (format!("4294967296:{key}"), "whole number below 2^32"),
        (format!("{key}:1"), "whole number below 2^32"),
        (format!("1:{key},1:{}", base64(8)), "names an ID twice"),
        (format!("1:{key},01:{}", base64(8)), "names an ID twice"),
        (format!("1:{key}A"), "no base64 of 32 bytes"),
        (format!("1:{key}=="), "no base64 of 32 bytes"),
        (format!("1:{},2:{}", key, &key[..42]), "no base64 of 32 bytes"),
    ] {
        let error = Keyring::parse(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(why), "{error} for {text}");
        let said = format!("{error} {error:?}");
        assert!((0..key.len() - 4).all(|at| !said.contains(&key[at..at + 4])), "{said}");
        assert!(Keyring::check(&text).is_err());
    }
    let ring = ring(&format!("4294967295:{key},0:{}", base64(8)));
    assert_eq!(format!("{ring:?}"), "[4294967295, 0]");
    assert!(!format!("{:?}", ring.seal(b"", b"").unwrap()).contains(&key));
}

#[test]
fn any_damage_is_refused() {
    let ring = ring(&format!("1:{},2:{}", base64(0), base64(1)));
    let Sealed { key_id, nonce, bytes } = ring.seal(b"place", b"secret").unwrap();
    assert_eq!((key_id, bytes.len()), (1, 6 + TAG_LEN));
    assert_eq!(ring.open(1, &nonce, b"place", &bytes).unwrap(), b"secret");

    let corrupt = |id, nonce: &_, aad: &[u8], bytes: &[u8]| {
        assert_eq!(ring.open(id, nonce, aad, bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    };
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        corrupt(1, &nonce, b"place", &flipped);
    }
    for bit in 0..NONCE_LEN * 8 {
        let mut flipped = nonce;
        flipped[bit / 8] ^= 1 << (bit % 8);
        corrupt(1, &flipped, b"place", &bytes);
    }
    for len in 0..bytes.len() {
        corrupt(1, &nonce, b"place", &bytes[..len]);
        corrupt(1, &nonce, b"place", &bytes[len + 1..]);
    }
    corrupt(1, &nonce, b"place", &[&bytes[..], b"\0"].concat());
    for aad in [&b""[..], b"plac", b"places", b"Place"] {
        corrupt(1, &nonce, aad, &bytes);
    }
    corrupt(2, &nonce, b"place", &bytes);
    corrupt(3, &nonce, b"place", &bytes);
}

#[test]
fn keys_are_rotated() {
    let (old, new) = (format!("1:{}", base64(0)), format!("2:{}", base64(1)));
    let sealed = ring(&old).seal(b"", b"text").unwrap();
    let both = ring(&format!("{new},{old}"));
    assert_eq!(both.open(sealed.key_id, &sealed.nonce, b"", &sealed.bytes).unwrap(), b"text");
    assert_eq!(both.seal(b"", b"text").unwrap().key_id, 2);
    let gone = ring(&new).open(sealed.key_id, &sealed.nonce, b"", &sealed.bytes).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Corrupt);
    assert!(gone.message().contains("key 1"), "{gone}");
}

#[test]
fn nonces_are_unique_over_forks() {
    const FORKS: usize = 100;
    // So many fit into a pipe that is read only when the child is gone.
    const EACH: usize = 2000;
    let ring = ring(&format!("1:{}", base64(0)));
    let draw = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|_| *ring.sealing().unwrap().nonce()).collect()
    };
    let mut seen = HashSet::new();
    for _ in 0..FORKS {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(in_fork(|| writer.write_all(&draw(EACH)).is_ok()), 0);
        drop(writer);
        let mut nonces = draw(EACH);
        reader.read_to_end(&mut nonces).unwrap();
        seen.extend(nonces.as_chunks::<NONCE_LEN>().0.iter().copied());
    }
    assert_eq!(seen.len(), FORKS * EACH * 2);
}
