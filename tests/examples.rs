//! `examples/cache_usage.rs` runs, without a server and with one, and does on each cache what its siblings in C,
//! C++ and Python do.

#[path = "support/mod.rs"]
mod support;

use std::process::{Command, Stdio};

use support::Server;

/// What the example prints, line by line, with `REDIS_URL` as given.
fn printed(redis_url: Option<&str>) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["run", "--quiet", "--locked", "--example", "cache_usage"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .env_remove("REDIS_URL");
    if let Some(url) = redis_url {
        cargo.env("REDIS_URL", url);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).expect("it prints text").lines().map(str::to_owned).collect()
}

fn begin_with(lines: &[String], titles: &[&str]) {
    assert_eq!(lines.len(), titles.len(), "{lines:?}");
    for (line, title) in lines.iter().zip(titles) {
        assert!(line.starts_with(title), "{lines:?}");
    }
}

#[test]
fn cache_usage() {
    begin_with(&printed(None), &["Local", "by URL", "set REDIS_URL"]);
    let server = Server::single();
    begin_with(&printed(Some(server.url())), &["Local", "by URL", "Redis", "Hybrid", "L1 only"]);
}
