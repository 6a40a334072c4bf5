//! The locks and atomics of the store and of its values. `tests/store_model.rs` compiles their files a
//! second time over others that take this place, and that decide at each step which thread goes on.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::atomic::{Ordering::Acquire, fence};

pub(crate) use dashmap::{DashMap, RwLockReadGuard, RwLockWriteGuard};

/// After a count of holders has fallen to 0: whatever they did before happens before what follows.
#[inline]
pub(crate) fn all_gone(count: &AtomicU32) {
    // ThreadSanitizer does not know what a fence orders.
    if cfg!(tsan) {
        count.load(Acquire);
    } else {
        fence(Acquire);
    }
}
