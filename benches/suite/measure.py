"""Runs the harness (benches/local) and puts several runs of the same rows together."""

import json
import os
import statistics
import subprocess

from . import build
from .section import Skip

SKIPPED = 77


def local(mode: str, environment: dict | None = None, **options) -> list[dict]:
    """One run of the harness. Options as on its command line; what can't be measured here raises Skip."""
    if build.TRIAL:
        options |= {"keys": min(options.get("keys", 20_000), 20_000), "budget": 20}
    command = [build.harness(), mode]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (environment or {}))
    if done.returncode == SKIPPED:
        raise Skip(done.stderr.strip().splitlines()[-2:][0])
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def repeated(times: int, mode: str, **options) -> list[dict]:
    """Several processes, whose seeds and places in memory differ: the median of each row's medians and quartiles.

    `runs` keeps the median of each process."""
    runs = [local(mode, **options) for _ in range(1 if build.TRIAL else times)]
    rows = []
    for same in zip(*runs, strict=True):
        row = dict(same[0])
        for figure in ("ratio", "low", "high", "first_ns", "second_ns"):
            row[figure] = statistics.median(one[figure] for one in same)
        row["runs"] = [one["ratio"] for one in same]
        rows.append(row)
    return rows
