"""Serve a page at a port of the proxy: an asyncio server whose peers connect there.

python examples/publish.py socks6://user:password@127.0.0.1:1080
"""

import asyncio
import sys

from socks6 import Client

PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nHello from behind the proxy.\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one peer."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        await writer.drain()
    finally:
        writer.close()


async def publish(proxy: str) -> None:
    """Serve until the proxy ends the port."""
    async with Client(proxy) as client, await client.start_server(answer, backlog=16) as server:
        print(f"http://{server.bound.host}:{server.bound.port}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1]))
