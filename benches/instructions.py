"""Counts the instructions of the hot paths with callgrind: they do not depend on the machine's mood.

    instructions.py --check     compares with benches/instructions.json; ends with 1 where one changed by more than the tolerance
    instructions.py --write     counts and writes that file

A count is the mean over many operations and 10,000 keys, so that the process's random hash seed hardly shows: the noise between
runs is printed. It includes the loop around the call, about ten instructions. It changes with compilers and with the C library's
memcpy, so counts are compared only where both are as they were when the file was written; else the check says so and ends with 0.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from suite import build
from suite.machine import compilers, output

FILE = Path(__file__).parent / "instructions.json"
PATHS = {
    "get_into": "lc_get_into, hit, 100 B", "get": "lc_get + lc_value_free, hit, 100 B", "set": "lc_set, overwrite, 100 B",
    "set_ttl": "lc_set with a TTL, overwrite, 100 B", "miss": "lc_get_into, miss",
}  # fmt: skip
THOUSANDS = 50
TOLERANCE = 0.03


def conditions() -> dict[str, str]:
    """What the counts depend on besides the code."""
    flags = re.search(r"^flags.*", Path("/proc/cpuinfo").read_text(), re.M)
    copies = " ".join(
        flag for flag in ("erms", "fsrm", "avx2", "avx512vl") if flags and re.search(rf"\b{flag}\b", flags.group())
    )
    return compilers() | {"libc": output("ldd", "--version").rpartition(" ")[2], "memcpy": copies}


def count(path: str, library: str = "", contender: str = "lc") -> float:
    """Instructions of one operation."""
    harness = build.harness()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        options = [
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            "--toggle-collect=counted",
            "--collect-atstart=no",
        ]
        command = [
            harness,
            "count",
            "--ours",
            contender,
            "--library",
            library,
            "--keys",
            "10000",
            "--rows",
            path,
            "--budget",
            str(THOUSANDS),
        ]
        done = subprocess.run(
            ["valgrind", *options, *command], capture_output=True, text=True, env=os.environ | {"LD_BIND_NOW": "1"}
        )
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text() if out.exists() else "", re.M)
        if done.returncode or not found:
            raise SystemExit(f"callgrind failed:\n{done.stderr}")
        return int(found.group(1)) / (THOUSANDS * 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    if not shutil.which("valgrind"):
        print("instruction counts: not run, valgrind is not installed (on Debian: apt-get install valgrind)")
        return 0
    here = conditions()
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"conditions": {}, "counts": {}}
    if chosen.check and kept["conditions"] != here:
        differing = sorted(key for key in here if kept["conditions"].get(key) != here[key])
        print(
            f"instruction counts: not compared, {', '.join(differing)} are others than in {FILE.name}; to count anew: make instructions"
        )
        return 0
    counts, changed = {}, 0
    print(f"{'instructions per operation':<40}{'now':>9}{'kept':>9}{'change':>9}{'noise':>8}")
    for path, name in PATHS.items():
        runs = [count(path) for _ in range(chosen.runs)]
        counts[path] = round(statistics.median(runs), 1)
        noise = (max(runs) - min(runs)) / counts[path]
        before = kept["counts"].get(path)
        change = counts[path] / before - 1 if before else 0
        changed += abs(change) > TOLERANCE
        print(f"{name:<40}{counts[path]:9.1f}{before or 0:9.1f}{change:+9.1%}{noise:8.2%}", flush=True)
    if chosen.write:
        FILE.write_text(json.dumps({"conditions": here, "tolerance": TOLERANCE, "counts": counts}, indent=1) + "\n")
        return 0
    if changed:
        print(f"{changed} changed by more than {TOLERANCE:.0%}. If that is meant: make instructions", file=sys.stderr)
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
