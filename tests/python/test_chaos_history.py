"""The judge of the chaos runs finds each kind of violation, and nothing where nothing is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).resolve().parents[1] / "chaos"
sys.path.insert(0, str(CHAOS))

import record  # noqa: E402
from history import MS, History  # noqa: E402

OURS, THEIRS = 1, 2
BOUND_MS = 1000


class Story:
    """A history of one key, told in milliseconds."""

    def __init__(self):
        self.history = History(1, BOUND_MS)
        self._told = {}

    def _add(self, process, begin, end, version, operation, outcome=record.OK, ttl=0, flags=0):
        one = record.Record(begin * MS, end * MS, version, 0, ttl, operation, outcome, flags)
        self._told.setdefault(process, []).append(one)
        return self

    def set(self, process, begin, end, version, ttl=0, flags=0):
        return self._add(process, begin, end, version, record.SET, record.OK, ttl, flags)

    def delete(self, process, begin, end, flags=0):
        return self._add(process, begin, end, 0, record.DELETE, record.OK, 0, flags)

    def read(self, process, begin, version, flags=0, operation=record.GET):
        outcome = record.OK if version else record.MISS
        return self._add(process, begin, begin + 1, version, operation, outcome, 0, flags)

    def broken(self, process, begin, outcome):
        return self._add(process, begin, begin + 1, 0, record.GET, outcome)

    def fault(self, begin, end, outage=True):
        self.history.fault("a fault", begin * MS, end * MS, outage)
        return self

    def verdict(self):
        for process, records in self._told.items():
            self.history.add(process, records)
        return self.history.judge()

    def violations(self):
        return set(self.verdict().violations)


def test_values_that_are_there_may_be_read():
    story = Story().read(OURS, 5, 0).set(OURS, 10, 20, 1).read(OURS, 21, 1).read(THEIRS, 15, 1).read(THEIRS, 15, 0)
    story.set(THEIRS, 100, 110, 2).read(OURS, 105, 1).read(OURS, 105, 2).read(THEIRS, 111, 2)
    story.delete(OURS, 200, 210).read(OURS, 211, 0)
    assert story.violations() == set()


def test_a_value_out_of_nowhere():
    assert Story().read(OURS, 5, 7).violations() == {"impossible"}


def test_a_value_before_it_was_written():
    assert Story().set(THEIRS, 10, 20, 1).read(OURS, 5, 1).violations() == {"impossible"}


@pytest.mark.parametrize("outcome, kind", [(record.TORN, "torn"), (record.FAILED, "failed")])
def test_torn_values_and_errors(outcome, kind):
    assert Story().broken(OURS, 5, outcome).violations() == {kind}


def test_an_own_write_that_is_not_read():
    story = Story().set(OURS, 10, 20, 1).set(OURS, 30, 40, 2).read(OURS, 41, 1)
    assert story.violations() == {"own write not read"}


def test_an_own_delete_that_is_not_seen():
    story = Story().set(THEIRS, 10, 20, 1).delete(OURS, 30, 40).read(OURS, 41, 1)
    assert story.violations() == {"own write not read"}


def test_another_process_may_be_late_within_the_bound_only():
    story = Story().set(OURS, 10, 20, 1).set(THEIRS, 30, 40, 2)
    assert story.read(OURS, 39 + BOUND_MS, 1).violations() == set()
    story = Story().set(OURS, 10, 20, 1).set(THEIRS, 30, 40, 2)
    assert story.read(OURS, 41 + BOUND_MS, 1).violations() == {"stale"}
    story = Story().set(OURS, 10, 20, 1).set(THEIRS, 30, 40, 2)
    assert story.read(OURS, 41 + BOUND_MS, 1, flags=record.STALE).violations() == set()


def test_how_late_is_counted_in_calm_times():
    story = Story().set(OURS, 10, 20, 1).set(THEIRS, 30, 40, 2).read(OURS, 47, 1).read(OURS, 48, 2)
    verdict = story.verdict()
    assert verdict.calm_reads == 2 and verdict.staleness_ms()["max"] == 7.0
    story = Story().fault(0, 45).set(OURS, 10, 20, 1).set(THEIRS, 30, 40, 2).read(OURS, 47, 1)
    assert story.verdict().calm_reads == 0


def test_overlapping_writes_may_end_either_way():
    story = Story().set(OURS, 10, 30, 1).set(THEIRS, 20, 40, 2)
    assert story.read(OURS, 5000, 1).read(THEIRS, 6000, 2).violations() == set()


def test_a_value_that_nobody_removed_is_missing():
    assert Story().set(OURS, 10, 20, 1).read(THEIRS, 2000, 0).violations() == {"missing"}
    assert Story().set(OURS, 10, 20, 1).read(OURS, 21, 0).violations() == {"missing"}
    away = Story().set(OURS, 10, 20, 1).read(THEIRS, 2000, 0, flags=record.DEGRADED)
    assert away.violations() == set()


def test_a_wiped_server_explains_a_miss():
    story = Story().set(OURS, 10, 20, 1).read(THEIRS, 2000, 0)
    story.history.wiped(100 * MS, 110 * MS)
    assert story.violations() == set()
    story = Story().set(OURS, 10, 20, 1).read(THEIRS, 2000, 1)
    story.history.wiped(100 * MS, 110 * MS)
    assert story.violations() == {"stale"}


def test_a_value_past_its_ttl():
    story = Story().set(OURS, 10, 20, 1, ttl=100)
    assert story.read(OURS, 115, 1).read(OURS, 112, 0).violations() == set()
    assert Story().set(OURS, 10, 20, 1, ttl=100).read(OURS, 200, 1).violations() == {"past its TTL"}
    # A served stale one, too.
    story = Story().set(OURS, 10, 20, 1, ttl=100).read(OURS, 200, 1, flags=record.STALE)
    assert story.violations() == {"past its TTL"}


def test_a_write_that_was_not_confirmed_may_be_read_or_not():
    def story():
        return Story().set(OURS, 10, 20, 1).fault(25, 60).set(OURS, 30, 40, 2, flags=record.UNCONFIRMED)

    assert story().read(THEIRS, 5000, 1).violations() == set()
    assert story().read(THEIRS, 5000, 2).violations() == set()
    # Long after the fault a later write has superseded it for good.
    assert story().set(THEIRS, 6000, 6010, 3).read(OURS, 9000, 2).violations() == {"stale"}


def test_what_was_replaced_in_an_outage_stays_replaced():
    def story():
        return Story().set(OURS, 10, 20, 1).fault(25, 60).set(OURS, 30, 40, 2, flags=record.UNCONFIRMED)

    assert story().read(OURS, 50, 1).violations() == {"resurrected"}
    assert story().read(OURS, 50, 2).violations() == set()


def test_at_the_end_all_are_equal():
    def story(version):
        story = Story().set(OURS, 10, 20, 1).set(THEIRS, 15, 25, 2).read(OURS, 100, version, operation=record.FINAL)
        story.history.server_holds(0, 2)
        return story

    assert story(2).violations() == set()
    assert story(1).violations() == {"not equal"}


def test_at_the_end_a_ttl_may_run_out_between_two_looks():
    for read, held in ((1, 0), (0, 1)):
        story = Story().set(OURS, 10, 20, 1, ttl=100).read(OURS, 111, read, operation=record.FINAL)
        story.history.server_holds(0, held)
        assert story.violations() == set()


def test_how_long_a_process_took_to_find_back():
    story = Story().fault(100, 200).set(OURS, 150, 160, 1, flags=record.DEGRADED).set(OURS, 300, 310, 2)
    assert story.verdict().recoveries == [(100 * MS, "a fault")]
    forked_later = Story().fault(100, 200).set(OURS, 250, 260, 1)
    assert forked_later.verdict().recoveries == []
    next_fault_first = Story().read(OURS, 50, 0).fault(100, 200).fault(220, 230, outage=False).read(OURS, 300, 0)
    assert next_fault_first.verdict().recoveries == []


def test_values_tell_whose_and_whether_they_are_whole():
    value = record.make_value(5, 3)
    assert record.version_of(value, 3) == 5
    assert record.version_of(value, 4) == 0
    for cut in range(len(value)):
        assert record.version_of(value[:cut], 3) == 0
    for place in range(len(value)):
        damaged = bytearray(value)
        damaged[place] ^= 1
        assert record.version_of(bytes(damaged), 3) == 0


@pytest.mark.timeout(300)
def test_chaos_without_invalidations_is_found_out():
    """The whole run, with that protection taken away: the judge finds stale reads."""
    command = [sys.executable, CHAOS / "run.py", "--expect-violations", "--option", "invalidation=none"]
    command += ["--seconds", "4", "--faults", "0", "--seed", "1", "--server", "redis"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stale" in done.stdout
