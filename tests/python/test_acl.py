"""The ACL rights of docs/production.md are enough for every operation, and none of them is too much."""

import re
from pathlib import Path

import lighter_cache as lc
import pytest
import servers

PAGE = (Path(__file__).resolve().parents[2] / "docs/production.md").read_text()
SECTION = PAGE[PAGE.index("\n## ACL rights") : PAGE.index("\n## Health checks")]
USER, *RIGHTS = re.search(r"^ACL SETUSER app on >SECRET (.*?-@all) (.*)$", SECTION, re.M).groups()
RIGHTS = RIGHTS[0].split()


def in_addition(word):
    """The rights that the list after the plain ones gives to a configuration, `|` and all."""
    line = re.search(rf"^- {word}\b.*?(?=^- |\Z|\n\n)", SECTION, re.M | re.S)[0]
    return re.search(r"`(\+[^`]*)`", line)[1].split() + re.findall(r"and `(\+[^`]*)`", line)


def allow(running, rights, only=lambda name: True):
    for node in running.nodes:
        if only(node["name"]):
            with running.client(node["name"]) as client:
                client.call("ACL", "SETUSER", "app", "reset", "on", ">secret", *USER.split(), *rights)
                if not node["name"].startswith("sentinel"):
                    # Whoever needs a script has to bring it along.
                    client.call("SCRIPT", "FLUSH")


def url_of(running, kind="", options=""):
    joint = "&" if "?" in running.url else "?"
    return kind + running.url.replace("//", "//app:secret@", 1) + joint + "prefix=app" + options


def every_operation(url):
    """Runs them all; returns the names of those that were refused, "open" among them."""
    refused = []

    def attempt(name, operation):
        try:
            operation()
        except lc.AuthError:
            refused.append(name)

    try:
        cache = lc.open(url)
    except lc.AuthError:
        return ["open"]
    with cache:
        attempt("ping", cache.ping)
        attempt("set", lambda: cache.set("user:1", b"Ada", ttl=60))
        attempt("get", lambda: cache.get("user:2"))
        attempt("exists", lambda: cache.exists("user:2"))
        attempt("ttl", lambda: cache.ttl("user:1"))
        attempt("expire", lambda: cache.expire("user:1", 50))
        attempt("expire never", lambda: cache.expire("user:1", None))
        attempt("set_many", lambda: cache.set_many({"a": b"1", "b": b"x"}, ttl=60))
        attempt("get_many", lambda: cache.get_many(["a", "b", "c"]))
        attempt("delete", lambda: cache.delete("user:1"))
        attempt("delete_many", lambda: cache.delete_many(["a", "b"]))
        attempt("count", cache.count)
        attempt("clear", cache.clear)
    return refused


@pytest.mark.parametrize("server", ["redis", "valkey"])
def test_redis_needs_each_right_and_no_other(server):
    with servers.start("single", server=server) as running:
        allow(running, RIGHTS)
        assert every_operation(url_of(running)) == []
        for right in RIGHTS:
            allow(running, [other for other in RIGHTS if other != right])
            assert every_operation(url_of(running)), f"{right} is not needed"


def test_another_database_needs_select():
    with servers.start("single") as running:
        allow(running, RIGHTS)
        assert every_operation(url_of(running, options="&db=1")) == ["open"]
        allow(running, RIGHTS + in_addition("Another database"))
        assert every_operation(url_of(running, options="&db=1")) == []


def test_hybrid_needs_tracking_to_trust_its_memory():
    with servers.start("single") as running:
        for rights, degraded in ((RIGHTS, True), (RIGHTS + in_addition("Hybrid"), False)):
            allow(running, rights)
            assert every_operation(url_of(running, "hybrid+")) == []
            with lc.open(url_of(running, "hybrid+")) as cache:
                cache.set("user:1", b"Ada")
                assert cache.get("user:1") == b"Ada"
                assert cache.stats().degraded is degraded


@pytest.mark.parametrize("kind", ["", "hybrid+"])
def test_cluster(kind):
    with servers.start("cluster") as running:
        allow(running, RIGHTS + in_addition("Hybrid") + in_addition("Cluster"))
        assert every_operation(url_of(running, kind)) == []


@pytest.mark.parametrize("kind", ["", "hybrid+"])
def test_sentinel(kind):
    def is_sentinel(name):
        return name.startswith("sentinel")

    with servers.start("sentinel") as running:
        rights = RIGHTS + in_addition("Hybrid") + in_addition("Sentinel")
        allow(running, rights, only=lambda name: not is_sentinel(name))
        user = re.search(r"`ACL SETUSER app on >SECRET (.*)`", SECTION)[1]
        # Opened before the first is shut to strangers, for the harness is one too.
        sentinels = [running.client(node["name"]) for node in running.nodes if is_sentinel(node["name"])]
        for client in sentinels:
            with client:
                client.call("ACL", "SETUSER", "app", "reset", "on", ">secret", *user.split())
                client.call("ACL", "SETUSER", "default", "off")
        assert every_operation(url_of(running, kind)) == []
