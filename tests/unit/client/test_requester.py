"""Requests: sessions and tokens in them, every way that a proxy may answer, cancelling, and leaving."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Final

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.connector import DialConnector
from socks6.client.requester import Requester
from socks6.client.session import WINDOW_SIZE, ClientSession
from socks6.errors import (
    AuthenticationFailed,
    ConnectionRefused,
    OperationFailed,
    ProxyUnreachable,
    RemoteProtocolError,
    TokenRejected,
    TtlExpired,
    VersionMismatch,
    operation_failure,
)
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import (
    AuthenticationData,
    IdempotenceExpenditure,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
)
from socks6.message.replies import AuthenticationReply
from socks6.net.stream import ByteStream, Endpoint
from socks6.net.transports.base import NotAnswered
from socks6.proxy.worker import ServerWorker
from tests.kit.calls import Call, Calls
from tests.kit.challenge import ChallengeClient
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.proxied import USERS, proxied, scripted
from tests.kit.reading import receive_exactly
from tests.kit.session_proxy import BASE, SessionProxy, fast_opening, in_sessions
from tests.kit.streams import until


async def visit(client: Client, *, idempotent: bool = False, data: bytes = b"") -> None:
    stream = await client.connect("example.com", 80, idempotent=idempotent, initial_data=data)
    stream.abort()


def session_of(client: Client) -> ClientSession:
    assert isinstance(client._requester, Requester)
    return client._requester.session


@pytest.mark.parametrize("late_id", [False, True])
def test_after_the_first_request_no_password_is_sent(run: Run, late_id: bool) -> None:
    async def scene() -> None:
        proxy = SessionProxy(late_id=late_id)
        async with in_sessions(proxy) as client:
            for _ in range(3):
                await visit(client)
        assert proxy.passwords() == [True, False, False, False]
        assert proxy.kinds(0) == {AuthenticationData, SessionRequest, IdempotenceRequest}
        assert proxy.kinds(1) == {SessionId}

    run(scene())


def test_a_session_may_be_opened_ahead(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            assert await client.open_session()
            assert await client.open_session()
            await visit(client)
        assert proxy.passwords()[:2] == [True, False]
        assert [request.command for request in proxy.asked[:2]] == [Command.NOOP, Command.CONNECT]

    run(scene())


def test_whoever_opens_a_session_that_is_being_opened_waits_for_it(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            assert await asyncio.gather(*(client.open_session() for _ in range(10))) == [True] * 10
        assert proxy.passwords()[:1] == [True]
        assert len(proxy.asked) == 2  # to open it, and to tear it down

    run(scene())


def test_without_sessions_each_request_carries_the_password(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy, session=False) as client:
            assert not await client.open_session()
            await visit(client, idempotent=True)
            await visit(client)
        assert proxy.passwords() == [True, True]
        assert proxy.kinds() == {AuthenticationData}

    run(scene())


def test_requests_that_come_while_a_session_is_opened_do_not_wait_for_it(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy(crowd=5)
        async with in_sessions(proxy) as client:
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(visit(client, idempotent=True))
            assert len(proxy.sessions) == 1
            opening = [SessionRequest in proxy.kinds(at) for at in range(5)]
            assert opening == [True, False, False, False, False]
            assert all(proxy.passwords()[:5])
            assert proxy.tokens() == [BASE]  # of the one that had opened the session ahead

    run(scene())


@pytest.mark.parametrize("grants", [False, True])
def test_a_proxy_without_sessions_or_windows_is_not_bothered(run: Run, grants: bool) -> None:
    async def scene() -> None:
        proxy = SessionProxy(grants=grants, window=0)
        async with in_sessions(proxy) as client:
            for _ in range(4):
                await visit(client, idempotent=True)
            asked = [IdempotenceRequest in proxy.kinds(at) for at in range(len(proxy.asked))]
            assert asked == [True, False, False, False, False]  # the first being the NOOP ahead
            assert len(proxy.sessions) == int(grants)

    run(scene())


def test_tokens_are_spent_lowest_first(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy(window=2)
        async with in_sessions(proxy) as client:
            for _ in range(20):
                await visit(client, idempotent=True)
            assert proxy.tokens() == [(BASE + number) % 2**32 for number in range(20)]
            assert len(proxy.ran) == 21  # with the NOOP that opened the session

    run(scene())


def test_a_session_that_is_gone_is_replaced_without_a_word(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await visit(client)
            await visit(client)
            proxy.sessions.clear()
            stream = await client.connect("example.com", 80, initial_data=b"once")
            await stream.send_eof()
            assert await proxy.ends[-1].receive() == b"once"
            assert await proxy.ends[-1].receive() == b""
            stream.abort()
            await visit(client)
        assert proxy.passwords()[:5] == [True, False, False, True, False]
        assert len(proxy.ran) == 4

    run(scene())


def test_what_lost_its_session_is_repeated_outside_of_another_that_came_meanwhile(run: Run) -> None:
    """Or the repetition, too, might be told that its session is invalid, and there is none after that."""

    async def scene() -> None:
        proxy = Calls()

        async def nth(number: int) -> Call:
            await until(lambda: len(proxy.made) > number)
            return proxy.made[number]

        async with (
            Client("socks6://alice:secret@memory", dial=proxy.dial, timeout=5.0) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(client.noop())
            opening = await nth(0)
            await opening.admit(SessionId(id=b"old."))
            await opening.reply()
            group.create_task(visit(client))
            late = await nth(1)
            group.create_task(visit(client))
            await (await nth(2)).refuse(SessionInvalid())
            replacing = await nth(3)
            await replacing.admit(SessionId(id=b"new."))
            await replacing.reply()
            await late.refuse(SessionInvalid())
            repeated = await nth(4)
            await repeated.admit()
            await repeated.reply()
            assert {type(option) for option in repeated.request.options} == {AuthenticationData}
            proxy.refusing = True
        for call in proxy.made:
            call.stream.abort()

    run(scene())


def test_a_proxy_that_has_unlearned_sessions_gets_the_password_again(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await visit(client)
            proxy.knows_sessions = False
            for _ in range(3):
                await visit(client)
        assert proxy.passwords() == [True, False, True, True, True]

    run(scene())


def test_a_proxy_that_forgets_at_once_does_not_cost_a_request_each_time(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy(invalidates=1000)
        async with in_sessions(proxy) as client:
            for _ in range(5):
                await visit(client)
        assert len(proxy.asked) == 7  # after the second time there is no session for a while

    run(scene())


def test_a_token_that_is_rejected_is_replaced_by_another(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.open_session()
            proxy.rejects = 1
            stream = await client.connect("example.com", 80, idempotent=True, initial_data=b"once")
            await stream.send_eof()
            assert await proxy.ends[-1].receive() == b"once"
            assert await proxy.ends[-1].receive() == b""
            stream.abort()
            assert proxy.tokens() == [BASE, BASE + 1]
            assert len(proxy.ran) == 2

    run(scene())


def test_where_there_are_no_syns_a_rejected_token_is_replaced_with_fast_open_too(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy, fast_open=True) as client:
            await client.open_session()
            proxy.rejects = 1
            await visit(client, idempotent=True)
            assert proxy.tokens() == [BASE, BASE + 1]

    run(scene())


def test_a_proxy_that_rejects_every_token_is_told_of_and_later_calls_work(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await visit(client, idempotent=True)
            proxy.rejects = 2
            with pytest.raises(TokenRejected):
                await visit(client, idempotent=True)
            await visit(client, idempotent=True)
            assert len(proxy.sessions) == 2

    run(scene())


def test_tokens_lost_on_the_way_are_replaced_with_their_session(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy(window=2)
        async with in_sessions(proxy) as client:
            await client.open_session()
            session = session_of(client)
            for _ in range(2):
                session.end(session.begin(0.0, spend=True))
            for _ in range(2):
                await visit(client, idempotent=True)
            assert len(proxy.sessions) == 2
            assert len(proxy.tokens()) == 1

    run(scene())


def test_a_session_survives_an_operation_that_failed(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy(code=ReplyCode.CONNECTION_REFUSED)
        async with in_sessions(proxy) as client:
            for _ in range(2):
                with pytest.raises(ConnectionRefused):
                    await visit(client)
            assert proxy.passwords() == [True, False]
        assert len(proxy.torn_down) == 1  # what failed holds nothing

    run(scene())


def test_a_wrong_password_is_told_and_may_be_tried_again(run: Run) -> None:
    async def scene() -> None:
        dialled = []

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            await theirs.send(bytes.fromhex("06 01 0000"))
            await theirs.send_eof()
            dialled.append(theirs)
            return ours

        client = Client("socks6://alice:wrong@memory", dial=dial)
        for call in (client.open_session, client.open_session, client.noop):
            with pytest.raises(AuthenticationFailed):
                await call()
        assert len(dialled) == 3  # no wrong password is sent twice

    run(scene())


def test_a_proxy_that_is_not_there_leaves_the_next_call_free_to_open(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            there = client._connector._connector

            async def nowhere() -> ByteStream:
                raise ConnectionRefusedError

            client._connector._connector = DialConnector(nowhere)
            with pytest.raises(ProxyUnreachable):
                await visit(client, idempotent=True)
            client._connector._connector = there
            await visit(client)
            assert len(proxy.sessions) == 1

    run(scene())


def test_more_initial_data_than_a_negotiation_allows_is_refused_in_a_session_too(run: Run) -> None:
    async def scene() -> None:
        async with in_sessions(SessionProxy(), methods=(ChallengeClient,)) as client:
            await client.open_session()
            with pytest.raises(ValueError, match="20000 bytes of initial data"):
                await client.connect("example.com", 80, initial_data=bytes(20_000))

    run(scene())


@pytest.mark.slow
def test_many_tasks_share_a_session_with_a_real_proxy(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(authenticator=USERS, outbound=ScriptedOutbound(), observers=[log])
        async with proxied(worker) as client:
            await client.open_session()
            async with asyncio.TaskGroup() as group:
                for _ in range(WINDOW_SIZE + 100):
                    group.create_task(visit(client, idempotent=True))
        assert [summary.session for summary in log.summaries].count("new") == 1
        told = Counter(summary.token for summary in log.summaries if summary.command == "CONNECT")
        assert told.total() == WINDOW_SIZE + 100
        assert told["accepted"] >= WINDOW_SIZE
        assert told["rejected"] == 0
        await worker.aclose()

    run(scene())


def test_secrets_show_nowhere(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.open_session()
            proxy.rejects = 2
            with pytest.raises(TokenRejected) as caught:
                await visit(client, idempotent=True)
            told = f"{caught.value!r} {client!r} {caught.value.__cause__!r}"
            assert "secret" not in told
            assert str(BASE) not in told
        assert {type(option) for option in proxy.asked[1].options} >= {IdempotenceExpenditure}

    run(scene())


MOST_TURNS: Final = 200  # of the loop, that any of these calls takes


class Hesitant(MemoryStream):
    """A stream whose every call takes a turn of the loop before and after: it can be cancelled there."""

    __slots__ = ()

    def __init__(self, stream: ByteStream) -> None:
        assert isinstance(stream, MemoryStream)
        super().__init__(incoming=stream._incoming, outgoing=stream._outgoing)

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        await asyncio.sleep(0)
        return await super().receive(max_bytes)

    @override
    async def send(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(0)
        await super().send(data)
        await asyncio.sleep(0)

    @override
    async def aclose(self) -> None:
        await asyncio.sleep(0)
        await super().aclose()
        await asyncio.sleep(0)


async def connect(client: Client) -> None:
    async with await client.connect("example.com", 80, initial_data=b"hello", idempotent=True) as stream:
        await stream.send(b"more")


async def noop(client: Client) -> None:
    await client.noop()


async def open_session(client: Client) -> None:
    await client.open_session()


async def leave(client: Client) -> None:
    await client.open_session()
    await client.aclose()


async def cancelled_after(turns: int, call: Coroutine[object, object, None]) -> bool:
    """Cancel a call after so many turns of the loop; return whether it was still under way."""
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


@pytest.mark.parametrize("before", [False, True], ids=["new", "within"])
@pytest.mark.parametrize("call", [connect, noop, open_session, leave])
def test_whenever_a_call_is_cancelled_nothing_of_it_is_left(
    run: Run, call: Callable[[Client], Coroutine[object, object, None]], before: bool
) -> None:
    async def attempt(turns: int) -> bool:
        proxy = SessionProxy(window=4)
        ends: list[ByteStream] = []
        async with asyncio.TaskGroup() as group:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                ends.append(Hesitant(ours))
                group.create_task(proxy.serve(theirs))
                return ends[-1]

            client = Client("socks6://alice:secret@memory", dial=dial, timeout=5.0)
            if before:
                await client.open_session()
            interrupted = await cancelled_after(turns, call(client))
            for end in ends:
                with pytest.raises(OSError, match="closed"):
                    end.receive_nowait(1)
            stream = await client.connect("example.com", 80, idempotent=True)
            stream.abort()
            assert proxy.tokens(), "the client has no tokens any more"
            assert len(proxy.tokens()) == len(set(proxy.tokens()))
            session = session_of(client)._live
            assert session is not None
            assert (session.leases, session.spending) == (0, 0)
            session.unsettled_until = 0.0  # a call that came to its end closed a stream only just
            await client.aclose()
            assert session.option.id in proxy.torn_down
        return interrupted

    async def scene() -> None:
        for turns in range(MOST_TURNS):
            if not await attempt(turns):
                return
        raise AssertionError("the call takes longer")

    run(scene())


def test_the_session_is_torn_down_without_a_password(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()
        assert len(proxy.torn_down) == 1
        assert proxy.kinds() == {SessionId, SessionTeardown}
        assert proxy.asked[-1].command == Command.NOOP
        await client.aclose()
        assert len(proxy.asked) == 2

    run(scene())


def test_while_a_stream_is_open_the_session_is_left_alone(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            stream = await client.connect("example.com", 80)
        assert not proxy.torn_down
        stream.abort()
        stream.abort()

    run(scene())


def test_what_was_closed_just_now_may_still_be_under_way(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client, await client.connect("example.com", 80) as stream:
            await stream.send(b"last words")
        assert not proxy.torn_down

    run(scene())


def test_a_detached_socket_counts_as_open(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            stream = await client.connect("example.com", 80)
            detached = stream.detach_socket()
            detached.close()
            await client.aclose()
            assert not proxy.torn_down

    run(scene())


def test_a_transport_may_outlive_the_client(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            _, writer = await client.open_connection("example.com", 80)
            await client.aclose()
            assert not proxy.torn_down
            writer.write(b"still here")
            assert await proxy.ends[-1].receive() == b"still here"
            writer.close()

    run(scene())


def test_a_close_waits_no_longer_than_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.requester.TEARDOWN_SECONDS", 0.01)

    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()

            async def silent() -> ByteStream:
                ends.append(memory_stream_pair())
                return ends[-1][0]

            ends: list[tuple[ByteStream, ByteStream]] = []
            client._connector._connector = DialConnector(silent)
        assert len(ends) == 1

    run(scene())


def test_a_close_raises_nothing_when_the_proxy_is_gone(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()

            async def nowhere() -> ByteStream:
                raise ConnectionRefusedError

            client._connector._connector = DialConnector(nowhere)

    run(scene())


@pytest.mark.parametrize("code", range(1, 12))
def test_every_reply_code_has_its_exception(run: Run, code: int) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(operation_failure(code, "")))) as client:
            with pytest.raises(OperationFailed) as caught:
                await client.connect("example.com", 80)
            assert caught.value.code == code
            assert type(caught.value) is type(operation_failure(code, ""))

    run(scene())


@pytest.mark.parametrize(
    ("address", "reporter"),
    [
        ("01 0a000101", "10.0.1.1"),
        ("04 fd000001000000000000000000000001", "fd00:1::1"),
        ("01 00000000", None),
        ("04 00000000000000000000000000000000", None),
        ("03 03 616200", None),
    ],
)
def test_reply_06_tells_the_router(run: Run, address: str, reporter: str | None) -> None:
    async def scene() -> None:
        replies = bytes.fromhex(f"06 00 0000  06 06 0000 0000 00 {address}")
        async with scripted(replies) as client:
            with pytest.raises(TtlExpired) as caught:
                await client.connect("a.example", 22)
            assert caught.value.reporter == reporter
            assert (f" at {reporter}" in caught.value.reason) is (reporter is not None)

    run(scene())


def test_other_failures_tell_no_router(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 0000  06 04 0000 0000 00 01 0a000101")) as client:
            with pytest.raises(OperationFailed, match=r"host unreachable$"):
                await client.connect("a.example", 22)

    run(scene())


def test_a_reply_code_is_the_matching_os_error(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(ConnectionRefused("")))) as client:
            with pytest.raises(ConnectionRefusedError):
                await client.connect("example.com", 80)

    run(scene())


def test_no_acceptable_method_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 01 0008 0003 0008 ff 000000")) as client:
            with pytest.raises(
                AuthenticationFailed, match="wants a user name and a password; the URL has none"
            ):
                await client.noop()

    run(scene())


def test_a_proxy_of_another_version_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(b"\x05") as client:
            with pytest.raises(VersionMismatch):
                await client.noop()
        async with scripted(b"\x06") as client:
            with pytest.raises(VersionMismatch, match="version 6"):
                await client.noop()

    run(scene())


def test_a_proxy_that_talks_rubbish_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 ffff")) as client:
            with pytest.raises(RemoteProtocolError):
                await client.noop()

    run(scene())


def test_a_proxy_that_goes_away_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 0000")) as client:
            with pytest.raises(ProxyUnreachable, match="operation reply"):
                await client.noop()

    run(scene())


def test_what_follows_the_replies_stays_in_the_stream(run: Run) -> None:
    async def scene() -> None:
        replies = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")
        async with scripted(replies + b"hello") as client, await client.connect("a.example", 22) as stream:
            assert await stream.receive() == b"hello"

    run(scene())


PLAIN_REPLY = bytes.fromhex("06 00 0000 1267 00 01 c0000201")
ANSWERS = {
    "plain": (bytes.fromhex("06 00 0000") + PLAIN_REPLY, Endpoint("192.0.2.1", 0x1267)),
    "an option": (
        bytes.fromhex("06 00 0008 0004 0008 02 000000") + PLAIN_REPLY,
        Endpoint("192.0.2.1", 0x1267),
    ),
    "IPv6": (
        bytes.fromhex("06 00 0000  06 00 0000 0050 00 04 20010db8000000000000000000000001"),
        Endpoint("2001:db8::1", 80),
    ),
    "a name": (bytes.fromhex("06 00 0000  06 00 0000 0050 00 03 03 612e62"), Endpoint("a.b", 80)),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_pieces_an_answer_comes_in_it_is_the_same(run: Run, answer: str) -> None:
    replies, bound = ANSWERS[answer]

    async def scene() -> None:
        for cut in range(len(replies) + 1):
            async with (
                scripted(replies[:cut], replies[cut:] + b"hello") as client,
                await client.connect("a.example", 22) as stream,
            ):
                assert stream.bound == bound
                assert await stream.receive() == b"hello"

    run(scene())


@pytest.mark.parametrize(
    "options",
    [(SessionOk(),), (SessionOk(), IdempotenceWindow(base=7, size=16)), ()],
    ids=["ok", "a window", "none"],
)
def test_within_a_session_no_byte_of_the_stream_is_taken_for_an_answer(
    run: Run, options: tuple[Option, ...]
) -> None:
    """A proxy that passes over options about sessions answers with four bytes less."""
    opened = AuthenticationReply(type=0, options=(SessionId(id=b"1234"),)).encode()
    accepted = AuthenticationReply(type=0, options=options).encode()
    answers = [[opened, PLAIN_REPLY], [accepted, PLAIN_REPLY + b"hello"]]

    async def dial() -> ByteStream:
        ours, theirs = memory_stream_pair()
        for piece in answers.pop(0):
            await theirs.send(piece)
        await theirs.send_eof()
        return ours

    async def scene() -> None:
        client = Client("socks6://memory", dial=dial, session=True, timeout=5.0)
        await visit(client)
        stream = await client.connect("example.com", 80)
        assert await receive_exactly(stream, 5) == b"hello"
        assert session_of(client).is_open is bool(options)
        stream.abort()

    run(scene())


@pytest.mark.parametrize("size", range(16))
def test_an_answer_that_breaks_off_is_told(run: Run, size: int) -> None:
    async def scene() -> None:
        async with scripted(ANSWERS["plain"][0][:size]) as client:
            with pytest.raises((ProxyUnreachable, VersionMismatch)):
                await client.connect("a.example", 22)

    run(scene())


def test_a_request_that_was_sent_is_not_unsent_because_a_second_connection_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [memory_stream_pair()[0]]

    async def dial() -> ByteStream:
        if not streams:
            raise ConnectionRefusedError
        return streams.pop()

    async def lose(_: DialConnector, stream: ByteStream, answer: Coroutine[object, object, object]) -> None:
        answer.close()
        raise NotAnswered("the connection broke")

    async def scene() -> None:
        with pytest.raises(ProxyUnreachable, match="cannot reach") as caught:
            await Client("socks6://memory", dial=dial).noop()
        assert not caught.value.unsent

    monkeypatch.setattr(DialConnector, "first_answer", lose)
    run(scene())
