//! The policy of the Local cache as a model on one thread: no locks, no values, no expiry. The store is
//! compared with it row by row, and a change of the policy is tried here first.
//!
//! An entry begins in `small`, a FIFO. What is hit there moves on to `main`, a CLOCK with counters up to 3,
//! when its turn comes; what is not leaves a fingerprint in the `ghost`. Three rules make it hold on every
//! kind of trace:
//!
//! - **Share.** `small` may fill `share` of the capacity. A miss on a key that left `small` a moment ago
//!   (within [`NEAR`] of the capacity) says that `small` is too short, a miss on one that left `main` a moment
//!   ago says that `main` is; each moves `share` a step. `share` is one number for all shards.
//! - **Recency test.** A key that comes back from the ghost knows its reuse distance. `main`'s hand may
//!   move for it only past entries that were visited longer ago than that; else the key begins in
//!   `small` again.
//! - **Ageing.** Every so many evictions from `small`, `main`'s hand moves one step of itself.
//!
//! Time is counted in evictions from `small`, per shard (`seq`). [`Shape`] holds what may differ between the
//! model as it was found and an implementation that has to save memory.

use std::collections::VecDeque;

use crate::contenders::Contender;
use crate::ids::{IdMap, hash_of};

/// Share of the capacity within which a returning key counts as "left a moment ago".
const NEAR: f64 = 0.02;
const SHARE_MIN: f64 = 0.01;
const SHARE_MAX: f64 = 0.5;
/// How many entries at main's hand are asked whether one of them is idle, before small may grow.
const PEEK: usize = 16;
/// How many steps of a hand one insertion pays for.
const STEPS: u32 = 32;
/// How many times older a ghost of main counts than one of small when a slot is needed.
const MAIN_AGE: u32 = 32;
const COUNT_MAX: u8 = 3;

/// What may differ between implementations of the policy.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Policy shards; the capacity is split among them evenly. A power of two.
    pub shards: usize,
    /// Slots of the ghost per entry of capacity.
    pub ghost_slots: f64,
    /// Slots in which a fingerprint may lie.
    pub ghost_bucket: usize,
    /// Bits of a fingerprint.
    pub fingerprint_bits: u32,
    /// Bits of the time in a slot.
    pub time_bits: u32,
    /// How finely a ghost's time is counted: units per capacity.
    pub time_units: f64,
    /// The longest reuse distance that leads straight to main, in capacities.
    pub window: f64,
    /// How many times the reuse distance of a key main's entry must have been left alone to go for it.
    pub recency: f64,
    /// Evictions from small per step of ageing.
    pub ageing: u32,
    /// The logarithm of how many pushes onto main share one time of visit.
    pub visit_group: u32,
}

impl Shape {
    /// The policy as simulation found it.
    pub fn found(capacity: usize) -> Self {
        Self {
            shards: shards_for(capacity, 256, 16),
            ghost_slots: 2.0,
            ghost_bucket: 8,
            fingerprint_bits: 16,
            time_bits: 15,
            time_units: 4096.0,
            window: 1.25,
            recency: 1.5,
            ageing: 16,
            visit_group: 0,
        }
    }

    /// The policy as the store has it: every shard of its table has a policy of its own, the ghost takes
    /// four bytes per entry of capacity, and times of visit are kept in groups.
    pub fn store(capacity: usize) -> Self {
        let shards = shards_for(capacity, 2048, 128);
        Self {
            shards,
            ghost_slots: 1.0,
            window: 1.5,
            recency: 1.25,
            ageing: 32,
            visit_group: (capacity / shards / 1024).max(1).ilog2(),
            ..Self::found(capacity)
        }
    }
}

/// The largest power of two that is at most `capacity / entries`, from 1 to `most`.
pub fn shards_for(capacity: usize, entries: usize, most: usize) -> usize {
    let shards = (capacity / entries).clamp(1, most);
    1 << shards.ilog2()
}

/// The model: a set of keys with a bound.
pub struct Reference {
    shards: Vec<Shard>,
    share: f64,
    step: f64,
    seed: u64,
}

impl Reference {
    /// An empty one. `seed` decides which keys share a shard and a bucket of the ghost.
    pub fn new(capacity: usize, shape: &Shape, seed: u64) -> Self {
        let (each, more) = (capacity / shape.shards, capacity % shape.shards);
        Self {
            shards: (0..shape.shards)
                .map(|i| Shard::new(each + usize::from(i < more), shape))
                .collect(),
            share: SHARE_MIN,
            step: 0.5 * (1.0 / capacity as f64).max(1.0 / 1000.0),
            seed,
        }
    }
}

