//! `max_bytes` against the resident set of the process: within a tenth, for entries of several shapes, also
//! after they have been replaced many times over. Each shape in a process of its own, so that what one
//! left behind in the allocator does not count for the next.

use std::process::{Command, Stdio};
use std::time::Duration;

use lighter_cache::{BlockingCache, LocalCache, Ttl};

const MIB: usize = 1 << 20;
const BOUND: usize = 48 * MIB;
/// How often the cache is filled over.
const TIMES: usize = 4;
const SHAPE: &str = "LIGHTER_CACHE_TEST_SHAPE";

/// The length of the `i`th value.
type Length = fn(usize) -> usize;

const SHAPES: [(&str, Length, Ttl); 5] = [
    ("32 bytes", |_| 32, Ttl::Never),
    ("32 bytes with a TTL", |_| 32, Ttl::After(Duration::from_secs(36_000))),
    ("100 bytes", |_| 100, Ttl::Never),
    ("4 KiB", |_| 4096, Ttl::Never),
    ("1 byte to 16 KiB", |i| (1 << (scatter(i) % 15)) + scatter(i) / 16 % 50, Ttl::Never),
];

/// The same numbers in every run, spread over all bits.
fn scatter(i: usize) -> usize {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) & 0xff_ffff
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    // SAFETY: sysconf only answers.
    pages * usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap()
}

/// What one process finds: its growth over the bound.
fn measure(length: Length, ttl: Ttl) -> f64 {
    let value = vec![7; 64 * 1024];
    let before = resident();
    let cache = LocalCache::builder().max_bytes(BOUND).build().unwrap();
    let (mut stored, mut i) = (0, 0);
    while stored < TIMES * BOUND {
        let key = format!("key:{i:010}");
        let length = length(i);
        cache.set(key.as_bytes(), &value[..length], ttl).unwrap();
        stored += key.len() + length + 60;
        i += 1;
    }
    let says = BlockingCache::stats(&cache).unwrap().bytes as usize;
    assert!(says <= BOUND && says > BOUND / 100 * 95, "it says {says} bytes of {BOUND}");
    (resident() - before) as f64 / BOUND as f64
}

#[test]
fn the_process_grows_by_what_was_allowed() {
    if let Ok(shape) = std::env::var(SHAPE) {
        let (_, length, ttl) = SHAPES.iter().find(|(name, ..)| *name == shape).unwrap();
        println!("grown by {}", measure(*length, *ttl));
        return;
    }
    let running = SHAPES.map(|(name, ..)| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_grows_by_what_was_allowed", "--nocapture"])
            .env(SHAPE, name)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        (name, child.unwrap())
    });
    for (name, child) in running {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let grown = text.lines().find_map(|line| line.split("grown by ").nth(1));
        let grown: f64 = grown
            .unwrap_or_else(|| panic!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)))
            .trim()
            .parse()
            .unwrap();
        assert!((0.9..=1.1).contains(&grown), "{name}: grown by {grown:.3} of the bound");
    }
}
