//! Tests of blocks: lengths, holders, overwriting.

use super::*;

fn entry(key: &[u8], value: &[u8]) -> Value {
    let extra = Extra::Stamp(9);
    Value::entry(Entry { hash: u32::MAX - 7, key, value, expires_at: 5, extra }).unwrap()
}

#[test]
fn copies_and_takes_over() {
    for bytes in [&b""[..], b"x", b"\0\xff\r\n", &[7; 100_000]] {
        assert_eq!(&*Value::copy_from(bytes).unwrap(), bytes);
        assert_eq!(&*Value::from_vec(bytes.to_vec(), 0).unwrap(), bytes);
        let mut long = b"header".to_vec();
        long.extend_from_slice(bytes);
        let address = long[6..].as_ptr();
        let value = Value::from_vec(long, 6).unwrap();
        assert_eq!(&*value, bytes);
        assert_eq!(value.as_ptr(), address, "taken over, not copied");
    }
    assert_eq!(&*Value::from_vec(vec![1, 2], 3).unwrap(), b"");
}

#[test]
fn keys_of_every_length() {
    for len in (1..70).chain([255, 65_535, 65_536]) {
        let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let value = entry(&key, b"value");
        assert_eq!(value.key(), key);
        assert!(value.has_key(&key) && !value.has_key(&key[1..]));
        for place in [0, len / 2, len - 1] {
            let mut other = key.clone();
            other[place] ^= 1;
            assert!(!value.has_key(&other), "{place} of {len}");
        }
        assert_eq!(&*value, b"value");
        value.set_place(u16::MAX);
        assert_eq!((value.hash(), value.expires_at(), value.stamp()), (u32::MAX - 7, 5, 9));
        value.set_expires_at(NEVER);
        assert_eq!((value.place(), value.expires_at()), (u16::MAX, NEVER));
        value.set_place(0);
        assert_eq!((value.place(), value.expires_at()), (0, NEVER));
    }
    let long = vec![0; KEY_MAX + 1];
    let entry = Entry { hash: 0, key: &long, value: b"", expires_at: NEVER, extra: Extra::None };
    assert_eq!(Value::entry(entry).unwrap_err().kind(), ErrorKind::TooBig);
}

#[test]
fn holders_share_and_outlive() {
    let first = entry(b"key", b"shared");
    let second = first.clone();
    assert_eq!(first.as_ptr(), second.as_ptr());
    drop(first);
    assert_eq!(&*second, b"shared");
    let raw = second.into_raw();
    // SAFETY: `raw` is a holder until the next line but one.
    assert_eq!(&**unsafe { Value::borrow_raw(&raw) }, b"shared");
    // SAFETY: taken back once.
    assert_eq!(&*unsafe { Value::from_raw(raw) }, b"shared");
}

#[test]
fn holders_in_many_threads() {
    let value = Value::from_vec(vec![3; 5000], 8).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let other = value.clone();
                    assert_eq!(other.len(), 4992);
                }
            });
        }
    });
    assert_eq!(value.block().refs.load(Relaxed), 1);
}

#[test]
fn overwrites_only_alone_and_in_the_same_size() {
    let mut value = entry(b"key", b"0123456789");
    for fitting in [&b"abcdefghij"[..], b"abcdefghijk"] {
        assert!(value.can_overwrite(fitting.len(), true));
        assert!(!value.can_overwrite(fitting.len(), false), "there is room for a stamp");
        // SAFETY: no other thread knows the block.
        unsafe { value.overwrite(fitting, 7, Some(1)) };
        assert_eq!((&*value, value.key()), (fitting, &b"key"[..]));
        assert_eq!((value.expires_at(), value.stamp()), (7, 1));
    }
    assert!(!value.can_overwrite(100, true));
    let pin = value.clone();
    assert!(!value.can_overwrite(11, true));
    drop(pin);
    assert!(value.can_overwrite(11, true));
    assert!(!Value::from_vec(b"0123456789".to_vec(), 0).unwrap().can_overwrite(10, false));
}

#[test]
fn attributes_stand_before_the_header_and_are_freed_with_it() {
    use std::sync::Arc;
    let tag = Arc::new(Tag {
        name: b"t".as_slice().into(),
        version: AtomicU64::new(3),
        proof: AtomicU32::new(0),
    });
    for (tags, negative) in [(1, false), (3, true), (0, false)] {
        let marks = vec![TagMark { tag: tag.clone(), version: 3 }; tags];
        let attributes = Attributes::new(10, 5, marks);
        let extra = Extra::Attributes { attributes, negative };
        let new = Entry { hash: 1, key: b"key", value: b"value", expires_at: 20, extra };
        let value = Value::entry(new).unwrap();
        assert!(!value.is_plain() && value.is_negative() == negative);
        assert!(!value.can_overwrite(5, false) && !value.can_overwrite(5, true));
        assert_eq!((value.key(), &*value, value.stamp()), (&b"key"[..], &b"value"[..], 0));
        let attributes = value.attributes().unwrap();
        assert_eq!((attributes.fresh_until(), attributes.refresh_at()), (10, 5));
        assert_eq!(attributes.tags().len(), tags);
        assert!(attributes.tags().iter().all(TagMark::holds));
        assert_eq!(Arc::strong_count(&tag), 1 + tags);
        assert!(value.footprint() > 32 + 24 + 8 + tags * size_of::<TagMark>());
        drop(value);
        assert_eq!(Arc::strong_count(&tag), 1);
    }
}

#[test]
fn a_plain_value_that_nobody_else_holds_is_replaced_where_it_fits() {
    let mut value = Value::copy_from(b"first").unwrap();
    assert!(value.try_replace(b"other"));
    assert_eq!(&*value, b"other");
    let held = value.clone();
    assert!(!value.try_replace(b"third"));
    drop(held);
    assert!(!value.try_replace(&[b'x'; 500]));
    assert!(value.try_replace(b"four"));
    assert_eq!(&*value, b"four");
    let mut tagged = Value::with_conditions(b"first", Some(5), Vec::new()).unwrap();
    assert!(!tagged.try_replace(b"other"));
    assert_eq!(&*tagged, b"first");
}

#[test]
fn debug_hides_the_bytes() {
    let text = format!("{:?}", entry(b"key", b"secret"));
    assert_eq!(text, "Value(6 bytes)");
}

#[test]
fn copies_into_only_what_fits() {
    let value = entry(b"key", b"abc");
    let mut buf = [MaybeUninit::new(b'.'); 4];
    assert_eq!(value.copy_into(&mut buf[..2]), 3);
    // SAFETY: the whole buffer was initialised.
    assert_eq!(unsafe { buf[0].assume_init() }, b'.');
    assert_eq!(value.copy_into(&mut buf), 3);
    // SAFETY: as above.
    assert_eq!(buf.map(|byte| unsafe { byte.assume_init() }), *b"abc.");
}
