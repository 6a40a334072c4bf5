//! The tokio runtime that the library owns, and how a thread waits for what it does.
//!
//! It serves network work that is shared between callers: connecting, pipelined connections, the
//! invalidation stream. Local caches never come here, so a program that has nothing else never
//! starts a thread.
//!
//! # Protocol
//! `CURRENT` points to the slot of the running runtime, or is null. A slot is published by a single
//! compare-and-swap after it is complete, and is never freed: old ones stay linked behind the newest,
//! so that whoever still holds a reference may use it, and a leak checker finds them reachable.
//! - *Fork*: a slot carries the `fork::generation` it was made in. A child finds another number,
//!   ignores the slot (its threads do not exist there, its locks may be held for ever) and publishes
//!   its own. Nothing of the old slot is locked or dropped.
//! - *Shutdown*: marks the slot closed and stops its runtime; the next call publishes another slot. A
//!   caller that waits in `block_on` looks at the mark at least every 100 ms.
//! - *Exit*: there are no destructors; threads simply end with the process.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::log::{self, Level};

/// Longest wait between two looks at the interrupt check and at the shutdown mark.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// Threads of the runtime where the environment names no number.
pub(crate) const DEFAULT_WORKERS: usize = 2;
/// Most worker threads that the environment may ask for.
pub(crate) const MAX_WORKERS: usize = 256;
/// Threads for what blocks, which is the look-up of host names only.
const MAX_BLOCKING_THREADS: usize = 16;

static CURRENT: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static SHUTDOWNS: AtomicU32 = AtomicU32::new(0);

struct Slot {
    generation: u32,
    handle: Handle,
    /// Taken by the shutdown that stops it.
    runtime: Mutex<Option<Runtime>>,
    closed: AtomicBool,
    /// The slot that was published before, only kept reachable.
    _previous: Option<&'static Slot>,
}

thread_local! {
    /// Larger than zero: this is a thread of the library, or runs a callback of the library.
    static LIBRARY: Cell<u32> = const { Cell::new(0) };
    /// What a waiting call on this thread asks from time to time.
    static INTERRUPT: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// The runtime of this process, started by the first call that needs it.
pub(crate) fn handle() -> Result<Handle> {
    Ok(slot()?.handle.clone())
}

/// Runs `future` as a task of the library's runtime.
pub(crate) fn spawn<F>(future: F) -> Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(slot()?.handle.spawn(future))
}

/// Runs `future` on the calling thread until it is ready or `deadline` has come.
///
/// The future may use the library's runtime for its timers and sockets. The thread may be inside a
/// runtime of the program: that one is blocked meanwhile, as by any blocking call.
///
/// Errors: [`ErrorKind::Reentrant`] on a thread of the library, [`ErrorKind::Timeout`] at the
/// deadline, [`ErrorKind::Interrupted`] where the check of [`interruptible`] says so,
/// [`ErrorKind::Closed`] where the runtime is shut down meanwhile.
pub(crate) fn block_on<F: Future>(deadline: Instant, future: F) -> Result<F::Output> {
    refuse_library_thread()?;
    let slot = slot()?;
    let _context = slot.handle.enter();
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut context = Context::from_waker(&waker);
    // Without it a future polled inside an exhausted task of the program would never get on.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        loop {
            if slot.closed.load(Ordering::Acquire) {
                return Err(Error::new(ErrorKind::Closed, "shut down while the call was waiting"));
            }
            if interrupted() {
                return Err(ErrorKind::Interrupted.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::Timeout.into());
            }
            if parker.park(left.min(SLICE)) {
                break;
            }
        }
    }
}

/// The runtime that a task uses: its own, and the library's where it is in none.
pub(crate) fn home() -> Result<Handle> {
    Handle::try_current().or_else(|_| handle())
}

/// `future` bounded by `deadline`, by the timers of `home`, also where the caller polls it outside of tokio.
pub(crate) async fn timeout_at<F: Future>(
    home: &Handle,
    deadline: Instant,
    future: F,
) -> Option<F::Output> {
    let bounded = {
        let _context = home.enter();
        tokio::time::timeout_at(deadline.into(), future)
    };
    bounded.await.ok()
}

