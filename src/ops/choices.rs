//! What the operations beyond get and set take and answer.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use super::{BoxFuture, Remaining, Ttl};
use crate::error::Result;
use crate::value::Value;

/// Options of one read.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// Bound of the call; `None` takes the cache's.
    pub timeout: Option<Duration>,
}

/// Options of one write.
///
/// ```
/// use std::time::Duration;
/// use lighter_cache::SetOptions;
///
/// let mut options = SetOptions::new(Duration::from_secs(60));
/// options.tags.push(b"catalogue".to_vec());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SetOptions {
    /// How long the value lives.
    pub ttl: Ttl,
    /// How long past its TTL it may be served where a reload fails.
    pub stale: Stale,
    /// Its tags, each 1 to 65,536 bytes.
    pub tags: Vec<Vec<u8>>,
    /// Bound of the call; `None` takes the cache's.
    pub timeout: Option<Duration>,
}

impl SetOptions {
    /// Options with this TTL, and otherwise the cache's own.
    pub fn new(ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl.into(), stale: Stale::Default, tags: Vec::new(), timeout: None }
    }
}

impl Default for SetOptions {
    fn default() -> Self {
        Self::new(Ttl::Default)
    }
}

/// A stale window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The cache's `stale_ttl`.
    Default,
    /// This long.
    For(Duration),
}

/// Which tier answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// This process's memory.
    L1,
    /// The server.
    L2,
}

/// What a read found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The value.
    pub value: Value,
    /// How long it has still to live; of a stale one, how long it may still be served.
    pub remaining: Remaining,
    /// Which tier answered.
    pub tier: Tier,
    /// Whether it is past its proven freshness.
    pub stale: bool,
}

impl Found {
    /// A fresh value.
    pub(crate) fn fresh(value: Value, remaining: Remaining, tier: Tier) -> Self {
        Self { value, remaining, tier, stale: false }
    }
}

/// The outcome of a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was the expected one, and is now the new one.
    Done,
    /// The value is another: nothing was stored.
    Conflict,
    /// There is none: nothing was stored.
    Absent,
}

/// What a loader has loaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The value.
    pub value: Vec<u8>,
    /// How it is to be stored, where the loader knows better than its caller.
    pub options: Option<SetOptions>,
}

impl Loaded {
    /// A value to be stored as the caller said.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: value.into(), options: None }
    }
}

/// Loads the value of a key; `None` where there is none.
pub type Loader<'a> = dyn FnMut(&[u8]) -> Result<Option<Loaded>> + 'a;

/// A loader that may run later, on a thread of the library.
pub type OwnedLoader = Arc<dyn Fn(&[u8]) -> Result<Option<Loaded>> + Send + Sync>;

/// A lock that is held until it is released, dropped, or its lease runs out.
pub struct Lock(Box<dyn HeldLock>);

/// What a kind of cache does for a [`Lock`]. Dropping it releases.
pub(crate) trait HeldLock: Send + Sync {
    fn fence(&self) -> u64;
    fn extend(&self, lease: Duration) -> Result<bool>;
    fn release(&self) -> Result<bool>;
    /// For tasks; of a lock for which nothing waits they are the same.
    fn extend_async(&self, lease: Duration) -> BoxFuture<'_, Result<bool>> {
        Box::pin(ready(self.extend(lease)))
    }
    fn release_async(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(ready(self.release()))
    }
    /// Gives it back and waits for nothing.
    fn abandon(&self) {
        let _ = self.release();
    }
}

impl Lock {
    pub(crate) fn new(held: impl HeldLock + 'static) -> Self {
        Self(Box::new(held))
    }

    /// A number that grows with every acquisition of this name: storage that remembers the largest
    /// it has seen can refuse a holder that does not know that it lost the lock.
    pub fn fence(&self) -> u64 {
        self.0.fence()
    }

    /// Begins a new lease of this length; false where the lock was lost.
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where `lease` is zero.
    pub fn extend(&self, lease: Duration) -> Result<bool> {
        self.0.extend(lease)
    }

    /// Gives the lock back; false where the lease had run out.
    pub fn release(self) -> Result<bool> {
        self.0.release()
    }

    /// As [`Lock::extend`], from a task.
    pub async fn extend_async(&self, lease: Duration) -> Result<bool> {
        self.0.extend_async(lease).await
    }

    /// As [`Lock::release`], from a task. Where that is cancelled the lock is given back all the same.
    pub async fn release_async(self) -> Result<bool> {
        let lock = Abandoned(self);
        lock.0.0.release_async().await
    }

    /// Gives the lock back without waiting for that, as dropping it may do for a few milliseconds.
    pub fn abandon(self) {
        self.0.abandon();
    }
}

/// A lock that is given back without a wait where it is dropped.
struct Abandoned(Lock);

impl Drop for Abandoned {
    fn drop(&mut self) {
        // After a release it is not the holder's any more.
        self.0.0.abandon();
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("fence", &self.fence()).finish_non_exhaustive()
    }
}

/// Something that happened to a cache or to one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Event {
    /// Another process's write removed the key from L1.
    Invalidated = 1,
    /// A bound pushed the key out.
    Evicted = 2,
    /// The key's time was over.
    Expired = 4,
    /// The Hybrid lost its server, or the proof that it hears of other processes' writes.
    Degraded = 8,
    /// It has both again.
    Recovered = 16,
}

/// A set of [`Event`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

impl Events {
    /// All of them.
    pub const ALL: Self = Self(31);

    /// The set of these bits; `None` where one of them names no event.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits, as the discriminants of [`Event`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether `event` is one of them.
    pub const fn contains(self, event: Event) -> bool {
        self.0 & event as u32 != 0
    }

    /// These and `event`.
    pub const fn with(self, event: Event) -> Self {
        Self(self.0 | event as u32)
    }
}

impl From<Event> for Events {
    fn from(event: Event) -> Self {
        Self(event as u32)
    }
}

/// Hears of events; the key is empty where an event concerns none. It runs on a thread of the library,
/// holds no lock, and calls in it that would wait are [`ErrorKind::Reentrant`](crate::ErrorKind).
pub type Listener = Box<dyn Fn(Event, &[u8]) + Send + Sync>;
