"""Fetch a page through a SOCKS 6 proxy: request, password and the first data leave in one packet.

python examples/fetch.py socks6://user:password@127.0.0.1:1080 example.com 80
"""

import asyncio
import sys

from socks6 import Client


async def fetch(proxy: str, host: str, port: int) -> bytes:
    """Return what the web server at `host` answers."""
    question = f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    async with Client(proxy) as client:
        reader, writer = await client.open_connection(host, port, initial_data=question)
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


if __name__ == "__main__":
    print(asyncio.run(fetch(sys.argv[1], sys.argv[2], int(sys.argv[3]))).decode(errors="replace"))
