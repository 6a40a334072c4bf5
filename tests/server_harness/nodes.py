"""One server process: a free port, start, readiness, signals, end.

Processes are started by the harness's only thread and ask the kernel to be killed with it
(PR_SET_PDEATHSIG), so that none outlives it even if it is killed with SIGKILL.

Ports are probed in 12000..21999: with the 10,000 that a Cluster's bus adds they stay below the
range from which kernels take outgoing ports (32768 and up). Probing races with other programs;
a server that lost the race ends by itself or is a stranger (its process id tells), and the
topology is then started anew on other ports.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time

from . import resp

START_SECONDS = 15.0
STEP = 0.01

if sys.platform == "linux":
    _PRCTL = ctypes.CDLL(None, use_errno=True).prctl
else:
    _PRCTL = None


class PortClash(Exception):
    """Another program has the port."""


class StartFailed(Exception):
    """The server did not come up; the text ends with its log."""


def free_ports(count, bus=False):
    """`count` ports that are free now; with `bus`, the ports 10,000 above are free as well."""
    ports = []
    for port in random.SystemRandom().sample(range(12000, 22000), 10000):
        if all(_is_free(p) for p in ([port, port + 10000] if bus else [port])):
            ports.append(port)
            if len(ports) == count:
                return ports
    raise PortClash("no free ports on loopback")


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for(what, condition, seconds=START_SECONDS):
    """Asks `condition` until it is true; a connection error counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, resp.ReplyError):
            pass
        if time.monotonic() > deadline:
            raise StartFailed(f"{what}: not within {seconds:g} s")
        time.sleep(STEP)


def spawn(command, log, env=None, cwd=None):
    """Starts a process that dies with this one; its output goes to the file `log`."""
    parent = os.getpid()

    def die_with_parent():
        if _PRCTL is not None:
            _PRCTL(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


class Node:
    """A server under the harness's control. `lines` are those of its configuration file."""

    def __init__(self, binary, folder, name, port, lines, socket_path=None, login=(None, None), sentinel=False):
        self.name, self.port, self.sentinel = name, port, sentinel
        self.socket_path, self.login = socket_path, login
        self._binary = binary
        self._folder = folder / name
        self._folder.mkdir()
        self._config = self._folder / "server.conf"
        self._config.write_text("\n".join(self._always() + lines) + "\n")
        self.log = self._folder / "log"
        self.process = None
        self.paused = False

    def _always(self):
        lines = [f"port {self.port or 0}", "bind 127.0.0.1", f"dir {self._folder}", "protected-mode no"]
        if not self.sentinel:
            lines += ['save ""', "appendonly no"]
            if self._binary.at_least(7):
                lines += ["enable-debug-command local"]
        return lines

    @property
    def pid(self):
        """The process id while it runs, else None."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def client(self):
        """A new connection with the harness's own login."""
        user, password = self.login
        return resp.Client(self.port, self.socket_path, user, password)

    def start(self):
        """Starts the process and waits until it answers."""
        command = [self._binary.path, str(self._config)] + (["--sentinel"] if self.sentinel else [])
        self.process = spawn(command, self.log, self._binary.environment(), self._folder)
        self.paused = False
        wait_for(f"{self.name} on port {self.port}", self._answers)

    def _answers(self):
        if self.process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
            if "Address already in use" in tail:
                raise PortClash(str(self.port))
            raise StartFailed(f"{self.name} ended with {self.process.returncode}:\n{tail}")
        try:
            with self.client() as client:
                if int(client.info("server")["process_id"]) != self.process.pid:
                    raise PortClash(str(self.port))
        except resp.ReplyError as error:
            # A stranger's server: ours knows the login.
            if str(error).startswith(("NOAUTH", "WRONGPASS")):
                raise PortClash(str(self.port)) from None
            raise
        return True

    def signal(self, number):
        """Sends a signal to a running process."""
        if self.pid:
            self.process.send_signal(number)

    def pause(self):
        """SIGSTOP: the kernel goes on accepting connections, nobody answers."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def kill(self):
        """SIGKILL, and waits until the process is gone."""
        if self.process:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def end(self):
        """SIGTERM (a stopped process is woken for it), and SIGKILL after two seconds."""
        end_all([self.process])


def end_all(processes):
    """Ends processes politely but surely."""
    running = [p for p in processes if p and p.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 2.0
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
