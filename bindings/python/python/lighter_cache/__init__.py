"""One cache for Python, C, C++ and Rust: in this process, in Redis or Valkey, or a hybrid of both.

    import lighter_cache as lc

    cache = lc.open("hybrid+redis://localhost:6379/0?prefix=app")   # or "local:", or "redis://…"
    cache.set("user:1", b"Ada", ttl=300)
    cache.get("user:1")                                             # b"Ada"

Values are bytes: any contiguous buffer goes in, `bytes` (or a zero-copy `memoryview`) comes out.
"""

from collections.abc import MutableMapping as _MutableMapping

from ._errors import (
    AuthError,
    CacheError,
    ClosedError,
    ConfigError,
    ConnectError,
    CorruptError,
    HandleError,
    InvalidError,
    MappingError,
    NoMemoryError,
    PanicError,
    ReentrantError,
    ServerError,
    TimeoutError,
    TooBigError,
    UnsupportedError,
)
from ._life import shutdown
from ._native import Cache, CacheKey, HybridCache, LocalCache, RedisCache, __version__, check, open
from ._stats import Stats

# Only this kind can name its keys at no cost for others, which is what a mapping promises.
_MutableMapping.register(LocalCache)

__all__ = [
    "AuthError",
    "Cache",
    "CacheError",
    "CacheKey",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "CorruptError",
    "HandleError",
    "HybridCache",
    "InvalidError",
    "LocalCache",
    "MappingError",
    "NoMemoryError",
    "PanicError",
    "RedisCache",
    "ReentrantError",
    "ServerError",
    "Stats",
    "TimeoutError",
    "TooBigError",
    "UnsupportedError",
    "__version__",
    "check",
    "open",
    "shutdown",
]
