"""Files of a cache's content, and its metrics."""

import math

import lighter_cache as lc
import pytest


def test_save_and_load(local, tmp_path):
    local.set_many({f"k{n}": b"%d" % n for n in range(100)})
    local.set("short", b"v", ttl=60)
    path = tmp_path / "snapshot"
    assert local.save(path) == 101
    with lc.LocalCache() as other:
        assert other.load(str(path)) == 101
        assert other.get("k7") == b"7"
        assert other.ttl("k7") == math.inf
        assert 0 < other.ttl("short") <= 60


def test_a_damaged_file_loads_nothing(local, tmp_path):
    local.set("k", b"value" * 100)
    path = tmp_path / "snapshot"
    local.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with lc.LocalCache() as other:
        with pytest.raises(lc.CorruptError):
            other.load(path)
        assert len(other) == 0


def test_a_file_that_is_not_there(local, tmp_path):
    for call in (lambda: local.load(tmp_path / "nope"), lambda: local.save(tmp_path / "nope" / "nope")):
        with pytest.raises(lc.IoError) as error:
            call()
        assert isinstance(error.value, OSError)
        assert error.value.status == -17


def test_metrics(full):
    full.set("k", b"v")
    full.get("k")
    full.get("nope")
    lines = full.metrics().splitlines()

    # A Hybrid has its own series before those of its tiers.
    def value(name):
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{")][:1]

    assert value("cache_hits_total") == [1]
    assert value("cache_misses_total") == [1]
    # How many entries a server has is not known without counting them.
    assert value("cache_size_entries") == ([] if full.kind == "redis" else [1])
