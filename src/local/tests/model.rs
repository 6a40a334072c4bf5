//! The Local cache against a plain map with expiry, under virtual time.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    GetInto(u8, usize),
    Pin(u8),
    Set(u8, usize, u8, Option<u64>),
    Stamp(u8, u8, Option<u64>, bool),
    Delete(u8),
    Remove(u8),
    Exists(u8),
    Ttl(u8),
    Expire(u8, Option<u64>),
    Clear,
    Count,
    Keys(Vec<u8>),
    Advance(u64),
    Sweep,
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0..3_u64).prop_map(Some), (1..300_000_u64).prop_map(Some)]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..20_usize, 1000..1100_usize]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..12_u8;
    prop_oneof![
        3 => key().prop_map(Step::Get),
        2 => (key(), length()).prop_map(|(key, len)| Step::GetInto(key, len)),
        1 => key().prop_map(Step::Pin),
        8 => (key(), length(), any::<u8>(), ttl()).prop_map(|(k, l, v, t)| Step::Set(k, l, v, t)),
        2 => (key(), any::<u8>(), ttl(), any::<bool>()).prop_map(|(k, v, t, y)| Step::Stamp(k, v, t, y)),
        2 => key().prop_map(Step::Delete),
        1 => key().prop_map(Step::Remove),
        1 => key().prop_map(Step::Exists),
        2 => key().prop_map(Step::Ttl),
        3 => (key(), ttl()).prop_map(|(key, ttl)| Step::Expire(key, ttl)),
        1 => Just(Step::Clear),
        1 => Just(Step::Count),
        1 => vec(any::<u8>(), 0..2).prop_map(Step::Keys),
        3 => prop_oneof![0..5_u64, 0..1500_u64, 0..400_000_u64].prop_map(Step::Advance),
        2 => Just(Step::Sweep),
    ]
}

fn as_ttl(ttl: Option<u64>) -> Ttl {
    ttl.map_or(Ttl::Never, ms)
}

/// What is stored, and when it expires.
#[derive(Default)]
struct Model {
    now: u64,
    entries: HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    hits: u64,
    misses: u64,
    sets: u64,
    deletes: u64,
}

impl Model {
    fn expire(&mut self) {
        self.entries.retain(|_, (_, at)| at.is_none_or(|at| at > self.now));
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.entries.get(key).map(|(value, _)| value.clone());
        *(if found.is_some() { &mut self.hits } else { &mut self.misses }) += 1;
        found
    }

    /// True if the key was removed because the TTL is 0.
    fn set(&mut self, key: &[u8], value: &[u8], ttl: Option<u64>) -> bool {
        if ttl == Some(0) {
            return self.entries.remove(key).is_some();
        }
        self.entries.insert(key.to_vec(), (value.to_vec(), ttl.map(|ttl| self.now + ttl)));
        false
    }
}

/// Keys of very different length.
fn key_of(key: u8) -> Vec<u8> {
    vec![key + 1; [1, 8, 30, 1000][usize::from(key) % 4]]
}

fn run(steps: Vec<Step>) {
    let timed = Timed::new(LocalOptions { shards: Some(2), ..LocalOptions::default() });
    let cache = &timed.cache;
    let mut model = Model { now: timed.now.load(SeqCst), ..Model::default() };
    let mut pins = Vec::new();
    for step in steps {
        model.expire();
        match step {
            Step::Get(key) => assert_eq!(get(cache, &key_of(key)), model.get(&key_of(key))),
            Step::GetInto(key, room) => {
                let mut buf = Vec::with_capacity(room);
                let len =
                    cache.get_into(&key_of(key), &mut buf.spare_capacity_mut()[..room]).unwrap();
                let expected = model.get(&key_of(key));
                assert_eq!(len, expected.as_ref().map(Vec::len));
                if let Some(value) = expected.filter(|value| value.len() <= room) {
                    // SAFETY: as many bytes were written.
                    unsafe { buf.set_len(value.len()) };
                    assert_eq!(buf, value);
                }
            }
            Step::Pin(key) => {
                if let Some(value) = model.get(&key_of(key)) {
                    pins.push((BlockingCache::get(cache, &key_of(key)).unwrap().unwrap(), value));
                } else {
                    assert_eq!(get(cache, &key_of(key)), None);
                }
            }
            Step::Set(key, len, fill, ttl) => {
                set(cache, &key_of(key), &vec![fill; len], as_ttl(ttl));
                model.deletes += u64::from(model.set(&key_of(key), &vec![fill; len], ttl));
                model.sets += u64::from(ttl != Some(0));
            }
            Step::Stamp(key, fill, ttl, valid) => {
                let done = cache.set_stamped_if(&key_of(key), &[fill], ttl, fill.into(), || valid);
                assert_eq!(done.unwrap(), valid || ttl == Some(0));
                if valid || ttl == Some(0) {
                    model.set(&key_of(key), &[fill], ttl);
                    let stamp = cache.get_stamped(&key_of(key)).unwrap().map(|entry| entry.stamp);
                    assert_eq!(stamp, (ttl != Some(0)).then_some(fill.into()));
                }
            }
            Step::Delete(key) => {
                let there = model.entries.remove(&key_of(key)).is_some();
                assert_eq!(cache.delete(&key_of(key)).unwrap(), there);
                model.deletes += u64::from(there);
            }
            Step::Remove(key) => {
                let there = model.entries.remove(&key_of(key)).is_some();
                assert_eq!(cache.remove(&key_of(key)), there);
            }
            Step::Exists(key) => {
                let there = model.entries.contains_key(&key_of(key));
                assert_eq!(cache.exists(&key_of(key)).unwrap(), there);
            }
            Step::Ttl(key) => {
                let left = model.entries.get(&key_of(key)).map(|(_, at)| match at {
                    None => Remaining::Forever,
                    Some(at) => Remaining::For(Duration::from_millis(at - model.now)),
                });
                assert_eq!(cache.ttl(&key_of(key)).unwrap(), left);
            }
            Step::Expire(key, ttl) => {
                let there = model.entries.contains_key(&key_of(key));
                assert_eq!(cache.expire(&key_of(key), as_ttl(ttl)).unwrap(), there);
                if let Some((value, _)) = model.entries.get(&key_of(key)).cloned() {
                    model.deletes += u64::from(model.set(&key_of(key), &value, ttl));
                }
            }
            Step::Clear => {
                cache.clear().unwrap();
                model.deletes += model.entries.len() as u64;
                model.entries.clear();
            }
            Step::Count => assert_eq!(cache.count().unwrap(), model.entries.len() as u64),
            Step::Keys(prefix) => {
                let mut keys = cache.keys(&prefix);
                let with_prefix = model.entries.keys().filter(|key| key.starts_with(&prefix));
                let mut expected: Vec<_> = with_prefix.cloned().collect();
                keys.sort();
                expected.sort();
                assert_eq!(keys, expected);
            }
            Step::Advance(time) => {
                timed.advance(time);
                model.now += time;
            }
            Step::Sweep => {
                for shard in 0..cache.shard_count() {
                    while cache.sweep_shard(shard, model.now, false) {}
                }
            }
        }
        cache.0.store.validate();
    }
    for (pin, value) in pins {
        assert_eq!(*pin, value);
    }
    model.expire();
    let stats = BlockingCache::stats(cache).unwrap();
    assert_eq!(stats.size, model.entries.len() as u64);
    let counted = (stats.hits, stats.misses, stats.sets, stats.deletes);
    assert_eq!(counted, (model.hits, model.misses, model.sets, model.deletes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_map_with_expiry(steps in vec(step(), 1..120)) {
        run(steps);
    }
}
