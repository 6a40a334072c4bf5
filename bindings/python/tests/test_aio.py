"""cache.aio: the operations for asyncio, their cancellation, and that nothing blocks the event loop."""

import asyncio
import contextvars
import gc
import math
import os
import threading
import time
import warnings

import lighter_cache as lc
import pytest


def run(coroutine):
    return asyncio.run(coroutine)


async def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def at_once(operation):
    """What an operation returns that does not wait."""
    try:
        operation.send(None)
    except StopIteration as end:
        return end.value
    pytest.fail("it waits")


# --- the operations


def test_reads_and_writes(full):
    async def main():
        aio = full.aio
        assert await aio.get("k") is None
        assert await aio.get("k", b"else") == b"else"
        assert await aio.set("k", bytearray(b"v"), ttl=60) is None
        assert await aio.get("k", b"else") == b"v"
        assert bytes(await aio.get_view("k")) == b"v"
        assert await aio.get_view("absent") is None
        found = await aio.get_ex("k")
        assert (found.value, found.stale) == (b"v", False)
        assert 50 < found.ttl <= 60
        assert await aio.get_ex("absent") is None
        assert await aio.exists("k") is True
        assert await aio.delete("k") is True
        assert await aio.delete("k") is False
        assert await aio.exists("k") is False
        assert await aio.ping() is None

    run(main())


def test_conditional_writes(full):
    async def main():
        aio = full.aio
        assert await aio.replace("k", b"0") is False
        assert await aio.add("k", b"1") is True
        assert await aio.add("k", b"2") is False
        assert await aio.replace("k", b"3") is True
        assert await aio.compare_and_set("k", b"1", b"4") is False
        assert await aio.compare_and_set("k", b"3", b"4") is True
        assert await aio.compare_and_set("absent", b"3", b"4") is None
        assert await aio.get("k") == b"4"
        assert await aio.incr("n", 5) == 5
        assert await aio.incr("n") == 6
        assert await aio.decr("n", 8) == -2
        with pytest.raises(lc.TypeError):
            await aio.incr("k", 2**62 + 2**61)
            await aio.incr("k", 2**62 + 2**61)

    run(main())


def test_lifetimes(full):
    async def main():
        aio = full.aio
        assert await aio.ttl("k") is None
        await aio.set("k", b"v", None)
        assert await aio.ttl("k") == math.inf
        assert await aio.expire("k", 60) is True
        assert 50 < await aio.ttl("k") <= 60
        assert await aio.touch("k", None) is True
        assert await aio.ttl("k") == math.inf
        assert await aio.expire("absent", 5) is False
        await aio.set("k", b"v", 0)
        assert await aio.get("k") is None

    run(main())


def test_many_keys(full):
    async def main():
        aio = full.aio
        await aio.set_many({"a": b"1", "b": b"2"}, ttl=60)
        await aio.set_many([(b"c", b"3")])
        assert await aio.get_many(["a", "b", b"c", "d"]) == {"a": b"1", "b": b"2", b"c": b"3"}
        assert await aio.get_many([]) == {}
        assert await aio.count() == 3
        assert await aio.delete_many(["a", "d"]) == 1
        await aio.set("other", b"v")
        assert await aio.delete_prefix("o") == 1
        await aio.clear()
        assert await aio.count() == 0

    run(main())


def test_tags(full):
    async def main():
        aio = full.aio
        await aio.set("k", b"v", tags=["t"], stale=5)
        assert await aio.get("k") == b"v"
        await aio.invalidate_tag("t")
        assert await aio.get("k") is None

    run(main())


def test_those_on_a_thread(local, tmp_path):
    async def main():
        aio = local.aio
        await aio.set("k", b"v")
        assert await aio.save(tmp_path / "snapshot") == 1
        await aio.clear()
        assert await aio.load(tmp_path / "snapshot") == 1
        assert (await aio.stats()).entries == 1
        assert "cache_hits_total" in await aio.metrics()
        heard = []
        number = await aio.subscribe(lambda event, key: heard.append(key), lc.Event.EXPIRED)
        await aio.set("short", b"v", 0.001)
        await until(lambda: heard == ["short"])
        assert await aio.unsubscribe(number) is True
        assert await aio.unsubscribe(number) is False

    run(main())


