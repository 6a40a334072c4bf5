//! What histories are made of: a cache through its Rust API, through its C functions, and caches with a
//! fault.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::*;
use crate::ops::{Loaded, Lock, SetOptions, Swap};

/// Longer than any test.
const LEASE: Duration = Duration::from_secs(3600);

const TAG: &[u8] = b"tag";

/// The locks that a thread holds, by key.
pub(super) type Held = HashMap<usize, Lock>;

/// What a call on a key answered.
type Answered = (usize, Call, Out);

pub(super) trait Target: Sync {
    /// Calls, and tells what was answered key by key.
    fn run(&self, operation: &Operation, held: &mut Held) -> Vec<Answered>;

    fn now(&self) -> Ms {
        0
    }

    /// Lets time pass. Nothing is running.
    fn advance(&self, _by: Ms) {}
}

fn key(number: usize) -> Vec<u8> {
    vec![b'a' + number as u8; [1, 9, 300][number % 3]]
}

/// A number in digits. A text is one with something behind it: where it is odd, too much to be copied under
/// a lock.
fn bytes(value: Stored) -> Vec<u8> {
    let mut bytes = (value & (TEXT - 1)).to_string().into_bytes();
    if value >= TEXT {
        bytes.resize(if value & 1 == 1 { 3000 } else { 20 }, b'x');
    }
    bytes
}

/// The value that these are the bytes of; nothing else is ever stored.
fn value_of(bytes: &[u8]) -> Stored {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number: Stored = std::str::from_utf8(&bytes[..digits]).unwrap().parse().unwrap();
    let value = if digits < bytes.len() { number | TEXT } else { number };
    assert!(*bytes == *self::bytes(value), "a torn value");
    value
}

fn found(value: Option<crate::Value>) -> Out {
    Out::Value(value.map(|value| value_of(&value)))
}

fn as_ttl(ttl: Ms) -> Ttl {
    if ttl == NEVER { Ttl::Never } else { ms(ttl) }
}

fn left(remaining: Option<Remaining>) -> Out {
    Out::Left(remaining.map(|left| match left {
        Remaining::Forever => NEVER,
        Remaining::For(left) => left.as_millis() as Ms,
    }))
}

/// The Rust API, on a clock that stands still within a part.
pub(super) struct Rust(Timed);

impl Rust {
    pub(super) fn new(options: LocalOptions) -> Self {
        Self(Timed::new(LocalOptions { shards: Some(2), ..options }))
    }

