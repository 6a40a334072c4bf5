//! Placeholder until its branch lands.

use crate::config::{CommonOptions, RedisOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Kind, Remaining, Ttl};
use crate::stats::CacheStats;
use crate::value::Value;

/// Placeholder.
#[derive(Clone, Debug)]
pub struct RedisCache;

fn no<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not yet"))
}

impl BlockingCache for RedisCache {
    fn kind(&self) -> Kind {
        Kind::Redis
    }
    fn get(&self, _: &[u8]) -> Result<Option<Value>> {
        no()
    }
    fn set(&self, _: &[u8], _: &[u8], _: Ttl) -> Result<()> {
        no()
    }
    fn delete(&self, _: &[u8]) -> Result<bool> {
        no()
    }
    fn exists(&self, _: &[u8]) -> Result<bool> {
        no()
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

impl ByteCache for RedisCache {
    fn kind(&self) -> Kind {
        Kind::Redis
    }
    fn get_bytes<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async { no() })
    }
    fn set_bytes<'a>(&'a self, _: &'a [u8], _: &'a [u8], _: Ttl) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { no() })
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

impl RedisCache {
    /// Placeholder.
    pub fn open(_: &CommonOptions, _: &RedisOptions) -> Result<Self> {
        no()
    }
    /// Placeholder.
    pub async fn open_async(_: &CommonOptions, _: &RedisOptions) -> Result<Self> {
        no()
    }
}
