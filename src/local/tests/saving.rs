//! What is saved comes back: times, windows, tags, what there is none of.

use super::*;
use crate::ops::{Loaded, SetOptions, Stale};

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("lighter-cache-{name}-{}", std::process::id()))
}

#[test]
fn a_cache_comes_back_as_it_was() {
    let builder = || LocalCache::builder().negative_ttl(Duration::from_secs(3600));
    let cache = builder().build().unwrap();
    let path = path("whole");
    for i in 0..1000_u32 {
        set(&cache, &i.to_le_bytes(), &vec![i as u8; i as usize], ms(3_600_000));
    }
    set(&cache, b"for ever", b"v", Ttl::Never);
    let mut options = SetOptions::new(Duration::from_millis(1));
    options.stale = Stale::For(Duration::from_secs(3600));
    options.tags = vec![b"t".to_vec()];
    cache.set_ex(b"stale", b"old", &options).unwrap();
    options.ttl = Ttl::Never;
    cache.set_ex(b"tagged", b"v", &options).unwrap();
    options.tags = vec![b"gone".to_vec()];
    cache.set_ex(b"invalidated", b"v", &options).unwrap();
    cache.invalidate_tag(b"gone").unwrap();
    let none = &mut |_: &[u8]| Ok(None);
    assert!(cache.get_or_load(b"none", &SetOptions::default(), none).unwrap().is_none());
    while cache.exists(b"stale").unwrap() {
        std::thread::yield_now();
    }
    assert_eq!(cache.save(&path).unwrap(), 1004);

    let other = builder().build().unwrap();
    set(&other, b"own", b"stays", Ttl::Never);
    set(&other, b"for ever", b"older", Ttl::Never);
    assert_eq!(other.load(&path).unwrap(), 1004);
    for i in 0..1000_u32 {
        assert_eq!(get(&other, &i.to_le_bytes()).unwrap(), vec![i as u8; i as usize]);
    }
    assert!(matches!(other.ttl(&[0; 4]).unwrap(),
        Some(Remaining::For(left)) if left <= Duration::from_secs(3600) && left.as_secs() > 3500));
    assert_eq!(other.ttl(b"for ever").unwrap(), Some(Remaining::Forever));
    assert_eq!(get(&other, b"for ever").unwrap(), b"v");
    assert!(get(&other, b"own").is_some() && get(&other, b"invalidated").is_none());
    assert!(get(&other, b"stale").is_none());
    let failing = &mut |_: &[u8]| Err(ErrorKind::Loader.into());
    let served = other.get_or_load(b"stale", &SetOptions::default(), failing).unwrap();
    assert_eq!(served.as_deref(), Some(&b"old"[..]));
    let value = &mut |_: &[u8]| Ok(Some(Loaded::new("v")));
    assert!(other.get_or_load(b"none", &SetOptions::default(), value).unwrap().is_none());
    other.invalidate_tag(b"t").unwrap();
    assert!(get(&other, b"tagged").is_none());
    other.0.store.validate();

    // A small cache takes what it can.
    let small = LocalCache::builder().max_entries(10).max_value_bytes(500).build().unwrap();
    assert!(small.load(&path).unwrap() < 1004);
    assert!(small.len() <= 10);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_encrypted_one_needs_its_key() {
    let key = |byte: &str| byte.repeat(42) + "A=";
    let with = |keys: &str| LocalCache::builder().encryption_keys(keys).build().unwrap();
    let path = path("sealed");
    let old = with(&format!("1:{}", key("a")));
    set(&old, b"k", b"a value that must not be read", Ttl::Never);
    old.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(7).any(|part| part == b"a value"));
    let rotated = with(&format!("2:{},1:{}", key("b"), key("a")));
    assert_eq!(rotated.load(&path).unwrap(), 1);
    for other in [with(&format!("1:{}", key("b"))), LocalCache::new()] {
        assert_eq!(other.load(&path).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(other.is_empty());
    }
    LocalCache::new().save(&path).unwrap();
    assert_eq!(rotated.load(&path).unwrap_err().kind(), ErrorKind::Corrupt, "no plain file");
    assert!(LocalCache::builder().encryption_keys("1:x").build().is_err());
    std::fs::remove_file(path).unwrap();
}
