"""TLS in front of a server that was built without it: `tls_proxy.py TARGET_PORT JSON`.

JSON is a list of {"port", "certificate", "key", "client_ca"}; each port ends TLS with its own
certificate (asking for a client's where `client_ca` is given) and passes bytes on to TARGET_PORT.
"""

import asyncio
import json
import ssl
import sys


async def _pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _serve(target):
    async def serve(reader, writer):
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, onward_writer), _pipe(onward_reader, writer))

    return serve


async def _main(target, fronts):
    servers = []
    for front in fronts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(front["certificate"], front["key"])
        if front["client_ca"]:
            context.load_verify_locations(front["client_ca"])
            context.verify_mode = ssl.CERT_REQUIRED
        servers.append(await asyncio.start_server(_serve(target), "127.0.0.1", front["port"], ssl=context))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), json.loads(sys.argv[2])))
