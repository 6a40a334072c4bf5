"""Any contiguous buffer is a value, without a copy of ours; views are read-only and pin what they show."""

import array
import gc
import mmap

import lighter_cache as lc
import numpy
import pytest

MIB = 1 << 20


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(bytearray(b"0123456789"))[2:5],
        array.array("d", [1.0, 2.0]),
        array.array("B"),
        numpy.arange(10, dtype="<i4"),
        numpy.arange(12).reshape(3, 4),
        numpy.zeros((0, 3)),
        numpy.float64(1.5),
    ],
    ids=repr,
)
def test_buffers(cache, value):
    cache.set("k", value)
    assert cache.get("k") == bytes(value)
    cache["k"] = value
    cache.set_many({"k2": value})
    assert cache.get_many(["k", "k2"]) == {"k": bytes(value), "k2": bytes(value)}


def test_mmap(local, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"mapped")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        local.set("k", mapped)
    assert local.get("k") == b"mapped"


def test_a_stored_value_is_a_copy(cache):
    value = bytearray(b"before")
    cache.set("k", value)
    value[:] = b"after."
    value.extend(b"not exported any more")
    assert cache.get("k") == b"before"


@pytest.mark.parametrize(
    "value", [memoryview(b"012345")[::2], numpy.arange(12).reshape(3, 4).T, numpy.arange(10)[::-1]], ids=repr
)
def test_non_contiguous_buffers_are_refused(cache, value):
    cache.set("k", b"old")
    with pytest.raises(BufferError, match="contiguous"):
        cache.set("k", value)
    with pytest.raises(BufferError, match="contiguous"):
        cache.set_many({"k": value})
    with pytest.raises(BufferError, match="contiguous"):
        cache.get(value)
    assert cache.get("k") == b"old"


@pytest.mark.parametrize("value", ["text", 5, 1.5, None, ["a"], object()], ids=repr)
def test_other_values_are_type_errors(cache, value):
    for call in (
        lambda: cache.set("k", value),
        lambda: cache.set_many({"k": value}),
        lambda: cache.__setitem__("k", value),
    ):
        with pytest.raises(TypeError, match="a value must be bytes-like, not"):
            call()
    assert cache.get("k") is None


def test_the_hint_for_text(local):
    with pytest.raises(TypeError, match=r"not str: encode it first, as in value\.encode\(\)"):
        local.set("k", "text")


def test_views(cache):
    cache.set("k", b"value")
    view = cache.get_view("k")
    assert isinstance(view, memoryview)
    assert (view.readonly, view.format, view.ndim, view.c_contiguous) == (True, "B", 1, True)
    assert view == b"value"
    assert view[1:3].tobytes() == b"al"
    with pytest.raises(TypeError):
        view[0] = 1
    assert cache.get_view("nope") is None
    cache.set("copy", view)
    assert cache.get("copy") == b"value"


def test_an_empty_view(cache):
    cache.set("k", b"")
    assert cache.get_view("k").tobytes() == b""


def test_a_view_pins_its_value(cache):
    cache.set("k", b"x" * MIB)
    view = cache.get_view("k")
    cache.set("k", b"y" * MIB)
    assert view == b"x" * MIB
    cache.delete("k")
    cache.clear()
    cache.close()
    del cache
    gc.collect()
    assert view == b"x" * MIB
    assert numpy.frombuffer(view, dtype="u1").sum() == MIB * ord("x")


def test_a_local_view_is_no_copy(local):
    local.set("k", b"x" * MIB)
    address = {numpy.frombuffer(local.get_view("k"), dtype="u1").ctypes.data for _ in range(3)}
    assert len(address) == 1


def test_views_outlive_overwrites_in_place(local):
    # Small values are overwritten where they are, unless somebody looks at them.
    local.set("k", b"one")
    view = local.get_view("k")
    for _ in range(100):
        local.set("k", b"two")
    assert view == b"one"
    assert local.get("k") == b"two"


def test_closing_frees_the_content_while_a_view_lives():
    with lc.LocalCache() as cache:
        cache.set("k", b"v")
        view = cache.get_view("k")
    view.release()
