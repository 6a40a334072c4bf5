"""What the tests stand in: the server harness, and Python run as a program of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import lighter_cache as lc

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

import servers  # noqa: E402, F401

# A password that no message may repeat.
CANARY = "Zx9canary7pw"


def run_python(code, *arguments, timeout=60, **environment):
    """Runs `code` as a program; returns what it printed. Fails if it does not end with status 0."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def eventually(call, *, seconds=10):
    """The result of `call`, once it no longer raises what a server that is away makes it raise."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (lc.ConnectError, lc.TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
