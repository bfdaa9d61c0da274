"""Both ends of QUIC connections in one process, by any of the backends."""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.datagrams.shared import SharedPort
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.quic.client import QuicConnector
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import Backend, load_backend, read_identity
from socks6.net.transports.quic.listener import QuicListener
from tests.kit.certificates import Files, certificate

BACKENDS: Final = ("qh3", "aioquic")
LOOPS: Final = ("uvloop", "asyncio")


def by_library(*names: str) -> pytest.MarkDecorator:
    """Run a test once for each library, or each pair of them for two names. `make deep` does so on each loop."""
    rows = []
    for loop, *libraries in itertools.product(LOOPS, *len(names) * [BACKENDS]):
        usual = LOOPS[sum(map(BACKENDS.index, libraries)) % len(LOOPS)]
        marks = () if loop == usual else (pytest.mark.deep,)
        rows.append(pytest.param(loop, *libraries, marks=marks))
    return pytest.mark.parametrize(("run", *names), rows, indirect=["run"])


@asynccontextmanager
async def listening(
    files: Files, backend: Backend, *, alpn: str = "socks6", retry_from: int = 64
) -> AsyncIterator[QuicListener]:
    """Give a listener on the loopback interface."""
    faults: list[Exception] = []
    poller = DatagramPoller(faults.append)
    port = SharedPort("127.0.0.1", 0, poller)
    identity = functools.partial(read_identity, files.server)
    listener = QuicListener(port, backend, identity, url="test", alpn=alpn, retry_from=retry_from)
    try:
        yield listener
    finally:
        await listener.aclose()
        poller.close()
        assert not faults, faults


def connector(
    files: Files, backend: Backend, *, said: TlsParameters | None = None, alpn: str = "socks6"
) -> QuicConnector:
    """Return what reaches the listener by its name."""
    said = said or TlsParameters(ca=files.ca)
    return QuicConnector("localhost", said, backend, alpn=alpn)


async def connected(dialler: QuicConnector, listener: QuicListener) -> tuple[QuicConnection, QuicConnection]:
    """Return the client's end and the server's."""
    client = dialler.begin(("127.0.0.1", listener.local.port))
    await dialler.ready(client)
    return client, await listener.accept()


@asynccontextmanager
async def joined(
    client: str = "qh3", server: str = "qh3"
) -> AsyncIterator[tuple[QuicConnection, QuicConnection]]:
    """Give both ends of a connection, by these backends, whose client was let in."""
    with certificate() as files:
        async with asyncio.timeout(20), listening(files, load_backend(server)) as listener:
            ends = await connected(connector(files, load_backend(client)), listener)
            ends[1].trust()
            try:
                yield ends
            finally:
                for end in ends:
                    end.close()
