"""Stands between one worker and the server: `proxy.py SERVER_PORT ADDRESS`, one for each worker.

It prints the port of ADDRESS that it listens on, and then obeys lines of standard input, each answered by "ok":

    pass        bytes go both ways (what was held back first)
    hole        nothing goes either way; connections are still accepted
    mute        nothing comes from the server
    deaf        nothing goes to the server
    trickle     what comes from the server comes byte by byte
    reset       every connection is reset

It ends with its standard input.
"""

import asyncio
import os
import socket
import struct
import sys

TRICKLE_SECONDS = 0.002
CHUNK = 65536


class Proxy:
    """The present mode, and the connections that it holds for."""

    def __init__(self, server_port):
        self._server_port = server_port
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._trickling = False
        self._writers = set()
        self.mode("pass")

    def mode(self, name):
        """Changes over; bytes on their way are held back, never lost."""
        if name == "reset":
            for writer in list(self._writers):
                # Without lingering, closing sends RST.
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            return
        self._trickling = name == "trickle"
        for gate, closed in ((self._up, ("hole", "deaf")), (self._down, ("hole", "mute"))):
            if name in closed:
                gate.clear()
            else:
                gate.set()

    async def serve(self, reader, writer):
        """One connection."""
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, server_writer}
        self._writers |= both
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer, self._up, False)),
            asyncio.ensure_future(self._pump(server_reader, writer, self._down, True)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
        for one in both:
            one.transport.abort()
        self._writers -= both

    async def _pump(self, reader, writer, gate, may_trickle):
        try:
            while data := await reader.read(CHUNK):
                await gate.wait()
                while may_trickle and self._trickling and data:
                    writer.write(data[:1])
                    data = data[1:]
                    await asyncio.sleep(TRICKLE_SECONDS)
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # an end of the connection like any other


async def main():
    proxy = Proxy(int(sys.argv[1]))
    server = await asyncio.start_server(proxy.serve, sys.argv[2], 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        proxy.mode(line.decode().strip())
        print("ok", flush=True)
    os._exit(0)  # the connections of a worker that has ended need no farewell


if __name__ == "__main__":
    asyncio.run(main())
