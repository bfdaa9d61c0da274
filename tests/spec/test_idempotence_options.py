"""§ Idempotence options: what binds on the wire and in the conversation. Windows themselves are issue 4."""

import asyncio

import pytest

from socks6.message.buffer import Reader
from socks6.message.dialect import DRAFT_12
from socks6.message.options import (
    STANDARD,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    Place,
    SessionOK,
    UnknownOption,
    encode_options,
)
from socks6.net.transports.memory import memory_stream_pair
from socks6.protocol.states import ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.reading import receive_all
from tests.kit.scenes import server

CASES: dict[str, tuple[Option, str, Place]] = {
    "request": (IdempotenceRequest(size=200), "000b 0008 000000c8", Place.REQUEST),
    "window": (
        IdempotenceWindow(base=0xFFFFFFF0, size=200),
        "000c 000c fffffff0 000000c8",
        Place.AUTHENTICATION_REPLY,
    ),
    "expenditure": (IdempotenceExpenditure(token=0xFFFFFFF1), "000d 0008 fffffff1", Place.REQUEST),
    "accepted": (IdempotenceAccepted(), "000e 0004", Place.AUTHENTICATION_REPLY),
    "rejected": (IdempotenceRejected(), "000f 0004", Place.AUTHENTICATION_REPLY),
}


def decode(written: str, place: Place = Place.AUTHENTICATION_REPLY) -> tuple[Option, ...]:
    return STANDARD.decode(Reader(bytes.fromhex(written)), place, DRAFT_12)


@pytest.mark.parametrize("name", CASES)
def test_each_is_written_as_its_figure_shows(name: str) -> None:
    option, written, _ = CASES[name]
    assert encode_options((option,)) == bytes.fromhex(written)


@pytest.mark.parametrize("name", CASES)
def test_each_is_read_where_the_draft_places_it(name: str) -> None:
    option, written, place = CASES[name]
    assert decode(written, place) == (option,)


@pytest.mark.parametrize("name", CASES)
def test_none_has_a_place_in_an_operation_reply(name: str) -> None:
    assert isinstance(decode(CASES[name][1], Place.OPERATION_REPLY)[0], UnknownOption)


@pytest.mark.parametrize("token", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_token_is_any_number_of_4_bytes(token: int) -> None:
    assert decode(f"000d 0008 {token:08x}", Place.REQUEST) == (IdempotenceExpenditure(token=token),)


def test_an_expenditure_has_length_8() -> None:
    (read,) = decode("000d 0004", Place.REQUEST)  # the figure's length is a slip
    assert isinstance(read, UnknownOption)


def test_a_malformed_expenditure_can_be_told_from_none() -> None:
    (read,) = decode("000d 000c 00000001 00000002", Place.REQUEST)
    assert isinstance(read, UnknownOption)
    assert read.kind == IdempotenceExpenditure.kind


def test_of_two_expenditures_the_first_counts() -> None:
    first, second = decode("000d 0008 00000001  000d 0008 00000002", Place.REQUEST)
    assert first == IdempotenceExpenditure(token=1)
    assert isinstance(second, UnknownOption)


@pytest.mark.parametrize("size", [0, 2**31, 2**32 - 1])
def test_a_window_is_above_0_and_below_2_31_when_read(size: int) -> None:
    assert isinstance(decode(f"000c 000c 00000000 {size:08x}")[0], UnknownOption)


@pytest.mark.parametrize("size", [0, 2**31])
def test_a_window_is_above_0_and_below_2_31_when_written(size: int) -> None:
    with pytest.raises(ValueError, match="window size"):
        IdempotenceWindow(base=0, size=size)


def test_the_largest_window_is_read() -> None:
    assert decode("000c 000c 00000000 7fffffff") == (IdempotenceWindow(base=0, size=2**31 - 1),)


def test_a_token_is_not_accepted_and_rejected_at_once() -> None:
    with pytest.raises(ValueError, match="contradicts"):
        encode_options((IdempotenceAccepted(), IdempotenceRejected()))


def test_a_token_that_cannot_be_spent_fails_the_authentication_reply() -> None:
    scene = server()
    scene >> received("06 01 0008 0050 00 01 7f000001", "000d 0008 00000001")
    scene.machine.next_event()
    scene.machine.accept_session()
    scene.machine.next_event()
    options = (SessionOK(), IdempotenceWindow(base=5, size=10), IdempotenceRejected())
    scene.machine.refuse(options, reason="the token is spent")
    scene << sent("06 01 0014", "0008 0004", "000c 000c 00000005 0000000a", "000f 0004")
    assert scene.machine.state is ServerState.CLOSING


def test_a_spent_token_is_told_in_the_authentication_reply() -> None:
    scene = server()
    scene >> received("06 01 0008 0050 00 01 7f000001", "000d 0008 00000005")
    scene.machine.next_event()
    scene.machine.accept_session()
    scene.machine.next_event()
    scene.machine.send_authenticated((IdempotenceWindow(base=6, size=10), IdempotenceAccepted()))
    scene << sent("06 00 0010", "000c 000c 00000006 0000000a", "000e 0004")


@pytest.mark.parametrize(
    "option", ["000b 0008 000000c8", "000d 0008 00000001", "000d 000c 00000001 00000002"]
)
def test_outside_of_a_session_they_are_silently_ignored(run: Run, option: str) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        size = len(bytes.fromhex(option))
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=ScriptedOutbound()).serve_stream(far))
            await near.send(bytes.fromhex(f"06 00 {size:04x} 0000 00 01 00000000  {option}"))
            await near.send_eof()
            answer = await receive_all(near)
        assert answer == bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")

    run(scene())
