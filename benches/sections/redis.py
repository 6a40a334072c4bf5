"""Redis caches against hiredis, by hand and pipelined, and how fast keys are cleared."""

import contextlib
import json
import os
import subprocess
import sys

from suite import build, machine
from suite.section import Goal, Skip, Step
from suite.tables import mark, number, size, table

sys.path.insert(0, str(build.ROOT / "tests"))
import servers  # noqa: E402

TITLE = "Redis, against hiredis"
ORDER = 60
ABOUT = """
Callers on one cache against as many hiredis connections, one for each, on a server of our own on loopback; rounds of both
alternate within one process. *Pinned*: callers and server on one processor, which shows the cost of the software alone; *free*:
where the scheduler puts them. Figures are **throughput, ours over theirs: above 1 we are faster**, with the quartiles of the
rounds. 100 values at once are `lc_get_many` against 100 GETs that are pipelined by hand, and against one call each.

Clearing is timed with as many keys of others in the server, which stay. `delete_pattern` is what django-redis does (SCAN by
tens, pipelined DEL), here in C, without Python's share.
"""
ROUNDS = 11 if build.TRIAL else 151
KEYS = 20_000 if build.TRIAL else 1_000_000
CLEARED = 200_000


def goal(row: dict) -> float | None:
    """The least ratio that is good enough."""
    match row["op"], row["callers"], row["value"]:
        case ("many", _, _):
            return 0.9
        case ("single", _, _):
            return 10
        case (_, _, 1048576):
            return 0.9
        case (_, 1, 100) if row["pinned"]:
            return 0.95
        case (_, 8, 100):
            return 1.3 if row["pinned"] else 0.95
        case (_, 32, 100):
            return 1.8 if row["pinned"] else 0.9
        case (_, _, 100):
            return 0.9
    return None


@contextlib.contextmanager
def on_processors(chosen: set[int]):
    """Whoever is started here runs on these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def started(topology: str, pinned: bool, program: str, *arguments) -> list[dict]:
    library = build.hiredis()
    program = build.OUT / program
    every = os.sched_getaffinity(0)
    with on_processors({min(every)} if pinned else every), servers.start(topology) as server:
        command = [program, server.url, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} with {library}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def steps():
    def callers(op, count, value, pinned, transport):
        def run():
            topology = {"TCP": "single", "unix": "unix"}[transport]
            rows = started(topology, pinned, "callers", op, count, value, ROUNDS)
            return [row | {"pinned": pinned, "transport": transport} for row in rows]

        where = f"{'pinned' if pinned else 'free'}, {transport}"
        return Step(f"{op} of {size(value)}, {count} callers, {where}", run)

    for pinned in (True, False):
        for transport in ("TCP", "unix"):
            for count in (1, 2, 8, 32):
                yield callers("get", count, 100, pinned, transport)
                yield callers("set", count, 100, pinned, transport)
        for value in (4096, 1 << 20):
            for count in (1, 8):
                yield callers("get", count, value, pinned, "TCP")
        yield callers("many", 1, 100, pinned, "TCP")
        yield callers("single", 1, 100, pinned, "TCP")
    yield Step(f"clearing {number(KEYS)} keys", lambda: started("single", False, "clear", KEYS))


OPERATIONS = {
    "get": "`lc_get_into`",
    "set": "`lc_set`",
    "many": "`lc_get_many` of 100, against a pipeline",
    "single": "`lc_get_many` of 100, against one by one",
}


def tables(rows: list[dict]) -> str:
    body = []
    for row in rows:
        if "ratio" in row:
            wanted = goal(row)
            body.append(
                [
                    OPERATIONS[row["op"]],
                    size(row["value"]),
                    row["callers"],
                    "pinned" if row["pinned"] else "free",
                    row["transport"],
                    f"**{row['ratio']:.2f}** ({row['low']:.2f}–{row['high']:.2f})",
                    f"≥ {wanted}" if wanted else "",
                    mark(row["ratio"] >= wanted) if wanted else "",
                ]
            )
    text = table(["operation", "value", "callers", "processors", "transport", "ratio", "goal", "reached"], body)
    cleared = [row for row in rows if "per_second" in row]
    return text + table(
        ["clearing", "keys", "seconds", "keys per second"],
        [
            [f"`{row['op']}`", number(row["keys"]), f"{row['seconds']:.2f}", number(int(row["per_second"]))]
            for row in cleared
        ],
    )


def goals(rows: list[dict]):
    for row in rows:
        if "ratio" in row and (wanted := goal(row)):
            where = f"{'pinned' if row['pinned'] else 'free'}, {row['transport']}"
            what = f"{OPERATIONS[row['op']]}, {size(row['value'])}, {row['callers']} callers, {where}"
            yield Goal(what, f"≥ {wanted}", f"{row['ratio']:.2f}", row["ratio"] >= wanted)
        elif row.get("op") in ("lc_clear", "lc_delete_prefix"):
            figure = f"{number(int(row['per_second']))} keys/s"
            yield Goal(f"`{row['op']}`", f"≥ {number(CLEARED)} keys/s", figure, row["per_second"] >= CLEARED)


def versions():
    try:
        with servers.start("single") as server:
            found = {server.server: server.version}
    except servers.ServerError as error:
        raise Skip(str(error)) from error
    return found | machine.packages("hiredis")
