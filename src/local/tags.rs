//! The tags of one cache: names and how often each was invalidated.
//!
//! An entry holds its tags, each with the version that it had when the entry was stored; it is there as
//! long as all of them still have it. So an invalidation is one addition, however many entries carry
//! the tag, and they are freed as other entries are: overwritten, expired, evicted.
//!
//! A tag lives as long as an entry holds it. Those that none holds are looked for each time that the
//! table has doubled.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::fork::Inside;
use crate::key::KEY_MAX;
use crate::sync::{AtomicU32, AtomicU64};
use crate::value::{Tag, TagMark};

/// Most tags of one entry.
const PER_ENTRY: usize = 1024;
/// Below this size nothing is looked for.
const SWEEP_MIN: usize = 1024;

#[derive(Default)]
pub(super) struct Tags(Mutex<Table>);

#[derive(Default)]
struct Table {
    tags: HashMap<Arc<[u8]>, Slot>,
    /// At this size those that nobody holds are looked for.
    sweep_at: usize,
}

struct Slot {
    tag: Arc<Tag>,
    /// What the record of the tag in a Hybrid's L2 holds, or held when it was last known. It belongs to the
    /// present version: whoever learns of another gives the tag a new version.
    record: Option<u64>,
}

impl Table {
    /// The tag of this name, which comes into being.
    fn slot(&mut self, name: &[u8]) -> &mut Slot {
        if !self.tags.contains_key(name) {
            self.sweep();
            let name: Arc<[u8]> = name.into();
            let tag =
                Tag { name: name.clone(), version: AtomicU64::new(0), proof: AtomicU32::new(0) };
            self.tags.insert(name.clone(), Slot { tag: Arc::new(tag), record: None });
        }
        self.tags.get_mut(name).expect("it is there by now")
    }

    fn sweep(&mut self) {
        if self.tags.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.tags.retain(|_, slot| Arc::strong_count(&slot.tag) > 1);
            self.sweep_at = 2 * self.tags.len();
        }
    }
}

impl Slot {
    fn mark(&self) -> TagMark {
        TagMark { tag: self.tag.clone(), version: self.tag.version.load(Acquire) }
    }

    /// Makes every entry that carries the tag absent, and forgets its record.
    fn invalidate(&mut self) {
        self.record = None;
        self.tag.proof.store(0, Release);
        self.tag.version.fetch_add(1, AcqRel);
    }
}

/// Whether these may be an entry's tags.
pub(super) fn check(tags: &[Vec<u8>]) -> Result<()> {
    let wrong = |kind, why| Err(Error::new(kind, why));
    if tags.len() > PER_ENTRY {
        return wrong(ErrorKind::Invalid, "an entry can have 1024 tags at most");
    }
    tags.iter().try_for_each(|tag| check_one(tag))
}

/// Whether this may be a tag.
pub(super) fn check_one(tag: &[u8]) -> Result<()> {
    match tag.len() {
        0 => Err(Error::new(ErrorKind::Invalid, "a tag can't be empty")),
        1..=KEY_MAX => Ok(()),
        _ => Err(Error::new(ErrorKind::TooBig, "a tag can't be longer than 65536 bytes")),
    }
}

impl Tags {
    /// The tags as they are now, for an entry.
    pub(super) fn marks(&self, _inside: &Inside, names: &[Vec<u8>]) -> Vec<TagMark> {
        if names.is_empty() {
            return Vec::new();
        }
        let mut table = self.lock();
        names.iter().map(|name| table.slot(name).mark()).collect()
    }

    /// Makes every entry that carries this tag absent.
    pub(super) fn invalidate(&self, _inside: &Inside, name: &[u8]) {
        // A tag that is not here is on no entry.
        if let Some(slot) = self.lock().tags.get_mut(name) {
            slot.invalidate();
        }
    }

    /// The tag as it is now, if its record is known to hold `stamp` in `epoch`.
    pub(super) fn known(
        &self,
        _inside: &Inside,
        name: &[u8],
        stamp: u64,
        epoch: u32,
    ) -> Option<TagMark> {
        let table = self.lock();
        let slot = table.tags.get(name)?;
        let known = slot.record == Some(stamp) && slot.tag.proof.load(Acquire) == epoch;
        known.then(|| slot.mark())
    }

