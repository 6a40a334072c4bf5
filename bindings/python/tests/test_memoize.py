"""memoize: functions, methods, coroutine functions; one call per key; keys that mean the same everywhere."""

import asyncio
import datetime
import decimal
import enum
import inspect
import math
import pathlib
import threading
import uuid

import lighter_cache as lc
import pytest
from surroundings import run_python


class Oops(Exception):
    pass


def counted(cache, **options):
    """A memoized function of anything, and the list of its calls."""
    calls = []

    @cache.memoize(**options)
    def function(*args, **kwargs):
        calls.append((args, kwargs))
        return b"%d" % len(calls)

    return function, calls


def test_the_second_call_is_a_hit(cache):
    function, calls = counted(cache, ttl=60)
    assert function("a") == b"1"
    assert function("a") == b"1"
    assert function("b") == b"2"
    assert len(calls) == 2
    assert function.stats() == (1, 2, 0, 0)
    assert function.stats().misses == 2


def test_what_is_kept(cache):
    function, _ = counted(cache, ttl=60)
    function("a")
    key = function.key("a")
    assert cache.get(key) == b"1"
    assert 50 < cache.ttl(key) <= 60
    cache.set(key, b"by another")
    assert function("a") == b"by another"


def test_invalidate(cache):
    function, calls = counted(cache)
    function("a", 1)
    function("b", 1)
    assert function.invalidate("a", 1) is True
    assert function.invalidate("a", 1) is False
    function("a", 1)
    function("b", 1)
    assert len(calls) == 3


def test_it_still_looks_like_the_function(local):
    def function(a: int, b: str = "x") -> bytes:
        """What it does."""
        return b""

    memoized = local.memoize()(function)
    assert memoized.__wrapped__ is function
    assert memoized.__name__ == "function"
    assert memoized.__doc__ == "What it does."
    assert memoized.__module__ == __name__
    assert inspect.signature(memoized) == inspect.signature(function)
    assert "function" in repr(memoized)


def named(a, b=2, /, c=3, *, d=4, e=5):
    return b""


def test_calls_that_mean_the_same_have_one_key(local):
    memoized = local.memoize()(named)
    same = {
        memoized.key(1),
        memoized.key(1, 2),
        memoized.key(1, 2, 3),
        memoized.key(1, c=3),
        memoized.key(1, 2, d=4),
        memoized.key(1, e=5, d=4),
    }
    assert same == {f"{__name__}.named(1,2,3,d=4,e=5,)"}
    assert memoized.key(1, d=5) != memoized.key(1, e=4)


def variadic(a, *rest, flag=False, **others):
    return b""


def test_arguments_of_any_number(local):
    key = local.memoize()(variadic).key
    keys = [
        key(1),
        key(1, 2),
        key(1, 2, 3),
        key(1, (2, 3)),
        key(1, flag=True),
        key(1, x=1),
        key(1, x=1, y=2),
        key(1, 2, x=1),
    ]
    assert len(set(keys)) == len(keys)
    assert key(1, x=1, y=2) == key(1, y=2, x=1)
    assert key(1, flag=False) == key(1)


def test_a_default_without_a_text(local):
    missing = object()

    def function(a, b=missing):
        return b""

    memoized = local.memoize()(function)
    assert memoized.key(1) == memoized.key(1, b=missing)
    assert memoized.key(1) != memoized.key(1, None)


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Point(tuple):
    pass


DIFFERENT = [
    None,
    "None",
    0,
    1,
    -1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**200,
    1.5,
    math.inf,
    math.nan,
    "",
    "1",
    "a",
    "a'",
    "a\\",
    "a\\'",
    "','",
    "é",
    "\ud800",
    b"",
    b"a",
    b"1",
    b"'",
    (),
    (1,),
    ((1,),),
    (1, 2),
    (1, (2,)),
    [],
    [1],
    ["a,b"],
    ["a", "b"],
    {},
    {1: 2},
    {1: 2, 3: 4},
    {"1": 2},
    set(),
    {1},
    {1, 2},
    1j,
    Color.RED,
    Color.BLUE,
    Point((1,)),
    int,
    str,
    len,
    named,
    datetime.date(2024, 1, 2),
    datetime.datetime(2024, 1, 2),
    datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    datetime.time(1, 2),
    datetime.timedelta(1),
    decimal.Decimal("1.10"),
    uuid.UUID(int=1),
    pathlib.PurePosixPath("a"),
    range(3),
]


