//! The tags of one cache: names and how often each was invalidated.
//!
//! An entry holds its tags, each with the version that it had when the entry was stored; it is there as
//! long as all of them still have it. So an invalidation is one addition, however many entries carry
//! the tag, and they are freed as other entries are: overwritten, expired, evicted.
//!
//! A tag lives as long as an entry holds it. Those that none holds are looked for each time that the
//! table has doubled.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::fork::Inside;
use crate::key::KEY_MAX;
use crate::value::{Tag, TagMark};

/// Most tags of one entry.
const PER_ENTRY: usize = 1024;
/// Below this size nothing is looked for.
const SWEEP_MIN: usize = 1024;

#[derive(Default)]
pub(super) struct Tags(Mutex<Table>);

#[derive(Default)]
struct Table {
    tags: HashMap<Arc<[u8]>, Arc<Tag>>,
    /// At this size those that nobody holds are looked for.
    sweep_at: usize,
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
        let marks = names.iter().map(|name| {
            let tag = table.tags.get(&name[..]).cloned().unwrap_or_else(|| {
                let name: Arc<[u8]> = name[..].into();
                let tag = Arc::new(Tag { name: name.clone(), version: AtomicU64::new(0) });
                table.tags.insert(name, tag.clone());
                tag
            });
            let version = tag.version.load(Acquire);
            TagMark { tag, version }
        });
        let marks = marks.collect();
        if table.tags.len() >= table.sweep_at.max(SWEEP_MIN) {
            table.tags.retain(|_, tag| Arc::strong_count(tag) > 1);
            table.sweep_at = 2 * table.tags.len();
        }
        marks
    }

    /// Makes every entry that carries this tag absent.
    pub(super) fn invalidate(&self, _inside: &Inside, name: &[u8]) {
        // A tag that is not here is on no entry.
        if let Some(tag) = self.lock().tags.get(name) {
            tag.version.fetch_add(1, AcqRel);
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