impl Contender for Reference {
    fn get_or_insert(&mut self, key: u64) -> bool {
        let hash = hash_of(key, self.seed);
        let shard = (hash >> 48) as usize & (self.shards.len() - 1);
        self.shards[shard].get_or_insert(key, hash, &mut self.share, self.step)
    }
}

struct Entry {
    key: u64,
    hash: u64,
    /// Hits since the hand came by.
    count: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queue {
    Small,
    Main,
}

struct Shard {
    capacity: f64,
    index: IdMap<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    small: VecDeque<u32>,
    main: Ring,
    ghost: Ghost,
    window: f64,
    recency: f64,
    ageing: u32,
    age_count: u32,
    /// Ageing has evicted an entry of main: the next key takes its place.
    aged: bool,
}

impl Shard {
    fn new(capacity: usize, shape: &Shape) -> Self {
        Self {
            capacity: capacity as f64,
            index: IdMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            small: VecDeque::new(),
            main: Ring::new(shape.visit_group),
            ghost: Ghost::new(capacity, shape),
            window: shape.window * capacity as f64,
            recency: shape.recency,
            ageing: shape.ageing,
            age_count: 0,
            aged: false,
        }
    }

    fn get_or_insert(&mut self, key: u64, hash: u64, share: &mut f64, step: f64) -> bool {
        if let Some(&at) = self.index.get(&key) {
            let entry = &mut self.entries[at as usize];
            entry.count = (entry.count + 1).min(COUNT_MAX);
            return true;
        }
        self.insert(key, hash, share, step);
        false
    }

    fn insert(&mut self, key: u64, hash: u64, share: &mut f64, step: f64) {
        let ghost = self.ghost.take(hash);
        let near = (NEAR * self.capacity).max(1.0);
        match ghost {
            Some((Queue::Small, distance)) if distance <= near && self.main_is_idle() => {
                *share += step;
            }
            Some((Queue::Main, distance)) if distance <= near => *share -= step,
            _ => {}
        }
        *share = share.clamp(SHARE_MIN, SHARE_MAX);

        let small_target = (*share * self.capacity).floor().max(1.0) as usize;
        let len = (self.small.len() + self.main.len()) as f64;
        let returning = match ghost {
            Some((Queue::Small, distance)) if distance <= self.window => Some(distance),
            _ => None,
        };
        let mut to_main = returning.is_some() || len < self.capacity - *share * self.capacity;
        if len >= self.capacity {
            match returning {
                Some(distance) if self.small.len() <= small_target => {
                    if !self.try_main(STEPS, distance) {
                        to_main = false;
                        self.evict(small_target);
                    }
                }
                _ => self.evict(small_target),
            }
        }
        if self.aged {
            self.aged = false;
            to_main = true;
        }
        let at = self.place(Entry { key, hash, count: 0 });
        if to_main {
            self.main.push(at, self.ghost.now(Queue::Small));
        } else {
            self.small.push_back(at);
        }
    }

    /// The growth gate: whether an entry near main's hand has not been hit since it last came by.
    fn main_is_idle(&self) -> bool {
        let mut near_hand = self.main.entries.iter().take(PEEK);
        self.main.len() == 0 || near_hand.any(|&at| self.entries[at as usize].count == 0)
    }

    /// Moves main's hand for a key of reuse distance `distance`: whether an entry was evicted.
    fn try_main(&mut self, steps: u32, distance: f64) -> bool {
        let now = self.ghost.now(Queue::Small);
        for _ in 0..steps {
            let Some((at, visited)) = self.main.front() else {
                return false;
            };
            if f64::from(now.wrapping_sub(visited)) < self.recency * distance {
                return false;
            }
            self.main.pop();
            let entry = &mut self.entries[at as usize];
            if entry.count == 0 {
                self.drop_entry(at, Queue::Main);
                return true;
            }
            entry.count -= 1;
            self.main.push(at, now);
        }
        false
    }

    fn evict(&mut self, small_target: usize) {
        let mut left = STEPS;
        loop {
            left = left.saturating_sub(1);
            let now = self.ghost.now(Queue::Small);
            if !self.small.is_empty() && (self.small.len() >= small_target || self.main.len() == 0)
            {
                let at = self.small.pop_front().expect("it is not empty");
                let entry = &mut self.entries[at as usize];
                if entry.count > 0 && left > 0 {
                    entry.count = 0;
                    self.main.push(at, now);
                } else {
                    self.drop_entry(at, Queue::Small);
                    self.age_count += 1;
                    if self.age_count == self.ageing {
                        self.age_count = 0;
                        self.aged = self.try_main(1, 0.0);
                    }
                    return;
                }
            } else {
                let (at, _) = self.main.front().expect("a full shard holds an entry");
                self.main.pop();
                let entry = &mut self.entries[at as usize];
                if entry.count > 0 && left > 0 {
                    entry.count -= 1;
                    self.main.push(at, now);
                } else {
                    self.drop_entry(at, Queue::Main);
                    return;
                }
            }
        }
    }

