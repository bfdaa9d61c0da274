"""TLS end to end, through a proxy that sees nothing of it.

python examples/fetch_https.py socks6://127.0.0.1:1080 example.com 443 [CA_FILE]
"""

import asyncio
import ssl
import sys

from socks6 import Client


async def fetch(proxy: str, host: str, port: int, ca_file: str | None = None) -> bytes:
    """Return what the web server at `host` answers over TLS."""
    context = ssl.create_default_context(cafile=ca_file)
    async with Client(proxy) as client:
        reader, writer = await client.open_connection(host, port, ssl=context)
        writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


if __name__ == "__main__":
    print(asyncio.run(fetch(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])).decode())
