//! What this process last saw in L2 of keys that L1 has let go of: a bounded memory, which a queued write
//! takes up.
//!
//! L1 lets go of a key when nobody knows which of two overlapping writes L2 took last, when L2 alone decides
//! (add, incr, …), or when everything is flushed or cleared while a write is under way. What L2 holds then
//! may well be this process's own write, though L1 does not tell so any more. Forgotten, it would count as
//! another process's value: the next write that has to be queued would give way to it, and this process
//! would read its own older value again.
//!
//! A value is remembered before the write that it came with ends, and forgotten when L1 has been filled from
//! L2 again. The oldest keys go first where there are too many, and with them what was known.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::hash::{self, RandomState};
use crate::value::Value;

/// Values of one key; the oldest goes first.
const VALUES: usize = 4;
/// What a key costs besides itself and its values, about.
const OVERHEAD: usize = 192;

pub(super) struct Recent {
    keys: HashMap<Arc<[u8]>, Known, RandomState>,
    by_age: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    bytes: usize,
    max_keys: usize,
    max_bytes: usize,
}

struct Known {
    born: u64,
    values: VecDeque<Value>,
}

impl Known {
    fn bytes(&self, key: &[u8]) -> usize {
        OVERHEAD + key.len() + self.values.iter().map(|value| value.len()).sum::<usize>()
    }
}

impl Recent {
    pub(super) fn new(max_keys: usize, max_bytes: usize) -> Self {
        let keys = HashMap::with_hasher(hash::keyed());
        Self { keys, by_age: BTreeMap::new(), next: 0, bytes: 0, max_keys, max_bytes }
    }

    /// L2 may hold `value` under `key`.
    pub(super) fn remember(&mut self, key: &[u8], value: Value) {
        let mut known = match self.keys.remove_entry(key) {
            Some((key, known)) => {
                self.bytes -= known.bytes(&key);
                (key, known)
            }
            None => {
                let key: Arc<[u8]> = key.into();
                self.next += 1;
                self.by_age.insert(self.next, key.clone());
                (key, Known { born: self.next, values: VecDeque::new() })
            }
        };
        known.1.values.retain(|other| other[..] != value[..]);
        known.1.values.push_back(value);
        if known.1.values.len() > VALUES {
            known.1.values.pop_front();
        }
        self.bytes += known.1.bytes(&known.0);
        self.keys.insert(known.0, known.1);
        while self.keys.len() > self.max_keys || self.bytes > self.max_bytes {
            let Some(oldest) = self.by_age.values().next().cloned() else { break };
            self.take(&oldest);
        }
    }

    /// What L2 may hold under `key`, for good.
    pub(super) fn take(&mut self, key: &[u8]) -> VecDeque<Value> {
        let Some(known) = self.keys.remove(key) else { return VecDeque::new() };
        self.by_age.remove(&known.born);
        self.bytes -= known.bytes(key);
        known.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::copy_from(text.as_bytes()).expect("memory")
    }

    fn known(recent: &mut Recent, key: &[u8]) -> Vec<String> {
        let text = |value: Value| String::from_utf8(value.to_vec()).expect("text");
        recent.take(key).into_iter().map(text).collect()
    }

    #[test]
    fn it_tells_once_what_it_remembers() {
        let mut recent = Recent::new(10, 10_000);
        recent.remember(b"k", value("a"));
        recent.remember(b"k", value("b"));
        recent.remember(b"k", value("a"));
        assert_eq!(known(&mut recent, b"k"), ["b", "a"]);
        assert_eq!(known(&mut recent, b"k"), [""; 0]);
        assert_eq!(recent.bytes, 0);
    }

    #[test]
    fn it_stays_within_its_bounds_and_forgets_the_oldest() {
        let mut recent = Recent::new(2, 10_000);
        for key in ["1", "2", "3"] {
            recent.remember(key.as_bytes(), value(key));
        }
        assert_eq!(known(&mut recent, b"1"), [""; 0]);
        assert_eq!(known(&mut recent, b"3"), ["3"]);
        for round in 0..100 {
            recent.remember(b"k", value(&round.to_string()));
        }
        assert_eq!(known(&mut recent, b"k"), ["96", "97", "98", "99"]);
        for round in 0..1000 {
            recent.remember(b"k", value("v"));
            assert_eq!(recent.take(b"k").len(), 1, "{round}");
        }
        assert!(recent.by_age.len() < 20, "{}", recent.by_age.len());
        let mut recent = Recent::new(10, 500);
        recent.remember(b"big", value(&"x".repeat(400)));
        assert_eq!(known(&mut recent, b"big"), [""; 0], "it is too big to be remembered");
        assert_eq!(recent.bytes, 0);
    }
}
