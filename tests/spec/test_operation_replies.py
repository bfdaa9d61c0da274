"""§ Operation Replies."""

import asyncio

import pytest

from socks6.client.client import Client
from socks6.errors import TtlExpired, operation_failure
from socks6.message.codes import Command, ReplyCode
from socks6.message.replies import OperationReply
from socks6.protocol.events import AuthenticationAccepted, OperationAnswered, Violation, ViolationKind
from socks6.protocol.states import ClientState, ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.reading import receive_all
from tests.kit.scenes import admitted, asking

CODES = {
    "SUCCEEDED": 0,
    "GENERAL_FAILURE": 1,
    "NOT_ALLOWED": 2,
    "NETWORK_UNREACHABLE": 3,
    "HOST_UNREACHABLE": 4,
    "CONNECTION_REFUSED": 5,
    "TTL_EXPIRED": 6,
    "COMMAND_NOT_SUPPORTED": 7,
    "ADDRESS_TYPE_NOT_SUPPORTED": 8,
    "CONNECTION_TIMED_OUT": 9,
}
ACCEPTED = "06 00 0000"


async def answer_of(worker: ServerWorker, request: str) -> bytes:
    """Return all that the proxy says to one request."""
    client, server = memory_stream_pair()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.serve_stream(server))
        await client.send(bytes.fromhex(request))
        await client.send_eof()
        return await receive_all(client)


# The reply.


def test_the_fields_stand_where_the_figure_puts_them() -> None:
    reply = OperationReply(code=0, host="127.0.0.1", port=54321)
    assert reply.encode() == bytes.fromhex("06 00 0000 d431 00 01 7f000001")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "proxy.example"])
def test_the_bind_address_may_be_of_any_type(host: str) -> None:
    reply = OperationReply(code=0, host=host, port=1)
    assert OperationReply.decode(reply.encode()) == reply


def test_a_name_in_a_reply_is_padded_like_one_in_a_request() -> None:
    reply = OperationReply(code=0, host="ab", port=1).encode()
    assert reply == bytes.fromhex("06 00 0000 0001 00 03 03 616200")


def test_the_codes_have_their_meanings() -> None:
    assert {code.name: code.value for code in ReplyCode} == CODES


def test_an_unknown_code_is_a_failure_that_is_told() -> None:
    scene = asking()
    scene >> received(ACCEPTED, "06 7b 0000 0000 00 01 00000000")
    scene.machine.next_event()
    scene << OperationAnswered(reply=OperationReply(code=0x7B))
    assert scene.machine.state is ClientState.CLOSED


def test_options_must_not_exceed_20_kb() -> None:
    scene = asking()
    scene >> received(ACCEPTED, "06 00 5004")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED


def test_it_comes_only_after_the_authentication_is_complete() -> None:
    scene = asking()
    scene >> received("06 00 0000 d431 00 01 7f000001")  # read as an authentication reply and what follows
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)
    event = scene.machine.next_event()
    assert isinstance(event, Violation)  # d4 is no version of ours


# What the proxy says.


@pytest.mark.parametrize("code", range(1, 10))
def test_each_failure_is_answered_with_its_code_and_no_address(run: Run, code: int) -> None:
    async def scene() -> None:
        worker = ServerWorker(outbound=ScriptedOutbound(operation_failure(code, "as told")))
        answer = await answer_of(worker, "06 01 0000 0050 00 01 5db8d822")
        assert answer == bytes.fromhex(f"{ACCEPTED}  06 {code:02x} 0000 0000 00 01 00000000")

    run(scene())


EXPIRED = TtlExpired("as told", reporter="10.0.1.1")


@pytest.mark.parametrize("leg", ["8", "c"])
def test_reply_06_names_the_router_to_a_client_that_chose_the_ttl(run: Run, leg: str) -> None:
    """An extension of ours: docs/decisions/0008."""

    async def scene() -> None:
        worker = ServerWorker(outbound=ScriptedOutbound(EXPIRED))
        answer = await answer_of(worker, f"06 01 0008 0050 00 01 5db8d822  0001 0008 {leg}1 03 02 00")
        assert answer == bytes.fromhex(f"{ACCEPTED}  06 06 0000 0000 00 01 0a000101")

    run(scene())


@pytest.mark.parametrize(
    "options", ["0000 0050 00 01 5db8d822", "0008 0050 00 01 5db8d822  0001 0008 41 03 02 00"]
)
def test_reply_06_names_nobody_to_a_client_that_chose_no_ttl_of_that_leg(run: Run, options: str) -> None:
    async def scene() -> None:
        answer = await answer_of(ServerWorker(outbound=ScriptedOutbound(EXPIRED)), f"06 01 {options}")
        assert answer == bytes.fromhex(f"{ACCEPTED}  06 06 0000 0000 00 01 00000000")

    run(scene())


def test_an_unknown_command_is_answered_with_07(run: Run) -> None:
    async def scene() -> None:
        answer = await answer_of(ServerWorker(outbound=ScriptedOutbound()), "06 4d 0000 0000 00 01 00000000")
        assert answer == bytes.fromhex(f"{ACCEPTED}  06 07 0000 0000 00 01 00000000")

    run(scene())


def test_a_noop_succeeds_and_reaches_nothing(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        answer = await answer_of(ServerWorker(outbound=outbound), "06 00 0000 0000 00 01 00000000")
        assert answer == bytes.fromhex(f"{ACCEPTED}  06 00 0000 0000 00 01 00000000")
        assert outbound.dialled == []

    run(scene())


# What the client does.


@pytest.mark.parametrize("code", range(1, 10))
@pytest.mark.parametrize("command", Command)
def test_any_code_but_success_makes_the_client_close(command: Command, code: int) -> None:
    scene = asking(command)
    scene >> received(ACCEPTED, f"06 {code:02x} 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_a_failure_closes_on_the_proxys_side_too() -> None:
    scene = admitted()
    scene.machine.send_reply(OperationReply(code=5))
    scene << sent("06 05 0000 0000 00 01 00000000")
    assert scene.machine.state is ServerState.CLOSING


def test_the_reply_to_a_noop_makes_the_client_close() -> None:
    scene = asking(Command.NOOP)
    scene >> received(ACCEPTED, "06 00 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_a_client_really_closes_after_a_noop(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        await far.send(bytes.fromhex(f"{ACCEPTED}  06 00 0000 0000 00 01 00000000"))

        async def dial() -> object:
            return near

        async with Client("socks6://127.0.0.1", dial=dial) as client:  # type: ignore[arg-type]  # a ByteStream
            await client.noop()
        assert await receive_all(far) == bytes.fromhex("06 00 0000 0000 00 01 00000000")

    run(scene())
