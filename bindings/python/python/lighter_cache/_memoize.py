"""`Cache.memoize`: what a function returns, kept in a cache.

- `_native.Memo` does what every call needs: the key, the look-up, the hit.
- `Memoized` and `AsyncMemoized` do the rest for functions and for coroutine functions. Both let one call per key
  do the work while the others wait for it: threads of this process on the one hand, tasks of one event loop on
  the other (`_flight`).

A server that is away does not make a function fail: it is called, and its result not kept.
"""

import asyncio
import functools
import inspect
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

from . import _flight, _native
from ._codec import CodecLike, chosen
from ._errors import CacheError, ConnectError, CorruptError, NoMemoryError, ServerError, TimeoutError, TooBigError
from ._flight import CURRENT, Flight, Table, TaskFlight, ThreadFlight
from ._keys import Keys
from ._stats import MemoizeStats

P = ParamSpec("P")
R = TypeVar("R")
_Duration: TypeAlias = float | timedelta | str | None
_Tags: TypeAlias = Iterable[str | bytes] | Callable[..., Iterable[str | bytes]]

# What a call can do without.
_FORGIVEN = (ConnectError, TimeoutError, ServerError, CorruptError, NoMemoryError)

_OMITTED: Any = type("Omitted", (), {"__repr__": lambda self: "..."})()


