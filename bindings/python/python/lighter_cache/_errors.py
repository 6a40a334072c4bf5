"""The exceptions. Each class has in `status` the number of its status in the C API.

Wrong types are plain TypeErrors, and a missing key is a KeyError where a mapping would raise one.
Messages never hold a key, a value or a secret.
"""

import builtins


class CacheError(Exception):
    """Any error of a cache."""

    status = 0


class InvalidError(CacheError, ValueError):
    """An argument out of its domain: an empty key, a key beginning with "__lc:", a TTL that is too long."""

    status = -1


class LockError(CacheError):
    """A lock was used in a way that its state does not allow."""


class LockBusyError(LockError):
    """`with`: others held the lock for as long as this one would wait."""

    status = 4


class LockLostError(LockError):
    """`with`: the lease had run out before the end of the block, so that another may have been in it."""

    status = 5


class HandleError(CacheError):
    """A handle that is not one. Python's objects can't get into this state; the class completes the table."""

    status = -2


class ConfigError(CacheError, ValueError):
    """An unknown scheme or option, a malformed value, a contradiction. Names the nearest valid option."""

    status = -3


class ConnectError(CacheError, ConnectionError):
    """The server could not be reached: the operation was surely not executed."""

    status = -4


class TimeoutError(CacheError, builtins.TimeoutError):
    """Sent, but no reply by the deadline or the connection broke: it may or may not have been executed."""

    status = -5


class AuthError(CacheError):
    """The server refused the credentials or the permission."""

    status = -6


class ServerError(CacheError):
    """Any other error reply of the server; its text is in the message."""

    status = -7


class CorruptError(CacheError):
    """The stored bytes are not a valid envelope."""

    status = -8


class TooBigError(CacheError, ValueError):
    """A key over 65,536 bytes, or a value over 511 MiB or the cache's `max_value_bytes`."""

    status = -9


class TypeError(CacheError, builtins.TypeError):
    """The stored value is no 64-bit decimal number, or the sum would be none."""

    status = -11


class UnsupportedError(CacheError):
    """This kind of cache, configuration or server can't do it."""

    status = -12


class MappingError(UnsupportedError, builtins.TypeError):
    """An operation of the mapping protocol on a cache that can't name its keys."""


class LoaderError(CacheError):
    """The loader of another call failed, for which this one was waiting: its exception is `__cause__`."""

    status = -13


class ReentrantError(CacheError):
    """A blocking call from one of the library's own threads, or a loader that loads its own key."""

    status = -14


class ClosedError(CacheError):
    """The cache was closed, or the library shut down while the call was waiting."""

    status = -15


class NoMemoryError(CacheError, MemoryError):
    """No memory for a key or a value."""

    status = -16


class IoError(CacheError, OSError):
    """A snapshot file can't be read or written."""

    status = -17


class PanicError(CacheError):
    """A bug in the library, caught at its boundary; the process goes on."""

    status = -99
