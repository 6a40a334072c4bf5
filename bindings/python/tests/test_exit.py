"""The end: garbage collection, `shutdown`, and an interpreter that exits while calls are in flight."""

import gc
import threading
import weakref

import lighter_cache as lc
import pytest
from surroundings import run_python


def test_garbage_collection_closes(own_server, prefix):
    def connections():
        return own_server.call("CLIENT", "LIST", "TYPE", "normal").count(b"name=gc")

    cache = lc.RedisCache(own_server.url, prefix=prefix, client_name="gc")
    cache.set("k", b"v")
    assert connections() > 0
    del cache
    gc.collect()
    for _ in range(2000):
        if not connections():
            break
        threading.Event().wait(0.005)
    assert connections() == 0


def test_cycles_are_collected():
    class Holder:
        pass

    holder = Holder()
    holder.cache = lc.LocalCache()
    holder.me = holder
    gone = weakref.ref(holder.cache)
    del holder
    gc.collect()
    assert gone() is None


def test_shutdown_closes_all_and_opening_again_is_fine(one_server, prefix):
    code = """
import sys, lighter_cache as lc
for _ in range(3):
    caches = [lc.LocalCache(), lc.open("local:"), lc.open(sys.argv[1]), lc.open("hybrid+" + sys.argv[1])]
    caches.append(lc.HybridCache(caches[0], caches[2]))
    for cache in caches:
        cache.set("k", b"v")
        assert cache.get("k") == b"v"
    lc.shutdown(timeout=5)
    for cache in caches:
        assert cache.closed
        try:
            cache.get("k")
        except lc.ClosedError:
            continue
        raise AssertionError(cache)
lc.shutdown(0)
lc.shutdown()
print("fine")
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}").strip() == "fine"


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e300])
def test_shutdown_wants_a_sensible_timeout(timeout):
    with pytest.raises(ValueError):
        lc._native.shutdown(timeout)


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("scheme", ["", "hybrid+"])
def test_exit_while_calls_are_in_flight(own_server, prefix, scheme, daemon):
    url = f"{scheme}{own_server.url}?prefix={prefix}"
    code = f"""
import os, sys, threading, signal, lighter_cache as lc
cache = lc.open(sys.argv[1], timeout={60 if daemon else 1})
cache.set("k", b"v")
os.kill(int(sys.argv[2]), signal.SIGSTOP)

def call():
    started.release()
    while True:
        try:
            cache.get("miss")
            cache.set("k", b"w")
            if not {daemon}:
                return
        except lc.CacheError:
            return

started = threading.Semaphore(0)
for _ in range(4):
    threading.Thread(target=call, daemon={daemon}).start()
for _ in range(4):
    started.acquire()
threading.Event().wait(0.05)
print("fine")
"""
    try:
        assert run_python(code, url, str(own_server.pids[0])).strip() == "fine"
    finally:
        own_server.resume()


def test_exit_with_busy_daemons(one_server, prefix):
    code = """
import sys, threading, lighter_cache as lc
caches = [lc.LocalCache(), lc.open(sys.argv[1]), lc.open("hybrid+" + sys.argv[1])]
def work(cache):
    while True:
        cache.set("k", b"v", ttl=1)
        cache.get("k")
        cache.get_many(["k", "l"])
for cache in caches * 2:
    threading.Thread(target=work, args=(cache,), daemon=True).start()
threading.Event().wait(0.2)
print("fine")
"""
    for _ in range(5):
        assert run_python(code, f"{one_server.url}?prefix={prefix}").strip() == "fine"


LISTENER = """
cache = lc.LocalCache(sweep_interval=0.01)
cache.subscribe(lambda event, key: linger(), lc.Event.EXPIRED)
cache.set("k", b"v", ttl=0.001)
inside.wait(30)
"""

RELOAD = """
cache = lc.LocalCache(refresh_ahead=0.01)
def loader():
    if threading.current_thread() is not threading.main_thread():
        linger()
    return b"v"
while not inside.is_set():
    cache.get_or_set("k", loader, ttl=5)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [LISTENER, RELOAD], ids=["listener", "reload"])
def test_exit_while_a_thread_of_the_library_is_in_python(code):
    before = """
import sys, threading, time
import lighter_cache as lc

class Late:
    # Runs near the end of the interpreter, and gives the other thread the time to come back in.
    def __del__(self, sleep=time.sleep):
        sleep(0.4)
sys.late = Late()
inside = threading.Event()
def linger():
    inside.set()
    time.sleep(0.2)
    print("to the end")
"""
    assert run_python(before + code).split("\n")[0] == "to the end"


def test_caches_may_be_used_by_exit_handlers(one_server, prefix):
    code = """
import atexit, sys
def last():
    for cache in caches:
        cache.set("k", b"v")
        assert cache.get("k") == b"v"
    print("fine")
atexit.register(last)
import lighter_cache as lc
caches = [lc.LocalCache(), lc.open(sys.argv[1]), lc.open("hybrid+" + sys.argv[1])]
atexit.register(last)
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}").split() == ["fine", "fine"]


def test_finalizers_at_the_very_end():
    code = """
import lighter_cache as lc
class Last:
    cache = lc.LocalCache()
    def __del__(self):
        self.cache.set("k", b"v")
        assert self.cache.get("k") == b"v"
        self.cache.close()
        print("fine")
last = Last()
last.me = last
"""
    assert run_python(code).strip() == "fine"


def test_nothing_is_written_unless_asked(one_server, prefix, capfd):
    code = """
import sys, lighter_cache as lc
with lc.open(sys.argv[1]) as cache:
    cache.set("k", b"v")
try:
    lc.open("redis://127.0.0.1:1")
except lc.ConnectError:
    pass
lc.open("hybrid+redis://127.0.0.1:1").set("k", b"v")
lc.open()
"""
    assert run_python(code, f"{one_server.url}?prefix={prefix}", REDIS_URL="", LIGHTER_CACHE_URL="local:") == ""
    assert capfd.readouterr() == ("", "")
