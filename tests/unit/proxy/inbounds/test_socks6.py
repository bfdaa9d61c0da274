"""The SOCKS 6 inbound, with an engine made for the test."""

import asyncio

import pytest

from socks6.errors import HostUnreachable, TtlExpired
from socks6.message.codes import Method
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.protocol.methods.userpass import UsernamePasswordServer
from socks6.proxy.inbounds.socks6 import Socks6Inbound
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.connection import FakeAuthenticator
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound

NOOP = bytes.fromhex("06 00 0000 0000 00 01 00000000")
NOOP_DONE = bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")


async def answer_to(
    request: bytes, inbound: Socks6Inbound, *, outbound: ScriptedOutbound | None = None
) -> tuple[bytes, Recorder]:
    """Return what the inbound answers to a client that says this and no more."""
    log = Recorder()
    worker = ServerWorker(
        inbounds={"socks6": inbound},
        outbound=outbound or ScriptedOutbound(),
        observers=[log],
        settings=Settings(handshake_timeout=5.0),
    )
    client, server = memory_stream_pair()
    await client.send(request)
    await client.send_eof()
    await worker.serve_stream(server)
    answer = b""
    while piece := await client.receive():
        answer += piece
    return answer, log


def test_a_noop_is_answered(run: Run) -> None:
    async def scene() -> None:
        assert (await answer_to(NOOP, Socks6Inbound()))[0] == NOOP_DONE

    run(scene())


@pytest.mark.parametrize(
    ("rubbish", "answered", "reason"),
    [
        (b"\x05\x01\x00", b"\6", "a SOCKS 5 client: listen on mixed:// for those"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 ", "an HTTP client: listen on mixed:// for those"),
        (b"\xd4\x00", b"\6", "a SOCKS 6 (dialect 212) client: dialect-212 is for those"),
        (b"\7\x00", b"\6", "first byte 0x07: not SOCKS 6"),
    ],
)
def test_clients_of_other_protocols_are_answered_and_named(
    run: Run, rubbish: bytes, answered: bytes, reason: str
) -> None:
    async def scene() -> None:
        answer, log = await answer_to(rubbish, Socks6Inbound())
        assert answer.startswith(answered)
        assert (log.summaries[0].ending, log.summaries[0].reason) == (Ending.MALFORMED, reason)

    run(scene())


def test_the_older_dialect_is_answered_in_kind_where_it_is_spoken(run: Run) -> None:
    async def scene() -> None:
        request = b"\xd4" + NOOP[1:]
        answer, _ = await answer_to(request, Socks6Inbound(dialects=(DRAFT_12, GO_212)))
        assert answer == bytes.fromhex("d4 00 0000  d4 00 0000 0000 00 01 00000000")

    run(scene())


def test_a_name_that_is_not_found_is_reply_4(run: Run) -> None:
    async def scene() -> None:
        request = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
        outbound = ScriptedOutbound(HostUnreachable("no such name"))
        answer, _ = await answer_to(request, Socks6Inbound(), outbound=outbound)
        assert answer == bytes.fromhex("06 00 0000  06 04 0000 0000 00 01 00000000")

    run(scene())


@pytest.mark.parametrize(
    ("router", "address"),
    [("fd00::1", "04 fd000000000000000000000000000001"), (None, "01 00000000")],
)
def test_a_ttl_that_expired_is_reply_6_with_the_router_if_known(
    run: Run, router: str | None, address: str
) -> None:
    async def scene() -> None:
        request = bytes.fromhex("06 01 0008 0050 00 01 5db8d822  0001 0008 81 03 02 00")
        outbound = ScriptedOutbound(TtlExpired("on its way", reporter=router))
        answer, _ = await answer_to(request, Socks6Inbound(), outbound=outbound)
        assert answer == bytes.fromhex(f"06 00 0000  06 06 0000 0000 00 {address}")

    run(scene())


@pytest.mark.parametrize("inbound", ["socks6", "mixed"])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(
    "request_", [b"", b"\x06\x00", b"\x06\x01\x60\x00\x00\x50\x00\x01\x7f", b"\x06\x01\x00", b"\x00", NOOP]
)
def test_a_quiet_inbound_treats_every_stranger_alike(
    run: Run, request_: bytes, ends: bool, inbound: str
) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        quiet = Settings(handshake_timeout=0.1, quiet=True)
        worker = ServerWorker(settings=quiet, authenticator=FakeAuthenticator({b"alice": b"secret"}))
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server, inbound))
            await client.send(request_)
            if ends:
                await client.send_eof()
            with pytest.raises(ConnectionResetError):
                await client.receive()
            assert loop.time() - started > 0.09
            await client.aclose()

    run(scene())


def test_requests_in_pieces_are_ignored_when_told(run: Run) -> None:
    async def scene() -> None:
        inbound = Socks6Inbound(ignore_fragmented=True)
        assert (await answer_to(NOOP[:6], inbound))[0] == b""
        assert (await answer_to(NOOP, inbound))[0] == NOOP_DONE

    run(scene())


def test_a_client_that_leaves_early_is_no_fault(run: Run) -> None:
    async def scene() -> None:
        answer, log = await answer_to(NOOP[:6], Socks6Inbound())
        assert answer == b""
        assert log.summaries[0].ending is Ending.NO_REQUEST

    run(scene())


def test_ssl_authentication_is_banned() -> None:
    with pytest.raises(ValueError, match="banned"):
        Socks6Inbound(methods={Method.SSL: UsernamePasswordServer})
