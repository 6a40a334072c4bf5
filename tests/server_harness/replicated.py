"""The topologies in which a replica takes over from its master: Cluster and Sentinel."""

import contextlib
from functools import partial

from .nodes import free_ports, wait_for
from .resp import ReplyError
from .topology import Topology


class Cluster(Topology):
    """Three masters with a replica each; a master that is gone is replaced after about 2 s."""

    MASTERS = 3

    def start(self):
        lines = ["cluster-enabled yes", "cluster-node-timeout 1000", "repl-diskless-sync-delay 0"]
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
                wait_for(f"{replica.name} replicates {master.name}", partial(_replicate, client, ids[master]))

    def settle(self):
        running = [node for node in self.nodes if node.pid and not node.paused]
        if running:
            wait_for("the cluster is whole", lambda: all(self._whole(node) for node in running), 30.0)

    def _whole(self, node):
        with node.client() as client:
            lines = client.call("CLUSTER", "INFO").decode().splitlines()
            state = dict(line.split(":", 1) for line in lines if ":" in line)
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
            self._quicken(self._add(f"sentinel{index}", port, watch, sentinel=True))
        self.settle()

    def _quicken(self, sentinel):
        """Starts a Sentinel that looks around every half second: by itself it takes 2 s to say who it
        is, and 10 s to see that an old master came back. (Servers before 7.0 can't be told.)"""
        sentinel.start()
        with sentinel.client() as client, contextlib.suppress(ReplyError):
            client.call("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)

    def _replicated(self):
        with self.nodes[1].client() as client:
            return client.info("replication").get("master_link_status") == "up"

    def _sentinels(self):
        return [node for node in self.nodes if node.sentinel and node.pid and not node.paused]

    def settle(self):
        # A master that was replaced while it was away becomes a replica a moment later, when the
        # Sentinels next ask it for INFO; nobody waits for that here.
        if self._sentinels() and self.primary().pid:
            what = "the Sentinels agree on a master that writes"
            wait_for(what, lambda: self._agree() and node_role(self.primary()) == "master", 30.0)

    def _agree(self):
        known = set()
        for sentinel in self._sentinels():
            with sentinel.client() as client:
                master = fields(client.call("SENTINEL", "MASTER", self.SERVICE))
            known.add((master["port"], master["flags"], master["num-slaves"], master["num-other-sentinels"]))
        return [view[1:] for view in known] == [("master", "1", "2")]

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
        self.settle()

    def urls(self):
        spots = [f"127.0.0.1:{node.port}" for node in self.nodes if node.sentinel]
        return {
            "main": f"redis+sentinel://{','.join(spots)}/{self.SERVICE}",
            "one_sentinel": f"redis+sentinel://{spots[0]}/{self.SERVICE}",
        }

    def more(self):
        return {"service": self.SERVICE, "sentinel_ports": [node.port for node in self.nodes if node.sentinel]}


def _replicate(client, master):
    return client.call("CLUSTER", "REPLICATE", master) == b"OK"


def node_role(node):
    """`master` or `slave`, as the node itself says."""
    with node.client() as client:
        return client.call("ROLE")[0].decode()


def fields(flat):
    """A flat list of names and values as a dict of str."""
    texts = [text.decode() for text in flat]
    return dict(zip(texts[::2], texts[1::2]))
