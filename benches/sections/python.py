"""The Python package's LocalCache: runs bindings/python/benches/local.py and takes its figures."""

import json
import subprocess

from suite.build import OUT, ROOT
from suite.section import Goal, Skip, Step
from suite.tables import figure, mark, number, table

TITLE = "Python, LocalCache"
ORDER = 70
ABOUT = """
`lighter_cache.LocalCache` and `memoize` against what a Python program would use instead, all in one process on one processor, in
turn within each round, with keys that are new strings each time. The peers keep references to Python objects; ours copies bytes in
and out, as a cache must that other processes and languages share.
"""
SCRIPT = ROOT / "bindings" / "python" / "benches" / "local.py"
PYTHON = ROOT / ".venv" / "bin" / "python"


def measure() -> list[dict]:
    if not SCRIPT.exists():
        raise Skip(f"{SCRIPT.relative_to(ROOT)} is not there")
    if (
        subprocess.run([PYTHON, "-c", "import lighter_cache"], capture_output=True).returncode
        if PYTHON.exists()
        else True
    ):
        raise Skip("the module is not installed: make python-module")
    peers = SCRIPT.parent / "requirements.txt"
    if peers.exists():
        subprocess.run(
            [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", peers], check=True
        )
    OUT.mkdir(parents=True, exist_ok=True)
    results = OUT / "python.json"
    done = subprocess.run([PYTHON, SCRIPT, "--rounds", "25", "--json", results], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(results.read_text())
    kept = {key: found[key] for key in ("keys", "value_bytes", "versions")}
    return [{"mode": "python", **row, **kept} for row in found["ratios"]]


def steps():
    yield Step("LocalCache and memoize against their peers", measure)


def tables(rows: list[dict]) -> str:
    body = []
    for row in rows:
        goal = row["goal"]
        cells = ["", ""] if goal is None else [f"≤ {goal:.2f}", mark(row["ratio"] <= goal)]
        body.append([row["ours"], row["operation"], row["peer"], figure(row), *cells])
    about = (
        f"{number(rows[0]['keys'])} keys, {rows[0]['value_bytes']} bytes, "
        + ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items())
        if rows
        else ""
    )
    return (about + ":\n\n" if about else "") + table(["ours", "operation", "peer", "ratio", "goal", "reached"], body)


def goals(rows: list[dict]):
    for row in rows:
        if row["goal"] is not None:
            yield Goal(
                f"{row['ours']}, {row['operation']}, against {row['peer']}",
                f"≤ {row['goal']:.2f}",
                f"{row['ratio']:.2f}",
                row["ratio"] <= row["goal"],
            )
