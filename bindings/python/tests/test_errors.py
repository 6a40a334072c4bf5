"""The exceptions: their classes, their numbers, and that no secret gets into any of them."""

import builtins
import copy
import os
import pickle
import re
import socket
import subprocess
import sys
import traceback

import lighter_cache as lc
import pytest
from surroundings import CANARY, ROOT, servers

CLASSES = [one for one in vars(lc).values() if isinstance(one, type) and issubclass(one, lc.CacheError)]


def test_numbers_are_those_of_the_c_header():
    header = (ROOT / "include" / "lighter_cache.h").read_text()
    numbers = {int(n): name for name, n in re.findall(r"\bLCACHE_(E[A-Z]+)\b[^\n]*?(-\d+)", header)}
    for one in CLASSES:
        if one in (lc.CacheError, lc.MappingError) or issubclass(one, lc.LockError):
            continue
        name = one.__name__.removesuffix("Error").upper()
        name = {"INVALID": "INVAL", "NOMEMORY": "NOMEM"}.get(name, name)
        assert numbers[one.status] == f"E{name}", one
    for one, name in ((lc.LockBusyError, "BUSY"), (lc.LockLostError, "LOST")):
        assert re.search(rf"\bLCACHE_{name}\b[^\n]*?\b{one.status}\b", header), one


def test_bases():
    assert issubclass(lc.TimeoutError, builtins.TimeoutError)
    assert issubclass(lc.ConnectError, ConnectionError)
    for one in (lc.ConfigError, lc.InvalidError, lc.TooBigError):
        assert issubclass(one, ValueError)
    assert issubclass(lc.MappingError, TypeError)
    assert issubclass(lc.TypeError, TypeError)
    assert issubclass(lc.IoError, OSError)
    assert issubclass(lc.NoMemoryError, MemoryError)
    for one in CLASSES:
        error = one("message")
        assert str(error) == "message"
        assert pickle.loads(pickle.dumps(error)).args == ("message",)
        assert type(copy.copy(error)) is one


def test_everything_public_is_listed():
    assert set(lc.__all__) <= set(dir(lc))
    assert all(one.__name__ in lc.__all__ for one in CLASSES)
    assert re.fullmatch(r"\d+\.\d+\.\d+", lc.__version__)
    for name in lc.__all__:
        public = getattr(lc, name)
        if isinstance(public, type):
            assert public.__module__.startswith("lighter_cache")
            assert public.__doc__


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_connection_refused(prefix):
    url = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(lc.ConnectError, match="Failed to create Redis connection manager: .*127.0.0.1"):
        lc.open(url, prefix=prefix)
    with pytest.raises(ConnectionError):
        lc.RedisCache(url)
    with pytest.raises(lc.ConnectError):
        lc.open("hybrid+" + url, require_l2=True)
    with lc.open("hybrid+" + url) as cache:
        assert cache.stats().degraded
        with pytest.raises(lc.ConnectError):
            cache.ping()


def test_wrong_credentials():
    with servers.start("password") as server:
        for name in ("wrong_password", "without_password"):
            for scheme in ("", "hybrid+"):
                with pytest.raises(lc.AuthError):
                    lc.open(scheme + server.urls[name])
        with lc.open(server.url) as cache:
            cache.set("k", b"v")
        with lc.open(server.urls["without_password"], password=server.password) as cache:
            assert cache.get("k") == b"v"


def test_no_permission():
    with servers.start("acl") as server, lc.open(server.urls["readonly"], prefix="app") as cache:
        assert cache.get("k") is None
        with pytest.raises(lc.AuthError):
            cache.set("k", b"v")


def test_error_replies_of_the_server(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix) as cache:
        own_server.call("LPUSH", f"{prefix}:list", "x")
        with pytest.raises(lc.ServerError, match="WRONGTYPE"):
            cache.get("list")
        own_server.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(lc.ServerError, match="OOM"):
            cache.set("k", b"v")


def test_a_damaged_envelope(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix) as cache:
        cache.set("k", b"value")
        stored = one_server.call("GET", f"{prefix}:k")
        for damaged in (stored[:5], stored[:4] + b"\xff" + stored[5:], stored[:3] + b"\x63" + stored[4:]):
            one_server.call("SET", f"{prefix}:k", damaged)
            with pytest.raises(lc.CorruptError):
                cache.get("k")
            assert cache.get_many(["k"]) == {}
        one_server.call("SET", f"{prefix}:k", b"of another program")
        assert cache.get("k") == b"of another program"


