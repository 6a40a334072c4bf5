//! The fork gate: what lets a forked child go on with every cache, whatever the other threads of its
//! parent were doing, and what tells a closing handle that nobody looks at its content any more.
//!
//! A thread enters the gate around each section that holds locks of ours (table shards, the handle
//! table, parking lots). `fork()` closes the gate, waits until nobody is inside, and opens it again on
//! both sides. So the child finds every lock free. A section never waits for anything but such locks:
//! no socket, no loader, no callback, no GIL, and no fork.
//!
//! # Protocol
//! Each thread has a [`Slot`]; only it writes the slot's `state`, which is odd while it is inside.
//! - enter: make `state` odd, then read [`GATE`]. If the gate is closed: make it even again, wait, try
//!   again. Inside, entering again only counts: it can't wait, since a closing thread waits for it.
//! - leave: make `state` even, with release order.
//! - close: set CLOSED in `GATE`, a barrier, then wait for every slot to be outside (acquire order).
//!
//! The store of `state` and the load of `GATE` must not pass each other, nor the store of `GATE` and the
//! loads of the slots. Entering is frequent and closing rare, so the closing side pays for both:
//! `membarrier(PRIVATE_EXPEDITED)` makes each running thread of the process execute a full barrier, and
//! entering costs a plain store and a plain load, kept in this order by a compiler fence. Where the kernel
//! has no membarrier, `GATE` carries FENCED for good, which sends every entry through a path with a fence.
//!
//! # Invariants
//! - If close has returned, no thread is inside, and none gets inside before open.
//! - If [`synchronize`] has returned, every section that began before its call has ended.
//! - The gate is closed by one thread at a time ([`CLOSER`]); it may close it again (nesting), as happens
//!   if the handlers of `pthread_atfork` were registered twice.
//! - In the child all slots are free but that of its only thread, the gate is open, and
//!   [`generation`] has grown by one.
//! - The handlers of fork use atomics and system calls only: no lock, no allocation.

mod slot;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{
    AtomicI32, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    compiler_fence, fence,
};

use slot::{Slot, own_thread, slots};

/// The gate is closed: nobody may enter.
const CLOSED: u32 = 1;
/// membarrier can't be had: who enters needs a fence of its own.
const FENCED: u32 = 2;

/// 0 while the gate is open and membarrier works. Threads sleep on it while it is closed.
static GATE: AtomicU32 = AtomicU32::new(0);
/// The thread that closes the gate; 0 for none.
static CLOSER: AtomicI32 = AtomicI32::new(0);
/// How often [`CLOSER`] has closed it. Only the closer touches it.
static CLOSINGS: AtomicU32 = AtomicU32::new(0);
/// Whether the handlers are registered.
static REGISTERED: AtomicU32 = AtomicU32::new(0);
static GENERATION: AtomicU32 = AtomicU32::new(0);

thread_local! {
    // Const and without a destructor: it may be used at any time in a thread's life, and costs one load.
    static OWN: Cell<Option<&'static Slot>> = const { Cell::new(None) };
}

/// Proof that this thread is inside the gate. Leaves it when dropped.
pub(crate) struct Inside {
    slot: &'static Slot,
    /// A slot belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

impl Inside {
    /// A small number that no other living thread has.
    #[inline]
    pub(crate) fn thread_index(&self) -> usize {
        self.slot.index()
    }

