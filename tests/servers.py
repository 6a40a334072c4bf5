#!/usr/bin/env python3
"""Real servers for tests in every language: Redis 7 and Valkey 9, in seven topologies.

    python3 tests/servers.py fetch [redis] [valkey]
        Puts the server programs into `.deps/` (or finds them) and says what it does on stderr.

    python3 tests/servers.py run TOPOLOGY [--server redis|valkey]
        TOPOLOGY: single, password, acl, unix, tls, cluster (3+3), sentinel (1+1+3).
        Prints one JSON line when everything is ready: "url", "urls", "host", "port", "ports",
        "pids", "nodes", "user", "password", "users", "certs", "socket", "service", "dir",
        "server", "version". Then it reads verbs from stdin, one a line, and answers each with one
        JSON line, {"ok": true, ...the description as it is now} or {"ok": false, "error": "..."}:

            kill [NODE]      SIGKILL            pause [NODE]     SIGSTOP
            restart [NODE]   on the same port   resume [NODE]    SIGCONT
            failover [NODE]  cluster, sentinel  status           describes
            stop             ends everything    call [..JSON..]  a command to the primary: "reply"

        NODE is a name, a port or `all`; without it the primary is meant (the only server, a
        master of the Cluster, the Sentinels' present master), with `restart` and `resume` whatever
        is down or paused. Everything ends when stdin closes, at SIGTERM, or when the parent is
        gone; the servers end with this process however it ends.

    python3 tests/servers.py exec TOPOLOGY [--server redis|valkey] COMMAND...
        Runs COMMAND with LC_TEST_URL_TOPOLOGY in its environment and exits as it does.

LC_TEST_REDIS=6.2 (or 8.2) and LC_TEST_VALKEY=8.1 in the environment put these versions in the place of those
that are found first.

As a module, for Python tests (it drives the same command):

    import servers
    with servers.start("single", server="redis") as s:
        s.url, s.port, s.pids, s.call("GET", "app:k")
        s.kill(); s.restart(); s.pause(); s.resume()
"""

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from server_harness import binaries, topologies
from server_harness.nodes import StartFailed
from server_harness.resp import Client, ReplyError

TOPOLOGIES = tuple(topologies.BY_NAME)
VERBS = ("kill", "restart", "pause", "resume", "failover")
START_SECONDS = 120.0  # a first fetch may be part of it
VERB_SECONDS = 60.0


class ServerError(Exception):
    """The harness could not do what was asked."""


def fetch(*names):
    """The programs of `names` (default: all), fetched if need be."""
    return [binaries.fetch(name) for name in names or binaries.NAMES]


def start(topology, server="redis"):
    """Starts a topology and returns it running: a context manager that ends it."""
    return Running(topology, server)


