"""The Hybrid from Python: another process's writes are seen, and it goes on when the server does not."""

import time

import lighter_cache as lc
import pytest


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def hybrid(own_server, prefix):
    with lc.open("hybrid+" + own_server.url, prefix=prefix, watchdog="100ms", l2_timeout="500ms") as cache:
        until(lambda: not cache.stats().degraded)
        yield cache


def test_hits_come_from_l1(hybrid):
    hybrid.set("k", b"v")
    for _ in range(5):
        assert hybrid.get("k") == b"v"
    stats = hybrid.stats()
    assert stats.hits == 5
    assert stats.l1_hits >= 4
    assert stats.entries == 1


def test_misses_of_l1_are_filled_from_l2(own_server, hybrid, prefix):
    with lc.open(own_server.url, prefix=prefix) as redis:
        redis.set("k", b"v", ttl=60)
        assert hybrid.get("k") == b"v"
        assert 50 < hybrid.ttl("k") <= 60
        # News of the write above may come during a read, which then fills nothing, or after it, and undo that.
        until(lambda: hybrid.get("k") == b"v" and hybrid.stats().backfills >= 1)
        before = hybrid.stats()
        assert hybrid.get("k") == b"v"
        after = hybrid.stats()
        assert (after.l1_hits, after.l2_hits) == (before.l1_hits + 1, before.l2_hits)


def test_writes_of_others_are_seen(own_server, hybrid, prefix):
    with lc.open("hybrid+" + own_server.url, prefix=prefix) as other:
        for turn in range(20):
            value = str(turn).encode() * 3
            other.set("k", value)
            until(lambda value=value: hybrid.get("k") == value)
        other.delete("k")
        until(lambda: hybrid.get("k") is None)
    hybrid.set("k", b"mine")
    own_server.call("SET", f"{prefix}:k", "by hand")
    until(lambda: hybrid.get("k") == b"by hand")
    own_server.call("FLUSHALL")
    until(lambda: hybrid.get("k") is None)
    assert hybrid.stats().invalidations > 0


@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_it_goes_on_without_its_server_and_joins_it_again(own_server, hybrid, prefix, fault):
    hybrid.set_many({"a": b"1", "b": b"2"})
    assert hybrid.get_many(["a", "b"]) == {"a": b"1", "b": b"2"}
    getattr(own_server, fault)()
    # Never an error; reads come from L1.
    hybrid.set("c", b"3")
    assert hybrid.get("c") == b"3"
    assert hybrid.get("a") == b"1"
    assert hybrid.get("nope") is None
    assert hybrid.exists("b")
    assert hybrid.get_many(["a", "nope"]) == {"a": b"1"}
    assert hybrid.delete("b")
    assert not hybrid.exists("b")
    assert hybrid.ttl("a") is not None
    until(lambda: hybrid.stats().degraded)
    with pytest.raises(lc.ConnectError):
        hybrid.ping()
    with pytest.raises(lc.ConnectError):
        hybrid.count()
    own_server.resume() if fault == "pause" else own_server.restart()
    until(lambda: not hybrid.stats().degraded)
    hybrid.set("d", b"4")
    with lc.open(own_server.url, prefix=prefix) as redis:
        assert redis.get("d") == b"4"
        redis.set("d", b"5")
        until(lambda: hybrid.get("d") == b"5")
    hybrid.ping()


def test_a_dead_server_costs_no_timeout_per_call(own_server, hybrid):
    hybrid.set("k", b"v")
    own_server.pause()
    until(lambda: hybrid.get("other") is None and hybrid.stats().degraded)
    # A timeout of 500 ms for each of these would not end within the test's own.
    for turn in range(2000):
        hybrid.set(f"k{turn}", b"v")
        assert hybrid.get("k") == b"v"
    own_server.resume()


def test_opening_without_a_server(own_server, prefix):
    own_server.kill()
    with lc.open("hybrid+" + own_server.url, prefix=prefix) as cache:
        assert cache.stats().degraded
        cache.set("k", b"v")
        assert cache.get("k") == b"v"
        own_server.restart()
        until(lambda: not cache.stats().degraded)
        cache.set("k", b"w")
        with lc.open(own_server.url, prefix=prefix) as redis:
            assert redis.get("k") == b"w"
    own_server.kill()
    with pytest.raises(lc.ConnectError):
        lc.open("hybrid+" + own_server.url, prefix=prefix, require_l2=True)


def test_a_composed_hybrid_may_require_its_server(own_server, prefix):
    with lc.LocalCache() as l1, lc.RedisCache(own_server.url, prefix=prefix, timeout=20) as l2:
        lc.HybridCache(l1, l2, require_l2=True, l2_timeout=20).close()
        own_server.kill()
        with pytest.raises(lc.ConnectError):
            lc.HybridCache(l1, l2, require_l2=True)
        with lc.HybridCache(l1, l2) as cache:
            cache.set("k", b"v")
            assert cache.get("k") == b"v"


def test_l1_alone_may_be_refused(own_server, prefix):
    url = f"hybrid+{own_server.url}?prefix={prefix}&l1_alone=miss&watchdog=100ms"
    with lc.open(url) as cache:
        cache.set("k", b"v")
        own_server.kill()
        until(lambda: cache.get("k") is None)


def test_local_only_is_no_outage():
    with lc.HybridCache.local_only() as cache:
        assert type(cache) is lc.HybridCache
        cache.set("k", b"v", ttl=60)
        assert cache.get("k") == b"v"
        assert cache.count() == 1
        assert not cache.stats().degraded
        cache.ping()
    with lc.HybridCache(lc.LocalCache(default_ttl=60)) as cache:
        cache.set("k", b"v")
        assert cache.ttl("k") <= 60


