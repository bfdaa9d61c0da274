"""UDP associations at a proxy of SOCKS 5."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.requester import GrantedRequest
from socks6.client.socks5_association import _relay_of
from socks6.errors import (
    CommandNotSupported,
    ConfigurationError,
    DatagramTooLarge,
    LocalProtocolError,
    ProxyUnreachable,
    RemoteProtocolError,
)
from socks6.message.codes import Leg
from socks6.message.dialect import DatagramLayout
from socks6.message.options import Tos
from socks6.message.replies import OperationReply
from socks6.net.stream import ByteStream, Endpoint, Protection
from tests.kit.joined import tcp_pair
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair

FROM_A_HOST = bytes.fromhex("000000 01 c0000209 0050") + b"answer"


def granted(host: str, port: int) -> bytes:
    """Return what a proxy answers that takes datagrams there."""
    packed = ip_address(host).packed
    return b"\5\0" + b"\5\0\0" + bytes([1 if len(packed) == 4 else 4]) + packed + port.to_bytes(2)


@asynccontextmanager
async def at_proxy(
    answer: bytes, url: str = "socks5://m", *, over_tcp: bool = False
) -> AsyncIterator[tuple[Client, list[ByteStream]]]:
    """Give a client whose proxy answers this, and the proxy's ends of its connections."""
    ends: list[ByteStream] = []
    async with asyncio.TaskGroup() as group:

        async def close_after(end: ByteStream) -> None:
            with contextlib.suppress(OSError):
                while await end.receive():
                    pass
                await end.aclose()

        async def dial() -> ByteStream:
            ours, theirs = tcp_pair() if over_tcp else memory_stream_pair()
            await theirs.send(answer)
            ends.append(theirs)
            group.create_task(close_after(theirs))
            return ours

        async with Client(url, dial=dial, timeout=5.0) as client:
            yield client, ends
        for end in ends:
            end.abort()


def udp_relay() -> socket.socket:
    relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    relay.bind(("127.0.0.1", 0))
    relay.settimeout(5)
    return relay


@pytest.mark.parametrize("named", ["127.0.0.1", "0.0.0.0"])
def test_datagrams_travel_beside_the_connection(run: Run, named: str) -> None:
    async def scene() -> None:
        with udp_relay() as relay:
            answer = granted(named, relay.getsockname()[1])
            options = [Tos(leg=Leg.CLIENT_PROXY, tos=8)]
            async with (
                at_proxy(answer, over_tcp=True) as (client, _),
                client.associate(options=options) as udp,
            ):
                assert udp.bound == relay.getsockname()
                await udp.send(b"question", ("a.example", 53))
                data, source = relay.recvfrom(100)
                assert data == bytes.fromhex("000000 03 09 612e6578616d706c65 0035") + b"question"
                relay.sendto(b"\0\0\1" + FROM_A_HOST[3:], source)  # a fragment
                relay.sendto(FROM_A_HOST, source)
                assert await udp.receive() == (b"answer", Endpoint("192.0.2.9", 80))
                assert udp.max_data("192.0.2.9") == 0xFFFF - 28 - 10
                with pytest.raises(DatagramTooLarge):
                    await udp.send(bytes(65500), ("192.0.2.9", 80))

    run(scene())


def test_it_is_over_when_the_proxy_ends_the_connection(run: Run) -> None:
    async def scene() -> None:
        with udp_relay() as relay:
            async with at_proxy(granted(*relay.getsockname())) as (client, ends), client.associate() as udp:
                await ends[0].send(b"noise")
                await ends[0].aclose()
                with pytest.raises(ProxyUnreachable, match="associated"):
                    await udp.receive()

    run(scene())


def test_a_datagram_endpoint_reports_no_icmp_errors(run: Run) -> None:
    async def scene() -> None:
        with udp_relay() as relay:
            async with at_proxy(granted(*relay.getsockname())) as (client, _):
                transport, _ = await client.create_datagram_endpoint(asyncio.DatagramProtocol)
                transport.close()

    run(scene())


@pytest.mark.parametrize(
    ("host", "port", "error", "words"),
    [
        ("0.0.0.0", 53, ProxyUnreachable, "does not say where"),  # and memory has no address either
        ("127.0.0.1", 0, RemoteProtocolError, "no UDP port"),
        ("255.255.255.255", 53, ProxyUnreachable, "no UDP socket to the proxy"),
    ],
)
def test_relays_that_lead_nowhere(run: Run, host: str, port: int, error: type[Exception], words: str) -> None:
    async def scene() -> None:
        async with at_proxy(granted(host, port)) as (client, _):
            with pytest.raises(error, match=words):
                async with client.associate():
                    pass

    run(scene())


class FromFar(MemoryStream):
    """A stream to a public address."""

    __slots__ = ()

    @property
    @override
    def remote(self) -> Endpoint:
        return Endpoint("8.8.8.8", 1080)


@pytest.mark.parametrize(
    ("named", "relay"), [("172.17.0.2", "8.8.8.8"), ("8.8.4.4", "8.8.4.4"), ("0.0.0.0", "8.8.8.8")]
)
def test_a_proxy_behind_nat_may_name_its_inner_address(run: Run, named: str, relay: str) -> None:
    async def scene() -> None:
        stream, _ = memory_stream_pair()
        stream.__class__ = FromFar
        reply = OperationReply(code=0, host=named, port=53)
        assert _relay_of(GrantedRequest(stream=stream, reply=reply)) == (relay, 53)

    run(scene())


def test_what_socks5_cannot_do(run: Run) -> None:
    async def scene() -> None:
        async with at_proxy(granted("127.0.0.1", 9)) as (client, ends):
            for refused in (
                client.associate(udp="stream"),
                client.associate(layout=DatagramLayout.DRAFT),
                client.associate("192.0.2.1", 0),
                client.associate(port=5000),
                client.associate(errors=True),
                client.associate(reserve=True),
            ):
                with pytest.raises(ConfigurationError):
                    async with refused:
                        pass
            assert len(ends) == 0
        async with at_proxy(b"", "http://m") as (client, _):
            with pytest.raises(CommandNotSupported):
                async with client.associate():
                    pass

    run(scene())


class Encrypted(MemoryStream):
    """As if TLS were on it."""

    __slots__ = ()

    @property
    @override
    def protection(self) -> Protection:
        return Protection.ENCRYPTED


def test_nothing_goes_in_the_clear_beside_tls_unless_that_is_asked_for(run: Run) -> None:
    async def scene() -> None:
        ends: list[ByteStream] = []
        with udp_relay() as relay:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                await theirs.send(granted(*relay.getsockname()))
                ours.__class__ = Encrypted
                ends.append(theirs)
                return ours

            async with Client("socks5://m", dial=dial) as client:
                with pytest.raises(LocalProtocolError, match="in the clear"):
                    async with client.associate():
                        pass
                async with client.associate(udp="datagram") as udp:
                    await udp.send(b"x", ("192.0.2.9", 80))
                    assert relay.recv(100).endswith(b"x")
                    await ends[-1].aclose()

    run(scene())