def test_different_arguments_have_different_keys(local):
    memoized = local.memoize()(variadic)
    keys = [memoized.key(argument) for argument in DIFFERENT]
    assert len(set(keys)) == len(keys)
    pairs = [memoized.key(a, b) for a in DIFFERENT for b in DIFFERENT]
    assert len(set(pairs)) == len(pairs)


def test_keys_are_the_same_in_every_process(local):
    code = """
import datetime, decimal, lighter_cache as lc, sys, uuid
def function(*args, **kwargs): pass
function.__module__ = "program"
memoized = lc.LocalCache().memoize()(function)
key = memoized.key("é", b"x", 1, 1.5, None, True, {3, 1, 2}, {"b": 1, "a": 2}, [(1,)], uuid.UUID(int=1),
    datetime.datetime(2024, 1, 2), decimal.Decimal("1.0"), int, x=1)
print(ascii(key))
"""
    keys = {run_python(code, PYTHONHASHSEED=str(seed)) for seed in (1, 2, 3)}
    assert len(keys) == 1
    assert keys.pop().startswith("\"program.function('\\xe9',b'x',1,1.5,None,1,s{1,2,3,},{'a':2,'b':1,},[(1,),],")


def test_typed(local):
    loose, strict = local.memoize()(variadic), local.memoize(typed=True)(variadic)
    assert loose.key(1) == loose.key(1.0) == loose.key(True) == loose.key(numpy_int(1))
    assert len({strict.key(1), strict.key(1.0), strict.key(True), strict.key(numpy_int(1))}) == 4
    assert loose.key(0.0) == loose.key(-0.0) == loose.key(False)


def numpy_int(number):
    import numpy

    return numpy.int64(number)


def test_long_keys_are_shortened(local):
    memoized = local.memoize()(variadic)
    long, longer = memoized.key("x" * 1000), memoized.key("x" * 100_000)
    assert long != longer
    assert len(longer) < 600
    assert memoized.key("x" * 1000) == long
    memoized("x" * 100_000)
    assert local.exists(longer)


def test_objects_are_told_apart(local):
    class Thing:
        pass

    function, calls = counted(local)
    one, two = Thing(), Thing()
    for thing in (one, two, one, two):
        function(thing)
    assert len(calls) == 2
    # A number is not used again for an object that happens to get the same address.
    keys = {function.key(Thing()) for _ in range(100)}
    assert len(keys) == 100


def test_what_can_not_be_told_apart_is_a_type_error(local):
    class Unhashable:
        __hash__ = None

    function, calls = counted(local)
    with pytest.raises(TypeError, match="Unhashable.*key="):
        function(Unhashable())
    deep = []
    deep.append(deep)
    with pytest.raises(TypeError, match="deep"):
        function(deep)
    assert not calls


def test_functions_of_one_name_are_told_apart(local):
    def make(number):
        @local.memoize()
        def function():
            return b"%d" % number

        return function

    assert [make(1)(), make(2)()] == [b"1", b"2"]
    first, second = local.memoize()(lambda: b"1"), local.memoize()(lambda: b"2")
    assert (first(), second()) == (b"1", b"2")


def test_key_by_text(local):
    @local.memoize(key="user:{id}")
    def user(id, verbose=False):
        return b"%d" % id

    assert user(7) == b"7"
    assert local.get("user:7") == b"7"
    assert user.key(id=7, verbose=True) == "user:7"
    assert user.invalidate(7)


def test_key_by_a_function(local):
    @local.memoize(key=lambda id, **_: f"user:{id}")
    def user(id, verbose=False):
        return b"%d" % id

    assert user(7, verbose=True) == b"7"
    assert local.get("user:7") == b"7"
    by_bytes = local.memoize(key=lambda id: b"\xff%d" % id)(user.__wrapped__)
    by_bytes(1)
    assert local.get(b"\xff1") == b"1"
    # What is no key by itself becomes an argument.
    by_value = local.memoize(key=lambda id: (id % 2,))(user.__wrapped__)
    assert by_value.key(1) == by_value.key(3) != by_value.key(2)
    assert "user" in by_value.key(1)


