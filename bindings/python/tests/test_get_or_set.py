"""get_or_set: one load per key, and what becomes of a loader's exception."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref

import lighter_cache as lc
import pytest


def test_a_value_that_is_there_is_not_loaded(local):
    local.set("k", b"v")
    assert local.get_or_set("k", lambda: pytest.fail("called")) == b"v"
    assert (local.stats().hits, local.stats().misses) == (1, 0)


def test_a_value_that_is_not_there(loads):
    assert loads.get_or_set("k", lambda: bytearray(b"v"), ttl=60) == b"v"
    assert loads.get("k") == b"v"
    assert 50 < loads.ttl("k") <= 60
    assert loads.get_or_set("k", lambda: b"w") == b"v"


def test_one_miss_is_counted_once(loads):
    loads.get_or_set("k", lambda: b"v")
    assert loads.stats().misses == 1


def test_none_is_not_stored(loads):
    assert loads.get_or_set("k", lambda: None) is None
    assert not loads.exists("k")
    assert loads.get_or_set("k", lambda: b"v") == b"v"


def test_tags(loads):
    loads.get_or_set("k", lambda: b"v", tags=["t"])
    loads.invalidate_tag("t")
    assert loads.get("k") is None


@pytest.mark.parametrize("loader", [None, b"v", 5])
def test_a_loader_is_callable(local, loader):
    with pytest.raises(TypeError):
        local.get_or_set("k", loader)


@pytest.mark.parametrize("result", ["text", 5, object()])
def test_a_loader_returns_bytes(loads, result):
    with pytest.raises(TypeError, match="bytes-like"):
        loads.get_or_set("k", lambda: result)


class Oops(Exception):
    pass


def test_the_exception_of_a_loader_comes_out_unharmed(loads):
    raised = Oops("k")

    def deeper():
        raise raised

    def loader():
        deeper()

    with pytest.raises(Oops) as caught:
        loads.get_or_set("k", loader)
    assert caught.value is raised
    assert raised.__cause__ is None
    names = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
    assert names[-2:] == ["loader", "deeper"]
    # It is not remembered, by nobody.
    assert loads.get_or_set("k", lambda: b"v") == b"v"


def test_nothing_of_a_load_stays_behind(loads):
    class Loader:
        def __call__(self):
            raise Oops

    loader = Loader()
    gone = weakref.ref(loader)
    with pytest.raises(Oops):
        loads.get_or_set("k", loader)
    del loader
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_comes_out_too(loads, kind):
    def loader():
        raise kind

    with pytest.raises(kind):
        loads.get_or_set("k", loader)


def gathered(cache, number, loader):
    """What `number` threads get that ask for one key, all but the first while the first loads."""
    results = []
    loading, asked = threading.Event(), threading.Event()

    def first():
        loading.set()
        asked.wait()
        return loader()

    def ask(loader):
        try:
            results.append(cache.get_or_set("k", loader))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=ask, args=(first,))]
    threads[0].start()
    loading.wait()
    threads += [threading.Thread(target=ask, args=(lambda: pytest.fail("called"),)) for _ in range(number - 1)]
    for thread in threads[1:]:
        thread.start()
    # Each is counted as it begins to wait, or else finds the value later: both are right.
    deadline = time.monotonic() + 5
    while cache.stats().coalesced < number - 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    asked.set()
    for thread in threads:
        thread.join()
    return results


def test_one_loads_and_the_others_get_it(loads):
    assert gathered(loads, 8, lambda: b"v") == [b"v"] * 8


def test_those_who_waited_get_loader_error(loads):
    raised = Oops()

    def loader():
        raise raised

    results = gathered(loads, 4, loader)
    assert results.count(raised) == 1
    others = [result for result in results if result is not raised]
    assert [type(error) for error in others] == [lc.LoaderError] * 3
    assert all(error.__cause__ is raised for error in others)
    assert others[0].status == -13
    assert "Oops" in str(others[0])


def test_a_loader_may_use_the_cache(loads):
    def loader():
        loads.set("other", b"1")
        return loads.get_or_set("inner", lambda: loads.get("other") + b"2")

    assert loads.get_or_set("k", loader) == b"12"
    assert loads.get("inner") == b"12"


def test_its_own_key_again(loads):
    with pytest.raises(lc.ReentrantError):
        loads.get_or_set("k", lambda: loads.get_or_set("k", lambda: b"v"))


def test_a_cache_may_be_closed_by_a_loader(loads):
    def loader():
        loads.close()
        return b"v"

    assert loads.get_or_set("k", loader) == b"v"
    assert loads.closed


def test_a_loader_may_fork(loads):
    def loader():
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            loads.set("child", b"1")
            os._exit(0 if loads.get_or_set("other", lambda: b"2") == b"2" else 1)
        assert os.waitpid(pid, 0)[1] == 0
        return b"v"

    assert loads.get_or_set("k", loader) == b"v"


INTERRUPTED = """
import signal, sys, threading, time
import lighter_cache as lc

cache = lc.LocalCache()
loading, finish = threading.Event(), threading.Event()
handled = []

def handler(number, frame):
    handled.append(time.monotonic())
    raise KeyboardInterrupt

def loader():
    loading.set()
    finish.wait()
    return b"v"

signal.signal(signal.SIGINT, handler)
thread = threading.Thread(target=cache.get_or_set, args=("k", loader))
thread.start()
loading.wait()
print("waiting", flush=True)
try:
    cache.get_or_set("k", loader)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - handled[0] < 1, flush=True)
finish.set()
thread.join()
print(cache.get("k"), flush=True)
"""


def test_ctrl_c_ends_the_wait_for_another_load(loads):
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "waiting\n"
        while open(f"/proc/{child.pid}/stat").read().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGINT)
        assert child.stdout.readline() == "interrupted True\n"
        assert child.stdout.readline() == "b'v'\n"
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
