"""§ Idempotence options: what binds on the wire and in the conversation, and in the proxy that grants windows."""

import asyncio

import pytest

from socks6.errors import HostUnreachable
from socks6.message.buffer import Reader
from socks6.message.dialect import DRAFT_12
from socks6.message.options import (
    STANDARD,
    HandshakeMessage,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionOk,
    SessionRequest,
    UnknownOption,
    encode_options,
)
from socks6.protocol.states import ServerState
from socks6.protocol.tokens import TokenWallet
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.reading import receive_all
from tests.kit.scenes import server
from tests.kit.session_scene import Answer, Scene, credentials

CASES: dict[str, tuple[Option, str, HandshakeMessage]] = {
    "request": (IdempotenceRequest(size=200), "000b 0008 000000c8", HandshakeMessage.REQUEST),
    "window": (
        IdempotenceWindow(base=0xFFFFFFF0, size=200),
        "000c 000c fffffff0 000000c8",
        HandshakeMessage.AUTHENTICATION_REPLY,
    ),
    "expenditure": (IdempotenceExpenditure(token=0xFFFFFFF1), "000d 0008 fffffff1", HandshakeMessage.REQUEST),
    "accepted": (IdempotenceAccepted(), "000e 0004", HandshakeMessage.AUTHENTICATION_REPLY),
    "rejected": (IdempotenceRejected(), "000f 0004", HandshakeMessage.AUTHENTICATION_REPLY),
}


def decode(
    written: str, place: HandshakeMessage = HandshakeMessage.AUTHENTICATION_REPLY
) -> tuple[Option, ...]:
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
    assert isinstance(decode(CASES[name][1], HandshakeMessage.OPERATION_REPLY)[0], UnknownOption)


