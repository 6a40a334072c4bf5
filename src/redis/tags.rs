//! Tags. Each has a record, `PREFIX:__lc:t:TAG`, that holds the tag's stamp: eight random bytes. A value
//! carries its tags and the stamps that these had when it was written, and counts as absent where a
//! record has another stamp or is gone.
//!
//! So invalidating removes the record, whatever number of values carry the tag, and the next write that
//! names the tag draws a new stamp. A record that the server evicted reads as invalidated. Records live at
//! least as long as the values that were written with them, and twice as long as a rule, so that few
//! writes have to prolong one; they are gone some time after their last value.
//!
//! A write first asks for the stamps and then stores the value. An invalidation in between leaves a value
//! with the old stamp, which is absent: the right answer, as its content may be from before.

use ::redis::{Cmd, Value as Reply};

use super::commands::{Keyspace, Request, surprise};
use super::error_map::checked;
use super::line::{Item, Line};
use super::scripts;
use crate::envelope::{TAG_LEN_MAX, TAGS_MAX, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RESERVED_PREFIX;
use crate::random;

/// What a record lives longer than the value at least, in milliseconds: the value is stored after it.
const SLACK_MS: u64 = 3600 * 1000;

/// Refuses a tag that no value can carry.
pub(super) fn check_tag(tag: &[u8]) -> Result<()> {
    if tag.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the tag is empty"));
    }
    if tag.len() > TAG_LEN_MAX {
        let length = tag.len();
        return Err(Error::new(
            ErrorKind::TooBig,
            format!("the tag has {length} bytes, {TAG_LEN_MAX} are allowed on a server"),
        ));
    }
    Ok(())
}

/// `tags` in an order of their own, each once.
pub(super) fn distinct(tags: &[Vec<u8>]) -> Result<Vec<&[u8]>> {
    tags.iter().try_for_each(|tag| check_tag(tag))?;
    let mut distinct: Vec<&[u8]> = tags.iter().map(Vec::as_slice).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() > TAGS_MAX {
        let count = distinct.len();
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the value has {count} tags, {TAGS_MAX} are allowed on a server"),
        ));
    }
    Ok(distinct)
}

/// The tag whose record `key` is, which has no prefix.
pub(super) fn of_record(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(RESERVED_PREFIX)?.strip_prefix(b"t:")
}

/// The stamp in a record.
pub(super) fn stamp_of(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::BulkString(bytes) => bytes.as_slice().try_into().ok().map(u64::from_le_bytes),
        _ => None,
    }
}

impl Keyspace {
    fn tag_key(&self, tag: &[u8]) -> Vec<u8> {
        [&self.prefix[..], RESERVED_PREFIX, b"t:", tag].concat()
    }

    /// Reads the record of a tag.
    pub(super) fn tag_record(&self, tag: &[u8]) -> Cmd {
        let mut get = ::redis::cmd("GET");
        get.arg(self.tag_key(tag));
        get
    }

    /// Removes the record of a tag.
    pub(super) fn forget_tag(&self, tag: &[u8]) -> Request {
        Request::write(self.unlink_tag(tag))
    }

    pub(super) fn unlink_tag(&self, tag: &[u8]) -> Cmd {
        let mut unlink = ::redis::cmd("UNLINK");
        unlink.arg(self.tag_key(tag));
        unlink
    }
}

impl Line<'_> {
    /// The stamps of `tags`, drawn now for those that have none, for a value that the server is to keep
    /// for `lifetime_ms`.
    pub(super) async fn stamps(
        &self,
        tags: &[&[u8]],
        lifetime_ms: Option<u64>,
    ) -> Result<Vec<Tag>> {
        let keyspace = &self.shared().keyspace;
        let least = lifetime_ms.map(|ms| ms.saturating_add(SLACK_MS));
        let longer = least.map(|ms| ms.saturating_mul(2));
        let mut items = Vec::with_capacity(tags.len());
        for tag in tags {
            let fresh = random::bytes::<8>()?.to_vec();
            let call = scripts::STAMP.call(keyspace.tag_key(tag)).arg(fresh);
            items.push(Item::Script(call.ttl(least).ttl(longer)));
        }
        let replies = self.run_all(&items, false).await?;
        let stamped = std::iter::zip(tags, replies).map(|(tag, reply)| {
            let stamp = stamp_of(&checked(reply)?).ok_or_else(|| surprise("no stamp of a tag"))?;
            Ok(Tag { stamp, name: tag.to_vec() })
        });
        stamped.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let kind = |tags: &[Vec<u8>]| distinct(tags).map(|tags| tags.len()).map_err(|e| e.kind());
        assert_eq!(kind(&[b"b".to_vec(), b"a".to_vec(), b"b".to_vec()]), Ok(2));
        assert_eq!(kind(&[Vec::new()]), Err(ErrorKind::Invalid));
        assert_eq!(kind(&[vec![b'x'; 1024]]), Ok(1));
        assert_eq!(kind(&[vec![b'x'; 1025]]), Err(ErrorKind::TooBig));
        let many = |count: u16| (0..count).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>();
        assert_eq!(kind(&many(256)), Ok(256));
        assert_eq!(kind(&many(257)), Err(ErrorKind::Invalid));
    }

    #[test]
    fn stamps_are_eight_bytes() {
        assert_eq!(stamp_of(&Reply::BulkString(vec![1, 0, 0, 0, 0, 0, 0, 0])), Some(1));
        assert_eq!(stamp_of(&Reply::BulkString(vec![1])), None);
        assert_eq!(stamp_of(&Reply::Nil), None);
    }
}
