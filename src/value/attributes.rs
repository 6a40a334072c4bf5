//! What few entries have: a stale window, a time of refresh, tags.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::NEVER;
use crate::sync::{AtomicU32, AtomicU64};

/// What stands before the header of an entry that needs it. Times are milliseconds of the holder's clock.
#[repr(C)]
pub(crate) struct Attributes {
    #[allow(clippy::box_collection, reason = "one word, and rare")]
    tags: Option<Box<Vec<TagMark>>>,
    /// When the value is no longer fresh. From then to the entry's expiry it is stale.
    fresh_until: AtomicU64,
    /// From when on it should be loaded anew.
    refresh_at: AtomicU64,
    _reserved: u32,
    /// The last field: `value` finds it at the same distance from the header in either form.
    pub(super) stamp: AtomicU32,
}

impl Attributes {
    pub(crate) fn new(fresh_until: u64, refresh_at: u64, tags: Vec<TagMark>) -> Self {
        Self {
            tags: (!tags.is_empty()).then(|| Box::new(tags)),
            fresh_until: AtomicU64::new(fresh_until),
            refresh_at: AtomicU64::new(refresh_at),
            _reserved: 0,
            stamp: AtomicU32::new(0),
        }
    }

    /// The same with the epoch in which a Hybrid knew the entry to be fresh.
    pub(crate) fn stamped(mut self, stamp: u32) -> Self {
        self.stamp = AtomicU32::new(stamp);
        self
    }

    pub(crate) fn fresh_until(&self) -> u64 {
        self.fresh_until.load(Acquire)
    }

    pub(crate) fn refresh_at(&self) -> u64 {
        self.refresh_at.load(Acquire)
    }

    /// Gives the value another time to live; it is not refreshed ahead of that.
    pub(crate) fn set_fresh_until(&self, at: u64) {
        self.fresh_until.store(at, Release);
        self.refresh_at.store(NEVER, Release);
    }

    pub(crate) fn tags(&self) -> &[TagMark] {
        self.tags.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Bytes that the tags take.
    pub(crate) fn footprint(&self) -> usize {
        size_of_val(self.tags()) + if self.tags.is_some() { 40 } else { 0 }
    }
}

/// A tag of one cache.
pub(crate) struct Tag {
    pub(crate) name: Arc<[u8]>,
    /// How often it was invalidated.
    pub(crate) version: AtomicU64,
    /// The epoch in which a Hybrid knew that in its L2 too the tag was not invalidated since it has this
    /// version; 0 where it knows nothing.
    pub(crate) proof: AtomicU32,
}

/// A tag that an entry carries, and its version when the entry was stored.
#[derive(Clone)]
pub(crate) struct TagMark {
    pub(crate) tag: Arc<Tag>,
    pub(crate) version: u64,
}

impl TagMark {
    /// Whether the tag was not invalidated since.
    pub(crate) fn holds(&self) -> bool {
        self.tag.version.load(Acquire) == self.version
    }
}
