"""The mixed inbound."""

import pytest
from typing_extensions import override

from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Inbound, Tunnel
from socks6.proxy.inbounds.mixed import MixedInbound
from socks6.telemetry import Ending
from tests.kit.connection import ScriptedConnection, serving
from tests.kit.loops import Run


class RecordingInbound(Inbound):
    """Keeps what it gets."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.got: list[bytes] = []

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        self.got.append(initial_data)
        return None


def inbounds(*names: str) -> dict[str, RecordingInbound]:
    return {name: RecordingInbound(name) for name in names}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"\4\1", "socks5"),
        (b"\5\1\0", "socks5"),
        (b"GET http://", "http"),
        (b"connect", "http"),
        (b"\6\1", "socks6"),
        (b"\xd4\1", "socks6"),
        (b"\x16\3\1", "socks6"),
        (b"\0", "socks6"),
    ],
)
def test_the_first_byte_decides(run: Run, said: bytes, name: str) -> None:
    async def scene() -> None:
        known = inbounds("socks5", "http", "socks6")
        async with serving(MixedInbound(known), ScriptedConnection()) as served:
            await served.client.send(said)
            await served.over()
        assert {inbound.name: inbound.got for inbound in known.values() if inbound.got} == {name: [said]}

    run(scene())


def test_bytes_already_read_count(run: Run) -> None:
    async def scene() -> None:
        known = inbounds("socks5", "http", "socks6")
        async with serving(MixedInbound(known), ScriptedConnection(), b"\5\1") as served:
            await served.over()
        assert known["socks5"].got == [b"\5\1"]

    run(scene())


def test_socks6_answers_for_inbounds_that_are_not_there(run: Run) -> None:
    async def scene() -> None:
        known = inbounds("http", "socks6")
        async with serving(MixedInbound(known), ScriptedConnection(), b"\5\1") as served:
            await served.over()
        assert known["socks6"].got == [b"\5\1"]

    run(scene())


def test_a_client_that_nobody_serves_goes(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(MixedInbound(inbounds("http")), connection, b"\5\1") as served:
            assert await served.over() is None
        assert connection.refusals == [(Ending.MALFORMED, "a SOCKS 5 client: listen on mixed:// for those")]

    run(scene())


def test_a_client_that_says_nothing_goes(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(MixedInbound(inbounds("http")), connection) as served:
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == [(Ending.NO_REQUEST, "the client closed its side")]

    run(scene())
