"""§ Version Mismatch Replies, and which dialects are understood."""

import asyncio
import socket

import pytest

from socks6.client.client import Client
from socks6.errors import VersionMismatch
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.protocol.events import Ended, RequestReceived, Violation, ViolationKind
from socks6.protocol.states import ClientState, ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.origins import Place, tcp_host
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import eof, nothing, received, sent
from tests.kit.proxied import scripted
from tests.kit.reading import receive_all
from tests.kit.scenes import asking, client, server

BOTH = (DRAFT_12, GO_212)


@pytest.mark.parametrize("first", ["05 01 00", "04 01 0050 7f000001 00", "07 01 00", "01", "00", "ff", "d4"])
def test_another_version_is_answered_with_06_and_a_close(first: str) -> None:
    scene = server()
    scene >> received(first) << sent("06")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.VERSION
    assert scene.machine.state is ServerState.CLOSING


def test_the_first_byte_alone_decides() -> None:
    server() >> received("05") << sent("06")


def test_nothing_more_is_said_to_another_version() -> None:
    scene = server()
    scene >> received("05") << sent("06")
    scene.machine.next_event()
    scene >> received("06 00 0000 0000 00 01 00000000") << nothing


def test_a_client_must_close_after_a_mismatch() -> None:
    scene = asking()
    scene >> received("06") >> eof
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.VERSION
    assert scene.machine.state is ClientState.CLOSED


def test_a_client_of_the_older_dialect_knows_a_mismatch_at_once() -> None:
    scene = asking(dialect=GO_212)
    scene >> received("06")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.VERSION
    assert scene.machine.state is ClientState.CLOSED


def test_a_lone_version_byte_is_no_mismatch_while_the_stream_is_open() -> None:
    scene = asking()
    scene >> received("06") << nothing
    assert scene.machine.state is ClientState.AWAITING_AUTHENTICATION


def test_a_reply_cut_short_is_no_mismatch() -> None:
    scene = asking()
    scene >> received("06 00") >> eof
    assert isinstance(scene.machine.next_event(), Ended)


def test_a_client_is_told_that_the_versions_differ(run: Run) -> None:
    async def scene() -> None:
        async with scripted(b"\x06") as client:
            with pytest.raises(VersionMismatch):
                await client.noop()

    run(scene())


@pytest.mark.parametrize("initial_data", [b"", b"x" * 4_000_000])
def test_a_reset_behind_the_byte_hides_no_mismatch(run: Run, initial_data: bytes) -> None:
    """A server that closes with the request unread resets the connection."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"\x06")

    async def scene(place: Place) -> None:
        async with Client(f"socks6://{place.host}:{place.port}") as client:
            with pytest.raises(VersionMismatch, match=r"does not speak version 6 .* dialect=212"):
                await client.connect("a.example", 80, initial_data=initial_data)

    with tcp_host(serve) as place:
        run(scene(place))


def test_a_proxy_sends_the_byte_and_closes(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=ScriptedOutbound()).serve_stream(far))
            await near.send(b"\x05\x01\x00")
            assert await receive_all(near) == b"\x06"
            await near.aclose()

    run(scene())


@pytest.mark.parametrize(("version", "dialect"), [("06", DRAFT_12), ("d4", GO_212)])
def test_each_request_is_answered_in_its_own_dialect(version: str, dialect: object) -> None:
    scene = server(dialects=BOTH)
    scene >> received(version, "00 0000 0000 00 01 00000000")
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    assert event.dialect is dialect
    scene.machine.authenticate()
    scene.machine.next_event()
    scene.machine.send_authenticated()
    scene << sent(version, "00 0000")


def test_the_older_dialect_is_off_unless_wanted() -> None:
    server() >> received("d4 00 0000 0000 00 01 00000000") << sent("06")


def test_a_client_speaks_one_dialect() -> None:
    client(Command.NOOP, dialect=GO_212) << sent("d4 00 0000 0000 00 01 00000000")


def test_a_client_refuses_a_reply_in_another_dialect() -> None:
    scene = asking()
    scene >> received("d4 00 0000")
    assert isinstance(scene.machine.next_event(), Violation)