    fn place(&mut self, entry: Entry) -> u32 {
        let key = entry.key;
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.index.insert(key, at);
        at
    }

    fn drop_entry(&mut self, at: u32, from: Queue) {
        let entry = &self.entries[at as usize];
        self.ghost.put(entry.hash, from);
        self.index.remove(&entry.key);
        self.free.push(at);
    }
}

/// Main's queue. Each group of pushes shares the time of its first.
struct Ring {
    entries: VecDeque<u32>,
    visits: VecDeque<u32>,
    /// Pushes and pops so far.
    pushed: u64,
    popped: u64,
    group: u32,
}

impl Ring {
    fn new(group: u32) -> Self {
        Self { entries: VecDeque::new(), visits: VecDeque::new(), pushed: 0, popped: 0, group }
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn front(&self) -> Option<(u32, u32)> {
        Some((*self.entries.front()?, *self.visits.front()?))
    }

    fn push(&mut self, at: u32, now: u32) {
        if self.pushed.is_multiple_of(1 << self.group) {
            self.visits.push_back(now);
        }
        self.pushed += 1;
        self.entries.push_back(at);
    }

    fn pop(&mut self) {
        self.entries.pop_front();
        self.popped += 1;
        if self.popped.is_multiple_of(1 << self.group) {
            self.visits.pop_front();
        }
    }
}

/// Fingerprints of evicted keys, with the queue that they left and when: one number of
/// `fingerprint | queue | time` per slot, 0 where it is empty.
struct Ghost {
    slots: Vec<u32>,
    bucket: usize,
    fingerprint_bits: u32,
    time_bits: u32,
    /// Evictions per unit of a slot's time.
    unit: u32,
    /// Evictions so far, per queue.
    seq: [u32; 2],
}

impl Ghost {
    fn new(capacity: usize, shape: &Shape) -> Self {
        let wanted = (capacity as f64 * shape.ghost_slots).ceil() as usize;
        let buckets = wanted.div_ceil(shape.ghost_bucket).max(1);
        Self {
            slots: vec![0; buckets * shape.ghost_bucket],
            bucket: shape.ghost_bucket,
            fingerprint_bits: shape.fingerprint_bits,
            time_bits: shape.time_bits,
            unit: ((capacity as f64 / shape.time_units) as u32).max(1),
            seq: [0; 2],
        }
    }

    fn now(&self, queue: Queue) -> u32 {
        self.seq[queue as usize]
    }

    /// The slots of a key and its fingerprint, in its place within a slot.
    fn find(&self, hash: u64) -> (std::ops::Range<usize>, u32) {
        let buckets = (self.slots.len() / self.bucket) as u64;
        let first = (((hash & 0xffff_ffff) * buckets) >> 32) as usize * self.bucket;
        let mask = (1_u64 << self.fingerprint_bits) - 1;
        let fingerprint = ((hash >> 32) & mask).max(1) as u32;
        let range = first..first + self.bucket;
        (range, fingerprint << (self.time_bits + 1))
    }

    fn units(&self, queue: Queue) -> u32 {
        (self.now(queue) / self.unit) & ((1 << self.time_bits) - 1)
    }

    /// The queue that a slot's key left, and how many units ago.
    fn age(&self, slot: u32) -> (Queue, u32) {
        let time = (1_u32 << self.time_bits) - 1;
        let queue = match (slot >> self.time_bits) & 1 {
            0 => Queue::Small,
            _ => Queue::Main,
        };
        (queue, self.units(queue).wrapping_sub(slot) & time)
    }

    fn put(&mut self, hash: u64, from: Queue) {
        self.seq[from as usize] = self.seq[from as usize].wrapping_add(1);
        let (range, fingerprint) = self.find(hash);
        let mut chosen = (range.start, 0);
        for at in range {
            let slot = self.slots[at];
            if slot == 0 || slot >> (self.time_bits + 1) == fingerprint >> (self.time_bits + 1) {
                chosen = (at, u32::MAX);
                break;
            }
            let (queue, age) = self.age(slot);
            let age = if queue == Queue::Main { age.saturating_mul(MAIN_AGE) } else { age };
            if age > chosen.1 {
                chosen = (at, age);
            }
        }
        self.slots[chosen.0] = fingerprint | (from as u32) << self.time_bits | self.units(from);
    }