class Service:
    cache = lc.LocalCache()

    def __init__(self):
        self.calls = []

    @cache.memoize(ttl=60)
    def method(self, x):
        """A method."""
        self.calls.append(x)
        return b"%d" % len(self.calls)

    @classmethod
    @cache.memoize()
    def of_class(cls, x):
        return cls.__name__.encode()

    @staticmethod
    @cache.memoize()
    def of_none(x):
        return b"%d" % x

    @cache.memoize(codec="json")
    async def coroutine(self, x):
        self.calls.append(x)
        return len(self.calls)


class Derived(Service):
    pass


def test_methods():
    one, two = Service(), Service()
    assert [one.method(1), one.method(1), one.method(x=1), two.method(1), two.method(2)] == [
        b"1",
        b"1",
        b"1",
        b"1",
        b"2",
    ]
    assert one.calls == [1]
    assert one.method.key(1) == Service.method.key(one, 1)
    assert one.method.invalidate(1) is True
    assert one.method(1) == b"2"
    assert one.method.__wrapped__(5) == b"3"
    assert one.method.__doc__ == "A method."
    assert one.method.stats() == Service.method.stats()


def test_methods_of_a_class_and_of_none():
    assert [Service.of_class(1), Derived.of_class(1), Service().of_class(1)] == [b"Service", b"Derived", b"Service"]
    assert Service.of_class.invalidate(1)
    assert Service.of_none(3) == Service().of_none(3) == b"3"


def test_methods_that_are_coroutines():
    async def main():
        service = Service()
        assert await asyncio.gather(*(service.coroutine(1) for _ in range(5))) == [1] * 5
        assert await service.coroutine.ainvalidate(1) is True
        assert await service.coroutine(1) == 2

    asyncio.run(main())


def test_results_without_a_codec(cache):
    results = iter([bytearray(b"1"), memoryview(b"2"), None, b"3", "text"])

    @cache.memoize()
    def function(x):
        return next(results)

    assert function(1) == function(1) == b"1"
    assert type(function(1)) is bytes
    assert function(2) == b"2"
    assert function(3) is None
    assert function(3) == b"3"
    with pytest.raises(TypeError, match="codec="):
        function(4)


@pytest.mark.parametrize(
    "codec", ["json", "pickle", lc.Codec(repr_bytes := lambda x: repr(x).encode(), eval), (repr_bytes, eval)]
)
@pytest.mark.parametrize("value", [None, 0, "é", [1, {"a": None}], {"b": [1.5, True]}])
def test_codecs(local, codec, value):
    calls = []

    @local.memoize(codec=codec)
    def function():
        calls.append(1)
        return value

    for _ in range(3):
        assert function() == value
    assert len(calls) == 1
    if isinstance(value, list | dict):
        # Nobody holds an object that another has.
        assert function() is not function()


def test_a_server_makes_pickle_a_risk(one_server, local):
    with lc.open(one_server.url) as cache, pytest.warns(RuntimeWarning, match="json"):
        cache.memoize(codec="pickle")


@pytest.mark.parametrize(
    "options",
    [{"codec": "yaml"}, {"codec": (1, 2)}, {"key": 5}, {"ttl": "soon"}, {"ttl": object()}, {"tags": 5}, {"wrong": 1}],
)
def test_wrong_options(local, options):
    with pytest.raises((TypeError, ValueError)):
        local.memoize(**options)


def test_what_can_not_be_memoized(local):
    def generator():
        yield

    async def asynchronous():
        yield

    for wrong in (5, generator, asynchronous, classmethod(named), property(named)):
        with pytest.raises(TypeError):
            local.memoize()(wrong)
    with pytest.raises(TypeError, match="parentheses"):
        local.memoize(named)


def test_no_time_to_live_keeps_nothing(local):
    function, calls = counted(local, ttl=0)
    function()
    function()
    assert len(calls) == 2


def test_an_exception_is_not_kept(cache):
    raised = [Oops(), Oops()]

    @cache.memoize()
    def function():
        if raised:
            raise raised.pop()
        return b"v"

    first = raised[1]
    with pytest.raises(Oops) as caught:
        function()
    assert caught.value is first
    with pytest.raises(Oops):
        function()
    assert function() == b"v"


