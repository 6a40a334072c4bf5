//! Keys: their limits, and [`CacheKey`], which names the keys of common things the same way in every
//! language.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Longest key, in bytes.
pub const KEY_MAX: usize = 65_536;

/// Largest value, in bytes (511 MiB: the server's 512 MiB limit less room for the envelope).
pub const VALUE_MAX: usize = 511 << 20;

/// Keys that begin so are the library's own.
pub(crate) const RESERVED_PREFIX: &[u8] = b"__lc:";

/// Refuses a key that no cache accepts: empty, longer than [`KEY_MAX`], or reserved.
#[inline]
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if is_usual(key) { Ok(()) } else { check_odd_key(key) }
}

/// Whether [`check_key`] sees at the first glance that the key is good.
#[inline]
pub(crate) fn is_usual(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= KEY_MAX && key[0] != b'_'
}

#[cold]
fn check_odd_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        Err(Error::new(ErrorKind::Invalid, "the key is empty"))
    } else if key.len() > KEY_MAX {
        Err(Error::new(
            ErrorKind::TooBig,
            format!("the key has {} bytes, {KEY_MAX} are allowed", key.len()),
        ))
    } else if key.starts_with(RESERVED_PREFIX) {
        Err(Error::new(
            ErrorKind::Invalid,
            "keys beginning with \"__lc:\" are reserved for the library",
        ))
    } else {
        Ok(())
    }
}

/// Refuses a value larger than `limit` bytes.
#[inline]
pub(crate) fn check_value(value: &[u8], limit: usize) -> Result<()> {
    check_value_len(value.len(), limit)
}

/// The same for a value that is not there yet.
#[inline]
pub(crate) fn check_value_len(len: usize, limit: usize) -> Result<()> {
    if len > limit {
        return Err(Error::new(
            ErrorKind::TooBig,
            format!("the value has {len} bytes, {limit} are allowed"),
        ));
    }
    Ok(())
}

/// A key made by the naming scheme that all languages share.
///
/// ```
/// use lighter_cache::CacheKey;
/// assert_eq!(CacheKey::user(123).as_str(), "user:123");
/// assert_eq!(CacheKey::user_permissions(123).as_str(), "user:123:permissions");
/// assert_eq!(CacheKey::custom("api", "rate-limit").as_str(), "api:rate-limit");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(String);

impl CacheKey {
    /// `user:ID`
    pub fn user(id: impl fmt::Display) -> Self {
        Self::custom("user", id)
    }

    /// `token:ID`
    pub fn token(id: impl fmt::Display) -> Self {
        Self::custom("token", id)
    }

    /// `permission:ID`
    pub fn permission(id: impl fmt::Display) -> Self {
        Self::custom("permission", id)
    }

    /// `role:ID`
    pub fn role(id: impl fmt::Display) -> Self {
        Self::custom("role", id)
    }

    /// `session:ID`
    pub fn session(id: impl fmt::Display) -> Self {
        Self::custom("session", id)
    }

    /// `user:ID:permissions`
    pub fn user_permissions(id: impl fmt::Display) -> Self {
        Self(format!("user:{id}:permissions"))
    }

    /// `user:ID:roles`
    pub fn user_roles(id: impl fmt::Display) -> Self {
        Self(format!("user:{id}:roles"))
    }

    /// `NAMESPACE:ID`
    pub fn custom(namespace: impl fmt::Display, id: impl fmt::Display) -> Self {
        Self(format!("{namespace}:{id}"))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for CacheKey {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl AsRef<str> for CacheKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_eight_forms() {
        let named = [
            CacheKey::user(1),
            CacheKey::token("t"),
            CacheKey::permission("p"),
            CacheKey::role("r"),
            CacheKey::session("s"),
            CacheKey::user_permissions(1),
            CacheKey::user_roles(1),
            CacheKey::custom("api", "rate-limit"),
        ];
        let texts: Vec<&str> = named.iter().map(CacheKey::as_str).collect();
        assert_eq!(
            texts,
            [
                "user:1",
                "token:t",
                "permission:p",
                "role:r",
                "session:s",
                "user:1:permissions",
                "user:1:roles",
                "api:rate-limit"
            ]
        );
    }

    #[test]
    fn limits() {
        assert_eq!(check_key(b"").unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(check_key(b"__lc:x").unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(check_key(&vec![b'k'; KEY_MAX + 1]).unwrap_err().kind(), ErrorKind::TooBig);
        assert!(check_key(&vec![b'_'; KEY_MAX]).is_ok());
        assert!(check_key(b"__lcx").is_ok());
        assert!(check_key(b"\0\r\n\xff*?[]").is_ok());
        assert!(check_value(&[0; 4], 4).is_ok());
        assert_eq!(check_value(&[0; 5], 4).unwrap_err().kind(), ErrorKind::TooBig);
    }
}
