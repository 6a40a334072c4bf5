//! foyer's in-memory cache with S3-FIFO, its fastest policy, and 64 shards. Its entries are pinned by
//! themselves, so that the value need not be counted. It has no TTL: with `timed` an expiry stands beside the
//! value.

use foldhash::fast::RandomState;
use foyer_memory::{Cache, CacheBuilder, CacheProperties, S3FifoConfig};

use crate::contender::{Peer, Setup};

type Of<V> = Cache<Box<[u8]>, V, RandomState, CacheProperties>;

pub(crate) enum Foyer {
    Plain(Of<Box<[u8]>>),
    Timed(Of<(u64, Box<[u8]>)>),
}

fn cache<V: Send + Sync + 'static>(capacity: usize) -> Of<V> {
    CacheBuilder::new(capacity)
        .with_shards(64)
        .with_eviction_config(S3FifoConfig::default())
        .with_hash_builder(RandomState::default())
        .build()
}

impl Foyer {
    #[inline]
    fn with(&self, key: &[u8], read: impl FnOnce(&[u8]) -> bool) -> bool {
        match self {
            Self::Plain(cache) => cache.get(key).is_some_and(|entry| read(entry.value())),
            Self::Timed(cache) => cache.get(key).is_some_and(|entry| read(&entry.value().1)),
        }
    }
}

impl Peer for Foyer {
    fn open(setup: &Setup) -> Self {
        let capacity = setup.capacity();
        if setup.timed() { Self::Timed(cache(capacity)) } else { Self::Plain(cache(capacity)) }
    }

    #[inline]
    fn get_into(&self, key: &[u8], buf: &mut [u8]) -> bool {
        self.with(key, |value| {
            buf.copy_from_slice(value);
            true
        })
    }

    #[inline]
    fn get(&self, key: &[u8], len: usize) -> bool {
        self.with(key, |value| value.len() == len)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        match self {
            Self::Plain(cache) => drop(cache.insert(key.into(), value.into())),
            Self::Timed(cache) => drop(cache.insert(key.into(), (u64::MAX, value.into()))),
        }
    }
}
