"""A QUIC connection of a library's has one remote address, wherever its datagrams come from."""

import asyncio

import pytest
from typing_extensions import override

from socks6 import Client, LocalProtocolError
from socks6.adapters.quic_base import REMOTE, quic_endpoint
from tests.kit.adapted import Adapted
from tests.kit.udp_hosts import udp_echo


class Keeping(asyncio.DatagramProtocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, object]] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: object) -> None:
        self.arrived.put_nowait((data, addr))


def test_datagrams_come_from_the_one_address(world: Adapted) -> None:
    async def main() -> None:
        with udp_echo() as place:
            async with quic_endpoint(world.url("socks6"), Keeping, "localhost", place.port) as protocol:
                transport = protocol.transport
                assert transport is not None
                transport.sendto(b"hello", REMOTE)
                assert await protocol.arrived.get() == (b"hello", REMOTE)
                assert transport.get_extra_info("peername") == ("localhost", place.port)
                assert not transport.is_closing()
            assert transport.is_closing()
            client = Client(world.url("socks6"))
            with pytest.raises(LocalProtocolError, match="async with"):
                async with quic_endpoint(client, Keeping, "localhost", place.port):
                    pass

    asyncio.run(main())
