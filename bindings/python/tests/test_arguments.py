"""What is refused: keys, values, TTLs, wrong types; each with a clear error, and nothing is lost."""

import math
from datetime import timedelta

import lighter_cache as lc
import pytest

KEY_MAX = 65_536
CENTURY = 100 * 365 * 24 * 3600


def every_call_with_a_key(cache, key):
    return [
        lambda: cache.get(key),
        lambda: cache.get_view(key),
        lambda: cache.set(key, b"v"),
        lambda: cache.delete(key),
        lambda: cache.exists(key),
        lambda: cache.ttl(key),
        lambda: cache.expire(key, 5),
        lambda: cache.touch(key),
        lambda: cache.get_many([key]),
        lambda: cache.set_many([(key, b"v")]),
        lambda: cache.delete_many([key]),
        lambda: cache[key],
        lambda: cache.__setitem__(key, b"v"),
        lambda: cache.__delitem__(key),
        lambda: key in cache,
    ]


@pytest.mark.parametrize("key", ["", b"", "__lc:x", b"__lc:"])
def test_keys_that_no_cache_takes(cache, key):
    for call in every_call_with_a_key(cache, key):
        with pytest.raises(lc.InvalidError):
            call()


def test_keys_that_are_too_long(cache):
    for call in every_call_with_a_key(cache, "k" * (KEY_MAX + 1)):
        with pytest.raises(lc.TooBigError):
            call()


@pytest.mark.parametrize("key", [5, None, 1.5, ("k",), object()], ids=repr)
def test_keys_of_a_wrong_type(cache, key):
    for call in every_call_with_a_key(cache, key):
        with pytest.raises(TypeError, match="a key must be str or bytes-like, not"):
            call()


def test_a_lone_surrogate_that_is_no_escape(local):
    with pytest.raises(UnicodeEncodeError):
        local.set("\ud800", b"v")


def test_one_key_is_no_iterable_of_keys(cache):
    for call in (cache.get_many, cache.delete_many):
        for key in ("abc", b"abc", bytearray(b"abc")):
            with pytest.raises(TypeError, match="not one key"):
                call(key)
        with pytest.raises(TypeError):
            call(5)


def test_pairs_that_are_none(cache):
    with pytest.raises(ValueError, match="a pair is needed, not 3 elements"):
        cache.set_many([("a", b"1", 2)])
    for items in (5, [5], None):
        with pytest.raises(TypeError):
            cache.set_many(items)


def test_a_batch_with_one_bad_key_stores_nothing(local):
    with pytest.raises(TypeError):
        local.set_many([("a", b"1"), (5, b"2")])
    with pytest.raises(TypeError):
        local.set_many([("a", b"1"), ("b", "text")])
    assert local.count() == 0


def test_values_that_are_too_big(one_server, prefix):
    for url in ("local:", one_server.url, "hybrid+" + one_server.url):
        options = {} if url == "local:" else {"prefix": prefix}
        with lc.open(url, max_value_bytes=1000, **options) as cache:
            cache.set("k", bytes(1000))
            with pytest.raises(lc.TooBigError):
                cache.set("k", bytes(1001))
            with pytest.raises(lc.TooBigError):
                cache.set_many({"k": bytes(1001)})
            assert cache.get("k") == bytes(1000)


@pytest.mark.parametrize("ttl", [True, False, b"5m", [5], object(), 1j], ids=repr)
def test_ttls_of_a_wrong_type(cache, ttl):
    cache.set("k", b"old")
    for call in (
        lambda: cache.set("k", b"v", ttl=ttl),
        lambda: cache.expire("k", ttl),
        lambda: cache.touch("k", ttl),
        lambda: cache.set_many({"k": b"v"}, ttl=ttl),
    ):
        with pytest.raises(TypeError, match="a TTL is a number of seconds"):
            call()
    assert cache.get("k") == b"old"


@pytest.mark.parametrize(
    "ttl",
    [math.nan, CENTURY + 1, CENTURY + 0.5, 1e300, 10**400, timedelta.max, "101y", "5x", "", "-5s", "5 m", "1e3", "nan"],
    ids=repr,
)
def test_ttls_that_mean_nothing(cache, ttl):
    cache.set("k", b"old")
    for call in (
        lambda: cache.set("k", b"v", ttl=ttl),
        lambda: cache.expire("k", ttl),
        lambda: cache.set_many({"k": b"v"}, ttl=ttl),
    ):
        with pytest.raises(ValueError):
            call()
    assert cache.get("k") == b"old"


def test_missing_and_surplus_arguments(local):
    for call in (
        lambda: local.get(),
        lambda: local.set("k"),
        lambda: local.get("k", None, None),
        lambda: local.get("k", nope=1),
        lambda: local.expire("k"),
        lambda: lc.RedisCache(),
        lambda: lc.HybridCache(),
        lambda: lc.HybridCache("redis://localhost"),
        lambda: lc.HybridCache(local, local),
        lambda: lc.LocalCache("local:"),
        lambda: lc.Cache(),
        lambda: lc.open(5),
        lambda: lc.open("local:", shards=[1]),
    ):
        with pytest.raises(TypeError):
            call()


def test_cache_keys():
    from uuid import UUID

    names = lc.CacheKey
    assert [
        names.user(123),
        names.token("t"),
        names.permission("p"),
        names.role("r"),
        names.session(UUID(int=1)),
        names.user_permissions(123),
        names.user_roles(123),
        names.custom("api", "rate-limit"),
    ] == [
        "user:123",
        "token:t",
        "permission:p",
        "role:r",
        "session:00000000-0000-0000-0000-000000000001",
        "user:123:permissions",
        "user:123:roles",
        "api:rate-limit",
    ]
    for wrong in (None, b"1", bytearray(b"1")):
        with pytest.raises(TypeError):
            names.user(wrong)
        with pytest.raises(TypeError):
            names.custom("api", wrong)
