"""What each topology is made of: its servers, how they are joined, and what its tests are told.

A topology is started in its constructor's `start`, described by `describe` (the JSON line of
`tests/servers.py run`) and driven by `kill`, `restart`, `pause`, `resume`, `failover`. These take
a target: nothing (the primary: the only server, the Cluster's first master, the Sentinels' present
master), `all`, a node's name or its port.
"""

import json
import sys
from pathlib import Path
from urllib.parse import quote

from . import certificates
from .nodes import Node, PortClash, StartFailed, end_all, free_ports, spawn, wait_for
from .resp import Client


class Topology:
    """One plain server; the others change what they need to."""

    PASSWORD = None
    USER = None

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.nodes = []
        self.extras = []  # processes beside the servers

    # --- life

    def start(self):
        """Starts everything and returns when it is ready for the tests."""
        self._add("server", free_ports(1)[0], []).start()

    def end(self):
        """Ends all processes."""
        end_all([*self.extras, *(node.process for node in self.nodes)])

    def _add(self, name, port, lines, **options):
        node = Node(self.binary, self.folder, name, port, lines, **options)
        self.nodes.append(node)
        return node

    # --- verbs

    def primary(self):
        """The node that a verb without a target means."""
        return self.nodes[0]

    def targets(self, target):
        """The nodes that `target` names."""
        if not target:
            return [self.primary()]
        if target == "all":
            return self.nodes
        found = [node for node in self.nodes if target in (node.name, str(node.port))]
        if not found:
            raise ValueError(f"no node {target}; there are {', '.join(node.name for node in self.nodes)}")
        return found

    def kill(self, target=None):
        """SIGKILL; answers once the processes are gone."""
        for node in self.targets(target):
            node.kill()

    def restart(self, target=None):
        """Starts, on the same ports, the nodes named; without a target, those that are down, or the
        primary where none is. One that still runs is ended first. Data are not kept."""
        down = [node for node in self.nodes if not node.pid]
        for node in self.targets(target) if target or not down else down:
            node.end()
            node.start()
        self.settle()

    def pause(self, target=None):
        """SIGSTOP."""
        for node in self.targets(target):
            node.pause()

    def resume(self, target=None):
        """SIGCONT; without a target, to every node that is paused."""
        for node in self.targets(target) if target else [n for n in self.nodes if n.paused]:
            node.resume()
        self.settle()

    def failover(self, _target=None):
        """Hands the master's part to a replica."""
        raise ValueError("only cluster and sentinel have a failover")

    def settle(self):
        """Waits until the nodes that run work together again."""

    # --- description

    def login(self):
        """`user:password@` for a URL."""
        return login(self.USER, self.PASSWORD)

    def urls(self):
        """URLs by purpose; `main` is the one that a test uses if nothing else is said."""
        return {"main": f"redis://{self.login()}127.0.0.1:{self.nodes[0].port}"}

    def more(self):
        """Further fields of the description."""
        return {}

    def describe(self):
        """What tests need to know; the same fields in every topology."""
        primary = self.primary()
        urls = self.urls()
        facts = {
            "server": self.binary.server,
            "version": self.binary.version,
            "url": urls["main"],
            "urls": urls,
            "host": "127.0.0.1",
            "port": primary.port,
            "ports": [node.port for node in self.nodes if node.port],
            "pids": [node.pid for node in self.nodes if node.pid],
            "nodes": [{"name": n.name, "port": n.port, "pid": n.pid, "paused": n.paused} for n in self.nodes],
            "user": self.USER,
            "password": self.PASSWORD,
            "users": {},
            "socket": primary.socket_path,
            "service": None,
            "certs": {},
            "admin": {"user": primary.login[0], "password": primary.login[1]},
            "dir": str(self.folder),
        }
        return facts | self.more()


