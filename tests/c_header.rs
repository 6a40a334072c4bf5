//! The C header is complete as a manual, and `tests/exports.txt` lists what it declares.

use std::collections::BTreeSet;
use std::fs;

/// A function of the header: its name, and the comment above it in one line.
fn functions(header: &str) -> Vec<(String, String)> {
    let mut comment = String::new();
    let mut found = Vec::new();
    for line in header.lines() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
            comment.push(' ');
            continue;
        }
        let declares =
            line.ends_with(");") && !line.starts_with([' ', '#']) && !line.starts_with("typedef");
        if declares {
            let before = &line[..line.find('(').unwrap()];
            let name = before.rsplit([' ', '*']).next().unwrap();
            found.push((name.to_owned(), std::mem::take(&mut comment)));
        }
        comment.clear();
    }
    found
}

fn header() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/lighter_cache.h")).unwrap()
}

#[test]
fn every_function_is_documented_in_full() {
    for (name, comment) in functions(&header()) {
        let frees = name.ends_with("_free");
        for part in ["Returns:", "Threads:", "Blocks:", "Ownership:"] {
            assert!(
                comment.contains(part) || (frees && part == "Returns:"),
                "the comment of {name} has no {part}"
            );
        }
    }
}

#[test]
fn every_status_that_is_mentioned_exists() {
    let header = header();
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let defined: BTreeSet<&str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .map(|rest| rest.split(|c| !is_name(c)).next().unwrap())
        .collect();
    for name in defined.iter() {
        assert!(
            name.starts_with("LCACHE_") || *name == "LIGHTER_CACHE_H",
            "{name} is no name of ours"
        );
    }
    for word in header.split(|c| !is_name(c)).filter(|word| word.starts_with("LCACHE_")) {
        assert!(
            defined.contains(word) || word.ends_with('_') || word == "LCACHE_E",
            "{word} is not defined"
        );
    }
}

#[test]
fn declared_and_exported_are_the_same() {
    let exports =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exports.txt")).unwrap();
    let declared: BTreeSet<String> =
        functions(&header()).into_iter().map(|(name, _)| name).collect();
    let exported: BTreeSet<String> = exports.lines().map(str::to_owned).collect();
    assert_eq!(declared, exported);
    assert!(declared.iter().all(|name| name.starts_with("lc_")));
}
