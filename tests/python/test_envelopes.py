"""What a server may hand out instead of the value that was stored, seen through the Python package."""

import json
import pickle
from pathlib import Path

import lighter_cache as lc
import pytest
import servers

CORRUPT = json.loads((Path(__file__).resolve().parents[1] / "vectors/corrupt.json").read_text())


@pytest.fixture(scope="module")
def server():
    with servers.start("single") as running:
        yield running


def test_every_damaged_envelope_is_refused_and_left_alone(server):
    with lc.open(server.url, prefix="app", timeout=20) as cache, lc.open(server.url, prefix="app", wire="raw") as raw:
        for case in CORRUPT:
            stored = bytes.fromhex(case["stored"])
            raw.set("k", stored)
            for read in (cache.get, cache.get_view):
                with pytest.raises(lc.CorruptError):
                    read("k")
            assert cache.get_many(["k"]) == {}, case["name"]
            assert raw.get("k") == stored
        assert cache.stats().errors == 3 * len(CORRUPT)
        cache.set("k", b"whole")
        assert cache.get("k") == b"whole"


def test_a_planted_pickle_is_bytes(server):
    planted = pickle.dumps({"os": "system"})
    server.call("SET", "app:planted", planted)
    for scheme in ("", "hybrid+"):
        with lc.open(scheme + server.url, prefix="app", timeout=20) as cache:
            assert cache.get("planted") == planted


def test_a_stored_value_over_the_limit(server):
    server.call("SET", "app:big", bytes(1001))
    for scheme in ("", "hybrid+"):
        with lc.open(scheme + server.url, prefix="app", timeout=20, max_value_bytes=1000) as cache:
            for read in (cache.get, cache.get_view):
                with pytest.raises(lc.TooBigError):
                    read("big")
            assert cache.get_many(["big"]) == {}
