"""`Found`: what `get_ex` returns."""

from typing import NamedTuple


class Found(NamedTuple):
    """A value with what is known of it."""

    value: bytes
    """The value."""
    ttl: float
    """Seconds it has still to live, math.inf where it never expires; of a stale one, how long it may still be served."""
    tier: str
    """Which tier answered: "l1" (this process's memory) or "l2" (the server)."""
    stale: bool
    """Whether it is past its proven freshness."""
