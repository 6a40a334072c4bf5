"""Calls that wait: other threads run meanwhile, a deadline ends them, and so does Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import lighter_cache as lc
import pytest
from surroundings import eventually

OPERATIONS = {
    "get": lambda c: c.get("k"),
    "get_view": lambda c: c.get_view("k"),
    "set": lambda c: c.set("k", b"v"),
    "delete": lambda c: c.delete("k"),
    "exists": lambda c: "k" in c,
    "clear": lambda c: c.clear(),
    "get_many": lambda c: c.get_many(["k", "l"]),
    "set_many": lambda c: c.set_many({"k": b"v"}),
    "delete_many": lambda c: c.delete_many(["k"]),
    "ttl": lambda c: c.ttl("k"),
    "expire": lambda c: c.expire("k", 5),
    "count": lambda c: c.count(),
    "ping": lambda c: c.ping(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_other_threads_run_while_a_call_waits(own_server, prefix, name):
    done = []
    with lc.RedisCache(own_server.url, prefix=prefix, timeout=60) as cache:
        cache.set("k", b"v")
        about_to_call = threading.Event()

        def call():
            about_to_call.set()
            done.append(OPERATIONS[name](cache))

        own_server.pause()
        thread = threading.Thread(target=call)
        thread.start()
        about_to_call.wait()
        # Each turn gives the GIL away and gets it back, which it could not from a call that keeps it
        # while it waits for a server that only this thread wakes.
        for _ in range(200):
            time.sleep(0.0005)
        assert not done
        own_server.resume()
        thread.join()
        assert len(done) == 1


def test_opening_gives_the_gil_away(own_server, prefix):
    own_server.pause()
    opened = []
    thread = threading.Thread(target=lambda: opened.append(lc.open(own_server.url, timeout=60, connect_timeout=60)))
    thread.start()
    for _ in range(200):
        time.sleep(0.0005)
    own_server.resume()
    thread.join()
    opened[0].close()


def test_a_deadline_ends_a_wait(own_server, prefix):
    with lc.RedisCache(own_server.url, prefix=prefix, timeout=0.2, connect_timeout=0.2) as cache:
        cache.set("k", b"v")
        own_server.pause()
        with pytest.raises(TimeoutError) as error:
            cache.set("k", b"w")
        assert type(error.value) is lc.TimeoutError
        with pytest.raises((lc.TimeoutError, lc.ConnectError)):
            cache.get("k")
        own_server.resume()
        eventually(lambda: cache.set("k", b"x"))
        assert eventually(lambda: cache.get("k")) == b"x"


def test_a_cache_may_be_closed_while_calls_wait(own_server, prefix):
    cache = lc.RedisCache(own_server.url, prefix=prefix, timeout=60)
    cache.set("k", b"v")
    own_server.pause()
    started = threading.Barrier(5)
    results = []

    def call():
        started.wait()
        try:
            results.append(cache.get("k"))
        except lc.ClosedError:
            results.append("closed")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    for _ in range(50):
        time.sleep(0.0005)
    cache.close()
    own_server.resume()
    for thread in threads:
        thread.join()
    assert set(results) <= {b"v", "closed"}
    assert len(results) == 4
    with pytest.raises(lc.ClosedError):
        cache.get("k")


def test_many_threads(cache):
    def work(number):
        for turn in range(100):
            key = f"{number}:{turn % 5}"
            value = f"{number}:{turn}".encode() * 20
            cache.set(key, value)
            if cache.get(key) != value:
                wrong.append(key)
            cache.get_many([key, "shared"])
            cache.set("shared", value)
            shared = cache.get("shared")
            if (
                shared[:4] * 1 == b""
                or len(set(shared[i : i + len(shared) // 20] for i in range(0, len(shared), len(shared) // 20))) != 1
            ):
                wrong.append("torn")

    wrong = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


INTERRUPTED = """
import signal, sys, time
import lighter_cache as lc

cache = lc.open(sys.argv[1], timeout=60, **({"l2_timeout": 60} if sys.argv[1].startswith("hybrid") else {}))
handled = []

def handler(number, frame):
    handled.append(time.monotonic())
    raise KeyboardInterrupt

print("ready", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGINT, handler)
print("calling", flush=True)
try:
    cache.get("k")
except KeyboardInterrupt as error:
    assert type(error) is KeyboardInterrupt
    print("interrupted", time.monotonic() - handled[0] < 1, flush=True)
sys.stdin.readline()
cache.set("k", b"after")
print(cache.get("k"), flush=True)
"""


def sleeping(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("scheme", ["", "hybrid+"])
def test_ctrl_c_ends_a_wait(own_server, prefix, scheme):
    url = f"{scheme}{own_server.url}?prefix={prefix}"
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        own_server.pause()
        print(file=child.stdin, flush=True)
        assert child.stdout.readline() == "calling\n"
        while not sleeping(child.pid):
            time.sleep(0.001)
        sent = time.monotonic()
        os.kill(child.pid, signal.SIGINT)
        assert child.stdout.readline() == "interrupted True\n"
        # Far below the deadline of 60 s, whatever else the machine is doing.
        assert time.monotonic() - sent < 10
        own_server.resume()
        print(file=child.stdin, flush=True)
        assert child.stdout.readline() == "b'after'\n"
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_a_signal_whose_handler_returns_does_not_end_a_wait(own_server, prefix):
    ticks = []
    old = signal.signal(signal.SIGALRM, lambda *_: ticks.append(own_server.resume() if len(ticks) == 3 else None))
    try:
        with lc.RedisCache(own_server.url, prefix=prefix, timeout=60) as cache:
            cache.set("k", b"v")
            own_server.pause()
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            # The fourth signal resumes the server: from within this wait, on this thread.
            assert cache.get("k") == b"v"
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(ticks) >= 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_handler_may_raise_what_it_likes(own_server, prefix):
    class Timeup(Exception):
        pass

    def handler(*_):
        raise Timeup

    old = signal.signal(signal.SIGALRM, handler)
    try:
        with lc.RedisCache(own_server.url, prefix=prefix, timeout=60) as cache:
            cache.set("k", b"v")
            own_server.pause()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Timeup):
                cache.get("k")
            own_server.resume()
            assert cache.get("k") == b"v"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_handler_may_use_the_cache_that_waits(own_server, prefix):
    seen = []
    with lc.LocalCache() as other, lc.RedisCache(own_server.url, prefix=prefix, timeout=60) as cache:
        cache.set("k", b"v")

        def handler(*_):
            other.set("k", b"from the handler")
            own_server.resume()
            seen.append(cache.get("k"))

        old = signal.signal(signal.SIGALRM, handler)
        try:
            own_server.pause()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert cache.get("k") == b"v"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
    assert seen == [b"v"]