    fn one(&self, number: usize, call: Call, held: &mut Held) -> (Call, Out) {
        let cache = &self.0.cache;
        let key = &key(number)[..];
        let out = match call {
            // Both ways to read.
            Call::Get if number == 1 => {
                let mut buf = Vec::with_capacity(4000);
                let len = cache.get_into(key, buf.spare_capacity_mut()).unwrap();
                // SAFETY: as many bytes were written.
                unsafe { buf.set_len(len.unwrap_or(0)) };
                Out::Value(len.map(|_| value_of(&buf)))
            }
            Call::Get => found(BlockingCache::get(cache, key).unwrap()),
            Call::Set { value, ttl, tagged: false } => {
                set(cache, key, &bytes(value), as_ttl(ttl));
                Out::Done
            }
            Call::Set { value, ttl, tagged: true } => {
                let mut options = SetOptions::new(as_ttl(ttl));
                options.tags.push(TAG.to_vec());
                cache.set_ex(key, &bytes(value), &options).unwrap();
                Out::Done
            }
            Call::Add { value, ttl } => {
                Out::Was(cache.add(key, &bytes(value), as_ttl(ttl)).unwrap())
            }
            Call::Replace { value, ttl } => {
                Out::Was(cache.replace(key, &bytes(value), as_ttl(ttl)).unwrap())
            }
            Call::Swap { expected, value, ttl } => {
                let (expected, value) = (bytes(expected), bytes(value));
                Out::Swapped(cache.compare_and_set(key, &expected, &value, as_ttl(ttl)).unwrap())
            }
            Call::Incr { delta, ttl } => match cache.incr(key, delta, as_ttl(ttl)) {
                Ok(sum) => Out::Sum(Some(sum)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Type);
                    Out::Sum(None)
                }
            },
            Call::Delete => Out::Was(cache.delete(key).unwrap()),
            Call::Exists => Out::Was(cache.exists(key).unwrap()),
            Call::Ttl => left(cache.ttl(key).unwrap()),
            Call::Expire { ttl } => Out::Was(cache.expire(key, as_ttl(ttl)).unwrap()),
            Call::Load { value } => {
                let load = &mut |_: &[u8]| Ok(Some(Loaded::new(bytes(value))));
                let options = SetOptions::new(Ttl::Never);
                found(cache.get_or_load(key, &options, load).unwrap())
            }
            Call::Acquire => {
                let lock = cache.lock(key, LEASE, Duration::ZERO).unwrap();
                let fence = lock.as_ref().map(Lock::fence);
                held.extend(lock.map(|lock| (number, lock)));
                Out::Fence(fence)
            }
            Call::Invalidate | Call::Release { .. } => unreachable!("no call on one key"),
        };
        (call, out)
    }

    /// What a file of the cache has for each key.
    fn saved(&self) -> Vec<Answered> {
        let name = format!("lighter-cache-history-{}-{:p}", std::process::id(), self);
        let path: PathBuf = std::env::temp_dir().join(name);
        // Only one writes this file at a time: others would see a file that is complete, but not theirs.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap();
        self.0.cache.save(&path).unwrap();
        let copy = Timed::new(LocalOptions::default());
        copy.now.store(self.now(), SeqCst);
        copy.cache.load(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let read = |number| {
            (number, Call::Get, found(BlockingCache::get(&copy.cache, &key(number)).unwrap()))
        };
        (0..KEYS).map(read).collect()
    }
}

impl Target for Rust {
    fn run(&self, operation: &Operation, held: &mut Held) -> Vec<Answered> {
        let cache = &self.0.cache;
        let everywhere = |call| (0..KEYS).map(|key| (key, call, Out::Unknown)).collect();
        match operation {
            Operation::One(key, call) => {
                // A thread that has the lock would be told that another one does, which is the same.
                let (call, out) = self.one(*key, *call, held);
                vec![(*key, call, out)]
            }
            Operation::Unlock => {
                let Some(number) = held.keys().next().copied() else { return Vec::new() };
                let Some(lock) = held.remove(&number) else { return Vec::new() };
                let call = Call::Release { fence: lock.fence() };
                vec![(number, call, Out::Was(lock.release().unwrap()))]
            }
            Operation::GetMany(numbers) => {
                let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
                // More than few, so that they are grouped.
                let keys: Vec<&[u8]> = keys.iter().cycle().take(6).map(|key| &key[..]).collect();
                let values = cache.get_many(&keys).unwrap();
                let answers = numbers.iter().zip(values);
                answers.map(|(number, value)| (*number, Call::Get, found(value))).collect()
            }
            Operation::SetMany(items) => {
                let items: Vec<_> =
                    items.iter().map(|(number, value)| (*number, key(*number), *value)).collect();
                let values: Vec<_> = items.iter().map(|(_, _, value)| bytes(*value)).collect();
                let pairs: Vec<(&[u8], &[u8])> =
                    items.iter().zip(&values).map(|((_, key, _), v)| (&key[..], &v[..])).collect();
                cache.set_many(&pairs, Ttl::Never).unwrap();
                let call = |value| Call::Set { value, ttl: NEVER, tagged: false };
                items.iter().map(|(number, _, value)| (*number, call(*value), Out::Done)).collect()
            }
            Operation::DeleteMany(numbers) => {
                let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
                let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                let deleted = cache.delete_many(&keys).unwrap();
                // Told apart only where there is one.
                let out = if keys.len() == 1 { Out::Was(deleted == 1) } else { Out::Unknown };
                numbers.iter().map(|number| (*number, Call::Delete, out)).collect()
            }
            Operation::DeletePrefix => {
                cache.delete_prefix(b"").unwrap();
                everywhere(Call::Delete)
            }
            Operation::Keys => {
                let mut there = vec![false; KEYS];
                let visit = &mut |seen: &[u8]| {
                    (0..KEYS).filter(|number| key(*number) == seen).for_each(|n| there[n] = true);
                    ControlFlow::Continue(())
                };
                cache.for_each_key(b"", visit).unwrap();
                let answers = there.into_iter().enumerate();
                answers.map(|(key, there)| (key, Call::Exists, Out::Was(there))).collect()
            }
            Operation::Clear => {
                cache.clear().unwrap();
                everywhere(Call::Delete)
            }
            Operation::Invalidate => {
                cache.invalidate_tag(TAG).unwrap();
                everywhere(Call::Invalidate)
            }
            Operation::Save => self.saved(),
            Operation::Sweep => {
                cache.count().unwrap();
                for shard in 0..cache.shard_count() {
                    cache.sweep_shard(shard, self.now(), false);
                }
                Vec::new()
            }
        }
    }

