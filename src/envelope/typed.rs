//! Typed values of the Rust API: any serde type as bincode bytes (fixed-width little-endian integers,
//! bincode's `legacy` configuration). The bytes are the payload; the other languages see them as they
//! are.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::key::VALUE_MAX;

/// Serializes `value`.
pub(crate) fn to_bytes<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>> {
    bincode::serde::encode_to_vec(value, bincode::config::legacy())
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("can't serialize: {error}")))
}

/// Deserializes a whole payload; anything left over means that it holds another type.
pub(crate) fn from_bytes<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
    // A string's length is allocated before its bytes are read, so the decoder may claim no more than
    // the payload could hold. The limit is a constant of the type: one for the many small payloads,
    // one for the rest.
    const SMALL: usize = 64 << 10;
    let legacy = bincode::config::legacy();
    let decoded = if bytes.len() <= SMALL {
        bincode::serde::decode_from_slice(bytes, legacy.with_limit::<SMALL>())
    } else {
        bincode::serde::decode_from_slice(bytes, legacy.with_limit::<VALUE_MAX>())
    };
    match decoded {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        _ => Err(Error::new(ErrorKind::Corrupt, "the stored bytes are not a value of this type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_mismatch() {
        let value = (7u32, String::from("seven"), vec![1u8, 2, 3], Some(-1i64));
        let bytes = to_bytes(&value).unwrap();
        assert_eq!(from_bytes::<(u32, String, Vec<u8>, Option<i64>)>(&bytes).unwrap(), value);
        assert_eq!(to_bytes(&300u32).unwrap(), [44, 1, 0, 0]);
        assert_eq!(from_bytes::<u64>(&[0; 9]).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(from_bytes::<u64>(&[0; 7]).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        for lie in [u64::MAX, 1 << 40, 1 << 20] {
            let lie = lie.to_le_bytes();
            assert_eq!(from_bytes::<String>(&lie).unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(from_bytes::<Vec<String>>(&lie).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
