"""Network namespaces: a worker on a host of its own, whose packets can be lost on either way.

Unlike bytes that a proxy holds back, lost packets are not acknowledged, and are sent again after ever longer waits. A
way is cut by giving the neighbour a hardware address that nobody has, so that the kernel needs no packet filter.
Only root may do that, with iproute2; `allowed` says whether it works here.
"""

import functools
import itertools
import os
import shutil
import subprocess

NOBODY = "02:00:00:00:00:99"
_numbers = itertools.count(1)


def _ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@functools.cache
def allowed():
    """Whether this process can make hosts."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    try:
        Host().end()
    except subprocess.CalledProcessError:
        return False
    return True


class Host:
    """A namespace with one link to this one. `here` is this side's address."""

    def __init__(self):
        number = next(_numbers)
        self._name = f"lc-chaos-{os.getpid()}-{number}"
        self._near = f"lc{os.getpid() % 100_000:x}n{number}"
        far = f"{self._near}f"
        net = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
        self.here, self._there = (f"{net}.{4 * (number % 64) + side}" for side in (1, 2))
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._near, "type", "veth", "peer", "name", far, "netns", self._name)
            _ip("addr", "add", f"{self.here}/30", "dev", self._near)
            _ip("link", "set", self._near, "up")
            self._inside("addr", "add", f"{self._there}/30", "dev", far)
            self._inside("link", "set", far, "up")
            self._inside("link", "set", "lo", "up")
            # (whose table, the neighbour's address, its hardware, the way to it)
            self._ways = {
                "to": (self._inside, self.here, _hardware(_ip("link", "show", self._near)), far),
                "from": (_ip, self._there, _hardware(self._inside("link", "show", far)), self._near),
            }
            self.lose()
        except BaseException:
            self.end()
            raise

    def command(self, words):
        """`words` as a command that runs there."""
        return ["ip", "netns", "exec", self._name, *words]

    def lose(self, *ways):
        """From now on what it sends `to` this side, or gets `from` it, is lost; and nothing else."""
        for name, (tell, address, hardware, device) in self._ways.items():
            reached = NOBODY if name in ways else hardware
            tell("neigh", "replace", address, "lladdr", reached, "dev", device, "nud", "permanent")

    def end(self):
        """Takes it away, with its link."""
        subprocess.run(["ip", "link", "del", self._near], capture_output=True)
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True)

    def _inside(self, *words):
        return _ip("-netns", self._name, *words)


def _hardware(shown):
    return shown.split("link/ether ")[1].split()[0]
