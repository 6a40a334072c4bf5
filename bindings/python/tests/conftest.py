"""What the tests share: real servers, one cache of each kind, and Python run as a program of its own."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import lighter_cache as lc
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

import servers  # noqa: E402

CANARY = "Zx9canary7pw"


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session", params=["redis", "valkey"])
def server(request):
    """One plain server of either make, for tests that leave it running."""
    with servers.start("single", server=request.param) as running:
        yield running


@pytest.fixture(scope="session")
def one_server():
    """One plain server, where the make can't matter."""
    with servers.start("single") as running:
        yield running


@pytest.fixture
def own_server():
    """A server of the test's own, to be paused and killed."""
    with servers.start("single") as running:
        yield running


_prefixes = itertools.count()


@pytest.fixture
def prefix():
    """A prefix that no other test uses."""
    return f"t{os.getpid()}.{next(_prefixes)}"


@pytest.fixture
def local():
    with lc.LocalCache() as cache:
        yield cache


@pytest.fixture
def redis(server, prefix):
    with lc.RedisCache(server.url, prefix=prefix) as cache:
        yield cache


@pytest.fixture(params=["local", "redis", "hybrid", "local_only"])
def cache(request, one_server, prefix):
    """A cache of each kind."""
    match request.param:
        case "local":
            opened = lc.open("local:")
        case "redis":
            opened = lc.open(one_server.url, prefix=prefix)
        case "hybrid":
            opened = lc.open("hybrid+" + one_server.url, prefix=prefix)
        case "local_only":
            opened = lc.HybridCache.local_only()
    with opened:
        yield opened


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
