"""Every kind of server that a URL can name, from Python: it opens, stores, reads, batches, clears."""

import pickle
import time

import lighter_cache as lc
import pytest
from surroundings import eventually, servers


def exercise(url, server=None, **options):
    with lc.open(url, **options) as cache:
        cache.set("k", b"v", ttl=60)
        assert cache.get("k") == b"v"
        many = {f"k{n}": str(n).encode() * 10 for n in range(200)}
        cache.set_many(many)
        assert cache.get_many(many) == many
        assert cache.count() == 201
        assert cache.delete_many(list(many)[:50]) == 50
        cache.clear()
        assert cache.count() == 0
        cache.ping()


@pytest.mark.parametrize("scheme", ["", "hybrid+"])
@pytest.mark.parametrize("make", ["redis", "valkey"])
@pytest.mark.parametrize("topology", ["single", "password", "acl", "unix", "tls", "cluster", "sentinel"])
def test_topologies(topology, make, scheme, prefix):
    options = {"timeout": "5s", "connect_timeout": "5s", "prefix": "app" if topology == "acl" else prefix}
    if scheme:
        options["l2_timeout"] = "5s"
    with servers.start(topology, server=make) as server:
        if topology == "tls":
            options["tls_ca"] = server.certs["ca"]
        exercise(scheme + server.url, **options)


def test_databases_are_apart(one_server, prefix):
    with (
        lc.open(f"{one_server.url}/1", prefix=prefix) as one,
        lc.open(one_server.url, db=2, prefix=prefix) as two,
        lc.open(f"{one_server.url}?db=1&prefix={prefix}") as one_again,
    ):
        one.set("k", b"v")
        assert two.get("k") is None
        assert one_again.get("k") == b"v"


def test_keys_are_stored_under_the_prefix(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix) as cache:
        cache.set("user:123", b"17")
        assert one_server.call("GET", f"{prefix}:user:123") == b"17"
        # What another program stored comes back as it is, and is never taken for anything but bytes.
        for foreign in (b"raw", pickle.dumps(print), b"\x80\x04."):
            one_server.call("SET", f"{prefix}:foreign", foreign)
            assert cache.get("foreign") == foreign


def test_clear_leaves_other_prefixes_alone(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix) as cache, lc.open(one_server.url, prefix=prefix + "2") as other:
        cache.set("k", b"v")
        other.set("k", b"v")
        cache.clear()
        assert cache.count() == 0
        assert other.get("k") == b"v"


def test_a_raw_wire(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix, wire="raw") as cache:
        cache.set("k", b"bytes")
        assert one_server.call("GET", f"{prefix}:k") == b"bytes"


def test_a_server_that_comes_back(own_server, prefix):
    with lc.open(own_server.url, prefix=prefix) as cache:
        cache.set("k", b"v")
        own_server.kill()
        with pytest.raises((lc.ConnectError, lc.TimeoutError)):
            cache.get("k")
        with pytest.raises(lc.ConnectError):
            cache.set("k", b"w")
        own_server.restart()
        assert eventually(lambda: cache.get("k")) is None
        cache.set("k", b"x")
        assert cache.get("k") == b"x"


def test_certificates_are_verified():
    with servers.start("tls") as server:
        for name, url in server.urls.items():
            if name in ("wrong_host", "expired", "untrusted"):
                with pytest.raises(lc.ConnectError):
                    lc.open(url, tls_ca=server.certs["ca"])
        with pytest.raises(lc.ConnectError):
            lc.open(server.url)
        with lc.open(server.url, tls_insecure=True) as cache:
            cache.ping()


def test_ttls_reach_the_server(one_server, prefix):
    with lc.open(one_server.url, prefix=prefix) as cache:
        cache.set("k", b"v", ttl=0.25)
        assert 0 < one_server.call("PTTL", f"{prefix}:k") <= 250
        deadline = time.monotonic() + 10
        while cache.get("k") is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
