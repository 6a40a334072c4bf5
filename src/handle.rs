//! The table behind the handles of the C API: plain 64-bit integers that can be copied, kept too long
//! or made up, and are checked at every use.
//!
//! # Layout
//! A handle is `generation << 32 | index`. The index names a slot, the generation says which of the
//! slot's successive contents is meant. Generations are never 0, so neither is a handle. A slot's first
//! generation is random: handles of another process, or of a second copy of this library, are not
//! taken for our own. Slots live in chunks of [`CHUNK`] that are never freed or moved, so a reader
//! needs no lock to reach one.
//!
//! # Protocol
//! * **Read** ([`Table::get`]): inside the fork gate, compare the generation, load the content, use
//!   it by reference until the gate is left. Nothing shared is written.
//! * **Insert**: inside the gate and under the allocation lock, take a slot that is empty and that no
//!   reader may still look at, and publish the content (release).
//! * **Remove**: inside the gate and under the allocation lock, take the content out and raise the
//!   generation; leave the gate; wait for a grace period ([`fork::synchronize`]); only then give the
//!   slot back to the allocator and hand the content to the caller.
//!
//! # Invariants
//! 1. A reader that saw a content inside the gate may use it until it leaves: whoever took it out
//!    waits for that before it drops its reference.
//! 2. A slot is refilled only after a grace period, so a reader that compared the old generation sees
//!    the old content or none, never the next one.
//! 3. Of two threads that remove one handle exactly one gets the content.
//! 4. The allocation lock is held only inside the gate: no fork happens while it is held, and it is
//!    free in every child.
//! 5. A slot whose generation would wrap is retired: it stays empty for good.

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, Inside};

/// Slots of a chunk.
const CHUNK: usize = 256;
/// Most chunks, which bounds the handles open at one time to about a million.
const CHUNKS: usize = 4096;

/// One place for a content.
struct Slot<T> {
    generation: AtomicU32,
    /// From [`Arc::into_raw`]; null where the slot is empty.
    content: AtomicPtr<T>,
}

/// The contents that handles name.
pub(crate) struct Table<T> {
    chunks: [AtomicPtr<[Slot<T>; CHUNK]>; CHUNKS],
    allocation: Mutex<Allocation>,
}

/// Which slots may be filled.
struct Allocation {
    /// Emptied slots past their grace period.
    free: Vec<u32>,
    /// The first slot that was never used.
    next: u32,
}

/// A content, and the gate inside which it is usable.
pub(crate) struct Held<T> {
    content: NonNull<T>,
    inside: Inside,
}

