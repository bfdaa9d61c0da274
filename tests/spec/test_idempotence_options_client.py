"""§ Idempotence options: what binds clients."""

from socks6.client.session import ClientSession, RequestSessionState
from socks6.message.codes import AuthenticationType
from socks6.message.options import (
    IdempotenceExpenditure,
    IdempotenceRequest,
    IdempotenceWindow,
    SessionId,
    SessionOk,
    find,
)
from socks6.message.replies import AuthenticationReply
from tests.kit.loops import Run
from tests.kit.session_proxy import BASE, SessionProxy, in_sessions


def opened(base: int, size: int) -> ClientSession:
    """Return a session that has a window."""
    session = ClientSession(enabled=True)
    part = session.begin(0.0)
    told = SessionId(id=b"abcd"), IdempotenceWindow(base=base, size=size)
    session.authenticated(part, AuthenticationReply(type=AuthenticationType.SUCCEEDED, options=told), 0.0)
    session.end(part)
    return session


def advertise(session: ClientSession, part: RequestSessionState, base: int, size: int) -> None:
    """Have the proxy answer a request."""
    told = SessionOk(), IdempotenceWindow(base=base, size=size)
    session.authenticated(part, AuthenticationReply(type=AuthenticationType.SUCCEEDED, options=told), 0.0)
    session.end(part)


def token(part: RequestSessionState) -> int:
    """Return what it spends."""
    option = find(part.options, IdempotenceExpenditure)
    assert option is not None
    return option.token


def test_clients_should_spend_the_smaller_tokens_first() -> None:
    session = opened(2**32 - 2, 4)
    assert [token(session.begin(0.0, spend=True)) for _ in range(4)] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert find(session.begin(0.0, spend=True).options, IdempotenceExpenditure) is None


def test_clients_should_disregard_windows_with_a_lower_base() -> None:
    session = opened(10, 4)
    first, second = session.begin(0.0, spend=True), session.begin(0.0, spend=True)
    advertise(session, second, 12, 4)
    advertise(session, first, 11, 4)  # it was sent before, and arrives after
    assert [token(session.begin(0.0, spend=True)) for _ in range(4)] == [12, 13, 14, 15]
    assert find(session.begin(0.0, spend=True).options, IdempotenceExpenditure) is None


def test_a_window_is_asked_for_with_the_session_and_no_more_once_it_is_there(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            for _ in range(4):
                (await client.connect("example.com", 80, idempotent=True)).abort()
        assert [IdempotenceRequest in proxy.kinds(at) for at in range(5)] == [True, *4 * [False]]

    run(scene())


def test_a_token_is_spent_on_a_single_request(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            for _ in range(4):
                proxy.rejects = 1
                (await client.connect("example.com", 80, idempotent=True)).abort()
        assert len(proxy.tokens()) == len(set(proxy.tokens()))
        assert proxy.tokens()[0] == BASE
        assert len(proxy.tokens()) == 8

    run(scene())
