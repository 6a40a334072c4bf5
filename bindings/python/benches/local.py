"""LocalCache and memoize against what a Python program would use instead, as ratios.

    python bindings/python/benches/local.py [--rounds 9] [--keys 10000] [--json PATH]

All contenders run in one process pinned to one processor, in turn within each round, so that whatever the
machine does meanwhile meets all of them alike. Every key is a new object each time, except
in "again". A figure is the median
over the rounds; a ratio is the median of the rounds' ratios, ours to the peer's, and its spread their quartiles. Times include the
loop around the calls (the row "empty loop"). The peers hold references to Python objects; ours copies the
bytes in and out, as a cache must that other processes and languages share.

The peers are in requirements.txt beside this file; one that is not installed is left out and named.
"""

import argparse
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time

import lighter_cache as lc

VALUE_BYTES = 100
PORTION = 500
TTL = 3600

# (ours, operation, peer, the largest ratio that is good enough)
GOALS = [
    ("LocalCache", "hit", "cachebox.TTLCache", 1.0),
    ("LocalCache", "hit", "moka_py.Moka(ttl)", 0.35),
    ("LocalCache", "hit", "cachetools.TTLCache", 0.08),
    ("LocalCache", "miss", "cachebox.TTLCache", 1.3),
    ("LocalCache", "set", "cachebox.TTLCache", 1.05),
    ("LocalCache(ttl)", "hit", "cachebox.TTLCache", None),
    ("LocalCache(ttl)", "miss", "cachebox.TTLCache", None),
    ("LocalCache(ttl)", "set", "cachebox.TTLCache", None),
    ("LocalCache", "set", "moka_py.Moka(ttl)", None),
    ("LocalCache", "set", "cachetools.TTLCache", None),
    ("memoize", "call", "functools.lru_cache", 3.0),
    ("memoize", "again", "functools.lru_cache", 3.0),
    ("memoize", "call", "cachetools.cached(TTLCache)", None),
]


def contenders(keys):
    """Name to (get, set), each with room for all keys; and the peers that are not there."""
    room = 4 * len(keys)
    plain = {}
    caches = {"dict": (plain.get, plain.__setitem__)}
    for name, options in (("LocalCache", {}), ("LocalCache(ttl)", {"default_ttl": TTL})):
        cache = lc.LocalCache(**options)
        caches[name] = (cache.get, cache.set)
    absent = []
    for name, make in (
        ("cachebox.TTLCache", lambda m: m.TTLCache(room, TTL)),
        ("moka_py.Moka(ttl)", lambda m: m.Moka(room, ttl=TTL)),
        ("cachetools.TTLCache", lambda m: m.TTLCache(room, TTL)),
    ):
        try:
            cache = make(importlib.import_module(name.split(".")[0]))
        except ImportError:
            absent.append(name)
            continue
        caches[name] = (cache.get, getattr(cache, "set", None) or getattr(cache, "insert", None) or cache.__setitem__)
    return caches, absent


def memoizers(room):
    """Name to a decorator for a function of one str."""
    found = {"functools.lru_cache": functools.lru_cache(room)}
    if hasattr(lc.LocalCache, "memoize"):
        found["memoize"] = lc.LocalCache().memoize(ttl=TTL)
    try:
        import cachetools

        found["cachetools.cached(TTLCache)"] = cachetools.cached(cachetools.TTLCache(room, TTL))
    except ImportError:
        pass
    return found


def fresh(keys):
    """The same keys as new objects: no hash kept, and no identity to compare first."""
    return [bytes(key, "ascii").decode() for key in keys]


def calls(function, keys):
    for key in keys:
        function(key)


def stores(function, keys, value):
    for key in keys:
        function(key, value)


def again(function, keys):
    """Set apart from `calls` by name only: `turn` gives it the same objects each time."""
    for key in keys:
        function(key)


def loop(_, keys):
    for _key in keys:
        pass


