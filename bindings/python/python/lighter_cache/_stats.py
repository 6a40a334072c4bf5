"""`Stats` and `MemoizeStats`: what a cache, and a memoized function, has counted."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of one cache's counters; the fields are those of the C API's `lc_stats`."""

    entries: int | None
    """Live entries; None on Redis, where only a scan could tell (`count`). Of a hybrid: L1's."""
    bytes: int
    """Bytes held in this process: keys, values and overhead."""
    hits: int
    """Reads that found a value."""
    misses: int
    """Reads that found none."""
    sets: int
    """Values stored."""
    deletes: int
    """Values removed by a call: those that were there, also by a TTL of zero, and by a clear (not of a Hybrid)."""
    evictions: int
    """Entries that a bound pushed out."""
    expirations: int
    """Entries whose time was over."""
    l1_hits: int
    """Hybrid: hits that L1 answered."""
    l2_hits: int
    """Hybrid: hits that L2 answered."""
    backfills: int
    """Hybrid: values of L2 that were stored in L1."""
    invalidations: int
    """Hybrid: entries that another process's write removed from L1."""
    coalesced: int
    """Loads that were saved because another caller was loading already."""
    stale_served: int
    """Values served past their proven freshness."""
    errors: int
    """Calls or legs to the server that failed."""
    queued_writes: int
    """Hybrid: writes that wait for the server."""
    replayed_writes: int
    """Hybrid: queued writes that reached the server later."""
    dropped_writes: int
    """Hybrid: writes that never reached the server."""
    degraded: bool
    """Hybrid: L2 is bypassed, or the invalidation stream is unproven."""
    hit_rate: float
    """hits / (hits + misses), 0 where there were none."""


class MemoizeStats(NamedTuple):
    """What a memoized function has counted in this process."""

    hits: int
    """Calls that were answered from the cache."""
    misses: int
    """Calls of the function itself."""
    coalesced: int
    """Calls that got what another one, under way already, got."""
    errors: int
    """Reads and writes of the cache that failed and were done without."""
