#!/usr/bin/env python3
"""Builds the fuzz targets and runs each for FUZZ_SECONDS (60): `run.py [TARGET ...]`.

As cargo-fuzz does, but without it: a nightly compiler is enough. The corpus begins with the inputs of the tests
of the bodies, and is kept small: after a run only what adds coverage stays. What makes a target fail is left in
fuzz/artifacts/TARGET/, and is run again by `target/fuzz/.../TARGET FILE`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = re.findall(r'^name = "(.*)"\npath = "fuzz_targets', (ROOT / "fuzz/Cargo.toml").read_text(), re.M)
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
FLAGS = [
    "--cfg fuzzing -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer -Cdebug-assertions -Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares",
]


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout if done.returncode == 0 else ""


def build():
    """The folder of the programs."""
    host = re.search(r"^host: (.*)$", output("rustc", "+nightly", "-vV"), re.M)
    if not host:
        return None
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fuzz"
    command = ["cargo", "+nightly", "build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"]
    command += ["--target", host[1], "--target-dir", folder]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"RUSTFLAGS": " ".join(FLAGS)})
    return folder / host[1] / "release"


def first_inputs():
    env = os.environ | {"LC_WRITE_CORPUS": str(ROOT / "fuzz/corpus")}
    for tests in (["--test", "fuzz_bodies"], ["--lib", "fuzzed"]):
        subprocess.run(["cargo", "test", "--quiet", "--locked", *tests], cwd=ROOT, check=True, env=env)


def fuzz(program):
    """Runs one target; whether it held."""
    name = program.name
    corpus, artifacts = ROOT / "fuzz/corpus" / name, ROOT / "fuzz/artifacts" / name
    corpus.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    limits = ["-malloc_limit_mb=64", "-rss_limit_mb=1024", "-timeout=10", "-max_len=4096"]
    env = os.environ | {"ASAN_OPTIONS": "detect_leaks=1"}
    run = [program, corpus, f"-max_total_time={SECONDS}", f"-artifact_prefix={artifacts}/", *limits]
    done = subprocess.run([*run, "-print_final_stats=1"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(done.stderr[-6000:], f"{name}: FAILED; the input is in {artifacts}", sep="\n")
        return False
    executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    smaller = corpus.with_name(f"{name}.smaller")
    smaller.mkdir()
    subprocess.run([program, "-merge=1", smaller, corpus], cwd=ROOT, env=env, stderr=subprocess.DEVNULL, check=True)
    shutil.rmtree(corpus)
    smaller.rename(corpus)
    inputs = len(list(corpus.iterdir()))
    print(f"{name}: {executions[1]} inputs in {SECONDS} s, coverage {coverage[-1]}, {inputs} kept")
    return True


def main():
    chosen = sys.argv[1:] or TARGETS
    if unknown := set(chosen) - set(TARGETS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    programs = build()
    if not programs:
        print("not run: there is no nightly compiler (rustup toolchain install nightly)")
        return 0
    first_inputs()
    return 0 if all([fuzz(programs / name) for name in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())
