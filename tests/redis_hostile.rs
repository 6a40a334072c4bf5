//! RedisCache and servers that mean ill, or are broken: every error reply has its class, no reply makes a
//! call hang, crash or allocate without bound, and none reaches another caller.

#[path = "support/fake.rs"]
mod fake;
#[path = "support/random.rs"]
mod random;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fake::server_that;
use lighter_cache::{AnyCache, BlockingCache, ByteCache, Error, ErrorKind, Ttl, config::Config};
use random::Random;

const HOUR: Ttl = Ttl::After(Duration::from_secs(3600));
/// Far above what a machine under load adds to a deadline, far below what a hang would take.
const LATE: Duration = Duration::from_secs(10);

fn open(url: &str) -> AnyCache {
    AnyCache::open(&Config::parse(url).unwrap()).unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The same question on a connection of its own, and on a shared one.
fn gets(cache: &AnyCache) -> [lighter_cache::Result<Option<Vec<u8>>>; 2] {
    [cache.get(b"k"), block(cache.get_bytes(b"k"))].map(|got| got.map(|v| v.map(|v| v.to_vec())))
}

#[test]
fn each_error_reply_has_its_class() {
    use ErrorKind::{Auth, Server};
    for (line, kind) in [
        ("OOM command not allowed when used memory > 'maxmemory'.", Server),
        ("READONLY You can't write against a read only replica.", Server),
        ("NOAUTH Authentication required.", Auth),
        ("WRONGPASS invalid username-password pair or user is disabled.", Auth),
        ("NOPERM this user has no permissions to run the 'get' command", Auth),
        ("LOADING Redis is loading the dataset in memory", Server),
        ("BUSY Redis is busy running a script.", Server),
        ("CLUSTERDOWN The cluster is down", Server),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Server),
        ("MASTERDOWN Link with MASTER is down", Server),
        ("CROSSSLOT Keys in request don't hash to the same slot", Server),
        ("NOSCRIPT No matching script. Please use EVAL.", Server),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Server),
        ("MISCONF Redis is configured to save RDB snapshots", Server),
        ("NOREPLICAS Not enough good replicas to write.", Server),
        ("UNKILLABLE Sorry the script already executed write commands", Server),
        ("EXECABORT Transaction discarded because of previous errors.", Server),
        ("ERR unknown command 'GET'", Server),
        ("MOVED 5 127.0.0.1:1", Server),
        ("ASK 5 127.0.0.1:1", Server),
        ("SOMETHINGNEW that no version says today", Server),
    ] {
        let url = server_that(move |stream| drop(write!(stream, "-{line}\r\n")));
        let cache = open(&format!("{url}&timeout=20s"));
        let judge = |error: Error| {
            assert_eq!(error.kind(), kind, "{line}: {error:?}");
            let code = line.split(' ').next().unwrap();
            let said = format!("the server answered: {code}");
            assert!(error.message().starts_with(&said), "{line}: {error:?}");
        };
        gets(&cache).into_iter().for_each(|got| judge(got.unwrap_err()));
        judge(cache.set(b"k", b"v", HOUR).unwrap_err());
        judge(block(cache.set_bytes(b"k", b"v", HOUR)).unwrap_err());
        judge(cache.incr(b"k", 1, Ttl::Never).unwrap_err_or_type(line));
        // It was an answer: the connection is in order, and no call is tried again for it.
        assert_eq!(cache.stats().unwrap().errors, 5, "{line}");
    }
}

/// On a counter WRONGTYPE has a class of its own.
trait OrType {
    fn unwrap_err_or_type(self, line: &str) -> Error;
}

impl OrType for lighter_cache::Result<i64> {
    fn unwrap_err_or_type(self, line: &str) -> Error {
        let error = self.unwrap_err();
        if line.starts_with("WRONGTYPE") {
            assert_eq!(error.kind(), ErrorKind::Type);
            return Error::new(ErrorKind::Server, format!("the server answered: {line}"));
        }
        error
    }
}

#[test]
fn lengths_and_depths_that_lie_are_refused() {
    let deep = |kind: &str| format!("{kind}1\r\n").repeat(100_000).into_bytes();
    let replies: [(&str, Vec<u8>); 13] = [
        ("nested arrays", deep("*")),
        ("nested pushes", deep(">")),
        ("nested maps", deep("%")),
        ("nested sets", deep("~")),
        ("nested attributes", deep("|")),
        ("a length without end", [&b"$"[..], &[b'9'; 5000], b"\r\n"].concat()),
        ("a line without end", [&b"+"[..], &[b'x'; 1 << 17]].concat()),
        ("more elements than bytes could be", b"*2147483647\r\n:1\r\n".to_vec()),
        ("a map of more", b"%9223372036854775807\r\n".to_vec()),
        ("a length that overflows", b"$18446744073709551616\r\n".to_vec()),
        ("no number", b":abc\r\n".to_vec()),
        ("no type", b"\x01\x02\x03\r\n".to_vec()),
        ("a string with another end", b"$1\r\nabc".to_vec()),
    ];
    for (what, reply) in replies {
        let url = server_that(move |stream| drop(stream.write_all(&reply)));
        let cache = open(&format!("{url}&timeout=300ms&max_value_bytes=1MiB"));
        let began = Instant::now();
        for got in gets(&cache) {
            let error = got.expect_err(what);
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Server | ErrorKind::TooBig | ErrorKind::Timeout | ErrorKind::Connect
                ),
                "{what}: {error:?}"
            );
        }
        assert!(cache.set(b"k", b"v", HOUR).is_err(), "{what}");
        assert!(began.elapsed() < LATE, "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn replies_of_another_shape_are_no_values() {
    for reply in [
        &b":5\r\n"[..],
        b"+text\r\n",
        b"*0\r\n",
        b"*1\r\n$1\r\nv\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(12345678901234567890\r\n",
    ] {
        let url = server_that(move |stream| drop(stream.write_all(reply)));
        let cache = open(&format!("{url}&timeout=20s"));
        for got in gets(&cache) {
            let text = String::from_utf8_lossy(reply);
            assert_eq!(got.expect_err(&text).kind(), ErrorKind::Server, "{text}");
        }
        assert!(cache.get_many(&[b"k", b"l"]).is_err());
    }
}

