"""Each operation, on each kind of cache."""

import math
import time
from datetime import timedelta

import lighter_cache as lc
import pytest


def wait_until_gone(cache, key):
    deadline = time.monotonic() + 10
    while cache.get(key) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_set_and_get(cache):
    assert cache.get("k") is None
    assert cache.get("k", 7) == 7
    assert cache.get("k", default=b"d") == b"d"
    assert cache.set("k", b"v") is None
    assert cache.get("k") == b"v"
    assert type(cache.get("k")) is bytes
    cache.set("k", b"w")
    assert cache.get("k", 7) == b"w"


@pytest.mark.parametrize("value", [b"", b"\0", b"\xff\0\r\n", b"17", b"-5", b"x" * 70_000, bytes(1 << 20)])
def test_values_come_back_as_they_were(cache, value):
    cache.set("k", value)
    assert cache.get("k") == value
    assert bytes(cache.get_view("k")) == value
    assert cache.get_many(["k"]) == {"k": value}


@pytest.mark.parametrize("key", [b"a\0b", b"\r\n", b"\xff\xfe", b"*?[]\\", b"k" * 65_536, "naïve", "日本", " ", "a b"])
def test_odd_keys_round_trip(cache, key):
    cache.set(key, b"v")
    assert cache.get(key) == b"v"
    assert cache.exists(key)
    assert cache.get_many([key]) == {key: b"v"}
    assert cache.delete(key)
    assert cache.get(key) is None


def test_str_keys_are_their_utf8_bytes(cache):
    cache.set("naïve", b"1")
    assert cache.get("naïve".encode()) == b"1"
    cache.set(b"\xff\xfe", b"2")
    assert cache.get(b"\xff\xfe".decode("utf-8", "surrogateescape")) == b"2"


def test_bytes_like_keys(cache):
    cache.set(bytearray(b"k"), b"v")
    assert cache.get(memoryview(b"k")) == b"v"


def test_delete_and_exists(cache):
    assert not cache.delete("k")
    assert not cache.exists("k")
    assert "k" not in cache
    cache.set("k", b"v")
    assert cache.exists("k") is True
    assert "k" in cache
    assert cache.delete("k") is True
    assert not cache.exists("k")


def test_items_by_bracket(cache):
    cache["k"] = b"v"
    assert cache["k"] == b"v"
    del cache["k"]
    with pytest.raises(KeyError, match="^'k'$"):
        cache["k"]
    with pytest.raises(KeyError):
        del cache["k"]


def test_clear(cache):
    cache.set_many({f"k{i}": b"v" for i in range(100)})
    assert cache.clear() is None
    assert cache.count() == 0
    assert cache.get("k1") is None


def test_count(cache):
    assert cache.count() == 0
    cache.set_many({f"k{i}": b"v" for i in range(10)})
    assert cache.count() == 10


def test_many(cache):
    cache.set_many({"a": b"1", b"b": bytearray(b"2")}, ttl=60)
    cache.set_many([("c", b"3"), ["d", memoryview(b"4")]])
    found = cache.get_many(["a", b"b", "nope", "c", "d"])
    assert found == {"a": b"1", b"b": b"2", "c": b"3", "d": b"4"}
    assert list(found) == ["a", b"b", "c", "d"]
    assert 0 < cache.ttl("a") <= 60
    assert cache.delete_many(iter(["a", "nope", b"b"])) == 2
    assert cache.get_many(("a", "c")) == {"c": b"3"}
    cache.update({"e": b"5"}, f=b"6")
    assert cache.get_many(["e", "f"]) == {"e": b"5", "f": b"6"}


def test_many_of_none(cache):
    cache.set_many({})
    assert cache.get_many([]) == {}
    assert cache.delete_many([]) == 0


def test_ttl(cache):
    assert cache.ttl("k") is None
    cache.set("k", b"v")
    assert cache.ttl("k") == math.inf
    cache.set("k", b"v", ttl=100)
    assert 90 < cache.ttl("k") <= 100
    cache.set("k", b"v", ttl=None)
    assert cache.ttl("k") == math.inf
    cache.set("k", b"v", 0.05)
    wait_until_gone(cache, "k")
    assert cache.ttl("k") is None
    assert not cache.exists("k")


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (300, 300),
        (0.5, 0.5),
        (timedelta(minutes=5), 300),
        (timedelta(days=1, microseconds=500_000), 86_400.5),
        ("5m", 300),
        ("250ms", 0.25),
        ("90", 90),
        ("1.5h", 5400),
        (True + 1, 2),
        (100 * 365 * 24 * 3600, 100 * 365 * 24 * 3600),
    ],
)
def test_ways_to_say_a_ttl(local, ttl, seconds):
    local.set("k", b"v", ttl)
    assert seconds - 0.2 < local.ttl("k") <= seconds
    local.set("k", b"v", 60)
    assert local.expire("k", ttl)
    assert seconds - 0.2 < local.ttl("k") <= seconds


