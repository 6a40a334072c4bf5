"""A Hybrid against other caches of two tiers that a Python program can have: what faults and other clients' writes
do to their readers.

    python bindings/python/benches/tiers.py [--seconds 3] [--redis-rs LIBRARY] [--json PATH]

Each contender has a server of its own (tests/servers.py) and reads one key, which a plain client writes.

- storm: the plain client writes without a pause; a read is late if it gives a value that a write answered before
  the read began had replaced, and by as long as since that answer.
- stopped: the server is stopped for a second, while the key is read, and goes on; then the plain client writes, and
  the figure is the time until that is read. The longest read and the errors meanwhile.
- dead: the server is killed. After two seconds of reads: the time of a read, the errors and the misses.

The peers are in requirements.txt beside this file, and benches/redis_rs/, whose library has to be named; one that is
not there is left out and named. (dogpile.cache has no invalidations: what its process has in memory stays for its TTL.)
"""

import argparse
import asyncio
import ctypes
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import lighter_cache as lc

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests"))
import servers  # noqa: E402

# redis-py's client-side cache wants 7.4 or newer.
os.environ.setdefault("LC_TEST_REDIS", "8.2")

KEY = "bench:k"
MOST = 1_000_000
PATIENCE = 0.25
"""Seconds that a peer waits for the server, as a Hybrid does by default."""


def hybrid(url, host, port):
    cache = lc.open(f"hybrid+{url}?prefix=bench")
    return lambda: number(cache.get("k"))


def redis_py(url, host, port):
    from redis.cache import CacheConfig

    import redis

    client = redis.Redis(
        host=host,
        port=port,
        protocol=3,
        cache_config=CacheConfig(),
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
    )
    return lambda: number(client.get(KEY))


def cashews(url, host, port):
    from cashews import Cache

    cache, loop = Cache(), asyncio.new_event_loop()
    cache.setup(f"redis://{host}:{port}", client_side=True, client_side_prefix="", socket_timeout=PATIENCE)

    async def get():
        return number(await cache.get(KEY))

    return lambda: loop.run_until_complete(get())


def glide(url, host, port):
    from glide_shared.cache import ClientSideCache
    from glide_sync import GlideClient, GlideClientConfiguration, NodeAddress

    patience = int(PATIENCE * 1000)
    cache = ClientSideCache.create(max_cache_kb=65536, entry_ttl_ms=0, server_assisted=True)
    addresses = [NodeAddress(host, port)]
    config = GlideClientConfiguration(addresses, request_timeout=patience, client_side_cache=cache)
    client = GlideClient.create(config)
    return lambda: number(client.get(KEY))


def redis_rs(url, host, port):
    if not REDIS_RS:
        raise ImportError("benches/redis_rs/ is not named")
    library = ctypes.CDLL(REDIS_RS[0])
    library.rr_cached_connect.restype = ctypes.c_void_p
    library.rr_cached_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rr_cached_get.restype = ctypes.c_int64
    address = f"redis://{host}:{port}".encode()
    cached = library.rr_cached_connect(address, ctypes.c_uint64(int(PATIENCE * 1000)))
    if not cached:
        raise OSError("no connection")

    key = KEY.encode()

    def get():
        found = library.rr_cached_get(cached, key, len(key))
        if found == -2:
            raise OSError("an error")
        return None if found == -1 else found

    return get


CONTENDERS = {
    "Hybrid": hybrid,
    "redis-py, client-side cache": redis_py,
    "redis-rs, client-side cache": redis_rs,
    "valkey-glide, server-assisted cache": glide,
    "cashews, client side": cashews,
}
REDIS_RS = []
"""The library of benches/redis_rs/, where it was named."""


def number(value):
    return None if value is None else int(bytes(value) if isinstance(value, (bytes, memoryview)) else value)


def tried(get):
    """What a read gives, and whether it was an error."""
    try:
        return get(), False
    except Exception:  # whichever the peer has for it
        return None, True


def at(ordered, share):
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def writes(port, count, answered, over):
    """The plain client, in a process of its own."""
    with servers.Client(port) as client:
        while not over.value and count.value + 1 < MOST:
            client.call("SET", KEY, str(count.value + 1))
            answered[count.value + 1] = time.monotonic()
            count.value += 1


def storm(get, server, seconds):
    count, over = multiprocessing.Value("l", 0, lock=False), multiprocessing.Value("b", 0, lock=False)
    answered = multiprocessing.Array("d", MOST, lock=False)
    writer = multiprocessing.Process(target=writes, args=(server.port, count, answered, over))
    writer.start()
    late, reads = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        floor, began = count.value, time.monotonic()
        found, _ = tried(get)
        reads += found is not None
        if found is not None and found < floor:
            late.append(began - answered[found + 1])
    over.value = 1
    writer.join()
    late.sort()
    longest = at(late, 1) * 1e3 if late else 0
    return {
        "reads": reads,
        "writes": count.value,
        "late": len(late),
        "late_ms": [at(late, 0.99) * 1e3 if late else 0, longest],
    }


def stopped(get, server):
    get()
    server.pause()
    longest, errors, until = 0.0, 0, time.monotonic() + 1
    while time.monotonic() < until:
        began = time.monotonic()
        errors += tried(get)[1]
        longest = max(longest, time.monotonic() - began)
    server.resume()
    with server.client() as client:
        client.call("SET", KEY, str(MOST))
    began = time.monotonic()
    while tried(get)[0] != MOST and time.monotonic() < began + 30:
        time.sleep(0.0005)
    seen = time.monotonic() - began
    return {"longest_ms": longest * 1e3, "errors": errors, "seen_ms": seen * 1e3 if seen < 30 else None}


def dead(get, server):
    get()
    server.kill()
    until = time.monotonic() + 2
    while time.monotonic() < until:
        tried(get)
    took, errors, misses = [], 0, 0
    until = time.monotonic() + 2
    while time.monotonic() < until and len(took) < 20_000:
        began = time.perf_counter_ns()
        found, failed = tried(get)
        took.append(time.perf_counter_ns() - began)
        errors += failed
        misses += found is None and not failed
    took.sort()
    return {"calls": len(took), "us": [at(took, 0.5) / 1e3, at(took, 0.99) / 1e3], "errors": errors, "misses": misses}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    parser.add_argument("--redis-rs", metavar="LIBRARY", help="of benches/redis_rs/")
    chosen = parser.parse_args()
    REDIS_RS[:] = [chosen.redis_rs] if chosen.redis_rs else []
    rows, absent = [], []
    for name, make in CONTENDERS.items():
        with servers.start("single") as server:
            with server.client() as client:
                client.call("SET", KEY, "0")
            try:
                get = make(server.url, "127.0.0.1", server.port)
            except ImportError:
                absent.append(name)
                continue
            # Until it is in step with the server.
            until = time.monotonic() + 1
            while time.monotonic() < until:
                tried(get)
            row = {"name": name, "storm": storm(get, server, chosen.seconds)}
            row |= {"stopped": stopped(get, server), "dead": dead(get, server)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps({"rows": rows, "absent": absent}) + "\n")


if __name__ == "__main__":
    main()
