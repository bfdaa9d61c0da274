"""socks6 forward --udp, with a scripted proxy that answers from where datagrams were for."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from socks6.cli.forward_udp import UdpPortForwarder
from socks6.client.client import Client
from socks6.client.monitor import UpstreamMonitor
from socks6.message.datagrams import Datagram
from socks6.message.replies import OperationReply
from socks6.net.stream import Endpoint
from tests.kit.associating import NAMED, AssociatingProxy, associating
from tests.kit.loops import Run

REMOTE = Endpoint("192.0.2.5", 53)


@contextlib.asynccontextmanager
async def forwarding(
    client: Client, remote: Endpoint = REMOTE, *, local: str = "127.0.0.1", idle: float = 0.0, peers: int = 10
) -> AsyncIterator[Endpoint]:
    """Forward to a host; give the place to send to."""
    place: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
    forwarder = UdpPortForwarder(UpstreamMonitor(client), remote, idle=idle, peers=peers)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(forwarder.run(Endpoint(local, 0), place.set_result))
        yield await place
        task.cancel()


class Peer:
    """A local program with a UDP socket of its own."""

    def __init__(self, place: Endpoint) -> None:
        self._socket = socket.socket(
            socket.AF_INET6 if ":" in place.host else socket.AF_INET, socket.SOCK_DGRAM
        )
        self._socket.setblocking(False)
        self._socket.connect(place)

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._socket.fileno(), _tell, waiter)
        try:
            await waiter
        finally:
            loop.remove_reader(self._socket.fileno())
        return self._socket.recv(65536)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.receive()

    def close(self) -> None:
        self._socket.close()


def _tell(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


@pytest.mark.parametrize("local", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("remote", [REMOTE, Endpoint("2001:db8::5", 53), Endpoint("example.com", 53)])
def test_datagrams_go_to_the_host_and_its_answers_come_back(run: Run, local: str, remote: Endpoint) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client, remote, local=local) as place:
            with contextlib.closing(Peer(place)) as peer:
                assert await peer.ask(b"one") == b"one"
                assert await peer.ask(b"two") == b"two"
        datagrams = [message for message in proxy.messages if isinstance(message, Datagram) and message.data]
        assert [(one.host, one.port, one.data) for one in datagrams] == [(*remote, b"one"), (*remote, b"two")]

    run(scene())


@pytest.mark.parametrize(("local", "near"), [("0.0.0.0", "127.0.0.2"), ("::", "::1")])
def test_answers_leave_from_the_address_that_a_peer_sends_to(run: Run, local: str, near: str) -> None:
    async def scene() -> None:
        async with (
            associating(AssociatingProxy()) as client,
            forwarding(client, local=local) as place,
        ):
            with contextlib.closing(Peer(Endpoint(near, place.port))) as peer:
                assert await peer.ask(b"hello") == b"hello"

    run(scene())


def test_each_peer_has_a_port_of_its_own_at_the_proxy(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client) as place:
            with contextlib.closing(Peer(place)) as first, contextlib.closing(Peer(place)) as second:
                assert (await first.ask(b"first"), await second.ask(b"second")) == (b"first", b"second")
        assert len(proxy.requests) == 2

    run(scene())


def test_what_comes_before_there_is_a_way_waits_for_it(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(loses=1)
        async with associating(proxy) as client, forwarding(client) as place:
            with contextlib.closing(Peer(place)) as peer:
                for number in range(5):
                    peer.send(bytes((number,)))
                assert [await peer.receive() for _ in range(5)] == [bytes((number,)) for number in range(5)]

    run(scene())


def test_strangers_are_not_forwarded(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client) as place:
            with contextlib.closing(Peer(place)) as peer:
                await peer.ask(b"hello")
                stranger = Datagram(
                    association_id=proxy.association_id, host=NAMED, port=53, data=b"stranger"
                )
                await proxy.send(stranger)
                assert await peer.ask(b"again") == b"again"

    run(scene())


@pytest.mark.slow
def test_a_silent_peer_is_forgotten_and_may_come_again(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client, idle=0.5) as place:
            with contextlib.closing(Peer(place)) as peer:
                await peer.ask(b"hello")
                await proxy.endings.get()
                await peer.ask(b"again")
        assert len(proxy.requests) == 2

    run(scene())


@pytest.mark.slow
def test_a_peer_that_has_sent_but_once_is_forgotten_sooner(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.cli.forward_udp.BRIEF_SECONDS", 0.5)

    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client, idle=60.0) as place:
            with contextlib.closing(Peer(place)) as once, contextlib.closing(Peer(place)) as twice:
                await twice.ask(b"1")
                await twice.ask(b"2")
                await once.ask(b"3")
                await proxy.endings.get()
                await twice.ask(b"4")
                assert len(proxy.requests) == 2
                await once.ask(b"5")
                assert len(proxy.requests) == 3

    run(scene())


def test_for_one_peer_too_many_the_one_silent_longest_goes(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, forwarding(client, peers=2) as place:
            with contextlib.ExitStack() as held:
                first, second, third = (held.enter_context(contextlib.closing(Peer(place))) for _ in range(3))
                await first.ask(b"1")
                await asyncio.sleep(0.005)  # more than what uvloop counts in
                await second.ask(b"2")
                await asyncio.sleep(0.005)  # more than what uvloop counts in
                await first.ask(b"3")
                await asyncio.sleep(0.005)  # more than what uvloop counts in
                await third.ask(b"4")  # the second goes
                await first.ask(b"5")
                assert len(proxy.requests) == 3
                await second.ask(b"6")
                assert len(proxy.requests) == 4

    run(scene())


def test_a_proxy_that_refuses_is_told_of_once_and_not_asked_at_every_datagram(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(reply=lambda _: OperationReply(code=2))
        async with associating(proxy) as client, forwarding(client) as place:
            with contextlib.closing(Peer(place)) as peer:
                for _ in range(5):
                    peer.send(b"hello")
                await proxy.endings.get()
                peer.send(b"hello")
                await asyncio.sleep(0.05)
        assert len(proxy.requests) == 1

    run(scene())
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "not allowed" in complaint


def test_what_is_too_large_is_lost(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client, forwarding(client) as place:
            with contextlib.closing(Peer(place)) as peer:
                await peer.ask(b"hello")
                peer.send(bytes(65_507))
                assert await peer.ask(b"again") == b"again"

    run(scene())


def test_a_place_that_is_taken_is_told(run: Run) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            forwarder = UdpPortForwarder(
                UpstreamMonitor(Client("socks6://127.0.0.1:1")), REMOTE, idle=0.0, peers=1
            )
            with pytest.raises(OSError, match="in use"):
                await forwarder.run(Endpoint(*taken.getsockname()), lambda _: None)

    run(scene())
