//! moka's synchronous cache; with `timed` it has a TTL.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::sync::Cache;

use crate::contender::{Peer, Setup};

pub(crate) struct Moka(Cache<Box<[u8]>, Arc<[u8]>, RandomState>);

impl Peer for Moka {
    fn open(setup: &Setup) -> Self {
        let mut builder = Cache::builder().max_capacity(setup.capacity() as u64);
        if setup.timed() {
            builder = builder.time_to_live(Duration::from_secs(3600));
        }
        Self(builder.build_with_hasher(RandomState::default()))
    }

    #[inline]
    fn get_into(&self, key: &[u8], buf: &mut [u8]) -> bool {
        self.0.get(key).is_some_and(|value| {
            buf.copy_from_slice(&value);
            true
        })
    }

    #[inline]
    fn get(&self, key: &[u8], len: usize) -> bool {
        self.0.get(key).is_some_and(|value| value.len() == len)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }
}
