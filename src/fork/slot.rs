//! The slots of the fork gate: one per living thread, found again without destructors of threads.
//!
//! A slot is owned by the thread whose id is in `owner`. Slots are never freed. A thread that needs one
//! takes a free one, or its own (a thread that died had the same id), or frees those of dead threads,
//! and only then adds a chunk twice as large as the last. So their number stays below about twice the
//! largest number of threads that lived at once.

use std::ptr;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// No thread has the slot.
const FREE: i32 = 0;
/// A thread is freeing the slot.
const FREEING: i32 = -1;

const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 20;

static TABLE: [AtomicPtr<Slot>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// Where to look for a free slot first.
static HINT: AtomicUsize = AtomicUsize::new(0);

/// One thread's presence. Aligned so that two threads never write to one cache line, nor to a pair of
/// lines that is fetched together.
#[repr(align(128))]
pub(super) struct Slot {
    /// Grows by one when the thread goes in, and when it comes out: odd while it is inside.
    state: AtomicU64,
    /// How often it went in again while inside. Its own affair.
    nested: AtomicU32,
    owner: AtomicI32,
    index: usize,
}

impl Slot {
    /// Goes in; true if the thread was outside.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        let state = self.state.load(Relaxed);
        if state & 1 == 0 {
            self.state.store(state + 1, Relaxed);
            return true;
        }
        self.nested.store(self.nested.load(Relaxed) + 1, Relaxed);
        false
    }

    #[inline]
    pub(super) fn leave(&self) {
        debug_assert!(self.is_inside());
        match self.nested.load(Relaxed) {
            0 => self.state.store(self.state.load(Relaxed) + 1, Release),
            nested => self.nested.store(nested - 1, Relaxed),
        }
    }

    #[inline]
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The number of the present section, for its own thread.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.state.load(Relaxed)
    }

    pub(super) fn is_inside(&self) -> bool {
        self.section().is_some()
    }

    /// If the thread is inside, a number that is another one in each of its sections.
    pub(super) fn section(&self) -> Option<u64> {
        Some(self.state.load(Acquire)).filter(|state| state & 1 == 1)
    }

    /// Whether it makes sense to wait for the owner: a thread that was killed inside never leaves. The
    /// system is asked only now and then, as `round` grows.
    pub(super) fn owner_lives(&self, round: u32) -> bool {
        round % 100 != 99 || is_alive(self.owner.load(Relaxed))
    }

    /// Makes a slot without a living owner free.
    fn free(&self, owner: i32) {
        if self.owner.compare_exchange(owner, FREEING, AcqRel, Relaxed).is_ok() {
            // Outside, and never in the old section again.
            self.nested.store(0, Relaxed);
            self.state.store((self.state.load(Relaxed) | 1) + 1, Release);
            self.owner.store(FREE, Release);
        }
    }
}

/// All slots that exist now.
pub(super) fn slots() -> impl Iterator<Item = &'static Slot> {
    TABLE
        .iter()
        .enumerate()
        .map_while(|(chunk, first)| {
            let first = first.load(Acquire);
            // SAFETY: a chunk that is in the table is complete and lives as long as the process.
            (!first.is_null())
                .then(|| unsafe { std::slice::from_raw_parts(first, FIRST_CHUNK << chunk) })
        })
        .flatten()
}

/// A slot for the calling thread, which has none.
pub(super) fn claim() -> &'static Slot {
    let me = own_thread();
    if let Some(slot) = slots().find(|slot| slot.owner.load(Relaxed) == me) {
        // A dead thread had this id before.
        slot.free(me);
    }
    loop {
        if let Some(slot) = take_free(me) {
            return slot;
        }
        for slot in slots() {
            let owner = slot.owner.load(Relaxed);
            if owner > 0 && !is_alive(owner) {
                slot.free(owner);
            }
        }
        match take_free(me) {
            Some(slot) => return slot,
            None => grow(),
        }
    }
}

fn take_free(me: i32) -> Option<&'static Slot> {
    let hint = HINT.load(Relaxed);
    let take = |slot: &&'static Slot| {
        slot.owner.load(Relaxed) == FREE
            && slot.owner.compare_exchange(FREE, me, AcqRel, Relaxed).is_ok()
    };
    let slot = slots().skip(hint).find(take).or_else(|| slots().take(hint).find(take));
    HINT.store(slot.map_or(0, |slot| slot.index + 1), Relaxed);
    slot
}

/// Adds a chunk. If another thread was faster, its chunk serves.
fn grow() {
    let Some(chunk) = TABLE.iter().position(|first| first.load(Acquire).is_null()) else {
        // 64 million threads at once: the kernel allows 4.
        std::process::abort();
    };
    let before = FIRST_CHUNK * ((1 << chunk) - 1);
    let slots: Box<[Slot]> = (0..FIRST_CHUNK << chunk)
        .map(|i| Slot {
            state: AtomicU64::new(0),
            nested: AtomicU32::new(0),
            owner: AtomicI32::new(FREE),
            index: before + i,
        })
        .collect();
    let slots = Box::into_raw(slots);
    let added = TABLE[chunk].compare_exchange(ptr::null_mut(), slots.cast(), AcqRel, Acquire);
    if added.is_err() {
        // SAFETY: the box was made above and did not get into the table.
        drop(unsafe { Box::from_raw(slots) });
    }
}

/// After a fork: the calling thread, whose id is new, keeps `own`; all others are gone.
pub(super) fn keep_only(own: Option<&'static Slot>) {
    for slot in slots() {
        slot.state.store(0, Relaxed);
        slot.nested.store(0, Relaxed);
        slot.owner.store(FREE, Relaxed);
    }
    if let Some(slot) = own {
        slot.owner.store(own_thread(), Relaxed);
    }
}

/// The kernel's id of the calling thread.
pub(super) fn own_thread() -> i32 {
    // SAFETY: gettid takes nothing and can't fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Whether this process has a thread of that id.
fn is_alive(thread: i32) -> bool {
    // SAFETY: signal 0 is never delivered; the call only looks for the thread.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) };
    // SAFETY: errno is this thread's own.
    result == 0 || unsafe { *libc::__errno_location() } != libc::ESRCH
}