@pytest.mark.parametrize("token", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_token_is_any_number_of_4_bytes(token: int) -> None:
    assert decode(f"000d 0008 {token:08x}", HandshakeMessage.REQUEST) == (
        IdempotenceExpenditure(token=token),
    )


def test_an_expenditure_has_length_8() -> None:
    (read,) = decode("000d 0004", HandshakeMessage.REQUEST)  # the figure's length is a slip
    assert isinstance(read, UnknownOption)


def test_a_malformed_expenditure_can_be_told_from_none() -> None:
    (read,) = decode("000d 000c 00000001 00000002", HandshakeMessage.REQUEST)
    assert isinstance(read, UnknownOption)
    assert read.kind == IdempotenceExpenditure.kind


def test_of_two_expenditures_the_first_counts() -> None:
    first, second = decode("000d 0008 00000001  000d 0008 00000002", HandshakeMessage.REQUEST)
    assert first == IdempotenceExpenditure(token=1)
    assert isinstance(second, UnknownOption)


@pytest.mark.parametrize("size", [0, 2**31, 2**32 - 1])
def test_a_window_is_above_0_and_below_2_31_when_read(size: int) -> None:
    assert isinstance(decode(f"000c 000c 00000000 {size:08x}")[0], UnknownOption)


@pytest.mark.parametrize("size", [0, 2**31])
def test_a_window_is_above_0_and_below_2_31_when_written(size: int) -> None:
    with pytest.raises(ValueError, match="size is"):
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
    options = (SessionOk(), IdempotenceWindow(base=5, size=10), IdempotenceRejected())
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


# The proxy's windows.


def spend(token: int) -> IdempotenceExpenditure:
    return IdempotenceExpenditure(token=token)


def told(answer: Answer) -> tuple[bool, Option | None, bool]:
    """Return whether the client was let in, the window that it was told, and whether a token was rejected."""
    return answer.succeeded, answer.find(IdempotenceWindow), answer.find(IdempotenceRejected) is not None


def window(base: int, size: int = 8) -> IdempotenceWindow:
    return IdempotenceWindow(base=base, size=size)


def test_a_window_is_told_in_every_authentication_reply_once_it_is_issued(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        assert (await proxy.ask(session_id)).find(IdempotenceWindow) is None
        issued = await proxy.window(session_id)
        assert issued.size == 8
        assert told(await proxy.ask(session_id)) == (True, issued, False)
        assert told(await proxy.ask(session_id, command=99)) == (True, issued, False)

    run(scene())


def test_the_request_that_opens_the_session_may_ask_for_the_window(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(credentials(), SessionRequest(), IdempotenceRequest(size=8))
        issued = answer.find(IdempotenceWindow)
        session_id = answer.find(SessionId)
        assert isinstance(session_id, SessionId)
        assert told(await proxy.ask(session_id)) == (True, issued, False)

    run(scene())


@pytest.mark.parametrize(("asked", "granted"), [(1, 1), (2048, 2048), (2049, 2048), (2**32 - 1, 2048)])
def test_a_window_is_as_large_as_asked_within_bounds(run: Run, asked: int, granted: int) -> None:
    async def scene() -> None:
        proxy = Scene()
        assert (await proxy.window(await proxy.open(), asked)).size == granted

    run(scene())


def test_the_operator_bounds_windows_further(run: Run) -> None:
    async def scene() -> None:
        few = Scene.with_sessions(window=16)
        assert (await few.window(await few.open(), 2048)).size == 16
        none = Scene.with_sessions(window=0)
        answer = await none.ask(await none.open(), IdempotenceRequest(size=8))
        assert told(answer) == (True, None, False)

    run(scene())


def test_a_request_for_no_tokens_is_silently_ignored(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        assert told(await proxy.ask(session_id, IdempotenceRequest(size=0))) == (True, None, False)

    run(scene())


def test_there_is_no_new_window_where_there_is_one(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        issued = await proxy.window(session_id, 8)
        assert await proxy.window(session_id, 100) == issued

    run(scene())


def test_a_token_is_spent_once_and_the_window_told_after_that(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        base = (await proxy.window(session_id)).base
        good = await proxy.ask(session_id, spend(base))
        assert told(good) == (True, window(base + 1), False)
        assert good.find(IdempotenceAccepted)
        assert good.summary.token == "accepted"
        again = await proxy.ask(session_id, spend(base))
        assert told(again) == (False, window(base + 1), True)
        assert again.find(SessionOk)
        assert again.operation is None
        assert (again.summary.token, again.summary.ending) == ("rejected", Ending.REFUSED)

    run(scene())


def test_a_token_in_the_middle_is_spent_once_too(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        base = (await proxy.window(session_id)).base
        answers = [await proxy.ask(session_id, spend(base + 2)) for _ in range(2)]
        assert [answer.succeeded for answer in answers] == [True, False]

    run(scene())


@pytest.mark.parametrize("away", [-1, 8, 9, 2**31])
def test_a_token_out_of_the_window_is_rejected(run: Run, away: int) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        issued = await proxy.window(session_id)
        answer = await proxy.ask(session_id, spend((issued.base + away) % 2**32))
        assert told(answer) == (False, issued, True)

    run(scene())


def test_without_a_window_every_token_is_rejected(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        assert told(await proxy.ask(await proxy.open(), spend(1))) == (False, None, True)

    run(scene())


def test_a_window_is_no_use_to_the_request_that_asks_for_it(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        answer = await proxy.ask(session_id, IdempotenceRequest(size=8), spend(1))
        assert told(answer) == (False, window(1), True)
        assert (await proxy.ask(session_id, spend(1))).succeeded

    run(scene())


def test_a_token_in_the_request_that_opens_a_session_is_rejected_and_no_session_is_left(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(credentials(), SessionRequest(), IdempotenceRequest(size=8), spend(1))
        assert answer.raw == bytes.fromhex("06 01 0004  000f 0004")
        assert len(proxy.store) == 0

    run(scene())


def test_where_no_session_is_opened_its_token_is_ignored(run: Run) -> None:
    async def scene() -> None:
        answer = await Scene(users=None).ask(SessionRequest(), IdempotenceRequest(size=8), spend(1))
        assert told(answer) == (True, None, False)

    run(scene())


@pytest.mark.parametrize("malformed", ["000d 0004", "000d 000c 00000001 00000002"])
def test_a_malformed_expenditure_in_a_session_is_rejected(run: Run, malformed: str) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        issued = await proxy.window(session_id)
        options = encode_options((session_id,)) + bytes.fromhex(malformed)
        raw = bytes.fromhex(f"06 00 {len(options):04x} 0000 00 01 00000000") + options
        assert told(await proxy.ask(raw=raw)) == (False, issued, True)

    run(scene())


def test_tokens_are_those_of_their_session_alone(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        first, second = await proxy.open(), await proxy.open(name="bob")
        token = spend((await proxy.window(first)).base)
        await proxy.window(second)
        assert [(await proxy.ask(session_id, token)).succeeded for session_id in (first, first, second)] == [
            True,
            False,
            True,
        ]

    run(scene())


def test_a_token_is_spent_before_the_request_is_honoured(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        token = spend((await proxy.window(session_id)).base)
        failed = await proxy.ask(session_id, token, command=99)
        assert failed.operation is not None
        assert failed.operation.code == 7
        assert not (await proxy.ask(session_id, token)).succeeded

    run(scene())


@pytest.mark.slow
def test_of_a_thousand_replays_at_a_time_one_is_honoured(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene(outbound=ScriptedOutbound(HostUnreachable("no way")))
        session_id = await proxy.open()
        token = spend((await proxy.window(session_id)).base)
        answers = await asyncio.gather(*(proxy.ask(session_id, token, command=1) for _ in range(1000)))
        assert len(proxy.outbound.dialled) == 1
        assert sum(answer.succeeded for answer in answers) == 1
        assert sum(answer.find(IdempotenceRejected) is not None for answer in answers) == 999

    run(scene())


def test_a_window_shifts_when_its_lowest_or_a_high_token_is_spent(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        await proxy.window(session_id)
        bases = []
        for token in (3, 2, 1, 4, 11, 10):  # of a window that begins with 1..8
            answered = (await proxy.ask(session_id, spend(token))).find(IdempotenceWindow)
            assert isinstance(answered, IdempotenceWindow)
            bases.append(answered.base)
        assert bases == [1, 1, 4, 5, 8, 8]

    run(scene())


def test_a_window_does_not_shift_beyond_its_highest_unspent_token(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        await proxy.window(session_id, 2)
        assert told(await proxy.ask(session_id, spend(2))) == (True, window(1, 2), False)

    run(scene())


def test_a_client_spends_the_smaller_tokens_first() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(2**32 - 1, 3))
    assert [wallet.take() for _ in range(3)] == [2**32 - 1, 0, 1]


def test_a_client_disregards_a_window_with_a_lower_base() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(5))
    wallet.receive_window(window(4))
    assert wallet.take() == 5
