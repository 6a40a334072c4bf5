"""Listeners: called on a thread of the library, until they are not."""

import queue
import threading

import lighter_cache as lc
import pytest
from surroundings import run_python


def test_an_expiry_is_heard(local):
    heard = queue.SimpleQueue()
    id = local.subscribe(lambda event, key: heard.put((event, key, threading.get_ident())), lc.Event.EXPIRED)
    local.set("naïve", b"v", ttl=0.01)
    event, key, thread = heard.get(timeout=30)
    assert (event, key) == (lc.Event.EXPIRED, "naïve")
    assert isinstance(event, lc.Event)
    assert thread != threading.get_ident()
    assert local.unsubscribe(id) is True
    assert local.unsubscribe(id) is False


def test_an_eviction_is_heard():
    heard = queue.SimpleQueue()
    with lc.LocalCache(max_entries=10) as cache:
        cache.subscribe(lambda event, key: heard.put((event, key)), events=lc.Event.EVICTED)
        cache.set_many({f"k{n}": b"v" for n in range(1000)})
        event, key = heard.get(timeout=30)
    assert event is lc.Event.EVICTED
    assert key.startswith("k")


def test_no_other_event_is_heard(local):
    heard = queue.SimpleQueue()
    local.subscribe(lambda *_: heard.put("wrong"), lc.Event.EVICTED | lc.Event.DEGRADED)
    local.subscribe(lambda *_: heard.put("right"))
    local.set("k", b"v", ttl=0.01)
    assert heard.get(timeout=30) == "right"
    assert heard.empty()


@pytest.mark.parametrize("kind", ["redis", "hybrid"])
def test_a_listener_must_not_wait(local, one_server, prefix, kind):
    scheme = {"redis": "", "hybrid": "hybrid+"}[kind]
    heard = queue.SimpleQueue()
    with lc.open(scheme + one_server.url, prefix=prefix) as cache:
        calls = [
            lambda: cache.get("k"),
            lambda: cache.set("k", b"v"),
            lambda: cache.delete_many(["k"]),
            cache.count,
            cache.ping,
            lambda: lc.open(one_server.url),
        ]

        def listener(event, key):
            for call in calls:
                try:
                    heard.put(call())
                except lc.CacheError as error:
                    heard.put(type(error))
            # What never waits is allowed.
            heard.put(local.get("stays"))

        local.set("stays", b"v")
        local.subscribe(listener)
        local.set("k", b"v", ttl=0.01)
        assert [heard.get(timeout=30) for _ in calls] == [lc.ReentrantError] * len(calls)
        assert heard.get(timeout=30) == b"v"
        # Threads of the program may wait as before.
        cache.ping()


def test_an_exception_of_a_listener_goes_to_the_hook(local, monkeypatch):
    heard = queue.SimpleQueue()
    monkeypatch.setattr("sys.unraisablehook", lambda report: heard.put((report.exc_type, report.object)))

    def listener(event, key):
        raise ZeroDivisionError

    local.subscribe(listener)
    local.set("k", b"v", ttl=0.01)
    assert heard.get(timeout=30) == (ZeroDivisionError, listener)


@pytest.mark.parametrize("events", [0, 32, 63])
def test_unknown_events(local, events):
    with pytest.raises(lc.InvalidError):
        local.subscribe(print, events)


def test_a_listener_is_callable(local):
    with pytest.raises(TypeError):
        local.subscribe(None)


def test_an_interpreter_waits_for_a_listener_that_is_running():
    # Such a one came back while the interpreter was being taken down, when that waited for a second only.
    code = """
import lighter_cache as lc, threading, time
cache = lc.LocalCache(sweep_interval=0.01)
first = threading.Event()
def listener(event, key):
    first.set()
    time.sleep(1.02)
    print("heard")
cache.subscribe(listener)
for n in range(50):
    cache.set(f"k{n}", b"v", ttl=0.01)
first.wait(30)
"""
    assert run_python(code).strip() == "heard"


def test_an_interpreter_may_end_while_events_come():
    code = """
import lighter_cache as lc, threading
cache = lc.LocalCache(sweep_interval=0.01)
first = threading.Event()
def listener(event, key):
    first.set()
    sum(range(2000))
cache.subscribe(listener)
for n in range(5000):
    cache.set(f"k{n}", b"v", ttl=0.001 * (n % 50 + 1))
first.wait(30)
print("fine", first.is_set())
"""
    for _ in range(5):
        assert run_python(code).strip() == "fine True"
