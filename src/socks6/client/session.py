"""A client's session with its proxy, and the tokens in it (§ Session options, § Idempotence options); no input or output."""

from collections.abc import Callable
from dataclasses import field
from enum import Enum
from typing import Final

from socks6.dataclass import dataclass
from socks6.message.options import (
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.protocol.tokens import TokenWallet

WINDOW_SIZE: Final = 512  # tokens asked for: so many requests may be under way
REFUSAL_SECONDS: Final = 60.0  # before a proxy that granted no session, or no window, is asked again
REFRESH_SECONDS: Final = 1.0  # before a proxy that had no new tokens is asked again
MAX_LOSSES: Final = 2  # of unused sessions, in a row: then none is asked for during REFUSAL_SECONDS
MAX_REJECTIONS: Final = 1  # of tokens in a row, then the session is replaced
DELIVERY_SECONDS: Final = 10.0  # for the last bytes of a closed stream to reach the remote host


class RefusalReason(Enum):
    """Why the proxy did not carry a request out."""

    SESSION = "it knows no such session"
    TOKEN = "it rejected the token"  # noqa: S105 - no password
    CREDENTIALS = "it refused the credentials"


@dataclass(slots=True, eq=False)
class OpenSession:
    """A session that the proxy has granted."""

    option: SessionId
    wallet: TokenWallet = field(default_factory=TokenWallet)
    windowed: bool = False  # the proxy has issued a window of tokens
    tokens_after: float = 0.0  # the time before which no tokens are requested
    confirmed: bool = False  # a request within it succeeded
    rejections: int = 0  # of tokens, in a row
    spending: int = 0  # requests under way that carry a token
    leases: int = 0  # requests under way, and open streams
    unsettled_until: float = 0.0  # the last bytes of closed streams may be on their way


class SessionLease:
    """Keeps a session from being torn down, which would cut off what belongs to it."""

    __slots__ = ("session",)

    def __init__(self, session: OpenSession) -> None:
        session.leases += 1
        self.session: OpenSession | None = session  # until `release`

    def release(self, *, unsettled_until: float = 0.0) -> None:
        """Give the lease up. The session is not torn down before `unsettled_until`, as bytes may be on their way. Idempotent."""
        session, self.session = self.session, None
        if session is not None:
            session.leases -= 1
            session.unsettled_until = max(session.unsettled_until, unsettled_until)


@dataclass(slots=True, eq=False)
class RequestSessionState:
    """How one request takes part: within a session, opening one, or neither (then with credentials alone)."""

    options: tuple[Option, ...] = ()
    session: OpenSession | None = None
    token: int | None = None
    opens: bool = False
    lease: SessionLease | None = None
    window: IdempotenceWindow | None = None  # of a session whose id is yet to come

    def __post_init__(self) -> None:
        if self.session is not None:
            self.lease = SessionLease(self.session)

    @property
    def is_only_within(self) -> bool:
        """Whether the request names its session, and asks for nothing else."""
        return self.session is not None and not self.opens and len(self.options) == 1

    @property
    def authenticates(self) -> bool:
        """Whether the request carries credentials: within a session they would be ignored."""
        return self.session is None or self.opens


class ClientSession:
    """Decides how each request takes part in the client's session, and learns from the replies.

    There is one session at a time, opened by one request; requests that are made meanwhile neither wait nor open
    another. A proxy that grants none is not asked again for REFUSAL_SECONDS. Times are the event loop's.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled: Final = enabled
        self._live: OpenSession | None = None
        self.is_opening = False  # a request that is to open one is under way
        self._opening_waiters: list[Callable[[], None]] = []
        self._fetching = False
        self._refused_until = 0.0
        self._losses = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a session, as far as the client knows."""
        return self._live is not None

    def call_when_opened(self, callback: Callable[[], None]) -> None:
        """Call back once, when the request that is to open a session has done so, or has failed."""
        self._opening_waiters.append(callback)

    def begin(
        self, now: float, *, spend: bool = False, anew: bool = False, ask: bool = False, need: bool = False
    ) -> RequestSessionState:
        """Return the state of the next request; `end` it whatever becomes of the request.

        `spend` adds a token, if there is one. `anew` does not use the session that there is; `ask` asks for a session
        though the proxy has refused one of late; `need` asks for one though the client has sessions disabled, or
        another request is opening one.
        """
        live = self._live
        if live is not None:
            return RequestSessionState() if anew and not need else self._within(live, now, spend)
        # § Session initiation: never from within a session
        wanted = self.enabled and not self.is_opening and (ask or now >= self._refused_until)
        if wanted or need:
            self.is_opening = True
            return RequestSessionState((SessionRequest(), IdempotenceRequest(size=WINDOW_SIZE)), opens=True)
        return RequestSessionState()

    def join(self, lease: SessionLease | None, now: float) -> RequestSessionState:
        """Return the state of a request within the session of a lease, which may be an earlier one."""
        session = lease.session if lease is not None else None
        return self._within(session, now, spend=False) if session is not None else RequestSessionState()

    def authenticated(self, state: RequestSessionState, reply: AuthenticationReply, now: float) -> None:
        """Learn from a successful Authentication Reply."""
        state.window = find(reply.options, IdempotenceWindow)
        if state.opens:
            self._take_id(state, reply, now)
        elif state.session is not None and find(reply.options, SessionOk) is None:
            self._forget(state.session, now)  # the proxy ignores sessions
        elif state.session is not None:
            state.session.confirmed = True
            self._losses = 0
            state.session.rejections *= state.token is None
            self._take_window(state, state.session, now)

    def operated(self, state: RequestSessionState, reply: OperationReply, now: float) -> None:
        """Learn from a successful Operation Reply, which may carry the id of a new session too."""
        if state.opens and state.session is None:
            self._take_id(state, reply, now)
            if state.session is None:
                self._refused_until = now + REFUSAL_SECONDS

    def refused(self, state: RequestSessionState, reply: AuthenticationReply, now: float) -> RefusalReason:
        """Learn from a failed Authentication Reply; return why the request was not carried out."""
        if state.opens or state.session is None:
            return RefusalReason.CREDENTIALS
        if state.token is not None and find(reply.options, IdempotenceRejected) is not None:
            state.window = find(reply.options, IdempotenceWindow)
            self._take_window(state, state.session, now)
            state.session.rejections += 1
            if state.session.rejections > MAX_REJECTIONS:  # the sides count differently: it would never end
                self._forget(state.session, now)
            return RefusalReason.TOKEN
        # also without Session Invalid: credentials that the session stands for were accepted once
        self._forget(state.session, now)
        return RefusalReason.SESSION

    def end(self, state: RequestSessionState) -> None:
        """End a request's part in the session; its lease, if any, is the caller's to release."""
        if state.opens and state.session is None:
            self._end_opening()
        elif state.token is not None and state.session is not None:
            state.session.spending -= 1

    def begin_fetching(self, now: float) -> bool:
        """Return whether a NOOP should fetch tokens for a request that needs one; if so, `end_fetching` must follow."""
        live = self._live
        if self._fetching or self.is_opening or not self.enabled:
            return False
        if live is None:
            self._fetching = now >= self._refused_until
        else:
            self._fetching = not live.wallet.available and now >= live.tokens_after
        return self._fetching

    def end_fetching(self, now: float) -> None:
        """Learn that the NOOP is over, and whether there are tokens now."""
        self._fetching = False
        live = self._live
        if live is None or live.wallet.available:
            return
        live.tokens_after = max(live.tokens_after, now + REFRESH_SECONDS)
        if live.windowed and not live.spending:  # the tokens were lost with requests that never arrived
            self._live = None

    def leave(self, now: float) -> tuple[Option, ...]:
        """Forget the session, and return the options that tear it down; () where that would cut streams off."""
        live = self._live
        if live is None or live.leases or now < live.unsettled_until:
            return ()
        self._live = None  # § Session teardown: it must be assumed to be no longer valid
        return live.option, SessionTeardown()

    def _within(self, live: OpenSession, now: float, spend: bool) -> RequestSessionState:
        token = live.wallet.take() if spend else None
        if token is not None:
            live.spending += 1
            return RequestSessionState(
                (live.option, IdempotenceExpenditure(token=token)), session=live, token=token
            )
        if not live.windowed and now >= live.tokens_after:
            return RequestSessionState((live.option, IdempotenceRequest(size=WINDOW_SIZE)), session=live)
        return RequestSessionState((live.option,), session=live)

    def _take_id(
        self, state: RequestSessionState, reply: AuthenticationReply | OperationReply, now: float
    ) -> None:
        option = find(reply.options, SessionId)
        if option is None or not option.id or len(option.id) % 4:
            return
        self._live = state.session = OpenSession(option)
        self._end_opening()
        state.lease = SessionLease(state.session)
        self._take_window(state, state.session, now)

    def _end_opening(self) -> None:
        self.is_opening = False
        waiters, self._opening_waiters = self._opening_waiters, []
        for callback in waiters:
            callback()

    def _take_window(self, state: RequestSessionState, session: OpenSession, now: float) -> None:
        if state.window is not None:
            session.wallet.receive_window(state.window)
            session.windowed = True
        elif not session.windowed and any(isinstance(option, IdempotenceRequest) for option in state.options):
            session.tokens_after = now + REFUSAL_SECONDS

    def _forget(self, session: OpenSession, now: float) -> None:
        if self._live is session:
            self._live = None
            self._losses += not session.confirmed
            # a proxy that forgets at once is not worth a wasted request each time
            if self._losses >= MAX_LOSSES:
                self._losses = 0
                self._refused_until = now + REFUSAL_SECONDS