/// Waits for `future`, for at most `time`, by the timers of the caller's runtime, or as [`hosted`] by the library's.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Result<Option<F::Output>> {
    let deadline = Instant::now() + time;
    if let Ok(home) = Handle::try_current() {
        return Ok(timeout_at(&home, deadline, future).await);
    }
    hosted(pin!(timeout_at(&handle()?, deadline, future)))?.await
}

/// A future of the library that the event loop of another language polls, on threads outside of any runtime:
/// timers and sockets are those of the library's runtime, which is started if need be.
///
/// It ends with [`ErrorKind::Closed`] where that was shut down meanwhile, and in a forked child, which neither
/// polls nor drops what its parent began: that may refer to threads that are not there.
pub struct Hosted<F> {
    future: Option<F>,
    slot: &'static Slot,
}

/// See [`Hosted`].
pub fn hosted<F: Future + Unpin>(future: F) -> Result<Hosted<F>> {
    Ok(Hosted { future: Some(future), slot: slot()? })
}

impl<F: Future + Unpin> Future for Hosted<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot;
        if slot.generation != fork::generation() {
            let message = "begun by the process that forked this one";
            return Poll::Ready(Err(Error::new(ErrorKind::Closed, message)));
        }
        if slot.closed.load(Ordering::Acquire) {
            let message = "shut down while the operation was under way";
            return Poll::Ready(Err(Error::new(ErrorKind::Closed, message)));
        }
        let Some(future) = &mut self.future else {
            return Poll::Ready(Err(ErrorKind::Panic.into()));
        };
        let _context = slot.handle.enter();
        pin!(tokio::task::unconstrained(future)).poll(context).map(Ok)
    }
}

impl<F> Drop for Hosted<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if self.slot.generation == fork::generation() {
            // What it drops may be a timer or a socket.
            let _context = self.slot.handle.enter();
            drop(future);
        } else {
            mem::forget(future);
        }
    }
}

/// Refuses a blocking call from a thread of the library.
pub(crate) fn refuse_library_thread() -> Result<()> {
    if on_library_thread() { Err(ErrorKind::Reentrant.into()) } else { Ok(()) }
}

/// Whether this thread belongs to the library: blocking calls are refused there.
#[inline]
pub(crate) fn on_library_thread() -> bool {
    LIBRARY.get() > 0
}

/// Until it is dropped, blocking calls of this thread are refused as on a thread of the library.
/// Held while a callback of the program runs that must not block.
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
pub(crate) struct LibraryScope(());

/// Begins a [`LibraryScope`].
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "for the C API alone"))]
pub(crate) fn library_thread_scope() -> LibraryScope {
    LIBRARY.set(LIBRARY.get() + 1);
    LibraryScope(())
}

impl Drop for LibraryScope {
    fn drop(&mut self) {
        LIBRARY.set(LIBRARY.get() - 1);
    }
}

/// Starts a thread of the library outside of the runtime: with all signals blocked, and refused blocking
/// calls.
pub(crate) fn spawn_thread(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    // Threads inherit the mask of their maker, so no signal can reach one before its own first line.
    let _masked = SignalsBlocked::new();
    let thread = std::thread::Builder::new().name(name.into()).stack_size(stack);
    thread
        .spawn(|| {
            LIBRARY.set(1);
            run();
        })
        .map(drop)
}

/// Runs `call` so that its waits ask `check` at least every 100 ms and end with
/// [`ErrorKind::Interrupted`] where it answers true.
pub fn interruptible<R>(check: fn() -> bool, call: impl FnOnce() -> R) -> R {
    struct Restore(Option<fn() -> bool>);
    impl Drop for Restore {
        fn drop(&mut self) {
            INTERRUPT.set(self.0);
        }
    }
    let _restore = Restore(INTERRUPT.replace(Some(check)));
    call()
}