    /// In `epoch` the record of the tag holds `record`, if `valid` says so under the lock: entries from
    /// when it held something else are absent. The tag as it is then. `valid` must not wait.
    pub(super) fn learn(
        &self,
        _inside: &Inside,
        name: &[u8],
        record: Option<u64>,
        epoch: u32,
        valid: impl FnOnce() -> bool,
    ) -> Option<TagMark> {
        let mut table = self.lock();
        if !valid() {
            return None;
        }
        let slot = table.slot(name);
        // What was stored while nothing was known of the record is this process's own.
        if slot.record.is_some() && slot.record != record {
            slot.invalidate();
        }
        slot.record = record;
        slot.tag.proof.store(epoch, Release);
        Some(slot.mark())
    }

    /// The record of this tag may hold something else now.
    pub(super) fn doubt(&self, _inside: &Inside, name: &[u8]) {
        if let Some(slot) = self.lock().tags.get(name) {
            slot.tag.proof.store(0, Release);
        }
    }

    /// The records of all tags may.
    pub(super) fn doubt_all(&self, _inside: &Inside) {
        for slot in self.lock().tags.values() {
            slot.tag.proof.store(0, Release);
        }
    }

    /// Under the fork gate only: so it is free in a forked child.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork;

    #[test]
    fn a_mark_holds_until_its_tag_is_invalidated() {
        let tags = Tags::default();
        let inside = fork::enter();
        let marks = tags.marks(&inside, &[b"a".to_vec(), b"b".to_vec()]);
        assert!(marks.iter().all(TagMark::holds));
        tags.invalidate(&inside, b"c");
        tags.invalidate(&inside, b"b");
        assert!(marks[0].holds() && !marks[1].holds());
        assert!(tags.marks(&inside, &[b"b".to_vec()])[0].holds());
    }

    #[test]
    fn a_record_that_changes_ends_what_was_stored_before() {
        let tags = Tags::default();
        let inside = fork::enter();
        let learn = |record, epoch| tags.learn(&inside, b"t", record, epoch, || true).unwrap();
        let alone = tags.marks(&inside, &[b"t".to_vec()]).remove(0);
        let one = learn(Some(7), 1);
        assert!(alone.holds() && one.holds());
        assert!(tags.known(&inside, b"t", 7, 1).is_some());
        for (stamp, epoch) in [(8, 1), (7, 2)] {
            assert!(tags.known(&inside, b"t", stamp, epoch).is_none());
        }
        tags.doubt(&inside, b"t");
        assert!(tags.known(&inside, b"t", 7, 1).is_none() && one.holds());
        // It was only written again.
        assert!(learn(Some(7), 2).holds() && one.holds());
        assert!(tags.learn(&inside, b"t", Some(9), 2, || false).is_none() && one.holds());
        assert!(learn(Some(9), 2).holds() && !one.holds());
        let nine = learn(Some(9), 2);
        learn(None, 2);
        assert!(!nine.holds());
    }

    #[test]
    fn tags_that_nobody_holds_are_forgotten() {
        let tags = Tags::default();
        let inside = fork::enter();
        let held = tags.marks(&inside, &[b"held".to_vec()]);
        for n in 0..100_000_u32 {
            tags.marks(&inside, &[n.to_le_bytes().to_vec()]);
        }
        assert!(tags.lock().tags.len() <= 2 * SWEEP_MIN);
        tags.invalidate(&inside, b"held");
        assert!(!held[0].holds());
    }

    #[test]
    fn names_have_limits() {
        assert!(check(&[b"x".to_vec(), vec![0; KEY_MAX]]).is_ok());
        assert_eq!(check(&[Vec::new()]).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(check(&[vec![0; KEY_MAX + 1]]).unwrap_err().kind(), ErrorKind::TooBig);
        let many = vec![b"x".to_vec(); PER_ENTRY + 1];
        assert_eq!(check(&many).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
