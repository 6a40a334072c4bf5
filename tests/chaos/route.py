"""A plain client's way to whichever node is the master of a key: as redis-cli goes, with no cache in between."""

import collections

from server_harness.resp import Client, ReplyError


class Route:
    """Connections to the nodes at `ports`, one of which is asked first and sends on to others (MOVED).

    After an error nothing of it is used again, so that the next call finds out anew who is the master."""

    def __init__(self, ports, timeout=1.0):
        self._ports, self._timeout = list(ports), timeout
        self._clients = {}
        self._first = None

    def call(self, *command):
        """One command to the master of its key; its reply, or OSError or ReplyError."""
        try:
            self._first = self._first or self._a_master()
            try:
                return self._client(self._first).call(*command)
            except ReplyError as error:
                kind, *rest = str(error).split(" ")
                if kind != "MOVED":
                    raise
                return self._client(int(rest[1].rsplit(":", 1)[1])).call(*command)
        except (OSError, ReplyError):
            self.close()
            raise

    @property
    def nodes(self):
        """How many there are."""
        return len(self._ports)

    def masters(self):
        """The ports of all nodes that answer and call themselves masters."""
        return [port for port in self._ports if self._role(port) == "master"]

    def roles(self):
        """How many nodes have which role; a replica that has lost its master has another name."""
        return collections.Counter(map(self._role, self._ports))

    def close(self):
        """Ends all connections; they begin again with the next call."""
        for client in self._clients.values():
            client.close()
        self._clients, self._first = {}, None

    def _client(self, port):
        if port not in self._clients:
            self._clients[port] = Client(port, timeout=self._timeout)
        return self._clients[port]

    def _role(self, port):
        try:
            role, *rest = self._client(port).call("ROLE")
        except (OSError, ReplyError):
            if client := self._clients.pop(port, None):
                client.close()
            return "away"
        return "alone" if role == b"slave" and rest[2] != b"connected" else role.decode()

    def _a_master(self):
        for port in self._ports:
            if self._role(port) == "master":
                return port
        raise ConnectionError("no node is a master")
