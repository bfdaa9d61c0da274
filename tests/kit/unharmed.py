"""Seeing to it that a proxy comes out of a test as it went in; and ways for clients to misbehave."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.kit.footprint import eventually
from tests.kit.origins import PAGE, web_site
from tests.kit.proxies import Proxy, curl

PIPES: Final = 18  # descriptors that relays keep for the next one
SLACK: Final = 24 * 2**20  # bytes that an allocator may keep
RESET: Final = struct.pack("ii", 1, 0)


def warm_up(proxy: Proxy) -> None:
    """Have a mixed proxy get what it keeps for good."""
    with web_site() as site:
        for way in ("--socks5-hostname", "--proxy"):
            assert curl(way, proxy.authority, f"{site.url}/big/1000000").code == 0


@contextlib.contextmanager
def unharmed(proxy: Proxy) -> Iterator[None]:
    """See to it that afterwards a mixed proxy serves as before, and holds no more than before."""
    before = proxy.footprint
    yield
    assert eventually(lambda: proxy.footprint.descriptors <= before.descriptors + PIPES), (
        before,
        proxy.footprint,
        proxy.said,
    )
    assert proxy.footprint.memory <= before.memory + SLACK, (before, proxy.footprint)
    with web_site() as site:
        assert curl("--socks5-hostname", proxy.authority, site.url).body == PAGE


def processor_seconds(proxy: Proxy) -> float:
    """Return the processor time that a proxy has used so far."""
    fields = Path(f"/proc/{proxy.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_to_the_end(sock: socket.socket) -> bytes:
    """Return all that comes; a reset is an end too."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(1 << 20):
            data += piece
    return bytes(data)


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