def test_warming(one_server, prefix):
    with lc.open("hybrid+" + one_server.url, prefix=prefix) as cache, lc.open(one_server.url, prefix=prefix) as l2:
        l2.set_many({f"k{number}": b"v" for number in range(10)})

        async def main():
            assert await cache.aio.warm(["k1", "absent"]) == 1
            assert await cache.aio.warm_prefix("k", limit=100) == 10

        run(main())


@pytest.mark.parametrize("call", ["get", "set", "get_many", "incr", "expire"])
def test_wrong_arguments(local, call):
    with pytest.raises(TypeError):
        getattr(local.aio, call)(5)
    with pytest.raises(TypeError):
        local.aio.set("k", "text")


def test_errors_are_those_of_the_other_calls(full):
    async def main():
        with pytest.raises(lc.InvalidError):
            await full.aio.get("")
        with pytest.raises(lc.TooBigError):
            await full.aio.get("k" * 70_000)
        full.close()
        with pytest.raises(lc.ClosedError):
            await full.aio.get("k")

    run(main())


# --- as coroutines


def test_what_asyncio_does_with_coroutines(full):
    async def main():
        aio = full.aio
        await asyncio.create_task(aio.set("k", b"v"))
        assert await asyncio.wait_for(aio.get("k"), 20) == b"v"
        assert await asyncio.gather(*(aio.get("k") for _ in range(10))) == [b"v"] * 10
        assert await asyncio.ensure_future(aio.get("k")) == b"v"
        assert await asyncio.shield(aio.get("k")) == b"v"

        async def around():
            return await aio.get("k")

        assert await around() == b"v"

    run(main())
    assert run(full.aio.get("k")) == b"v"


def test_a_tuple_is_a_value_like_others(local):
    default = (1, 2)
    assert run(local.aio.get("k", default)) is default
    assert run(local.aio.get("k", ())) == ()


def test_an_operation_is_awaited_once(local):
    async def main():
        operation = local.aio.get("k")
        assert "not begun" in repr(operation)
        await operation
        assert "over" in repr(operation)
        with pytest.raises(RuntimeError, match="awaited already"):
            await operation

    run(main())


def test_an_operation_that_is_not_awaited_does_nothing_and_warns(local):
    with pytest.warns(RuntimeWarning, match=r"AsyncCache\.set was never awaited"):
        local.aio.set("k", b"v")
        gc.collect()
    assert local.get("k") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local.aio.set("k", b"v").close()


def test_without_an_event_loop(local):
    with pytest.raises(RuntimeError, match="no running event loop"):
        local.aio.get("k").send(None)


def test_local_operations_and_hits_in_l1_complete_at_once(local, one_server, prefix):
    async def main():
        assert at_once(local.aio.set("k", b"v")) is None
        assert at_once(local.aio.get("k")) == b"v"
        assert at_once(local.aio.get_or_set("new", lambda: b"w")) == b"w"
        with lc.open("hybrid+" + one_server.url, prefix=prefix, timeout=20, l2_timeout=20) as hybrid:
            await until(lambda: not hybrid.stats().degraded)
            await hybrid.aio.set("k", b"v")
            assert at_once(hybrid.aio.get("k")) == b"v"

    run(main())


def test_very_many_at_once(full):
    async def work(number):
        key = f"k{number % 97}"
        await full.aio.set(f"{key}.{number}", str(number).encode())
        assert await full.aio.get(f"{key}.{number}") == str(number).encode()

    async def main():
        await asyncio.gather(*map(work, range(2000)))

    run(main())