def turn(run, function, keys):
    """ns per call over all keys, in portions shorter than a time slice: the median portion, so that what the
    system does to one of them does not count. The pass before that brings everything into the processor's cache."""
    anew = list if run is again else fresh
    run(function, anew(keys))
    some = anew(keys)
    portions = [some[at : at + PORTION] for at in range(0, len(some), PORTION)]
    times = []
    for portion in portions:
        begin = time.perf_counter_ns()
        run(function, portion)
        times.append((time.perf_counter_ns() - begin) / len(portion))
    return statistics.median(times)


def measure(keys, rounds):
    """{(name, operation): [ns per call, one per round]}, and the peers that were not there."""
    caches, absent = contenders(keys)
    value = random.Random(7).randbytes(VALUE_BYTES)
    missing = ["absent:" + key for key in keys]
    functions = {}
    for name, decorate in memoizers(4 * len(keys)).items():

        def function(key):
            return value

        functions[name] = decorate(function)
    for _, put in caches.values():
        for key in keys:
            put(key, value)
    for function in functions.values():
        calls(function, keys)
    jobs = [(("empty loop", "hit"), loop, None, keys)]
    for name, (get, put) in caches.items():
        jobs.append(((name, "hit"), calls, get, keys))
        jobs.append(((name, "miss"), calls, get, missing))
        jobs.append(((name, "set"), lambda function, keys: stores(function, keys, value), put, keys))
    for name, function in functions.items():
        jobs.append(((name, "call"), calls, function, keys))
        # The same objects each time: their hashes are known, and they are found by identity.
        jobs.append(((name, "again"), again, function, keys))
    figures = {job[0]: [] for job in jobs}
    shuffle = random.Random(7).shuffle
    gc.disable()
    # The first round only warms up.
    for number in range(-1, rounds):
        shuffle(jobs)
        for name, run, function, its_keys in jobs:
            took = turn(run, function, its_keys)
            if number >= 0:
                figures[name].append(took)
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    gc.enable()
    print(file=sys.stderr)
    return figures, absent


def ratios(figures):
    """One row per goal whose both sides were measured."""
    rows = []
    for ours, operation, peer, goal in GOALS:
        if (ours, operation) not in figures or (peer, operation) not in figures:
            continue
        each = sorted(a / b for a, b in zip(figures[ours, operation], figures[peer, operation], strict=True))
        low, ratio, high = statistics.quantiles(each, n=4) if len(each) > 1 else each * 3
        rows.append(
            {"ours": ours, "operation": operation, "peer": peer, "ratio": ratio, "low": low, "high": high, "goal": goal}
        )
    return rows


def show(figures, rows, absent):
    operations = ["hit", "miss", "set", "call", "again"]
    print(f"{'ns per call, median':<30}" + "".join(f"{operation:>8}" for operation in operations))
    for name in dict.fromkeys(name for name, _ in figures):
        cells = (figures.get((name, operation)) for operation in operations)
        print(f"{name:<30}" + "".join(f"{statistics.median(c):8.1f}" if c else f"{'':>8}" for c in cells))
    print(f"\n{'ratio':<58}{'median':>8}{'spread':>14}{'goal':>8}")
    for row in rows:
        what = f"{row['ours']}, {row['operation']} : {row['peer']}"
        goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
        verdict = "" if row["goal"] is None else "  met" if row["ratio"] <= row["goal"] else "  missed"
        print(f"{what:<58}{row['ratio']:8.3f}{row['low']:8.3f}-{row['high']:.3f}{goal:>8}{verdict}")
    for name in absent:
        print(f"not installed: {name}")


def versions():
    found = {"python": platform.python_version(), "lighter_cache": lc.__version__}
    for name in ("cachebox", "moka-py", "cachetools"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds, at least 9 for a figure to keep")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    keys = [f"user:{number:08}:profile" for number in range(chosen.keys)]
    random.Random(7).shuffle(keys)
    figures, absent = measure(keys, chosen.rounds)
    rows = ratios(figures)
    show(figures, rows, absent)
    if chosen.json:
        document = {
            "rounds": chosen.rounds,
            "keys": chosen.keys,
            "value_bytes": VALUE_BYTES,
            "versions": versions(),
            "ns": [
                {"name": name, "operation": operation, "median": statistics.median(each), "rounds": each}
                for (name, operation), each in figures.items()
            ],
            "ratios": rows,
        }
        with open(chosen.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
