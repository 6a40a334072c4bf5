//! The caches whose hit ratios are compared, behind one operation.
//!
//! - `ours`: the Local cache itself
//! - `peers`: quick_cache, moka and foyer, as they are shipped
//! - `lru`, `sieve`, `s3_fifo`: textbook policies, without shards, on `list`
//! - `belady`: the optimum, which knows the future
//!
//! The model of our own policy is in `reference`.

pub mod belady;
mod list;
mod lru;
mod ours;
mod peers;
mod s3_fifo;
mod sieve;

pub use self::ours::Ours;
use crate::reference::{Reference, Shape};

/// A set of keys with a bound.
pub trait Contender {
    /// Looks a key up, and inserts it where it is missing: whether it was there.
    fn get_or_insert(&mut self, key: u64) -> bool;
}

/// What a contender is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The Local cache.
    Ours,
    /// The model of its policy; no peer.
    Model,
    /// A peer that is shipped as a cache.
    Shipped,
    /// A peer that is a policy in its plain form.
    Textbook,
    /// Nothing can be better; no peer.
    Optimum,
}

/// How a contender is made, and what it is called in the table.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The head of its column.
    pub name: &'static str,
    /// What it is in the comparison.
    pub role: Role,
    make: fn(usize, u64) -> Box<dyn Contender>,
}

/// All of them, in the order of the columns.
pub const ALL: &[Kind] = &[
    Kind { name: "ours", role: Role::Ours, make: |n, _| Box::new(Ours::new(n)) },
    Kind {
        name: "model",
        role: Role::Model,
        make: |n, run| Box::new(Reference::new(n, &Shape::store(n), run + 1)),
    },
    shipped("quick_cache", |n, _| Box::new(peers::quick(n))),
    shipped("quick_cache unsync", |n, _| Box::new(peers::quick_unsync(n))),
    shipped("moka", |n, _| Box::new(peers::moka(n, moka::policy::EvictionPolicy::tiny_lfu()))),
    shipped("moka LRU", |n, _| Box::new(peers::moka(n, moka::policy::EvictionPolicy::lru()))),
    shipped("foyer S3-FIFO", |n, _| {
        Box::new(peers::foyer(n, foyer_memory::S3FifoConfig::default()))
    }),
    shipped("foyer LFU", |n, _| Box::new(peers::foyer(n, foyer_memory::LfuConfig::default()))),
    shipped("foyer LRU", |n, _| Box::new(peers::foyer(n, foyer_memory::LruConfig::default()))),
    textbook("LRU", |n, _| Box::new(lru::Lru::new(n))),
    textbook("SIEVE", |n, _| Box::new(sieve::Sieve::new(n))),
    textbook("S3-FIFO", |n, _| Box::new(s3_fifo::S3Fifo::new(n))),
    Kind { name: "optimum", role: Role::Optimum, make: |_, _| unreachable!("it is not replayed") },
];

const fn shipped(name: &'static str, make: fn(usize, u64) -> Box<dyn Contender>) -> Kind {
    Kind { name, role: Role::Shipped, make }
}

const fn textbook(name: &'static str, make: fn(usize, u64) -> Box<dyn Contender>) -> Kind {
    Kind { name, role: Role::Textbook, make }
}

impl Role {
    /// Whether ours is compared with it.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Shipped | Self::Textbook)
    }
}

impl Kind {
    /// The hits of a new one on a trace. `run` tells the runs of one that has a seed apart.
    pub fn hits(&self, keys: &[u64], capacity: usize, run: u64) -> usize {
        if self.role == Role::Optimum {
            return belady::hits(keys, capacity);
        }
        let mut contender = (self.make)(capacity, run);
        keys.iter().filter(|key| contender.get_or_insert(**key)).count()
    }

    /// Whether two runs differ by chance in a way worth averaging: how keys fall into shards.
    pub fn is_seeded(&self) -> bool {
        matches!(self.role, Role::Ours | Role::Model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    fn kind(name: &str) -> Kind {
        *ALL.iter().find(|kind| kind.name == name).unwrap()
    }

    #[test]
    fn all_hit_what_fits_and_miss_what_is_new() {
        let keys = (0..5).flat_map(|_| 0..50).collect::<Vec<_>>();
        let fresh = (0..5000).collect::<Vec<_>>();
        for kind in ALL {
            // Far below the capacity, since a shard gets more than its share of the keys.
            assert_eq!(kind.hits(&keys, 1000, 0), 200, "{}", kind.name);
            assert_eq!(kind.hits(&fresh, 100, 0), 0, "{}", kind.name);
        }
    }

    #[test]
    fn none_is_above_the_optimum_but_moka() {
        let trace = generate::zipf(3, 0.9, 2000, 20_000);
        for capacity in [1, 20, 300] {
            let most = kind("optimum").hits(&trace, capacity, 0);
            // moka evicts in batches, and so holds more than its capacity now and then.
            for kind in ALL.iter().filter(|kind| !kind.name.starts_with("moka")) {
                let hits = kind.hits(&trace, capacity, 0);
                assert!(hits <= most, "{} @ {capacity}: {hits} > {most}", kind.name);
            }
        }
    }

    #[test]
    fn lru_is_lru() {
        let trace = generate::zipf(5, 0.8, 300, 5000);
        for capacity in [1, 2, 17, 100] {
            let mut stack: Vec<u64> = Vec::new();
            let mut hits = 0;
            for key in &trace {
                if let Some(at) = stack.iter().position(|held| held == key) {
                    hits += 1;
                    stack.remove(at);
                } else if stack.len() == capacity {
                    stack.remove(0);
                }
                stack.push(*key);
            }
            assert_eq!(kind("LRU").hits(&trace, capacity, 0), hits);
        }
    }
}
