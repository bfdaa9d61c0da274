"""The worker: one client connection from the first byte to the log line."""

import asyncio

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError, ConnectionRefused
from socks6.message.codes import Command
from socks6.net.stream import ByteStream, Endpoint
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Inbound, Tunnel
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Ending, Event
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound

CONNECT = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
PASSWORD = bytes.fromhex("0004 0014 02 01 05 616c696365 06 313233343536 00")
CONNECT_AS_ALICE = bytes.fromhex("06 01 0014 0050 00 03 0b") + b"example.com" + PASSWORD
CONNECTED = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")


class OnlyAlice(Authenticator):
    """Knows one user."""

    def __init__(self, *, lets_in: bool = True) -> None:
        self._lets_in = lets_in
        self.asked = 0

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.asked += 1
        return Identity(name="alice") if self._lets_in else None


async def receive_all(stream: ByteStream) -> bytes:
    data = bytearray()
    while piece := await stream.receive():
        data += piece
    return bytes(data)


async def talk(worker: ServerWorker, outbound: ScriptedOutbound, request: bytes) -> tuple[bytes, bytes]:
    """Make a request, send "up" after it and "down" back; return what client and remote received."""
    client, server = memory_stream_pair()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.serve_stream(server))
        await client.send(request + b"up")
        await client.send_eof()
        answer = b""
        while len(answer) < len(CONNECTED) and (piece := await client.receive(len(CONNECTED) - len(answer))):
            answer += piece
        received = b""
        if outbound.dialled and hasattr(outbound, "far"):
            received = await receive_all(outbound.far)
            await outbound.far.send(b"down")
            await outbound.far.send_eof()
            answer += await receive_all(client)
    return answer, received


def test_a_connect_is_relayed_both_ways_with_half_close(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log])
        assert await talk(worker, outbound, CONNECT) == (CONNECTED + b"down", b"up")
        (summary,) = log.summaries
        assert (summary.command, summary.host, summary.port) == ("CONNECT", "example.com", 80)
        assert (summary.bytes_up, summary.bytes_down) == (2, 4)
        assert (summary.ending, summary.reply, summary.inbound) == (Ending.DONE, 0, "socks6")

    run(scene())


