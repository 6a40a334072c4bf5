"""The topologies by name, and how one is started. `replicated` has Cluster and Sentinel."""

import json
import sys
from pathlib import Path

from . import certificates
from .nodes import PortClash, StartFailed, free_ports, spawn, wait_for
from .replicated import Cluster, Sentinel
from .resp import Client
from .topology import Topology, login


class Password(Topology):
    """requirepass; the password has characters that a URL must escape."""

    PASSWORD = "p@ss:w/rd%21"

    def start(self):
        port = free_ports(1)[0]
        self._add("server", port, [f'requirepass "{self.PASSWORD}"'], login=(None, self.PASSWORD)).start()

    def urls(self):
        port = self.nodes[0].port
        return super().urls() | {
            "without_password": f"redis://127.0.0.1:{port}",
            "wrong_password": f"redis://:wrong@127.0.0.1:{port}",
        }


class Acl(Topology):
    """Users with limited rights: `app` (all that a cache with prefix `app` needs), `readonly`; the
    default user is off, and `admin` is the harness's own."""

    USER, PASSWORD = "app", "s3cret/app"
    RULES = {
        "app": (
            PASSWORD,
            "~app:* resetchannels &app:* &__lc:* -@all +@read +@write +@connection +@pubsub +@scripting"
            " -@dangerous +info +role +client|kill",
        ),
        "readonly": ("s3cret/ro", "~app:* resetchannels -@all +@read +@connection"),
        "admin": ("s3cret/admin", "~* &* +@all"),
    }

    def start(self):
        lines = [f"user {name} on >{password} {rules}" for name, (password, rules) in self.RULES.items()]
        admin = ("admin", self.RULES["admin"][0])
        self._add("server", free_ports(1)[0], [*lines, "user default off"], login=admin).start()

    def urls(self):
        at = f"127.0.0.1:{self.nodes[0].port}"
        return super().urls() | {
            "readonly": f"redis://{login('readonly', self.RULES['readonly'][0])}{at}",
            "wrong_password": f"redis://app:wrong@{at}",
            "no_login": f"redis://{at}",
        }

    def more(self):
        return {"users": {name: password for name, (password, _) in self.RULES.items()}, "prefix": "app"}


class Unix(Topology):
    """A unix socket and no TCP port."""

    def start(self):
        path = str(self.folder / "s")
        self._add("server", None, [f"unixsocket {path}", "unixsocketperm 700"], socket_path=path).start()

    def urls(self):
        return {"main": f"redis+unix://{self.nodes[0].socket_path}"}


class Tls(Topology):
    """A good certificate (`main`), the three that must be refused, and one port that asks for the
    client's. Native TLS where the server has it, else behind `tls_proxy`."""

    FRONTS = {
        "main": "server",
        "wrong_host": "wronghost",
        "expired": "expired",
        "untrusted": "untrusted",
        "mutual": "server",
    }

    def start(self):
        self.certs = certificates.make(self.folder / "certs")
        ports = free_ports(2 * len(self.FRONTS))
        self.tls_ports = dict(zip(self.FRONTS, ports))
        plain = iter(ports[len(self.FRONTS) :])
        fronts = [self._front(name, certificate) for name, certificate in self.FRONTS.items()]
        if self.binary.tls:
            for front in fronts:
                self._add(front["name"], next(plain), self._native(front)).start()
        else:
            server = self._add("server", next(plain), [])
            server.start()
            program = str(Path(__file__).with_name("tls_proxy.py"))
            command = [sys.executable, program, str(server.port), json.dumps(fronts)]
            self.extras.append(spawn(command, self.folder / "proxy.log"))
        wait_for("TLS on " + str(self.tls_ports["main"]), self._secured)

    def _front(self, name, certificate):
        return {
            "name": name,
            "port": self.tls_ports[name],
            "certificate": self.certs[certificate],
            "key": self.certs[f"{certificate}_key"],
            "client_ca": self.certs["ca"] if name == "mutual" else None,
        }

    def _native(self, front):
        return [
            f"tls-port {front['port']}",
            f"tls-cert-file {front['certificate']}",
            f"tls-key-file {front['key']}",
            f"tls-ca-cert-file {self.certs['ca']}",
            f"tls-auth-clients {'yes' if front['client_ca'] else 'no'}",
        ]

    def _secured(self):
        for process in self.extras:
            if process.poll() is not None:
                raise PortClash((self.folder / "proxy.log").read_text())
        with Client(self.tls_ports["main"], ca=self.certs["ca"]) as client:
            return client.call("PING") == b"PONG"

    def urls(self):
        return {name: f"rediss://localhost:{port}" for name, port in self.tls_ports.items()} | {
            "by_address": f"rediss://127.0.0.1:{self.tls_ports['main']}"
        }

    def more(self):
        port = self.tls_ports["main"]
        return {"certs": self.certs, "port": port, "tls_ports": self.tls_ports, "native_tls": self.binary.tls}


BY_NAME = {
    "single": Topology,
    "password": Password,
    "acl": Acl,
    "unix": Unix,
    "tls": Tls,
    "cluster": Cluster,
    "sentinel": Sentinel,
}


def start(name, binary, make_folder):
    """Starts the topology `name`, on other ports where another program was faster."""
    for attempt in range(5):
        topology = BY_NAME[name](binary, make_folder())
        try:
            topology.start()
            return topology
        except PortClash:
            topology.end()
            if attempt == 4:
                raise StartFailed("ports were taken by other programs five times") from None
        except BaseException:
            topology.end()
            raise
    raise AssertionError("the loop returns or raises")
