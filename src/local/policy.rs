//! What the eviction policy of one shard remembers: two queues of resident entries and a table of ghosts.
//! What it does with them is in `eviction`.
//!
//! Nothing here knows an entry but by its hash. A queue's slot holds the hash; the entry notes its place,
//! so a slot is garbage where no entry of that hash notes that place. Entries that are taken out leave
//! their slot behind; `eviction` builds a queue anew once garbage prevails.

use std::collections::VecDeque;

/// Residents in the order of their turn.
pub(super) struct Queue {
    slots: VecDeque<u32>,
    /// The place of the first slot. Places grow by one, and wrap.
    front: u32,
    /// Slots that are no garbage.
    live: usize,
    /// The mark of each group of `1 << shift` successive places, that of its first push.
    marks: VecDeque<u32>,
    shift: u32,
}

/// A slot of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) hash: u32,
    /// As the entry notes it.
    pub(super) place: u16,
    pub(super) mark: u32,
}

impl Queue {
    /// `capacity` is how many it will hold, about.
    pub(super) fn new(capacity: usize) -> Self {
        // Marks are compared with distances of the order of the capacity: a thousandth is exact enough.
        let shift = (capacity / 1024).max(1).ilog2();
        Self { slots: VecDeque::new(), front: 0, live: 0, marks: VecDeque::new(), shift }
    }

    /// Adds an entry at the end, and returns the place that it has to note.
    pub(super) fn push(&mut self, hash: u32, mark: u32) -> u16 {
        reserve(&mut self.slots);
        let place = self.front.wrapping_add(self.slots.len() as u32);
        if self.slots.is_empty() {
            self.marks.clear();
        }
        if self.marks.is_empty() || place & ((1 << self.shift) - 1) == 0 {
            reserve(&mut self.marks);
            self.marks.push_back(mark);
        }
        self.slots.push_back(hash);
        self.live += 1;
        place as u16
    }

    /// The slot whose turn it is.
    pub(super) fn front(&self) -> Option<Turn> {
        let hash = *self.slots.front()?;
        Some(Turn { hash, place: self.front as u16, mark: *self.marks.front()? })
    }

    /// The slots in their order, all with the mark of the first.
    pub(super) fn turns(&self) -> impl Iterator<Item = Turn> {
        let mark = self.marks.front().copied().unwrap_or(0);
        self.slots.iter().enumerate().map(move |(i, hash)| Turn {
            hash: *hash,
            place: self.front.wrapping_add(i as u32) as u16,
            mark,
        })
    }

    /// Takes the first slot out; `live` says whether it was an entry's.
    pub(super) fn pop(&mut self, live: bool) {
        if self.slots.pop_front().is_none() {
            return;
        }
        self.live -= usize::from(live);
        self.front = self.front.wrapping_add(1);
        if self.front & ((1 << self.shift) - 1) == 0 {
            self.marks.pop_front();
        }
    }

    /// Its entry was taken out of the table: the slot is garbage from now on.
    pub(super) fn forget(&mut self) {
        self.live -= 1;
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Whether garbage prevails.
    pub(super) fn is_littered(&self) -> bool {
        self.slots.len() > 2 * self.live + 64
    }

    /// All slots in their order, to build the queue anew from: it is empty afterwards.
    pub(super) fn take_all(&mut self) -> Vec<Turn> {
        let mut turns = Vec::with_capacity(self.slots.len());
        while let Some(turn) = self.front() {
            turns.push(turn);
            self.pop(false);
        }
        self.live = 0;
        turns
    }

    /// Bytes on the heap.
    pub(super) fn footprint(&self) -> usize {
        4 * (self.slots.capacity() + self.marks.capacity())
    }
}

/// By an eighth, not twofold: there is a slot for each entry.
fn reserve(slots: &mut VecDeque<u32>) {
    if slots.len() == slots.capacity() {
        slots.reserve_exact(slots.len() / 8 + 8);
    }
}

/// From which queue an entry was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Small,
    Main,
}

/// Hashes of entries that were evicted lately, and how many evictions ago: a set-associative table of
/// 32-bit slots, `fingerprint (16) | origin (1) | time (15)`; 0 is empty. Times are counts of evictions
/// from the same queue, in units of a 4096th of the capacity.
pub(super) struct Ghosts {
    slots: Box<[u32]>,
    unit: u32,
    /// Evictions from the small queue and from the main one.
    evictions: [u32; 2],
}

