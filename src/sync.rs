//! The locks and atomics of the store and of its values. `tests/store_model.rs` compiles their files a
//! second time over others that take this place, and that decide at each step which thread goes on.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};

pub(crate) use dashmap::{DashMap, RwLockReadGuard, RwLockWriteGuard};