def test_numbers_that_are_no_int_and_no_float(local):
    from decimal import Decimal

    import numpy

    for ttl in (numpy.int64(60), numpy.float32(60), Decimal(60)):
        local.set("k", b"v", ttl)
        assert 59 < local.ttl("k") <= 60


@pytest.mark.parametrize("ttl", [None, math.inf, "none"])
def test_ways_to_say_never(local, ttl):
    local.set("k", b"v", 60)
    assert local.expire("k", ttl)
    assert local.ttl("k") == math.inf


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.0, -0.5, -(10**30), -math.inf, timedelta(0), timedelta(seconds=-1), timedelta.min, "0"]
)
def test_no_time_to_live_removes(cache, ttl):
    cache.set("k", b"old")
    cache.set("k", b"new", ttl=ttl)
    assert cache.get("k") is None
    cache.set("k", b"old")
    assert cache.expire("k", ttl) is True
    assert cache.get("k") is None
    cache.set_many({"k": b"v"}, ttl=ttl)
    assert cache.get("k") is None


def test_expire_and_touch(cache):
    assert cache.expire("k", 5) is False
    assert cache.touch("k") is False
    cache.set("k", b"v")
    assert cache.expire("k", 50) is True
    assert 40 < cache.ttl("k") <= 50
    assert cache.touch("k", ttl=500) is True
    assert 400 < cache.ttl("k") <= 500
    assert cache.touch("k") is True
    assert cache.ttl("k") == math.inf
    assert cache.get("k") == b"v"


def test_default_ttl(one_server, prefix):
    for url in ("local:", one_server.url, "hybrid+" + one_server.url):
        with lc.open(url, default_ttl=timedelta(minutes=10)) as cache:
            cache.set("k", b"v")
            assert 590 < cache.ttl("k") <= 600
            cache["k"] = b"v"
            assert 590 < cache.ttl("k") <= 600
            cache.set("k", b"v", ttl=None)
            assert cache.ttl("k") == math.inf
            cache.touch("k")
            assert 590 < cache.ttl("k") <= 600
            cache.clear()


def test_stats(cache):
    before = cache.stats()
    assert (before.hits, before.misses, before.hit_rate) == (0, 0, 0.0)
    cache.set("k", b"v")
    cache.get("k")
    cache.get("k")
    cache.get("k")
    cache.get("nope")
    cache.exists("k")
    cache.delete("k")
    stats = cache.stats()
    assert isinstance(stats, lc.Stats)
    assert (stats.hits, stats.misses, stats.sets, stats.deletes) == (3, 1, 1, 1)
    assert stats.hit_rate == 0.75
    assert stats.degraded is False
    assert stats.entries == (None if cache.kind == "redis" else 0)
    with pytest.raises(AttributeError):
        stats.hits = 5


def test_ping_and_kind(cache):
    assert cache.ping() is None
    assert cache.kind == {"LocalCache": "local", "RedisCache": "redis", "HybridCache": "hybrid"}[type(cache).__name__]


def test_a_cache_is_true_hashable_and_equal_to_itself(cache):
    assert cache
    assert cache == cache
    assert {cache: 1}[cache] == 1
    assert cache != lc.LocalCache()


def test_close(cache):
    cache.set("k", b"v")
    view = cache.get_view("k")
    assert not cache.closed
    cache.close()
    cache.close()
    assert cache.closed
    assert bytes(view) == b"v"
    for call in (
        lambda: cache.get("k"),
        lambda: cache.set("k", b"v"),
        lambda: cache.get_view("k"),
        lambda: cache.delete("k"),
        lambda: cache.get_many(["k"]),
        lambda: cache.stats(),
        lambda: cache.clear(),
        lambda: cache.ping(),
        lambda: len(cache),
        lambda: list(cache),
        lambda: cache["k"],
        lambda: "k" in cache,
        lambda: cache.__enter__(),
    ):
        with pytest.raises(lc.ClosedError):
            call()
    assert repr(cache).startswith("<closed ")


def test_with_closes_after_an_exception_too():
    with pytest.raises(RuntimeError), lc.open("local:") as cache:
        raise RuntimeError
    assert cache.closed


def test_a_hybrid_has_references_of_its_own(one_server, prefix):
    l1, l2 = lc.LocalCache(), lc.RedisCache(one_server.url, prefix=prefix)
    with lc.HybridCache(l1, l2, l2_timeout="1s") as hybrid:
        l1.close()
        l2.close()
        hybrid.set("k", b"v")
        assert hybrid.get("k") == b"v"
    with pytest.raises(lc.ClosedError):
        lc.HybridCache(l1, None)
