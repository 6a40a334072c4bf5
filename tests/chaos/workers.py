"""Builds, starts and tells the worker processes; and the plain client, which writes as redis-cli would."""

import contextlib
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import network
import record
from route import Route
from server_harness.resp import ReplyError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPEN_SECONDS = 60.0
ANSWER_SECONDS = 90.0
STRICT = ["-O2", "-g", "-Wall", "-Wextra", "-Werror"]
PLAIN = 250
"""The plain client's number among the processes."""


class Failed(Exception):
    """A worker did not do what it was told."""


def build(library, folder):
    """Builds the workers in C and C++; returns the commands of all three."""
    shared = Path(library).resolve() / "liblighter_cache.so"
    dynamic = subprocess.run(["readelf", "-d", shared], capture_output=True, text=True, check=True).stdout
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("liblighter_cache.so", re.search(r"soname: \[(.*)\]", dynamic).group(1)):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(shared)
    link = ["-L", folder, "-llighter_cache", f"-Wl,-rpath,{folder}", "-lpthread"]
    include = ["-I", ROOT / "include", "-I", ROOT / "bindings/cpp/include"]
    for compiler, source, standard in (("cc", "worker.c", "-std=c11"), ("c++", "worker.cpp", "-std=c++17")):
        target = folder / source.replace(".", "_")
        subprocess.run([compiler, standard, *STRICT, *include, HERE / source, "-o", target, *link], check=True)
    return {"c": [folder / "worker_c"], "cpp": [folder / "worker_cpp"], "python": [sys.executable, HERE / "worker.py"]}


class Process:
    """A child that obeys lines and answers each with one."""

    def __init__(self, command, **options):
        words = [str(word) for word in command]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.pid = self._process.pid
        self._name = words[0]

    def answer(self, seconds=ANSWER_SECONDS):
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise Failed(f"{self._name} gave no answer" if not ready else f"{self._name} has ended")
        return line

    def tell(self, line):
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def ask(self, line, expected):
        self.tell(line)
        self.expect(expected)

    def expect(self, expected, seconds=ANSWER_SECONDS):
        if (answer := self.answer(seconds)) != expected:
            raise Failed(f"{self._name}: {answer}")

    def send(self, number):
        self._process.send_signal(number)

    def end(self):
        """Ends it, at once where it does not end with its standard input; returns its exit status."""
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._process.stdout.close()


class Worker(Process):
    """A worker; and, where the server is a single one, the proxy through which it reaches it, and its `host` where
    the machine allows that. (The nodes of a Cluster and Sentinels name the addresses that they are to be reached at
    themselves.)"""

    def __init__(self, number, language, command, server, options, threads, keys, seed, folder):
        self.number, self.language = number, language
        self.proxy = self.host = None
        try:
            url = server.url
            if server.topology == "single":
                self.host = network.Host() if network.allowed() else None
                address = self.host.here if self.host else "127.0.0.1"
                self.proxy = Process([sys.executable, HERE / "proxy.py", server.port, address])
                url = f"redis://{address}:{int(self.proxy.answer(OPEN_SECONDS))}"
            # In a group of its own, with the children that it forks.
            words = [*command, f"hybrid+{url}?{options}", number, threads, keys, seed, folder]
            super().__init__(self.host.command(words) if self.host else words, start_new_session=True)
        except BaseException:
            self._end_way()
            raise

    def _end_way(self):
        for part in (self.proxy, self.host):
            if part:
                part.end()

    def opened(self):
        self.expect("open", OPEN_SECONDS)

    def mode(self, name):
        self.proxy.ask(name, "ok")

    def end(self):
        self.send(signal.SIGCONT)
        status = super().end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._end_way()
        return status


class PlainClient(threading.Thread):
    """Writes and deletes by plain commands, and records that as a worker does."""

    def __init__(self, ports, prefix, keys, seed):
        super().__init__(daemon=True)
        self._route, self._prefix, self._keys = Route(ports), prefix, keys
        self._dice = random.Random(f"{seed}.plain")
        self._over = threading.Event()
        self.records = []

    def run(self):
        version = PLAIN << 40
        while not self._over.wait(self._dice.uniform(0.001, 0.01)):
            version += 1
            key, deletes = self._dice.randrange(self._keys), self._dice.random() < 0.3
            name = f"{self._prefix}:k{key}"
            begin, flags = time.monotonic_ns(), 0
            try:
                if deletes:
                    self._route.call("DEL", name)
                else:
                    self._route.call("SET", name, record.make_value(version, key))
            except (OSError, ReplyError):
                flags = record.UNCONFIRMED
            operation = record.DELETE if deletes else record.SET
            written = 0 if deletes else version
            self.records.append(record.Record(begin, time.monotonic_ns(), written, key, 0, operation, 0, flags))
        self._route.close()

    def end(self):
        self._over.set()
        self.join()
