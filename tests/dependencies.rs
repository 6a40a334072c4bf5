//! `docs/dependencies.md` gives a reason for each crate that the manifests name.

#[test]
fn every_crate_has_its_line() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
    let page = read("docs/dependencies.md");
    let mut named = 0;
    for manifest in ["Cargo.toml", "bindings/python/Cargo.toml"] {
        let mut section = String::new();
        for line in read(manifest).lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            } else if section.ends_with("dependencies]")
                && let Some((name, _)) = line.split_once(" = ")
            {
                let row = format!("| `{name}` |");
                assert!(page.contains(&row), "docs/dependencies.md has no line for `{name}`");
                named += 1;
            }
        }
    }
    assert!(named >= 10, "only {named} crates found in the manifests");
}
