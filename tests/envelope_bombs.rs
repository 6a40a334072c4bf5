//! What a stored value can make the library allocate: no more than the largest value, and that only
//! where the bytes could really hold it. The one test of this program, since it counts all allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use lighter_cache::ErrorKind;
use lighter_cache::config::{Codec, RedisOptions};
use lighter_cache::envelope::{About, Compression, Envelope, Header, encode_with};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and the block is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;
/// The largest value of the reader.
const LIMIT: usize = 4 * MIB;
/// What a bomb holds.
const BOMB: usize = 20 * MIB;
/// What messages, headers and the like may take besides.
const SLACK: usize = 64 << 10;

/// The most that was allocated at a time while `job` ran, beyond what was before.
fn peak<T>(job: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = job();
    (done, PEAK.load(Relaxed) - before)
}

/// The most resident memory that the process ever had, in bytes: what C allocates counts too.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn envelope(codec: Option<Codec>, max_value: usize) -> Envelope {
    let mut options = RedisOptions::default();
    options.compress = codec;
    Envelope::new(&options, None, max_value)
}

/// `packed` said to be `plain_len` bytes of zeros.
fn stored(codec: Codec, packed: &[u8], plain_len: usize) -> Vec<u8> {
    let plain_len = u32::try_from(plain_len).unwrap();
    let compression = Some(Compression { codec, plain_len });
    let header = Header { compression, digest: Some([0; 16]), ..Header::default() };
    encode_with(&header, packed).unwrap()
}

#[test]
fn no_bomb_takes_more_than_the_largest_value() {
    let reader = envelope(None, LIMIT);
    let expect = |stored: Vec<u8>, kind: Option<ErrorKind>, bound: usize, what: &str| {
        let (opened, took) = peak(|| reader.open(b"k", stored));
        assert_eq!(opened.as_ref().err().map(|error| error.kind()), kind, "{what}");
        assert!(took <= bound + SLACK, "{what}: {took} bytes");
    };
    let (corrupt, too_big) = (Some(ErrorKind::Corrupt), Some(ErrorKind::TooBig));

    for codec in [Codec::Zstd, Codec::Lz4] {
        // Zeros, truthfully and as a lie.
        let bomb = {
            let zeros = vec![0; BOMB];
            let writer = envelope(Some(codec), BOMB);
            let (encoded, took) = peak(|| writer.encode(b"k", &zeros, &About::NOTHING).unwrap());
            // The encoder of LZ4 wants a tenth more than there is.
            assert!(took < BOMB / 8 * 9 + SLACK, "{codec:?}: compressing took {took} bytes");
            assert!(encoded.body.len() < MIB / 8, "{codec:?}: {} bytes", encoded.body.len());
            encoded.body.into_owned()
        };
        let before = resident();
        expect(stored(codec, &bomb, BOMB), too_big, 0, "a bomb that says so");
        expect(stored(codec, &bomb, LIMIT + 1), too_big, 0, "a bomb just over the limit");
        // zstd says its size itself, so the lie is found before there is room for it.
        let room = if codec == Codec::Zstd { 0 } else { LIMIT };
        expect(stored(codec, &bomb, LIMIT), corrupt, room, "a bomb that lies");
        expect(stored(codec, &bomb, 100), corrupt, 100, "a bomb that says it is small");
        for small in [&bomb[..0], &bomb[..1], &bomb[..20], &[0xFF; 100][..]] {
            expect(stored(codec, small, LIMIT), corrupt, 0, "a few bytes that claim the limit");
        }
        assert!(resident() - before < LIMIT + 8 * MIB, "{codec:?}: {}", resident() - before);

        let honest = {
            let zeros = vec![0; LIMIT];
            let writer = envelope(Some(codec), LIMIT);
            writer.encode(b"k", &zeros, &About::NOTHING).unwrap().to_vec()
        };
        expect(honest, None, LIMIT, "a value of the largest size");
    }

    // A frame of zstd that does not name its size: one block of a repeated byte after the other.
    let mut frame = b"\x28\xB5\x2F\xFD\x00\x58".to_vec();
    for _ in 0..BOMB / (128 << 10) {
        // 128 KiB each, not the last.
        let block: u32 = (128 << 10) << 3 | 1 << 1;
        frame.extend_from_slice(&block.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame.extend_from_slice(&[1, 0, 0]);
    expect(stored(Codec::Zstd, &frame, BOMB), too_big, 0, "a nameless bomb that says so");
    expect(stored(Codec::Zstd, &frame, LIMIT), corrupt, LIMIT, "a nameless bomb that lies");
    expect(stored(Codec::Zstd, &frame, 100), corrupt, 100, "a nameless bomb that says it is small");
}