/// Slots that one hash may be in.
const WAYS: usize = 8;
const TIME: u32 = 0x7fff;
const MAIN: u32 = 1 << 15;
/// An entry of the main queue was wanted more than once: its ghost gives way this much sooner, because a
/// small queue's ghost decides where a key goes.
const MAIN_AGES: u32 = 32;

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { slots: Box::default(), unit: 1, evictions: [0; 2] }
    }

    /// How many entries were evicted from the small queue: the clock of marks and distances.
    pub(super) fn clock(&self) -> u32 {
        self.evictions[0]
    }

    /// Bytes on the heap.
    pub(super) fn footprint(&self) -> usize {
        4 * self.slots.len()
    }

    /// Makes room for the ghosts of a cache of `capacity` entries, if there is too little. Ghosts that
    /// are there are forgotten then.
    fn fit(&mut self, capacity: usize) {
        let wanted = capacity.max(WAYS).next_multiple_of(WAYS);
        if self.slots.is_empty() || self.slots.len() < wanted / 2 {
            self.slots = vec![0; wanted].into_boxed_slice();
            self.unit = u32::try_from(capacity / 4096).unwrap_or(u32::MAX).max(1);
        }
    }

    fn bucket(&mut self, hash: u32) -> &mut [u32] {
        let buckets = (self.slots.len() / WAYS) as u64;
        let bucket = ((u64::from(hash.wrapping_mul(0x9e37_79b1)) * buckets) >> 32) as usize;
        &mut self.slots[bucket * WAYS..][..WAYS]
    }

    /// The time of an origin, as slots have it.
    fn time(&self, origin: Origin) -> u32 {
        (self.evictions[origin as usize] / self.unit) & TIME
    }

    /// Remembers an entry that is evicted; `capacity` in entries.
    pub(super) fn put(&mut self, hash: u32, origin: Origin, capacity: usize) {
        self.fit(capacity);
        self.evictions[origin as usize] = self.evictions[origin as usize].wrapping_add(1);
        let times = [self.time(Origin::Small), self.time(Origin::Main)];
        let fingerprint = fingerprint(hash);
        let age = |slot: u32| {
            if slot == 0 || slot >> 16 == fingerprint {
                return u32::MAX;
            }
            let main = slot & MAIN != 0;
            let age = times[usize::from(main)].wrapping_sub(slot) & TIME;
            if main { age * MAIN_AGES } else { age }
        };
        let new = fingerprint << 16 | if origin == Origin::Main { MAIN } else { 0 };
        let new = new | times[origin as usize];
        if let Some(oldest) = self.bucket(hash).iter_mut().max_by_key(|slot| age(**slot)) {
            *oldest = new;
        }
    }

    /// Takes the ghost of `hash` out: where it was evicted from, and how many evictions from there ago.
    pub(super) fn take(&mut self, hash: u32) -> Option<(Origin, u32)> {
        if self.slots.is_empty() {
            return None;
        }
        let (unit, small, main) = (self.unit, self.time(Origin::Small), self.time(Origin::Main));
        let fingerprint = fingerprint(hash);
        let slot = self.bucket(hash).iter_mut().find(|slot| **slot >> 16 == fingerprint)?;
        let slot = std::mem::take(slot);
        let (origin, time) =
            if slot & MAIN == 0 { (Origin::Small, small) } else { (Origin::Main, main) };
        Some((origin, (time.wrapping_sub(slot) & TIME).saturating_mul(unit)))
    }
}

/// Never 0, so that no slot with one is empty.
fn fingerprint(hash: u32) -> u32 {
    (hash >> 16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_order_places_and_marks() {
        for capacity in [1, 1024, 8192] {
            let mut queue = Queue::new(capacity);
            let group = (capacity / 1024).max(1) as u32;
            let mut next = 0;
            for round in 0..70_000_u32 {
                assert_eq!(queue.push(round, round), round as u16);
                if round % 3 == 0 {
                    let turn = queue.front().unwrap();
                    assert_eq!((turn.hash, turn.place), (next, next as u16));
                    assert!(turn.mark <= next && next - turn.mark < group, "{turn:?} {group}");
                    queue.pop(true);
                    next += 1;
                }
            }
            assert_eq!(queue.len(), 70_000 - next as usize);
            assert_eq!(queue.take_all().len(), 70_000 - next as usize);
            assert!(queue.front().is_none());
            queue.push(5, 9);
            assert_eq!(queue.front().unwrap().mark, 9);
        }
    }

    #[test]
    fn garbage_is_noticed() {
        let mut queue = Queue::new(100);
        for hash in 0..200 {
            queue.push(hash, 0);
        }
        (0..67).for_each(|_| queue.forget());
        assert!(!queue.is_littered());
        queue.forget();
        assert!(!queue.is_littered() && queue.len() == 132);
        (0..65).for_each(|_| queue.forget());
        assert!(queue.is_littered());
    }

    #[test]
    fn ghosts_are_found_with_their_distance() {
        let mut ghosts = Ghosts::new();
        assert_eq!(ghosts.take(1), None);
        let hash = |n: u32| n.wrapping_mul(0x85eb_ca6b);
        for n in 0..1000 {
            ghosts.put(hash(n), if n % 2 == 0 { Origin::Small } else { Origin::Main }, 4096);
        }
        assert_eq!(ghosts.clock(), 500);
        let mut found = 0;
        for n in 0..1000 {
            let Some((origin, distance)) = ghosts.take(hash(n)) else { continue };
            found += 1;
            assert_eq!(origin == Origin::Small, n % 2 == 0);
            assert_eq!(distance, (999 - n) / 2, "{n}");
            assert_eq!(ghosts.take(hash(n)), None);
        }
        assert!(found > 950, "{found}");
    }

    #[test]
    fn the_oldest_ghosts_give_way() {
        let mut ghosts = Ghosts::new();
        let hash = |n: u32| n.wrapping_mul(0x85eb_ca6b);
        (0..10_000).for_each(|n| ghosts.put(hash(n), Origin::Small, 1000));
        let found = (0..10_000).filter(|n| ghosts.take(hash(*n)).is_some()).collect::<Vec<_>>();
        assert!(found.len() <= 1000 && found.len() > 900, "{}", found.len());
        assert!(found.iter().filter(|n| **n >= 9000).count() > 600);
        assert!(found.iter().all(|n| *n > 7000));
    }
}
