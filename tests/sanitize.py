#!/usr/bin/env python3
"""Runs tests under sanitizers and valgrind: `sanitize.py [address] [thread] [valgrind] [miri]`, all by default.

  address   AddressSanitizer and LeakSanitizer: Rust tests, and C programs against a library built with it
  thread    ThreadSanitizer: Rust tests
  valgrind  memcheck with leaks: C programs against the library as it is released
  miri      Rust tests of `value` and of the table of handles

The first two need a nightly compiler, which brings their run-time libraries. The standard library is taken as
it is: it is not instrumented, so what the sanitizers see is this library's code and all generic code that is
compiled into it. What can't be run here is said, with the reason, and is no failure; a report is one.

Each step has SANITIZE_SECONDS (1800) and is ended then, which is a failure too; a table of all steps, with their
times, is the last that is printed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "sanitize"
CARGO = ["cargo", "+nightly"]
LIMIT = float(os.environ.get("SANITIZE_SECONDS", "1800"))
# What was run: its name, what came of it, its seconds.
steps = []

# What needs no server. Left out: tests of forks, whose children ThreadSanitizer does not follow, and of times.
RUST = ["local::", "value::", "handle::", "flight::", "snapshot::"]
RUST_LEFT_OUT = ["fork", "child", "crafted_keys", "pause"]
# Where threads meet in the store, its entries and the handles; tests/tsan.supp says why not elsewhere.
RUST_THREADS = ["linearizable", "threads::", "bounds::threads", "value::", "handle::"]
# Not those that put themselves between malloc and the library, or limit their own memory.
C = (
    "arguments batches conditional events handles keys layout loaders loading locks operations prefixes random "
    "snapshots stats threads values with_options"
).split()
# None that forks: a child gives up what its parent's threads held, which is a leak, and is meant.
C_VALGRIND = "arguments batches conditional events handles keys layout loading snapshots values".split()


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else ""


def host():
    lines = output("rustc", "+nightly", "-vV").splitlines()
    return next((line.split()[1] for line in lines if line.startswith("host:")), "")


def run(step, *command, **env):
    """Runs a command to its end, or for its time; whether it succeeded."""
    print("+", " ".join([*(f"{name}={value}" for name, value in env.items()), *map(str, command)]), flush=True)
    begun = time.monotonic()
    with subprocess.Popen(list(map(str, command)), cwd=ROOT, env=os.environ | env, start_new_session=True) as process:
        try:
            outcome = "clean" if process.wait(LIMIT) == 0 else "FAILED"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            outcome = f"FAILED: not done after {LIMIT:.0f} s"
        except BaseException:
            # It is a session of its own, so that Ctrl-C does not reach it.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    steps.append((step, outcome, time.monotonic() - begun))
    return outcome == "clean"


class Sanitizer:
    """A build of its own with a sanitizer of the compiler."""

    def __init__(self, name, runtime, more_flags=()):
        self.name = name
        self.host = host()
        self.folder = TARGET / name
        self.symbol = f"__{runtime}_init"
        library = Path(output("rustc", "+nightly", "--print", "target-libdir") or "/nowhere")
        self.runtime = next(library.glob(f"librustc*_rt.{runtime}.a"), None)
        flags = [f"-Zsanitizer={name}", "-Cunsafe-allow-abi-mismatch=sanitizer", *more_flags]
        self.env = {"RUSTFLAGS": " ".join(flags)}
        self.where = ["--locked", "--target", self.host, "--target-dir", self.folder]

    def why_not(self):
        if not self.host:
            return "there is no nightly compiler (rustup toolchain install nightly)"
        if not self.runtime:
            return "the nightly compiler has no such run-time library"
        return None

    def rust(self, tests, **env):
        """Each group of tests by itself, also where one fails."""
        if not run(f"{self.name}: build", *CARGO, "test", "--lib", "--no-run", *self.where, **self.env):
            return False
        skip = [part for name in RUST_LEFT_OUT for part in ("--skip", name)]
        command = [*CARGO, "test", "--lib", *self.where, "--"]
        return all([run(f"{self.name}: {group}", *command, group, *skip, **self.env, **env) for group in tests])

    def c(self, **env):
        """The run-time library goes into each program, before everything else; the C code is not instrumented."""
        if not run(f"{self.name}: library", *CARGO, "build", "--lib", *self.where, **self.env):
            return False
        built = self.folder / self.host / "debug"
        if self.symbol not in output("nm", "-D", built / "liblighter_cache.so"):
            print(f"the library was not built with the sanitizer: it does not ask for {self.symbol}")
            return False
        link = f"-Wl,--whole-archive {self.runtime} -Wl,--no-whole-archive -rdynamic -lpthread -ldl -lm -lrt -lresolv"
        compiler = f"{os.environ.get('CC', 'cc')} {link}"
        return run(f"{self.name}: C programs", *native(built, C), CC=compiler, **env)


def native(library, programs):
    return [
        sys.executable,
        "tests/run_native.py",
        "c",
        "--library",
        library,
        "--only",
        ",".join(programs),
        "--patience",
        10,
    ]


def address():
    build = Sanitizer("address", "asan")
    if why := build.why_not():
        return why
    options = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1"}
    # Both, also where the first fails.
    meant = {"LSAN_OPTIONS": f"suppressions={ROOT}/tests/lsan.supp"}
    return all([build.rust(RUST, **options, **meant), build.c(**options)])


def thread():
    # `tsan` has the code say in loads what it says in fences otherwise, which this sanitizer does not know.
    build = Sanitizer("thread", "tsan", ["--cfg", "tsan"])
    if why := build.why_not():
        return why
    return build.rust(RUST_THREADS, TSAN_OPTIONS=f"suppressions={ROOT}/tests/tsan.supp")


def valgrind():
    if not shutil.which("valgrind"):
        return "there is no valgrind"
    if not run("valgrind: library", "cargo", "build", "--release", "--lib", "--locked"):
        return False
    library = TARGET.parent / "release"
    under = "valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite"
    return run("valgrind: C programs", *native(library, C_VALGRIND), "--under", under)


def miri():
    if not output(*CARGO, "miri", "--version"):
        return "the nightly compiler has no miri (rustup component add miri rust-src --toolchain nightly)"
    where = ["--lib", "--locked", "--target-dir", TARGET / "miri"]
    skip = ["--skip", "threads", "--skip", "readers", "--skip", "made_up", "--skip", "many"]
    return run(
        "miri", *CARGO, "miri", "test", *where, "value::", "handle::", *skip, MIRIFLAGS="-Zmiri-disable-isolation"
    )


PARTS = {"address": address, "thread": thread, "valgrind": valgrind, "miri": miri}


def main():
    parser = argparse.ArgumentParser(description="Runs tests under sanitizers and valgrind.")
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(unknown)}")
    said = {part: PARTS[part]() for part in parts}
    for step, outcome, seconds in steps:
        print(f"{step:<26} {seconds:5.0f} s  {outcome}")
    for part, outcome in said.items():
        print(f"{part:<9} {'clean' if outcome is True else 'FAILED' if outcome is False else f'not run: {outcome}'}")
    return 1 if False in said.values() else 0


if __name__ == "__main__":
    sys.exit(main())
