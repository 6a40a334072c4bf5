"""Redis caches against hiredis, by hand and pipelined, redis-rs, and Python's clients; the system calls of an operation, and how
fast keys are cleared."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from suite import build, machine
from suite.section import Goal, Skip, Step
from suite.tables import figure, mark, number, size, table

sys.path.insert(0, str(build.ROOT / "tests"))
import servers  # noqa: E402

TITLE = "Redis, against hiredis and others"
ORDER = 60
ABOUT = """
Callers on one cache against as many hiredis connections, one for each, on a server of our own on loopback; rounds of both
alternate within one process. *Pinned*: callers and server on one processor, which shows the cost of the software alone; *free*:
where the scheduler puts them. Figures are **throughput, ours over theirs: above 1 we are faster**, with the quartiles of the
rounds. 100 values at once are `lc_get_many` against 100 GETs that are pipelined by hand, and against one call each.

The redis crate is its blocking connection, one for each caller, built as its users build it. System calls are those of the
client's process by `strace -c -f`: the difference between a long and a short run, by the calls that the long one has more.

Python's clients are timed with one connection in one thread, in turn within each round, in one process on the server's
processor: figures are **time, ours over theirs: below 1 we are faster**.

Memory is the resident set of a process: what each of many caches with one idle connection adds to it, and before and after very
many calls (get, get into, set, a miss; alone, and on a shared connection).

