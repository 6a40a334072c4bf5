//! The golden vectors of `tests/vectors/` that say where a value is stored and with which keys.

// Each test program uses a part of this.
#![allow(dead_code)]

use serde_json::Value;

/// One case of `packed.json` or `refused.json`; what a file has not is empty.
pub struct Case {
    pub name: String,
    pub prefix: String,
    pub key: Vec<u8>,
    /// The option `encryption_keys`, the case's own key first.
    pub keys: Option<String>,
    pub header: Value,
    pub payload: Vec<u8>,
    pub packed: Option<Vec<u8>>,
    pub stored: Vec<u8>,
}

impl Case {
    pub fn is_compressed(&self) -> bool {
        self.header.get("codec").is_some()
    }

    pub fn is_encrypted(&self) -> bool {
        self.header.get("key_id").is_some()
    }
}

/// All cases of a file.
pub fn read(name: &str) -> Vec<Case> {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    cases.into_iter().map(case).collect()
}

fn case(mut case: Value) -> Case {
    let bytes = |field: &str| case.get(field).map(|digits| unhex(digits.as_str().unwrap()));
    let own = case["header"].get("key_id").map(Value::to_string);
    let keys = case.get("keys").and_then(Value::as_object).map(|keys| {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(id, _)| Some(*id) != own.as_ref());
        let text =
            keys.iter().map(|(id, key)| format!("{id}:{}", base64(&unhex(key.as_str().unwrap()))));
        text.collect::<Vec<_>>().join(",")
    });
    Case {
        name: case["name"].as_str().unwrap().to_owned(),
        prefix: String::from_utf8(bytes("prefix").unwrap()).unwrap(),
        key: bytes("key").unwrap(),
        keys,
        payload: bytes("payload").unwrap_or_default(),
        packed: bytes("packed"),
        stored: bytes("stored").unwrap(),
        header: case["header"].take(),
    }
}

pub fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// With padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for (digit, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let six = (bits >> shift & 63) as usize;
            text.push(if digit <= three.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    text
}
