"""How fast django-redis's delete_pattern removes so many keys among as many others: one row in JSON, as those of clear.c.

python delete_pattern.py redis://HOST:PORT KEYS
"""

import json
import sys
import time

import django
from django.conf import settings

import redis

BATCH = 10_000


def fill(url, keys):
    """Keys as django-redis names them, and as many of others."""
    client = redis.Redis.from_url(url)
    for at in range(0, keys, BATCH):
        pipeline = client.pipeline(transaction=False)
        for number in range(at, min(at + BATCH, keys)):
            pipeline.set(f"ours:1:user:{number}", "0123456789")
            pipeline.set(f"others:1:user:{number}", "0123456789")
        pipeline.execute()


def main():
    url, keys = sys.argv[1], int(sys.argv[2])
    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "KEY_PREFIX": "ours"}
    settings.configure(CACHES={"default": backend})
    django.setup()
    from django.core.cache import cache

    fill(url, keys)
    began = time.perf_counter()
    removed = cache.delete_pattern("*")
    seconds = time.perf_counter() - began
    if removed != keys:
        raise SystemExit(f"{removed} of {keys} keys were removed")
    print(json.dumps({"op": "django-redis", "keys": keys, "seconds": seconds, "per_second": keys / seconds}))


if __name__ == "__main__":
    main()