/// Whether the interrupt check of this thread, if there is one, asks for the call to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPT.get().is_some_and(|check| check())
}

/// Stops the runtime and waits up to `timeout` for its threads. Calls that wait end with
/// [`ErrorKind::Closed`]; a later call starts a new runtime.
///
/// Errors: [`ErrorKind::Reentrant`] on a thread of the library.
pub fn shutdown(timeout: Duration) -> Result<()> {
    refuse_library_thread()?;
    SHUTDOWNS.fetch_add(1, Ordering::AcqRel);
    let pointer = CURRENT.load(Ordering::Acquire);
    let Some(slot) = deref(pointer) else { return Ok(()) };
    if slot.generation != fork::generation() {
        return Ok(());
    }
    slot.closed.store(true, Ordering::Release);
    let runtime = slot.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(runtime) = runtime else { return Ok(()) };
    // Waiting is not possible inside a runtime of the program.
    if Handle::try_current().is_ok() {
        runtime.shutdown_background();
    } else {
        runtime.shutdown_timeout(timeout);
    }
    Ok(())
}

/// How often [`shutdown`] was called. A caller that waits without the runtime notes the number before
/// and looks at least every [`SLICE`] whether it has grown.
pub(crate) fn shutdowns() -> u32 {
    SHUTDOWNS.load(Ordering::Acquire)
}

/// The slot of this process, made if there is none.
fn slot() -> Result<&'static Slot> {
    loop {
        let pointer = CURRENT.load(Ordering::Acquire);
        if let Some(slot) = deref(pointer)
            && slot.generation == fork::generation()
            && !slot.closed.load(Ordering::Acquire)
        {
            return Ok(slot);
        }
        let runtime = start()?;
        let fresh = Box::into_raw(Box::new(Slot {
            generation: fork::generation(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            closed: AtomicBool::new(false),
            _previous: deref(pointer),
        }));
        let swapped = CURRENT.compare_exchange(pointer, fresh, Ordering::AcqRel, Ordering::Acquire);
        if swapped.is_err() {
            // Another thread was faster: its runtime stays, this one ends without being waited for.
            // SAFETY: the exchange failed, so `fresh` was never shared and is still a whole box.
            let lost = unsafe { Box::from_raw(fresh) };
            if let Some(runtime) = lost.runtime.into_inner().unwrap_or_else(PoisonError::into_inner)
            {
                runtime.shutdown_background();
            }
        }
    }
}

fn deref(pointer: *mut Slot) -> Option<&'static Slot> {
    // SAFETY: `CURRENT` is null or comes from `Box::into_raw` of a complete slot, published by a
    // release store; slots are never freed once they were published.
    unsafe { pointer.as_ref() }
}

fn start() -> Result<Runtime> {
    // Threads inherit the mask of their maker, so no signal can reach one before its own first line.
    let _masked = SignalsBlocked::new();
    let workers = workers();
    try_threads(workers).and_then(|()| build(workers)).map_err(|error| {
        Error::new(ErrorKind::NoMemory, format!("can't start the library's threads: {error}"))
    })
}

/// Whether the system has `count` threads for us now. Asked first because tokio panics where it has
/// not.
fn try_threads(count: usize) -> io::Result<()> {
    let mut tried = Vec::with_capacity(count);
    for _ in 0..count {
        // Each lives until all are there.
        let (alive, ended) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("lc-io".into()).spawn(move || ended.recv())?;
        tried.push((alive, thread));
    }
    for (alive, thread) in tried {
        drop(alive);
        // What it returns is that its sender has gone.
        let _ = thread.join();
    }
    Ok(())
}

fn build(workers: usize) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_name("lc-io")
        .on_thread_start(|| {
            std::mem::forget(SignalsBlocked::new());
            LIBRARY.set(1);
        })
        .enable_all();
    // The program may have taken the last thread since they were tried.
    catch_unwind(AssertUnwindSafe(|| builder.build()))
        .unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
}

