"""Associations as asyncio's datagram transports."""

import asyncio
import errno

import pytest
from typing_extensions import override

from socks6.client.association_factory import UdpPathChoice
from socks6.client.client import Client
from socks6.errors import DatagramFailed, DatagramTooLarge, LocalProtocolError, ProxyUnreachable
from socks6.message.datagrams import Datagram, DatagramError
from socks6.message.options import UdpError
from tests.kit.associating import BOUND, NAMED, AssociatingProxy, associating
from tests.kit.loops import Run

HOST = "192.0.2.5"
REMOTE = (HOST, 53)
REPORTING = (UdpError(availability=2),)


class Log(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[object] = asyncio.Queue()
        self.transport: asyncio.BaseTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.told.put_nowait((data, addr))

    @override
    def error_received(self, exc: Exception) -> None:
        self.told.put_nowait(exc)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.told.put_nowait(("lost", exc))

    async def lost(self) -> type[object]:
        """Return the type of what the connection was lost by, which it is told next."""
        told = await self.told.get()
        assert isinstance(told, tuple)
        assert told[0] == "lost"
        return type(told[1])


def test_it_is_a_datagram_transport(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            transport, protocol = await client.create_datagram_endpoint(Log)
            assert isinstance(transport, asyncio.DatagramTransport)
            assert protocol.transport is transport
            assert transport.get_protocol() is protocol
            assert transport.get_extra_info("sockname") == BOUND
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("socks6.options") == ()
            assert transport.get_extra_info("socks6.association").path == "datagram"
            transport.sendto(b"hello", REMOTE)
            assert await protocol.told.get() == (b"hello", REMOTE)
            transport.sendto(bytearray(b"2001:db8::5"), ("2001:db8::5", 53, 0, 0))  # type: ignore[arg-type]
            assert await protocol.told.get() == (b"2001:db8::5", ("2001:db8::5", 53))
            assert not transport.is_closing()
            transport.close()
            assert transport.is_closing()
            assert await protocol.told.get() == ("lost", None)
            transport.sendto(b"late", REMOTE)
            transport.close()

    run(scene())


def test_with_a_remote_address_it_sends_there_alone_and_hears_nobody_else(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            transport, protocol = await client.create_datagram_endpoint(Log, REMOTE)
            assert transport.get_extra_info("peername") == REMOTE
            for host, port in (("192.0.2.6", 53), ("192.0.2.5", 54)):
                stranger = Datagram(association_id=proxy.association_id, host=host, port=port, data=b"")
                await proxy.send(stranger)
            transport.sendto(b"1")
            transport.sendto(b"2", REMOTE)
            assert await protocol.told.get() == (b"1", REMOTE)
            assert await protocol.told.get() == (b"2", REMOTE)
            with pytest.raises(ValueError, match="alone"):
                transport.sendto(b"", ("192.0.2.6", 53))
            transport.abort()
            assert await protocol.told.get() == ("lost", None)

    run(scene())


def test_a_remote_that_is_a_name_answers_from_its_address(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            transport, protocol = await client.create_datagram_endpoint(Log, ("example.com", 53))
            transport.sendto(b"hello")
            assert await protocol.told.get() == (b"hello", (NAMED, 53))

    run(scene())


def test_without_any_address_nothing_can_be_sent(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            transport, _ = await client.create_datagram_endpoint(Log)
            with pytest.raises(ValueError, match="no address"):
                transport.sendto(b"")

    run(scene())


def test_icmp_errors_are_asked_for_and_received(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=REPORTING)
        async with associating(proxy) as client:
            _, protocol = await client.create_datagram_endpoint(Log)
            assert proxy.requests[0].options == REPORTING
            await proxy.send(
                DatagramError(
                    association_id=proxy.association_id,
                    host="192.0.2.5",
                    port=53,
                    code=1,
                    reporter="10.0.0.1",
                )
            )
            error = await protocol.told.get()
            assert isinstance(error, DatagramFailed)
            assert (error.errno, error.reporter) == (errno.ENETUNREACH, "10.0.0.1")

    run(scene())


def test_a_datagram_that_is_too_large_is_told(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            transport, protocol = await client.create_datagram_endpoint(Log)
            transport.sendto(bytes(65_536), REMOTE)
            assert isinstance(await protocol.told.get(), DatagramTooLarge)

    run(scene())


def test_the_end_of_the_association_is_told(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            transport, protocol = await client.create_datagram_endpoint(Log)
            await proxy.hang_up()
            assert await protocol.lost() is ProxyUnreachable
            assert transport.is_closing()

    run(scene())


def test_protocols_may_change(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            transport, _ = await client.create_datagram_endpoint(Log)
            second = Log()
            transport.set_protocol(second)
            transport.sendto(b"hello", REMOTE)
            assert await second.told.get() == (b"hello", REMOTE)

    run(scene())


def test_the_client_must_be_in_use(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(LocalProtocolError, match="async with"):
            await Client("socks6://127.0.0.1:1").create_datagram_endpoint(Log)

    run(scene())


def test_endpoints_end_with_their_client(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            _, protocol = await client.create_datagram_endpoint(Log)
        assert await protocol.lost() is type(None)

    run(scene())


class Raises(Log):
    """Raises in one of its methods, once."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def _fail(self, method: str) -> None:
        if method == self.method:
            self.method = ""
            raise KeyError(method)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._fail("connection_made")

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._fail("datagram_received")
        super().datagram_received(data, addr)

    @override
    def error_received(self, exc: Exception) -> None:
        self._fail("error_received")
        super().error_received(exc)


@pytest.mark.parametrize("udp", ["datagram", "stream"])
@pytest.mark.parametrize("method", ["connection_made", "datagram_received", "error_received"])
def test_what_a_protocol_raises_goes_to_the_loop_and_costs_its_transport_alone(
    run: Run, method: str, udp: UdpPathChoice
) -> None:
    async def scene() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        proxy = AssociatingProxy(options=REPORTING)
        async with associating(proxy) as client:
            protocol = Raises(method)
            transport, _ = await client.create_datagram_endpoint(lambda: protocol, udp=udp)
            if method == "connection_made":
                assert await protocol.lost() is type(None)
                assert transport.is_closing()
            else:
                if method == "error_received":
                    error = DatagramError(
                        association_id=proxy.association_id, host=HOST, port=53, code=1, reporter=HOST
                    )
                    await proxy.send(error)
                transport.sendto(b"1", REMOTE)
                transport.sendto(b"2", REMOTE)
                while (await protocol.told.get()) != (b"2", REMOTE):
                    pass
                transport.close()
                assert await protocol.lost() is type(None)
        assert [repr(error) for error in told] == [repr(KeyError(method))]

    run(scene())