Clearing is timed with as many keys of others in the server, which stay. `delete_pattern in C` is what django-redis does (SCAN by
tens, pipelined DEL), without Python's share; `django-redis` is the package itself.
"""
PYTHON = build.ROOT / ".venv" / "bin" / "python"
REMOTE = build.ROOT / "bindings" / "python" / "benches" / "remote.py"
CALLS = (1_000, 6_000)
ROUNDS = 11 if build.TRIAL else 151
KEYS = 20_000 if build.TRIAL else 1_000_000
CLEARED = 200_000
CACHES = 200
CALLS_MADE = 20_000 if build.TRIAL else 5_000_000
IDLE_KIB, GROWN = 64, 1.02
"""The most that an idle connection may take, and that the process may be after so many calls, before them 1."""


def goal(row: dict) -> float | None:
    """The least ratio that is good enough."""
    if row.get("peer"):
        return None
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


def system_calls(count: int) -> list[dict]:
    """Of one operation, ours and theirs."""
    if not shutil.which("strace"):
        raise Skip("strace is not here")
    build.hiredis()

    def counted(whose: str, calls: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "calls"
            program = [build.OUT / "callers", server.url, f"only-{whose}", str(count), "100", str(calls // count)]
            done = subprocess.run(["strace", "-c", "-f", "-o", table, *program], capture_output=True, text=True)
            if done.returncode:
                raise Skip(f"strace: {done.stderr.strip()}")
            total = re.search(r"^ *100[.,]00 .*?(\d+)(?: +\d+)? +total$", table.read_text(), re.M)
            return int(total.group(1))

    found = {}
    with servers.start("single") as server:
        for whose in ("ours", "theirs"):
            few, many = (counted(whose, calls) for calls in CALLS)
            found[whose] = (many - few) / (CALLS[1] - CALLS[0])
    return [{"op": "system calls", "callers": count, **found}]


def python_clients() -> list[dict]:
    """What remote.py finds."""
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", "import lighter_cache"], capture_output=True).returncode:
        raise Skip("the module is not installed: make python-module")
    peers = REMOTE.parent / "requirements.txt"
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", peers]
    subprocess.run(install, check=True)
    build.OUT.mkdir(parents=True, exist_ok=True)
    results = build.OUT / "remote.json"
    rounds = "3" if build.TRIAL else "31"
    with on_processors({min(os.sched_getaffinity(0))}), servers.start("single") as server:
        command = [PYTHON, REMOTE, server.url, "--rounds", rounds, "--json", results]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(results.read_text())
    for name in found["absent"]:
        print(f"  not there: {name}", file=sys.stderr, flush=True)
    return [
        {"python": True, "versions": found["versions"], "absent": found["absent"], **row} for row in found["ratios"]
    ]


def delete_pattern() -> list[dict]:
    """The package django-redis, which removes as many keys among as many others."""
    present = [PYTHON, "-c", "import django_redis"]
    if not PYTHON.exists() or subprocess.run(present, capture_output=True).returncode:
        raise Skip("django-redis is not installed: see bindings/python/benches/requirements.txt")
    script = build.ROOT / "benches" / "redis" / "delete_pattern.py"
    with servers.start("single") as server:
        command = [PYTHON, script, server.url, str(KEYS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(done.stdout)]


def steps():
    def callers(op, count, value, pinned, transport, peer=None):
        def run():
            topology = {"TCP": "single", "unix": "unix"}[transport]
            which = [peer] if peer else []
            rounds = ROUNDS if value == 100 else ROUNDS // 3
            rows = started(topology, pinned, "callers", op, count, value, rounds, *which)
            return [row | {"pinned": pinned, "transport": transport, "peer": peer} for row in rows]

        where = f"{'pinned' if pinned else 'free'}, {transport}{f', against {peer}' if peer else ''}"
        return Step(f"{op} of {size(value)}, {count} callers, {where}", run)

    for pinned in (True, False):
        for transport in ("TCP", "unix"):
            for count in (1, 2, 8, 32):
                yield callers("get", count, 100, pinned, transport)
                yield callers("set", count, 100, pinned, transport)
        for value in (4096, 1 << 20):
            for transport in ("TCP", "unix"):
                for count in (1, 2, 8, 32):
                    yield callers("get", count, value, pinned, transport)
                    yield callers("set", count, value, pinned, transport)
        yield callers("many", 1, 100, pinned, "TCP")
        yield callers("single", 1, 100, pinned, "TCP")
        for count in (1, 2, 8, 32):
            yield callers("get", count, 100, pinned, "TCP", "redis-rs")
        yield callers("set", 1, 100, pinned, "TCP", "redis-rs")
        yield callers("get", 1, 1 << 20, pinned, "TCP", "redis-rs")
    for count in (1, 8):
        yield Step(f"system calls of a GET, {count} callers", lambda count=count: system_calls(count))
    yield Step("memory of connections and calls", lambda: started("single", True, "resident", CACHES, CALLS_MADE))
    yield Step("Python's clients", python_clients)
    yield Step(f"clearing {number(KEYS)} keys", lambda: started("single", False, "clear", KEYS))
    yield Step(f"django-redis clearing {number(KEYS)} keys", delete_pattern)


def memory(row: dict) -> tuple[str, str, str, bool]:
    """What was measured, what is good enough, the figure, and whether it is."""
    if row["op"] == "idle connection":
        what = f"an idle connection, of {number(row['connections'])}"
        return what, f"≤ {IDLE_KIB} KiB", f"{row['kib']:.1f} KiB", row["kib"] <= IDLE_KIB
    grown = row["after_kib"] / row["before_kib"]
    what = f"{number(row['calls'])} calls by {row['callers']} callers"
    figure = f"{row['before_kib'] / 1024:.1f} MiB, then {row['after_kib'] / 1024:.1f} MiB"
    return what, f"≤ {GROWN} ×", figure, grown <= GROWN


OPERATIONS = {
    "get": "`lc_get_into`",
    "set": "`lc_set`",
    "many": "`lc_get_many` of 100, against a pipeline",
    "single": "`lc_get_many` of 100, against one by one",
}


def tables(rows: list[dict]) -> str:
    body = []
    for row in rows:
        if "ratio" in row and "python" not in row:
            wanted = goal(row)
            body.append(
                [
                    OPERATIONS[row["op"]],
                    row.get("peer") or "hiredis",
                    size(row["value"]),
                    row["callers"],
                    "pinned" if row["pinned"] else "free",
                    row["transport"],
                    f"**{row['ratio']:.2f}** ({row['low']:.2f}–{row['high']:.2f})",
                    f"≥ {wanted}" if wanted else "",
                    mark(row["ratio"] >= wanted) if wanted else "",
                ]
            )
    head = ["operation", "against", "value", "callers", "processors", "transport", "ratio", "goal", "reached"]
    text = table(head, body)
    counted = [row for row in rows if row.get("op") == "system calls"]
    if counted:
        text += table(
            ["system calls of a GET of 100 bytes", "`lc_get_into`", "hiredis"],
            [[f"{row['callers']} callers", f"{row['ours']:.2f}", f"{row['theirs']:.2f}"] for row in counted],
        )
    kept = [memory(row) for row in rows if row.get("op") in ("idle connection", "resident")]
    if kept:
        cells = [[what, measured, wanted, mark(reached)] for what, wanted, measured, reached in kept]
        text += table(["memory", "resident set", "goal", "reached"], cells)
    clients = [row for row in rows if "python" in row]
    if clients:
        text += ", ".join(f"{name} {version}" for name, version in clients[0]["versions"].items())
        absent = clients[0]["absent"]
        text += (f"; not there: {', '.join(absent)}" if absent else "") + ":\n\n"
        body = []
        for row in clients:
            wanted = row["goal"]
            cells = ["", ""] if wanted is None else [f"≤ {wanted:.2f}", mark(row["ratio"] <= wanted)]
            body.append(
                [
                    f"`{row['operation']}`",
                    row["peer"],
                    f"{row['ours_us']:.1f}",
                    f"{row['theirs_us']:.1f}",
                    figure(row),
                    *cells,
                ]
            )
        head = ["Python", "against", "ours, µs", "theirs, µs", "ratio", "goal", "reached"]
        text += table(head, body)
    cleared = [row for row in rows if "per_second" in row]
    slow = next((row["per_second"] for row in cleared if row["op"] == "django-redis"), None)
    return text + table(
        ["clearing", "keys", "seconds", "keys per second", "django-redis = 1"],
        [
            [
                f"`{row['op']}`",
                number(row["keys"]),
                f"{row['seconds']:.2f}",
                number(int(row["per_second"])),
                f"{row['per_second'] / slow:.1f}" if slow else "",
            ]
            for row in cleared
        ],
    )


def goals(rows: list[dict]):
    for row in rows:
        if "python" in row:
            if row["goal"] is not None:
                what = f"`RedisCache.{row['operation']}`, 1 thread, pinned, against {row['peer']}"
                yield Goal(what, f"≤ {row['goal']:.2f}", f"{row['ratio']:.2f}", row["ratio"] <= row["goal"])
        elif "ratio" in row and (wanted := goal(row)):
            where = f"{'pinned' if row['pinned'] else 'free'}, {row['transport']}"
            what = f"{OPERATIONS[row['op']]}, {size(row['value'])}, {row['callers']} callers, {where}"
            yield Goal(what, f"≥ {wanted}", f"{row['ratio']:.2f}", row["ratio"] >= wanted)
        elif row.get("op") in ("idle connection", "resident"):
            what, wanted, measured, reached = memory(row)
            yield Goal(f"memory: {what}", wanted, measured, reached)
        elif row.get("op") in ("lc_clear", "lc_delete_prefix"):
            figure = f"{number(int(row['per_second']))} keys/s"
            yield Goal(f"`{row['op']}`", f"≥ {number(CLEARED)} keys/s", figure, row["per_second"] >= CLEARED)


def versions():
    try:
        with servers.start("single") as server:
            found = {server.server: server.version}
    except servers.ServerError as error:
        raise Skip(str(error)) from error
    return found | machine.packages("hiredis") | machine.locked("benches/redis_rs/Cargo.lock", "redis")
