"""The QUIC extension of the older Go implementation."""

import asyncio
from pathlib import Path

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.message.codes import AuthenticationType, Command, ReplyCode
from socks6.message.datagrams import AssociationConfirmation, Datagram
from socks6.message.options import (
    ListenBacklog,
    SessionId,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    StreamId,
    find,
)
from socks6.net.stream import FrameSink, MultiplexedConnection
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.proxied import echoing
from tests.kit.quic import by_library
from tests.kit.quic_clients import Asked, Scene, Slow, a_worker, ask, proof, serving
from tests.kit.reading import receive_all, receive_exactly
from tests.kit.streams import until
from tests.kit.udp_hosts import udp_echo

pytestmark = [pytest.mark.e2e, by_library("library")]
ANY_ADDRESS = "0.0.0.0"


def test_only_the_first_request_is_authenticated(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        users = Slow()
        async with serving(tmp_path, a_worker(users), library) as scene:
            connection = await scene.connect()
            for credentials in ((proof(),), (), (proof("wrong"),)):
                first, second = await (await ask(connection, *credentials)).replies()
                assert first.type == AuthenticationType.SUCCEEDED
                assert second.code == ReplyCode.SUCCEEDED
            assert users.asked == 1

    run(main())


def test_streams_that_come_meanwhile_wait_for_it(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        users = Slow()
        users.may_answer.clear()
        async with serving(tmp_path, a_worker(users), library) as scene:
            connection = await scene.connect()
            first = await ask(connection, proof())
            await until(lambda: users.asked)
            others = [await ask(connection) for _ in range(3)]
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(other.replies()) for other in others]
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                users.may_answer.set()
            assert all(task.result()[1].code == ReplyCode.SUCCEEDED for task in waiting)
            assert (await first.replies())[1].code == ReplyCode.SUCCEEDED
            assert users.asked == 1

    run(main())


def test_a_first_request_that_fails_closes_the_connection(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            asked = await ask(connection, proof("wrong"))
            assert (await asked.authentication()).type == AuthenticationType.FAILED
            await asked.stream.aclose()
            with pytest.raises(OSError, match="not authenticated"):
                await connection.accept()

    run(main())


def test_who_asks_for_nothing_is_sent_away(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        worker = ServerWorker(settings=Settings(handshake_timeout=0.1))
        async with serving(tmp_path, worker, library) as scene:
            connection = await scene.connect()
            with pytest.raises(OSError, match="no request"):
                await connection.accept()

    run(main())


def test_strangers_are_sent_away_whatever_their_streams_do(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        worker = a_worker(Slow(), Settings(handshake_timeout=0.3))
        async with serving(tmp_path, worker, library) as scene:
            connection = await scene.connect()
            silent = [await connection.open() for _ in range(3)]
            for stream in silent:
                await stream.send(b"\x06")
            with pytest.raises(OSError, match="not authenticated"):
                await connection.accept()
            connection = await scene.connect()
            with pytest.raises(OSError, match=r"not authenticated in time|no request"):
                await _trickle(connection)

    run(main())


async def _trickle(connection: MultiplexedConnection) -> None:
    """Open streams that are given up, one after another: each has time of its own, but not the connection."""
    while True:
        stream = await connection.open()
        await stream.send(b"\x06")
        await asyncio.sleep(0.02)
        stream.abort()


def test_a_first_stream_that_is_given_up_leaves_the_turn_to_the_next(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            idle = await connection.open()
            await idle.send(b"\x06")
            asked = await ask(connection, proof())
            idle.abort()
            assert (await asked.replies())[1].code == ReplyCode.SUCCEEDED

    run(main())


def test_any_mix_of_commands_is_served(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with echoing() as port, serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            assert (await (await ask(connection, proof())).replies())[1].code == ReplyCode.SUCCEEDED
            asked = await ask(connection, command=Command.CONNECT, host="127.0.0.1", port=port, after=b"ping")
            assert (await asked.replies())[1].code == ReplyCode.SUCCEEDED
            assert await _exactly(asked, 10) == b"hello ping"
            await asked.stream.send_eof()
            assert await asked.stream.receive() == b""
            bound = await ask(connection, command=Command.BIND, host="127.0.0.1")
            assert (await bound.replies())[1].port

    run(main())


async def _bind(scene_or_connection: object, *options: StreamId) -> Asked:
    from socks6.net.transports.quic.connection import QuicConnection  # noqa: PLC0415

    assert isinstance(scene_or_connection, QuicConnection)
    return await ask(
        scene_or_connection,
        proof(),
        ListenBacklog(backlog=4),
        *options,
        command=Command.BIND,
        host="127.0.0.1",
    )


def test_each_peer_of_a_backlog_gets_a_stream_that_begins_with_its_address(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            bound = await _bind(connection)
            _, reply = await bound.replies()
            assert find(reply.options, ListenBacklog) == ListenBacklog(backlog=4)
            assert find(reply.options, StreamId) is None
            for greeting in (b"one", b"two"):
                reader, writer = await asyncio.open_connection(reply.host, reply.port)
                writer.write(greeting)
                pushed = Asked(await connection.accept())
                told = await pushed.operation()
                assert (told.host, told.port) == writer.get_extra_info("sockname")
                assert await _exactly(pushed, 3) == greeting
                await pushed.stream.send(b"back")
                assert await reader.readexactly(4) == b"back"
                await pushed.stream.send_eof()
                assert await reader.read() == b""
                writer.close()

    run(main())


def test_without_stream_ids_there_is_one_such_bind(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            first = await _bind(connection)
            assert (await first.replies())[1].code == ReplyCode.SUCCEEDED
            second = await _bind(connection)
            assert (await second.replies())[1].code == ReplyCode.GENERAL_FAILURE
            await first.stream.aclose()
            while True:  # its turn may come a little later
                third = await _bind(connection)
                if (await third.replies())[1].code == ReplyCode.SUCCEEDED:
                    break

    run(main())


def test_stream_ids_tell_the_peers_of_several_binds_apart(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            ports = {}
            for number in (7, 0xFFFFFFFF):
                _, reply = await (await _bind(connection, StreamId(id=number))).replies()
                assert find(reply.options, StreamId) == StreamId(id=number)
                ports[number] = reply.port
            again = await _bind(connection, StreamId(id=7))
            assert (await again.replies())[1].code == ReplyCode.GENERAL_FAILURE
            for number, port in ports.items():
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                told = await Asked(await connection.accept()).operation()
                assert find(told.options, StreamId) == StreamId(id=number)
                writer.close()

    run(main())


def test_a_stream_id_is_never_sent_unasked(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            asked = await ask(connection, proof(), StreamId(id=1), command=Command.BIND, host="127.0.0.1")
            _, reply = await asked.replies()  # a BIND of one peer needs none
            assert find(reply.options, StreamId) is None

    run(main())


class Frames(FrameSink):
    """Keeps what came."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    @override
    def frame_received(self, data: bytes) -> None:
        self.queue.put_nowait(data)

    @override
    def connection_lost(self) -> None:
        """Nothing more comes."""


async def _associate(scene: Scene) -> tuple[object, Asked, int, Frames]:
    connection = await scene.connect()
    frames = Frames()
    connection.set_frame_sink(frames)
    asked = await ask(connection, proof(), command=Command.UDP_ASSOCIATE)
    assert (await asked.replies())[1].code == ReplyCode.SUCCEEDED
    number = int.from_bytes((await _exactly(asked, 12))[4:], "big")
    return connection, asked, number, frames


def test_datagrams_travel_in_frames_of_the_associations_own_connection(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        with udp_echo() as place:
            async with serving(tmp_path, a_worker(Slow()), library) as scene:
                mine, asked, number, frames = await _associate(scene)
                other, *_ = await _associate(scene)
                datagram = Datagram(association_id=number, host=place.host, port=place.port, data=b"hello")
                other.send_frame(datagram.encode())  # type: ignore[attr-defined]  # a QuicConnection
                await ask(other)  # type: ignore[arg-type]  # so that it has arrived
                assert frames.queue.empty()
                mine.send_frame(datagram.encode())  # type: ignore[attr-defined]
                confirmed = await _exactly(asked, 12)
                assert confirmed == AssociationConfirmation(association_id=number).encode()
                answer = await frames.queue.get()
                assert answer.endswith(b"hello")
                await asked.stream.aclose()

    run(main())


def test_a_session_that_is_torn_down_leaves_its_connection_as_it_is(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            connection = await scene.connect()
            asked = await ask(connection, proof(), SessionRequest())
            named = find((await asked.replies())[0].options, SessionId)
            assert named is not None
            again, _ = await (await ask(connection, named)).replies()
            assert find(again.options, SessionOk) is not None
            torn = await ask(connection, named, SessionTeardown())
            assert (await torn.replies())[1].code == ReplyCode.SUCCEEDED
            assert (await (await ask(connection)).replies())[1].code == ReplyCode.SUCCEEDED
            other = await scene.connect()
            assert (await (await ask(other, named)).authentication()).type == AuthenticationType.FAILED

    run(main())


def test_client_certificates_that_nobody_would_check_are_no_setting(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}&backend={library}&client-ca={files.ca}"
        with pytest.raises(ConfigurationError, match=f"{library} does not check them"):
            Server([listen], a_worker(Slow()))

    run(main())


async def _exactly(asked: Asked, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asked.stream.receive(size - len(data))
        assert more
        data += more
    return data


def test_new_streams_meet_the_users_that_a_reload_has_left(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        worker = a_worker(Slow())
        async with echoing() as port, serving(tmp_path, worker, library) as scene:
            connection = await scene.connect()
            running = await ask(connection, proof(), command=Command.CONNECT, host="127.0.0.1", port=port)
            assert (await running.replies())[1].code == ReplyCode.SUCCEEDED
            assert find((await (await ask(connection)).replies())[0].options, SessionId) is None
            for left in ({}, {"alice": "changed"}):
                worker.replace(authenticator=UserTable.from_plain(left), policy=worker.policy)
                for command in (Command.CONNECT, Command.BIND, Command.NOOP):
                    for credentials in ((), (proof(),)):
                        refused = await ask(
                            connection, *credentials, command=command, host="127.0.0.1", port=port
                        )
                        assert (await refused.authentication()).type == AuthenticationType.FAILED
                        refused.stream.abort()
            assert await receive_exactly(running.stream, 6) == b"hello "
            await running.stream.send(b"still here")
            assert await receive_exactly(running.stream, 10) == b"still here"
            again = await ask(
                connection, proof("changed"), command=Command.CONNECT, host="127.0.0.1", port=port
            )
            assert (await again.replies())[1].code == ReplyCode.SUCCEEDED
            assert (await (await ask(connection)).replies())[1].code == ReplyCode.SUCCEEDED
            for asked in (running, again):
                await asked.stream.send_eof()
                assert (await receive_all(asked.stream)).removeprefix(b"hello ") == b""

    run(main())


def test_new_streams_meet_the_policy_that_holds_now(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        worker = a_worker(Slow())
        async with echoing() as port, serving(tmp_path, worker, library) as scene:
            connection = await scene.connect()
            for policy, code in (
                (worker.policy, ReplyCode.SUCCEEDED),
                (Policy(rules=(Rule.parse("deny"),)), ReplyCode.NOT_ALLOWED),
            ):
                worker.replace(authenticator=worker.authenticator, policy=policy)
                asked = await ask(connection, proof(), command=Command.CONNECT, host="127.0.0.1", port=port)
                assert (await asked.replies())[1].code == code
                await asked.stream.send_eof()
                assert (await receive_all(asked.stream)).removeprefix(b"hello ") == b""

    run(main())
