"""Requests in and out of sessions, against a proxy that does as it is told."""

import asyncio
from collections import Counter

import pytest

from socks6.client.client import Client
from socks6.client.session import WINDOW_SIZE
from socks6.errors import AuthenticationFailed, ConnectionRefused, ProxyUnreachable, TokenRejected
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import (
    AuthenticationData,
    IdempotenceExpenditure,
    IdempotenceRequest,
    SessionId,
    SessionInvalid,
    SessionRequest,
)
from socks6.net.stream import ByteStream
from socks6.proxy.worker import ServerWorker
from tests.kit.calls import Call, Calls
from tests.kit.challenge import ChallengeClient
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.proxied import USERS, proxied
from tests.kit.session_proxy import BASE, SessionProxy, in_sessions
from tests.kit.streams import until


async def visit(client: Client, *, idempotent: bool = False, data: bytes = b"") -> None:
    stream = await client.connect("example.com", 80, idempotent=idempotent, initial_data=data)
    stream.abort()


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
            for _ in range(2):
                client._requester.session.end(client._requester.session.begin(0.0, spend=True))
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
            there = client._requester._connector._dial

            async def nowhere() -> ByteStream:
                raise ConnectionRefusedError

            client._requester._connector._dial = nowhere
            with pytest.raises(ProxyUnreachable):
                await visit(client, idempotent=True)
            client._requester._connector._dial = there
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
