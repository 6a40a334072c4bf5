//! Whether an entry is there, and how long a new one is to be.

use std::time::Duration;

use super::LocalCache;
use super::store::KeyHash;
use super::tags;
use crate::error::Result;
use crate::fork::Inside;
use crate::ops::{Remaining, SetOptions, Stale, Ttl, Ttls};
use crate::value::{Attributes, Entry, Extra, NEVER, TagMark, Value};

/// How entries of a cache live where a call says nothing else.
#[derive(Clone, Debug)]
pub(super) struct Lifetimes {
    pub(super) ttls: Ttls,
    /// How long past its TTL a value may be served.
    pub(super) stale_ms: u64,
    /// The share of its TTL after which a value is to be loaded anew.
    pub(super) refresh_ahead: Option<f64>,
    /// How long it is remembered that there is no value.
    pub(super) negative_ms: u64,
}

impl Lifetimes {
    /// Whether an entry needs no attributes unless a call asks for some.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.stale_ms == 0 && self.refresh_ahead.is_none()
    }
}

/// When a new entry ends, and what it has besides.
#[derive(Default)]
pub(super) struct Birth {
    pub(super) expires_at: u64,
    pub(super) extra: Extra,
}

impl Birth {
    /// An entry that expires at this time and has no attributes.
    #[inline]
    pub(super) fn plain(expires_at: u64) -> Self {
        Self { expires_at, extra: Extra::None }
    }

    /// The new entry.
    #[inline]
    pub(super) fn entry(self, hash: KeyHash, key: &[u8], value: &[u8]) -> Result<Value> {
        let Self { expires_at, extra } = self;
        Value::entry(Entry { hash: hash.in_shard(), key, value, expires_at, extra })
    }
}

/// What an entry is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There, and fresh.
    Fresh,
    /// Past its TTL, within its stale window.
    Stale,
    /// It says that there is no value.
    Negative,
    /// Expired, or one of its tags was invalidated.
    Gone,
}

impl LocalCache {
    /// Whether an entry is there. The clock is asked only where it matters.
    #[inline]
    pub(super) fn lives(&self, entry: &Value) -> bool {
        self.is_ahead(entry.expires_at())
            && (entry.is_plain() || self.standing(entry) == Standing::Fresh)
    }

    #[inline]
    pub(super) fn is_ahead(&self, at: u64) -> bool {
        at == NEVER || self.0.clock.is_ahead(at)
    }

    /// What an entry is.
    #[cold]
    #[inline(never)]
    pub(super) fn standing(&self, entry: &Value) -> Standing {
        if !self.is_ahead(entry.expires_at()) {
            return Standing::Gone;
        }
        match entry.attributes() {
            None => Standing::Fresh,
            Some(attributes) if !attributes.tags().iter().all(TagMark::holds) => Standing::Gone,
            Some(_) if entry.is_negative() => Standing::Negative,
            Some(attributes) if !self.is_ahead(attributes.fresh_until()) => Standing::Stale,
            Some(_) => Standing::Fresh,
        }
    }

    /// How long an entry that is there has still to live.
    pub(super) fn remaining(&self, entry: &Value) -> Option<Remaining> {
        let end = entry.attributes().map_or(entry.expires_at(), Attributes::fresh_until);
        if end == NEVER {
            return Some(Remaining::Forever);
        }
        match end.saturating_sub(self.0.clock.now()) {
            0 => None,
            ms => Some(Remaining::For(Duration::from_millis(ms))),
        }
    }

    /// The default TTL in milliseconds, `None` where it never ends.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
    pub(crate) fn default_ttl_ms(&self) -> Option<u64> {
        // It was checked when the cache was made.
        self.0.lifetimes.ttls.said(Ttl::Default).unwrap_or(None)
    }

    /// When something with this TTL expires, given that it is stored now. `None`: at once.
    #[inline]
    pub(super) fn expiry(&self, ttl: Ttl) -> Result<Option<u64>> {
        Ok(self.expiry_in(self.ttl_ms(ttl)?))
    }

    /// The milliseconds of a TTL, shortened as `ttl_jitter` asks; `None` where it never ends.
    #[inline]
    pub(super) fn ttl_ms(&self, ttl: Ttl) -> Result<Option<u64>> {
        self.0.lifetimes.ttls.draw(ttl)
    }

    #[inline]
    pub(super) fn expiry_in(&self, ttl_ms: Option<u64>) -> Option<u64> {
        match ttl_ms {
            None => Some(NEVER),
            Some(0) => None,
            // No time is near the end of its range: a TTL has at most 100 years.
            Some(ms) => Some(self.0.clock.now().saturating_add(ms).min(NEVER - 1)),
        }
    }

    /// How a value lives that is stored now with this TTL and nothing else. `None`: not at all.
    #[inline]
    pub(super) fn birth(&self, ttl: Ttl) -> Result<Option<Birth>> {
        if self.0.lifetimes.is_plain() {
            return Ok(self.expiry(ttl)?.map(Birth::plain));
        }
        self.birth_with(ttl, Stale::Default, Vec::new())
    }

    /// How a value lives that is stored now with these options. `None`: not at all.
    pub(super) fn birth_of(&self, inside: &Inside, options: &SetOptions) -> Result<Option<Birth>> {
        tags::check(&options.tags)?;
        let marks = self.0.tags.marks(inside, &options.tags);
        self.birth_with(options.ttl, options.stale, marks)
    }

    /// As [`LocalCache::birth_of`], with tags as they were at some time before.
    pub(super) fn birth_with(
        &self,
        ttl: Ttl,
        stale: Stale,
        tags: Vec<TagMark>,
    ) -> Result<Option<Birth>> {
        let lifetimes = &self.0.lifetimes;
        let ttl_ms = self.ttl_ms(ttl)?;
        let stale_ms = match stale {
            Stale::Default => lifetimes.stale_ms,
            Stale::For(window) => Ttl::After(window).resolve(None)?.unwrap_or(0),
        };
        let Some(fresh_until) = self.expiry_in(ttl_ms) else { return Ok(None) };
        let refresh_at = match (ttl_ms, lifetimes.refresh_ahead) {
            (Some(ms), Some(share)) => fresh_until - (ms as f64 * (1.0 - share)).ceil() as u64,
            _ => NEVER,
        };
        if (fresh_until == NEVER || stale_ms == 0) && refresh_at == NEVER && tags.is_empty() {
            return Ok(Some(Birth::plain(fresh_until)));
        }
        let expires_at = match fresh_until {
            NEVER => NEVER,
            at => at.saturating_add(stale_ms).min(NEVER - 1),
        };
        let attributes = Attributes::new(fresh_until, refresh_at, tags);
        let extra = Extra::Attributes { attributes, negative: false };
        Ok(Some(Birth { expires_at, extra }))
    }

    /// How long it is remembered that there is no value. `None`: not at all.
    pub(super) fn negative_birth(&self, tags: Vec<TagMark>) -> Option<Birth> {
        let ttl_ms = self.0.lifetimes.ttls.shortened(self.0.lifetimes.negative_ms);
        let expires_at = self.expiry_in(Some(ttl_ms))?;
        let attributes = Attributes::new(expires_at, NEVER, tags);
        Some(Birth { expires_at, extra: Extra::Attributes { attributes, negative: true } })
    }
}
