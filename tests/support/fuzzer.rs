//! Seeded random input for the bodies of fuzz targets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "random.rs"]
mod random;

pub use random::Random;

impl Random {
    /// A few changes: a byte replaced, the end cut, bytes repeated or put in.
    fn change(&mut self, input: &mut Vec<u8>) {
        for _ in 0..self.place(4) {
            let at = self.place(input.len());
            match self.place(4) {
                _ if input.is_empty() => return,
                0 => input[at] = self.next() as u8,
                1 => input[at] ^= 1 << self.place(8),
                2 => input.truncate(at + 1),
                _ => {
                    let len = self.place(20);
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
                let len = random.place(len);
                random.bytes(len)
            }
            _ => corpus[random.place(corpus.len())].clone(),
        };
        random.change(&mut input);
        let run = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(run.is_ok(), "seed {seed}: {input:02x?}");
    }
}
