//! The background of a Hybrid: what it hears from the invalidation stream, and the prober that finds
//! the way back to a lost L2. Both hold the cache weakly and end with it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::core::Core;
use crate::log::{self, Level};
use crate::redis::{InvalidationSink, RedisCache};
use crate::runtime;

/// How often [`proven`] looks. Only `open` waits so, once.
const GLANCE: Duration = Duration::from_millis(1);

/// Subscribes to the invalidations of L2.
pub(super) fn listen(core: &Arc<Core>, l2: &RedisCache) {
    let sink: Arc<dyn InvalidationSink> = core.clone();
    if let Err(error) = l2.listen(&sink, core.options.watchdog) {
        log::emit(Level::Error, "hybrid", format_args!("no invalidation stream: {error}"));
    }
}

/// Ends when the invalidation stream is proven; `open` waits for it so that the first writes are L1
/// hits.
pub(super) async fn proven(core: &Core) {
    while !core.trust.proven_now() {
        tokio::time::sleep(GLANCE).await;
    }
}

/// Starts the prober of a breaker that has just opened.
pub(super) fn probe(core: &Weak<Core>) {
    let weak = core.clone();
    let _ = runtime::spawn(async move {
        loop {
            let Some((l2, pause, timeout)) = weak.upgrade().and_then(|core| {
                let l2 = core.l2.clone()?;
                Some((l2, core.options.breaker_open, core.options.l2_timeout))
            }) else {
                return;
            };
            let answered = l2.probe_async(Instant::now() + timeout).await.is_ok();
            drop(l2);
            if answered {
                let Some(core) = weak.upgrade() else { return };
                if core.breaker.close() {
                    log::emit(Level::Info, "hybrid", format_args!("L2 answers again"));
                }
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
}

impl InvalidationSink for Core {
    fn subscribed(&self) {
        self.trust.subscribed();
    }

    fn proven(&self, sent_at: Instant) {
        self.trust.proven(sent_at);
    }

    fn invalidated(&self, key: &[u8]) {
        self.forget(key);
    }

    fn invalidated_all(&self) {
        self.forget_all();
    }

    fn lost(&self) {
        self.trust.lost();
    }

    fn unavailable(&self) {
        // What this process reads is asked of L2 each time; `degraded` says so.
        self.trust.lost();
    }
}
