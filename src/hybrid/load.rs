//! `get_or_load`: of many callers of this process that miss one key, one loads it.
//!
//! # Protocol
//! Who leads a flight takes the stripe's token, reads the key once more, runs the loader with nothing held,
//! and stores what it got only if the stripe is still as the token says: a write or a removal of this
//! process, or an invalidation, that came during the load is newer than what was loaded. The comparison and
//! the beginning of the write are one atomic step on the stripe. All who asked get what was loaded in any
//! case. With L2 away the value is loaded, stored in L1 and queued, as any write.
//!
//! Left to others: who leads and who waits (`flight`). One load for a whole fleet, stale windows, negative
//! entries and refresh ahead come with a later version.

use std::time::Instant;

use super::HybridCache;
use super::decide::check_plain;
use super::stripes::ReadToken;
use super::world::Remote;
use crate::error::Result;
use crate::flight::{Cancellable, Joined};
use crate::key::check_key;
use crate::ops::{BlockingCache, BoxFuture, ByteCache, Loaded, Loader, SetOptions};
use crate::stats::Counter;
use crate::value::Value;

impl HybridCache {
    pub(super) fn load_once(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: &mut Loader<'_>,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        if core.l2.is_none() {
            return BlockingCache::get_or_load(&core.l1, key, options, load);
        }
        check_key(key)?;
        check_plain(options)?;
        options.ttl.resolve(core.default_ttl)?;
        if let Some(value) = BlockingCache::get(self, key)? {
            return Ok(Some(value));
        }
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match core.flights.join(key, deadline)? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(lead) => {
                let token = core.stripes.begin_read(key);
                // The load before this one may have ended between the miss and now.
                let result = match self.wait(core.look_again(key)) {
                    Ok(None) => match load(key) {
                        Ok(Some(loaded)) => self.wait(self.keep(key, token, loaded, options)),
                        Ok(None) => Ok(None),
                        Err(error) => Err(error),
                    },
                    answer => answer,
                };
                lead.land(result.clone());
                result
            }
        }
    }

    pub(super) async fn load_once_async(
        &self,
        key: &[u8],
        options: &SetOptions,
        load: BoxFuture<'_, Result<Option<Loaded>>>,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        if core.l2.is_none() {
            return core.l1.get_or_load_bytes(key, options, load).await;
        }
        check_key(key)?;
        check_plain(options)?;
        options.ttl.resolve(core.default_ttl)?;
        if let Some(hit) = core.get(key).await? {
            return Ok(Some(hit.value));
        }
        match core.flights.join_async(key).await? {
            Joined::Landed(result) => {
                core.counters.count(Counter::Coalesced);
                result
            }
            Joined::Lead(turn) => {
                let turn = Cancellable::new(turn);
                let token = core.stripes.begin_read(key);
                let result = match core.look_again(key).await {
                    Ok(None) => match turn.inside(load).await {
                        Ok(Some(loaded)) => self.keep(key, token, loaded, options).await,
                        Ok(None) => Ok(None),
                        Err(error) => Err(error),
                    },
                    answer => answer,
                };
                turn.land(result.clone());
                result
            }
        }
    }

    /// Stores what was loaded, if it is still wanted; the answer for all who asked.
    async fn keep(
        &self,
        key: &[u8],
        token: ReadToken,
        loaded: Loaded,
        options: &SetOptions,
    ) -> Result<Option<Value>> {
        let core = &self.core;
        let Loaded { value, options: own } = loaded;
        let options = own.as_ref().unwrap_or(options);
        check_plain(options)?;
        let ttl_ms = options.ttl.resolve(core.default_ttl)?;
        let answer = Value::copy_from(&value)?;
        // Too large for this cache, or over already, but not for its caller.
        if value.len() <= core.max_value_bytes
            && ttl_ms != Some(0)
            && let Some(write) = core.begin_set_after(key, &value, ttl_ms, token)?
        {
            match &core.l2 {
                Some(l2) if write.goes() => {
                    let reply = l2.put(key, &value, ttl_ms, core.options.l2_timeout).await;
                    core.end_write(write, reply)?;
                }
                _ => write.queue(false),
            }
        }
        Ok(Some(answer))
    }
}
