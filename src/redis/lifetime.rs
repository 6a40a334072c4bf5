//! How long values are kept and served: TTLs, spread as `ttl_jitter` asks, and stale windows.

use super::Shared;
use crate::error::Result;
use crate::ops::{Stale, Ttl};
use crate::stats::Counter;

/// How long one value is kept. The default is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// Its TTL in milliseconds; zero has expired already.
    pub(crate) ttl_ms: Option<u64>,
    /// How long past that it may be served where a load fails; never zero, and none without a TTL.
    pub(crate) stale_ms: Option<u64>,
}

impl Lifetime {
    /// Of a value without a stale window.
    pub(crate) fn plain(ttl_ms: Option<u64>) -> Self {
        Self { ttl_ms, stale_ms: None }
    }

    pub(crate) fn is_over(self) -> bool {
        self.ttl_ms == Some(0)
    }

    /// What storing a value counts as where one was there.
    pub(super) fn counter(self) -> Counter {
        if self.is_over() { Counter::Deletes } else { Counter::Sets }
    }

    /// How long the server keeps it, in milliseconds.
    pub(crate) fn kept_ms(self) -> Option<u64> {
        match self.ttl_ms {
            None | Some(0) => self.ttl_ms,
            Some(ms) => Some(ms.saturating_add(self.stale_ms.unwrap_or(0))),
        }
    }
}

impl Shared {
    /// How long a value lives that is stored now.
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a window that has no place.
    pub(super) fn lifetime(&self, ttl: Ttl, stale: Stale) -> Result<Lifetime> {
        let ttl_ms = self.common.ttls().draw(ttl)?;
        let window = match stale {
            Stale::Default => self.common.stale_ttl,
            Stale::For(window) => window,
        };
        let stale_ms = Ttl::After(window).resolve(None)?.filter(|ms| *ms > 0);
        if stale_ms.is_some() {
            self.keyspace.needs_envelope()?;
        }
        Ok(Lifetime { ttl_ms, stale_ms: ttl_ms.and(stale_ms) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_keeps_a_value_through_its_window() {
        let of = |ttl_ms, stale_ms| Lifetime { ttl_ms, stale_ms }.kept_ms();
        assert_eq!(of(Some(5), Some(3)), Some(8));
        assert_eq!(of(Some(5), None), Some(5));
        assert_eq!(of(Some(0), Some(3)), Some(0));
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(u64::MAX), Some(3)), Some(u64::MAX));
    }
}