def in_threads(number, work):
    """Runs `work(n)` in threads; their results or exceptions."""
    results = [None] * number

    def run(n):
        try:
            results[n] = work(n)
        except BaseException as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_call_however_many_threads_ask(cache):
    calls = []
    barrier = threading.Barrier(8)
    asked = threading.Event()

    @cache.memoize(ttl=60)
    def function(x):
        calls.append(x)
        asked.wait(10)
        return b"v"

    def ask(n):
        barrier.wait()
        if n == 7:
            asked.set()
        return function(1)

    assert in_threads(8, ask) == [b"v"] * 8
    assert calls == [1]
    stats = function.stats()
    assert stats.hits + stats.coalesced == 7


def test_the_threads_that_waited_get_the_exception(local):
    raised = Oops()
    inside, waiting = threading.Event(), threading.Event()

    @local.memoize()
    def function():
        inside.set()
        waiting.wait(10)
        raise raised

    def ask(n):
        if n:
            inside.wait()
            if n == 1:
                threading.Timer(0.05, waiting.set).start()
        return function()

    assert in_threads(4, ask)[0] is raised
    assert function.stats().misses >= 1


def test_a_leader_that_is_stopped_leaves_its_place_to_another(local):
    inside, go = threading.Event(), threading.Event()
    turns = iter([KeyboardInterrupt, None])

    @local.memoize()
    def function():
        error = next(turns)
        if error:
            inside.set()
            go.wait(10)
            raise error
        return b"v"

    def ask(n):
        if n:
            inside.wait()
            go.set()
        return function()

    results = in_threads(4, ask)
    assert isinstance(results[0], KeyboardInterrupt)
    assert results[1:] == [b"v"] * 3


def test_recursion(local):
    @local.memoize(codec="json")
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(60) == 1548008755920
    assert fibonacci.stats().misses == 61


def test_the_same_call_within_itself(local):
    @local.memoize()
    def function(x):
        return function(x)

    with pytest.raises(lc.ReentrantError):
        function(1)


def test_threads_that_need_each_others_keys_do_not_wait_for_ever(local):
    both = [threading.Event(), threading.Event()]

    @local.memoize()
    def function(n):
        if both[n].is_set():
            return b"v"
        both[n].set()
        both[1 - n].wait(10)
        return function(1 - n)

    assert in_threads(2, function) == [b"v"] * 2


def test_a_call_under_way_is_not_kept_once_it_is_invalidated(local):
    inside, go = threading.Event(), threading.Event()
    calls = []

    @local.memoize()
    def function():
        calls.append(1)
        if len(calls) == 1:
            inside.set()
            go.wait(10)
        return b"%d" % len(calls)

    thread = threading.Thread(target=function)
    thread.start()
    inside.wait()
    function.invalidate()
    # Nobody waits for it any more either.
    assert function() == b"2"
    go.set()
    thread.join()
    assert function() == b"2"


def test_a_server_that_is_away_fails_no_call(own_server, prefix):
    with lc.RedisCache(own_server.url, prefix=prefix, timeout=0.3, connect_timeout=0.3) as cache:
        function, calls = counted(cache)
        assert function() == b"1"
        own_server.stop()
        assert function() == b"2"
        assert function.stats().errors >= 1
        assert len(calls) == 2


def test_tags(loads):
    @loads.memoize(tags=lambda user: [f"user:{user}"])
    def page(user):
        return b"v"

    page(1)
    page(2)
    loads.invalidate_tag("user:1")
    assert not loads.exists(page.key(1))
    assert loads.exists(page.key(2))


# --- asyncio


def test_it_is_a_coroutine_function(local):
    @local.memoize(ttl=60)
    async def function():
        return b"v"

    assert asyncio.iscoroutinefunction(function)
    assert asyncio.run(function()) == b"v"
    # Another loop finds what was kept.
    assert asyncio.run(function()) == b"v"
    assert function.stats()[:2] == (1, 1)


