"""QUIC or TLS, whichever connects first: with connectors whose attempts end when the test says."""

import asyncio

import pytest
from typing_extensions import override

from socks6.errors import CertificateRefused
from socks6.message.codes import Command
from socks6.net.resolve import FOR_ONE_NAME, Resolver
from socks6.net.stream import AttributeT, ByteStream, Substream
from socks6.net.transports import racing
from socks6.net.transports.base import Connector, ConnectParameters, NotAnswered, StreamRequest
from socks6.net.transports.racing import MAX_NETWORKS, RacingConnector
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, _Lane, memory_stream_pair
from tests.kit.streams import turns, until

REQUEST = StreamRequest(Command.CONNECT)
EARLY = StreamRequest(Command.CONNECT, early_data=b"request")
ASSOCIATE = StreamRequest(Command.UDP_ASSOCIATE)


class Attempts(Connector):
    """A connector whose attempts wait for their outcome."""

    def __init__(self) -> None:
        self.requests: list[StreamRequest] = []
        self.outcomes: list[asyncio.Future[ByteStream]] = []
        self.far_ends: list[ByteStream] = []
        self.lossy = False  # when it is asked next

    @override
    def loses_packets(self) -> bool:
        lossy, self.lossy = self.lossy, False
        return lossy

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        self.requests.append(request)
        self.outcomes.append(asyncio.get_running_loop().create_future())
        return await self.outcomes[-1]

    def connects(self) -> ByteStream:
        """Let the last attempt succeed; return its stream."""
        near, far = memory_stream_pair()
        self.far_ends.append(far)
        self.outcomes[-1].set_result(near)
        return near

    def fails(self, error: Exception | None = None) -> None:
        """Let the last attempt fail."""
        self.outcomes[-1].set_exception(error or ConnectionRefusedError(111, "Connection refused"))


class StreamOfQuic(MemoryStream):
    """A stream that is one of a connection's."""

    @override
    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        substream = Substream(self)  # type: ignore[arg-type]  # nothing is asked of the connection
        return substream if isinstance(substream, kind) else None


