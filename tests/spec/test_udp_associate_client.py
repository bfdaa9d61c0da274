"""§ Handling UDP ASSOCIATE: what binds the client, on real sockets."""

import errno

import pytest

from socks6.errors import DatagramFailed, ProxyUnreachable
from socks6.message.datagrams import Datagram, DatagramError, decode_message, parse_header
from socks6.message.dialect import DRAFT_12, DatagramLayout
from socks6.message.options import UdpError
from tests.kit.associating import AssociatingProxy, associating
from tests.kit.loops import Run

REMOTE = ("192.0.2.5", 53)
BOTH_WAYS = pytest.mark.parametrize("path", ["datagram", "stream"])


def hello(proxy: AssociatingProxy, data: bytes = b"hello") -> Datagram:
    return Datagram(association_id=proxy.association_id, host="192.0.2.5", port=53, data=data)


def test_datagrams_may_be_sent_to_the_proxys_udp_port_in_plaintext(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await udp.send(b"hello", REMOTE)
            await udp.receive()
        assert proxy.packets[-1] == hello(proxy).encode()

    run(scene())


def test_datagrams_may_be_sent_over_the_tcp_connection(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="stream") as udp:
            await udp.send(b"hello", REMOTE)
            await udp.receive()
        assert (proxy.packets, proxy.messages[-1]) == ([], hello(proxy))

    run(scene())


@BOTH_WAYS
def test_the_client_triggers_a_confirmation_by_an_empty_datagram_for_zeroes(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp=path):  # type: ignore[arg-type]
            await proxy.send(hello(proxy, b"the remote host may send first"))
        opening = Datagram(association_id=proxy.association_id, host="0.0.0.0", port=0, data=b"")
        assert proxy.messages == [opening]

    run(scene())


def test_a_client_should_resend_the_empty_datagram(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(loses=1)
        async with associating(proxy) as client, client.associate(udp="datagram"):
            pass
        first, second = proxy.packets
        assert first == second
        assert parse_header(first, DRAFT_12, DatagramLayout.DRAFT) is not None

    run(scene())


def test_a_client_must_ignore_padding(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await proxy.send(hello(proxy), padding=b"arbitrary data")
            assert await udp.receive() == (b"hello", REMOTE)

    run(scene())


def test_a_client_must_silently_ignore_a_message_longer_than_its_payload(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await proxy.send_raw(hello(proxy).encode()[:-1])
            await proxy.send(hello(proxy, b"next"))
            assert await udp.receive() == (b"next", REMOTE)

    run(scene())


@BOTH_WAYS
def test_datagrams_of_another_association_are_dropped(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp=path) as udp:  # type: ignore[arg-type]
            other = Datagram(association_id=77, host="192.0.2.5", port=53, data=b"not ours")
            if path == "stream":
                await proxy.send_on_stream(other)
            else:
                await proxy.send_raw(other.encode())
            await proxy.send(hello(proxy))
            assert await udp.receive() == (b"hello", REMOTE)

    run(scene())


def test_the_association_lasts_as_long_as_the_connection(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await proxy.hang_up()
            with pytest.raises(ProxyUnreachable):
                await udp.receive()

    run(scene())


@BOTH_WAYS
def test_a_client_that_opts_in_hears_of_icmp_errors(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=(UdpError(availability=2),))
        async with (
            associating(proxy) as client,
            client.associate(udp=path, errors=True) as udp,  # type: ignore[arg-type]
        ):
            error = DatagramError(
                association_id=proxy.association_id, host="192.0.2.5", port=53, code=1, reporter="10.0.0.1"
            )
            await proxy.send(error)
            with pytest.raises(DatagramFailed) as caught:
                await udp.receive()
        assert proxy.requests[0].options == (UdpError(availability=2),)
        assert (caught.value.errno, caught.value.reporter) == (errno.ENETUNREACH, "10.0.0.1")

    run(scene())


@BOTH_WAYS
def test_a_client_sends_datagrams_and_no_errors(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=(UdpError(availability=2),))
        async with (
            associating(proxy) as client,
            client.associate(udp=path, errors=True) as udp,  # type: ignore[arg-type]
        ):
            error = DatagramError(
                association_id=proxy.association_id, host="192.0.2.5", port=53, code=1, reporter="10.0.0.1"
            )
            await proxy.send(error)
            with pytest.raises(DatagramFailed):
                await udp.receive()
            await udp.send(b"hello", REMOTE)
            await udp.receive()
            assert {type(message) for message in proxy.messages} == {Datagram}
            assert all(decode_message(packet)[0] in proxy.messages for packet in proxy.packets)

    run(scene())
