"""Stack options of BIND, as the packets of those who connect see them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

import pytest

from socks6.message.options import Multipath, StackOption, Tfo, Tos, Ttl
from socks6.net.direct import DirectOutbound
from socks6.net.stackopts.adapter import IPPROTO_MPTCP
from socks6.net.stackopts.connecting import TCP_FASTOPEN_CONNECT
from socks6.net.stream import AcceptedPeer, Binding
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.packets import MPTCP

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
EVERY_LISTENER = 0x400  # of net.ipv4.tcp_fastopen: also those that do not ask
WISHED, NOT = Multipath(availability=2), Multipath(availability=1)

Scene: TypeAlias = Callable[[Binding], Awaitable[None]]


@pytest.fixture
def two() -> Iterator[Road]:
    """Give two hosts, joined: the peer, and the proxy, which takes data in SYNs."""
    with road() as made:
        made.last.set("net.ipv4.tcp_fastopen", 3)
        yield made


def bound(run: Run, two: Road, host: str, scene: Scene, *options: StackOption) -> None:
    """Have the second host listen for a client, and the first play."""

    async def play() -> None:
        way = DirectOutbound()
        with two.last.entered():
            binding = await way.bind(host, 0, judge=_anybody, judge_peer=_anybody, options=options, backlog=4)
        with two.first.entered():
            await scene(binding)
        await binding.aclose()
        await way.aclose()

    run(play())


def _anybody(address: str, port: int) -> bool:
    return True


async def visited(binding: Binding, peer: socket.socket, *, fast_open: bool = False) -> AcceptedPeer:
    """Connect, say something, and see that it arrives once; both ends are closed."""
    with peer:
        if fast_open:
            peer.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        await asyncio.to_thread(peer.connect, binding.bound)
        peer.sendall(REQUEST)
        peer.shutdown(socket.SHUT_WR)
        accepted = await binding.accept()
        got = b""
        while data := await accepted.stream.receive():
            got += data
        assert got == REQUEST
        await accepted.stream.aclose()
    return accepted


@FAMILIES
def test_data_in_the_syn_is_taken_when_the_client_has_asked_for_it(run: Run, two: Road, family: int) -> None:
    async def scene(binding: Binding) -> None:
        assert binding.options == (Tfo(payload_size=0),)
        for _ in range(2):  # the first fetches a cookie
            accepted = await visited(binding, socket.socket(family), fast_open=True)
            assert accepted.options == (Tfo(payload_size=0),)

    bound(run, two, two.last_address(family), scene, Tfo(payload_size=0))
    assert two.last.counter("TCPFastOpenPassive") == 1


@pytest.mark.parametrize("habit", [3, 3 | EVERY_LISTENER], ids=["usual", "every listener takes them"])
def test_unasked_none_is_taken_whatever_the_administrators_habit(run: Run, two: Road, habit: int) -> None:
    two.last.set("net.ipv4.tcp_fastopen", habit)

    async def scene(binding: Binding) -> None:
        assert binding.options == ()
        for _ in range(2):
            await visited(binding, socket.socket(), fast_open=True)

    bound(run, two, two.last_address(), scene)
    assert two.last.counter("TCPFastOpenPassive") == 0


@FAMILIES
def test_an_mptcp_peer_is_taken_as_such_and_another_as_what_it_is(run: Run, two: Road, family: int) -> None:
    async def scene(binding: Binding) -> None:
        assert binding.options == (WISHED,)
        with two.first.capturing() as capture:
            multipath = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
            accepted = await visited(binding, multipath)
            assert accepted.options == (WISHED,)
            assert MPTCP in capture.from_port(binding.bound.port)[0].options
        accepted = await visited(binding, socket.socket(family))
        assert accepted.options == (NOT,)

    bound(run, two, two.last_address(family), scene, WISHED)


@pytest.mark.parametrize("asked", [(), (NOT,)], ids=["unasked", "not wished"])
def test_unasked_a_peer_gets_no_mptcp(run: Run, two: Road, asked: tuple[StackOption, ...]) -> None:
    async def scene(binding: Binding) -> None:
        assert binding.options == asked
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        with two.first.capturing() as capture:
            accepted = await visited(binding, peer)
            assert accepted.options == asked
            assert not any(MPTCP in packet.options for packet in capture.from_port(binding.bound.port))

    bound(run, two, two.last_address(), scene, *asked)


def test_where_the_administrator_allows_none_that_is_told_at_once(run: Run, two: Road) -> None:
    two.last.set("net.mptcp.enabled", 0)

    async def scene(binding: Binding) -> None:
        assert binding.options == (NOT,)
        accepted = await visited(binding, socket.socket())
        assert accepted.options == (NOT,)

    bound(run, two, two.last_address(), scene, WISHED)


@FAMILIES
def test_every_packet_to_the_peer_has_the_tos_and_the_ttl(run: Run, two: Road, family: int) -> None:
    asked = (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33))

    async def scene(binding: Binding) -> None:
        with two.first.capturing() as capture:
            accepted = await visited(binding, socket.socket(family))
            assert (binding.options, accepted.options) == (asked, asked)
            packets = capture.from_port(binding.bound.port)
        assert len(packets) > 2
        assert {(packet.tos, packet.ttl) for packet in packets} == {(0x48, 33)}

    bound(run, two, two.last_address(family), scene, *asked)


def test_an_mptcp_peer_gets_the_tos_too(run: Run, two: Road) -> None:
    asked = (Tos(leg=2, tos=0x48), WISHED)

    async def scene(binding: Binding) -> None:
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        accepted = await visited(binding, peer)
        assert (binding.options, accepted.options) == (asked, asked)

    bound(run, two, two.last_address(), scene, *asked)
