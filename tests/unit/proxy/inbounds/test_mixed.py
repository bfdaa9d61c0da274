"""The mixed inbound."""

import pytest
from typing_extensions import override

from socks6.net.stream import ByteStream
from socks6.proxy.inbounds.base import Engine, Inbound, Tunnel
from socks6.proxy.inbounds.mixed import MixedInbound
from socks6.telemetry import Ending
from tests.kit.engine import FakeEngine, visiting
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
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        self.got.append(first)
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
        async with visiting(MixedInbound(known), FakeEngine()) as visit:
            await visit.client.send(said)
            await visit.over()
        assert {inbound.name: inbound.got for inbound in known.values() if inbound.got} == {name: [said]}

    run(scene())


def test_bytes_already_read_count(run: Run) -> None:
    async def scene() -> None:
        known = inbounds("socks5", "http", "socks6")
        async with visiting(MixedInbound(known), FakeEngine(), b"\5\1") as visit:
            await visit.over()
        assert known["socks5"].got == [b"\5\1"]

    run(scene())


def test_socks6_answers_for_inbounds_that_are_not_there(run: Run) -> None:
    async def scene() -> None:
        known = inbounds("http", "socks6")
        async with visiting(MixedInbound(known), FakeEngine(), b"\5\1") as visit:
            await visit.over()
        assert known["socks6"].got == [b"\5\1"]

    run(scene())


def test_a_client_that_nobody_serves_goes(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(MixedInbound(inbounds("http")), engine, b"\5\1") as visit:
            assert await visit.over() is None
        assert engine.refusals == [(Ending.MALFORMED, "first byte 0x05: no inbound for it")]

    run(scene())


def test_a_client_that_says_nothing_goes(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(MixedInbound(inbounds("http")), engine) as visit:
            await visit.client.send_eof()
            assert await visit.over() is None
        assert engine.refusals == [(Ending.NO_REQUEST, "the client closed its side")]

    run(scene())