def test_the_pieces_of_a_composed_hybrid_stay_usable(own_server, prefix):
    with lc.LocalCache() as l1, lc.RedisCache(own_server.url, prefix=prefix) as l2, lc.HybridCache(l1, l2) as cache:
        cache.set("k", b"v")
        assert l2.get("k") == b"v"
        assert l1.get("k") == b"v"
        cache.close()
        l1.set("k", b"w")
        l2.set("k", b"x")
        assert (l1.get("k"), l2.get("k")) == (b"w", b"x")


@pytest.fixture
def pair(server, prefix):
    """Two Hybrids on one server, as two processes have them."""

    def opened(**options):
        return lc.open("hybrid+" + server.url, prefix=prefix, timeout=20, l2_timeout=20, watchdog=20, **options)

    with opened(negative_ttl=60, stale_ttl=60) as one, opened(negative_ttl=60, stale_ttl=60) as two:
        yield one, two


def test_what_only_the_server_decides_reaches_the_other(pair):
    one, two = pair
    assert one.add("k", b"a") and not two.add("k", b"b")
    assert one.get("k") == two.get("k") == b"a"
    assert two.replace("k", b"b") and not two.replace("nope", b"b")
    assert two.get("k") == b"b"
    until(lambda: one.get("k") == b"b")
    assert one.compare_and_set("k", b"b", b"c")
    until(lambda: two.get("k") == b"c")
    assert not two.compare_and_set("k", b"b", b"d")
    assert (one.incr("n", 5), two.incr("n"), one.decr("n")) == (5, 6, 5)
    assert one.get("n") == b"5"
    with one.lock("job", lease=60) as lock:
        assert lock.fence > 0
        with pytest.raises(lc.LockBusyError), two.lock("job", lease=60, wait=0.01):
            pass
    assert two.delete_prefix("n") == 1
    until(lambda: one.get("n") is None)
    one.set_many({"w:1": b"1", "w:2": b"2"}, ttl=60)
    assert two.warm(["w:1", "nope"]) == 1
    assert two.warm_prefix("w:", limit=5) == 2


def test_tags_reach_the_other(pair):
    one, two = pair
    one.set("k", b"v", ttl=60, tags=["t", "u"])
    one.set("plain", b"v")
    assert two.get("k") == b"v" and two.get("plain") == b"v"
    two.invalidate_tag("t")
    assert two.get("k") is None and not two.exists("k")
    until(lambda: one.get("k") is None)
    assert one.get("plain") == b"v"
    one.set("k", b"w", ttl=60, tags=["t"])
    until(lambda: two.get("k") == b"w")


def test_one_of_both_loads(pair):
    one, two = pair
    assert one.get_or_set("k", lambda: b"v", ttl=60) == b"v"
    assert two.get_or_set("k", lambda: pytest.fail("called")) == b"v"
    # That there is none is known to both.
    assert one.get_or_set("none", lambda: None) is None
    assert two.get_or_set("none", lambda: pytest.fail("called")) is None
    # A value past its time is better than none.
    one.set("stale", b"old", ttl=0.02)
    until(lambda: two.get("stale") is None)
    assert not two.exists("stale")

    def fails():
        raise ValueError

    assert two.get_or_set("stale", fails) == b"old"
    with pytest.raises(ValueError):
        two.get_or_set("nowhere", fails)


def test_a_value_that_is_due_is_loaded_in_the_background(one_server, prefix):
    url = "hybrid+" + one_server.url
    with lc.open(url, prefix=prefix, timeout=20, l2_timeout=20, refresh_ahead=0.5) as cache:
        cache.set("k", b"old", ttl=1000)
        assert cache.get_or_set("k", lambda: b"new", ttl=3600) == b"old"
        until(lambda: cache.get_or_set("k", lambda: b"new", ttl=3600) == b"new")


def test_without_its_server_what_it_decides_fails_at_once(own_server, hybrid):
    hybrid.set("k", b"v")
    hybrid.set("tagged", b"v", tags=["t"])
    assert hybrid.get("tagged") == b"v"
    own_server.kill()

    def bypassed():
        try:
            hybrid.ping()
        except lc.TimeoutError:  # its connection broke while it waited for the reply
            return False
        except lc.ConnectError:
            return hybrid.stats().degraded

    until(bypassed)
    for _ in range(200):
        for call in (
            lambda: hybrid.add("new", b"v"),
            lambda: hybrid.replace("k", b"w"),
            lambda: hybrid.compare_and_set("k", b"v", b"w"),
            lambda: hybrid.incr("n"),
            lambda: hybrid.lock("job", lease=60, wait=60).acquire(),
            lambda: hybrid.delete_prefix("k"),
            lambda: hybrid.warm(["k"]),
            lambda: hybrid.warm_prefix("k", limit=5),
            lambda: hybrid.count(),
        ):
            with pytest.raises(lc.ConnectError):
                call()
    assert hybrid.get("k") == b"v" and not hybrid.exists("new")
    hybrid.invalidate_tag("t")
    assert hybrid.get("tagged") is None
    hybrid.set("later", b"v", tags=["t"])
    assert hybrid.get("later") == b"v"
    assert hybrid.get_or_set("loaded", lambda: b"here") == b"here"
    assert hybrid.get_or_set("loaded", lambda: pytest.fail("called")) == b"here"
    own_server.restart()
    until(lambda: not hybrid.stats().degraded and hybrid.stats().queued_writes == 0)
    assert hybrid.get("later") == b"v" and hybrid.get("loaded") == b"here"
    assert hybrid.stats().dropped_writes == 0
