//! Operations on a Local cache, beside a plain map that is told the same: both answer alike.
//!
//! The first byte chooses the cache: its bound, if any, and its shards. Each operation after it is a byte
//! that chooses it, one that chooses the key, and what it takes. Time passes only where an operation says
//! so. With a bound an entry may be gone where the map still has it; never the other way round, and
//! never with another value.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use lighter_cache::{
    BlockingCache, ErrorKind, Loaded, LocalCache, Remaining, SetOptions, Swap, Ttl,
};

const TAG: &[u8] = b"tag";

/// One input. The cache as it is in the end.
pub fn run(data: &[u8]) -> Option<LocalCache> {
    let mut input = Input(data);
    let how = input.byte()?;
    let now = Arc::new(AtomicU64::new(1_000_000));
    let builder = LocalCache::builder().shards(1 << (how & 1));
    let builder = match how >> 1 & 3 {
        0 | 1 => builder,
        2 => builder.max_entries(4),
        _ => builder.max_bytes(4096),
    };
    let builder = builder.sweep_interval(Duration::from_millis(1 + u64::from(how >> 3)));
    let cache = builder.build_timed(now.clone()).expect("options in their range");
    let mut run = Run { cache, now, bounded: how >> 1 & 3 > 1, map: HashMap::new() };
    while run.step(&mut input).is_some() {}
    Some(run.cache)
}

/// The bytes that are left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Ten keys, some long, most short.
    fn key(&mut self) -> Option<Vec<u8>> {
        let byte = self.byte()? % 10;
        Some(vec![byte + 1; [1, 7, 20, 300][usize::from(byte) % 4]])
    }

    /// A number, or bytes of some length.
    fn value(&mut self) -> Option<Vec<u8>> {
        let byte = self.byte()?;
        Some(match byte % 4 {
            0 | 1 => (i64::from(byte) - 100).to_string().into_bytes(),
            2 => vec![byte; usize::from(byte)],
            _ => vec![byte; usize::from(byte) * 12],
        })
    }

    /// Milliseconds; `None` for never.
    fn ttl(&mut self) -> Option<Option<u64>> {
        let byte = self.byte()?;
        Some(match byte % 8 {
            0..4 => None,
            4 => Some(0),
            5 => Some(u64::from(byte)),
            6 => Some(u64::from(byte) * 1_000),
            _ => Some(1 << (byte % 40)),
        })
    }
}

struct Entry {
    value: Vec<u8>,
    expires_at: Option<u64>,
    tagged: bool,
}

struct Run {
    cache: LocalCache,
    now: Arc<AtomicU64>,
    bounded: bool,
    map: HashMap<Vec<u8>, Entry>,
}

fn as_ttl(ttl: Option<u64>) -> Ttl {
    ttl.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)))
}

/// As an INCR reads it.
fn number(value: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == value).then_some(number)
}

impl Run {
    /// What the map has; with a bound, if the cache has it too.
    fn present(&mut self, key: &[u8]) -> Option<&Entry> {
        if self.bounded && !self.cache.exists(key).expect("a key") {
            self.map.remove(key);
        }
        self.map.get(key)
    }

    fn store(&mut self, key: &[u8], value: Vec<u8>, ttl: Option<u64>, tagged: bool) {
        let expires_at = ttl.map(|ttl| self.now.load(SeqCst) + ttl);
        match ttl {
            Some(0) => drop(self.map.remove(key)),
            _ => drop(self.map.insert(key.to_vec(), Entry { value, expires_at, tagged })),
        }
    }

