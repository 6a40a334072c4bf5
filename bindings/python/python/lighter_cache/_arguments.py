"""Arguments of memoized functions as text, where they are not of the plain kinds that `_native.encode` knows.

What has a value that means the same in every process is written as its type and that value. What has none is
told apart within this process: equal objects by one number, which no other object gets in any process; so
nothing is ever taken for something else, but such a key is of use in this process alone.
"""

import datetime
import decimal
import enum
import fractions
import ipaddress
import numbers
import os
import pathlib
import secrets
import types
import uuid
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

from . import _native

# Types whose `repr` says all that there is of a value, and never an address.
_SAID_BY_REPR = (
    complex,
    datetime.date,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    range,
    uuid.UUID,
)

# Subclasses of what, and how they become that.
_SAME: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (numbers.Integral, int),
    (float, float.__float__),
    (bytes, bytes),
)

_NAMED: tuple[type, ...] = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


class _Numbers:
    """Numbers for objects, each used once in all processes."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begins anew: a forked child must not give the numbers that its parent gives."""
        self._nonce = secrets.token_hex(8)
        self._count = count()
        self._given: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def of(self, value: object) -> str:
        """The number of `value` and of whatever is equal to it. TypeError where it can't be told apart."""
        known = self._given.get(value)
        if known is not None:
            return known
        return self._given.setdefault(value, f"{self._nonce}.{next(self._count)}")


_numbers = _Numbers()
os.register_at_fork(after_in_child=_numbers.renew)


def type_name(kind: type) -> str:
    """Where a class is found; its number where it can't be found by a name."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}@{_numbers.of(kind)}" if "<" in name else name


def text(value: Any, typed: bool, depth: int) -> bytes:
    """`value` as text. TypeError where it has none."""
    kind = type(value)

    def plain(other: object) -> bytes:
        return _native.encode(other, typed, depth)

    def with_type(other: object) -> bytes:
        return f"{type_name(kind)}:".encode() + plain(other)

    if isinstance(value, enum.Enum):
        return with_type(value.name if value.name is not None else value.value)
    if kind in _SAID_BY_REPR:
        return with_type(repr(value))
    if kind in (datetime.datetime, datetime.time):
        return with_type(value.isoformat())
    if isinstance(value, (bytearray, memoryview)):
        return plain(bytes(value))
    if isinstance(value, tuple):
        return with_type(tuple(value))
    # What is equal to a plain kind is written as that.
    for base, same in _SAME:
        if isinstance(value, base):
            return with_type(same(value)) if typed else plain(same(value))
    for container in (list, dict, set, frozenset):
        if isinstance(value, container):
            return with_type(container(value)) if typed else plain(container(value))
    name: str = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or "<"
    if isinstance(value, _NAMED) and "<" not in name:
        return f"{type_name(kind)}:{getattr(value, '__module__', '')}.{name}".encode()
    try:
        number = _numbers.of(value)
    except TypeError:
        raise TypeError(
            f"an argument of type {kind.__module__}.{kind.__qualname__} can't be part of a key: pass key="
        ) from None
    return f"{type_name(kind)}@{number}".encode()