class Running:
    """A topology in a process of its own. The fields of its description are attributes."""

    def __init__(self, topology, server):
        command = [sys.executable, str(Path(__file__).resolve()), "run", topology, "--server", server]
        self.topology = topology
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._buffer = b""
        self.info = {}
        try:
            self.info = self._answer(START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def __getattr__(self, name):
        try:
            return self.__dict__["info"][name]
        except KeyError:
            raise AttributeError(name) from None

    def kill(self, node=None):
        """SIGKILL to `node` (default: the primary)."""
        return self._verb("kill", node)

    def restart(self, node=None):
        """Starts what is down, on the same ports, without its data."""
        return self._verb("restart", node)

    def pause(self, node=None):
        """SIGSTOP."""
        return self._verb("pause", node)

    def resume(self, node=None):
        """SIGCONT."""
        return self._verb("resume", node)

    def failover(self, node=None):
        """Hands the master's part to a replica and waits until it has it."""
        return self._verb("failover", node)

    def client(self, node=None):
        """A plain RESP connection to a node (default: the primary) with the harness's rights."""
        self._verb("status", None)
        port = next((n["port"] for n in self.nodes if n["name"] == node), None) if node else self.info["primary_port"]
        return Client(port, self.socket, **self.admin)

    def call(self, *arguments):
        """One command to the primary; the reply as bytes, int, None or list."""
        with self.client() as client:
            return client.call(*arguments)

    def stop(self):
        """Ends everything; may be called again."""
        process = self._process
        if process.poll() is None:
            try:
                process.stdin.close()
            except OSError:
                pass
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()  # the servers go with it
                process.wait()
        process.stdout.close()
        if not process.stdin.closed:
            process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _verb(self, verb, node):
        line = f"{verb} {node}\n" if node else f"{verb}\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        self.info = self._answer(VERB_SECONDS)
        return self

    def _answer(self, seconds):
        deadline = time.monotonic() + seconds
        stream = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(stream, 65536) if ready else b""
            if not data:
                raise ServerError("the server harness gave no answer" if not ready else "the server harness ended")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise ServerError(answer["error"])
        return answer


def _run(topology_name, server):
    """The command: starts, prints, obeys, ends."""
    parent = os.getppid()
    folders = []

    def make_folder():
        # Short, since a unix socket's path has room for 107 bytes.
        folders.append(Path(tempfile.mkdtemp(prefix="lc-")))
        return folders[-1]

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    topology = None
    try:
        topology = topologies.start(topology_name, binaries.fetch(server), make_folder)
        _print({"ok": True} | _describe(topology))
        for line in _lines(parent):
            verb, _, rest = line.partition(" ")
            if verb == "stop":
                break
            _print(_obey(topology, verb, rest.strip()))
    except (binaries.Unavailable, StartFailed) as error:
        _print({"ok": False, "error": str(error)})
        binaries.say(str(error))
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if topology:
            topology.end()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _describe(topology):
    return topology.describe() | {"primary_port": topology.primary().port}


def _obey(topology, verb, rest):
    try:
        extra = {}
        if verb in VERBS:
            getattr(topology, verb)(rest or None)
        elif verb == "call":
            with topology.primary().client() as client:
                extra["reply"] = _plain(client.call(*json.loads(rest)))
        elif verb != "status":
            raise ValueError(f"no verb {verb!r}")
        return {"ok": True} | extra | _describe(topology)
    except (ValueError, OSError, StartFailed, ReplyError) as error:
        return {"ok": False, "error": f"{verb}: {error}"}


def _plain(reply):
    if isinstance(reply, bytes):
        return reply.decode("latin-1")
    if isinstance(reply, list):
        return [_plain(item) for item in reply]
    return str(reply) if isinstance(reply, ReplyError) else reply


def _lines(parent):
    """Lines of stdin until it ends or the parent has gone."""
    pending = b""
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], 0.5)
        if not ready:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield line.decode().strip()


def _print(answer):
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        sys.exit(1)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Real Redis and Valkey servers for the tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="put the server programs into .deps/")
    fetching.add_argument("names", nargs="*", metavar="redis|valkey")
    running = commands.add_parser("run", help="start a topology, print it as JSON, end it with stdin")
    executing = commands.add_parser("exec", help="run a command beside a topology")
    for command in (running, executing):
        command.add_argument("topology", choices=TOPOLOGIES)
        command.add_argument("--server", choices=binaries.NAMES, default="redis")
    executing.add_argument("program", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.command == "exec":
        with start(arguments.topology, arguments.server) as topology:
            env = os.environ | {f"LC_TEST_URL_{arguments.topology.upper()}": topology.url}
            return subprocess.run(arguments.program, env=env).returncode
    if arguments.command == "run":
        return _run(arguments.topology, arguments.server)
    for name in arguments.names:
        if name not in binaries.NAMES:
            parser.error(f"no server {name}; there are {', '.join(binaries.NAMES)}")
    try:
        for binary in fetch(*arguments.names):
            tls = "with TLS" if binary.tls else "without TLS (a proxy serves it)"
            binaries.say(f"{binary.server} {binary.version} {tls}: {binary.path}")
    except binaries.Unavailable as error:
        binaries.say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