class Race:
    """A connector with both its transports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(racing, "HEAD_START_SECONDS", 0.0)
        self.quic, self.tls = Attempts(), Attempts()
        proxy = ConnectParameters(host="127.0.0.1", port=9, resolver=Resolver(lifetimes=FOR_ONE_NAME))
        self.connector = RacingConnector(self.quic, self.tls, proxy)
        self.network = "192.0.2.1"
        monkeypatch.setattr(RacingConnector, "_network", self._network)

    async def _network(self, _: RacingConnector | None = None) -> str:
        return self.network

    def open(self, request: StreamRequest = REQUEST) -> asyncio.Task[ByteStream]:
        return asyncio.create_task(self.connector.open(request))

    async def block_quic(self) -> None:
        """Make a request that finds QUIC blocked."""
        opening = self.open()
        await until(lambda: self.tls.outcomes)
        self.quic.fails()
        self.tls.connects()
        (await opening).abort()
        await turns()


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> Race:
    return Race(monkeypatch)


def test_quic_that_connects_within_its_head_start_is_not_raced(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racing, "HEAD_START_SECONDS", 30.0)

    async def scene() -> None:
        opening = race.open(EARLY)
        await until(lambda: race.quic.outcomes)
        stream = race.quic.connects()
        assert await opening is stream
        assert (race.quic.requests, race.tls.requests) == ([EARLY], [])

    run(scene())


def test_where_tls_is_first_quic_is_awaited_in_the_background_and_used_next(run: Run, race: Race) -> None:
    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        stream = race.tls.connects()
        assert await opening is stream
        opening = race.open()  # does not wait for QUIC any more
        await until(lambda: len(race.tls.outcomes) == 2)
        race.tls.connects()
        await opening
        race.quic.connects()
        with pytest.raises(ConnectionResetError):
            await race.quic.far_ends[0].receive()  # nothing goes by that stream
        opening = race.open()
        await until(lambda: len(race.quic.outcomes) == 2)
        stream = race.quic.connects()
        assert await opening is stream

    run(scene())


def test_where_quic_loses_packets_tls_has_the_head_start_for_connects(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(racing, "PATIENCE_SECONDS", 30.0)
    caplog.set_level("INFO")

    async def by_quic(request: StreamRequest) -> None:
        before = len(race.quic.requests)
        opening = race.open(request)
        await until(lambda: len(race.quic.requests) > before)
        stream = race.quic.connects()
        assert await opening is stream

    async def scene() -> None:
        for race.quic.lossy in (True, True, False):
            opening = race.open(EARLY)
            await until(lambda: race.tls.outcomes and not race.tls.outcomes[-1].done())
            stream = race.tls.connects()
            assert await opening is stream
            assert await race.tls.far_ends[-1].receive() == EARLY.early_data  # once
        assert race.tls.requests == [REQUEST] * 3
        assert not race.quic.requests
        assert [record.message for record in caplog.records] == [
            "packets get lost, TLS for new connections for 600 s proxy=127.0.0.1:9"
        ]
        await by_quic(ASSOCIATE)
        race.network = "198.51.100.1"
        await by_quic(REQUEST)
        race.network = "192.0.2.1"
        now = racing._now()
        monkeypatch.setattr(racing, "_now", lambda: now + racing.LOSSY_SECONDS + 1)
        await by_quic(REQUEST)

    run(scene())


@pytest.mark.parametrize("fails", [True, False])
def test_where_quic_loses_packets_and_tls_does_not_connect_it_is_quic_still(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(racing, "PATIENCE_SECONDS", 30.0 if fails else 0.0)
    race.quic.lossy = True

    async def scene() -> None:
        opening = race.open(EARLY)
        await until(lambda: race.tls.outcomes)
        if fails:
            race.tls.fails()
        await until(lambda: race.quic.outcomes)
        stream = race.quic.connects()
        assert await opening is stream
        assert await race.quic.far_ends[-1].receive() == EARLY.early_data
        opening = race.open()
        await until(lambda: len(race.quic.outcomes) == 2)  # at once
        race.quic.connects()
        await opening

    run(scene())


def test_networks_that_lose_packets_are_not_remembered_without_end(run: Run, race: Race) -> None:
    async def scene() -> None:
        for number in range(MAX_NETWORKS + 2):
            race.network, race.quic.lossy = f"192.0.2.{number}", True
            opening = race.open()
            await until(lambda: race.tls.outcomes and not race.tls.outcomes[-1].done())
            race.tls.connects()
            await opening
        assert len(race.connector._lossy_until) == MAX_NETWORKS

    run(scene())


def test_a_quic_connection_that_falls_silent_is_left_for_tls_until_quic_answers_again(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racing, "HEAD_START_SECONDS", 30.0)

    async def silence() -> None:
        raise NotAnswered("no packet has come")

    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.quic.outcomes)
        race.quic.connects()
        await opening
        with pytest.raises(NotAnswered):
            await race.connector.first_answer(StreamOfQuic(incoming=_Lane(1), outgoing=_Lane(1)), silence())
        opening = race.open()  # which does not wait for QUIC
        await until(lambda: race.tls.outcomes)
        stream = race.tls.connects()
        assert await opening is stream
        with pytest.raises(NotAnswered):  # this one says nothing of QUIC
            await race.connector.first_answer(stream, silence())
        assert race.quic.requests == [REQUEST, StreamRequest(Command.NOOP)]
        race.quic.connects()
        await turns()
        opening = race.open()
        await until(lambda: len(race.quic.outcomes) == 3)
        stream = race.quic.connects()
        assert await opening is stream

    run(scene())


def test_early_data_goes_by_the_first_to_connect_and_quic_is_given_up_for_tls(run: Run, race: Race) -> None:
    async def scene() -> None:
        opening = race.open(EARLY)
        await until(lambda: race.tls.outcomes)
        assert race.tls.requests == [REQUEST]
        race.tls.connects()
        await opening
        assert await race.tls.far_ends[0].receive() == b"request"
        await until(race.quic.outcomes[0].cancelled)
        assert not race.connector._retry_at

    run(scene())


def test_a_network_that_blocks_quic_is_remembered_and_tried_again_beside_a_request(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        await race.block_quic()
        assert caplog.messages == [
            "QUIC unreachable, falling back to TLS for 300 s proxy=127.0.0.1:9 reason='Connection refused'"
        ]
        opening = race.open()
        await until(lambda: len(race.tls.outcomes) == 2)
        race.tls.connects()
        await opening
        assert len(race.quic.outcomes) == 1

        race.connector._retry_at[race.network] = 0.0  # it is time
        opening = race.open()
        await until(lambda: len(race.tls.outcomes) == 3 and len(race.quic.outcomes) == 2)
        race.tls.connects()
        await opening  # which has not waited for QUIC
        race.quic.connects()
        await until(lambda: not race.connector._retry_at)
        opening = race.open()
        await until(lambda: len(race.quic.outcomes) == 3)
        stream = race.quic.connects()
        assert await opening is stream

    run(scene())


def test_requests_at_the_same_time_tell_once_that_quic_is_blocked(
    run: Run, race: Race, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        requests = [race.open(), race.open()]
        await until(lambda: len(race.tls.outcomes) == 2)
        for outcome in race.quic.outcomes:
            outcome.set_exception(ConnectionRefusedError())
        for outcome in race.tls.outcomes:
            outcome.set_result(memory_stream_pair()[0])
        for request in requests:
            (await request).abort()
        await turns()
        assert len(caplog.messages) == 1

    run(scene())


def test_another_network_is_tried_by_quic_and_so_many_are_remembered(run: Run, race: Race) -> None:
    async def scene() -> None:
        for number in range(MAX_NETWORKS + 2):
            race.network = f"192.0.2.{number}"
            race.quic.outcomes, race.tls.outcomes = [], []
            await race.block_quic()
        assert list(race.connector._retry_at) == [
            f"192.0.2.{number}" for number in range(2, MAX_NETWORKS + 2)
        ]

    run(scene())


@pytest.mark.parametrize("by_tls", [False, True])
def test_a_proxy_that_is_not_the_right_one_ends_the_race(run: Run, race: Race, by_tls: bool) -> None:
    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        refusing, other = (race.tls, race.quic) if by_tls else (race.quic, race.tls)
        refusing.fails(CertificateRefused("the certificate does not hold"))
        with pytest.raises(CertificateRefused):
            await opening
        await until(other.outcomes[0].cancelled)

    run(scene())


def test_where_neither_gets_through_nothing_is_remembered(run: Run, race: Race) -> None:
    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        race.tls.fails(OSError(113, "No route to host"))
        await turns()
        assert not opening.done()
        race.quic.fails()
        with pytest.raises(OSError, match="No route to host"):
            await opening
        assert not race.connector._retry_at

    run(scene())


def test_quic_is_given_up_after_its_time(
    run: Run, race: Race, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(racing, "ATTEMPT_SECONDS", 0.01)

    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        race.tls.connects()
        await opening
        await until(lambda: "no answer" in caplog.text)

    run(scene())


def test_a_cancelled_request_leaves_nothing(run: Run, race: Race) -> None:
    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        race.quic.connects()  # at the same moment
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(race.tls.outcomes[0].cancelled)
        with pytest.raises(ConnectionResetError):
            await race.quic.far_ends[0].receive()

    run(scene())


def test_closing_ends_what_is_tried_in_the_background(run: Run, race: Race) -> None:
    async def scene() -> None:
        opening = race.open()
        await until(lambda: race.tls.outcomes)
        race.tls.connects()
        await opening
        await race.connector.aclose()
        await until(race.quic.outcomes[0].cancelled)

    run(scene())


def test_the_network_is_this_machines_address_on_it(run: Run) -> None:
    async def scene() -> None:
        found = []
        for host in ("127.0.0.1", "::1"):
            proxy = ConnectParameters(host=host, port=9, resolver=Resolver(lifetimes=FOR_ONE_NAME))
            found.append(await RacingConnector(Attempts(), Attempts(), proxy)._network())
        assert found == ["127.0.0.1", "::1"]

    run(scene())
