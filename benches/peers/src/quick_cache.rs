//! quick_cache. It has no TTL: with `timed` an expiry stands beside the value.

use std::sync::Arc;

use foldhash::fast::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::contender::{Peer, Setup};

type Of<V> = Cache<Box<[u8]>, V, UnitWeighter, RandomState>;

pub(crate) enum QuickCache {
    Plain(Of<Arc<[u8]>>),
    Timed(Of<(u64, Arc<[u8]>)>),
}

fn cache<V: Clone>(capacity: usize) -> Of<V> {
    Cache::with(
        capacity,
        capacity as u64,
        UnitWeighter,
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}

impl QuickCache {
    #[inline]
    fn find(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        match self {
            Self::Plain(cache) => cache.get(key),
            Self::Timed(cache) => cache.get(key).map(|(_, value)| value),
        }
    }
}

impl Peer for QuickCache {
    fn open(setup: &Setup) -> Self {
        let capacity = setup.capacity();
        if setup.timed() { Self::Timed(cache(capacity)) } else { Self::Plain(cache(capacity)) }
    }

    #[inline]
    fn get_into(&self, key: &[u8], buf: &mut [u8]) -> bool {
        self.find(key).is_some_and(|value| {
            buf.copy_from_slice(&value);
            true
        })
    }

    #[inline]
    fn get(&self, key: &[u8], len: usize) -> bool {
        self.find(key).is_some_and(|value| value.len() == len)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        match self {
            Self::Plain(cache) => cache.insert(key.into(), value.into()),
            Self::Timed(cache) => cache.insert(key.into(), (u64::MAX, value.into())),
        }
    }
}
