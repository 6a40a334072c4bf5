"""The metrics of every kind of cache, read by the parser of Prometheus's own client."""

import lighter_cache as lc
import pytest
import servers
from prometheus_client.parser import text_string_to_metric_families

COUNTERS = ["sets", "deletes", "coalesced", "stale_served", "errors"]
NAME = 'quo"te back\\slash'


@pytest.fixture(scope="module")
def url():
    with servers.start("single") as running:
        yield running.url


def samples(cache):
    """Each sample by name, tier, operation and bucket; the parser refuses what is no exposition format."""
    found = {}
    for family in text_string_to_metric_families(cache.metrics()):
        assert family.documentation
        for one in family.samples:
            labels = dict(one.labels)
            assert labels.pop("cache") == NAME
            key = (one.name, labels.pop("tier"), labels.pop("operation", None), labels.pop("le", None))
            assert not labels and key not in found
            found[key] = one.value
    return found


@pytest.mark.parametrize("kind", ["local", "redis", "hybrid"])
def test_the_series_say_what_happened(kind, url):
    prefix = {"local": "local:", "redis": url, "hybrid": "hybrid+" + url}[kind]
    with lc.open(prefix, name=NAME) as cache:
        cache.set("key", b"value")
        for _ in range(3):
            assert cache.get("key") == b"value"
        assert cache.get("absent") is None
        cache.delete("key")
        found = samples(cache)
        stats = cache.stats()

    def get(name, tier=kind):
        return found[name, tier, None, None]

    assert get("cache_hits_total") == 3
    assert get("cache_misses_total") == 1
    assert get("cache_hit_rate") == 0.75
    for name in COUNTERS:
        assert get(f"cache_{name}_total") == getattr(stats, name), name
    assert stats.sets == stats.deletes == 1
    memory = {"local": "local", "redis": "redis", "hybrid": "l1"}[kind]
    assert get("cache_evictions_total", memory) == 0
    if kind != "redis":
        assert get("cache_size_entries", memory) == 0
    if kind == "hybrid":
        assert get("cache_hits_total", "l1") + get("cache_hits_total", "l2") == 3
        assert get("cache_degraded") == 0


def test_durations_are_a_histogram(url):
    with lc.open("local:", name=NAME) as local, lc.open(url, name=NAME) as redis:
        # One in about 1,024 in memory, every round trip.
        for _ in range(50_000):
            local.get("key")
        for _ in range(5):
            redis.get("key")
        found = {"local": samples(local), "redis": samples(redis)}
    for tier, enough in (("local", 20), ("redis", 5)):
        name = "cache_operation_duration_seconds"
        buckets = {
            float(le): value
            for (series, _, operation, le), value in found[tier].items()
            if series == name + "_bucket" and operation == "get"
        }
        ordered = [buckets[bound] for bound in sorted(buckets)]
        count = found[tier][name + "_count", tier, "get", None]
        assert ordered == sorted(ordered)
        assert buckets[float("inf")] == count >= enough
        assert 0 < found[tier][name + "_sum", tier, "get", None] < 60
