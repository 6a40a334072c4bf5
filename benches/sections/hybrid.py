"""A Hybrid beside the two caches it is made of, and what faults and foreign writes cost it."""

import contextlib
import json
import os
import subprocess
import sys

from suite import build
from suite.section import Goal, Skip, Step
from suite.tables import mark, number, table

sys.path.insert(0, str(build.ROOT / "tests"))
import servers  # noqa: E402

TITLE = "Hybrid"
ORDER = 70
ABOUT = """
A Hybrid on a server of our own on loopback, through the C API. *Hit* and *miss* alternate in rounds with a Local and a Redis
cache that hold the same; *dead* are single calls that alternate with those of a Local cache, after the server was killed. The
others are figures of a Hybrid alone: from the answer to a plain client's `SET` to the moment at which a thread that reads without
a pause gets the new value; the reads, beside a client that writes one key without a pause, which gave a value that a write
answered before had replaced, and for how long it had been replaced; from the moment at which a server that was stopped for
a second goes on to the moment at which the write queued meanwhile is in it and the cache not degraded any more.

Beside other caches of two tiers, called from Python, each with a Redis of its own: reads of one key beside a plain
client that writes it without a pause; reads while the server is stopped for a second, and the time until a plain client's write
after that is seen; reads two seconds after the server was killed. A read that asks the server each time is never late.
"""
PYTHON = build.ROOT / ".venv" / "bin" / "python"
TIERS = build.ROOT / "bindings" / "python" / "benches" / "tiers.py"
NAMES = {"hit": "hit of L1, over a Local cache's", "miss": "read that L1 does not hold, over a Redis cache's"}
ROUNDS = {"hit": 401, "miss": 201, "dead": 200, "foreign": 100, "herd": 10_000, "storm": 200, "recovery": 100}
HIT, MISS, MISS_US, DEAD, FOREIGN = 1.10, 1.10, 1.0, 2.0, {"p50": 100, "p99": 1000}


def steps():
    def run(mode):
        build.hiredis()
        count = max(ROUNDS[mode] // (20 if build.TRIAL else 1), 3)
        with servers.start("single") as server:
            command = [build.OUT / "hybrid", server.url, mode, str(count), str(server.pids[0])]
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
            if mode == "dead":
                # It is: what the harness would stop is gone.
                with contextlib.suppress(OSError):
                    os.waitpid(server.pids[0], os.WNOHANG)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    for mode in ROUNDS:
        yield Step(mode, lambda mode=mode: run(mode))
    yield Step("other caches of two tiers", tiers)


def tiers() -> list[dict]:
    """What tiers.py finds."""
    if not PYTHON.exists():
        raise Skip("the module is not installed: make python-module")
    build.run(
        [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            TIERS.parent / "requirements.txt",
        ]
    )
    results = build.OUT / "tiers.json"
    build.hiredis()
    peer = build.OUT / "libredis_rs.so"
    build.run([PYTHON, TIERS, "--json", results, "--redis-rs", peer, *(["--seconds", "0.5"] if build.TRIAL else [])])
    found = json.loads(results.read_text())
    if found["absent"]:
        print(f"  left out: {', '.join(found['absent'])}", file=sys.stderr, flush=True)
    return [{"mode": "tiers", **row} for row in found["rows"]]


def beside(rows: list[dict]) -> str:
    """The table of tiers.py's rows."""
    body = []
    for row in rows:
        storm, stopped, dead = row["storm"], row["stopped"], row["dead"]
        seen = "not in 30 s" if stopped["seen_ms"] is None else f"{stopped['seen_ms']:.1f} ms"
        body.append(
            [
                row["name"],
                f"{number(storm['reads'])}, {100 * storm['late'] / max(storm['reads'], 1):.2f} %",
                f"{storm['late_ms'][1]:.1f} ms",
                f"{stopped['longest_ms']:.1f} ms, {stopped['errors']}",
                seen,
                f"{dead['us'][0]:.1f} / {dead['us'][1]:.1f} µs",
                f"{number(dead['calls'])}, {dead['errors']}, {dead['misses']}",
            ]
        )
    heads = ["cache", "storm: reads, late", "latest", "stopped: longest read, errors", "seen after", "dead: p50 / p99"]
    return table([*heads, "reads, errors, misses"], body)


def judged(rows: list[dict]):
    """What was measured, as (what, goal, figure, reached); without a goal the last is None."""
    for row in rows:
        match row["mode"]:
            case "hit":
                figure = f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
                yield NAMES["hit"], f"≤ {HIT:.2f}", figure, row["ratio"] <= HIT
            case "miss":
                limit = MISS * row["theirs_us"] + MISS_US
                figure = f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f}), {row['ours_us']:.1f} µs"
                yield NAMES["miss"], f"≤ {MISS:.2f} and 1 µs: {limit:.1f} µs", figure, row["ours_us"] <= limit
            case "dead":
                ratios = [ours / theirs for ours, theirs in zip(row["ours_us"], row["theirs_us"], strict=True)]
                what = f"`{row['op']}` with the server dead, over a Local cache's"
                figure = f"p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f} ({row['ours_us'][1]:.2f} µs), p99.9 {ratios[2]:.2f}"
                yield what, f"p99 ≤ {DEAD:.0f}", figure, ratios[1] <= DEAD
            case "foreign":
                figure = "p50 {:.0f}, p99 {:.0f}, p99.9 {:.0f}, longest {:.0f} µs".format(*row["us"])
                reached = row["us"][0] <= FOREIGN["p50"] and row["us"][1] <= FOREIGN["p99"]
                what = f"foreign write until it is read, {number(row['calls'])} times"
                yield what, "p50 ≤ 100, p99 ≤ 1,000 µs", figure, reached
            case "herd":
                what = f"loads by {number(row['waiters'])} threads that wait for one absent key"
                yield what, "1", str(row["loads"]), row["loads"] == 1
            case "storm":
                share = 100 * row["late"] / max(row["reads"], 1)
                figure = "{:.2f} % of {} reads; replaced for p99 {:.0f}, p99.9 {:.0f}, longest {:.0f} µs".format(
                    share, number(row["reads"]), *row["late_us"][1:]
                )
                yield f"late reads beside {number(row['writes'])} writes of one key", "", figure, None
            case "recovery":
                figure = "p50 {:.1f}, longest {:.1f} ms".format(*row["ms"])
                yield f"way back after a stopped server, {row['stops']} times", "", figure, None


def tables(rows: list[dict]) -> str:
    body = [
        [what, figure, goal, "" if reached is None else mark(reached)] for what, goal, figure, reached in judged(rows)
    ]
    text = table(["what", "measured", "goal", "reached"], body)
    others = [row for row in rows if row["mode"] == "tiers"]
    return text + beside(others) if others else text


def goals(rows: list[dict]):
    for what, goal, figure, reached in judged(rows):
        if reached is not None:
            yield Goal(what, goal, figure, reached)