fn workers() -> usize {
    const NAME: &str = "LIGHTER_CACHE_WORKERS";
    let Some(text) = std::env::var_os(NAME) else { return DEFAULT_WORKERS };
    match text.to_str().and_then(|text| text.trim().parse().ok()) {
        Some(workers @ 1..=MAX_WORKERS) => workers,
        _ => {
            log::emit(
                Level::Warn,
                "runtime",
                format_args!(
                    "{NAME} is not a number from 1 to {MAX_WORKERS}: {DEFAULT_WORKERS} taken"
                ),
            );
            DEFAULT_WORKERS
        }
    }
}

/// All signals are blocked on this thread until it is dropped.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are writable; `sigfillset` initialises `all` before it is read, and
        // `pthread_sigmask` with a valid `how` can't fail and initialises `before`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was initialised by `pthread_sigmask` and is only read here.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

/// What a waiting thread sleeps on: that of [`block_on`], or another's for which this is the waker.
#[derive(Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parker {
    /// Sleeps up to `timeout`; true if it was woken since the last call.
    pub(crate) fn park(&self, timeout: Duration) -> bool {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut woken, _) = self
            .wake
            .wait_timeout_while(woken, timeout, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut woken)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

    use super::*;

    static RUNTIME: RwLock<()> = RwLock::new(());

    /// For a test that shuts the one process-wide runtime down, or has it for itself.
    pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
        RUNTIME.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a test whose waits a shutdown would end.
    pub(crate) fn undisturbed() -> RwLockReadGuard<'static, ()> {
        RUNTIME.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    async fn nap() -> u32 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        7
    }

    #[test]
    fn runs_a_future_and_its_tasks() {
        let _alone = alone();
        assert_eq!(block_on(soon(), nap()).unwrap(), 7);
        let task = spawn(nap()).unwrap();
        assert_eq!(block_on(soon(), task).unwrap().unwrap(), 7);
    }

    #[test]
    fn ends_at_the_deadline() {
        let _alone = alone();
        let waited = block_on(Instant::now(), std::future::pending::<()>());
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[test]
    fn works_inside_a_runtime_of_the_program() {
        let _alone = alone();
        let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let inside = own.block_on(async { block_on(soon(), nap()) });
        assert_eq!(inside.unwrap(), 7);
    }

    #[test]
    fn refuses_library_threads() {
        let _alone = alone();
        let kind = |result: Result<()>| result.map_err(|error| error.kind());
        let refused = move || kind(block_on(soon(), std::future::ready(())));
        let on_worker = block_on(soon(), spawn(async move { refused() }).unwrap());
        assert_eq!(on_worker.unwrap().unwrap(), Err(ErrorKind::Reentrant));
        let scope = library_thread_scope();
        assert_eq!(refused(), Err(ErrorKind::Reentrant));
        drop(scope);
        assert_eq!(refused(), Ok(()));
    }

    #[test]
    fn asks_the_interrupt_check() {
        let _alone = alone();
        let waited =
            interruptible(|| true, || block_on(soon(), std::future::pending::<()>()).unwrap_err());
        assert_eq!(waited.kind(), ErrorKind::Interrupted);
        assert!(!interrupted());
    }

    #[test]
    fn shutdown_ends_waiting_calls_and_the_next_call_starts_again() {
        let _alone = alone();
        let (started, wait) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            block_on(soon(), async {
                started.send(()).unwrap();
                std::future::pending::<()>().await;
            })
        });
        wait.recv().unwrap();
        shutdown(Duration::from_secs(5)).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(block_on(soon(), nap()).unwrap(), 7);
    }

    #[test]
    fn its_threads_block_all_signals() {
        let _alone = alone();
        let blocked = spawn(async {
            let mut mask = MaybeUninit::uninit();
            // SAFETY: asks for the current mask only, into a writable set.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
                libc::sigismember(mask.as_ptr(), libc::SIGINT) == 1
            }
        });
        assert!(block_on(soon(), blocked.unwrap()).unwrap().unwrap());
    }
}
