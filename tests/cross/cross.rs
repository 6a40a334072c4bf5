//! A cache at the end of a pipe: the Rust program of tests/python/test_languages.py. The protocol is
//! written at the head of cross.c.

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::time::Duration;

use lighter_cache::{AnyCache, BlockingCache, Error, Ttl, config::Config};

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    match hex {
        "-" => Vec::new(),
        hex => hex.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = if bytes.is_empty() { "-".to_owned() } else { String::new() };
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes it");
    }
    text
}

fn answer(cache: &AnyCache, ttl: &mut Ttl, line: &str) -> Result<String, Error> {
    let found = |there: bool| if there { "ok" } else { "miss" }.to_owned();
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["set", key, value] => {
            BlockingCache::set(cache, &bytes(key), &bytes(value), *ttl).map(|()| found(true))
        }
        ["get", key] => {
            let value = BlockingCache::get(cache, &bytes(key))?;
            Ok(value.map_or_else(|| found(false), |value| format!("value {}", hex(&value))))
        }
        ["delete", key] => BlockingCache::delete(cache, &bytes(key)).map(found),
        ["ttl", _, ms] => {
            *ttl = Ttl::After(Duration::from_millis(ms.parse().expect("milliseconds")));
            Ok(found(true))
        }
        _ => Ok("error no such command".to_owned()),
    }
}

fn main() {
    let url = std::env::args().nth(1).expect("usage: cross URL");
    let cache = match Config::parse(&url).and_then(|config| AnyCache::open(&config)) {
        Ok(cache) => cache,
        Err(error) => return println!("error {error}"),
    };
    println!("open");
    let mut ttl = Ttl::Default;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let said = answer(&cache, &mut ttl, &line);
        println!("{}", said.unwrap_or_else(|error| format!("error {error}")));
        std::io::stdout().flush().expect("a reader");
    }
}
