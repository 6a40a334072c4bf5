"""Caches travel (`pickle`, `multiprocessing`, `copy`) as their configuration, never with their content.

Secrets stay behind. A cache that was opened from the environment is opened from the environment of the
process it arrives in; one whose password was in its URL or its options takes the password there from
LIGHTER_CACHE_PASSWORD, and without that variable unpickling fails with ConfigError.
"""

import os
from typing import Any

from ._errors import ConfigError
from ._native import Cache, HybridCache, LocalCache, RedisCache
from ._native import open as _open

_PASSWORD = "LIGHTER_CACHE_PASSWORD"


def reopen(cls: type[Cache], recipe: tuple[Any, ...]) -> Cache:
    """The cache of `recipe`: ("url", url, options, lacks_secrets) or ("hybrid", l1, l2, options)."""
    if recipe[0] == "hybrid":
        _, l1, l2, options = recipe
        below = None if l2 is None else reopen(RedisCache, l2)
        return _made(cls, HybridCache, reopen(LocalCache, l1), below, **dict(options))
    _, url, options, lacks_secrets = recipe
    options = dict(options)
    if lacks_secrets:
        options["password"] = _password()
    if cls in (LocalCache, RedisCache, HybridCache):
        return _open(url, **options)
    if issubclass(cls, LocalCache):
        return cls(**options)
    return _made(cls, RedisCache, url, **options)


def _made(cls: type[Cache], base: type[Cache], *args: Any, **options: Any) -> Cache:
    if not issubclass(cls, base):
        raise TypeError(f"a pickled {base.__name__} names the class {cls.__name__}")
    cache: Cache = cls(*args, **options)
    return cache


def _password() -> str:
    try:
        return os.environ[_PASSWORD]
    except KeyError:
        raise ConfigError(f"this pickled cache needs a password, which pickles leave out: set {_PASSWORD}") from None
