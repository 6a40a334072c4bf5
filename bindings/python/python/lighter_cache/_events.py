"""`Event`: what a listener hears of."""

from enum import IntFlag


class Event(IntFlag):
    """Something that happened to a cache or to one of its keys. The numbers are those of the C API."""

    INVALIDATED = 1
    """Another process's write removed the key from this process's memory."""
    EVICTED = 2
    """A bound pushed the key out."""
    EXPIRED = 4
    """The key's time was over."""
    DEGRADED = 8
    """The hybrid lost its server, or the proof that it hears of other processes' writes."""
    RECOVERED = 16
    """It has both again."""
