"""A client's session without a proxy: what each request carries, and what is learnt from each answer."""

import pytest

from socks6.client.session import (
    DELIVERY_SECONDS,
    MAX_LOSSES,
    REFRESH_SECONDS,
    REFUSAL_SECONDS,
    WINDOW_SIZE,
    ClientSession,
    RefusalReason,
    RequestSessionState,
    SessionLease,
)
from socks6.message.codes import AuthenticationType, ReplyCode
from socks6.message.options import (
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
)
from socks6.message.replies import AuthenticationReply, OperationReply

ID = SessionId(id=b"abcd")
OPENING = SessionRequest(), IdempotenceRequest(size=WINDOW_SIZE)
SUCCESS = OperationReply(code=ReplyCode.SUCCEEDED)


def accepted(*options: Option) -> AuthenticationReply:
    return AuthenticationReply(type=AuthenticationType.SUCCEEDED, options=options)


def refused(*options: Option) -> AuthenticationReply:
    return AuthenticationReply(type=AuthenticationType.FAILED, options=options)


def window(size: int = 4) -> IdempotenceWindow:
    return IdempotenceWindow(base=7, size=size)


def opened(*options: Option, now: float = 0.0) -> ClientSession:
    """Return a session that the proxy has granted, with these options of its reply."""
    session = ClientSession(enabled=True)
    answer(session, session.begin(now), ID, *options, now=now)
    return session


def answer(session: ClientSession, part: RequestSessionState, *options: Option, now: float = 0.0) -> None:
    """Make a request that is granted, and end it."""
    session.authenticated(part, accepted(*options), now)
    session.operated(part, SUCCESS, now)
    session.end(part)
    if part.lease is not None:
        part.lease.release()


def test_the_first_request_opens_and_carries_credentials() -> None:
    part = ClientSession(enabled=True).begin(0.0)
    assert (part.options, part.authenticates, part.opens) == (OPENING, True, True)


def test_while_it_is_opened_requests_are_of_no_session() -> None:
    session = ClientSession(enabled=True)
    first = session.begin(0.0)
    second = session.begin(0.0, spend=True)
    assert (second.options, second.authenticates) == ((), True)
    session.end(first)  # it broke off
    assert session.begin(0.0).opens


def test_the_end_of_opening_is_reported_once_however_it_ends() -> None:
    session = ClientSession(enabled=True)
    reports: list[bool] = []
    for options in ((), (SessionId(id=bytes(4)),)):
        opening = session.begin(0.0)
        assert session.is_opening
        session.call_when_opened(lambda: reports.append(session.is_open))
        if options:
            answer(session, opening, *options)
        else:
            session.end(opening)
        assert not session.is_opening
    assert reports == [False, True]


def test_the_id_is_good_from_the_first_reply_on() -> None:
    session = ClientSession(enabled=True)
    part = session.begin(0.0)
    session.authenticated(part, accepted(ID, window()), 0.0)
    assert session.begin(0.0, spend=True).options == (ID, IdempotenceExpenditure(token=7))


def test_a_window_is_kept_for_an_id_that_comes_later() -> None:
    session = ClientSession(enabled=True)
    part = session.begin(0.0)
    session.authenticated(part, accepted(window()), 0.0)
    assert not session.is_open
    session.operated(part, OperationReply(code=ReplyCode.SUCCEEDED, options=(ID,)), 0.0)
    assert session.begin(0.0, spend=True).token == 7


@pytest.mark.parametrize("id_", [b"", b"abc"])
def test_an_id_that_nobody_may_have_is_none(id_: bytes) -> None:
    session = ClientSession(enabled=True)
    answer(session, session.begin(0.0), SessionId(id=id_))
    assert not session.is_open


def test_switched_off_it_asks_for_nothing() -> None:
    session = ClientSession(enabled=False)
    assert session.begin(0.0, spend=True, ask=True).options == ()
    assert not session.begin_fetching(0.0)


def test_a_refusal_is_remembered_for_a_while() -> None:
    session = ClientSession(enabled=True)
    answer(session, session.begin(0.0), now=1.0)
    assert not session.begin(REFUSAL_SECONDS).opens
    assert session.begin(REFUSAL_SECONDS, ask=True).opens
    again = ClientSession(enabled=True)
    answer(again, again.begin(0.0), now=1.0)
    assert again.begin(1.0 + REFUSAL_SECONDS).opens


def test_a_window_that_was_not_given_is_asked_for_again_after_a_while() -> None:
    session = opened(now=1.0)
    assert session.begin(REFUSAL_SECONDS).options == (ID,)
    assert session.begin(1.0 + REFUSAL_SECONDS).options == (ID, OPENING[1])


def test_tokens_are_fetched_by_one_at_a_time() -> None:
    session = ClientSession(enabled=True)
    assert session.begin_fetching(0.0)
    assert not session.begin_fetching(0.0)
    answer(session, session.begin(0.0), ID, window(1))
    session.end_fetching(0.0)
    assert not session.begin_fetching(0.0)  # there is one


