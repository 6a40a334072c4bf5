"""The Local cache against a bare DashMap behind one-line C functions, and the size of a value against itself."""

from suite import build, machine
from suite.measure import local, repeated
from suite.section import Goal, Step
from suite.tables import figure, mark, number, pair_goals, pairs, size, table

TITLE = "Local, against a bare map"
ORDER = 10
ABOUT = """
The floor: a `DashMap<Box<[u8]>, Arc<[u8]>>` with foldhash and 64 shards behind C functions of one line and a raw pointer. It
has no handles, bound, TTL, counters, nor care for fork. What the library adds to a hit has to be won back by its one
allocation per entry. Rows of a store find the same key and a value of the same size.
"""
GET, SET, SET_4K = 0.95, 0.65, 0.45
# A pinned value is not copied: of 1 MiB it costs as much as of 100 bytes. (Not exactly: large blocks begin at page borders,
# which share few sets of the processor's cache.)
FLAT = 1.5
ROWS = "get_into,get,set,set_ttl,miss,mix"
PROCESSES, BUDGET_MS = 5, 120


def goal(row: dict):
    """The largest ratio that is good enough."""
    if row["op"] == "get_into":
        return GET if row["keys"] < 10_000_000 else None
    return (SET if row["value"] < 4096 else SET_4K) if row["op"] == "set" else None


def steps():
    def pair(keys, value, draw):
        def run():
            return repeated(
                PROCESSES, "pair", library=build.bare(), keys=keys, value=value, draw=draw, rows=ROWS, budget=BUDGET_MS
            )

        return Step(f"{number(keys)} keys, {size(value)}, {draw}, against bare", run)

    for draw in ("zipf", "uniform"):
        for keys, value in ((100_000, 100), (100_000, 4096), (1_000_000, 100)):
            yield pair(keys, value, draw)
    yield Step("pinning large values", lambda: local("flat", keys=64))


def quick() -> list[dict]:
    """The one workload of `make bench-quick`."""
    return local("pair", library=build.bare(), rows=ROWS, budget=600)


def split(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    return [row for row in rows if row["mode"] == "pair"], [row for row in rows if row["mode"] == "flat"]


def tables(rows: list[dict]) -> str:
    ratios, flat = split(rows)
    text = pairs(ratios, goal)
    if flat:
        lines = [[size(row["value"]), figure(row), f"≤ {FLAT}", mark(row["ratio"] <= FLAT)] for row in flat]
        text += "`lc_get` + `lc_value_free` of a large value over that of 100 bytes, 64 keys:\n\n"
        text += table(["value", "ratio", "goal", "reached"], lines)
    return text


def goals(rows: list[dict]):
    ratios, flat = split(rows)
    yield from pair_goals(ratios, goal, "bare")
    for row in flat:
        yield Goal(
            f"pinning {size(row['value'])} over pinning 100 B", f"≤ {FLAT}", f"{row['ratio']:.2f}", row["ratio"] <= FLAT
        )


def versions():
    return machine.locked("benches/bare/Cargo.lock", "dashmap", "foldhash")
