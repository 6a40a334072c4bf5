//! Threads for loads that nobody waits for, a few of a process at a time.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use std::thread;

use crate::fork;
use crate::runtime::SignalsBlocked;

/// Threads that reload at a time.
const RELOADERS: u32 = 4;

/// Runs `reload` on a thread of its own; not at all where so many do so already, or without a thread.
pub(crate) fn in_background(reload: impl FnOnce() + Send + 'static) {
    let Some(place) = Place::take() else { return };
    let run = move || {
        let _place = place;
        reload();
    };
    let _signals = SignalsBlocked::new();
    // Without a thread nothing is lost: the next reader asks again.
    drop(thread::Builder::new().name("lc-reload".into()).spawn(run));
}

/// One of the places for these threads; given back when dropped.
struct Place {
    generation: u32,
}

/// The process generation, and how many places are taken in it: those of a parent are not a child's.
static PLACES: AtomicU64 = AtomicU64::new(0);

impl Place {
    fn take() -> Option<Self> {
        let generation = fork::generation();
        let taken = |word: u64| if (word >> 32) as u32 == generation { word as u32 } else { 0 };
        PLACES
            .fetch_update(AcqRel, Relaxed, |word| {
                let taken = taken(word);
                (taken < RELOADERS).then(|| u64::from(generation) << 32 | u64::from(taken + 1))
            })
            .ok()
            .map(|_| Self { generation })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let own = |word: u64| ((word >> 32) as u32 == self.generation).then(|| word - 1);
        let _ = PLACES.fetch_update(AcqRel, Relaxed, own);
    }
}