def test_what_is_opened_at_the_moment_brings_tokens_of_its_own() -> None:
    session = ClientSession(enabled=True)
    session.begin(0.0)
    assert not session.begin_fetching(0.0)


def test_an_empty_wallet_is_looked_after_once_in_a_while() -> None:
    session = opened(window(1))
    spending = session.begin(0.0, spend=True)
    assert session.begin_fetching(0.0)
    session.end_fetching(0.0)
    assert session.is_open  # that token may still come to something
    assert not session.begin_fetching(REFRESH_SECONDS / 2)
    assert session.begin_fetching(REFRESH_SECONDS)
    session.end(spending)  # it broke off
    session.end_fetching(REFRESH_SECONDS)
    assert not session.is_open


@pytest.mark.parametrize("told", [(), (SessionInvalid(),)])
def test_refused_within_a_session_the_session_is_gone(told: tuple[Option, ...]) -> None:
    session = opened()
    assert session.refused(session.begin(0.0), refused(*told), 0.0) is RefusalReason.SESSION
    assert not session.is_open


def test_another_session_that_came_meanwhile_stays() -> None:
    session = opened()
    first, second = session.begin(0.0), session.begin(0.0)
    session.refused(first, refused(SessionInvalid()), 0.0)
    answer(session, session.begin(0.0), SessionId(id=b"efgh"))
    session.refused(second, refused(SessionInvalid()), 0.0)
    assert session.begin(0.0).options[0] == SessionId(id=b"efgh")


def lose(session: ClientSession) -> None:
    """Answer as a proxy that has forgotten the session."""
    session.refused(session.begin(0.0), refused(SessionInvalid()), 0.0)


def test_sessions_that_were_of_use_may_be_lost_again_and_again() -> None:
    session = opened()
    for _ in range(MAX_LOSSES + 1):
        answer(session, session.begin(0.0), SessionOk())
        lose(session)
        part = session.begin(0.0)
        assert part.opens
        answer(session, part, ID)


def test_sessions_that_were_of_none_count_only_in_a_row() -> None:
    session = opened()
    for _ in range(MAX_LOSSES - 1):
        lose(session)
        answer(session, session.begin(0.0), ID)
    answer(session, session.begin(0.0), SessionOk())
    for _ in range(2):
        lose(session)
        part = session.begin(0.0)
        assert part.opens
        answer(session, part, ID)
    lose(session)
    assert not session.begin(0.0).opens


def test_refused_outside_of_a_session_the_credentials_are_wrong() -> None:
    session = ClientSession(enabled=True)
    assert session.refused(session.begin(0.0), refused(SessionInvalid()), 0.0) is RefusalReason.CREDENTIALS


def test_a_rejected_token_shows_the_way_to_the_next() -> None:
    session = opened(window())
    part = session.begin(0.0, spend=True)
    told = IdempotenceWindow(base=100, size=4), IdempotenceRejected()
    assert session.refused(part, refused(*told), 0.0) is RefusalReason.TOKEN
    assert session.begin(0.0, spend=True).token == 100


def test_a_proxy_that_rejects_again_and_again_counts_in_another_way() -> None:
    session = opened(window())
    for _ in range(2):
        session.refused(session.begin(0.0, spend=True), refused(IdempotenceRejected()), 0.0)
    assert not session.is_open


def test_a_proxy_that_takes_no_notice_of_the_id_has_no_session() -> None:
    session = opened()
    answer(session, session.begin(0.0))
    assert not session.is_open


# The end.


def test_a_session_that_nothing_holds_is_torn_down() -> None:
    session = opened()
    assert session.leave(0.0) == (ID, SessionTeardown())
    assert session.leave(0.0) == ()
    assert not session.is_open


def test_what_is_under_way_holds_it() -> None:
    session = opened()
    part = session.begin(0.0)
    assert session.leave(0.0) == ()
    assert session.is_open
    assert part.lease is not None
    part.lease.release()
    assert session.leave(0.0)


def test_a_stream_that_is_aborted_hurries_no_other_along() -> None:
    session = opened()
    one, two = session.begin(0.0).lease, session.begin(0.0).lease
    assert one is not None
    assert two is not None
    one.release(unsettled_until=5.0)
    two.release()
    assert session.leave(4.0) == ()
    assert session.leave(5.0) != ()


def test_what_may_be_undelivered_holds_it_for_a_while() -> None:
    session = opened()
    lease = session.begin(0.0).lease
    assert isinstance(lease, SessionLease)
    lease.release(unsettled_until=DELIVERY_SECONDS)
    lease.release()
    assert session.leave(DELIVERY_SECONDS / 2) == ()
    assert session.leave(DELIVERY_SECONDS)