#[test]
fn an_answer_too_many_is_nobodys() {
    // To the first request two answers, at once or one after the other.
    for pause in [Duration::ZERO, Duration::from_millis(30)] {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let url = server_that(move |stream: &mut TcpStream| {
            let n = counted.fetch_add(1, SeqCst);
            let _ = write!(stream, "$2\r\nn{}\r\n", n % 10);
            if n == 0 {
                std::thread::sleep(pause);
                let _ = write!(stream, "$5\r\nextra\r\n");
            }
        });
        let cache = open(&format!("{url}&timeout=20s&connections=1"));
        assert_eq!(&*cache.get(b"a").unwrap().unwrap(), b"n0");
        // When the second one has come.
        std::thread::sleep(pause * 4);
        for n in 1..5 {
            let value = cache.get(b"b").unwrap().unwrap();
            assert_eq!(&*value, format!("n{n}").as_bytes());
        }
        assert_eq!(asked.load(SeqCst), 5);
    }
}

#[test]
fn a_reply_that_stops_in_the_middle_ends_at_the_deadline_and_with_its_connection() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let url = server_that(move |stream: &mut TcpStream| {
        let whole = counted.fetch_add(1, SeqCst) >= 2;
        let _ = stream.write_all(if whole { b"$4\r\nnext\r\n" } else { b"$100\r\nhalf" });
    });
    let cache = open(&format!("{url}&timeout=200ms&retries=0"));
    let began = Instant::now();
    for got in gets(&cache) {
        assert_eq!(got.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert!(began.elapsed() < LATE);
    let cache = open(&format!("{url}&timeout=20s&retries=0"));
    for got in gets(&cache) {
        assert_eq!(got.unwrap().unwrap(), b"next");
    }
}

#[test]
fn a_connection_that_ends_within_a_reply_leaves_a_write_ambiguous() {
    for reply in [&b"+O"[..], b"$100\r\nhalf", b"*2\r\n+OK\r\n"] {
        let url = server_that(move |stream: &mut TcpStream| {
            let _ = stream.write_all(reply);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let cache = open(&format!("{url}&timeout=20s"));
        let set = || block(cache.set_bytes(b"k", b"v", HOUR));
        for error in [cache.set(b"k", b"v", HOUR), set()].map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
            assert!(error.message().contains("may or may not"), "{error:?}");
        }
    }
}

#[test]
fn no_garbled_reply_hangs_or_crashes_a_call() {
    let good: [&[u8]; 6] = [
        b"$5\r\nvalue\r\n",
        b"*2\r\n$1\r\na\r\n$-1\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\nv\r\n",
        b"|1\r\n+key\r\n+value\r\n$1\r\nv\r\n",
    ];
    let seed = 0x5eed_u64 + u64::from(std::process::id());
    println!("seed {seed}");
    for round in 0..60_u64 {
        let mut dice = Random::of(seed + round);
        let mut reply = good[dice.place(good.len())].to_vec();
        for _ in 0..=dice.place(4) {
            let at = dice.place(reply.len());
            match dice.place(4) {
                0 => reply[at] = dice.place(256) as u8,
                1 => reply.truncate(at.max(1)),
                2 => reply.insert(at, b"0123456789-*$%~>|:+\r\n"[dice.place(21)]),
                _ => reply.extend_from_within(..at),
            }
        }
        let sent = reply.clone();
        let url = server_that(move |stream| drop(stream.write_all(&sent)));
        let cache = open(&format!("{url}&timeout=30ms&retries=0&max_value_bytes=1MiB"));
        let began = Instant::now();
        let _ = (gets(&cache), cache.set(b"k", b"v", HOUR), cache.get_many(&[b"a", b"b"]));
        let _ = (cache.ttl(b"k"), cache.incr(b"k", 1, HOUR), cache.add(b"k", b"v", HOUR));
        let text = String::from_utf8_lossy(&reply);
        assert!(began.elapsed() < LATE, "seed {seed}, round {round}: {text:?}");
    }
}
