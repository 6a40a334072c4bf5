"""One cache for Python, C, C++ and Rust: in this process, in Redis or Valkey, or a hybrid of both.

    import lighter_cache as lc

    cache = lc.open("hybrid+redis://localhost:6379/0?prefix=app")   # or "local:", or "redis://…"
    cache.set("user:1", b"Ada", ttl=300)
    cache.get("user:1")                                             # b"Ada"

Values are bytes: any contiguous buffer goes in, `bytes` (or a zero-copy `memoryview`) comes out.
"""

from collections.abc import MutableMapping as _MutableMapping

from ._aio import AsyncCache
from ._codec import Codec
from ._errors import (
    AuthError,
    CacheError,
    ClosedError,
    ConfigError,
    ConnectError,
    CorruptError,
    HandleError,
    InvalidError,
    IoError,
    LoaderError,
    LockBusyError,
    LockError,
    LockLostError,
    MappingError,
    NoMemoryError,
    PanicError,
    ReentrantError,
    ServerError,
    TimeoutError,
    TooBigError,
    TypeError,
    UnsupportedError,
)
from ._events import Event
from ._found import Found
from ._life import shutdown
from ._native import AsyncLock, Cache, CacheKey, HybridCache, LocalCache, Lock, RedisCache, __version__, check, open
from ._stats import MemoizeStats, Stats

# Only this kind can name its keys at no cost for others, which is what a mapping promises.
_MutableMapping.register(LocalCache)

__all__ = [
    "AsyncCache",
    "AsyncLock",
    "AuthError",
    "Cache",
    "CacheError",
    "CacheKey",
    "ClosedError",
    "Codec",
    "ConfigError",
    "ConnectError",
    "CorruptError",
    "Event",
    "Found",
    "HandleError",
    "HybridCache",
    "InvalidError",
    "IoError",
    "LoaderError",
    "LocalCache",
    "Lock",
    "LockBusyError",
    "LockError",
    "LockLostError",
    "MappingError",
    "MemoizeStats",
    "NoMemoryError",
    "PanicError",
    "RedisCache",
    "ReentrantError",
    "ServerError",
    "Stats",
    "TimeoutError",
    "TooBigError",
    "TypeError",
    "UnsupportedError",
    "__version__",
    "check",
    "open",
    "shutdown",
]