    /// Whether this is one of about 1,024 sections of its thread, evenly spread over whatever the thread
    /// does in turn.
    #[inline]
    pub(crate) fn is_sampled(&self) -> bool {
        // 2^64 over the golden ratio: multiples of it are spread evenly, also every second, third, ...
        self.slot.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54 == 0
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        self.slot.leave();
    }
}

/// Enters the gate: until the guard is dropped, no fork happens and no handle's content is freed. May be
/// nested. Waits for a fork that is under way unless this thread is inside already.
#[inline]
pub(crate) fn enter() -> Inside {
    match OWN.get() {
        Some(slot) => enter_by(slot),
        None => enter_first(),
    }
}

/// Whether this thread is inside: then no foreign code may run.
pub(crate) fn is_inside() -> bool {
    OWN.get().is_some_and(Slot::is_inside)
}

#[inline]
fn enter_by(slot: &'static Slot) -> Inside {
    if slot.enter() {
        compiler_fence(SeqCst);
        if GATE.load(Acquire) != 0 {
            enter_odd(slot);
        }
    }
    Inside { slot, _not_send: PhantomData }
}

#[cold]
#[inline(never)]
fn enter_first() -> Inside {
    register();
    let slot = slot::claim();
    OWN.set(Some(slot));
    // Who closes now and did not see this slot is seen by it.
    fence(SeqCst);
    enter_by(slot)
}

/// The gate is closed, or needs a fence.
#[cold]
#[inline(never)]
fn enter_odd(slot: &'static Slot) {
    loop {
        fence(SeqCst);
        let gate = GATE.load(Acquire);
        if gate & CLOSED == 0 {
            return;
        }
        slot.leave();
        futex(libc::FUTEX_WAIT, gate);
        slot.enter();
    }
}

/// Waits until every thread that is inside the gate now has left it.
///
/// To be called outside of the gate: inside, this thread's own section is not waited for.
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
pub(crate) fn synchronize() {
    let own = OWN.get();
    debug_assert!(own.is_none_or(|slot| !slot.is_inside()), "synchronize() inside the gate");
    barrier();
    for slot in slots().filter(|slot| !own.is_some_and(|own| ptr::eq(own, *slot))) {
        let Some(section) = slot.section() else { continue };
        let mut pause = Pause::default();
        while slot.section() == Some(section) && slot.owner_lives(pause.0) {
            pause.wait();
        }
    }
    fence(Acquire);
}

/// Counts the forks between the first process and this one, from the first call of this or of
/// [`enter`] on: what is marked with the number was marked when forks were counted already.
#[inline]
pub(crate) fn generation() -> u32 {
    if REGISTERED.load(Acquire) == 0 {
        register();
    }
    GENERATION.load(Acquire)
}

/// Registers the handlers before the first slot is handed out or the first generation named. Two threads may both do so: the handlers
/// can be nested, while a `Once` would be left running in the child of a fork in between.
#[cold]
fn register() {
    if REGISTERED.load(Acquire) != 0 {
        return;
    }
    if !membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
        GATE.fetch_or(FENCED, SeqCst);
    }
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    REGISTERED.store(1, Release);
}

extern "C" fn prepare() {
    let own = OWN.get();
    debug_assert!(own.is_none_or(|slot| !slot.is_inside()), "fork() inside the gate");
    let me = own_thread();
    let mut pause = Pause::default();
    while CLOSER.load(Relaxed) != me
        && CLOSER.compare_exchange_weak(0, me, AcqRel, Relaxed).is_err()
    {
        pause.wait();
    }
    if CLOSINGS.fetch_add(1, Relaxed) > 0 {
        return;
    }
    GATE.fetch_or(CLOSED, SeqCst);
    barrier();
    for slot in slots().filter(|slot| !own.is_some_and(|own| ptr::eq(own, *slot))) {
        let mut pause = Pause::default();
        while slot.is_inside() && slot.owner_lives(pause.0) {
            pause.wait();
        }
    }
    fence(Acquire);
}

extern "C" fn in_parent() {
    if CLOSINGS.fetch_sub(1, Relaxed) == 1 {
        CLOSER.store(0, Release);
        GATE.fetch_and(!CLOSED, SeqCst);
        futex(libc::FUTEX_WAKE, i32::MAX as u32);
    }
}

extern "C" fn in_child() {
    if CLOSINGS.fetch_sub(1, Relaxed) == 1 {
        slot::keep_only(OWN.get());
        if GATE.load(Relaxed) & FENCED == 0
            && !membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
        {
            GATE.fetch_or(FENCED, SeqCst);
        }
        GENERATION.fetch_add(1, Release);
        CLOSER.store(0, Release);
        GATE.fetch_and(!CLOSED, SeqCst);
    }
}

/// A full barrier on every thread of the process.
fn barrier() {
    fence(SeqCst);
    if GATE.load(Relaxed) & FENCED != 0
        || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
        || REGISTERED.load(Acquire) == 0
    {
        return;
    }
    // It worked once and is forbidden now (a filter of system calls was installed). Those who enter
    // from here on use a fence; the stores of those who did not have long left their processors
    // after a while.
    GATE.fetch_or(FENCED, SeqCst);
    sleep_us(10_000);
    fence(SeqCst);
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes three integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Sleeps on the gate while it is `value`, or wakes `value` sleepers.
fn futex(operation: libc::c_int, value: u32) {
    // SAFETY: the futex word is a static, and there is no timeout.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            GATE.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            ptr::null::<libc::timespec>(),
        );
    }
}

fn sleep_us(us: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: us * 1000 };
    // SAFETY: `time` is a valid timespec.
    unsafe { libc::nanosleep(&time, ptr::null_mut()) };
}

/// Waits for a section of another thread to end: a few yields, then short sleeps. Counts its rounds.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0 < 20 {
            std::thread::yield_now();
        } else {
            sleep_us(50);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
