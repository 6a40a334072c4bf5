//! Golden vectors byte for byte, which only a nonce that is known makes possible, and what no other
//! program can see. The rest is in `tests/envelope_packed.rs`.

use super::*;
use crate::config::Secret;

#[path = "../../../tests/support/vectors.rs"]
mod vectors;

fn envelope(prefix: &str, keys: Option<&str>) -> Envelope {
    let options = RedisOptions {
        prefix: prefix.to_owned(),
        encryption_keys: keys.map(Secret::new),
        ..RedisOptions::default()
    };
    let keys = Envelope::keys(&options).unwrap();
    Envelope::new(&options, keys, 1 << 20)
}

#[test]
fn vectors_are_written_byte_for_byte() {
    let mut sealed = 0;
    for case in vectors::read("packed").into_iter().filter(|case| !case.is_compressed()) {
        let envelope = envelope(&case.prefix, case.keys.as_deref());
        let about = envelope.open(&case.key, case.stored.clone()).unwrap().about;
        let encoded = if case.is_encrypted() {
            sealed += 1;
            let nonce = vectors::unhex(case.header["nonce"].as_str().unwrap());
            let keys = envelope.keys.as_ref().unwrap();
            let sealing = keys.sealing_with(nonce.try_into().unwrap());
            envelope.pack_with(&case.key, &case.payload, &about, Some(sealing))
        } else {
            envelope.encode(&case.key, &case.payload, &about)
        };
        assert_eq!(encoded.unwrap().to_vec(), case.stored, "{}", case.name);
    }
    assert!(sealed > 10);
}

#[test]
fn each_write_has_a_nonce_of_its_own() {
    let key = vectors::base64(&[7; 32]);
    let envelope = envelope("app", Some(&format!("1:{key}")));
    let write = || envelope.encode(b"k", b"v", &About::NOTHING).unwrap().to_vec();
    let nonce = |stored: &[u8]| decode(stored).unwrap().header.unwrap().seal.unwrap().nonce;
    assert_ne!(nonce(&write()), nonce(&write()));
    assert!(!format!("{envelope:?}").contains(&key));
    assert!(format!("{envelope:?}").contains("keys: Some([1])"));
}
