"""The mapping protocol: all of it on a LocalCache, and a clear error elsewhere."""

import threading
from collections.abc import Iterable, Mapping, MutableMapping

import lighter_cache as lc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EVERY_MAPPING_CALL = [
    lambda c: len(c),
    lambda c: iter(c),
    lambda c: list(c),
    lambda c: dict(c),
    lambda c: c.keys(),
    lambda c: c.values(),
    lambda c: c.items(),
    lambda c: c.pop("k"),
    lambda c: c.pop("k", None),
    lambda c: c.popitem(),
    lambda c: c.setdefault("k", b"v"),
]


def test_a_local_cache_is_a_mapping(local):
    assert isinstance(local, MutableMapping)
    assert isinstance(local, Mapping)
    local.update({"a": b"1", "b": b"2"}, c=b"3")
    assert len(local) == 3
    assert sorted(local) == ["a", "b", "c"]
    assert dict(local) == {"a": b"1", "b": b"2", "c": b"3"}
    assert {**local} == dict(local)
    assert sorted(local.keys()) == ["a", "b", "c"]
    assert sorted(local.values()) == [b"1", b"2", b"3"]
    assert sorted(local.items()) == [("a", b"1"), ("b", b"2"), ("c", b"3")]
    assert "a" in local.keys()
    assert b"3" in local.values()
    assert ("a", b"1") in local.items()
    assert ("a", b"2") not in local.items()
    assert len(local.keys()) == len(local.values()) == len(local.items()) == 3
    assert local.keys() & {"a", "z"} == {"a"}


def test_pop_popitem_setdefault(local):
    local["a"] = b"1"
    assert local.pop("a") == b"1"
    with pytest.raises(KeyError, match="'a'"):
        local.pop("a")
    assert local.pop("a", None) is None
    assert local.pop("a", default=5) == 5
    assert local.setdefault("a", b"x") == b"x"
    assert local.setdefault("a", b"y") == b"x"
    assert local.setdefault("a", bytearray(b"y")) == b"x"
    with pytest.raises(TypeError):
        local.setdefault("b", None)
    assert local.popitem() == ("a", b"x")
    with pytest.raises(KeyError):
        local.popitem()


def test_keys_come_as_str(local):
    keys = ["a", "naïve", b"\xff\xfe", b"a\0b"]
    local.set_many([(key, b"v") for key in keys])
    assert sorted(local) == sorted(["a", "naïve", "\udcff\udcfe", "a\0b"])
    assert all(local[key] == b"v" for key in local)


def test_iteration_may_change_the_cache(local):
    local.update({f"k{i}": b"v" for i in range(100)})
    for key in local:
        del local[key]
        local[f"new {key}"] = b"v"
    assert len(local) == 100
    items = iter(local.items())
    next(items)
    local.clear()
    assert list(items) == []


def test_expired_entries_are_not_listed(local):
    local.set("a", b"1", ttl=0.02)
    local.set("b", b"2")
    while "a" in local:
        pass
    assert list(local) == ["b"]
    assert list(local.items()) == [("b", b"2")]
    assert len(local) == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "del", "pop", "setdefault", "popitem"]), st.text("ab", min_size=1, max_size=2)
        )
    )
)
def test_behaves_as_a_dict(steps):
    model = {}
    with lc.LocalCache() as cache:
        for number, (step, key) in enumerate(steps):
            value = str(number).encode()
            match step:
                case "set":
                    cache[key] = model[key] = value
                case "del":
                    present = model.pop(key, None) is not None
                    assert cache.delete(key) is present
                case "pop":
                    assert cache.pop(key, None) == model.pop(key, None)
                case "setdefault":
                    assert cache.setdefault(key, value) == model.setdefault(key, value)
                case "popitem" if model:
                    name, popped = cache.popitem()
                    assert model.pop(name) == popped
            assert dict(cache.items()) == model


def test_pop_gives_each_value_to_one_thread(local):
    local.update({f"k{i}": b"v" for i in range(2000)})
    got = []

    def work():
        got.append(sum(local.pop(f"k{i}", None) is not None for i in range(2000)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 2000


@pytest.mark.parametrize("call", EVERY_MAPPING_CALL)
def test_a_cache_on_a_server_is_none(redis, call):
    assert not isinstance(redis, Mapping)
    with pytest.raises(lc.MappingError, match="only a LocalCache") as error:
        call(redis)
    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, lc.UnsupportedError)


def test_a_hybrid_is_none(one_server, prefix):
    with lc.open("hybrid+" + one_server.url, prefix=prefix) as hybrid:
        assert not isinstance(hybrid, MutableMapping)
        for call in EVERY_MAPPING_CALL:
            with pytest.raises(lc.MappingError):
                call(hybrid)


def test_what_asks_whether_it_can_be_iterated_is_told_no(redis):
    assert not isinstance(redis, Iterable) or pytest.raises(TypeError, iter, redis)
    with pytest.raises(TypeError):
        set(redis)
