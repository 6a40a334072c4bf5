"""Flights: the loads of memoized functions that are under way, and who waits for which.

Protocol
--------
- A flight is what one call, the leader, does for a key while others wait for it. It knows the flight in which
  it was begun (`parent`), and those that calls inside of it wait for (`waits`), by which cycles are found: two
  functions may need each other's keys at once, and then one of the calls does not wait.
- `LOCK` guards these and the tables of the memoized functions. It is held for a few steps that neither wait
  nor call anything of the program's.
- A forked child has none of the other threads that lead or wait: it begins with a lock of its own and empty
  tables.
"""

import asyncio
import os
import threading
import weakref
from contextvars import ContextVar
from typing import Any, TypeVar

from ._errors import ReentrantError

LOCK = threading.Lock()

# The flight in which the running code was called, if any.
CURRENT: ContextVar["Flight | None"] = ContextVar("lighter_cache.flight", default=None)

_tables: weakref.WeakSet[Any] = weakref.WeakSet()


class Flight:
    """One load under way."""

    __slots__ = ("parent", "waits", "void")

    def __init__(self) -> None:
        self.parent = CURRENT.get()
        self.waits: list[Flight] = []
        self.void = False
        """Whether the key was invalidated meanwhile: then nothing is stored, and nobody joins any more."""

    def is_around(self, inner: "Flight | None") -> bool:
        """Whether `inner` was begun in this flight, or is this one."""
        while inner is not None:
            if inner is self:
                return True
            inner = inner.parent
        return False

    def join(self) -> bool:
        """Whether the running code may wait for this flight (or lead it); if so, it calls `leave` afterwards.
        With `LOCK`.

        False where that would be a cycle; ReentrantError where the flight is waiting for this very call.
        """
        current = CURRENT.get()
        if current is None:
            return True
        if self.is_around(current):
            raise ReentrantError("a memoized function called itself with the same arguments")
        seen, left = {self}, [self]
        while left:
            for other in left.pop().waits:
                if other is current:
                    return False
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        current.waits.append(self)
        return True

    def leave(self) -> None:
        """Ends what `join` began. With `LOCK`."""
        current = CURRENT.get()
        if current is not None:
            current.waits.remove(self)


class ThreadFlight(Flight):
    """A load by a thread, for which other threads wait."""

    __slots__ = ("done", "data", "error")

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()
        self.data: bytes | None = None
        self.error: BaseException | None = None


class TaskFlight(Flight):
    """A load by a task, for which other tasks of the same loop wait."""

    __slots__ = ("task", "callers")
    task: "asyncio.Task[tuple[Any, bytes | None]]"

    def __init__(self) -> None:
        super().__init__()
        self.callers = 0


F = TypeVar("F", bound=Flight)


class Table(dict[bytes, F]):
    """The flights of one memoized function, by key."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        super().__init__()
        _tables.add(self)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def end(self, key: bytes, flight: F) -> None:
        """Takes `flight` away, unless another has its place already. With `LOCK`."""
        if self.get(key) is flight:
            del self[key]


def _renew() -> None:
    global LOCK
    LOCK = threading.Lock()
    for table in list(_tables):
        table.clear()


os.register_at_fork(after_in_child=_renew)
