"""What a client's connection decides and records, without waiting for anything."""

import asyncio

import pytest

from socks6.compat import override
from socks6.errors import ConnectionRefused, GeneralFailure, NotAllowed, OperationFailed, UpstreamFailed
from socks6.message.codes import Command
from socks6.net.direct import DirectOutbound
from socks6.net.shares import Shares
from socks6.net.stream import ConnectResult, Endpoint, Judge
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.policy.user_limits import UserLimits
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.settings import Settings, UdpSettings
from socks6.proxy.worker import ServerWorker
from socks6.relay.bandwidth import Meter
from socks6.relay.streams import RelayResult
from socks6.telemetry import ConnectionEnded, Ending, Event, Observer
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair

ALICE, BOB = Identity(name="alice"), Identity(name="bob")


BOUND = Endpoint("192.0.2.1", 4711)


def connection_to(worker: ServerWorker) -> ClientConnection:
    return ClientConnection(worker, memory_stream_pair()[1], "socks6", 1)


def request_of(identity: Identity = ANONYMOUS, command: int = Command.CONNECT) -> ProxyRequest:
    return ProxyRequest(command=command, host="example.com.", port=80, identity=identity)


def admitted(worker: ServerWorker, identity: Identity, command: int = Command.CONNECT) -> ClientConnection:
    connection = connection_to(worker)
    connection.begin(request_of(identity, command))
    connection.admit(request_of(identity, command))
    return connection


