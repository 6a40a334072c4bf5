"""What is done to the server, the connections and the processes, and in which order.

A round goes through all kinds in an order that the seed chooses, once at least, and again until its time is
over. Each fault is begun and ended by one function that returns when it is over, and is told to the history
with its times on the monotonic clock.
"""

import contextlib
import dataclasses
import random
import signal
import time

import network
from route import Route
from server_harness.nodes import wait_for
from server_harness.resp import Client, ReplyError
from servers import ServerError

FIND_SECONDS = 60.0
"""Until the nodes have found out about each other, on however busy a machine."""
FORK_ROOM = 1.6
"""Seconds that a forked child works, and a little."""


@dataclasses.dataclass
class Scene:
    """What faults act on."""

    server: object
    workers: list
    history: object
    dice: random.Random
    next_child: int = 16

    def worker(self):
        return self.dice.choice(self.workers)

    def masters(self):
        """A connection to each master, in turn."""
        with contextlib.closing(Route(self.server.data_ports)) as route:
            ports = route.masters()
        for port in ports:
            with Client(port) as client:
                yield client


def server_stopped(scene, seconds):
    """The server's process stands still: connections stay open, nothing is answered."""
    scene.server.pause()
    time.sleep(seconds)
    scene.server.resume()


def server_killed(scene, seconds):
    """The server dies with all its data, and comes back empty on the same port."""
    begin = time.monotonic_ns()
    scene.server.kill()
    time.sleep(seconds)
    scene.server.restart()
    scene.history.wiped(begin, time.monotonic_ns())


def failed_over(scene, _seconds):
    """A replica takes its master's place, as an administrator asks."""
    with _losing(scene):
        try:
            scene.server.failover()
        except ServerError:  # Sentinels give one up now and then
            scene.server.failover()


def master_stopped(scene, seconds):
    """A master's process stands still, for long enough now and then that a replica takes its place; then there are
    two for a moment."""
    with _losing(scene) as route:
        scene.server.pause(str(route.masters()[0]))
        time.sleep(2 * seconds)
        scene.server.resume()


def master_killed(scene, _seconds):
    """A master dies, a replica takes its place, and the old one comes back empty, as its replica."""
    with _losing(scene) as route:
        before = route.masters()
        # By its port: Sentinels may not have heard yet who it is.
        scene.server.kill(str(before[0]))
        wait_for("a replica is master", lambda: set(route.masters()) - set(before), FIND_SECONDS)
        scene.server.restart()


@contextlib.contextmanager
def _losing(scene):
    """What was acknowledged just before or in this time may be lost: a replica had not heard of it, or an old master
    took it that did not know yet that it was none any more."""
    begin = time.monotonic_ns()
    with contextlib.closing(Route(scene.server.data_ports)) as route:
        before = len(route.masters())
        yield route
        whole = {"master": before, "slave": route.nodes - before}
        wait_for("all others are replicas", lambda: route.roles() == whole, FIND_SECONDS)
    scene.history.failed_over(begin, time.monotonic_ns())


def flushed(scene, _seconds):
    """FLUSHALL."""
    begin = time.monotonic_ns()
    for client in scene.masters():
        client.call("FLUSHALL")
    scene.history.wiped(begin, time.monotonic_ns())


def clients_killed(scene, _seconds):
    """CLIENT KILL of some of the connections, at random."""
    for client in scene.masters():
        lines = client.call("CLIENT", "LIST").decode().split("\n")
        ids = [word[3:] for line in lines for word in line.split(" ")[:1] if word.startswith("id=")]
        for one in scene.dice.sample(ids, k=max(1, len(ids) // 2)):
            if int(one) != client.call("CLIENT", "ID"):
                try:
                    client.call("CLIENT", "KILL", "ID", one)
                except ReplyError as error:  # it has gone meanwhile
                    if "No such client" not in str(error):
                        raise


def out_of_memory(scene, seconds):
    """The server refuses what would need memory: reads and deletes go on, sets do not."""
    for client in scene.masters():
        client.call("CONFIG", "SET", "maxmemory", "1")
    time.sleep(seconds)
    for client in scene.masters():
        client.call("CONFIG", "SET", "maxmemory", "0")


def _connection(name):
    def fault(scene, seconds):
        worker = scene.worker()
        worker.mode(name)
        time.sleep(seconds)
        if scene.dice.random() < 0.5:
            worker.mode("reset")  # what was held back never arrives
        worker.mode("pass")

    return fault


def _packets(*ways):
    def fault(scene, seconds):
        worker = scene.worker()
        worker.host.lose(*ways)
        time.sleep(seconds)
        worker.host.lose()

    return fault


def connections_reset(scene, _seconds):
    """All connections of one worker are reset."""
    scene.worker().mode("reset")


def worker_stopped(scene, seconds):
    """SIGSTOP: a worker's process stands still while the others write."""
    worker = scene.worker()
    worker.send(signal.SIGSTOP)
    time.sleep(seconds)
    worker.send(signal.SIGCONT)


def forked(scene, _seconds):
    """A worker forks amid its threads, and the child works on."""
    worker = scene.worker()
    worker.ask(f"fork {scene.next_child}", "forked")
    scene.next_child += 1
    time.sleep(FORK_ROOM)


# Whether it leaves processes without the server, so that they have to find back.
ANYWHERE = {
    "flushed": (flushed, False),
    "out of memory": (out_of_memory, True),
    "clients killed": (clients_killed, False),
    "worker stopped": (worker_stopped, False),
    "forked": (forked, False),
}
SINGLE = ANYWHERE | {
    "server stopped": (server_stopped, True),
    "server killed": (server_killed, True),
    "black hole": (_connection("hole"), True),
    "mute server": (_connection("mute"), True),
    "deaf server": (_connection("deaf"), True),
    "trickle": (_connection("trickle"), True),
    "connections reset": (connections_reset, False),
}
# What the machine must allow (network.py).
HOSTS = {
    "packets lost": (_packets("to", "from"), True),
    "requests lost": (_packets("to"), True),
    "replies lost": (_packets("from"), True),
}
REPLICATED = ANYWHERE | {
    "failed over": (failed_over, True),
    "master stopped": (master_stopped, True),
    "master killed": (master_killed, True),
}
FAULTS = {"single": SINGLE | HOSTS, "cluster": REPLICATED, "sentinel": REPLICATED}


def kinds(topology):
    """The names of those that can happen here."""
    return [name for name in FAULTS[topology] if name not in HOSTS or network.allowed()]


def schedule(topology, dice):
    """Names and seconds of the faults, and the seconds of calm after each; without an end."""
    names = kinds(topology)
    while True:
        for name in dice.sample(names, k=len(names)):
            yield name, dice.uniform(0.05, 1.5), dice.uniform(0.1, 0.6)


def happen(scene, name, seconds):
    """Lets one fault happen."""
    act, outage = FAULTS[scene.server.topology][name]
    begin = time.monotonic_ns()
    act(scene, seconds)
    scene.history.fault(name, begin, time.monotonic_ns(), outage)
