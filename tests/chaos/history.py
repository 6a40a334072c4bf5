"""Judges what the workers wrote down: which value each read may have returned.

Every write has a begin and an end on one monotonic clock. A write is *definite* where the cache's counters show
that the server acknowledged it, else it is *open*: it may take effect at any moment from its begin until the
fault around it has ended and SETTLE has passed, or never. A version is *superseded* when a definite write that
began after it could last take effect has ended; clear, FLUSHALL and the server's death write "absent" to all keys.
A fail-over may lose what was acknowledged around it: those writes are open, whatever the counters said.

What is checked of each read:
  * no operation fails, and no value is torn, another key's, or of a write that never began;
  * a process does not read what a definite write of its own has superseded (read your writes);
  * nor a value of its own that it has replaced while the server was away: what could not be written at once waits;
  * nobody reads what was superseded longer than `bound` ago, unless the cache counted it as served stale;
  * nobody misses a value that nothing has removed, unless the server was away;
  * no value is read past its TTL;
and at the end, when all is quiet, that all processes read what the server holds.
"""

import bisect
import collections
import dataclasses
import itertools

import record

MS = 1_000_000
SETTLE = 5000 * MS
TTL_SLACK = 50 * MS
LOST_BEFORE, LOST_AFTER = 500 * MS, 1000 * MS
"""How long before a fail-over the writes that it may lose begin, and how long after it they end."""
CALM = 1500 * MS
"""How long after a fault a read does not count as one of calm times."""
NEVER = 1 << 63
PERCENTILES = (50.0, 99.0, 99.9, 99.99)
SHOWN = 5


@dataclasses.dataclass(slots=True)
class Write:
    """One write of one key; `version` 0 is "absent"."""

    begin: int
    end: int
    version: int
    process: int
    definite: bool
    ttl: int = 0
    lost: bool = False
    """Acknowledged or not, a fail-over may have lost it."""
    superseded: int = NEVER
    own_superseded: int = NEVER
    last: int = 0
    """When it could last take effect."""


