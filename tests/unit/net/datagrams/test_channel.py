"""The channel with sockets of this machine, as an association uses it that has no table entries."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Hashable, Sequence
from typing import Final

import pytest
from typing_extensions import override

from socks6.errors import NotAllowed, OperationFailed
from socks6.message.codes import DatagramErrorCode
from socks6.message.options import NoFragmentation, PortParity, Ttl, UdpError
from socks6.net.datagrams.channel import MAX_ROUTES, MAX_WAITING_DATAGRAMS, DirectChannel
from socks6.net.datagrams.direct import DatagramSettings
from socks6.net.datagrams.filtering import Filtering
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import DatagramJudge, DatagramReport, DatagramSink, Packet
from tests.kit.channels import ChannelReader
from tests.kit.forwarding_scene import everything, udp_socket
from tests.kit.loops import Run
from tests.kit.netns import Namespace, needs_namespaces
from tests.kit.streams import turns

ANY: Final = ("0.0.0.0", 0)
LOOPBACK_INDEX: Final = 1  # in any namespace


class Judge(DatagramJudge):
    """Denies what is in a set: names, addresses, sources as they are written."""

    def __init__(self, *denied: str) -> None:
        self.denied = set(denied)
        self.asked: list[str] = []

    def _allows(self, host: str) -> bool:
        self.asked.append(host)
        return host not in self.denied

    @override
    def judge_place(self, host: str, address: str, port: int) -> bool:
        return self._allows(address)

    @override
    def judge_name(self, host: str, port: int) -> bool:
        return self._allows(host)

    @override
    def judge_address(self, host: str, address: str, port: int) -> bool:
        return self._allows(address)

    @override
    def judge_source(self, address: str, port: int) -> bool:
        return self._allows(f"from {address}")


class Sink(DatagramSink):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[Packet] = asyncio.Queue()
        self.reports: asyncio.Queue[DatagramReport] = asyncio.Queue()

    @override
    def datagrams_received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self.packets.put_nowait(packet)

    @override
    def error_reported(self, report: DatagramReport) -> None:
        self.reports.put_nowait(report)

    @override
    def channel_closed(self, reason: str) -> None:
        raise AssertionError(reason)


class SlowResolver(Resolver):
    """Knows one name, when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.lookups = 0

    @override
    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        if host != "slow.example":
            return await super().resolve(host, port)
        self.lookups += 1
        await self.open.wait()
        return (
            ResolvedAddress(socket.AF_INET6, ("::1", 0, 0, 0)),
            ResolvedAddress(socket.AF_INET, ("127.0.0.1", 0)),
        )


