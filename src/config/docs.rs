//! The page `docs/configuration.md`, written from the schema so that it can't differ from the code.

use std::fmt::Write;

use super::schema::{Row, SCHEMA, Scope};
use super::url::SCHEMES;

const HEAD: &str = "\
# Configuration

<!-- Written from the schema in `src/config/schema.rs`. After a change there:
     LC_WRITE_DOCS=1 cargo test --test config -->

A cache is opened by a URL. Which of the three caches it is, where its server is and every option stand
in that one line, and it means the same in C, C++, Python and Rust: a program moves from Local to Redis
to Hybrid by another URL.

## URLs

| URL | opens |
|---|---|
| `local:` · `local://?shards=16` | a Local cache, in this process |
| `redis://[USER:PASSWORD@]HOST[:6379][/DB]?prefix=app` | a Redis cache: Redis or Valkey by TCP |
| `rediss://HOST…` | the same with TLS |
| `redis+unix:///PATH?db=1` | the same by a unix socket |
| `redis://N1,N2:7000,N3` · `redis+cluster://N1` | a Redis cache on a Cluster; name some of its nodes |
| `redis+sentinel://S1:26379,S2/SERVICE[/DB]` | a Redis cache on the master that the Sentinels name, through fail-overs |
| `hybrid+redis://…` | a Hybrid: a Local cache (L1) over the Redis cache (L2) of the URL behind `hybrid+` |
| none (`NULL`, `None`) | what the environment says, see below |

";

const RULES: &str = "
- IPv6 addresses stand in brackets: `redis://[::1]:6379`. Ports default to 6379, of Sentinels to 26379.
- `@` stands once, before the host. Elsewhere write `%40`; in user names and passwords also `/` as
  `%2F`, `?` as `%3F`, `#` as `%23`, `%` as `%25`, and `:` in a user name as `%3A`. Names and values of
  options may be percent-encoded too; `+` stands for itself.
- A password without a user is `redis://:PASSWORD@HOST`. User, password and database may be options
  instead; in both places they must agree.
- An option stands at most once. An unknown scheme or option, a value that is malformed or out of
  range, and options that contradict each other are errors; the message names the option and the
  nearest valid one. A URL with a fragment (`#insecure`) is refused.
- Passwords and encryption keys are never shown: in no message, log, metric or debug output.
- `lc_check` judges a URL without opening anything.

Options can also be given by name, where they override the URL: `lc_config_set(config, \"timeout\",
\"200ms\")` in C, `ConfigBuilder::set` in Rust, keyword arguments in Python with `_` for `.`, as in
`lighter_cache.open(url, timeout=\"200ms\", l1_shards=16)`.

## Values

| | written as |
|---|---|
| duration | a number and `ms`, `s`, `m`, `h` or `d`: `250ms`, `1.5s`, `5m`; a bare number is seconds |
| size | a number of bytes, or one with `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `KB`, `MB`, `GB`, `TB` (powers of 1000) or `B`: `64MiB`, `65536` |
| boolean | `true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0` |
| `none`, `auto`, `off` | where an option takes them |

## Options

An option marked *later* belongs to a feature that this version has not: any value but its default is
checked, and then refused as unsupported when a cache is opened. `lc_check` accepts it.
";

const ENVIRONMENT: &str = "
## Environment

Without a URL, `LIGHTER_CACHE_URL` is the URL. Where that is not set either, `REDIS_URL` (any URL above
that begins with `redis` or `valkey`) is opened as a Hybrid. Where neither is set the cache is Local, and
the log gets one warning. An empty variable counts as not set.

These are read once, when they are first needed:

";

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    let schemes: Vec<String> = SCHEMES.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let _ = writeln!(
        page,
        "All schemes: `local`, {}; each but `local` also with `hybrid+` before it.",
        schemes.join(", ")
    );
    page.push_str(RULES);
    let groups = [
        (Scope::Common, "Of all caches", ""),
        (
            Scope::Local,
            "Of the Local cache, and of a Hybrid's L1",
            "On a Hybrid these names have the prefix `l1.`, as in `l1.shards`.\n\n",
        ),
        (Scope::Redis, "Of the Redis cache, and of a Hybrid's L2", ""),
        (
            Scope::Hybrid,
            "Of the Hybrid",
            "A Hybrid also has all options above. For one that is composed of two open caches\n\
             (`lc_open_hybrid`) only those of this table are given, as `watchdog=2s&l2_timeout=100ms`.\n\n",
        ),
    ];
    for (scope, title, note) in groups {
        let _ = write!(page, "\n### {title}\n\n{note}");
        table(&mut page, scope);
    }
    page.push_str(ENVIRONMENT);
    table(&mut page, Scope::Process);
    page
}

fn table(page: &mut String, scope: Scope) {
    page.push_str("| name | default | takes | what it is |\n|---|---|---|---|\n");
    for row in SCHEMA.iter().filter(|row| row.scope == scope) {
        let Row { name, default, help, .. } = row;
        let default = if default.is_empty() { "–".into() } else { format!("`{default}`") };
        let _ = writeln!(page, "| `{name}` | {default} | {} | {help} |", row.range());
    }
}
