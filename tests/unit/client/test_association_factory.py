"""Opening associations: the path that is taken, retransmission, and what goes wrong."""

import asyncio

import pytest

from socks6.client import association_factory
from socks6.client.client import Client
from socks6.errors import (
    HostUnreachable,
    LocalProtocolError,
    ProxyTimedOut,
    ProxyUnreachable,
    RemoteProtocolError,
)
from socks6.message.codes import Command, Leg, Parity
from socks6.message.datagrams import Datagram
from socks6.message.dialect import GO_212, DatagramLayout
from socks6.message.options import HappyEyeballs, PortParity, Tos, UdpError
from socks6.message.replies import OperationReply
from socks6.net.stream import ByteStream
from socks6.net.url import ProxyUrl
from tests.kit.associating import BOUND, NAMED, AssociatingProxy, associating
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.proxied import scripted


@pytest.mark.parametrize("path", ["datagram", "stream", "auto"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_go_to_and_fro(run: Run, path: str, host: str) -> None:
    async def scene() -> None:
        async with (
            associating(AssociatingProxy(), host=host) as client,
            client.associate(udp=path) as udp,  # type: ignore[arg-type]  # it is one of the three
        ):
            assert udp.path == ("datagram" if path == "auto" else path)
            assert udp.bound == BOUND
            for remote in ("192.0.2.5", "2001:db8::5"):
                await udp.send(b"hello", (remote, 53))
                assert await udp.receive() == (b"hello", (remote, 53))
            await udp.send(b"to a name", ("Example.com", 53))
            assert await udp.receive() == (b"to a name", (NAMED, 53))

    run(scene())


def test_the_opening_datagram_is_empty_and_for_nowhere(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate():
            pass
        opening = Datagram(association_id=proxy.association_id, host="0.0.0.0", port=0, data=b"")
        assert proxy.messages == [opening]

    run(scene())


@pytest.mark.slow
def test_an_opening_datagram_that_is_lost_is_sent_again(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(loses=2)
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            assert udp.path == "datagram"
        assert len(proxy.packets) == 3
        assert len(set(proxy.packets)) == 1

    run(scene())


def test_auto_takes_the_stream_when_udp_does_not_get_through(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(loses=1000)
        async with associating(proxy) as client:
            monkeypatch.setattr(association_factory, "FIRST_WAITS", (0.01, 0.01))
            async with client.associate() as udp:
                assert udp.path == "stream"
                await udp.send(b"hello", ("192.0.2.5", 53))
                assert (await udp.receive())[0] == b"hello"
            assert (len(proxy.packets), len(proxy.requests), proxy.ended) == (2, 2, 2)
            async with client.associate() as udp:  # UDP is not tried again for a while
                assert udp.path == "stream"
            assert (len(proxy.packets), len(proxy.requests)) == (2, 3)

    run(scene())


def test_auto_takes_the_stream_at_once_where_nobody_is_at_the_udp_port(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy(), udp=False) as client:
            monkeypatch.setattr(association_factory, "FIRST_WAITS", (20.0,))
            async with client.associate() as udp:
                assert udp.path == "stream"

    run(scene())


def test_where_udp_is_demanded_and_nobody_is_there_that_is_told(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy(), udp=False) as client:
            with pytest.raises(ProxyUnreachable, match="UDP port"):
                async with client.associate(udp="datagram"):
                    pass

    run(scene())


@pytest.mark.parametrize("path", ["datagram", "stream"])
def test_a_proxy_that_never_confirms_is_given_up(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(confirms=False)
        async with associating(proxy) as client:
            with pytest.raises(ProxyTimedOut):
                async with client.associate(udp=path, timeout=0.3):  # type: ignore[arg-type]  # as above
                    pass

    run(scene())


def test_a_proxy_that_is_reached_through_memory_has_no_udp(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with asyncio.TaskGroup() as group:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                group.create_task(proxy.serve(theirs))
                return ours

            async with Client("socks6://memory", dial=dial) as client:
                async with client.associate() as udp:
                    assert udp.path == "stream"
                    assert udp.max_data("192.0.2.1") == 65507
                    await udp.send(b"hello", ("192.0.2.5", 53))
                    assert (await udp.receive())[0] == b"hello"
                with pytest.raises(LocalProtocolError, match="stream"):
                    async with client.associate(udp="datagram"):
                        pass

    run(scene())


def test_the_proxys_refusal_is_told(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(reply=lambda _: OperationReply(code=4))
        async with associating(proxy) as client:
            with pytest.raises(HostUnreachable):
                async with client.associate():
                    pass

    run(scene())


def test_a_proxy_that_says_nothing_more_than_success_is_told(run: Run) -> None:
    async def scene() -> None:
        success = bytes.fromhex("06 00 0000") + OperationReply(code=0).encode()
        async with scripted(success) as client:
            with pytest.raises(ProxyUnreachable):
                async with client.associate():
                    pass
        async with scripted(success + b"rubbish") as client:
            with pytest.raises(RemoteProtocolError):
                async with client.associate():
                    pass

    run(scene())


def test_the_request_says_what_is_wanted(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=(UdpError(availability=2), PortParity(parity=1, reserve=1)))
        async with (
            associating(proxy) as client,
            client.associate("::", 40000, errors=True, parity=Parity.EVEN, reserve=True) as udp,
        ):
            assert udp.options == proxy.options
        request = proxy.requests[0]
        assert (request.command, request.host, request.port) == (Command.UDP_ASSOCIATE, "::", 40000)
        assert request.options == (UdpError(availability=2), PortParity(parity=1, reserve=1))

    run(scene())


def test_of_the_urls_options_those_about_datagrams_go_along(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy):
            url = ProxyUrl.parse(proxy.url + "?tos=16&mptcp=1&happy-eyeballs=1")
            assert any(isinstance(option, HappyEyeballs) for option in url.options)
            async with Client(url) as client, client.associate():
                pass
        assert proxy.requests[0].options == (Tos(leg=Leg.PROXY_REMOTE, tos=16),)

    run(scene())


@pytest.mark.parametrize("path", ["datagram", "stream"])
def test_the_consistent_layout_may_be_chosen(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with (
            associating(proxy) as client,
            client.associate(udp=path, layout=DatagramLayout.CONSISTENT) as udp,  # type: ignore[arg-type]
        ):
            await udp.send(b"hello", ("192.0.2.5", 53))
            assert await udp.receive() == (b"hello", ("192.0.2.5", 53))
            fits_both = Datagram(association_id=proxy.association_id, host="192.0.2.5", port=256, data=b"")
            await proxy.send(fits_both, layout=DatagramLayout.CONSISTENT)
            assert await udp.receive() == (b"", ("192.0.2.5", 256))
        assert set(proxy.layouts) == {DatagramLayout.CONSISTENT}

    run(scene())


@pytest.mark.parametrize("path", ["datagram", "stream"])
def test_the_go_dialect_has_associations_too(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(dialect=GO_212)
        async with associating(proxy) as client, client.associate(udp=path) as udp:  # type: ignore[arg-type]
            await udp.send(b"hello", ("192.0.2.5", 1))
            assert await udp.receive() == (b"hello", ("192.0.2.5", 1))

    run(scene())
