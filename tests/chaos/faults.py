"""What is done to the server, the connections and the processes, and in which order.

A round goes through all kinds in an order that the seed chooses, once at least, and again until its time is
over. Each fault is begun and ended by one function that returns when it is over, and is told to the history
with its times on the monotonic clock.
"""

import dataclasses
import random
import signal
import time

from server_harness.resp import ReplyError

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


def flushed(scene, _seconds):
    """FLUSHALL."""
    begin = time.monotonic_ns()
    scene.server.call("FLUSHALL")
    scene.history.wiped(begin, time.monotonic_ns())


def clients_killed(scene, _seconds):
    """CLIENT KILL of some of the connections, at random."""
    with scene.server.client() as client:
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
    scene.server.call("CONFIG", "SET", "maxmemory", "1")
    time.sleep(seconds)
    scene.server.call("CONFIG", "SET", "maxmemory", "0")


def _connection(name):
    def fault(scene, seconds):
        worker = scene.worker()
        worker.mode(name)
        time.sleep(seconds)
        if scene.dice.random() < 0.5:
            worker.mode("reset")  # what was held back never arrives
        worker.mode("pass")

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
FAULTS = {
    "server stopped": (server_stopped, True),
    "server killed": (server_killed, True),
    "flushed": (flushed, False),
    "out of memory": (out_of_memory, True),
    "clients killed": (clients_killed, False),
    "black hole": (_connection("hole"), True),
    "mute server": (_connection("mute"), True),
    "deaf server": (_connection("deaf"), True),
    "trickle": (_connection("trickle"), True),
    "connections reset": (connections_reset, False),
    "worker stopped": (worker_stopped, False),
    "forked": (forked, False),
}


def schedule(dice):
    """Names and seconds of the faults, and the seconds of calm after each; without an end."""
    while True:
        for name in dice.sample(list(FAULTS), k=len(FAULTS)):
            yield name, dice.uniform(0.05, 1.5), dice.uniform(0.1, 0.6)


def happen(scene, name, seconds):
    """Lets one fault happen."""
    act, outage = FAULTS[name]
    begin = time.monotonic_ns()
    act(scene, seconds)
    scene.history.fault(name, begin, time.monotonic_ns(), outage)
