//! Seeded random input for the bodies of fuzz targets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// xorshift64*, which a seed repeats.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A few changes: a byte replaced, the end cut, bytes repeated or put in.
    fn change(&mut self, input: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(input.len());
            match self.below(4) {
                _ if input.is_empty() => return,
                0 => input[at] = self.next() as u8,
                1 => input[at] ^= 1 << self.below(8),
                2 => input.truncate(at + 1),
                _ => {
                    let len = self.below(20);
                    let more = self.bytes(len);
                    input.splice(at..at, more);
                }
            }
        }
    }
}

/// Runs `body` on as many inputs as there are `seeds`: one in four of up to `len` random bytes, the others
/// from the `corpus`, with a few changes. A failure names its seed.
///
/// The corpus is written to the folder of this `name` in `LC_WRITE_CORPUS`, if that is set.
pub fn run(name: &str, seeds: u64, len: usize, corpus: &[Vec<u8>], body: impl Fn(&[u8])) {
    if let Some(folder) = std::env::var_os("LC_WRITE_CORPUS") {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, input) in corpus.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), input).unwrap();
        }
    }
    for seed in 0..seeds {
        let mut random = Random::of(seed);
        let mut input = match seed % 4 {
            0 => {
                let len = random.below(len);
                random.bytes(len)
            }
            _ => corpus[random.below(corpus.len())].clone(),
        };
        random.change(&mut input);
        let run = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(run.is_ok(), "seed {seed}: {input:02x?}");
    }
}