def test_data_that_went_ahead_is_not_sent_twice(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(sent=1), Recorder()
        assert (await talk(ServerWorker(outbound=outbound, observers=[log]), outbound, CONNECT))[1] == b"p"
        assert log.summaries[0].bytes_up == 2

    run(scene())


def test_the_outbound_is_asked_for_what_the_client_asked(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        await talk(ServerWorker(outbound=outbound), outbound, CONNECT)
        (dialled,) = outbound.dialled
        assert (dialled.host, dialled.port, dialled.first_data) == ("example.com", 80, b"up")

    run(scene())


def test_a_failure_is_answered_with_its_code_and_logged(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(ConnectionRefused("nobody listens")), Recorder()
        answer, _ = await talk(ServerWorker(outbound=outbound, observers=[log]), outbound, CONNECT)
        assert answer == bytes.fromhex("06 00 0000  06 05 0000 0000 00 01 00000000")
        (summary,) = log.summaries
        assert (summary.ending, summary.reply, summary.reason) == (Ending.FAILED, 5, "nobody listens")

    run(scene())


def test_the_rules_judge_the_name_before_anybody_resolves_it(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log], policy=Policy())
        request = bytes.fromhex("06 01 0000 0050 00 01 7f000001")
        answer, _ = await talk(worker, outbound, request)
        assert answer[4:6] == b"\x06\x02"
        assert outbound.dialled == []
        assert log.summaries[0].ending is Ending.REFUSED

    run(scene())


def test_the_rules_judge_each_address_that_a_name_leads_to(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(addresses=("93.184.216.34", "10.0.0.1"))
        answer, _ = await talk(ServerWorker(outbound=outbound), outbound, CONNECT)
        assert answer[4:6] == b"\x06\x02"

    run(scene())


def test_the_right_password_names_the_user(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log], authenticator=OnlyAlice())
        answer, _ = await talk(worker, outbound, CONNECT_AS_ALICE)
        assert answer.startswith(bytes.fromhex("06 00 0008 0004 0008 02 0100 00"))
        assert log.summaries[0].user == "alice"

    run(scene())


def test_without_a_password_nothing_is_dialled(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log], authenticator=OnlyAlice())
        assert await talk(worker, outbound, CONNECT) == (bytes.fromhex("06 01 0000"), b"")
        assert outbound.dialled == []
        assert log.summaries[0].ending is Ending.UNAUTHENTICATED
        assert log.summaries[0].reply == -1

    run(scene())


class FromAfar:
    """A stream whose peer has an address."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.remote = Endpoint("198.51.100.7", 1)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def test_guessing_too_often_is_not_even_checked(run: Run) -> None:
    async def scene() -> None:
        users = OnlyAlice(lets_in=False)
        worker = ServerWorker(outbound=ScriptedOutbound(), authenticator=users)
        for _ in range(30):
            client, server = memory_stream_pair()
            await client.send(CONNECT_AS_ALICE)
            await client.send_eof()
            await worker.serve_stream(FromAfar(server))  # type: ignore[arg-type]  # the rest is the stream's
            assert await client.receive() == bytes.fromhex("06 01 0008 0004 0008 02 0101 00")
        assert 0 < users.asked < 30

    run(scene())


def test_a_noop_is_answered(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log])
        answer, _ = await talk(worker, outbound, bytes.fromhex("06 00 0000 0000 00 01 00000000"))
        assert answer == bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")
        assert log.summaries[0].command == "NOOP"

    run(scene())


@pytest.mark.parametrize("command", [Command.UDP_ASSOCIATE, 77])
def test_other_commands_are_not_supported(run: Run, command: int) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, observers=[log])
        request = bytes([6, command]) + bytes.fromhex("0000 0000 00 01 00000000")
        answer, _ = await talk(worker, outbound, request)
        assert answer == bytes.fromhex("06 00 0000  06 07 0000 0000 00 01 00000000")
        assert log.summaries[0].reply == 7

    run(scene())


def test_a_silent_client_is_sent_away_without_an_answer(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(observers=[log], settings=Settings(handshake_timeout=0.05))
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            await client.send(b"\x06\x01")
            assert await client.receive() == b""
            await client.aclose()
        assert log.summaries[0].ending is Ending.NO_REQUEST

    run(scene())


class Faulty(Inbound):
    """Has a fault of ours."""

    name = "faulty"

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        raise ZeroDivisionError


def test_a_fault_of_ours_stays_in_its_connection(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(observers=[log], inbounds={"faulty": Faulty()})
        client, server = memory_stream_pair()
        await worker.serve_stream(server, "faulty")
        assert isinstance(log.errors[0], ZeroDivisionError)
        assert log.summaries[0].ending is Ending.ERROR
        client.abort()

    run(scene())


class Patient(Inbound):
    """Waits for ever, as an inbound without a deadline of its own would."""

    name = "patient"

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        await connection.stream.receive()
        return None


def test_the_worker_keeps_the_deadline_for_every_inbound(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        settings = Settings(handshake_timeout=0.05)
        worker = ServerWorker(observers=[log], settings=settings, inbounds={"patient": Patient()})
        _client, server = memory_stream_pair()
        await worker.serve_stream(server, "patient")
        assert log.summaries[0].ending is Ending.NO_REQUEST
        assert "too long" in log.summaries[0].reason

    run(scene())


def test_a_cancelled_connection_is_logged_as_stopped(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(observers=[log])
        _client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(worker.serve_stream(server))
            await asyncio.sleep(0)
            task.cancel()
        assert log.summaries[0].ending is Ending.STOPPED

    run(scene())


def test_an_unknown_inbound_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="socks6, socks5, http, mixed"):
        ServerWorker().inbound("gopher")


def test_closing_closes_the_outbound(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        await ServerWorker(outbound=outbound).aclose()
        assert outbound.closed

    run(scene())


class Raising(Recorder):
    """An observer that raises when it is told of an end."""

    @override
    def observe(self, event: Event) -> None:
        super().observe(event)
        if isinstance(event, ConnectionEnded):
            raise ZeroDivisionError


def test_what_an_observer_raises_ends_nothing(run: Run) -> None:
    async def scene() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(context.get("exception"))
        )
        observer = Raising()
        worker = ServerWorker(observers=[observer], outbound=ScriptedOutbound())
        for _ in range(2):
            client, server = memory_stream_pair()
            await client.send_eof()
            await worker.serve_stream(server)
        assert len(observer.summaries) == len(told) == 2

    run(scene())


def test_a_connection_that_cannot_be_closed_leaves_the_log_line_due(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        observer = Recorder()
        worker = ServerWorker(observers=[observer], outbound=ScriptedOutbound(), authenticator=OnlyAlice())
        monkeypatch.setattr(worker.user_connections, "leave", fail)
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            await client.send(CONNECT_AS_ALICE)
            await client.receive()
            client.abort()
        assert [repr(error) for error in observer.errors] == ["ZeroDivisionError()"]
        assert len(observer.summaries) == 1

    run(scene())


def test_whoever_wants_to_know_is_told_of_a_client_that_was_let_in(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        worker = ServerWorker(outbound=outbound, authenticator=OnlyAlice())
        on_admitted: list[ByteStream] = []
        for request, count in ((CONNECT, 0), (CONNECT_AS_ALICE, 1)):
            client, server = memory_stream_pair()
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.serve_stream(server, on_admitted=on_admitted.append))
                await client.send(request)
                await client.receive()
                client.abort()
            assert len(on_admitted) == count

    run(scene())
