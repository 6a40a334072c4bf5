"""One topology: its servers, what its tests are told, and the verbs that drive it.

`start` brings it up, `describe` is the JSON line of `tests/servers.py run`, and `kill`, `restart`,
`pause`, `resume`, `failover` take a target: nothing (the primary: the only server, the Cluster's
first master, the Sentinels' present master), `all`, a node's name or its port.
"""

from urllib.parse import quote

from .nodes import Node, end_all, free_ports


def login(user, password):
    """`user:password@`, percent-encoded, or nothing."""
    return f"{quote(user or '', safe='')}:{quote(password, safe='')}@" if password else ""


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
            "data_ports": [node.port for node in self.nodes if node.port and not node.sentinel],
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