def test_one_call_however_many_tasks_ask(cache):
    calls = []

    async def main():
        go = asyncio.Event()

        @cache.memoize(ttl=60)
        async def function(x):
            calls.append(x)
            await go.wait()
            return b"v"

        tasks = [asyncio.create_task(function(1)) for _ in range(20)]
        while not calls:
            await asyncio.sleep(0.001)
        go.set()
        assert await asyncio.gather(*tasks) == [b"v"] * 20
        assert await function(1) == b"v"

    asyncio.run(main())
    assert calls == [1]


def test_a_cancelled_leader_strands_nobody(local):
    async def main():
        inside, go = asyncio.Event(), asyncio.Event()
        calls = []

        @local.memoize()
        async def function():
            calls.append(1)
            inside.set()
            await go.wait()
            return b"v"

        leader = asyncio.create_task(function())
        await inside.wait()
        others = [asyncio.create_task(function()) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        go.set()
        assert await asyncio.gather(*others) == [b"v"] * 3
        assert calls == [1]

    asyncio.run(main())


def test_the_last_one_to_be_cancelled_stops_the_call(local):
    async def main():
        inside, stopped = asyncio.Event(), asyncio.Event()

        @local.memoize()
        async def function():
            inside.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        tasks = [asyncio.create_task(function()) for _ in range(3)]
        await inside.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(stopped.wait(), 10)
        # Who comes next begins anew.
        inside.clear()
        task = asyncio.create_task(function())
        await inside.wait()
        task.cancel()

    asyncio.run(main())


def test_the_tasks_that_waited_get_the_exception(local):
    raised = Oops()

    async def main():
        @local.memoize()
        async def function():
            await asyncio.sleep(0)
            raise raised

        results = await asyncio.gather(*(function() for _ in range(3)), return_exceptions=True)
        assert all(result is raised for result in results)
        assert function.stats().misses == 1

    asyncio.run(main())


def test_tasks_that_need_each_others_keys(local):
    async def main():
        both = [asyncio.Event(), asyncio.Event()]

        @local.memoize(codec="json")
        async def function(n, other=True):
            if n in (0, 1) and not both[n].is_set():
                both[n].set()
                await both[1 - n].wait()
                return [n, await function(1 - n)]
            return n

        results = await asyncio.wait_for(asyncio.gather(function(0), function(1)), 10)
        assert [result[0] for result in results] == [0, 1]

        @local.memoize()
        async def itself():
            return await itself()

        with pytest.raises(lc.ReentrantError):
            await asyncio.wait_for(itself(), 10)

    asyncio.run(main())


def test_invalidate_of_a_coroutine_function(local):
    async def main():
        function_calls = []

        @local.memoize()
        async def function(x):
            function_calls.append(x)
            await asyncio.sleep(0)
            return b"%d" % len(function_calls)

        await function(1)
        assert function.invalidate(1) is True
        assert await function(1) == b"2"
        assert await function.ainvalidate(1) is True
        task = asyncio.create_task(function(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert function.invalidate(1) is False
        assert await task == b"3"
        assert not local.exists(function.key(1))

    asyncio.run(main())


# --- processes


def test_a_forked_child_waits_for_nobody():
    code = """
import os, signal, threading, lighter_cache as lc
cache = lc.LocalCache()
inside, go = threading.Event(), threading.Event()
parent = os.getpid()
@cache.memoize()
def function(x):
    if os.getpid() == parent:
        inside.set()
        go.wait()
    return b"%d" % os.getpid()
thread = threading.Thread(target=function, args=(1,))
thread.start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os._exit(0 if function(1) == b"%d" % os.getpid() else 1)
assert os.waitpid(pid, 0)[1] == 0
go.set()
thread.join()
print("fine", function(1) == b"%d" % parent)
"""
    assert run_python(code).strip() == "fine True"


def test_forked_children_number_their_objects_apart():
    code = """
import os, lighter_cache as lc
class Thing: pass
def function(x): pass
memoized = lc.LocalCache().memoize()(function)
keep = Thing()
memoized.key(keep)
def child(end):
    os.write(end, memoized.key(Thing()).encode() + b"\\n")
    os._exit(0)
read, end = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        child(end)
    os.wait()
os.close(end)
print(len(set(os.read(read, 10000).splitlines())))
"""
    assert run_python(code).strip() == "3"


def test_importing_the_package_does_not_import_asyncio():
    assert run_python("import sys, lighter_cache; print('asyncio' in sys.modules)").strip() == "False"
