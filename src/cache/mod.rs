//! What programs hold: the typed [`Cache`] trait over the bytes of any cache, and [`AnyCache`], a cache
//! of whichever kind its URL names.

mod any;

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::any::AnyCache;
use crate::envelope::typed;
use crate::error::Result;
use crate::ops::{ByteCache, Loaded, SetOptions, Ttl};
use crate::stats::CacheStats;

/// Typed access to any cache: values are serde types, stored through bincode.
///
/// Every [`ByteCache`] is a `Cache`, so a program swaps implementations without a change. On a
/// [`LocalCache`](crate::LocalCache) every future is ready at its first poll.
///
/// ```
/// use std::time::Duration;
/// use lighter_cache::{Cache, CacheKey, LocalCache};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cache = LocalCache::new();
/// cache.set(CacheKey::user(7), &("Ada".to_string(), 36u8), Duration::from_secs(300)).await?;
/// let user: Option<(String, u8)> = cache.get("user:7").await?;
/// assert_eq!(user.unwrap().0, "Ada");
/// # Ok::<(), lighter_cache::Error>(()) }).unwrap();
/// ```
pub trait Cache: ByteCache {
    /// The value of `key`, `None` where it is absent or has expired.
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the stored bytes are no `V`.
    fn get<V: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]> + Send,
    ) -> impl Future<Output = Result<Option<V>>> + Send {
        async move {
            match self.get_bytes(key.as_ref()).await? {
                Some(value) => typed::from_bytes(&value).map(Some),
                None => Ok(None),
            }
        }
    }

    /// Stores `value` for `ttl`; a TTL of zero stores nothing and removes the old value.
    fn set<V: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]> + Send,
        value: &V,
        ttl: impl Into<Ttl>,
    ) -> impl Future<Output = Result<()>> + Send {
        // Serialized before the future exists, so that it need not hold (or send) the value.
        let (bytes, ttl) = (typed::to_bytes(value), ttl.into());
        async move { self.set_bytes(key.as_ref(), &bytes?, ttl).await }
    }

    /// The value of `key`; where there is none, `load` is awaited and what it yields is stored for `ttl`.
    /// However many ask for one key at once, one loads. `None` where `load` says that there is none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lighter_cache::{Cache, LocalCache};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = LocalCache::new();
    /// let load = async { Ok(Some(6 * 7)) };
    /// let answer: Option<i32> = cache.get_or_load("answer", Duration::from_secs(60), load).await?;
    /// assert_eq!(answer, Some(42));
    /// # Ok::<(), lighter_cache::Error>(()) }).unwrap();
    /// ```
    fn get_or_load<V: Serialize + DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]> + Send,
        ttl: impl Into<Ttl>,
        load: impl Future<Output = Result<Option<V>>> + Send,
    ) -> impl Future<Output = Result<Option<V>>> + Send {
        let options = SetOptions::new(ttl);
        async move {
            let load = async {
                match load.await? {
                    Some(value) => typed::to_bytes(&value).map(|bytes| Some(Loaded::new(bytes))),
                    None => Ok(None),
                }
            };
            match self.get_or_load_bytes(key.as_ref(), &options, Box::pin(load)).await? {
                Some(value) => typed::from_bytes(&value).map(Some),
                None => Ok(None),
            }
        }
    }

    /// Removes `key`; true if there was one.
    fn delete(&self, key: impl AsRef<[u8]> + Send) -> impl Future<Output = Result<bool>> + Send {
        async move { self.delete_bytes(key.as_ref()).await }
    }

    /// Whether `key` is there. Counts as neither hit nor miss.
    fn exists(&self, key: impl AsRef<[u8]> + Send) -> impl Future<Output = Result<bool>> + Send {
        async move { self.exists_bytes(key.as_ref()).await }
    }

    /// Removes everything that belongs to this cache, and nothing else.
    fn clear(&self) -> impl Future<Output = Result<()>> + Send {
        async move { self.clear_bytes().await }
    }

    /// The counters.
    fn stats(&self) -> impl Future<Output = Result<CacheStats>> + Send {
        async move { self.stats_bytes().await }
    }
}

impl<T: ByteCache + ?Sized> Cache for T {}
