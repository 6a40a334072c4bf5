"""Ways to open a cache: URLs, keywords, the environment; and what is refused, with a message that helps."""

from datetime import timedelta
from pathlib import Path

import lighter_cache as lc
import pytest

GOOD = [
    ("local:", {}),
    ("local://?shards=16", {}),
    ("local:", {"shards": 16, "default_ttl": None}),
    ("local:", {"sweep_interval": 0.5}),
    ("local:", {"default_ttl": timedelta(hours=1), "max_value_bytes": "1MiB", "name": "n"}),
    ("redis://h", {"timeout": 0.2, "tls_ca": None, "prefix": "p"}),
    ("redis://u:p%40w@h:6379/3?prefix=app", {"retries": 0, "protocol": 2}),
    ("rediss://h", {"tls_insecure": True, "tls_ca": Path("ca.pem")}),
    ("redis+unix:///tmp/s?db=1", {}),
    ("redis://a,b,c:7000", {}),
    ("redis+sentinel://s1,s2:26380/main/2", {}),
    ("hybrid+redis://h", {"l1_max_ttl": "5m", "l2_timeout": 0.1, "watchdog": timedelta(seconds=2)}),
    ("hybrid+redis://h", {"l1.shards": 4, "l1_max_bytes": 1 << 20}),
]


@pytest.mark.parametrize(("url", "options"), GOOD)
def test_check_takes(url, options):
    if options.get("tls_ca", 0) is None:
        del options["tls_ca"]
    assert lc.check(url, **options) is None


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("redsi://h", {}, "redis://"),
        ("", {}, "scheme"),
        ("/tmp/x", {}, "scheme"),
        ("redis://", {}, "host"),
        ("redis://h#insecure", {}, "tls_insecure"),
        ("redis://:p@w@h", {}, "%40"),
        ("local://h", {}, "no host"),
        ("local:?max_byte=5", {}, "`max_bytes`"),
        ("local:", {"max_byte": 5}, "`max_bytes`"),
        ("local:", {"shards": 3}, "shards"),
        ("local:", {"shards": -1}, "shards"),
        ("local:", {"default_ttl": "5x"}, "default_ttl"),
        ("local:", {"default_ttl": -5}, "default_ttl"),
        ("local:", {"default_ttl": timedelta(seconds=-5)}, "default_ttl"),
        ("local:", {"default_ttl": float("nan")}, "default_ttl"),
        ("local:", {"default_ttl": float("inf")}, "default_ttl"),
        ("local:", {"timeout": 1}, "timeout"),
        ("redis://h", {"timeout": "5 parsecs"}, "timeout"),
        ("redis://h", {"protocol": 4}, "protocol"),
        ("redis://h", {"prefix": ""}, "prefix"),
        ("hybrid+redis://h", {"prefix": ""}, "prefix"),
        ("redis://h", {"tls_insecure": "maybe"}, "tls_insecure"),
        ("hybrid+redis://h", {"read_from": "replica"}, "read_from"),
    ],
)
def test_check_and_open_refuse(url, options, message):
    for call in (lc.check, lc.open):
        with pytest.raises(lc.ConfigError, match=message):
            call(url, **options)


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", object(), 1j], ids=repr)
def test_option_values_of_a_wrong_type(value):
    with pytest.raises(TypeError, match="option shards: "):
        lc.LocalCache(shards=value)


def test_options_are_checked_without_opening():
    lc.check("local:", max_bytes="64MiB")
    lc.check("local:", max_bytes=64 << 20)
    with pytest.raises(lc.ConfigError, match="max_bytes"):
        lc.check("local:", max_bytes="64 apples")


def test_options_override_the_url():
    with lc.open("local:?default_ttl=1h", default_ttl="1m") as cache:
        cache.set("k", b"v")
        assert cache.ttl("k") <= 60


def test_a_class_wants_a_url_of_its_kind(one_server):
    for url in ("local:", "hybrid+" + one_server.url):
        with pytest.raises(lc.ConfigError, match="another kind"):
            lc.RedisCache(url)


def test_open_gives_the_class_of_the_url(one_server, prefix):
    for url, kind in ((one_server.url, lc.RedisCache), ("hybrid+" + one_server.url, lc.HybridCache)):
        with lc.open(url, prefix=prefix) as cache:
            assert type(cache) is kind
            assert isinstance(cache, lc.Cache)
    assert type(lc.open(url="local:")) is lc.LocalCache


def test_the_environment(one_server, prefix, monkeypatch):
    monkeypatch.delenv("LIGHTER_CACHE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert lc.open().kind == "local"
    monkeypatch.setenv("REDIS_URL", one_server.url)
    with lc.open(prefix=prefix) as cache:
        assert cache.kind == "hybrid"
        cache.ping()
    monkeypatch.setenv("LIGHTER_CACHE_URL", f"{one_server.url}?prefix={prefix}")
    with lc.open(None) as cache:
        assert cache.kind == "redis"
        cache.set("k", b"v")
    assert one_server.call("EXISTS", f"{prefix}:k") == 1
    monkeypatch.setenv("LIGHTER_CACHE_URL", "nonsense://x")
    with pytest.raises(lc.ConfigError, match="LIGHTER_CACHE_URL"):
        lc.open()
    with pytest.raises(lc.ConfigError, match="LIGHTER_CACHE_URL"):
        lc.check()


def test_hybrid_options(one_server, prefix):
    with lc.LocalCache() as l1, lc.RedisCache(one_server.url, prefix=prefix) as l2:
        with lc.HybridCache(l1, l2, watchdog="2s", l2_timeout=0.5, l1_alone="miss") as cache:
            cache.set("k", b"v")
            assert l2.get("k") == b"v"
        with pytest.raises(lc.ConfigError, match="watchdog"):
            lc.HybridCache(l1, l2, watchdgo="2s")
        with pytest.raises(lc.ConfigError, match="l2_timeout"):
            lc.HybridCache(l1, l2, l2_timeout="fast&slow=1")


def test_two_opens_share_nothing():
    with lc.LocalCache() as one, lc.LocalCache() as two:
        one.set("k", b"v")
        assert two.get("k") is None
