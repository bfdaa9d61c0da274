"""§ Session options: what binds clients."""

from socks6.message.options import (
    AuthenticationData,
    IdempotenceRequest,
    SessionId,
    SessionRequest,
    SessionTeardown,
)
from tests.kit.loops import Run
from tests.kit.session_proxy import SessionProxy, in_sessions


async def requests_of(proxy: SessionProxy, times: int) -> None:
    async with in_sessions(proxy) as client:
        for _ in range(times):
            (await client.connect("example.com", 80)).abort()


def test_further_requests_must_include_the_session_id(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        await requests_of(proxy, 4)
        assert all(SessionId in proxy.kinds(at) for at in range(1, 5))

    run(scene())


def test_a_client_must_not_initiate_a_session_from_within_another(run: Run) -> None:
    async def scene() -> None:
        for proxy in (SessionProxy(), SessionProxy(invalidates=1), SessionProxy(window=0)):
            await requests_of(proxy, 4)
            assert not any({SessionId, SessionRequest} <= proxy.kinds(at) for at in range(len(proxy.asked)))

    run(scene())


def test_after_a_teardown_the_client_must_assume_that_the_session_is_invalid(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()
            await client.aclose()
            await client.noop()
            await client.aclose()
        assert len(set(proxy.torn_down)) == 2
        expected = {AuthenticationData, SessionRequest, IdempotenceRequest}, {SessionId, SessionTeardown}
        assert [proxy.kinds(at) for at in range(4)] == [*expected, *expected]

    run(scene())


def test_an_invalid_session_is_used_no_more(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()
            proxy.sessions.clear()
            await client.noop()
            await client.noop()
        ids = [
            option.id
            for request in proxy.asked
            for option in request.options
            if isinstance(option, SessionId)
        ]
        assert len(ids) == 3  # the one that was gone; then the new one, and its end
        assert ids[0] != ids[1] == ids[2]

    run(scene())
