"""QUIC streams: those of the usual library on each loop, all others on one, since loops do no more than pass datagrams on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from typing_extensions import override

from socks6.net.stream import ByteStream
from tests.kit.quic import joined
from tests.kit.streams import BULK, ON_ASYNCIO, ON_UVLOOP, StreamConformance, closing

pytestmark = pytest.mark.e2e  # takes long, with real sockets

LESS: Final = BULK[: 1 << 23]  # for what is slow: twice what is on its way at most


class QuicStreams(StreamConformance):
    """The common suite, with the backends that its classes name."""

    client = "qh3"
    server = "qh3"
    enough = 1 << 22

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with joined(self.client, self.server) as (client, server):
            left = await client.open()
            await left.send(b"!")  # a stream is there for the peer when something comes on it
            right = await server.accept()
            assert await right.receive(1) == b"!"
            async with closing(left, right):
                yield left, right


class TestQh3Client(QuicStreams):
    """qh3 at both ends."""


@ON_UVLOOP
class TestQh3Server(QuicStreams):
    """The server's end acts first."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with super().pair() as (left, right):
            yield right, left


@ON_ASYNCIO
class TestAioquicClient(QuicStreams):
    """aioquic at both ends."""

    client = server = "aioquic"
    bulk = LESS


@ON_UVLOOP
class TestAioquicAtQh3(QuicStreams):
    """One library's client at the other's server."""

    client = "aioquic"
    bulk = LESS


@ON_ASYNCIO
class TestQh3AtAioquic(QuicStreams):
    """The other way round."""

    server = "aioquic"
    bulk = LESS
