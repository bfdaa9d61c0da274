"""TOS, TTL and No Fragmentation as packets carry them, on both legs, over IPv4 and IPv6."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from socks6.message.codes import Leg
from socks6.message.options import NoFragmentation, Tos, Ttl
from socks6.net.stackopts.table import apply_options, effective_options
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.packets import ACK, Packet
from tests.kit.reach import accepted, exactly, port_of, reached

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
NEVER_WHOLE = 0  # IP_PMTUDISC_DONT
NARROW = 1280  # octets; IPv6 demands so many
BIG = bytes(200_000)


@pytest.fixture
def two() -> Iterator[Road]:
    """Give two hosts, joined."""
    with road() as made:
        yield made


@pytest.fixture
def narrow() -> Iterator[Road]:
    """Give two hosts with a router between them, behind which only small packets fit."""
    with road(routers=1) as made:
        made.first.configure("link set right gso_max_segs 1")  # packets are captured as they are on a wire
        made.hosts[1].configure(f"link set right mtu {NARROW}")
        yield made


@FAMILIES
def test_every_packet_to_the_remote_has_the_tos_and_the_ttl(run: Run, two: Road, family: int) -> None:
    host = two.last_address(family)

    async def play() -> None:
        async with reached(host, port_of(listener), Tos(leg=2, tos=0x48), Ttl(leg=3, ttl=33)) as connection:
            assert connection.options == (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33))
            await connection.stream.send(b"hello")
            with accepted(listener) as peer:
                assert exactly(peer, 5) == b"hello"

    with two.last.listener(host) as listener, two.first.capturing() as capture, two.first.entered():
        run(play())
        packets = capture.to_port(port_of(listener))
    assert packets[0].opens
    assert b"hello" in [packet.payload for packet in packets]
    assert {(packet.tos, packet.ttl) for packet in packets} == {(0x48, 33)}


@FAMILIES
def test_tcp_keeps_the_ecn_bits_for_itself_and_the_answer_says_so(run: Run, two: Road, family: int) -> None:
    host = two.last_address(family)

    async def play() -> None:
        async with reached(host, port_of(listener), Tos(leg=2, tos=0x4B)) as connection:
            assert connection.options == (Tos(leg=2, tos=0x48),)

    with two.last.listener(host) as listener, two.first.capturing() as capture, two.first.entered():
        run(play())
        assert {packet.tos for packet in capture.to_port(port_of(listener))} == {0x48}


@FAMILIES
def test_the_next_connection_has_nothing_of_it(run: Run, two: Road, family: int) -> None:
    host = two.last_address(family)

    async def play() -> None:
        asked = (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33), NoFragmentation(leg=2, availability=2))
        async with reached(host, port_of(listener), *asked) as connection:
            assert connection.options == asked
        async with reached(host, port_of(listener)) as connection:
            assert connection.options == ()
            sock = connection.stream.raw_socket
            assert sock is not None
            assert effective_options(sock, asked, Leg.PROXY_REMOTE) == (
                Tos(leg=2, tos=0),
                Ttl(leg=2, ttl=64),
                NoFragmentation(leg=2, availability=1),
            )

    with two.last.listener(host) as listener, two.first.capturing() as capture, two.first.entered():
        run(play())
        first, second = capture.syns(port_of(listener))
    assert (first.tos, first.ttl) == (0x48, 33)
    assert (second.tos, second.ttl) == (0, 64)


@FAMILIES
def test_what_the_proxy_sends_to_its_client_has_them_too(two: Road, family: int) -> None:
    host = two.last_address(family)
    asked = (Tos(leg=3, tos=0x20), Ttl(leg=1, ttl=44), NoFragmentation(leg=2, availability=2))
    with two.last.listener(host) as listener, two.first.capturing() as capture, two.first.entered():
        with (
            socket.create_connection((host, port_of(listener)), timeout=20) as client,
            accepted(listener) as peer,
        ):
            apply_options(peer, asked, Leg.CLIENT_PROXY)
            assert effective_options(peer, asked, Leg.CLIENT_PROXY) == (
                Tos(leg=1, tos=0x20),
                Ttl(leg=1, ttl=44),
            )
            peer.send(b"hello")
            assert exactly(client, 5) == b"hello"
        (data,) = (packet for packet in capture.from_port(port_of(listener)) if packet.payload)
    assert (data.tos, data.ttl) == (0x20, 44)


def test_the_df_bit_is_set_where_the_system_would_not(run: Run, two: Road) -> None:
    """ip_no_pmtu_disc makes new sockets send without DF."""
    host = two.last_address()
    two.first.set("net.ipv4.ip_no_pmtu_disc", 1)

    async def play() -> None:
        async with reached(host, port_of(listener), NoFragmentation(leg=2, availability=2)) as connection:
            assert connection.options == (NoFragmentation(leg=2, availability=2),)
            await connection.stream.send(b"hello")
        async with reached(host, port_of(listener), NoFragmentation(leg=2, availability=1)) as connection:
            assert connection.options == (NoFragmentation(leg=2, availability=1),)
            await connection.stream.send(b"hello")

    with two.last.listener(host) as listener, two.first.capturing() as capture, two.first.entered():
        run(play())
        packets = capture.to_port(port_of(listener))
    first = packets[0].source_port
    # an ACK without a socket's options may follow once the connection is over
    sent = [packet for packet in packets if packet.payload or packet.opens]
    assert {packet.dont_fragment for packet in sent if packet.source_port == first} == {True}
    assert {packet.dont_fragment for packet in sent if packet.source_port != first} == {False}


@FAMILIES
def test_packets_that_do_not_fit_are_made_smaller_not_cut(run: Run, narrow: Road, family: int) -> None:
    host = narrow.last_address(family)
    too_big = (2, 0) if family == socket.AF_INET6 else (3, 4)

    async def play() -> None:
        async with reached(host, port_of(listener), NoFragmentation(leg=2, availability=2)) as connection:
            with accepted(listener) as peer:
                got: list[bytes] = []
                reader = threading.Thread(target=lambda: got.append(exactly(peer, len(BIG))))
                reader.start()
                await connection.stream.send(BIG)
                await asyncio.to_thread(reader.join)
                assert got == [BIG]

    with narrow.last.listener(host) as listener, narrow.first.capturing() as capture, narrow.first.entered():
        run(play())
        packets, port = capture.packets(), port_of(listener)
    complaint = next(index for index, packet in enumerate(packets) if packet.icmp == too_big)
    ours = [packet for packet in packets if packet.port == port]
    later = [packet for packet in packets[complaint:] if packet.port == port and packet.payload]
    assert packets[complaint].source == narrow.address(1, family)
    assert max(_sizes(packets[:complaint])) > NARROW
    assert all(packet.dont_fragment and not packet.fragment for packet in ours)
    assert max(_sizes(later[len(later) // 2 :])) <= NARROW  # some were on their way already
    assert any(packet.flags & ACK for packet in later)


def _sizes(packets: list[Packet]) -> list[int]:
    return [packet.length for packet in packets if packet.payload]
