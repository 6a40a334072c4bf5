"""The end of things: `shutdown`, and what happens when the interpreter exits."""

import atexit
import weakref

from . import _native

# Caches that may have to be closed. A forked child has its own copy.
_open: weakref.WeakSet[_native.Cache] = weakref.WeakSet()

# Longest waits when the interpreter exits, in seconds: for listeners and reloads that are running, since one that comes
# back into an interpreter that is being taken down aborts the process; and for the library's threads.
_SILENCE_TIMEOUT = 10.0
_EXIT_TIMEOUT = 1.0


def register(cache: _native.Cache) -> None:
    """Makes `cache` known to `shutdown`."""
    _open.add(cache)


def shutdown(timeout: float = 5.0) -> None:
    """Closes every cache and stops the library's threads, waiting at most `timeout` seconds for them.

    For programs, never for libraries: it ends what others have opened, too. Opening again is fine.
    """
    for cache in list(_open):
        cache.close()
    _native.shutdown(timeout)


@atexit.register
def _exit() -> None:
    # No listener and no reload may be in Python code, or be waiting to get there, when the interpreter ends.
    _native.silence(_SILENCE_TIMEOUT)
    # Caches stay open: another exit handler, which runs after this one, may still use them.
    _native.shutdown(_EXIT_TIMEOUT)