    fn now(&self) -> Ms {
        self.0.now.load(SeqCst)
    }

    fn advance(&self, by: Ms) {
        self.0.advance(by);
    }
}

impl Drop for Rust {
    fn drop(&mut self) {
        self.0.cache.0.store.validate();
    }
}

/// The basic operations on one key, by whatever way; the others in terms of them.
trait Basic: Sync {
    fn one(&self, key: &[u8], call: Call) -> Out;
    fn clear(&self);
}

impl<T: Basic> Target for T {
    fn run(&self, operation: &Operation, _held: &mut Held) -> Vec<Answered> {
        match operation {
            Operation::One(number, call) => vec![(*number, *call, self.one(&key(*number), *call))],
            Operation::Clear => {
                self.clear();
                (0..KEYS).map(|key| (key, Call::Delete, Out::Unknown)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The C functions, as the library exports them.
#[cfg(feature = "capi")]
mod ffi {
    use std::ffi::{c_char, c_void};

    type Ptr = *const c_void;

    unsafe extern "C" {
        pub(super) fn lc_open(url: *const c_char, out: *mut u64) -> i32;
        pub(super) safe fn lc_close(cache: u64) -> i32;
        pub(super) safe fn lc_clear(cache: u64) -> i32;
        pub(super) fn lc_get(
            cache: u64,
            key: Ptr,
            key_len: usize,
            value: *mut *mut c_void,
            data: *mut Ptr,
            len: *mut usize,
        ) -> i32;
        pub(super) fn lc_value_free(value: *mut c_void);
        pub(super) fn lc_set(c: u64, k: Ptr, k_len: usize, v: Ptr, v_len: usize, ttl: u64) -> i32;
        pub(super) fn lc_add(c: u64, k: Ptr, k_len: usize, v: Ptr, v_len: usize, ttl: u64) -> i32;
        pub(super) fn lc_replace(
            cache: u64,
            key: Ptr,
            key_len: usize,
            value: Ptr,
            value_len: usize,
            ttl_ms: u64,
        ) -> i32;
        pub(super) fn lc_compare_and_set(
            cache: u64,
            key: Ptr,
            key_len: usize,
            expected: Ptr,
            expected_len: usize,
            value: Ptr,
            value_len: usize,
            ttl_ms: u64,
        ) -> i32;
        pub(super) fn lc_incr(
            cache: u64,
            key: Ptr,
            key_len: usize,
            delta: i64,
            ttl_ms: u64,
            out: *mut i64,
        ) -> i32;
        pub(super) fn lc_delete(cache: u64, key: Ptr, key_len: usize) -> i32;
        pub(super) fn lc_exists(cache: u64, key: Ptr, key_len: usize) -> i32;
        pub(super) fn lc_ttl(cache: u64, key: Ptr, key_len: usize, ttl_ms: *mut u64) -> i32;
        pub(super) fn lc_expire(cache: u64, key: Ptr, key_len: usize, ttl_ms: u64) -> i32;
    }
}

/// A cache behind the C functions.
#[cfg(feature = "capi")]
pub(super) struct Native(u64);

#[cfg(feature = "capi")]
impl Native {
    pub(super) fn open() -> Self {
        let mut cache = 0;
        // SAFETY: a text that ends with NUL, and a place for the handle.
        let status = unsafe { ffi::lc_open(c"local:?shards=2".as_ptr(), &mut cache) };
        assert_eq!(status, 0);
        Self(cache)
    }
}

#[cfg(feature = "capi")]
impl Basic for Native {
    fn one(&self, key: &[u8], call: Call) -> Out {
        use std::ffi::c_void;
        use std::ptr;

        let (cache, k, k_len) = (self.0, key.as_ptr().cast::<c_void>(), key.len());
        let with = |value: Stored, call: &dyn Fn(*const c_void, usize) -> i32| {
            let bytes = bytes(value);
            call(bytes.as_ptr().cast(), bytes.len())
        };
        let was = |status: i32, no: i32| {
            assert!(status == 0 || status == no, "status {status}");
            Out::Was(status == 0)
        };
        // SAFETY: every pointer is to memory of the length beside it, or to a place of its type.
        unsafe {
            match call {
                Call::Get => {
                    let (mut value, mut data, mut len) = (ptr::null_mut(), ptr::null(), 0);
                    let status = ffi::lc_get(cache, k, k_len, &mut value, &mut data, &mut len);
                    if status == 1 {
                        return Out::Value(None);
                    }
                    assert_eq!(status, 0);
                    let read = value_of(std::slice::from_raw_parts(data.cast(), len));
                    ffi::lc_value_free(value);
                    Out::Value(Some(read))
                }
                Call::Set { value, ttl, .. } => {
                    let set = |v, len| ffi::lc_set(cache, k, k_len, v, len, ttl);
                    assert_eq!(with(value, &set), 0);
                    Out::Done
                }
                Call::Add { value, ttl } => {
                    was(with(value, &|v, len| ffi::lc_add(cache, k, k_len, v, len, ttl)), 2)
                }
                Call::Replace { value, ttl } => {
                    was(with(value, &|v, len| ffi::lc_replace(cache, k, k_len, v, len, ttl)), 1)
                }
                Call::Swap { expected, value, ttl } => {
                    let old = bytes(expected);
                    let swap = |v, len| {
                        let old = (old.as_ptr().cast(), old.len());
                        ffi::lc_compare_and_set(cache, k, k_len, old.0, old.1, v, len, ttl)
                    };
                    Out::Swapped(match with(value, &swap) {
                        0 => Swap::Done,
                        1 => Swap::Absent,
                        3 => Swap::Conflict,
                        status => panic!("status {status}"),
                    })
                }
                Call::Incr { delta, ttl } => {
                    let mut sum = 0;
                    match ffi::lc_incr(cache, k, k_len, delta, ttl, &mut sum) {
                        0 => Out::Sum(Some(sum)),
                        status => {
                            assert_eq!(status, -11);
                            Out::Sum(None)
                        }
                    }
                }
                Call::Delete => was(ffi::lc_delete(cache, k, k_len), 1),
                Call::Exists => was(ffi::lc_exists(cache, k, k_len), 1),
                Call::Ttl => {
                    let mut ttl = 0;
                    match ffi::lc_ttl(cache, k, k_len, &mut ttl) {
                        1 => Out::Left(None),
                        _ => Out::Left(Some(ttl)),
                    }
                }
                Call::Expire { ttl } => was(ffi::lc_expire(cache, k, k_len, ttl), 1),
                _ => unreachable!("no basic call"),
            }
        }
    }

    fn clear(&self) {
        assert_eq!(ffi::lc_clear(self.0), 0);
    }
}

#[cfg(feature = "capi")]
impl Drop for Native {
    fn drop(&mut self) {
        assert_eq!(ffi::lc_close(self.0), 0);
    }
}

/// What is wrong with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An addition reads, and then writes.
    Incr,
    /// An addition where nothing is looks, and then writes.
    Add,
    /// A read now and then answers what an earlier one did.
    Stale,
    /// A removal now and then is forgotten.
    Delete,
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::Incr, Self::Add, Self::Stale, Self::Delete];
}

/// A map under a lock, with a fault.
pub(super) struct Broken {
    fault: Fault,
    map: Mutex<HashMap<Vec<u8>, Stored>>,
    last_read: Mutex<HashMap<Vec<u8>, Option<Stored>>>,
    calls: AtomicU64,
}

impl Broken {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, map: Mutex::default(), last_read: Mutex::default(), calls: AtomicU64::new(0) }
    }

    fn store(&self, key: &[u8], value: Stored, ttl: Ms) {
        let mut map = self.map.lock().unwrap();
        if ttl == 0 {
            map.remove(key)
        } else {
            map.insert(key.to_vec(), value)
        };
    }

    fn read(&self, key: &[u8]) -> Option<Stored> {
        self.map.lock().unwrap().get(key).copied()
    }

    /// What has no fault, all of it under one lock.
    fn at_once(&self, key: &[u8], call: Call) -> Out {
        let mut map = self.map.lock().unwrap();
        let old = map.remove(key);
        let stored = |value, ttl| (ttl != 0).then_some(value);
        let (new, out) = match call {
            Call::Add { value, ttl } if old.is_none() => (stored(value, ttl), Out::Was(true)),
            Call::Add { .. } => (old, Out::Was(false)),
            Call::Replace { value, ttl } if old.is_some() => (stored(value, ttl), Out::Was(true)),
            Call::Replace { .. } => (old, Out::Was(false)),
            Call::Swap { expected, value, ttl } => match old {
                None => (None, Out::Swapped(Swap::Absent)),
                Some(old) if old != expected => (Some(old), Out::Swapped(Swap::Conflict)),
                Some(_) => (stored(value, ttl), Out::Swapped(Swap::Done)),
            },
            Call::Incr { delta, ttl } => match old {
                None => (stored(delta, ttl), Out::Sum(Some(delta))),
                Some(text @ TEXT..) => (Some(text), Out::Sum(None)),
                Some(number) => (Some(number + delta), Out::Sum(Some(number + delta))),
            },
            Call::Delete => (None, Out::Was(old.is_some())),
            Call::Exists => (old, Out::Was(old.is_some())),
            Call::Ttl => (old, Out::Left(old.map(|_| NEVER))),
            Call::Expire { ttl } => (old.and_then(|old| stored(old, ttl)), Out::Was(old.is_some())),
            _ => unreachable!("no basic call"),
        };
        map.extend(new.map(|new| (key.to_vec(), new)));
        out
    }
}

impl Basic for Broken {
    fn one(&self, key: &[u8], call: Call) -> Out {
        let often = self.calls.fetch_add(1, SeqCst) % 8 == 7;
        match call {
            Call::Get => {
                let value = self.read(key);
                let last = self.last_read.lock().unwrap().insert(key.to_vec(), value);
                match last {
                    Some(last) if self.fault == Fault::Stale && often => Out::Value(last),
                    _ => Out::Value(value),
                }
            }
            Call::Set { value, ttl, .. } => {
                self.store(key, value, ttl);
                Out::Done
            }
            Call::Add { value, ttl } if self.fault == Fault::Add => {
                let absent = self.read(key).is_none();
                thread::yield_now();
                if absent {
                    self.store(key, value, ttl);
                }
                Out::Was(absent)
            }
            Call::Incr { delta, ttl } if self.fault == Fault::Incr => match self.read(key) {
                Some(TEXT..) => Out::Sum(None),
                old => {
                    thread::yield_now();
                    let sum = old.unwrap_or(0) + delta;
                    self.store(key, sum, if old.is_some() { NEVER } else { ttl });
                    Out::Sum(Some(sum))
                }
            },
            Call::Delete if self.fault == Fault::Delete && often => {
                Out::Was(self.read(key).is_some())
            }
            _ => self.at_once(key, call),
        }
    }

    fn clear(&self) {
        self.map.lock().unwrap().clear();
    }
}
