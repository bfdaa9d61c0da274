"""§ Session options: the sessions that a proxy keeps."""

import asyncio

import pytest
from typing_extensions import override

from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    IdempotenceExpenditure,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    encode_options,
)
from socks6.message.replies import AuthenticationReply
from socks6.message.requests import Request
from socks6.net.stream import Protection
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.inbounds.socks6 import Socks6Inbound
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.challenge import FIRST, SECOND, ChallengeCredentials, ChallengeServer, answer
from tests.kit.challenge import NUMBER as CHALLENGE
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder
from tests.kit.reading import receive_all
from tests.kit.session_scene import Scene, credentials

ID = SessionId(id=bytes(range(16)))


def test_a_session_id_stands_in_both_successful_replies(run: Run) -> None:
    async def scene() -> None:
        answer = await Scene().ask(credentials(), SessionRequest())
        session_id = answer.find(SessionId)
        assert isinstance(session_id, SessionId)
        assert len(session_id.id) == 16
        assert answer.operation is not None
        assert answer.operation.options == (session_id,)
        assert answer.summary.session == "new"

    run(scene())


def test_a_session_survives_the_failure_of_the_operation_that_opened_it(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(credentials(), SessionRequest(), command=99)
        session_id = answer.find(SessionId)
        assert isinstance(session_id, SessionId)
        assert answer.operation is not None
        assert answer.operation.options == ()
        assert (await proxy.ask(session_id)).succeeded

    run(scene())


def test_the_credentials_that_opened_a_session_are_tied_to_it(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(await proxy.open(name="bob"), credentials("alice"))
        assert answer.summary.user == "bob"

    run(scene())


@pytest.mark.parametrize(
    "extra", [(), (credentials(),), (credentials("alice", "wrong"),)], ids=["no", "good", "bad"]
)
def test_a_further_request_needs_no_credentials_and_ignores_those_it_has(
    run: Run, extra: tuple[Option, ...]
) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(await proxy.open(), *extra)
        assert answer.raw == bytes.fromhex("06 00 0004  0008 0004  06 00 0000 0000 00 01 00000000")
        assert (answer.summary.user, answer.summary.session) == ("alice", "yes")

    run(scene())


def test_a_session_cannot_be_opened_from_within_another(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(await proxy.open(), credentials(), SessionRequest())
        assert answer.authentication is not None
        assert answer.authentication.options == (SessionOk(),)

    run(scene())


@pytest.mark.parametrize("wrong", [b"", b"abcd", bytes(16), bytes(20), bytes(1024)])
@pytest.mark.parametrize("teardown", [(), (SessionTeardown(),)], ids=["request", "teardown"])
def test_an_invalid_id_is_refused_whatever_comes_with_it(
    run: Run, wrong: bytes, teardown: tuple[Option, ...]
) -> None:
    async def scene() -> None:
        proxy = Scene()
        await proxy.open()
        rest = encode_options((credentials(), SessionRequest(), *teardown))
        options = b"\x00\x06" + (4 + len(wrong)).to_bytes(2, "big") + wrong + rest
        raw = bytes.fromhex(f"06 00 {len(options):04x} 0000 00 01 00000000") + options
        answer = await proxy.ask(raw=raw)
        assert answer.raw == bytes.fromhex("06 01 0004  0009 0004")
        assert answer.summary.session == "invalid"

    run(scene())


def test_an_odd_id_is_an_invalid_one(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene(settings=Settings(dialects=(DRAFT_12, GO_212)))
        answer = await proxy.ask(raw=bytes.fromhex("d4 00 0005 0000 00 01 00000000  0006 0005 61"))
        assert answer.raw == bytes.fromhex("d4 01 0004  0009 0004")

    run(scene())


def test_no_id_is_guessed_from_a_part_of_one(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        for near in (
            session_id.id[:12],
            session_id.id + bytes(4),
            session_id.id[:15] + bytes([session_id.id[15] ^ 1]),
        ):
            assert (await proxy.ask(SessionId(id=near))).find(SessionInvalid)

    run(scene())


def test_a_torn_down_session_is_invalid_from_then_on(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        await proxy.ask(session_id, SessionTeardown(), credentials())
        assert (await proxy.ask(session_id)).raw == bytes.fromhex("06 01 0004  0009 0004")

    run(scene())


def test_the_request_that_tears_down_is_judged_on_its_own_credentials(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(await proxy.open(name="bob"), SessionTeardown(), credentials("alice"))
        assert answer.succeeded
        assert not answer.find(SessionOk)
        assert (answer.summary.user, answer.summary.session) == ("alice", "ended")

    run(scene())


def test_the_request_that_tears_down_may_open_another(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        old = await proxy.open()
        new = (await proxy.ask(old, SessionTeardown(), credentials(), SessionRequest())).find(SessionId)
        assert isinstance(new, SessionId)
        assert new != old
        assert (await proxy.ask(new)).succeeded
        assert not (await proxy.ask(old)).succeeded

    run(scene())


def test_a_token_with_a_teardown_is_part_of_no_session(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        token = IdempotenceExpenditure(token=1)
        answer = await proxy.ask(session_id, SessionTeardown(), token, credentials())
        assert (answer.succeeded, answer.summary.token) == (True, "")

    run(scene())


def test_a_bare_teardown_works_and_is_no_attack(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        for _ in range(30):  # more than the failures that a source is forgiven
            session_id = await proxy.open()
            answer = await proxy.ask(session_id, SessionTeardown())
            assert answer.raw == bytes.fromhex("06 01 0000")
            assert (answer.summary.ending, answer.summary.session) == (Ending.DONE, "ended")
            assert not (await proxy.ask(session_id)).succeeded

    run(scene())


def test_a_teardown_with_wrong_credentials_is_a_failed_login(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(await proxy.open(), SessionTeardown(), credentials("alice", "wrong"))
        assert answer.summary.ending is Ending.UNAUTHENTICATED

    run(scene())


def test_a_teardown_without_an_id_is_ignored(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        assert (await proxy.ask(SessionTeardown(), credentials())).succeeded
        assert (await proxy.ask(session_id)).succeeded

    run(scene())


@pytest.mark.parametrize("closes", [True, False])
def test_a_teardown_closes_the_other_connections_of_its_session_and_no_others(run: Run, closes: bool) -> None:
    async def scene() -> None:
        proxy = Scene.with_sessions(close_connections=closes)
        session_id = await proxy.open()
        async with asyncio.TaskGroup() as group:
            inside, _ = await proxy.connected(group, session_id)
            remote = proxy.outbound.far
            beside, _ = await proxy.connected(group, credentials())
            await proxy.ask(session_id, SessionTeardown())
            if closes:
                with pytest.raises(ConnectionError):
                    await inside.receive()
                with pytest.raises(ConnectionError):
                    await remote.receive()
                assert proxy.log.summaries[-1].reason == "its session was torn down"
                assert proxy.log.summaries[-1].ending is Ending.STOPPED
            else:
                await remote.send(b"still here")
                assert await inside.receive() == b"still here"
            await proxy.outbound.far.send(b"untouched")
            assert await beside.receive() == b"untouched"
            inside.abort()
            beside.abort()

    run(scene())


def test_a_session_without_connections_ends_after_its_time(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene.with_sessions(idle_timeout=0.05)
        async with asyncio.TaskGroup() as group:
            session_id = await proxy.open()
            inside, _ = await proxy.connected(group, session_id)
            expired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            session = proxy.store.find(session_id.id, Protection.CLEAR, 0.0)
            assert session is not None
            session.on_end(lambda: expired.set_result(None))
            assert proxy.store.expire(asyncio.get_running_loop().time() + 3600) is None
            assert not expired.done()  # it has a connection
            inside.abort()
            await expired
        assert (await proxy.ask(session_id)).find(SessionInvalid)

    run(scene())


def test_a_session_of_a_protected_listener_is_worth_nothing_in_clear_text(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open(protection=Protection.ENCRYPTED)
        assert (await proxy.ask(session_id, protection=Protection.ENCRYPTED)).succeeded
        assert (await proxy.ask(session_id, protection=Protection.CLEAR)).find(SessionInvalid)
        # who read it on its way in clear text cannot use it elsewhere either
        assert (await proxy.ask(session_id, protection=Protection.ENCRYPTED)).find(SessionInvalid)

    run(scene())


def test_a_session_opened_in_clear_text_may_go_on_encrypted(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        assert (await proxy.ask(await proxy.open(), protection=Protection.ENCRYPTED)).succeeded

    run(scene())


def test_anonymous_clients_get_sessions_only_where_allowed(run: Run) -> None:
    async def scene() -> None:
        assert not (await Scene(users=None).ask(SessionRequest())).find(SessionId)
        proxy = Scene.with_sessions(users=None, anonymous=True)
        session_id = (await proxy.ask(SessionRequest())).find(SessionId)
        assert isinstance(session_id, SessionId)
        assert (await proxy.ask(session_id)).find(SessionOk)

    run(scene())


def test_a_proxy_without_sessions_ignores_all_that_is_said_about_them(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene.with_sessions(enabled=False)
        answer = await proxy.ask(ID, SessionRequest(), SessionTeardown(), credentials())
        assert answer.succeeded
        assert answer.authentication is not None
        assert [type(option) for option in answer.authentication.options] == [AuthenticationData]

    run(scene())


def test_a_slow_method_opens_sessions_too(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        log = Recorder()
        worker = ServerWorker(
            authenticator=ChallengeUsers(),
            outbound=proxy.outbound,
            observers=[log],
            inbounds={"socks6": Socks6Inbound(methods={CHALLENGE: ChallengeServer})},
        )
        near, far = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(far))
            options = (
                SessionRequest(),
                AuthenticationMethodAdvertisement(methods=(CHALLENGE,), initial_data_length=0),
            )
            await near.send(Request(command=0, host="0.0.0.0", port=0, options=options).encode())
            await near.send(b"\x05alice" + answer(FIRST + SECOND))
            await near.send_eof()
            data = await receive_all(near)
        first = AuthenticationReply.size(data)
        rest = data[first + len(FIRST + SECOND) :]
        second = AuthenticationReply.decode(rest[: AuthenticationReply.size(rest)])
        assert [type(option) for option in second.options] == [SessionId]
        assert log.summaries[0].session == "new"

    run(scene())


class ChallengeUsers(Authenticator):
    """Knows whoever answers rightly."""

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, ChallengeCredentials)
        return Identity(name=credentials.name.decode()) if credentials.right else None
