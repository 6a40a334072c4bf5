//! Which keys the loader that runs on this thread is loading: refuses its own key again, and tells
//! callers inside of a loader not to wait.
//!
//! A key is known by its 64-bit hash under a random key of its cache's table, so that keys of other
//! caches do not look alike. The list stands in a cell without a destructor, as everything of this
//! library that belongs to a thread; it owns memory only while a loader runs.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::sync::thread_local;
use crate::error::{Error, ErrorKind, Result};

thread_local! {
    static KEYS: Cell<ManuallyDrop<Vec<u64>>> = const { Cell::new(ManuallyDrop::new(Vec::new())) };
}

/// Whether a loader runs on this thread. [`ErrorKind::Reentrant`] where it loads this very key.
pub(super) fn inside_loader_of_another(hash: u64) -> Result<bool> {
    with_keys(|keys| {
        if keys.contains(&hash) {
            return Err(Error::new(
                ErrorKind::Reentrant,
                "a loader asks for the key it is loading",
            ));
        }
        Ok(!keys.is_empty())
    })
}

/// Whether a loader runs on this thread.
pub(crate) fn inside_a_loader() -> bool {
    with_keys(|keys| !keys.is_empty())
}

/// While it lives, a loader of one key runs on this thread.
pub(super) struct Nested {
    hash: u64,
    /// The list belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl Nested {
    pub(super) fn new(hash: u64) -> Self {
        with_keys(|keys| keys.push(hash));
        Self { hash, _not_send: PhantomData }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        with_keys(|keys| {
            // The last one, unless guards are dropped out of order.
            if let Some(at) = keys.iter().rposition(|hash| *hash == self.hash) {
                keys.remove(at);
            }
            if keys.is_empty() {
                *keys = Vec::new();
            }
        });
    }
}

/// The loads that some code is inside of: for a binding whose loaders go on where no future of ours is polled,
/// as in tasks of its own event loop.
#[derive(Clone, Debug, Default)]
pub struct Loaders(Vec<u64>);

impl Loaders {
    /// Those of the running code.
    pub fn here() -> Self {
        Self(with_keys(|keys| keys.clone()))
    }

    /// As inside of a load of nobody's: what is called there waits for no other's.
    pub fn of_nothing() -> Self {
        Self(vec![0])
    }

    /// Runs `call` inside of them.
    pub fn around<R>(&self, call: impl FnOnce() -> R) -> R {
        let _nested: Vec<Nested> = self.0.iter().map(|hash| Nested::new(*hash)).collect();
        call()
    }

    /// `future`, polled inside of them.
    pub async fn wrap<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| self.around(|| future.as_mut().poll(context))).await
    }
}

/// A loader's future: while it is polled, the polling thread is inside of that loader.
pub(crate) struct Inside<F> {
    hash: u64,
    future: Pin<Box<F>>,
}

impl<F> Inside<F> {
    pub(super) fn new(hash: u64, future: F) -> Self {
        Self { hash, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _nested = Nested::new(self.hash);
        self.future.as_mut().poll(context)
    }
}

fn with_keys<R>(access: impl FnOnce(&mut Vec<u64>) -> R) -> R {
    KEYS.with(|cell| {
        let mut keys = ManuallyDrop::into_inner(cell.replace(ManuallyDrop::new(Vec::new())));
        let result = access(&mut keys);
        cell.set(ManuallyDrop::new(keys));
        result
    })
}
