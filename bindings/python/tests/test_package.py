"""What is around the code: the stubs say what the module does, the README and the example run as printed."""

import re
import subprocess
import sys
from pathlib import Path

import lighter_cache as lc
import pytest
from surroundings import ROOT, run_python

PACKAGE = ROOT / "bindings" / "python"


def test_the_stubs_fit_the_module(tmp_path):
    for command in (["mypy.stubtest", "lighter_cache"], ["mypy", "--strict", "--package", "lighter_cache"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


PROGRAM = """
from datetime import timedelta
from typing import assert_type
import lighter_cache as lc

with lc.open("local:", timeout=0.2, l1_max_ttl=timedelta(seconds=1)) as cache:
    assert_type(cache, lc.Cache)
    assert_type(cache.get("k"), bytes | None)
    assert_type(cache.get(b"k", 5), bytes | int)
    assert_type(cache.get_many(["a"]), dict[str, bytes])
    assert_type(cache.ttl("k"), float | None)
    cache.set("k", memoryview(b"v"), ttl=None)
    cache.set_many({"a": bytearray(b"1")}, ttl="5m")
    cache.set_many([("a", b"1"), (b"b", memoryview(b"2"))])
    assert_type(cache.stats().entries, int | None)
local = lc.LocalCache(shards=4)
for key, value in local.items():
    assert_type((key, value), tuple[str, bytes])
assert_type(lc.HybridCache.local_only(), lc.HybridCache)
cache.set("k", "text")  # type: ignore[arg-type]
cache.get(5)  # type: ignore[call-overload]
cache.set("k", b"v", ttl=[])  # type: ignore[arg-type]
"""


def test_types_as_a_user_sees_them(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


PRINTED = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)


@pytest.mark.parametrize("program", PRINTED, ids=range(len(PRINTED)))
def test_the_readme_runs_as_printed(program):
    printed = run_python(program).splitlines()
    assert printed == re.findall(r"# prints: (.*)", program)


@pytest.mark.parametrize("with_server", [False, True])
def test_the_example(one_server, with_server):
    program = (ROOT / "examples" / "cache_usage.py").read_text()
    printed = run_python(program, REDIS_URL=one_server.url if with_server else "").splitlines()
    titles = ["Local", "by URL"] + (["Redis", "Hybrid", "L1 only"] if with_server else ["set REDIS_URL"])
    assert len(printed) == len(titles)
    assert all(line.startswith(title) for line, title in zip(printed, titles)), printed


def test_every_public_method_is_documented():
    for kind in (lc.Cache, lc.LocalCache, lc.RedisCache, lc.HybridCache, lc.CacheKey):
        assert kind.__doc__
        for name in dir(kind):
            if not name.startswith("_"):
                assert getattr(kind, name).__doc__, f"{kind.__name__}.{name}"


def test_the_module_exports_no_c_function():
    module = Path(lc._native.__file__)
    symbols = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1] for line in symbols.splitlines()]
    assert "PyInit__native" in names
    assert not [name for name in names if name.startswith("lc_")]


def test_the_module_needs_no_python_library():
    module = Path(lc._native.__file__)
    needed = subprocess.run(["readelf", "-d", module], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert not [name for name in libraries if "python" in name or "ssl" in name or "crypto" in name], libraries
