"""What a worker writes down of each operation, and the values that it stores; `worker.h` in Python."""

import struct
import zlib
from typing import NamedTuple

GET, SET, DELETE, CLEAR, FINAL = 1, 2, 3, 4, 5
OK, MISS, FAILED, TORN = 0, 1, 2, 3
UNCONFIRMED, STALE, ERRORS, DEGRADED = 1, 2, 4, 8

FORMAT = struct.Struct("<QQQIIHHI")


class Record(NamedTuple):
    """One operation. Times are nanoseconds of the monotonic clock, which all processes share."""

    begin: int
    end: int
    version: int
    """Written or read; 0 for none."""
    key: int
    ttl_ms: int
    """0 for none."""
    operation: int
    outcome: int
    flags: int
    """What the cache's counters say of the time around the operation: UNCONFIRMED, STALE, ERRORS, DEGRADED."""


def read(path):
    """The records of one thread. What a killed process left incomplete at the end is not counted."""
    data = path.read_bytes()
    whole = len(data) - len(data) % FORMAT.size
    return map(Record._make, FORMAT.iter_unpack(data[:whole]))


def process_of(version):
    """The process that wrote a version."""
    return version >> 40


def make_value(version, key):
    """The bytes of a version of a key."""
    text = b"v%016x k%d " % (version, key) + b"x" * (version % 199)
    return text + b"%08x" % zlib.crc32(text)


def version_of(value, key):
    """The version of a value of `key`; 0 where it is none, or another key's, or damaged."""
    try:
        version = int(value[1:17], 16)
    except ValueError:
        return 0
    return version if make_value(version, key) == value else 0
