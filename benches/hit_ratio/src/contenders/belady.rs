//! Belady's optimum: the most hits that any cache of the capacity can have, which may also leave a key out.

use std::collections::BinaryHeap;

use crate::ids::IdMap;

const NEVER: u32 = u32::MAX;

/// The hits on a trace of less than 2³² requests.
pub fn hits(keys: &[u64], capacity: usize) -> usize {
    let next = next_uses(keys);
    // What is held, by the time of its next use. A time belongs to one key, so what was used since lies
    // in the past, and is told by that.
    let mut held = IdMap::<u32>::default();
    let mut by_next_use = BinaryHeap::<(u32, u64)>::new();
    let mut hits = 0;
    for (key, next) in keys.iter().zip(next) {
        if let Some(use_at) = held.get_mut(key) {
            hits += 1;
            *use_at = next;
        } else if held.len() < capacity {
            held.insert(*key, next);
        } else {
            // Nothing in the heap but what is held or outdated, and the outdated is before all others.
            let Some((latest, evicted)) = by_next_use.peek().copied() else { continue };
            if latest <= next {
                continue;
            }
            by_next_use.pop();
            held.remove(&evicted);
            held.insert(*key, next);
        }
        by_next_use.push((next, *key));
    }
    hits
}

/// When the key of each request comes again.
fn next_uses(keys: &[u64]) -> Vec<u32> {
    let mut next = vec![NEVER; keys.len()];
    let mut seen = IdMap::<u32>::default();
    for (at, key) in keys.iter().enumerate().rev() {
        if let Some(later) = seen.insert(*key, at as u32) {
            next[at] = later;
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    /// By trying every choice.
    fn most(keys: &[u64], held: &mut Vec<u64>, capacity: usize) -> usize {
        let Some((key, rest)) = keys.split_first() else { return 0 };
        if held.contains(key) {
            return 1 + most(rest, held, capacity);
        }
        let mut best = most(rest, held, capacity);
        for at in 0..capacity {
            let mut other = held.clone();
            if at < other.len() {
                other[at] = *key;
            } else if other.len() < capacity {
                other.push(*key);
            }
            best = best.max(most(rest, &mut other, capacity));
        }
        best
    }

    #[test]
    fn it_is_what_trying_everything_finds() {
        for seed in 0..40 {
            let trace = generate::zipf(seed, 0.3, 5, 11);
            for capacity in 1..=3 {
                assert_eq!(
                    hits(&trace, capacity),
                    most(&trace, &mut Vec::new(), capacity),
                    "{trace:?} @ {capacity}"
                );
            }
        }
    }

    #[test]
    fn a_loop_keeps_what_fits() {
        let keys = (0..100).flat_map(|_| 0..50).collect::<Vec<_>>();
        assert_eq!(hits(&keys, 20), 20 * 99);
        assert_eq!(hits(&keys, 50), 50 * 99);
    }
}
