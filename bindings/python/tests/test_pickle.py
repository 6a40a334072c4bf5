"""Caches travel as their configuration: without their content, and without their secrets."""

import copy
import multiprocessing
import pickle

import lighter_cache as lc
import pytest
from surroundings import run_python, servers


def roundtrip(cache):
    return pickle.loads(pickle.dumps(cache))


class Named(lc.LocalCache):
    """A subclass of a user's."""

    def shout(self, key):
        return self[key].upper()


class NamedRedis(lc.RedisCache):
    pass


class NamedHybrid(lc.HybridCache):
    pass


def test_local():
    with lc.LocalCache(default_ttl=60, shards=4) as cache:
        cache.set("k", b"v")
        with roundtrip(cache) as other:
            assert type(other) is lc.LocalCache
            assert other.get("k") is None
            other.set("k", b"v")
            assert other.ttl("k") <= 60
    with lc.open("local:?default_ttl=60") as cache, roundtrip(cache) as other:
        other.set("k", b"v")
        assert other.ttl("k") <= 60


def test_redis_and_hybrid(one_server, prefix):
    for cache in (
        lc.RedisCache(one_server.url, prefix=prefix, timeout=2),
        lc.open(f"{one_server.url}?prefix={prefix}", default_ttl="1m"),
        lc.open("hybrid+" + one_server.url, prefix=prefix),
        lc.HybridCache(lc.LocalCache(), lc.RedisCache(one_server.url, prefix=prefix), watchdog="2s"),
    ):
        with cache, roundtrip(cache) as other:
            assert type(other) is type(cache)
            cache.set("k", b"v")
            assert other.get("k") == b"v"
            assert repr(other) == repr(cache)


def test_local_only():
    with lc.HybridCache.local_only() as cache, roundtrip(cache) as other:
        other.set("k", b"v")
        assert cache.get("k") is None


def test_subclasses(one_server, prefix):
    with Named(default_ttl=60) as cache, roundtrip(cache) as other:
        assert type(other) is Named
        other["k"] = b"v"
        assert other.shout("k") == b"V"
        with NamedRedis(one_server.url, prefix=prefix) as l2, roundtrip(l2) as l2_again:
            assert type(l2_again) is NamedRedis
            with NamedHybrid(cache, l2) as hybrid, roundtrip(hybrid) as hybrid_again:
                assert type(hybrid_again) is NamedHybrid


def test_the_environment_is_that_of_the_other_process(monkeypatch):
    monkeypatch.setenv("LIGHTER_CACHE_URL", "local:?default_ttl=1m")
    with lc.open() as cache:
        pickled = pickle.dumps(cache)
    monkeypatch.setenv("LIGHTER_CACHE_URL", "local:?default_ttl=1h")
    with pickle.loads(pickled) as other:
        other.set("k", b"v")
        assert other.ttl("k") > 60


def test_a_password_stays_behind(monkeypatch):
    monkeypatch.delenv("LIGHTER_CACHE_PASSWORD", raising=False)
    with servers.start("password") as server:
        at = server.url.split("@")[1]
        for cache in (
            lc.open(server.url, prefix="p"),
            lc.RedisCache(server.url, prefix="p"),
            lc.RedisCache(f"redis://{at}", password=server.password, prefix="p"),
            lc.open(f"hybrid+redis://{at}?password=p%40ss%3Aw%2Frd%2521&prefix=p"),
            lc.HybridCache(lc.LocalCache(), lc.RedisCache(server.url, prefix="p")),
        ):
            with cache:
                pickled = pickle.dumps(cache)
                assert b"w/rd" not in pickled and b"w%2Frd" not in pickled
                with pytest.raises(lc.ConfigError, match="LIGHTER_CACHE_PASSWORD"):
                    pickle.loads(pickled)
                monkeypatch.setenv("LIGHTER_CACHE_PASSWORD", server.password)
                with pickle.loads(pickled) as other:
                    cache.set("k", b"v")
                    assert other.get("k") == b"v"
                monkeypatch.delenv("LIGHTER_CACHE_PASSWORD")


def test_a_user_travels_and_its_password_does_not(monkeypatch):
    with servers.start("acl") as server, lc.open(server.url, prefix="app") as cache:
        monkeypatch.setenv("LIGHTER_CACHE_PASSWORD", server.users["app"])
        with roundtrip(cache) as other:
            other.set("k", b"v")
            assert cache.get("k") == b"v"


def test_a_closed_cache_can_still_be_pickled(local):
    local.close()
    with roundtrip(local) as other:
        other.set("k", b"v")


def test_a_pickle_that_names_another_class():
    reopen, (_, recipe) = lc.LocalCache().__reduce__()
    with pytest.raises(TypeError):
        reopen(int, recipe)
    with pytest.raises(TypeError):
        reopen(lc.Cache, recipe)


def test_copies_are_opened_anew(local):
    local.set("k", b"v")
    with copy.copy(local) as other:
        assert other is not local
        assert other.get("k") is None


def work(cache):
    cache.set("from the child", b"v")
    return cache.get("k")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(one_server, prefix, method):
    with lc.open("hybrid+" + one_server.url, prefix=prefix) as cache:
        cache.set("k", b"v")
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            assert pool.apply(work, (cache,)) == b"v"
        assert cache.get("from the child") == b"v"


def test_a_pickle_is_small_and_plain():
    code = """
import pickle, pickletools, lighter_cache as lc
pickled = pickle.dumps(lc.LocalCache(shards=4))
print(len(pickled) < 300, "reopen" in [arg for _, arg, _ in pickletools.genops(pickled)])
"""
    assert run_python(code).split() == ["True", "True"]