class SilentResolver(Resolver):
    """Finds nothing, and that when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.asked: list[str] = []

    @override
    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        if not host.endswith(".example"):
            return await super().resolve(host, port)
        self.asked.append(host)
        await self.open.wait()
        raise OSError


@contextlib.asynccontextmanager
async def channel(
    judge: Judge | None = None,
    *,
    place: tuple[str, int] = ANY,
    resolver: Resolver | None = None,
    settings: DatagramSettings | None = None,
    options: tuple[UdpError | Ttl | PortParity | NoFragmentation, ...] = (),
) -> AsyncIterator[tuple[DirectChannel, Sink]]:
    """Open one, and start it."""
    way = DirectOutbound(resolver, datagrams=settings or DatagramSettings())
    opened = await way.associate(*place, judge=judge or Judge(), options=options)
    assert isinstance(opened, DirectChannel)
    sink = Sink()
    reader = ChannelReader(opened, sink)
    try:
        yield opened, sink
    finally:
        await reader.aclose()
        await opened.aclose()
        await way.aclose()


def place_of(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return host, port


def test_datagrams_go_to_both_families_and_come_back(run: Run) -> None:
    async def play() -> None:
        async with channel() as (made, sink):
            with udp_socket() as peer, udp_socket("::1") as peer6:
                for other in (peer, peer6, peer):
                    made.send(((b"there", *place_of(other)),))
                    data, source = other.recvfrom(10)
                    assert (data, source[1]) == (b"there", made.bound.port)
                    other.sendto(b"back", source)
                    assert await sink.packets.get() == (b"back", *place_of(other))
            assert len(made.sockets) == 2

    run(play())


def test_a_mapped_address_is_ipv4(run: Run) -> None:
    async def play() -> None:
        async with channel() as (made, _):
            with udp_socket() as peer:
                made.send(((b"x", "::ffff:127.0.0.1", place_of(peer)[1]),))
                assert everything(peer) == [b"x"]

    run(play())


def test_a_slow_name_holds_up_nobody_else(run: Run) -> None:
    async def play() -> None:
        resolver = SlowResolver()
        async with channel(Judge("::1"), resolver=resolver) as (made, _):
            with udp_socket() as peer:
                port = place_of(peer)[1]
                made.send(
                    ((b"1", "slow.example", port), (b"2", "127.0.0.1", port), (b"3", "slow.example", port))
                )
                assert everything(peer) == [b"2"]
                await asyncio.sleep(0)
                assert resolver.lookups == 1
                resolver.open.set()
                await turns()
                assert everything(peer) == [b"1", b"3"]  # to the address that is allowed
                made.send(((b"4", "slow.example", port),))
                assert everything(peer) == [b"4"]
                assert resolver.lookups == 1

    run(play())


def test_one_association_keeps_no_others_names_from_being_found(run: Run) -> None:
    async def play() -> None:
        resolver = SilentResolver()
        way = DirectOutbound(resolver)
        greedy, other = [await way.associate(*ANY, judge=Judge(), options=()) for _ in range(2)]
        assert isinstance(greedy, DirectChannel)
        greedy.send([(b"x", f"n{number}.example", 9) for number in range(MAX_WAITING_DATAGRAMS + 5)])
        other.send(((b"x", "wanted.example", 9),))
        await turns()
        assert (len(resolver.asked), resolver.asked[-1]) == (MAX_WAITING_DATAGRAMS + 1, "wanted.example")
        assert greedy.dropped == 5
        resolver.open.set()
        await turns()
        greedy.send(((b"x", "another.example", 9),))
        await turns()
        assert resolver.asked[-1] == "another.example"
        for made in (greedy, other):
            await made.aclose()
        await way.aclose()

    run(play())


@needs_namespaces
def test_a_client_is_told_of_no_scope(run: Run) -> None:
    async def play() -> None:
        async with channel(place=("::", 0)) as (made, sink):
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as neighbour:
                neighbour.bind(("fe80::1", 0, 0, LOOPBACK_INDEX))
                async with asyncio.timeout(5):
                    while sink.packets.empty():  # the route comes a moment after the address
                        neighbour.sendto(b"here", ("fe80::1", made.bound.port, 0, LOOPBACK_INDEX))
                        await asyncio.sleep(0.01)
                assert sink.packets.get_nowait() == (b"here", "fe80::1", place_of(neighbour)[1])

    namespace = Namespace()
    try:
        namespace.configure("address add fe80::1/64 dev lo nodad")
        with namespace.entered():
            run(play())
    finally:
        namespace.close()


def test_a_name_that_is_found_when_the_channel_is_closed_is_no_harm(run: Run) -> None:
    async def play() -> None:
        resolver = SlowResolver()
        async with channel(resolver=resolver) as (made, _):
            made.send(((b"1", "slow.example", 9),))
            await asyncio.sleep(0)
            await made.aclose()
            resolver.open.set()
            made.send(((b"2", "slow.example", 9), (b"3", "127.0.0.1", 9)))
            await asyncio.sleep(0)
            assert made.sockets == ()

    run(play())


@pytest.mark.parametrize("host", ["denied.example", "127.0.0.9", "0.0.0.0", "::"])
def test_what_may_not_be_reached_is_dropped_and_counted(run: Run, host: str) -> None:
    async def play() -> None:
        judge = Judge("denied.example", "127.0.0.9")
        async with channel(judge) as (made, _):
            with udp_socket() as peer:
                made.send(((b"x", host, place_of(peer)[1]), (b"x", "127.0.0.1", 0)))
                assert everything(peer) == []
                assert made.dropped == 2

    run(play())


def test_verdicts_are_used_again(run: Run) -> None:
    async def play() -> None:
        judge = Judge()
        async with channel(judge) as (made, sink):
            with udp_socket() as peer:
                for _ in range(5):
                    made.send(((b"x", *place_of(peer)),))
                    peer.sendto(b"y", ("127.0.0.1", made.bound.port))
                    await sink.packets.get()
            assert judge.asked == ["0.0.0.0", "127.0.0.1", "from 127.0.0.1"]

    run(play())


def test_verdicts_end_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.datagrams.channel.ROUTE_SECONDS", 0.0)

    async def play() -> None:
        judge = Judge()
        async with channel(judge) as (made, sink):
            with udp_socket() as peer:
                for _ in range(2):
                    made.send(((b"x", *place_of(peer)),))
                    peer.sendto(b"y", ("127.0.0.1", made.bound.port))
                    await asyncio.wait_for(sink.packets.get(), 5)
                assert judge.asked[1:] == ["127.0.0.1", "from 127.0.0.1"] * 2
                judge.denied = {"127.0.0.1", "from 127.0.0.1"}
                peer.setblocking(True)
                assert peer.recv(9) == peer.recv(9) == b"x"
                peer.setblocking(False)
                made.send(((b"x", *place_of(peer)),))
                assert (everything(peer), made.dropped) == ([], 1)

    run(play())


def test_sources_that_the_rules_or_the_filter_deny_are_dropped(run: Run) -> None:
    async def play() -> None:
        settings = DatagramSettings(filtering=Filtering.ADDRESS_DEPENDENT, remote_timeout=0.05)
        async with channel(Judge("from 127.0.0.2"), settings=settings) as (made, sink):
            with udp_socket() as friend, udp_socket("127.0.0.2") as foe, udp_socket("127.0.0.3") as stranger:
                for other in (friend, foe):
                    made.send(((b"x", *place_of(other)),))
                for other in (foe, stranger, friend):
                    other.sendto(b"y", ("127.0.0.1", made.bound.port))
                assert await sink.packets.get() == (b"y", *place_of(friend))
                await asyncio.sleep(0.06)  # the remote expires with idleness
                friend.sendto(b"late", ("127.0.0.1", made.bound.port))
                stranger.sendto(b"z", ("127.0.0.1", made.bound.port))
                made.send(((b"x", *place_of(stranger)),))
                stranger.sendto(b"admitted", ("127.0.0.1", made.bound.port))
                found = [await sink.packets.get()]
                while found[-1][0] != b"admitted":
                    found.append(await sink.packets.get())
                assert b"late" not in [data for data, _, _ in found]

    run(play())


def test_what_is_remembered_is_bounded(run: Run) -> None:
    async def play() -> None:
        async with channel() as (made, _):
            made.send([(b"", "127.0.0.1", 1 + number) for number in range(MAX_ROUTES + 10)])
            assert len(made._routes) <= MAX_ROUTES
            for number in range(MAX_ROUTES + 10):
                made.admitted_until(("192.0.2.1", number), 0.0)
            assert len(made._sources) <= MAX_ROUTES

    run(play())


def test_icmp_errors_come_to_who_asked(run: Run) -> None:
    async def play() -> None:
        wish = UdpError(availability=2)
        async with channel(options=(wish,)) as (made, sink):
            assert made.options == (wish,)
            with udp_socket() as peer:
                with udp_socket() as gone:
                    nobody = place_of(gone)
                for _ in range(3):  # a closed port is no error of the draft's; it costs nothing that follows
                    made.send(((b"x", *nobody), (b"x", *place_of(peer))))
                    assert everything(peer) == [b"x"]
                    peer.sendto(b"y", ("127.0.0.1", made.bound.port))
                    assert (await sink.packets.get())[0] == b"y"
                assert sink.reports.empty()

    run(play())


def test_a_datagram_too_big_for_the_own_interface_is_reported_over_ipv6(run: Run) -> None:
    async def play() -> None:
        options = (UdpError(availability=2), NoFragmentation(leg=2, availability=2))
        async with channel(options=options, place=("::", 0)) as (made, sink):
            made.send(((bytes(65_500), "::1", 9),))  # loopback's MTU is 65 536, with headers
            assert await sink.reports.get() == DatagramReport("::1", 9, DatagramErrorCode.TOO_BIG, "::1")

    run(play())


def test_no_error_option_no_reports(run: Run) -> None:
    async def play() -> None:
        for options in ((), (UdpError(availability=1),)):
            async with channel(options=options) as (made, _):
                assert made.options == options
                assert made.sockets[0].getsockopt(socket.IPPROTO_IP, 11) == 0  # IP_RECVERR

    run(play())


def test_options_are_those_in_force(run: Run) -> None:
    async def play() -> None:
        async with channel(options=(Ttl(leg=3, ttl=9), PortParity(parity=2))) as (made, _):
            assert set(made.options) == {Ttl(leg=2, ttl=9), PortParity(parity=2)}
            assert made.bound.port % 2 == 1

    run(play())


def test_a_place_that_may_not_be_bound_is_refused(run: Run) -> None:
    async def play() -> None:
        with pytest.raises(NotAllowed):
            async with channel(Judge("127.0.0.1"), place=("127.0.0.1", 0)):
                pass
        with pytest.raises(OperationFailed):
            async with channel(place=("192.0.2.1", 0)):
                pass

    run(play())
