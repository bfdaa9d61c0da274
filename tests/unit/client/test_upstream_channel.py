"""Datagrams through an upstream."""

import asyncio

import pytest
from typing_extensions import override

from socks6.client.outbound import UpstreamOutbound
from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.datagrams import Datagram, DatagramError
from socks6.message.options import Ttl, UdpError
from socks6.message.replies import OperationReply
from socks6.net.stream import DatagramJudge, DatagramReport
from tests.kit.associating import BOUND, NAMED, AssociatingProxy, associating
from tests.kit.channels import ChannelReader, ListedSink
from tests.kit.loops import Run
from tests.kit.proxied import scripted


class Judge(DatagramJudge):
    """Forbids one host; counts."""

    def __init__(self, forbidden: str = "") -> None:
        self.forbidden = forbidden
        self.asked = 0

    @override
    def judge_place(self, host: str, address: str, port: int) -> bool:
        raise AssertionError("the upstream judges places")

    @override
    def judge_source(self, address: str, port: int) -> bool:
        return address != self.forbidden

    @override
    def judge_name(self, host: str, port: int) -> bool:
        self.asked += 1
        return host != self.forbidden

    @override
    def judge_address(self, host: str, address: str, port: int) -> bool:
        self.asked += 1
        return address != self.forbidden


class Sink(ListedSink):
    """Lets a test wait for news."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    @override
    def datagrams_received(self, packets: object) -> None:  # passed on
        super().datagrams_received(packets)  # type: ignore[arg-type]
        self.news.set()

    @override
    def error_reported(self, report: DatagramReport) -> None:
        super().error_reported(report)
        self.news.set()

    @override
    def channel_closed(self, reason: str) -> None:
        super().channel_closed(reason)
        self.news.set()

    async def next(self) -> None:
        await self.news.wait()
        self.news.clear()


async def opened(
    proxy: AssociatingProxy, outbound: UpstreamOutbound, judge: Judge | None = None
) -> tuple[ChannelReader, Sink]:
    channel = await outbound.associate("0.0.0.0", 0, judge=judge or Judge(), options=proxy.options)
    sink = Sink()
    return ChannelReader(channel, sink), sink


def test_datagrams_go_to_the_upstream_and_come_back(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=(Ttl(leg=2, ttl=9),))
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client))
            assert channel.bound == BOUND
            assert channel.options == (Ttl(leg=2, ttl=9),)
            channel.send([(b"one", "192.0.2.5", 53), (b"two", "a.example", 53)])
            while len(sink.packets) < 2:
                await sink.next()
            assert sorted(sink.packets) == [(b"one", "192.0.2.5", 53), (b"two", NAMED, 53)]
            await channel.aclose()
            await channel.aclose()
            assert sink.reasons == []

    run(scene())


def test_icmp_errors_are_passed_on(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=(UdpError(availability=2),))
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client))
            error = DatagramError(
                association_id=proxy.association_id, host="192.0.2.5", port=53, code=2, reporter="10.0.0.1"
            )
            await proxy.send(error)
            await sink.next()
            assert sink.reports == [DatagramReport("192.0.2.5", 53, 2, "10.0.0.1")]
            await channel.aclose()

    run(scene())


def test_what_is_forbidden_neither_goes_nor_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        proxy, judge = AssociatingProxy(), Judge("192.0.2.66")
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client), judge)
            for _ in range(3):
                channel.send([(b"bad", "192.0.2.66", 53), (b"good", "192.0.2.5", 53)])
            from_there = Datagram(association_id=proxy.association_id, host="192.0.2.66", port=9, data=b"bad")
            await proxy.send(from_there)
            while len(sink.packets) < 3:
                await sink.next()
            assert {data for data, _, _ in sink.packets} == {b"good"}
            sent = {message.data for message in proxy.messages if isinstance(message, Datagram)}
            assert sent == {b"", b"good"}  # the opening one is empty
            assert judge.asked <= 4  # once for each place, each way
            await channel.aclose()

    run(scene())


def test_verdicts_are_not_kept_without_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.upstream_channel.MAX_CACHED_VERDICTS", 2)

    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client))
            for number in range(1, 6):
                channel.send([(b"hello", f"192.0.2.{number}", 53)])
                await sink.next()
            assert len(sink.packets) == 5
            await channel.aclose()

    run(scene())


def test_what_cannot_be_sent_is_lost_and_said_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client))
            for size in (65_508, 65_509):
                channel.send([(bytes(size), "192.0.2.5", 53), (b"", "a b", 53)])
            channel.send([(b"good", "192.0.2.5", 53)])
            await sink.next()
            assert sink.packets == [(b"good", "192.0.2.5", 53)]
            assert [record.args for record in caplog.records] == [
                ("datagram", "a datagram of 65508 bytes; at most 65487 fit")
            ]
            await channel.aclose()

    run(scene())


def test_an_upstream_that_goes_away_is_told(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            channel, sink = await opened(proxy, UpstreamOutbound(client))
            await proxy.hang_up()
            await sink.next()
            assert len(sink.reasons) == 1
            channel.send([(b"late", "192.0.2.5", 53)])
            await channel.aclose()

    run(scene())


def test_a_channel_that_was_not_started_can_be_closed(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            channel = await UpstreamOutbound(client).associate("0.0.0.0", 0, judge=Judge())
            await channel.aclose()
            await proxy.endings.get()

    run(scene())


def test_the_upstreams_reply_code_is_ours(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(reply=lambda _: OperationReply(code=2))
        async with associating(proxy) as client:
            with pytest.raises(NotAllowed):
                await UpstreamOutbound(client).associate("0.0.0.0", 0, judge=Judge())

    run(scene())


def test_a_broken_upstream_is_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with scripted(b"\6\0\xff") as client:
            with pytest.raises(GeneralFailure):
                await UpstreamOutbound(client).associate("0.0.0.0", 0, judge=Judge())

    run(scene())


def test_a_forwarder_gets_routes_on_the_socket_to_the_upstream(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            outbound = UpstreamOutbound(client)
            channel = await outbound.associate("0.0.0.0", 0, judge=Judge("192.0.2.66"))
            assert channel.route("192.0.2.5", 53) is None
            reader = ChannelReader(channel, Sink())
            route = channel.route("192.0.2.5", 53)
            assert route is not None
            assert (route.address, route.prefix) == (None, channel.framing.prefix("192.0.2.5", 53))
            assert channel.route("192.0.2.66", 53) is None
            assert channel.route("x" * 300, 53) is None
            for host, data in (("192.0.2.5", b"good"), ("192.0.2.66", b"bad")):
                message = channel.framing.build(channel.framing.prefix(host, 53), data)
                received = channel.receive(message or b"", ("127.0.0.1", 1))
                assert (received is not None and received.data == data) is (data == b"good")
            assert channel.receive(b"nonsense", ("127.0.0.1", 1)) is None
            await reader.aclose()
            assert route.sock.fileno() == -1

    run(scene())
