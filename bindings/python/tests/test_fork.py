"""Forked children go on with every cache, whatever the parent's threads were doing."""

import pytest
from surroundings import run_python

CHILD = """
import os, signal, sys, threading, time
import lighter_cache as lc

url, forks = sys.argv[1], int(sys.argv[2])

def in_child(work):
    # The child must end by itself: an alarm kills one that hangs.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(20)
            work()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"

cache = lc.open(url)
local = lc.LocalCache()
local.set("k", b"local")
cache.set("k", b"v")
assert cache.get("k") == b"v"
stop = threading.Event()

def busy(number):
    turn = 0
    while not stop.is_set():
        turn += 1
        key = f"{number}:{turn % 50}"
        try:
            cache.set(key, key.encode(), ttl=60)
            assert cache.get(key) == key.encode()
            local.set(key, bytes(2000), ttl=60)
            local.get(key)
        except lc.CacheError as error:
            failed.append(error)

failed = []
threads = [threading.Thread(target=busy, args=(n,)) for n in range(int(sys.argv[3]))]
for thread in threads:
    thread.start()

def child():
    assert local.get("k") == b"local"
    local.set("k", b"child's own")
    assert cache.get("k") == b"v"
    cache.set("child", b"w")
    assert cache.get("child") == b"w"
    assert cache.stats() and cache.ping() is None
    def grandchild():
        assert local.get("k") == b"child's own"
        assert cache.get("child") == b"w"
    in_child(grandchild)
    cache.close()
    local.close()

for _ in range(forks):
    in_child(child)
stop.set()
for thread in threads:
    thread.join()
assert not failed, failed[0]
assert local.get("k") == b"local"
assert cache.get("child") == b"w"
print("fine")
"""


@pytest.mark.parametrize("threads", [0, 4])
@pytest.mark.parametrize("kind", ["local", "redis", "hybrid"])
def test_fork(one_server, prefix, kind, threads):
    url = {"local": "local:", "redis": one_server.url, "hybrid": "hybrid+" + one_server.url}[kind]
    if kind != "local":
        url += f"?prefix={prefix}&l2_timeout=2s" if kind == "hybrid" else f"?prefix={prefix}&timeout=5s"
        code = CHILD
    else:
        # Each process has a Local cache of its own.
        code = CHILD.replace('assert cache.get("child") == b"w"\nprint', "print")
    assert run_python(code, url, "10", str(threads)).strip() == "fine"


def test_processes_of_multiprocessing_inherit_their_caches(one_server, prefix):
    code = """
import multiprocessing, sys, threading
import lighter_cache as lc

local, redis = lc.LocalCache(), lc.open(sys.argv[1])
stop = threading.Event()

def busy():
    while not stop.is_set():
        local.set("busy", b"v", ttl=60)
        redis.set("busy", b"v", ttl=60)

def child(answers):
    seen = local.get("k"), redis.get("k")
    local.set("k", b"child's own")
    redis.set("k", b"by a child")
    answers.put((*seen, local.get("k"), redis.get("k")))

local.set("k", b"local")
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
context = multiprocessing.get_context("fork")
for _ in range(5):
    redis.set("k", b"on the server")
    answers = context.SimpleQueue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    process.join(30)
    assert process.exitcode == 0, process.exitcode
    assert answers.get() == (b"local", b"on the server", b"child's own", b"by a child")
    assert (local.get("k"), redis.get("k")) == (b"local", b"by a child")
stop.set()
for thread in threads:
    thread.join()
print("fine")
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}&timeout=20s").strip() == "fine"


def test_a_child_of_an_unused_cache(one_server, prefix):
    code = """
import os, sys, lighter_cache as lc
caches = [lc.open("local:"), lc.open(sys.argv[1]), lc.open("hybrid+" + sys.argv[1])]
pid = os.fork()
for cache in caches:
    cache.set("k", b"v")
    assert cache.get("k") == b"v"
    cache.close()
if pid:
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    print("fine")
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}").strip() == "fine"


def test_a_child_that_exits_in_full(one_server, prefix):
    # Exit handlers and garbage collection run in the child, too.
    code = """
import os, sys, lighter_cache as lc
caches = [lc.open("local:"), lc.open(sys.argv[1]), lc.open("hybrid+" + sys.argv[1])]
for cache in caches:
    cache.set("k", b"v")
if os.fork():
    _, status = os.wait()
    assert status == 0, status
    assert [cache.get("k") for cache in caches] == [b"v"] * 3
    print("fine")
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}").strip() == "fine"


def test_no_thread_before_there_is_need(one_server):
    code = """
import os, sys, lighter_cache as lc
def threads(): return len(os.listdir("/proc/self/task"))
before = threads()
cache = lc.LocalCache()
cache.set("k", b"v")
assert cache.get("k") == b"v"
assert threads() == before, threads()
cache.set("k", b"v", ttl=60)
assert threads() <= before + 1, threads()
print("fine")
"""
    assert run_python(code).strip() == "fine"
