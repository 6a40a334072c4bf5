"""What the tests share: real servers, and a cache of each kind."""

import itertools
import os
from pathlib import Path

import lighter_cache as lc
import pytest
from surroundings import servers


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("timeout"):
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


@pytest.fixture(scope="session")
def one_redis(one_server):
    """The same, where the make matters."""
    return one_server


@pytest.fixture(scope="session")
def one_valkey():
    """One plain Valkey."""
    with servers.start("single", server="valkey") as running:
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


@pytest.fixture(params=["local", "redis", "valkey", "hybrid"])
def full(request, prefix):
    """A cache of each kind that has all operations."""
    yield from _opened(request, prefix)


@pytest.fixture(params=["local", "redis", "hybrid"])
def loads(request, prefix):
    """A cache of each kind that has `get_or_set`."""
    yield from _opened(request, prefix)


def _opened(request, prefix):
    if request.param == "local":
        opened = lc.LocalCache()
    elif request.param == "hybrid":
        url = "hybrid+" + request.getfixturevalue("one_server").url
        opened = lc.open(url, prefix=prefix, timeout=20, l2_timeout=20, watchdog=20)
    else:
        opened = lc.open(request.getfixturevalue(f"one_{request.param}").url, prefix=prefix, timeout=20)
    with opened:
        yield opened