    /// One operation; `None` at the end of the input.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.byte()?;
        let key = &input.key()?[..];
        match operation % 24 {
            0..3 => {
                let value = BlockingCache::get(&self.cache, key).expect("a key");
                if self.bounded && value.is_none() {
                    self.map.remove(key);
                }
                assert_eq!(value.as_deref(), self.map.get(key).map(|entry| &entry.value[..]));
            }
            3 => {
                let room = usize::from(input.byte()?) * 4;
                let mut buf = Vec::with_capacity(room);
                let spare = &mut buf.spare_capacity_mut()[..room];
                let len = self.cache.get_into(key, spare).expect("a key");
                // SAFETY: where it fits, as many bytes were written.
                unsafe { buf.set_len(len.filter(|len| *len <= room).unwrap_or(0)) };
                let entry = self.present(key);
                assert_eq!(len, entry.map(|entry| entry.value.len()));
                if let Some(entry) = entry.filter(|entry| entry.value.len() <= room) {
                    assert_eq!(buf, entry.value);
                }
            }
            4..8 => {
                let (value, ttl) = (input.value()?, input.ttl()?);
                match BlockingCache::set(&self.cache, key, &value, as_ttl(ttl)) {
                    Ok(()) => self.store(key, value, ttl, false),
                    Err(error) => assert!(self.bounded && error.kind() == ErrorKind::TooBig),
                }
            }
            8 => {
                let (value, ttl) = (input.value()?, input.ttl()?);
                let mut options = SetOptions::new(as_ttl(ttl));
                options.tags.push(TAG.to_vec());
                match self.cache.set_ex(key, &value, &options) {
                    Ok(()) => self.store(key, value, ttl, true),
                    Err(error) => assert!(self.bounded && error.kind() == ErrorKind::TooBig),
                }
            }
            9 => {
                let (value, ttl) = (input.value()?, input.ttl()?);
                let absent = self.present(key).is_none();
                match self.cache.add(key, &value, as_ttl(ttl)) {
                    Ok(stored) => {
                        assert_eq!(stored, absent);
                        if stored {
                            self.store(key, value, ttl, false);
                        }
                    }
                    Err(error) => assert!(self.bounded && error.kind() == ErrorKind::TooBig),
                }
            }
            10 => {
                let (value, ttl) = (input.value()?, input.ttl()?);
                let there = self.present(key).is_some();
                match self.cache.replace(key, &value, as_ttl(ttl)) {
                    Ok(stored) => {
                        assert_eq!(stored, there);
                        if stored {
                            self.store(key, value, ttl, false);
                        }
                    }
                    Err(error) => assert!(self.bounded && error.kind() == ErrorKind::TooBig),
                }
            }
            11 => {
                let (value, ttl) = (input.value()?, input.ttl()?);
                let old = self.present(key).map(|entry| entry.value.clone());
                let expected = match input.byte()? % 4 {
                    0 => value.clone(),
                    _ => old.clone().unwrap_or_default(),
                };
                let wanted = match &old {
                    None => Swap::Absent,
                    Some(old) if *old != expected => Swap::Conflict,
                    Some(_) => Swap::Done,
                };
                match self.cache.compare_and_set(key, &expected, &value, as_ttl(ttl)) {
                    Ok(swap) => {
                        assert_eq!(swap, wanted);
                        if swap == Swap::Done {
                            self.store(key, value, ttl, false);
                        }
                    }
                    Err(error) => assert!(self.bounded && error.kind() == ErrorKind::TooBig),
                }
            }
            12 | 13 => {
                let (delta, ttl) = (i64::from(input.byte()?) - 50, input.ttl()?);
                let old = self.present(key);
                let wanted = match old {
                    None => Some(delta),
                    Some(entry) if entry.tagged => None,
                    Some(entry) => number(&entry.value).and_then(|old| old.checked_add(delta)),
                };
                match (self.cache.incr(key, delta, as_ttl(ttl)), wanted) {
                    (Ok(sum), Some(wanted)) => {
                        assert_eq!(sum, wanted);
                        let digits = sum.to_string().into_bytes();
                        match self.map.get_mut(key) {
                            Some(entry) => entry.value = digits,
                            None => self.store(key, digits, ttl, false),
                        }
                    }
                    (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Type),
                    (result, wanted) => panic!("{result:?} where {wanted:?} is right"),
                }
            }
            14 => {
                let there = self.present(key).is_some();
                assert_eq!(self.cache.delete(key).expect("a key"), there);
                self.map.remove(key);
            }
            15 => {
                let ttl = self.cache.ttl(key).expect("a key");
                let now = self.now.load(SeqCst);
                let left = self.present(key).map(|entry| match entry.expires_at {
                    None => Remaining::Forever,
                    Some(at) => Remaining::For(Duration::from_millis(at - now)),
                });
                assert_eq!(ttl, left);
            }
            16 => {
                let ttl = input.ttl()?;
                let there = self.present(key).is_some();
                assert_eq!(self.cache.expire(key, as_ttl(ttl)).expect("a key"), there);
                if let Some(Entry { value, tagged, .. }) = self.map.remove(key) {
                    self.store(key, value, ttl, tagged);
                }
            }
            17 => {
                let value = input.value()?;
                let wanted = self.present(key).map_or_else(|| value.clone(), |e| e.value.clone());
                let load = &mut |_: &[u8]| Ok(Some(Loaded::new(value.clone())));
                let options = SetOptions::new(Ttl::Never);
                let loaded = self.cache.get_or_load(key, &options, load).expect("it loads");
                assert_eq!(loaded.as_deref(), Some(&wanted[..]));
                if !self.map.contains_key(key) {
                    self.store(key, value, None, false);
                }
            }
            18 => {
                let other = &input.key()?[..];
                let keys = [key, other, key, other, b"none"];
                let values = self.cache.get_many(&keys).expect("keys");
                for (key, value) in keys.iter().zip(values) {
                    if self.bounded && value.is_none() {
                        self.map.remove(*key);
                    }
                    let wanted = self.map.get(*key).map(|entry| &entry.value[..]);
                    assert_eq!(value.as_deref(), wanted);
                }
            }
            19 => {
                let (other, value) = (&input.key()?[..], input.value()?);
                let items = [(key, &value[..]), (other, b"1"), (other, b"2")];
                match self.cache.set_many(&items, Ttl::Never) {
                    Ok(()) => {
                        self.store(key, value, None, false);
                        self.store(other, b"2".to_vec(), None, false);
                    }
                    // Some may be stored.
                    Err(error) => {
                        assert!(self.bounded && error.kind() == ErrorKind::TooBig);
                        self.cache.delete_many(&[key, other]).expect("keys");
                        self.map.remove(key);
                        self.map.remove(other);
                    }
                }
            }
            20 => match input.byte()? % 4 {
                0 => {
                    self.cache.clear().expect("it never fails");
                    self.map.clear();
                }
                1 => {
                    self.cache.delete_prefix(&key[..1]).expect("it never fails");
                    self.map.retain(|other, _| other[0] != key[0]);
                }
                2 => {
                    self.cache.invalidate_tag(TAG).expect("a tag");
                    self.map.retain(|_, entry| !entry.tagged);
                }
                _ => {
                    self.cache.delete_many(&[key, b"none"]).expect("keys");
                    self.map.remove(key);
                }
            },
            21 => {
                let mut seen = Vec::new();
                let visit = &mut |key: &[u8]| {
                    seen.push(key.to_vec());
                    ControlFlow::Continue(())
                };
                self.cache.for_each_key(b"", visit).expect("it never fails");
                assert!(seen.iter().all(|key| self.map.contains_key(key)));
                assert!(self.bounded || seen.len() == self.map.len());
            }
            22 => {
                // One whose tag was invalidated is counted until it is freed.
                let count = self.cache.count().expect("it never fails");
                assert!(self.bounded || count >= self.map.len() as u64);
            }
            _ => {
                let byte = input.byte()?;
                let by = if byte < 128 { u64::from(byte) } else { 1 << (byte % 36) };
                let now = self.now.fetch_add(by, SeqCst) + by;
                self.map.retain(|_, entry| entry.expires_at.is_none_or(|at| at > now));
            }
        }
        Some(())
    }
}
