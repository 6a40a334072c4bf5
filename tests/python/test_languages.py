"""Each of C, C++, Python and Rust writes, and all of them read: the same keys, the same bytes.

The programs in `tests/cross/` open a URL and obey the lines of a pipe (the protocol is written in
`cross.c`); Python takes part through the package itself.
"""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import lighter_cache as lc
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import servers  # noqa: E402

LANGUAGES = ["c", "cpp", "python", "rust"]
pytestmark = pytest.mark.timeout(600)


def run(*command):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The programs, built: by language."""
    folder = tmp_path_factory.mktemp("cross")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    run("cargo", "build", "--release", "--lib", "--locked")
    run("cargo", "build", "--example", "cross", "--locked")
    shared = target / "release" / "liblighter_cache.so"
    soname = re.search(r"SONAME.*\[(.*)\]", run("readelf", "-d", shared)).group(1)
    for name in ("liblighter_cache.so", soname):
        (folder / name).symlink_to(shared)
    link = ["-I", "include", "-L", folder, "-llighter_cache", f"-Wl,-rpath,{folder}"]
    warn = ["-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L"]
    run("cc", "-std=c11", *warn, "tests/cross/cross.c", "-o", folder / "c", *link)
    run("c++", "-std=c++17", *warn, "-I", "bindings/cpp/include", "tests/cross/cross.cpp", "-o", folder / "cpp", *link)
    return {"c": folder / "c", "cpp": folder / "cpp", "rust": target / "debug" / "examples" / "cross"}


class Program:
    """A program of `tests/cross/`, as a cache."""

    def __init__(self, path, url):
        self.process = subprocess.Popen([str(path), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "open\n"

    def ask(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer and not answer.startswith("error"), answer
        return answer.split()

    def set(self, key, value):
        assert self.ask("set", key.hex() or "-", value.hex() or "-") == ["ok"]

    def get(self, key):
        answer = self.ask("get", key.hex())
        if answer == ["miss"]:
            return None
        return b"" if answer[1] == "-" else bytes.fromhex(answer[1])

    def delete(self, key):
        return self.ask("delete", key.hex()) == ["ok"]

    def default_ttl(self, ms):
        self.ask("ttl", "-", str(ms))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


class PythonProgram:
    """The package, in the shape of a Program."""

    def __init__(self, url):
        self.cache, self.ttl_ms = lc.open(url), None
        self.get, self.delete, self.close = self.cache.get, self.cache.delete, self.cache.close

    def set(self, key, value):
        options = {} if self.ttl_ms is None else {"ttl": self.ttl_ms / 1000}
        self.cache.set(key, value, **options)

    def default_ttl(self, ms):
        self.ttl_ms = ms


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request):
    with servers.start("single", server=request.param) as running:
        yield running


@pytest.fixture(params=["redis", "hybrid+redis"])
def caches(request, programs, server):
    """One cache in each language, all on one server under one prefix."""
    prefix = f"lang{random.getrandbits(40)}"
    url = f"{request.param}://127.0.0.1:{server.port}?prefix={prefix}"
    opened = {language: Program(path, url) for language, path in programs.items()} | {"python": PythonProgram(url)}
    try:
        yield opened
    finally:
        for one in opened.values():
            one.close()


ALL_BYTES = bytes(range(256))
KEYS = [b"plain", b"a b\tc\r\n", b"\0", b"\xff\xfe\x00\xff", b"*?[]\\{x}", "naïve".encode(), ALL_BYTES, b"k" * 65_536]
VALUES = [
    b"",
    b"text",
    b"\0",
    b"\xff",
    b"5",
    b"-17",
    b"9223372036854775807",
    b"9223372036854775808",
    b"007",
    ALL_BYTES,
    ALL_BYTES * 4096,
]


def seen(cache, key, value):
    """What `cache` reads, once news of the write has come (a Hybrid hears of it within milliseconds)."""
    deadline = time.monotonic() + 10
    while (found := cache.get(key)) != value and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


@pytest.mark.parametrize("writer", LANGUAGES)
def test_one_writes_and_all_read(caches, writer):
    pairs = [(key, b"value of a key") for key in KEYS] + [(f"v{n}".encode(), value) for n, value in enumerate(VALUES)]
    for key, value in pairs:
        caches[writer].set(key, value)
    for reader in LANGUAGES:
        for key, value in pairs:
            assert seen(caches[reader], key, value) == value, (writer, reader, key[:20])
    for key, _ in pairs:
        assert caches[writer].delete(key)
    for reader in LANGUAGES:
        for key, _ in pairs:
            assert seen(caches[reader], key, None) is None, (writer, reader, key[:20])


@pytest.mark.parametrize("writer", LANGUAGES)
def test_a_ttl_is_the_same_for_all(caches, writer):
    caches[writer].default_ttl(600_000)
    caches[writer].set(b"timed", b"v")
    left = caches["python"].cache.ttl(b"timed")
    assert 590 < left <= 600
    caches[writer].default_ttl(0)
    caches[writer].set(b"timed", b"w")
    for reader in LANGUAGES:
        assert seen(caches[reader], b"timed", None) is None


def test_each_overwrites_the_one_before(caches):
    for number, writer in enumerate(LANGUAGES * 3):
        value = f"{number} by {writer}".encode()
        caches[writer].set(b"shared", value)
        for reader in LANGUAGES:
            assert seen(caches[reader], b"shared", value) == value, (writer, reader)


def test_a_pipe_client_sees_readable_keys(caches, server):
    caches["c"].set(b"user:123", b"Ada")
    names = {name.decode() for name in server.call("KEYS", "*:user:123")}
    assert any(name.startswith("lang") for name in names)
