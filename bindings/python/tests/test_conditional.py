"""Writes with a condition, counters, and reads and writes that say more: add to decr, get_ex, tags, prefixes."""

import math
import threading

import lighter_cache as lc
import pytest


def test_add(full):
    assert full.add("k", b"1", ttl=60) is True
    assert full.add("k", b"2") is False
    assert full.get("k") == b"1"
    assert 50 < full.ttl("k") <= 60
    full.delete("k")
    assert full.add("k", bytearray(b"3")) is True
    assert full.ttl("k") == math.inf


def test_add_without_time_to_live_stores_nothing(full):
    assert full.add("k", b"1", ttl=0) is True
    assert full.get("k") is None


def test_replace(full):
    assert full.replace("k", b"1") is False
    assert full.get("k") is None
    full.set("k", b"1")
    assert full.replace("k", b"2", ttl=60) is True
    assert full.get("k") == b"2"
    assert 50 < full.ttl("k") <= 60


def test_compare_and_set(full):
    assert full.compare_and_set("k", b"1", b"2") is None
    full.set("k", b"1")
    assert full.compare_and_set("k", b"0", b"2") is False
    assert full.get("k") == b"1"
    assert full.compare_and_set("k", b"1", memoryview(b"2"), ttl=60) is True
    assert full.get("k") == b"2"
    assert 50 < full.ttl("k") <= 60


def test_one_of_many_adds_wins(full):
    won = []
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        if full.add("k", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [full.get("k")] == [b"%d" % number for number in won]


def test_counters(full):
    assert full.incr("n") == 1
    assert full.incr("n", 41) == 42
    assert full.decr("n") == 41
    assert full.decr("n", 50) == -9
    assert full.get("n") == b"-9"
    full.set("n", b"7")
    assert full.incr("n", delta=3) == 10


def test_a_counter_has_the_ttl_it_was_made_with(full):
    full.incr("n", ttl=60)
    assert 50 < full.ttl("n") <= 60
    full.incr("n", ttl=600)
    assert full.ttl("n") <= 60


@pytest.mark.parametrize("value", [b"", b"a", b"1.5", b" 1", b"9223372036854775808"])
def test_what_is_no_number_is_a_type_error(full, value):
    full.set("n", value)
    with pytest.raises(lc.TypeError) as error:
        full.incr("n")
    assert isinstance(error.value, TypeError)
    assert error.value.status == -11
    assert full.get("n") == value


def test_a_sum_that_is_too_large(full):
    full.set("n", b"9223372036854775807")
    with pytest.raises(lc.TypeError):
        full.incr("n")
    assert full.decr("n", -0) == 2**63 - 1


def test_deltas_are_64_bits(local):
    for call in (lambda: local.incr("n", 2**63), lambda: local.decr("n", -(2**63))):
        with pytest.raises(OverflowError):
            call()


def test_counting_is_atomic(full):
    threads = [threading.Thread(target=lambda: [full.incr("n") for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert full.get("n") == b"800"


def test_get_ex(full):
    assert full.get_ex("k") is None
    full.set("k", b"v", ttl=60)
    found = full.get_ex("k")
    assert isinstance(found, lc.Found)
    assert found.value == b"v"
    assert 50 < found.ttl <= 60
    tier = "l2" if full.kind == "redis" else "l1"
    assert (found.tier, found.stale) == (tier, False)
    full.set("k", b"w", ttl=None)
    assert full.get_ex("k") == (b"w", math.inf, tier, False)


def test_delete_prefix(full):
    full.set_many({"a:1": b"", "a:2": b"", "ab": b"", "b:1": b""})
    assert full.delete_prefix("a:") == 2
    assert full.delete_prefix(b"a:") == 0
    assert sorted(full.get_many(["a:1", "a:2", "ab", "b:1"])) == ["ab", "b:1"]


def test_tags(full):
    full.set("a", b"1", tags=["x", b"y"])
    full.set("b", b"2", tags="y")
    full.set("c", b"3", ttl=60, tags=("x",))
    full.set("d", b"4")
    full.invalidate_tag("y")
    assert full.get_many("abcd".__iter__()) == {"c": b"3", "d": b"4"}
    assert not full.exists("a")
    # What is stored afterwards is not concerned.
    full.set("a", b"5", tags=["y"])
    assert full.get("a") == b"5"


def test_a_stale_window_changes_no_plain_read(full):
    full.set("k", b"v", ttl=60, stale=30)
    assert full.get("k") == b"v"
    assert 50 < full.ttl("k") <= 60
    full.set("k", b"v", 60, stale=None)
    assert full.get_ex("k").stale is False


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tags": None}, TypeError),
        ({"tags": 5}, TypeError),
        ({"tags": [5]}, TypeError),
        ({"stale": object()}, TypeError),
        ({"stale": "soon"}, ValueError),
        ({"stale": math.nan}, ValueError),
        ({"color": 1}, TypeError),
    ],
)
def test_wrong_options_of_a_write(local, options, error):
    for call in (lambda: local.set("k", b"v", **options), lambda: local.get_or_set("k", lambda: b"v", **options)):
        with pytest.raises(error):
            call()
    assert local.get("k") is None


def test_of_a_closed_cache(local):
    local.close()
    for call in (
        lambda: local.add("k", b"v"),
        lambda: local.replace("k", b"v"),
        lambda: local.compare_and_set("k", b"v", b"w"),
        lambda: local.incr("k"),
        lambda: local.decr("k"),
        lambda: local.get_ex("k"),
        lambda: local.get_or_set("k", lambda: b"v"),
        lambda: local.delete_prefix("k"),
        lambda: local.invalidate_tag("k"),
        lambda: local.metrics(),
        lambda: local.save("/nowhere"),
        lambda: local.load("/nowhere"),
        lambda: local.warm(["k"]),
        lambda: local.warm_prefix("k"),
        lambda: local.subscribe(print),
        lambda: local.unsubscribe(1),
        lambda: local.lock("k", 1).acquire(),
        lambda: local.memoize()(lambda: b"v")(),
    ):
        with pytest.raises(lc.ClosedError):
            call()


def test_only_a_hybrid_is_warmed(local):
    with pytest.raises(lc.UnsupportedError, match="a Local cache does not support `warm`"):
        local.warm(["k"])
    with pytest.raises(lc.UnsupportedError):
        local.warm_prefix("k", limit=5)
    with pytest.raises(TypeError):
        local.warm("k")
