//! Traces that need no file: the same in every run and on every machine.

use std::iter::successors;

use crate::trace::Trace;

const REQUESTS: usize = 1_000_000;

/// Each with the capacities at which it is looked at.
pub fn all() -> Vec<(Trace, Vec<usize>)> {
    let named = |name: &str, keys, capacities: &[usize]| {
        (Trace { name: name.into(), keys }, capacities.to_vec())
    };
    vec![
        named("zipf_0.7", zipf(1, 0.7, 100_000, REQUESTS), &[1000, 10_000]),
        named("zipf_0.9", zipf(2, 0.9, 100_000, REQUESTS), &[1000, 10_000]),
        named("zipf_1.1", zipf(3, 1.1, 100_000, REQUESTS), &[1000, 10_000]),
        named("loop_10k", looping(10_000, REQUESTS), &[5000, 9900]),
        named("scan_in_zipf", scan_in_zipf(4, REQUESTS), &[500, 5000, 20_000]),
        named("shifting_hot_set", shifting(5, REQUESTS), &[1000, 4000, 10_000]),
    ]
}

/// `n` keys, the i-th most frequent of which has a frequency in proportion to `i^-skew`.
pub fn zipf(seed: u64, skew: f64, n: usize, requests: usize) -> Vec<u64> {
    let mut random = Random(seed);
    let zipf = Zipf::new(skew, n);
    (0..requests).map(|_| zipf.key(&mut random)).collect()
}

/// One key after another, from the beginning again and again: what LRU can't do.
fn looping(n: u64, requests: usize) -> Vec<u64> {
    (0..n).cycle().take(requests).collect()
}

/// People's requests, and now and then a job that walks through 10,000 of 200,000 rows.
fn scan_in_zipf(seed: u64, requests: usize) -> Vec<u64> {
    const BETWEEN: usize = 20_000;
    const SCAN: usize = 10_000;
    let mut random = Random(seed);
    let zipf = Zipf::new(0.9, 50_000);
    let mut rows = (1_000_000..1_200_000).cycle();
    (0..requests)
        .map(|at| match at % (BETWEEN + SCAN) < BETWEEN {
            true => zipf.key(&mut random),
            false => rows.next().expect("it has no end"),
        })
        .collect()
}

/// 9 of 10 requests go to 3000 hot keys, half of which are replaced every 50,000 requests; the others to
/// any of a million.
fn shifting(seed: u64, requests: usize) -> Vec<u64> {
    const HOT: u64 = 3000;
    let mut random = Random(seed);
    (0..requests as u64)
        .map(|at| match random.below(10) {
            0 => 1_000_000_000 + random.below(1_000_000),
            _ => at / 50_000 * (HOT / 2) + random.below(HOT),
        })
        .collect()
}

struct Zipf {
    /// The probability of a rank or a better one, times the last.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(skew: f64, n: usize) -> Self {
        let next = |(rank, sum): &(f64, f64)| Some((rank + 1.0, sum + (rank + 1.0).powf(-skew)));
        Self { sums: successors(Some((1.0, 1.0)), next).map(|(_, sum)| sum).take(n).collect() }
    }

    fn key(&self, random: &mut Random) -> u64 {
        let last = self.sums.last().copied().unwrap_or(0.0);
        let at = random.share() * last;
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1) as u64
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_has_its_frequencies() {
        let keys = zipf(9, 1.0, 100, 200_000);
        assert_eq!(keys, zipf(9, 1.0, 100, 200_000));
        assert_ne!(keys, zipf(8, 1.0, 100, 200_000));
        let count = |key| keys.iter().filter(|k| **k == key).count() as f64;
        // Thirty times the expected deviation of a count is well within a tenth here.
        for rank in [2, 5, 10] {
            let ratio = count(0) / count(rank - 1) / rank as f64;
            assert!((0.9..1.1).contains(&ratio), "{rank}: {ratio}");
        }
        assert_eq!(keys.iter().max(), Some(&99));
    }

    #[test]
    fn the_others_are_what_they_say() {
        assert_eq!(looping(3, 7), [0, 1, 2, 0, 1, 2, 0]);
        let scans = scan_in_zipf(1, 60_000);
        assert_eq!(scans.iter().filter(|key| **key >= 1_000_000).count(), 20_000);
        assert_eq!(scans[20_000..20_003], [1_000_000, 1_000_001, 1_000_002]);
        assert_eq!(scans[50_000], 1_010_000);
        let shifting = shifting(1, 200_000);
        let hot = |at: usize| {
            let part = shifting[at..at + 50_000].iter().filter(|key| **key < 1_000_000);
            (part.clone().min().copied(), part.max().copied())
        };
        assert_eq!(hot(0), (Some(0), Some(2999)));
        assert_eq!(hot(150_000), (Some(4500), Some(7499)));
    }
}