def everything_said_by(call):
    try:
        return repr(call())
    except Exception as error:
        return "".join(traceback.format_exception(error)[-1:]) + repr(error) + str(error.args)


def test_a_password_is_in_no_message_and_no_repr(one_server, prefix):
    port, closed = one_server.port, free_port()
    urls = [
        f"{scheme}://{login}@127.0.0.1:{at}{rest}"
        for scheme in ("redis", "hybrid+redis", "rediss", "redis+sentinel", "nonsense", "hybrid+redis+cluster")
        for login in (f"user:{CANARY}", f":{CANARY}", f"{CANARY}", f"a:b@{CANARY}")
        for at in (closed, port)
        for rest in ("/main", f"?password={CANARY}", f"/1/{CANARY}", f"#{CANARY}", f"?prefix=a&username={CANARY}")
    ]
    urls += [f"redis://h?{CANARY}", f"redis:{CANARY}", f"{CANARY}://h", f"redis://h?timeout={CANARY}", CANARY]
    for url in urls:
        for call in (lc.check, lc.open):
            said = everything_said_by(lambda call=call, url=url: call(url, timeout=0.3, connect_timeout=0.3))
            assert CANARY not in said or f"{CANARY}://" in url, (call, url)
    for options in ({"password": CANARY}, {"username": CANARY, "password": "x"}, {"encryption_keys": CANARY}):
        for url in (f"redis://127.0.0.1:{port}", f"hybrid+redis://127.0.0.1:{closed}", "local:"):
            assert CANARY not in everything_said_by(lambda url=url, options=options: lc.open(url, **options))


def test_a_password_is_in_no_repr_of_a_working_cache():
    with servers.start("password") as server:
        secret = server.password
        before, at = server.url.split("@")
        with (
            lc.open(server.url) as by_url,
            lc.open(f"redis://{at}", password=secret) as by_keyword,
            lc.open(f"hybrid+redis://{at}?password=p%40ss%3Aw%2Frd%2521") as by_query,
            lc.HybridCache(lc.LocalCache(), by_url) as composed,
        ):
            for cache in (by_url, by_keyword, by_query, composed):
                cache.ping()
                said = f"{cache!r} {cache!s} {cache.stats()} {cache.__reduce__()}"
                for piece in (secret, before.partition("//")[2], "w/rd", "w%2Frd"):
                    assert piece not in said, said
            assert "***" in repr(by_url)


def test_a_password_is_in_no_log():
    code = """
import sys, lighter_cache as lc
url, wrong, refused = sys.argv[1:]
for each in (url, "hybrid+" + url):
    with lc.open(each, timeout=5) as cache:
        cache.set("k", b"v")
        cache.get("k")
for each in (wrong, "hybrid+" + wrong, refused):
    try:
        lc.open(each, timeout=0.3)
    except lc.CacheError:
        pass
lc.open("hybrid+" + refused, timeout=0.3).set("k", b"v")
"""
    with servers.start("password") as server:
        refused = f"redis://u:{CANARY}@127.0.0.1:{free_port()}"
        wrong = server.urls["wrong_password"].replace(":wrong@", f":{CANARY}@")
        assert CANARY in wrong
        done = subprocess.run(
            [sys.executable, "-c", code, server.url, wrong, refused],
            env=os.environ | {"LIGHTER_CACHE_LOG": "trace"},
            capture_output=True,
            text=True,
            check=True,
        )
    # Something was logged (the Hybrid opened without its server), and no secret was.
    assert "hybrid" in done.stderr
    for secret in (CANARY, server.password, "w%2Frd"):
        assert secret not in done.stderr + done.stdout


def test_keys_and_values_are_in_no_message(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix) as cache:
        one_server.call("LPUSH", f"{prefix}:{CANARY}", "x")
        for call in (
            lambda: cache.get(CANARY),
            lambda: cache.set("__lc:" + CANARY, b"v"),
            lambda: cache.set("k" * 70_000 + CANARY, b"v"),
            lambda: cache.set("k", CANARY),
            lambda: cache.set_many({"k": CANARY}),
        ):
            with pytest.raises((lc.CacheError, TypeError)) as error:
                call()
            assert CANARY not in str(error.value)
