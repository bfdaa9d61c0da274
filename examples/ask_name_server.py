"""Ask a name server for an address, by UDP through a SOCKS 6 proxy; ICMP errors come back as exceptions.

python examples/ask_name_server.py socks6://user:password@127.0.0.1:1080 192.0.2.53 53 example.com
"""

import asyncio
import os
import sys

from socks6 import Client, DatagramFailed


def question(name: str) -> bytes:
    """Return a query for the IPv4 address of a name (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return os.urandom(2) + bytes.fromhex("0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")


async def ask(proxy: str, server: tuple[str, int], name: str) -> str:
    """Return what the server says, asking again when a datagram gets lost."""
    query = question(name)
    async with Client(proxy) as client, client.associate(errors=True) as udp:
        print("the server sees us at", *udp.bound)
        for seconds in (0.5, 1.0, 2.0):
            await udp.send(query, server)
            try:
                async with asyncio.timeout(seconds):
                    while True:
                        answer, _ = await udp.receive()
                        if answer[:2] == query[:2]:
                            return ".".join(map(str, answer[-4:]))
            except DatagramFailed as failure:
                return f"no way to {failure.host}: {failure.strerror}"
            except TimeoutError:
                continue
    return "no answer"


if __name__ == "__main__":
    print(asyncio.run(ask(sys.argv[1], (sys.argv[2], int(sys.argv[3])), sys.argv[4])))
