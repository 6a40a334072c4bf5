//! The configuration as a user meets it: URLs, options by name, the environment, the generated page.

use lighter_cache::Kind;
use lighter_cache::config::{Config, Endpoint, HostPort};

fn host(host: &str, port: u16) -> HostPort {
    HostPort { host: host.into(), port }
}

fn parse(url: &str) -> Config {
    Config::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn forms_of_url() {
    for url in ["local:", "local://", "LOCAL:?", "local://?shards=16", "local:?shards=16"] {
        assert_eq!(parse(url).kind, Kind::Local, "{url}");
    }
    let one = |name: &str, port| Endpoint::Tcp(host(name, port));
    let nodes = Endpoint::Cluster(vec![host("a", 6379), host("b", 7000), host("::1", 7001)]);
    let cases = [
        ("redis://localhost", one("localhost", 6379)),
        ("redis://localhost/", one("localhost", 6379)),
        ("valkey://10.0.0.1:7000", one("10.0.0.1", 7000)),
        ("rediss://[::1]:6380/0", one("::1", 6380)),
        ("valkeys://[::1]", one("::1", 6379)),
        ("redis+unix:///run/a%20b.sock?db=1", Endpoint::Unix("/run/a b.sock".into())),
        ("valkey+unix://user:pw@/run/s", Endpoint::Unix("/run/s".into())),
        ("redis://a,b:7000,[::1]:7001", nodes.clone()),
        ("rediss+cluster://a,b:7000,[::1]:7001/0", nodes),
        ("redis+cluster://a", Endpoint::Cluster(vec![host("a", 6379)])),
        (
            "redis+sentinel://u:p@s1,s2:26380/my%2Fmaster/3",
            Endpoint::Sentinel {
                sentinels: vec![host("s1", 26379), host("s2", 26380)],
                service: "my/master".into(),
            },
        ),
    ];
    for (url, endpoint) in cases {
        let config = parse(url);
        assert_eq!((config.kind, &config.redis.endpoint), (Kind::Redis, &endpoint), "{url}");
        let tls = url.starts_with("rediss") || url.starts_with("valkeys");
        assert_eq!(config.redis.tls.is_some(), tls, "{url}");
        let hybrid = parse(&format!("hybrid+{url}"));
        assert_eq!((hybrid.kind, &hybrid.redis.endpoint), (Kind::Hybrid, &endpoint), "{url}");
    }
}