def test_a_user_has_so_many_connections_and_others_their_own(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(settings=Settings(connections_per_user=2))
        connections = [
            admitted(worker, identity) for identity in (ALICE, ALICE, BOB, ANONYMOUS, ANONYMOUS, ANONYMOUS)
        ]
        with pytest.raises(GeneralFailure, match="2 connections of alice already"):
            admitted(worker, ALICE)
        assert worker.user_connections.count == 3
        for connection in connections:
            connection.close()
            connection.close()
        assert worker.user_connections.count == 0

    run(scene())


def test_it_has_its_users_account_until_it_ends_and_none_where_nothing_bounds_the_user(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker()
        slow = Identity(name="alice", limits=UserLimits(up=1_000, quota=500))
        connection = admitted(worker, slow)
        account = connection.account
        assert account is not None
        assert account.holders == {1: connection}
        connection.connected(BOUND, 100)  # which went ahead
        traffic = Traffic()
        connection.relaying(traffic)
        assert traffic.meters == [account.up, account.down]
        assert account.usage.up == 100
        connection.admit(request_of(BOB))
        assert (connection.account, account.holders) == (None, {})
        connection.admit(request_of(slow))
        account.up.spend(400)
        with pytest.raises(NotAllowed, match="quota"):
            admitted(worker, slow)
        connection.close()
        connection.close()
        assert account.holders == {}
        assert admitted(worker, BOB).account is None
        worker.accounts.replace_limits("bob", UserLimits(up=1))  # whatever the login of before knew
        assert admitted(worker, BOB).account is not None
        await worker.accounts.aclose()

    run(scene())


class Traffic:
    """A relay at work, which keeps what it is limited by."""

    bytes_up = bytes_down = 0

    def __init__(self) -> None:
        self.meters: list[Meter] = []

    def limit(self, up: Meter, down: Meter) -> None:
        self.meters = [up, down]


def test_limits_that_come_bind_a_relay_that_is_at_work(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker()
        connection = admitted(worker, ALICE)
        worker.connections.add(connection)
        traffic = Traffic()
        connection.relaying(traffic)
        assert not traffic.meters
        worker.accounts.replace_limits("alice", UserLimits(down=1_000))
        assert connection.account is not None
        assert traffic.meters == [connection.account.up, connection.account.down]
        await worker.accounts.aclose()

    run(scene())


def test_a_connection_counts_as_the_last_users_and_once(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(settings=Settings(connections_per_user=1))
        connection = admitted(worker, ALICE)
        for identity in (ALICE, BOB):
            connection.admit(request_of(identity))
        admitted(worker, ALICE).close()
        with pytest.raises(GeneralFailure):
            admitted(worker, BOB)

    run(scene())


def test_one_user_leaves_descriptors_to_others(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker()
        worker.descriptors = Shares(4)
        connections = [admitted(worker, identity) for identity in (ALICE, ALICE, BOB, ANONYMOUS, ANONYMOUS)]
        with pytest.raises(GeneralFailure, match="alice has its share of the descriptors that there are"):
            admitted(worker, ALICE)
        assert worker.descriptors.count == 3
        for connection in connections:
            connection.close()
        assert worker.descriptors.count == 0

    run(scene())


def test_associations_are_counted_and_take_no_share_of_the_descriptors(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(settings=Settings(udp=UdpSettings(associations_per_user=1)))
        connection = admitted(worker, ALICE, Command.UDP_ASSOCIATE)
        with pytest.raises(GeneralFailure, match="1 associations of alice already"):
            admitted(worker, ALICE, Command.UDP_ASSOCIATE)
        assert worker.descriptors.count == 0
        connection.close()
        assert worker.associations.count == 0

    run(scene())


def test_whom_a_reload_has_taken_out_is_not_admitted(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(authenticator=UserTable.from_plain({"alice": "123456"}))
        connection = connection_to(worker)
        worker.replace(authenticator=UserTable.from_plain({"bob": "654321"}), policy=Policy())
        with pytest.raises(NotAllowed, match="since a reload"):
            connection.admit(request_of(ALICE))

    run(scene())


def test_a_request_ends_the_handshake_and_makes_its_client_known(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker()
        known: list[object] = []
        stream = memory_stream_pair()[1]
        connection = ClientConnection(worker, stream, "socks6", 1, on_admitted=known.append)
        worker.monitor.add_handshake(connection.id, connection.deadline, connection.expire)
        for _ in range(2):
            connection.begin(request_of(ALICE))
        assert len(worker.monitor) == 0
        assert known == [stream]

    run(scene())


@pytest.mark.parametrize(
    ("failure", "ending"),
    [
        (NotAllowed("the rules say so"), Ending.REFUSED),
        (ConnectionRefused("no listener"), Ending.FAILED),
        (UpstreamFailed("upstream: no"), Ending.UPSTREAM),
    ],
)
def test_the_record_of_a_failure_has_its_code_and_reason(
    run: Run, failure: OperationFailed, ending: Ending
) -> None:
    async def scene() -> None:
        connection = admitted(ServerWorker(), ALICE)
        connection.failed(request_of(ALICE), failure)
        record = connection.summary()
        assert (record.user, record.command, record.host, record.port) == (
            "alice",
            "CONNECT",
            "example.com",
            80,
        )
        assert (record.reply, record.ending, record.reason) == (failure.code, ending, failure.reason)
        connection.connected(BOUND)  # a later request of the same client
        assert (connection.summary().reply, connection.summary().ending, connection.reason) == (
            0,
            Ending.DONE,
            "",
        )

    run(scene())


class Relayed(RelayResult):
    """A relay that is over, as one that is at work."""

    def limit(self, up: Meter, down: Meter) -> None: ...


def test_the_record_of_a_relay_adds_what_went_ahead(run: Run) -> None:
    async def scene() -> None:
        connection = admitted(ServerWorker(), ANONYMOUS)
        connection.connected(BOUND, 3)
        result = Relayed(bytes_up=4, bytes_down=5, ending=Ending.IDLE, reason="silence")
        connection.relaying(result)
        assert (connection.info().bytes_up, connection.info().bytes_down) == (7, 5)
        connection.relayed(result)
        assert (connection.info().bytes_up, connection.info().bytes_down) == (7, 5)
        record = connection.summary()
        assert (record.bytes_up, record.bytes_down, record.ending, record.reason) == (
            7,
            5,
            Ending.IDLE,
            "silence",
        )

    run(scene())


def test_the_record_has_the_times_of_the_last_request_where_it_is_wanted(run: Run) -> None:
    class Records(Observer):
        wants = (ConnectionEnded,)

        @override
        def observe(self, event: Event) -> None:
            raise AssertionError("no connection ends here")

    class Slow(DirectOutbound):
        @override
        async def connect(self, host: str, port: int, *, judge: Judge, **_: object) -> ConnectResult:
            await asyncio.sleep(0.02)
            assert judge("198.51.100.1", port)
            await asyncio.sleep(0.01)
            return ConnectResult(stream=memory_stream_pair()[0], bound=BOUND, outbound="second:1080")

    async def record(*observers: Observer) -> ConnectionEnded:
        connection = connection_to(ServerWorker(outbound=Slow(), observers=observers))
        await asyncio.sleep(0.01)
        await connection.connect(request_of())
        return connection.summary()

    async def scene() -> None:
        timed, without = await record(Records()), await record()
        assert timed.outbound == "second:1080"
        assert timed.handshake_seconds > 0.005
        assert 0.015 < timed.lookup_seconds < timed.connect_seconds - 0.005
        assert (without.handshake_seconds, without.lookup_seconds, without.connect_seconds) == (0, 0, 0)

    run(scene())


def test_what_broke_the_stream_is_recorded_unless_we_ended_it(run: Run) -> None:
    async def scene() -> None:
        connection = connection_to(ServerWorker())
        connection.expire()
        connection.broke(ConnectionResetError("gone"))
        assert connection.summary().ending is Ending.NO_REQUEST
        other = connection_to(ServerWorker())
        other.broke(ConnectionResetError("gone"))
        assert (other.summary().ending, other.summary().reason) == (Ending.RESET, "gone")

    run(scene())


def test_the_place_and_peer_of_a_bind_are_recorded(run: Run) -> None:
    async def scene() -> None:
        connection = connection_to(ServerWorker())
        connection.peer_connected(Endpoint("2001:db8::1", 7))
        assert connection.summary().peer == "[2001:db8::1]:7"
        connection.pushed(Endpoint("192.0.2.1", 7))
        record = connection.summary()
        assert (record.command, record.reply, record.peer) == ("BIND", 0, "192.0.2.1:7")

    run(scene())


@pytest.mark.parametrize(
    ("by_us", "by_others", "ours"), [(True, False, True), (False, True, False), (True, True, False)]
)
def test_a_connection_knows_whether_it_was_interrupted_or_cancelled_by_others(
    run: Run, by_us: bool, by_others: bool, ours: bool
) -> None:
    async def scene() -> None:
        begun: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()
        found: list[bool] = []

        async def serve() -> None:
            connection = connection_to(ServerWorker())
            connection.served_by_this_task()
            begun.set_result(connection)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                found.append(connection.was_interrupted())
                if not found[0]:
                    raise
                task = asyncio.current_task()
                assert task is not None
                assert not task.cancelling()  # or a time-out around it would be mistaken

        async with asyncio.TaskGroup() as group:
            task = group.create_task(serve())
            connection = await begun
            if by_us:
                connection.interrupt(Ending.STOPPED, "its session was torn down")
                connection.interrupt(Ending.RESET, "too late")
            if by_others:
                task.cancel()
        assert found == [ours]
        if ours:
            assert (connection.ending, connection.reason) == (Ending.STOPPED, "its session was torn down")
        connection.close()
        connection.interrupt(Ending.RESET, "it is over")  # which does nothing

    run(scene())