    /// Takes the key out: the queue it left, and how many evictions from there ago.
    fn take(&mut self, hash: u64) -> Option<(Queue, f64)> {
        let (range, fingerprint) = self.find(hash);
        for at in range {
            let slot = self.slots[at];
            if slot != 0 && slot >> (self.time_bits + 1) == fingerprint >> (self.time_bits + 1) {
                self.slots[at] = 0;
                let (queue, age) = self.age(slot);
                return Some((queue, f64::from(age) * f64::from(self.unit)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::belady;
    use crate::generate;

    fn hits(keys: &[u64], capacity: usize, shape: &Shape) -> usize {
        let mut model = Reference::new(capacity, shape, 1);
        let hits = keys.iter().filter(|key| model.get_or_insert(**key)).count();
        for shard in &model.shards {
            let queued = shard.small.len() + shard.main.len();
            assert!(queued <= shard.capacity as usize, "{queued} > {}", shard.capacity);
            assert_eq!(
                (queued, queued),
                (shard.index.len(), shard.entries.len() - shard.free.len())
            );
        }
        hits
    }

    #[test]
    fn shards_are_a_power_of_two_and_not_tiny() {
        for (capacity, shards) in [(1, 1), (511, 1), (512, 2), (1535, 4), (4096, 16), (1 << 20, 16)]
        {
            assert_eq!(shards_for(capacity, 256, 16), shards, "{capacity}");
        }
    }

    #[test]
    fn a_loop_is_nearly_what_it_can_be() {
        // Where LRU, SIEVE and S3-FIFO have no hit at all, or few.
        let keys = (0..200).flat_map(|_| 0..1000).collect::<Vec<_>>();
        for capacity in [300, 500, 900] {
            let most = belady::hits(&keys, capacity);
            let found = hits(&keys, capacity, &Shape::found(capacity));
            assert!(found * 100 > most * 97, "{found} of {most}");
        }
    }

    #[test]
    fn a_scan_does_not_wash_out_what_is_used() {
        let zipf = generate::zipf(1, 1.0, 2000, 100_000);
        let scanned = zipf.chunks(1000).zip(0..).flat_map(|(part, n)| {
            let scan = 1_000_000 + n * 3000..1_000_000 + (n + 1) * 3000;
            part.iter().copied().chain(scan)
        });
        let shape = Shape::store(500);
        let undisturbed = hits(&zipf, 500, &shape);
        let disturbed = hits(&scanned.collect::<Vec<_>>(), 500, &shape);
        assert!(disturbed * 100 > undisturbed * 93, "{disturbed} of {undisturbed}");
    }

    #[test]
    fn any_capacity_will_do() {
        let keys = generate::zipf(2, 0.7, 3000, 30_000);
        for capacity in [1, 2, 3, 15, 100, 1000, 5000] {
            for shape in [Shape::found(capacity), Shape::store(capacity)] {
                let found = hits(&keys, capacity, &shape);
                assert!(found <= belady::hits(&keys, capacity));
            }
        }
    }

    #[test]
    fn the_ghost_knows_queue_and_distance() {
        let shape = Shape::found(1000);
        let mut ghost = Ghost::new(1000, &shape);
        let hash = |key| hash_of(key, 7);
        assert_eq!(ghost.take(hash(0)), None);
        for key in 0..600 {
            ghost.put(hash(key), if key % 3 == 0 { Queue::Main } else { Queue::Small });
        }
        assert_eq!((ghost.now(Queue::Small), ghost.now(Queue::Main)), (400, 200));
        let mut found = 0;
        for key in 0..600 {
            let Some((queue, distance)) = ghost.take(hash(key)) else { continue };
            found += 1;
            let (wanted, last) =
                if key % 3 == 0 { (Queue::Main, 597) } else { (Queue::Small, 599) };
            let apart = (last - key) / 3 * if queue == Queue::Small { 2 } else { 1 };
            assert_eq!(queue, wanted);
            assert!((apart as f64 - distance).abs() <= 1.0, "{key}: {distance}");
            assert_eq!(ghost.take(hash(key)), None);
        }
        assert!(found > 590, "{found}");
    }

    #[test]
    fn a_group_of_pushes_has_the_time_of_its_first() {
        let mut ring = Ring::new(2);
        (0..10).for_each(|at| ring.push(at, 100 + at));
        for at in 0..10 {
            assert_eq!(ring.front(), Some((at, 100 + at / 4 * 4)));
            ring.pop();
        }
        assert_eq!(ring.front(), None);
        ring.push(10, 110);
        assert_eq!(ring.front(), Some((10, 108)), "it belongs to a group that began before");
    }
}
