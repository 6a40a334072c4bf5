"""The three kinds of cache, used alike.

`python examples/cache_usage.py` runs with the Local cache alone; with `REDIS_URL` set
(`REDIS_URL=redis://localhost:6379`) it also runs with Redis and with the Hybrid of both.
"""

import json
import os
from datetime import timedelta

import lighter_cache as lc
from lighter_cache import CacheKey


def tour(title: str, cache: lc.Cache) -> None:
    """What a program does with a cache. It is the same for every kind."""
    ada = {"id": 1, "name": "Ada", "permissions": ["read", "write"]}

    cache.set(CacheKey.user(ada["id"]), json.dumps(ada).encode(), ttl=timedelta(minutes=5))
    found = cache.get(CacheKey.user(1))
    assert found is not None and json.loads(found) == ada

    cache.set(CacheKey.user_permissions(1), b"read,write", ttl="5m")
    cache.set(CacheKey.custom("motd", "today"), b"be kind", ttl=None)
    assert "motd:today" in cache
    assert cache.delete("motd:today")
    assert cache.get("motd:today", b"nothing") == b"nothing"

    cache.set_many({CacheKey.session(n): f"session {n}".encode() for n in range(3)}, ttl=60)
    assert list(cache.get_many(["session:0", "session:2", "session:9"])) == ["session:0", "session:2"]

    # A function whose results are kept: called once per key, however many threads ask at once.
    @cache.memoize(ttl="10m", codec="json")
    def permissions(user_id: int) -> list[str]:
        return ["read", "write"] if user_id == 1 else []

    assert permissions(1) == permissions(1) == ["read", "write"]
    assert permissions.stats().misses == 1
    assert permissions.invalidate(1)

    # Without a copy: the view pins the value, even if another thread deletes it meanwhile.
    view = cache.get_view(CacheKey.user(1))
    assert view is not None and view.readonly

    stats = cache.stats()
    print(f"{title:<7} {stats.hits} hits, {stats.misses} misses, hit rate {stats.hit_rate:.2f}")
    cache.clear()


def main() -> None:
    with lc.LocalCache(shards=16) as cache:
        tour("Local", cache)
        cache["a"] = b"a Local cache is a mapping, too"
        assert dict(cache) == {"a": b"a Local cache is a mapping, too"}
    # Any kind, by its URL.
    with lc.open("local:") as cache:
        tour("by URL", cache)

    url = os.environ.get("REDIS_URL")
    if not url:
        print("set REDIS_URL to see Redis and Hybrid as well")
        return
    with lc.RedisCache(url, prefix="cache_usage") as redis:
        tour("Redis", redis)
        with lc.HybridCache(lc.LocalCache(), redis) as hybrid:
            tour("Hybrid", hybrid)
    with lc.HybridCache.local_only() as cache:
        tour("L1 only", cache)


if __name__ == "__main__":
    main()
