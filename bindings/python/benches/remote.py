"""RedisCache against what a Python program would use instead, as ratios of time.

    python bindings/python/benches/remote.py URL [--rounds 25] [--json PATH]

URL is redis://HOST:PORT. All contenders run in one process, in turn within each round; pin it and the server to one
processor (`taskset`) to see the cost of the software alone. A figure is the median over the rounds; a ratio is the
median of the rounds' ratios, ours to the peer's, and its spread their quartiles. Values have 100 bytes.

`get` and `set` are calls of one thread, one after the other. `aget` are calls of 32 tasks of one event loop at a time, where the package has them.

The peers are in requirements.txt beside this file; one that is not installed is left out and named.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import json
import platform
import random
import statistics
import sys
import time
from urllib.parse import urlsplit

import lighter_cache as lc

VALUE = random.Random(7).randbytes(100)
KEYS = [f"user:{number:08}:profile" for number in range(1000)]
CALLS = 300
TASKS = 32

# (operation, peer, the largest ratio that is good enough)
GOALS = [
    ("get", "redis-py, hiredis", 0.4),
    ("get", "redis-py, pure Python", None),
    ("get", "valkey-glide-sync", 0.35),
    ("set", "redis-py, hiredis", None),
    ("set", "redis-py, pure Python", None),
    ("set", "valkey-glide-sync", None),
    ("aget", "valkey-glide", 1 / 3),
    ("aget", "redis-py asyncio, hiredis", None),
]


def redis_py(host, port, hiredis):
    from redis._parsers import _HiredisParser, _RESP2Parser

    import redis

    parser = _HiredisParser if hiredis else _RESP2Parser
    if hiredis:
        import hiredis as _present  # noqa: F401
    pool = redis.ConnectionPool(host=host, port=port, protocol=2, parser_class=parser)
    return redis.Redis(connection_pool=pool)


def glide_sync(host, port):
    import glide_sync

    place = glide_sync.NodeAddress(host, port)
    return glide_sync.GlideClient.create(glide_sync.GlideClientConfiguration([place]))


async def glide(host, port):
    import glide

    place = glide.NodeAddress(host, port)
    return await glide.GlideClient.create(glide.GlideClientConfiguration([place]))


async def redis_asyncio(host, port):
    import hiredis as _present  # noqa: F401
    import redis.asyncio

    return redis.asyncio.Redis(host=host, port=port, protocol=2, max_connections=TASKS)


def attempt(name, make, absent):
    try:
        return make()
    except ImportError:
        absent.append(name)
        return None


def some_keys(shuffle):
    keys = [KEYS[shuffle.randrange(len(KEYS))] for _ in range(CALLS)]
    return [bytes(key, "ascii").decode() for key in keys]


def one_thread(url, host, port, rounds, absent):
    """{(name, operation): [µs per call, one per round]}"""
    clients = {
        "RedisCache": lc.open(url + "?prefix=ours&timeout=30s&connect_timeout=30s"),
        "redis-py, hiredis": attempt("redis-py, hiredis", lambda: redis_py(host, port, True), absent),
        "redis-py, pure Python": attempt("redis-py, pure Python", lambda: redis_py(host, port, False), absent),
        "valkey-glide-sync": attempt("valkey-glide-sync", lambda: glide_sync(host, port), absent),
    }
    clients = {name: client for name, client in clients.items() if client is not None}
    figures = {(name, operation): [] for name in clients for operation in ("get", "set")}
    for client in clients.values():
        for key in KEYS:
            client.set(key, VALUE)
        assert bytes(client.get(KEYS[0])) == VALUE
    jobs = list(figures)
    shuffle = random.Random(7)
    for number in range(-1, rounds):
        shuffle.shuffle(jobs)
        for name, operation in jobs:
            keys, get, put = some_keys(shuffle), clients[name].get, clients[name].set
            began = time.perf_counter_ns()
            if operation == "get":
                for key in keys:
                    get(key)
            else:
                for key in keys:
                    put(key, VALUE)
            took = (time.perf_counter_ns() - began) / 1000 / len(keys)
            if number >= 0:
                figures[name, operation].append(took)
    return figures


async def tasks(url, host, port, rounds, absent):
    cache = lc.open(url + "?prefix=ours&timeout=30s&connect_timeout=30s")
    # The package has calls for asyncio where it has `aio`.
    if not hasattr(cache, "aio"):
        absent.append("RedisCache.aio")
        return {}
    cache.set(KEYS[0], VALUE)
    gets = {"RedisCache": cache.aio.get}
    for name, make in (("valkey-glide", glide), ("redis-py asyncio, hiredis", redis_asyncio)):
        try:
            client = await make(host, port)
        except ImportError:
            absent.append(name)
            continue
        await client.set(KEYS[0], VALUE)
        gets[name] = client.get
    figures = {(name, "aget"): [] for name in gets}
    shuffle = random.Random(7)
    names = list(gets)

    async def works(get, keys):
        for key in keys:
            await get(key)

    for number in range(-1, rounds):
        shuffle.shuffle(names)
        for name in names:
            keys = [some_keys(shuffle) for _ in range(TASKS)]
            began = time.perf_counter_ns()
            await asyncio.gather(*(works(gets[name], some) for some in keys))
            took = (time.perf_counter_ns() - began) / 1000 / (TASKS * CALLS)
            if number >= 0:
                figures[name, "aget"].append(took)
    return figures


def ratios(figures):
    rows = []
    for operation, peer, goal in GOALS:
        if ("RedisCache", operation) not in figures or (peer, operation) not in figures:
            continue
        ours = figures["RedisCache", operation]
        theirs = figures[peer, operation]
        each = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        low, ratio, high = statistics.quantiles(each, n=4) if len(each) > 1 else each * 3
        rows.append(
            {
                "operation": operation,
                "peer": peer,
                "ratio": ratio,
                "low": low,
                "high": high,
                "goal": goal,
                "ours_us": statistics.median(ours),
                "theirs_us": statistics.median(theirs),
            }
        )
    return rows


def versions():
    found = {"python": platform.python_version(), "lighter_cache": lc.__version__}
    for name in ("redis", "hiredis", "valkey-glide", "valkey-glide-sync"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    chosen = parser.parse_args()
    place, absent = urlsplit(chosen.url), []
    gc.disable()
    figures = one_thread(chosen.url, place.hostname, place.port, chosen.rounds, absent)
    figures |= asyncio.run(tasks(chosen.url, place.hostname, place.port, chosen.rounds, absent))
    rows = ratios(figures)
    for row in rows:
        goal = "" if row["goal"] is None else f"goal {row['goal']:.2f}"
        print(
            f"{row['operation']:<6}{row['peer']:<28}{row['ratio']:6.3f} ({row['low']:.3f}-{row['high']:.3f}) "
            f"{row['ours_us']:8.1f} µs : {row['theirs_us']:8.1f} µs  {goal}"
        )
    for name in absent:
        print(f"not installed: {name}", file=sys.stderr)
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump({"versions": versions(), "ratios": rows, "absent": absent}, file)


if __name__ == "__main__":
    main()
