"""The Local cache against what C and C++ programs use today: oneTBB, GLib with a mutex, and memcached."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from suite import build, machine
from suite.measure import local, repeated
from suite.section import Skip, Step
from suite.tables import number, pair_goals, pairs

TITLE = "Local, against what C and C++ have"
ORDER = 30
ABOUT = """
oneTBB's `concurrent_hash_map<std::string, std::string>`, asked with a view of the key, and GLib's `GHashTable` of `GBytes` under
a `GMutex`. Neither has a bound, a TTL or counters. "`lc_get` + `lc_value_free`" is compared with holding TBB's accessor, which
locks the entry, and with a reference to the `GBytes`. Then libmemcached with a memcached of its own on a unix socket, with
10,000 keys: what a C program has to use today that wants a bound and TTLs.
"""
GOALS = {"tbb": 0.65, "glib": 0.65}
NAMES = {"tbb": "oneTBB", "glib": "GLib and a mutex", "memcached": "memcached"}
ROWS = "get_into,get,set,miss,mix"


def goal_of(peer: str):
    return lambda row: GOALS.get(peer) if row["op"] == "get_into" else None


@contextlib.contextmanager
def memcached():
    """A server of our own; gives the path of its socket."""
    program = shutil.which("memcached")
    if not program:
        raise Skip("memcached is not installed; on Debian: apt-get install memcached")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "socket"
        # As root it wants to be told a user.
        command = [program, "-s", path, "-a", "0777", "-m", "256", "-t", "2", "-u", "root"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not path.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise Skip("memcached did not start")
                time.sleep(0.02)
            yield path
        finally:
            server.terminate()
            server.wait()


def steps():
    def pair(peer, keys, draw):
        def run():
            return repeated(2, "pair", library=build.native(), peer=peer, keys=keys, draw=draw, rows=ROWS, budget=100)

        return Step(f"{number(keys)} keys, {draw}, against {peer}", run)

    def remote():
        library = build.memcached()
        with memcached() as path:
            return local(
                "pair",
                library=library,
                peer="memcached",
                peer_url=path,
                keys=10_000,
                rows="get_into,set,miss",
                budget=500,
            )

    for peer in GOALS:
        for keys in (100_000, 1_000_000):
            for draw in ("zipf", "uniform"):
                yield pair(peer, keys, draw)
    yield Step("10,000 keys, zipf, against memcached", remote)


def tables(rows: list[dict]) -> str:
    text = ""
    for peer, name in NAMES.items():
        found = [row for row in rows if row["peer"] == peer]
        if found:
            text += f"Our time over that of {name}:\n\n" + pairs(found, goal_of(peer))
    return text


def goals(rows: list[dict]):
    for peer in GOALS:
        yield from pair_goals([row for row in rows if row["peer"] == peer], goal_of(peer), NAMES[peer])


def versions():
    server = machine.output("memcached", "-V").removeprefix("memcached ")
    return machine.packages("tbb", "glib-2.0", "libmemcached") | ({"memcached": server} if server else {})
