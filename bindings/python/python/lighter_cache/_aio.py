"""`Cache.aio`: the operations of a cache for asyncio.

Most are coroutines of `_native.AsyncCalls`, which the event loop itself drives. What the core can only do by waiting
on a thread (warming, snapshots) is done on one of the event loop's executor.
"""

from collections.abc import Callable, Coroutine, Iterable
from os import PathLike
from typing import Any, TypeVar

from . import _native
from ._events import Event
from ._stats import Stats

T = TypeVar("T")


class AsyncCache(_native.AsyncCalls):
    """The operations of a cache for asyncio, by the names and with the arguments of Cache: `await
    cache.aio.get(key)`.

    A local operation completes at once, and no other blocks the event loop. All may be cancelled: a write whose
    task was cancelled may have happened or not, but never happens after a later one. An operation that is not
    awaited does not happen, and warns.
    """

    __slots__ = ()

    async def stats(self) -> Stats:
        """A snapshot of this cache's counters."""
        return self.cache.stats()

    async def metrics(self) -> str:
        """The counters in the Prometheus text format."""
        return self.cache.metrics()

    async def warm(self, keys: Iterable[Any]) -> int:
        """Reads `keys` from the server into this process's memory; returns how many were there. HybridCache only."""
        return await _on_a_thread(self.cache.warm, list(keys))

    async def warm_prefix(self, prefix: Any, limit: int = 10_000) -> int:
        """As `warm`, for up to `limit` keys that begin with `prefix`."""
        return await _on_a_thread(self.cache.warm_prefix, prefix, limit)

    async def save(self, path: str | PathLike[str]) -> int:
        """Writes all live entries to a file; returns how many. LocalCache only."""
        return await _on_a_thread(self.cache.save, path)

    async def load(self, path: str | PathLike[str]) -> int:
        """Stores the entries of a file that `save` wrote; returns how many. LocalCache only."""
        return await _on_a_thread(self.cache.load, path)

    async def subscribe(
        self, listener: Callable[[Event, str | None], object], events: Event | int | None = None
    ) -> int:
        """As Cache.subscribe: the listener is called on a thread of the library, not in the event loop."""
        return self.cache.subscribe(listener, events)

    async def unsubscribe(self, id: int) -> bool:
        """Ends a subscription; False for a number that names none."""
        return await _on_a_thread(self.cache.unsubscribe, id)

    def __repr__(self) -> str:
        return f"<asyncio operations of {self.cache!r}>"


def _on_a_thread(call: Callable[..., T], *args: Any) -> Coroutine[Any, Any, T]:
    import asyncio  # which is dear, and whoever gets here has it

    return asyncio.to_thread(call, *args)
