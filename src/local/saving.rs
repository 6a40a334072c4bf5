//! A Local cache saved to a file and loaded from one; the file itself is `snapshot`'s.
//!
//! What is saved of each shard is what it held at one moment. Stale and negative entries are saved too,
//! tags by name. What is loaded takes the place of what is there.

use std::path::Path;

use super::LocalCache;
use super::lifetime::{Birth, Standing};
use crate::error::{ErrorKind, Result};
use crate::fork;
use crate::snapshot::{self, Record};
use crate::value::{Attributes, Extra, NEVER, Value};

impl LocalCache {
    pub(super) fn save_to(&self, path: &Path) -> Result<u64> {
        snapshot::save(path, self.0.keyring.as_ref(), |sink| {
            for shard in 0..self.shard_count() {
                let entries: Vec<Value> =
                    self.reading_shard(shard, |shard| shard.iter().cloned().collect());
                for entry in entries {
                    if self.standing(&entry) != Standing::Gone {
                        let tags: Vec<Vec<u8>> = entry.attributes().map_or(Vec::new(), |all| {
                            all.tags().iter().map(|mark| mark.tag.name.to_vec()).collect()
                        });
                        sink.put(&self.record(&entry, &tags))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn record<'a>(&self, entry: &'a Value, tags: &'a [Vec<u8>]) -> Record<'a> {
        let end = entry.expires_at();
        let fresh_until = entry.attributes().map_or(end, Attributes::fresh_until);
        let now = self.0.clock.now();
        Record {
            key: entry.key(),
            value: entry,
            remaining_ms: (fresh_until != NEVER).then(|| fresh_until.saturating_sub(now)),
            stale_ms: end.saturating_sub(fresh_until.max(now)),
            tags,
            negative: entry.is_negative(),
        }
    }

    pub(super) fn load_from(&self, path: &Path) -> Result<u64> {
        let mut loaded = 0;
        snapshot::load(path, self.0.keyring.as_ref(), |record| {
            let inside = fork::enter();
            let birth = self.birth_of_record(&inside, record);
            let value = record.value;
            // What this cache is too small for is left out.
            if value.len() > self.0.max_value_bytes {
                return Ok(());
            }
            match self.store(&inside, record.key, value, birth, || true) {
                Ok(_) => loaded += 1,
                Err(error) if error.kind() == ErrorKind::TooBig => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok(loaded)
    }

    fn birth_of_record(&self, inside: &fork::Inside, record: &Record<'_>) -> Birth {
        let Record { remaining_ms, stale_ms, tags, negative, .. } = *record;
        let now = self.0.clock.now();
        let (fresh_until, expires_at) = match remaining_ms {
            None => (NEVER, NEVER),
            Some(ms) => {
                let fresh_until = now.saturating_add(ms).min(NEVER - 1);
                (fresh_until, fresh_until.saturating_add(stale_ms).min(NEVER - 1))
            }
        };
        if fresh_until == expires_at && tags.is_empty() && !negative {
            return Birth::plain(expires_at);
        }
        let marks = self.0.tags.marks(inside, tags);
        let attributes = Attributes::new(fresh_until, NEVER, marks);
        Birth { expires_at, extra: Extra::Attributes { attributes, negative } }
    }
}
