//! The bodies of the fuzz targets in `fuzz/`, on seeded random input: the golden vectors with a few
//! bytes changed, and bytes of no origin at all. A failure names its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "../fuzz/bodies/envelope.rs"]
mod envelope;
#[path = "support/vectors.rs"]
mod vectors;

/// xorshift64*, which a seed repeats.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
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

/// The vectors as inputs.
fn corpus() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for case in vectors::read("packed").into_iter().chain(vectors::read("refused")) {
        let encrypted = if case.keys.is_some() { envelope::ENCRYPTED } else { 0 };
        inputs.push([&[envelope::STORED | encrypted], &case.stored[..]].concat());
        inputs.push([&[envelope::WRITTEN | encrypted, 0x62], &case.payload[..]].concat());
        inputs.push([&[envelope::DAMAGED | encrypted, 9, 0, 4, 2], &case.payload[..]].concat());
        if let Some(packed) = case.packed {
            let len = (case.payload.len() as u16).to_le_bytes();
            let lz4 = if case.header["codec"] == "lz4" { 8 } else { 0 };
            inputs.push([&[envelope::COMPRESSED | lz4], &len[..], &packed].concat());
        }
    }
    inputs
}

#[test]
fn seeded_input() {
    let corpus = corpus();
    if let Some(folder) = std::env::var_os("LC_WRITE_CORPUS") {
        std::fs::create_dir_all(&folder).unwrap();
        for (number, input) in corpus.iter().enumerate() {
            let file = std::path::Path::new(&folder).join(format!("vector-{number:03}"));
            std::fs::write(file, input).unwrap();
        }
    }
    for seed in 0..15_000 {
        let mut random = Random::of(seed);
        let mut input = match seed % 4 {
            0 => {
                let len = random.below(200);
                random.bytes(len)
            }
            _ => corpus[random.below(corpus.len())].clone(),
        };
        random.change(&mut input);
        let run = catch_unwind(AssertUnwindSafe(|| envelope::run(&input)));
        assert!(run.is_ok(), "seed {seed}: {input:02x?}");
    }
}
