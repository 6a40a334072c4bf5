//! Placeholder until its branch lands.

use crate::config::{CommonOptions, LocalOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, Ttl};
use crate::stats::CacheStats;
use crate::value::Value;

/// Placeholder.
#[derive(Clone, Debug)]
pub struct LocalCache(std::sync::Arc<std::sync::Mutex<std::collections::HashMap<Vec<u8>, Value>>>);

fn no<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not yet"))
}

impl BlockingCache for LocalCache {
    fn kind(&self) -> Kind {
        Kind::Local
    }
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn set(&self, key: &[u8], value: &[u8], _: Ttl) -> Result<()> {
        self.0.lock().unwrap().insert(key.to_vec(), Value::copy_from(value)?);
        Ok(())
    }
    fn delete(&self, key: &[u8]) -> Result<bool> {
        Ok(self.0.lock().unwrap().remove(key).is_some())
    }
    fn exists(&self, key: &[u8]) -> Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(key))
    }
    fn clear(&self) -> Result<()> {
        no()
    }
    fn get_many(&self, _: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        no()
    }
    fn set_many(&self, _: &[(&[u8], &[u8])], _: Ttl) -> Result<()> {
        no()
    }
    fn delete_many(&self, _: &[&[u8]]) -> Result<u64> {
        no()
    }
    fn ttl(&self, _: &[u8]) -> Result<Option<Remaining>> {
        no()
    }
    fn expire(&self, _: &[u8], _: Ttl) -> Result<bool> {
        no()
    }
    fn count(&self) -> Result<u64> {
        no()
    }
    fn stats(&self) -> Result<CacheStats> {
        no()
    }
    fn ping(&self) -> Result<()> {
        no()
    }
}

impl ByteCache for LocalCache {
    fn kind(&self) -> Kind {
        Kind::Local
    }
    fn get_bytes<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async move { BlockingCache::get(self, key) })
    }
    fn set_bytes<'a>(
        &'a self,
        key: &'a [u8],
        value: &'a [u8],
        ttl: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { BlockingCache::set(self, key, value, ttl) })
    }
    fn delete_bytes<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { no() })
    }
    fn exists_bytes<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { no() })
    }
    fn clear_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { no() })
    }
    fn get_many_bytes<'a>(
        &'a self,
        _: &'a [&'a [u8]],
    ) -> BoxFuture<'a, Result<Vec<Option<Value>>>> {
        Box::pin(async { no() })
    }
    fn set_many_bytes<'a>(
        &'a self,
        _: &'a [(&'a [u8], &'a [u8])],
        _: Ttl,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { no() })
    }
    fn delete_many_bytes<'a>(&'a self, _: &'a [&'a [u8]]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async { no() })
    }
    fn ttl_bytes<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Option<Remaining>>> {
        Box::pin(async { no() })
    }
    fn expire_bytes<'a>(&'a self, _: &'a [u8], _: Ttl) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { no() })
    }
    fn count_bytes(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { no() })
    }
    fn stats_bytes(&self) -> BoxFuture<'_, Result<CacheStats>> {
        Box::pin(async { no() })
    }
    fn ping_bytes(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { no() })
    }
}

impl LocalCache {
    /// Placeholder.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(std::sync::Arc::default())
    }
    /// Placeholder.
    pub fn from_options(_: &CommonOptions, _: &LocalOptions) -> Result<Self> {
        Ok(Self::new())
    }
    /// Placeholder.
    pub fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }
}
