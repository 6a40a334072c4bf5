//! Freeing many entries at once, without leaving work behind for whoever allocates next.
//!
//! glibc's malloc puts freed blocks of up to 128 bytes aside, and joins all of them with their neighbours
//! at the next large request, or when a large block is freed, under the lock of its arena. After 300,000
//! entries that was 30 ms, in a call that had nothing to do with them. So a large block is freed now and
//! then, from the very arena that the entries are from, and each time a few are joined.
//!
//! With another allocator this costs a reallocation per [`PORTION`] entries, and does nothing.

use std::alloc::{self, Layout};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Release;

use super::Value;
use crate::sync::all_gone;

/// Entries between two occasions to join what was freed.
const PORTION: usize = 128;
/// Fewer than this are not worth one.
const FEW: usize = 16;
/// Large enough: glibc joins from 64 KiB on.
const LARGE: usize = 66_000;

/// Drops all these holders. Not under a lock.
pub(crate) fn drop_many(values: impl IntoIterator<Item = Value>) {
    let mut last = None;
    let mut dropped = 0;
    for value in values {
        last.replace(value).into_iter().for_each(drop);
        dropped += 1;
        if dropped == PORTION {
            last.take().into_iter().for_each(drop_and_join);
            dropped = 0;
        }
    }
    match last {
        Some(last) if dropped >= FEW => drop_and_join(last),
        _ => {}
    }
}

/// Drops a holder. If it was the last one, its block grows large before it is freed.
fn drop_and_join(value: Value) {
    let mut value = ManuallyDrop::new(value);
    if value.block().refs.fetch_sub(1, Release) != 1 {
        return;
    }
    all_gone(&value.block().refs);
    let layout = value.layout();
    let start = value.drop_content();
    if layout.size() >= LARGE {
        // SAFETY: the allocation of the block, of this layout, which nobody holds any more.
        unsafe { alloc::dealloc(start.as_ptr(), layout) };
        return;
    }
    // SAFETY: as above; the new size is not 0, and far below `isize::MAX`.
    let grown = unsafe { alloc::realloc(start.as_ptr(), layout, LARGE) };
    let (start, layout) = match NonNull::new(grown) {
        // SAFETY: the alignment is the block's, a power of two; the size as above.
        Some(grown) => (grown, unsafe { Layout::from_size_align_unchecked(LARGE, layout.align()) }),
        None => (start, layout),
    };
    // SAFETY: the present allocation, of its layout.
    unsafe { alloc::dealloc(start.as_ptr(), layout) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Acquire;

    use super::*;

    #[test]
    fn all_are_dropped_and_pinned_ones_stay() {
        for count in [0, 1, FEW - 1, FEW, PORTION - 1, PORTION, PORTION + 1, 3 * PORTION + FEW] {
            let large = vec![7; LARGE + 1];
            let values: Vec<Value> = (0..count)
                .map(|i| Value::copy_from(if i % 50 == 49 { &large } else { b"value" }).unwrap())
                .collect();
            let pins: Vec<Value> = values.iter().skip(3).step_by(5).cloned().collect();
            drop_many(values);
            for pin in pins {
                assert!(*pin == *b"value" || *pin == *large);
                assert_eq!(pin.block().refs.load(Acquire), 1);
            }
        }
    }
}