@dataclasses.dataclass
class Verdict:
    """What was found in one round."""

    operations: int = 0
    reads: int = 0
    writes: int = 0
    open_writes: int = 0
    stale_marked: int = 0
    violations: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    examples: list = dataclasses.field(default_factory=list)
    calm_reads: int = 0
    calm_staleness: list = dataclasses.field(default_factory=list)
    """Nanoseconds, of the calm reads that were stale at all."""
    recoveries: list = dataclasses.field(default_factory=list)
    """(nanoseconds, fault) from the end of an outage to the first operation of a process that was not degraded."""

    def violation(self, kind, text):
        self.violations[kind] += 1
        if self.violations[kind] <= SHOWN:
            self.examples.append(f"{kind}: {text}")

    def add(self, other):
        """Takes the figures of another round in."""
        for name in ("operations", "reads", "writes", "open_writes", "stale_marked", "calm_reads"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.violations += other.violations
        self.examples += other.examples
        self.calm_staleness += other.calm_staleness
        self.recoveries += other.recoveries

    def staleness_ms(self):
        """Percentiles of how old calm reads were, and the oldest, in milliseconds."""
        stale = sorted(self.calm_staleness)
        fresh = self.calm_reads - len(stale)

        def at(percent):
            place = int(self.calm_reads * percent / 100) - fresh
            return stale[min(place, len(stale) - 1)] / MS if place >= 0 and stale else 0.0

        return {f"p{percent:g}": at(percent) for percent in PERCENTILES} | {"max": stale[-1] / MS if stale else 0.0}


class History:
    """All that happened in one round."""

    def __init__(self, keys, bound_ms):
        self._keys, self._bound = keys, bound_ms * MS
        self._writes = [[Write(0, 0, 0, 0, True)] for _ in range(keys)]
        self._reads = [[] for _ in range(keys)]
        self._faults = []
        self._losses = []
        self._stores = []
        self._undegraded = collections.defaultdict(list)
        self._first = collections.defaultdict(lambda: NEVER)
        self._final = {}
        self.verdict = Verdict()

    # --- what happened

    def fault(self, name, begin, end, outage=False):
        """A fault, so long; an `outage` is one after which processes have to find back to the server."""
        self._faults.append((begin, end, name, outage))

    def wiped(self, begin, end):
        """The server has lost everything in that time."""
        self._stores += [(key, Write(begin, end, 0, 0, True)) for key in range(self._keys)]

    def failed_over(self, begin, end):
        """A replica may have taken its master's place in that time."""
        self._losses.append((begin - LOST_BEFORE, end + LOST_AFTER))

    def server_holds(self, key, version):
        """What the server holds at the end."""
        self._final[key] = version

    def add(self, process, records):
        """The records of one thread of a process."""
        for one in records:
            self._first[process] = min(self._first[process], one.begin)
            self.verdict.operations += 1
            if one.operation in (record.GET, record.FINAL):
                self._reads[one.key].append((process, one))
            else:
                self._add_write(process, one)
            if not one.flags & record.DEGRADED:
                self._undegraded[process].append(one.begin)

    def _add_write(self, process, one):
        definite = one.outcome in (record.OK, record.MISS) and not one.flags & record.UNCONFIRMED
        self.verdict.writes += 1
        self.verdict.open_writes += not definite
        if one.outcome == record.FAILED:
            self.verdict.violation("failed", f"a write of process {process}: {one}")
        keys = range(self._keys) if one.operation == record.CLEAR else (one.key,)
        for key in keys:
            write = Write(one.begin, one.end, one.version, process, definite, one.ttl_ms * MS)
            self._stores.append((key, write))

    # --- the judgement

    def judge(self):
        """Checks everything; returns the verdict."""
        self._faults.sort()
        for key, write in self._stores:
            write.lost = any(write.begin <= end and write.end >= begin for begin, end in self._losses)
            write.definite &= not write.lost
            self._writes[key].append(write)
        for key in range(self._keys):
            self._judge_key(key, self._writes[key], self._reads[key])
        self._recoveries()
        return self.verdict

    def _last_effect(self, write):
        if write.definite:
            return write.end
        last = write.end
        for begin, end, _, _ in self._faults:
            if begin <= write.end + 1000 * MS and end >= write.begin:
                last = max(last, end)
        return last + SETTLE

    def _judge_key(self, key, writes, reads):
        writes.sort(key=lambda write: write.begin)
        for write in writes:
            write.last = self._last_effect(write)
        everybody = _Superseders(write for write in writes if write.definite)
        own = collections.defaultdict(list)
        for write in writes:
            own[write.process].append(write)
        own = {process: _Superseders(w for w in mine if w.definite) for process, mine in own.items()}
        queued = self._queued(writes)
        for write in writes:
            write.superseded = everybody.of(write)
        versions = {write.version: write for write in writes if write.version}
        absent = sorted(
            ((write.begin + write.ttl, write) for write in writes if not write.version or write.ttl),
            key=lambda pair: pair[0],
        )
        begins = [begin for begin, _ in absent]
        nothing = _Superseders(())
        for process, one in reads:
            self.verdict.reads += 1
            self.verdict.stale_marked += bool(one.flags & record.STALE)
            mine = own.get(process, nothing)
            calm = self._calm(one.begin)
            self.verdict.calm_reads += calm
            if one.outcome in (record.FAILED, record.TORN):
                kind = "failed" if one.outcome == record.FAILED else "torn"
                self.verdict.violation(kind, f"key {key} by process {process}: {one}")
            elif one.outcome == record.OK:
                write = versions.get(one.version)
                age = self._judge_value(key, process, one, write, mine, queued)
                if age > 0 and calm and self._calm(write.superseded):
                    self.verdict.calm_staleness.append(age)
            elif not one.flags & (record.ERRORS | record.DEGRADED):
                self._judge_miss(key, process, one, absent[: bisect.bisect_right(begins, one.end)], mine)
            if one.operation == record.FINAL:
                self._judge_final(key, process, one, versions)

    def _queued(self, writes):
        """What a process wrote while the server was away hides what it wrote before, too."""
        mine = collections.defaultdict(list)
        for write in writes:
            if not write.lost:
                mine[write.process].append(write)
        return {process: _Superseders(all_of_it) for process, all_of_it in mine.items()}

    def _judge_value(self, key, process, one, write, mine, queued):
        """Checks a read that found a value; returns how long ago that was superseded, in nanoseconds."""
        if write is None or write.begin > one.end:
            kind, age = "impossible", 0
        else:
            age = one.begin - write.superseded
            if one.begin > mine.of(write):
                kind = "own write not read"
            elif process in queued and write.process == process and one.begin > queued[process].of(write):
                kind = "resurrected"
            elif age > self._bound and not one.flags & record.STALE:
                kind = "stale"
            elif write.ttl and one.begin > write.last + write.ttl + TTL_SLACK:
                kind = "past its TTL"
            else:
                return age
        text = (
            f"{max(age, 0) / MS:.0f} ms old, {self._after(one.begin)}, key {key} by process {process}: {one} of {write}"
        )
        self.verdict.violation(kind, text)
        return age

    def _judge_miss(self, key, process, one, absent, mine):
        for _, write in reversed(absent):
            if one.begin - write.superseded <= self._bound and one.begin <= mine.of(write):
                return
        self.verdict.violation("missing", f"key {key} by process {process}: {one}")

    def _judge_final(self, key, process, one, versions):
        held = self._final.get(key, 0)
        if one.version == held:
            return
        ours, servers = versions.get(one.version), versions.get(held)
        # The server was looked at last: what has a TTL may have run out, on either side.
        if (not held and ours and ours.ttl) or (not one.version and servers and servers.ttl):
            return
        self.verdict.violation("not equal", f"key {key}: process {process} has {one.version:x}, the server {held:x}")

    def _after(self, moment):
        last = max((fault for fault in self._faults if fault[0] <= moment), default=None)
        if last is None:
            return "before all faults"
        begin, end, name, _ = last
        return f"{(moment - begin) / MS:.0f} ms after {name} for {(end - begin) / MS:.0f} ms"

    def _calm(self, moment):
        return not any(begin <= moment <= end + CALM for begin, end, _, _ in self._faults)

    def _recoveries(self):
        for process, moments in self._undegraded.items():
            moments.sort()
            for (_, end, name, outage), following in itertools.zip_longest(self._faults, self._faults[1:]):
                place = bisect.bisect_left(moments, end)
                # A process that was forked later, or met the next fault before, has nothing to tell.
                if outage and self._first[process] < end and place < len(moments):
                    if not following or moments[place] < following[0]:
                        self.verdict.recoveries.append((moments[place] - end, name))


class _Superseders:
    """Finds the end of the first of some writes that began after another could last take effect."""

    def __init__(self, writes):
        ordered = sorted(writes, key=lambda write: write.begin)
        self._begins = [write.begin for write in ordered]
        ends = itertools.accumulate((write.end for write in reversed(ordered)), min)
        self._ends = list(ends)[::-1]

    def of(self, write):
        place = bisect.bisect_right(self._begins, write.last)
        return self._ends[place] if place < len(self._ends) else NEVER