impl<T: Send + Sync> Table<T> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            allocation: Mutex::new(Allocation { free: Vec::new(), next: 0 }),
        }
    }

    /// The content that `handle` names, `None` if it names none (any more).
    #[inline]
    pub(crate) fn get(&self, inside: Inside, handle: u64) -> Option<Held<T>> {
        let slot = self.slot(handle as u32)?;
        if slot.generation.load(Relaxed) != (handle >> 32) as u32 {
            return None;
        }
        let content = NonNull::new(slot.content.load(Acquire))?;
        Some(Held { content, inside })
    }

    /// Gives `content` a handle. [`ErrorKind::NoMemory`] where too many are open.
    pub(crate) fn insert(&self, content: Arc<T>) -> Result<u64> {
        let _inside = fork::enter();
        let mut allocation = self.allocate();
        let (index, slot) = match allocation.free.pop() {
            Some(index) => (index, self.slot(index)),
            None => {
                let index = allocation.next;
                let slot = self.slot_or_chunk(index);
                allocation.next += u32::from(slot.is_some());
                (index, slot)
            }
        };
        let slot =
            slot.ok_or_else(|| Error::new(ErrorKind::NoMemory, "too many caches are open"))?;
        let generation = slot.generation.load(Relaxed);
        slot.content.store(Arc::into_raw(content).cast_mut(), Release);
        Ok(u64::from(generation) << 32 | u64::from(index))
    }

    /// Takes the content of `handle` out and waits until no reader uses it by reference; `None` if
    /// the handle names none (any more). Not to be called inside the gate.
    pub(crate) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        let content = {
            let _inside = fork::enter();
            let _allocation = self.allocate();
            self.get(fork::enter(), handle)?;
            self.unpublish(self.slot(handle as u32)?)?
        };
        fork::synchronize();
        self.release(&[handle as u32]);
        Some(content)
    }

    /// Whether a handle names `content`.
    pub(crate) fn names(&self, content: &Arc<T>) -> bool {
        let _inside = fork::enter();
        let allocation = self.allocate();
        (0..allocation.next).any(|index| {
            self.slot(index)
                .is_some_and(|slot| ptr::eq(slot.content.load(Relaxed), Arc::as_ptr(content)))
        })
    }

    /// As [`Table::remove`], for everything that is in the table.
    pub(crate) fn remove_all(&self) -> Vec<Arc<T>> {
        let mut emptied = Vec::new();
        let mut contents = Vec::new();
        {
            let _inside = fork::enter();
            let allocation = self.allocate();
            for index in 0..allocation.next {
                if let Some(content) = self.slot(index).and_then(|slot| self.unpublish(slot)) {
                    emptied.push(index);
                    contents.push(content);
                }
            }
        }
        fork::synchronize();
        self.release(&emptied);
        contents
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let index = index as usize;
        let chunk = NonNull::new(self.chunks.get(index / CHUNK)?.load(Acquire))?;
        // SAFETY: a chunk is published complete (release in `slot_or_chunk`) and never freed.
        Some(unsafe { &chunk.as_ref()[index % CHUNK] })
    }

    /// As [`Table::slot`], and makes the chunk where it is not there yet. Under the allocation lock.
    fn slot_or_chunk(&self, index: u32) -> Option<&Slot<T>> {
        let place = self.chunks.get(index as usize / CHUNK)?;
        if place.load(Acquire).is_null() {
            let random = RandomState::new();
            let chunk = Box::new(std::array::from_fn(|i| Slot {
                // The upper half is left for the reuses to come.
                generation: AtomicU32::new((random.hash_one(i) as u32 >> 1).max(1)),
                content: AtomicPtr::new(ptr::null_mut()),
            }));
            place.store(Box::into_raw(chunk), Release);
        }
        self.slot(index)
    }

    /// Empties `slot` and outdates its handle. Under the allocation lock.
    fn unpublish(&self, slot: &Slot<T>) -> Option<Arc<T>> {
        let content = NonNull::new(slot.content.swap(ptr::null_mut(), Relaxed))?;
        let generation = slot.generation.load(Relaxed);
        slot.generation.store(generation.wrapping_add(1), Relaxed);
        // SAFETY: the pointer came from `Arc::into_raw` in `insert`, and the swap gave its reference
        // to this call alone.
        Some(unsafe { Arc::from_raw(content.as_ptr()) })
    }

    /// Offers emptied slots for reuse, once their grace period is over.
    fn release(&self, emptied: &[u32]) {
        let _inside = fork::enter();
        let mut allocation = self.allocate();
        let reusable =
            |index: &u32| self.slot(*index).is_some_and(|slot| slot.generation.load(Relaxed) != 0);
        allocation.free.extend(emptied.iter().copied().filter(reusable));
    }

    /// The allocation lock, to be taken inside the gate only.
    fn allocate(&self) -> MutexGuard<'_, Allocation> {
        // Nothing in here panics between two steps that belong together.
        self.allocation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Held<T> {
    /// The gate.
    #[inline]
    pub(crate) fn inside(&self) -> &Inside {
        &self.inside
    }

    /// A reference of its own, for use outside the gate.
    pub(crate) fn share(&self) -> Arc<T> {
        let content = self.content.as_ptr();
        // SAFETY: the pointer came from `Arc::into_raw`, and the table's reference lives at least as
        // long as this thread is inside the gate (invariant 1).
        unsafe {
            Arc::increment_strong_count(content);
            Arc::from_raw(content)
        }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the content lives at least as long as this thread is inside the gate (invariant 1),
        // which `self` holds.
        unsafe { self.content.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    use std::thread;

    use super::*;

    /// Shows whether it was dropped under a reader, and counts the living.
    struct Content {
        alive: AtomicBool,
        living: Arc<AtomicUsize>,
    }

    impl Content {
        fn new(living: &Arc<AtomicUsize>) -> Arc<Self> {
            living.fetch_add(1, Relaxed);
            Arc::new(Self { alive: AtomicBool::new(true), living: living.clone() })
        }
    }

    impl Drop for Content {
        fn drop(&mut self) {
            self.alive.store(false, Relaxed);
            self.living.fetch_sub(1, Relaxed);
        }
    }

    fn read(table: &Table<u64>, handle: u64) -> Option<u64> {
        table.get(fork::enter(), handle).map(|content| *content)
    }

    #[test]
    fn handles_name_contents_until_they_are_removed() {
        let table = Table::new();
        let handles: Vec<u64> =
            (0..3 * CHUNK as u64).map(|n| table.insert(Arc::new(n)).unwrap()).collect();
        for (n, handle) in (0..).zip(&handles) {
            assert_eq!(read(&table, *handle), Some(n));
        }
        let removed = table.remove(handles[7]).unwrap();
        assert_eq!((*removed, table.names(&removed)), (7, false));
        let other = table.insert(removed.clone()).unwrap();
        assert!(table.names(&removed));
        assert_eq!(table.remove(other).as_deref(), Some(&7));
        assert_eq!(table.remove(handles[7]), None);
        assert_eq!(read(&table, handles[7]), None);
        let again = table.insert(Arc::new(1000)).unwrap();
        assert_eq!(again as u32, handles[7] as u32, "the slot is used again");
        assert_ne!(again, handles[7]);
        assert_eq!((read(&table, again), read(&table, handles[7])), (Some(1000), None));
        assert_eq!(table.remove_all().len(), handles.len());
        assert!(handles.iter().all(|handle| read(&table, *handle).is_none()));
    }

    #[test]
    fn made_up_handles_name_nothing() {
        let table = Table::new();
        let open: Vec<u64> = (0..300).map(|n| table.insert(Arc::new(n)).unwrap()).collect();
        let random = RandomState::new();
        for n in 0..1_000_000_u64 {
            let handle = random.hash_one(n);
            // As it is, and with an index that is in use.
            for handle in [handle, (handle & !0xffff_ffff) | (n % 512), n] {
                assert!(read(&table, handle).is_none() || open.contains(&handle));
            }
        }
        for handle in [0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32, (CHUNK * CHUNKS) as u64] {
            assert!(open.contains(&handle) || read(&table, handle).is_none());
            assert!(open.contains(&handle) || table.remove(handle).is_none());
        }
    }

    #[test]
    fn a_slot_is_retired_before_its_generation_wraps() {
        let table = Table::new();
        let first = table.insert(Arc::new(1_u64)).unwrap();
        table.slot(first as u32).unwrap().generation.store(u32::MAX, Relaxed);
        let last = u64::from(u32::MAX) << 32 | first & 0xffff_ffff;
        assert_eq!(table.remove(last).as_deref(), Some(&1));
        assert_ne!(table.insert(Arc::new(2)).unwrap() as u32, first as u32);
        assert_eq!(read(&table, first & 0xffff_ffff), None);
    }

    #[test]
    fn contents_outlive_the_readers_that_are_inside() {
        const READERS: usize = 8;
        const ROUNDS: usize = 40;
        let (table, living) = (Table::<Content>::new(), Arc::new(AtomicUsize::new(0)));
        let (current, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        let handle = current.load(Acquire);
                        let Some(content) = table.get(fork::enter(), handle) else { continue };
                        let own = content.share();
                        for _ in 0..20 {
                            assert!(content.alive.load(Relaxed), "freed under a reader");
                        }
                        drop(content);
                        assert!(own.alive.load(Relaxed));
                        // Give the processor up here rather than inside, where it would cost time.
                        thread::yield_now();
                    }
                });
            }
            for _ in 0..ROUNDS {
                let handle = table.insert(Content::new(&living)).unwrap();
                current.store(handle, Release);
                thread::yield_now();
                assert!(table.remove(handle).is_some());
            }
            done.store(true, Relaxed);
        });
        assert_eq!(living.load(Relaxed), 0, "every content was dropped once");
    }

    #[test]
    fn of_many_threads_one_removes() {
        let table = Table::new();
        for _ in 0..100 {
            let handle = table.insert(Arc::new(5_u64)).unwrap();
            let winners = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        winners.fetch_add(usize::from(table.remove(handle).is_some()), Relaxed)
                    });
                }
            });
            assert_eq!(winners.into_inner(), 1);
        }
    }
}
