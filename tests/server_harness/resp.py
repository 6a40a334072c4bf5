"""A small RESP client: enough to ask test servers questions and to set them up.

Not for the tests' subject (which is the library), only for what surrounds it.
"""

import socket
import ssl as tls


class ReplyError(Exception):
    """An error reply; its text is the server's."""


class Client:
    """One connection, by `port` on loopback or by `path` of a unix socket. Replies are bytes,
    int, None, list, or `ReplyError` raised (inside a list: returned)."""

    def __init__(self, port=None, path=None, user=None, password=None, ca=None, timeout=5.0):
        if path:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            self._socket.connect(path)
        else:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        if ca:
            context = tls.create_default_context(cafile=ca)
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._file = self._socket.makefile("rb")
        if password:
            self.call("AUTH", *([user] if user else []), password)

    def call(self, *arguments):
        """Sends one command and returns its reply. str arguments are UTF-8."""
        parts = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            if not isinstance(argument, bytes):
                argument = str(argument).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
        self._socket.sendall(b"".join(parts))
        reply = self._read()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def _read(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self._read() for _ in range(count)]
        raise ConnectionError(f"not RESP2: {line[:20]!r}")

    def info(self, section):
        """The fields of `INFO section`, as str."""
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def close(self):
        """Closes the connection."""
        self._file.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