def test_loops_one_after_the_other_and_in_many_threads(full):
    for number in range(20):
        assert run(full.aio.set("k", str(number).encode())) is None
        assert run(full.aio.get("k")) == str(number).encode()
    failed = []

    async def work(number):
        for turn in range(20):
            await full.aio.set(f"k{number}", b"%d" % turn)
            assert await full.aio.get(f"k{number}") == b"%d" % turn

    def thread(number):
        try:
            asyncio.run(work(number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed


def test_closed_loops_leave_no_descriptors(redis):
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    run(redis.aio.set("k", b"v"))
    before = count()
    for _ in range(20):
        run(redis.aio.get("k"))
    assert count() <= before + 1


def test_two_loops_in_turn_on_one_thread(redis):
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    descriptors = set()
    for number in range(50):
        for loop in (first, second):
            loop.run_until_complete(redis.aio.set("k", b"%d" % number))
            assert loop.run_until_complete(redis.aio.get("k")) == b"%d" % number
        descriptors.add(len(os.listdir("/proc/self/fd")))
    assert max(descriptors) <= min(descriptors) + 1
    first.close()
    second.close()


def test_an_exception_that_is_on_its_way_is_not_lost(redis):
    class Wrong(Exception):
        pass

    def wrong():
        raise Wrong

    async def main():
        with pytest.warns(RuntimeWarning, match="never awaited"), pytest.raises(TypeError):
            await asyncio.gather(redis.aio.get("a"), redis.aio.get(3))
        with pytest.warns(RuntimeWarning, match="never awaited"):
            try:
                await asyncio.wait_for(redis.aio.get("a"), wrong())
            except Wrong:
                pass
            else:
                pytest.fail("lost")

    run(main())


# --- waiting, cancelling, ending


async def ticks(during):
    """The longest time that the event loop did not get round, in seconds."""
    longest, last = 0.0, time.monotonic()
    while not during.done():
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


def test_a_server_that_does_not_answer_blocks_no_loop(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix, timeout=1, retries=0) as cache:

        async def main():
            await cache.aio.set("k", b"v")
            own_server.pause()
            began = time.monotonic()
            tasks = [asyncio.create_task(cache.aio.get("k")) for _ in range(50)]
            everything = asyncio.gather(*tasks, return_exceptions=True)
            longest = await ticks(everything)
            took = time.monotonic() - began
            assert all(isinstance(one, lc.TimeoutError) for one in await everything)
            own_server.resume()
            # The bound is for a busy machine; a blocked loop would stand still for all of the timeout.
            assert 0.9 < took < 20
            assert longest < 0.9
            await until_answers(cache)

        run(main())


async def until_answers(cache):
    deadline = time.monotonic() + 20
    while True:
        try:
            return await cache.aio.get("k")
        except lc.CacheError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def test_a_cancelled_operation_ends_at_once(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix, timeout=30) as cache:

        async def main():
            await cache.aio.set("k", b"v")
            own_server.pause()
            task = asyncio.create_task(cache.aio.get("k"))
            await asyncio.sleep(0.05)
            assert "under way" in repr(task.get_coro())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cache.aio.get("k"), 0.05)
            own_server.resume()
            assert await cache.aio.get("k") == b"v"

        run(main())


def test_a_cancelled_write_never_lands_after_a_later_one(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix, timeout=30) as cache:

        async def main():
            for turn in range(20):
                await cache.aio.set("k", b"before")
                own_server.pause()
                task = asyncio.create_task(cache.aio.set("k", b"cancelled"))
                await asyncio.sleep(0.002 * (turn % 4))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                later = asyncio.create_task(cache.aio.set("k", b"later"))
                await asyncio.sleep(0)
                own_server.resume()
                await later
                assert await cache.aio.get("k") == b"later"
                assert cache.get("k") == b"later"

        run(main())


def test_a_task_that_is_dropped_amid_an_operation(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix, timeout=30) as cache:

        async def main():
            await cache.aio.set("k", b"v")
            own_server.pause()
            operation = cache.aio.get("k")
            operation.send(None)
            del operation
            gc.collect()
            own_server.resume()
            assert await cache.aio.get("k") == b"v"

        run(main())


def test_a_shutdown_ends_what_waits(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix, timeout=30) as cache:

        async def main():
            await cache.aio.set("k", b"v")
            own_server.pause()
            task = asyncio.create_task(cache.aio.get("k"))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(lc._native.shutdown, 5.0)
            with pytest.raises(lc.CacheError):
                await asyncio.wait_for(task, 10)
            own_server.resume()

        run(main())
        assert run(until_answers(cache)) == b"v"


def test_a_forked_child_has_loops_of_its_own(redis):
    run(redis.aio.set("k", b"v"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert asyncio.run(redis.aio.get("k")) == b"v"
            asyncio.run(redis.aio.set("k", b"child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(redis.aio.get("k")) == b"child"


# --- get_or_set


async def soon(value):
    await asyncio.sleep(0.005)
    return value


def test_a_loader_is_awaited(loads):
    async def main():
        async def loader():
            return await soon(bytearray(b"v"))

        assert await loads.aio.get_or_set("k", loader, ttl=60, tags=["t"]) == b"v"
        assert await loads.aio.get("k") == b"v"
        assert 50 < await loads.aio.ttl("k") <= 60
        assert await loads.aio.get_or_set("k", lambda: pytest.fail("called")) == b"v"
        assert await loads.aio.get_or_set("plain", lambda: b"w") == b"w"
        assert await loads.aio.get_or_set("lambda", lambda: soon(b"x")) == b"x"
        assert await loads.aio.get_or_set("none", lambda: soon(None)) is None
        assert not await loads.aio.exists("none")
        with pytest.raises(TypeError, match="bytes-like"):
            await loads.aio.get_or_set("text", lambda: soon("text"))

    run(main())
    with pytest.raises(TypeError):
        loads.aio.get_or_set("k", None)


def test_one_of_many_tasks_loads(loads):
    calls = []

    async def loader():
        calls.append(1)
        return await soon(b"v")

    async def main():
        values = await asyncio.gather(*(loads.aio.get_or_set("k", loader) for _ in range(100)))
        assert values == [b"v"] * 100

    run(main())
    assert len(calls) == 1


def test_threads_wait_for_a_task_that_loads(loads):
    async def main():
        begun, go = asyncio.Event(), asyncio.Event()

        async def loader():
            begun.set()
            await go.wait()
            return b"v"

        task = asyncio.create_task(loads.aio.get_or_set("k", loader))
        await begun.wait()
        thread = asyncio.create_task(asyncio.to_thread(loads.get_or_set, "k", lambda: pytest.fail("called")))
        await asyncio.sleep(0.05)
        go.set()
        assert await asyncio.gather(task, thread) == [b"v", b"v"]

    run(main())


class Oops(Exception):
    pass


def test_the_exception_of_a_loader(loads):
    raised = Oops("k")

    async def loader():
        await asyncio.sleep(0.05)
        raise raised

    async def main():
        first = asyncio.create_task(loads.aio.get_or_set("k", loader))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(loads.aio.get_or_set("k", loader)) for _ in range(3)]
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert results.count(raised) >= 1
        for result in results:
            assert result is raised or (isinstance(result, lc.LoaderError) and result.__cause__ is raised)
        assert await loads.aio.get_or_set("k", lambda: soon(b"v")) == b"v"

    run(main())


def test_where_the_one_that_loads_is_cancelled_another_loads(loads):
    async def main():
        begun = asyncio.Event()
        cancelled = []

        async def never():
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        first = asyncio.create_task(loads.aio.get_or_set("k", never))
        await begun.wait()
        second = asyncio.create_task(loads.aio.get_or_set("k", lambda: soon(b"v")))
        await asyncio.sleep(0.02)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(second, 20) == b"v"
        assert cancelled == [1]

    run(main())


def test_a_loader_may_use_the_cache_but_not_its_own_key(loads):
    async def main():
        async def other():
            return await loads.aio.get_or_set("other", lambda: soon(b"inner"))

        assert await loads.aio.get_or_set("k", other) == b"inner"

        async def itself():
            return await loads.aio.get_or_set("self", itself)

        with pytest.raises(lc.ReentrantError):
            await asyncio.wait_for(loads.aio.get_or_set("self", itself), 20)

        async def by_thread():
            return await asyncio.to_thread(loads.get_or_set, "thread", lambda: b"v")

        with pytest.raises(lc.ReentrantError):
            await asyncio.wait_for(loads.aio.get_or_set("thread", by_thread), 20)

    run(main())


def test_a_task_that_a_loader_has_begun_may_outlive_it(loads):
    async def main():
        go, done = asyncio.Event(), []

        async def worker():
            await go.wait()
            await loads.aio.delete("k")
            done.append(await loads.aio.get_or_set("k", lambda: soon(b"again")))

        async def loader():
            done.append(asyncio.create_task(worker()))
            return b"v"

        assert await loads.aio.get_or_set("k", loader) == b"v"
        go.set()
        await asyncio.wait_for(done[0], 20)
        assert done[1] == b"again"

    run(main())


def test_a_call_that_waits_does_not_wait_for_a_task_of_its_own_thread(loads):
    async def main():
        begun, go = asyncio.Event(), asyncio.Event()

        async def loader():
            begun.set()
            await go.wait()
            return b"task"

        task = asyncio.create_task(loads.aio.get_or_set("k", loader))
        await begun.wait()
        assert loads.get_or_set("k", lambda: b"call") == b"call"
        go.set()
        assert await task in (b"task", b"call")

    run(main())


def test_loaders_that_need_each_other_do_not_wait_in_a_circle(loads):
    async def main():
        both = asyncio.Barrier(2)

        async def one():
            await both.wait()
            return await loads.aio.get_or_set("b", lambda: soon(b"inner b"))

        async def other():
            await both.wait()
            return await loads.aio.get_or_set("a", lambda: soon(b"inner a"))

        await asyncio.wait_for(asyncio.gather(loads.aio.get_or_set("a", one), loads.aio.get_or_set("b", other)), 20)

    run(main())


def test_a_loader_runs_in_the_callers_context(loads):
    name = contextvars.ContextVar("name")

    async def loader():
        return name.get().encode()

    async def work(value):
        name.set(value)
        return await loads.aio.get_or_set(value, loader)

    async def main():
        assert await asyncio.gather(work("a"), work("b")) == [b"a", b"b"]
        assert await loads.aio.get_or_set("none", lambda: soon(b"v")) == b"v"

    run(main())


# --- locks


def test_a_lock_is_one_tasks(loads):
    inside = []

    async def work():
        async with loads.aio.lock("job", lease=30, wait=20) as lock:
            inside.append(1)
            assert len(inside) == 1
            await asyncio.sleep(0.002)
            inside.pop()
            return lock.fence

    async def main():
        fences = await asyncio.gather(*(work() for _ in range(8)))
        assert len(set(fences)) == 8

    run(main())


def test_a_lock_that_others_hold(loads):
    async def main():
        lock = loads.aio.lock("job", lease=30)
        assert await lock.acquire() is True
        assert await loads.aio.lock("job", lease=30).acquire() is False
        with pytest.raises(lc.LockBusyError):
            async with loads.aio.lock("job", lease=30):
                pytest.fail("inside")
        assert await lock.extend(20) is True
        assert "AsyncLock held" in repr(lock)
        assert await lock.release() is True
        assert await lock.release() is False

    run(main())


def test_a_lock_that_was_lost(loads):
    async def main():
        with pytest.raises(lc.LockLostError):
            async with loads.aio.lock("job", lease=0.01):
                await until(lambda: loads.lock("job", lease=30).acquire())
        with pytest.raises(Oops):
            async with loads.aio.lock("other", lease=0.01):
                await asyncio.sleep(0.05)
                raise Oops

    run(main())


def test_a_shutdown_ends_the_wait_for_a_local_lock(local):
    async def main():
        held = local.aio.lock("job", lease=30)
        assert await held.acquire()
        waiting = asyncio.create_task(local.aio.lock("job", lease=30, wait=20).acquire())
        await asyncio.sleep(0.02)
        await asyncio.to_thread(lc._native.shutdown, 5.0)
        with pytest.raises(lc.ClosedError):
            await asyncio.wait_for(waiting, 10)

    run(main())


def test_a_lock_is_released_whoever_thinks_of_extending_it(loads):
    async def main():
        lock = loads.aio.lock("job", lease=30)
        assert await lock.acquire()
        extending = lock.extend()
        assert await lock.release() is True
        other = loads.aio.lock("job", lease=30)
        assert await other.acquire() is True
        assert await extending is False

    run(main())


def test_a_cancelled_wait_for_a_lock_gives_it_back(loads):
    async def main():
        held = loads.aio.lock("job", lease=30)
        assert await held.acquire()
        waiting = asyncio.create_task(loads.aio.lock("job", lease=30, wait=20).acquire())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await held.release()
        after = loads.aio.lock("job", lease=30, wait=15)
        assert await after.acquire() is True
        assert await after.release() is True

    run(main())
