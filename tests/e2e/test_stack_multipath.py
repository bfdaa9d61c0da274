"""Multipath TCP: asked for in the SYN, told truthfully when it did not come about."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from socks6.message.options import Multipath, StackOption, Tfo, Tos, Ttl
from socks6.net.sockets import SocketStream
from socks6.net.stackopts.adapter import IPPROTO_MPTCP
from socks6.relay.streams import StreamRelay
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.packets import MPTCP, Packet
from tests.kit.reach import accepted, exactly, port_of, reached

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
MP_CAPABLE = 0  # the option's subtype, RFC 8684 §3.1
WISHED, REFUSED = Multipath(availability=2), Multipath(availability=1)


@pytest.fixture
def two() -> Iterator[Road]:
    """Give two hosts, joined."""
    with road() as made:
        yield made


def capable(packet: Packet) -> bool:
    """Tell whether a packet says that its sender can do MPTCP."""
    return MPTCP in packet.options and packet.options[MPTCP][0] >> 4 == MP_CAPABLE


def seen(
    run: Run, two: Road, listener: socket.socket, *asked: StackOption, answer: tuple[StackOption, ...]
) -> tuple[Packet, list[Packet]]:
    """Connect and send a little; return the SYN and what the host sent."""
    host, port = listener.getsockname()[:2]

    async def play() -> None:
        async with reached(host, port, *asked) as connection:
            assert connection.options == answer
            await connection.stream.send(b"hello")
            with accepted(listener) as peer:
                assert exactly(peer, 5) == b"hello"

    with two.first.capturing() as capture, two.first.entered():
        run(play())
        (syn,) = capture.syns(port)
        return syn, capture.from_port(port)


@FAMILIES
def test_with_a_host_that_has_it_the_connection_is_mptcp(run: Run, two: Road, family: int) -> None:
    with two.last.listener(two.last_address(family), protocol=IPPROTO_MPTCP) as listener:
        syn, answers = seen(run, two, listener, WISHED, answer=(WISHED,))
    assert capable(syn)
    assert capable(answers[0])


@FAMILIES
def test_falling_back_to_tcp_is_told(run: Run, two: Road, family: int) -> None:
    with two.last.listener(two.last_address(family)) as listener:
        syn, answers = seen(run, two, listener, WISHED, answer=(REFUSED,))
    assert capable(syn)
    assert not any(MPTCP in packet.options for packet in answers)


@pytest.mark.parametrize("asked", [(), (REFUSED,)], ids=["unasked", "not wished"])
def test_unasked_there_is_none(run: Run, two: Road, asked: tuple[StackOption, ...]) -> None:
    with two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener:
        syn, _ = seen(run, two, listener, *asked, answer=asked)
    assert MPTCP not in syn.options


def test_where_the_administrator_allows_none_there_is_none(run: Run, two: Road) -> None:
    two.first.set("net.mptcp.enabled", 0)
    with two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener:
        syn, _ = seen(run, two, listener, WISHED, answer=(REFUSED,))
    assert MPTCP not in syn.options


def test_a_tos_goes_with_it(run: Run, two: Road) -> None:
    asked = (Tos(leg=2, tos=0x48), WISHED)
    with two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener:
        syn, _ = seen(run, two, listener, *asked, answer=asked)
    assert capable(syn)
    assert syn.tos == 0x48


def test_a_value_that_the_kernel_sets_on_no_mptcp_socket_comes_first(run: Run, two: Road) -> None:
    asked = (Ttl(leg=2, ttl=33), WISHED)
    with two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener:
        syn, _ = seen(run, two, listener, *asked, answer=(Ttl(leg=2, ttl=33), REFUSED))
    assert MPTCP not in syn.options
    assert syn.ttl == 33


def test_such_a_value_that_is_the_kernels_own_is_no_obstacle(run: Run, two: Road) -> None:
    asked = (Ttl(leg=2, ttl=64), WISHED)
    with two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener:
        syn, _ = seen(run, two, listener, *asked, answer=asked)
    assert capable(syn)
    assert syn.ttl == 64


def test_a_syn_with_both_carries_data(run: Run, two: Road) -> None:
    two.last.set("net.ipv4.tcp_fastopen", 3)
    host = two.last_address()

    async def play() -> None:
        for expected in (0, 5):
            async with reached(
                host, port_of(listener), WISHED, Tfo(payload_size=0), first_data=b"hello"
            ) as connection:
                assert connection.options == (WISHED, Tfo(payload_size=expected))
                assert connection.first_data_sent == expected
                await connection.stream.send(b"hello"[expected:] + b" world")
                with accepted(listener) as peer:
                    assert exactly(peer, 11) == b"hello world"

    with (
        two.last.listener(host, protocol=IPPROTO_MPTCP, fast_open=16) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        syn = capture.syns(port_of(listener))[-1]
    assert capable(syn)
    assert syn.payload == b"hello"


def test_the_relay_carries_it_both_ways(run: Run, two: Road) -> None:
    """Also by the kernel's own path, once there is much to carry."""
    up, down = bytes(range(256)) * 4000, bytes(reversed(range(256))) * 4000

    async def play() -> None:
        async with reached(two.last_address(), port_of(listener), WISHED) as connection:
            assert connection.options == (WISHED,)
            near, far = socket.socketpair()
            host, client = SocketStream(accepted(listener)), SocketStream(far)

            async def talk(stream: SocketStream, say: bytes, hear: bytes) -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(stream.send(say))
                    heard = bytearray()
                    while len(heard) < len(hear) and (data := await stream.receive()):
                        heard += data
                assert heard == hear
                await stream.send_eof()

            async with asyncio.TaskGroup() as group:
                carried = group.create_task(StreamRelay().relay(SocketStream(near), connection.stream))
                group.create_task(talk(client, up, down))
                group.create_task(talk(host, down, up))
            assert (carried.result().bytes_up, carried.result().bytes_down) == (len(up), len(down))
            await client.aclose()
            await host.aclose()

    with (
        two.last.listener(two.last_address(), protocol=IPPROTO_MPTCP) as listener,
        two.first.entered(),
    ):
        run(play())