def login(user, password):
    """`user:password@`, percent-encoded, or nothing."""
    return f"{quote(user or '', safe='')}:{quote(password, safe='')}@" if password else ""


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
        "app": (PASSWORD, "~app:* resetchannels &app:* &__lc:* -@all +@read +@write +@connection +@pubsub +@scripting -@dangerous +info +role +client|kill"),
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

    FRONTS = {"main": "server", "wrong_host": "wronghost", "expired": "expired", "untrusted": "untrusted", "mutual": "server"}

    def start(self):
        self.certs = certificates.make(self.folder / "certs")
        self.tls_ports = dict(zip(self.FRONTS, free_ports(len(self.FRONTS))))
        plain = iter(free_ports(2 * len(self.FRONTS))[len(self.FRONTS) :])
        plain = (port for port in plain if port not in self.tls_ports.values())
        fronts = [
            {
                "name": name, "port": self.tls_ports[name], "certificate": self.certs[cert], "key": self.certs[f"{cert}_key"],
                "client_ca": self.certs["ca"] if name == "mutual" else None,
            }
            for name, cert in self.FRONTS.items()
        ]
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

    def _native(self, front):
        return [
            f"tls-port {front['port']}", f"tls-cert-file {front['certificate']}", f"tls-key-file {front['key']}",
            f"tls-ca-cert-file {self.certs['ca']}", f"tls-auth-clients {'yes' if front['client_ca'] else 'no'}",
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
        return {"certs": self.certs, "port": self.tls_ports["main"], "tls_ports": self.tls_ports, "native_tls": self.binary.tls}


class Cluster(Topology):
    """Three masters with a replica each; a master that is gone is replaced after about 2 s."""

    MASTERS = 3

    def start(self):
        lines = [
            "cluster-enabled yes", "cluster-node-timeout 1000", "cluster-config-file nodes.conf", "repl-diskless-sync-delay 0",
        ]
        for index, port in enumerate(free_ports(2 * self.MASTERS, bus=True)):
            self._add(f"node{index}", port, lines).start()
        self._join()
        self.settle()

    def _join(self):
        edges = [16384 * index // self.MASTERS for index in range(self.MASTERS + 1)]
        ids = {}
        for index, node in enumerate(self.nodes):
            with node.client() as client:
                ids[node] = client.call("CLUSTER", "MYID")
                client.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                if index < self.MASTERS:
                    client.call("CLUSTER", "ADDSLOTS", *range(edges[index], edges[index + 1]))
                if index:
                    client.call("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for replica, master in zip(self.nodes[self.MASTERS :], self.nodes):
            with replica.client() as client:
                # Until gossip has brought the master's name the server answers with an error.
                wait_for(
                    f"{replica.name} replicates {master.name}",
                    lambda: client.call("CLUSTER", "REPLICATE", ids[master]) == b"OK",
                )

    def settle(self):
        running = [node for node in self.nodes if node.pid and not node.paused]
        if running:
            wait_for("the cluster is whole", lambda: all(self._whole(node) for node in running), 30.0)

    def _whole(self, node):
        with node.client() as client:
            state = dict(line.split(":", 1) for line in client.call("CLUSTER", "INFO").decode().splitlines() if ":" in line)
            rows = [row.split() for row in client.call("CLUSTER", "NODES").decode().splitlines()]
            link = client.info("replication")
        masters = [row for row in rows if "master" in row[2] and "fail" not in row[2] and len(row) > 8]
        return (
            state["cluster_state"] == "ok"
            and state["cluster_slots_ok"] == "16384"
            and len(rows) == len(self.nodes)
            and len(masters) == self.MASTERS
            and not any("handshake" in row[2] or "noaddr" in row[2] for row in rows)
            and link.get("master_link_status", "up") == "up"
        )

    def _roles(self):
        return [(node, node_role(node)) for node in self.nodes if node.pid and not node.paused]

    def primary(self):
        return next((node for node, role in self._roles() if role == "master"), self.nodes[0])

    def _replica_of(self, master):
        for node, role in self._roles():
            if role == "slave":
                with node.client() as client:
                    if client.call("ROLE")[2] == master.port:
                        return node
        raise ValueError(f"{master.name} has no replica")

    def failover(self, target=None):
        chosen = self.targets(target)[0] if target else self._replica_of(self.primary())
        masters = [node for node, role in self._roles() if role == "master"]
        with chosen.client() as client:
            client.call("CLUSTER", "FAILOVER")
        wait_for(f"{chosen.name} is master", lambda: node_role(chosen) == "master")
        wait_for("its master stepped down", lambda: any(node_role(node) != "master" for node in masters))
        self.settle()

    def urls(self):
        spots = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        first = f"127.0.0.1:{self.nodes[0].port}"
        return {"main": f"redis+cluster://{spots}", "list": f"redis://{spots}", "one_seed": f"redis+cluster://{first}"}


class Sentinel(Topology):
    """A master, a replica and three Sentinels that watch them as the service `lc`; a master that is
    gone is replaced after about 2 s."""

    SERVICE = "lc"

    def start(self):
        ports = free_ports(5)
        self._add("data0", ports[0], ["repl-diskless-sync-delay 0"]).start()
        self._add("data1", ports[1], ["repl-diskless-sync-delay 0", f"replicaof 127.0.0.1 {ports[0]}"]).start()
        wait_for("replication", self._replicated)
        watch = [
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {ports[0]} 2",
            f"sentinel down-after-milliseconds {self.SERVICE} 500",
            f"sentinel failover-timeout {self.SERVICE} 3000",
            f"sentinel parallel-syncs {self.SERVICE} 1",
        ]
        for index, port in enumerate(ports[2:]):
            self._add(f"sentinel{index}", port, watch, sentinel=True).start()
        self.settle()

    def _replicated(self):
        with self.nodes[1].client() as client:
            return client.info("replication").get("master_link_status") == "up"

    def _sentinels(self):
        return [node for node in self.nodes if node.sentinel and node.pid and not node.paused]

    def settle(self):
        data = [node for node in self.nodes[:2] if node.pid and not node.paused]
        if len(data) == 2 and self._sentinels():
            wait_for("the Sentinels agree on a master with a replica", lambda: self._agree() and self._linked(data), 30.0)

    def _agree(self):
        known = set()
        for sentinel in self._sentinels():
            with sentinel.client() as client:
                master = fields(client.call("SENTINEL", "MASTER", self.SERVICE))
            known.add((master["port"], master["flags"], master["num-slaves"], master["num-other-sentinels"]))
        return [view[1:] for view in known] == [("master", "1", "2")]

    def _linked(self, data):
        # The servers are asked themselves: what a Sentinel knows of a replica is up to 10 s old.
        port = str(self._master_port())
        for node in data:
            with node.client() as client:
                link = client.info("replication")
            if str(node.port) == port:
                if link["role"] != "master":
                    return False
            elif link.get("master_port") != port or link["master_link_status"] != "up":
                return False
        return True

    def _master_port(self):
        for sentinel in self._sentinels():
            with sentinel.client() as client:
                return int(client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE)[1])
        return self.nodes[0].port

    def primary(self):
        port = self._master_port()
        return next(node for node in self.nodes if node.port == port)

    def failover(self, _target=None):
        before = self._master_port()

        def asked():
            with self._sentinels()[0].client() as client:
                return client.call("SENTINEL", "FAILOVER", self.SERVICE) == b"OK"

        wait_for("the Sentinels begin a failover", asked)
        wait_for("another master", lambda: self._master_port() != before)
        wait_for("it writes", lambda: node_role(self.primary()) == "master")
        # The old master follows up to 10 s later, when the Sentinels next look at it.
        wait_for("the Sentinels agree", self._agree)

    def urls(self):
        spots = [f"127.0.0.1:{node.port}" for node in self.nodes if node.sentinel]
        return {
            "main": f"redis+sentinel://{','.join(spots)}/{self.SERVICE}",
            "one_sentinel": f"redis+sentinel://{spots[0]}/{self.SERVICE}",
        }

    def more(self):
        return {"service": self.SERVICE, "sentinel_ports": [node.port for node in self.nodes if node.sentinel]}


def node_role(node):
    """`master` or `slave`, as the node itself says."""
    with node.client() as client:
        return client.call("ROLE")[0].decode()


def fields(flat):
    """A flat list of names and values as a dict of str."""
    texts = [text.decode() for text in flat]
    return dict(zip(texts[::2], texts[1::2]))


BY_NAME = {
    "single": Topology, "password": Password, "acl": Acl, "unix": Unix, "tls": Tls, "cluster": Cluster, "sentinel": Sentinel,
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