def memoize(
    cache: _native.Cache,
    ttl: _Duration = _OMITTED,
    *,
    key: Callable[..., Any] | str | None = None,
    typed: bool = False,
    tags: _Tags = (),
    stale: _Duration = _OMITTED,
    codec: CodecLike | None = None,
) -> Callable[[Callable[P, R]], "Memoized[P, R]"]:
    """The decorator; `Cache.memoize` has the manual."""
    if callable(ttl):
        raise TypeError("write @cache.memoize(), with parentheses")
    if not (key is None or isinstance(key, str) or callable(key)):
        raise TypeError("key: a callable, or text such as 'user:{id}'")
    times = {name: value for name, value in (("ttl", ttl), ("stale", stale)) if value is not _OMITTED}
    for value in times.values():
        _native.seconds(value)
    if not callable(tags):
        tags = (tags,) if isinstance(tags, (str, bytes)) else tuple(tags)
    pair = chosen(codec, cache)

    def decorate(function: Callable[P, R]) -> Memoized[P, R]:
        if not callable(function):
            raise TypeError(
                "memoize goes below classmethod and staticmethod"
                if isinstance(function, (classmethod, staticmethod))
                else "only what can be called can be memoized"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator has no result that could be kept")
        kind = AsyncMemoized if inspect.iscoroutinefunction(function) else Memoized
        keys = Keys(function, key, typed)
        made: Memoized[P, R] = kind(cache, keys.head, keys.tails, keys.variadic, typed, pair.decode if pair else None)
        functools.update_wrapper(made, function)
        made._cache = cache
        made._keys = keys
        made._encode = pair.encode if pair else _as_it_is
        made._times = times
        made._tags = tags
        return made

    return decorate


class Memoized(_native.Memo, Generic[P, R]):
    """A function whose results are kept in a cache."""

    __wrapped__: Callable[P, R]
    _cache: _native.Cache
    _keys: Keys
    _encode: Callable[[Any], Any]
    _times: dict[str, Any]
    _tags: Any

    def __init__(self, *_: Any) -> None:
        self._table: Table[ThreadFlight] = Table()
        self._misses = self._coalesced = self._errors = 0

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else Bound(self, instance)

    def __repr__(self) -> str:
        return f"<memoized {self.__wrapped__!r}>"

    def __reduce__(self) -> str:
        # As a function: by its name.
        return self.__wrapped__.__qualname__

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key in the cache for these arguments."""
        return self._key(args, kwargs).decode("utf-8", "surrogateescape")

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forgets the result for these arguments; True if there was one. A call under way is not kept."""
        key = self._key(args, kwargs)
        with _flight.LOCK:
            self._void(key)
        return self._cache.delete(key)

    def stats(self) -> MemoizeStats:
        """What was counted in this process."""
        return MemoizeStats(self._hits(), self._misses, self._coalesced, self._errors)

    def _void(self, key: bytes) -> None:
        flight = self._table.pop(key, None)
        if flight is not None:
            flight.void = True

    def _general_key(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bytes:
        return self._keys.of(args, kwargs or {})

    def _forgive(self, error: CacheError) -> None:
        if not isinstance(error, _FORGIVEN):
            raise error
        with _flight.LOCK:
            self._errors += 1

    def _encoded(self, result: Any) -> bytes | None:
        """What is kept of a result: nothing of None where there is no codec."""
        encoded = self._encode(result)
        return None if encoded is None else bytes(encoded)

    def _decoded(self, data: bytes | None) -> Any:
        decode = self._decode
        return data if decode is None or data is None else decode(data)

    def _again(self, key: bytes) -> bytes | None:
        # Whoever was under way when this call found nothing may have finished meanwhile. `exists` does not
        # count the miss a second time.
        return self._cache.get(key) if self._cache.exists(key) else None

    def _options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """How a result is stored."""
        tags = self._tags(*args, **kwargs) if callable(self._tags) else self._tags
        return {**self._times, "tags": tags} if tags else self._times

    def _not_kept(self, error: CacheError) -> None:
        if not isinstance(error, TooBigError):
            self._forgive(error)
            return
        with _flight.LOCK:
            self._errors += 1

    def _keep(self, flight: Flight, key: bytes, data: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if flight.void:
            return
        options = self._options(args, kwargs)
        try:
            self._cache.set(key, data, **options)
        except CacheError as error:
            self._not_kept(error)
        if flight.void:
            self._cache.delete(key)

    def _miss(self, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any] | None, error: CacheError | None) -> Any:
        if error is not None:
            self._forgive(error)
        kwargs = kwargs or {}
        while True:
            mine = ThreadFlight()
            with _flight.LOCK:
                flight = self._table.setdefault(key, mine)
                joined = flight.join()
            if flight is mine:
                return self._lead(mine, key, args, kwargs, error is None)
            if not joined:
                # Whom this call would wait for waits for it: both do the work.
                with _flight.LOCK:
                    self._misses += 1
                return self._result(self.__wrapped__(*args, **kwargs))
            try:
                flight.done.wait()
            finally:
                with _flight.LOCK:
                    flight.leave()
            if flight.error is None:
                with _flight.LOCK:
                    self._coalesced += 1
                return self._decoded(flight.data)
            if isinstance(flight.error, Exception):
                raise flight.error
            # Its leader was stopped (by Ctrl-C, for instance), which concerns nobody else.

    def _lead(self, flight: ThreadFlight, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any], look: bool) -> Any:
        token = CURRENT.set(flight)
        try:
            data = self._again(key) if look else None
            if data is not None:
                flight.data = data
                self._hits(1)
                return self._decoded(data)
            with _flight.LOCK:
                self._misses += 1
            result = self.__wrapped__(*args, **kwargs)
            flight.data = self._encoded(result)
            if flight.data is not None:
                self._keep(flight, key, flight.data, args, kwargs)
            return self._result(result)
        except BaseException as error:
            flight.error = error
            raise
        finally:
            CURRENT.reset(token)
            with _flight.LOCK:
                flight.leave()
                self._table.end(key, flight)
            flight.done.set()

    def _result(self, result: Any) -> Any:
        """What the call that did the work returns: the same type as a hit."""
        return self._encoded(result) if self._decode is None else result


class AsyncMemoized(Memoized[P, R]):
    """A coroutine function whose results are kept in a cache."""

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self._tables: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Table[TaskFlight]] = (
            weakref.WeakKeyDictionary()
        )
        # What asks whether this is a coroutine function is told so.
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key = self._key(args, kwargs)
        error = None
        try:
            data = await self._cache.aio.get(key)
        except CacheError as raised:
            self._forgive(raised)
            data, error = None, raised
        if data is not None:
            self._hits(1)
            return self._decoded(data)
        loop = asyncio.get_running_loop()
        with _flight.LOCK:
            table = self._tables.setdefault(loop, Table())
            flight = table.get(key)
            leader = flight is None
            if flight is None:
                flight = table[key] = TaskFlight()
            joined = flight.join()
        if leader:
            flight.task = loop.create_task(self._load(flight, table, key, args, kwargs, error is None))
        elif not joined:
            with _flight.LOCK:
                self._misses += 1
            return self._result(await self.__wrapped__(*args, **kwargs))  # type: ignore[misc]
        return await self._wait(flight, table, key, leader)

    async def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """As `invalidate`, without blocking the event loop."""
        key = self._key(args, kwargs)
        with _flight.LOCK:
            self._void(key)
        return await self._cache.aio.delete(key)

    def _void(self, key: bytes) -> None:
        for table in self._tables.values():
            flight = table.pop(key, None)
            if flight is not None:
                flight.void = True

    async def _look_again(self, key: bytes) -> bytes | None:
        """As `_again`."""
        return await self._cache.aio.get(key) if await self._cache.aio.exists(key) else None

    async def _store(
        self, flight: TaskFlight, key: bytes, data: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """As `_keep`."""
        if flight.void:
            return
        options = self._options(args, kwargs)
        try:
            await self._cache.aio.set(key, data, **options)
        except CacheError as error:
            self._not_kept(error)
        finally:
            # A store that was cancelled may have happened, too.
            if flight.void:
                await asyncio.shield(self._cache.aio.delete(key))

    async def _wait(self, flight: TaskFlight, table: Table[TaskFlight], key: bytes, leader: bool) -> Any:
        # The load is a task of its own: a caller that is cancelled takes nothing away from the others.
        flight.callers += 1
        try:
            result, data = await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            with _flight.LOCK:
                flight.leave()
            if not flight.callers and not flight.task.done():
                # Nobody is left who wants it.
                with _flight.LOCK:
                    table.end(key, flight)
                flight.task.cancel()
        if leader:
            return result
        with _flight.LOCK:
            self._coalesced += 1
        return self._decoded(data)

    async def _load(
        self,
        flight: TaskFlight,
        table: Table[TaskFlight],
        key: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        look: bool,
    ) -> tuple[Any, bytes | None]:
        # This task has a context of its own.
        CURRENT.set(flight)
        try:
            data = await self._look_again(key) if look else None
            if data is not None:
                self._hits(1)
                return self._decoded(data), data
            with _flight.LOCK:
                self._misses += 1
            result = await self.__wrapped__(*args, **kwargs)  # type: ignore[misc]
            data = self._encoded(result)
            if data is not None:
                await self._store(flight, key, data, args, kwargs)
            return self._result(result), data
        finally:
            with _flight.LOCK:
                table.end(key, flight)


class Bound(functools.partial[Any]):
    # A memoized method of one object. What it says of itself is what the method says.

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.func.__doc__

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.func.__wrapped__.__get__(self.args[0])  # type: ignore[no-any-return, attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.func, name)

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key in the cache for these arguments."""
        return self.func.key(*self.args, *args, **kwargs)  # type: ignore[no-any-return, attr-defined]

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Forgets the result for these arguments; True if there was one."""
        return self.func.invalidate(*self.args, *args, **kwargs)  # type: ignore[no-any-return, attr-defined]

    def ainvalidate(self, *args: Any, **kwargs: Any) -> Awaitable[bool]:
        """As `invalidate`, without blocking the event loop; of coroutine functions only."""
        return self.func.ainvalidate(*self.args, *args, **kwargs)  # type: ignore[no-any-return, attr-defined]


def _as_it_is(result: Any) -> Any:
    if result is None or isinstance(result, bytes):
        return result
    try:
        return memoryview(result)
    except TypeError:
        kind = type(result)
        raise TypeError(
            f"a memoized function must return bytes-like or None, not {kind.__module__}.{kind.__qualname__}: "
            'pass codec="json" for objects'
        ) from None
