"""What a client knows of its session with the proxy, and of the tokens in it; no input, no output."""

from enum import Enum
from typing import Final

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
REFUSAL_SECONDS: Final = 60.0  # after which a proxy that gave no session, or no window, is asked again
REFRESH_SECONDS: Final = 1.0  # after which a proxy that had no new tokens is asked again
MAX_LOSSES: Final = 2  # of sessions, in a row, that were good for nothing: then there is none for a while
MAX_REJECTIONS: Final = 1  # of tokens in a row, then the session is replaced
DELIVERY_SECONDS: Final = 10.0  # what the last bytes of a closed stream get to reach the far host


class RefusalReason(Enum):
    """Why the proxy did not carry a request out."""

    SESSION = "it knows no such session"
    TOKEN = "it rejected the token"  # noqa: S105 - no password
    CREDENTIALS = "it refused the credentials"


class OpenSession:
    """A session that the proxy has granted."""

    __slots__ = (
        "confirmed",
        "held",
        "option",
        "rejections",
        "spending",
        "tokens_after",
        "unsettled_until",
        "wallet",
        "windowed",
    )  # fmt: skip

    def __init__(self, option: SessionId) -> None:
        self.option = option
        self.wallet = TokenWallet()
        self.windowed = False  # the proxy has issued a window
        self.tokens_after = 0.0  # before this it is not asked for one, or for news of it
        self.confirmed = False  # a request within it went well
        self.rejections = 0  # of tokens, in a row
        self.spending = 0  # requests under way that carry a token
        self.held = 0  # requests under way, and streams that are open
        self.unsettled_until = 0.0  # the last bytes of closed streams may be on their way


class SessionLease:
    """Keeps a session from being torn down, which would cut off what belongs to it."""

    __slots__ = ("_session",)

    def __init__(self, session: OpenSession) -> None:
        session.held += 1
        self._session: OpenSession | None = session

    @property
    def session(self) -> OpenSession | None:
        """The session, as long as it is held."""
        return self._session

    def release(self, *, unsettled_until: float = 0.0) -> None:
        """Hold no more; bytes may still be under way until then. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            session.held -= 1
            session.unsettled_until = max(session.unsettled_until, unsettled_until)


class RequestSessionState:
    """How one request takes part: within a session, opening one, or neither (then with credentials alone)."""

    __slots__ = ("lease", "opens", "options", "session", "token", "window")

    def __init__(
        self,
        options: tuple[Option, ...] = (),
        *,
        session: OpenSession | None = None,
        token: int | None = None,
        opens: bool = False,
    ) -> None:
        self.options = options
        self.session = session
        self.token = token
        self.opens = opens
        self.lease = SessionLease(session) if session else None
        self.window: IdempotenceWindow | None = None  # of a session whose id is yet to come

    @property
    def authenticates(self) -> bool:
        """Whether the request carries credentials: within a session they would be ignored."""
        return self.session is None or self.opens


class ClientSession:
    """Says how each request takes part in the client's session, and learns from the answers.

    There is one session at a time, opened by one request; requests that come while that is under way neither
    wait nor open another. A proxy that gives none is not asked again for a while. Times are the loop's.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled: Final = enabled
        self._live: OpenSession | None = None
        self._opening = False
        self._fetching = False
        self._refused_until = 0.0
        self._losses = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a session, as far as we know."""
        return self._live is not None

    def begin(
        self, now: float, *, spend: bool = False, anew: bool = False, ask: bool = False, need: bool = False
    ) -> RequestSessionState:
        """Return the part that the next request takes; `end` it whatever becomes of the request.

        With `spend` it carries a token, if there is one. `anew` leaves the session that there is alone; `ask`
        asks for one whatever the proxy said of late; `need` has one even where there should be none, and beside
        one that is being opened.
        """
        live = self._live
        if live is not None:
            return RequestSessionState() if anew and not need else self._within(live, now, spend)
        # § Session initiation: never from within a session
        wanted = self.enabled and not self._opening and (ask or now >= self._refused_until)
        if wanted or need:
            self._opening = True
            return RequestSessionState((SessionRequest(), IdempotenceRequest(size=WINDOW_SIZE)), opens=True)
        return RequestSessionState()

    def join(self, lease: SessionLease | None, now: float) -> RequestSessionState:
        """Return the part of a request that belongs to what holds a session, be it the one there is now or not."""
        session = lease.session if lease is not None else None
        return self._within(session, now, spend=False) if session is not None else RequestSessionState()

    def authenticated(self, state: RequestSessionState, reply: AuthenticationReply, now: float) -> None:
        """Learn from a reply of success."""
        state.window = find(reply.options, IdempotenceWindow)
        if state.opens:
            self._take_id(state, reply, now)
        elif state.session is not None and find(reply.options, SessionOk) is None:
            self._forget(state.session, now)  # the proxy takes no notice of sessions
        elif state.session is not None:
            state.session.confirmed = True
            self._losses = 0
            state.session.rejections *= state.token is None
            self._take_window(state, state.session, now)

    def operated(self, state: RequestSessionState, reply: OperationReply, now: float) -> None:
        """Learn from a successful Operation Reply, the other place where an id may stand."""
        if state.opens and state.session is None:
            self._take_id(state, reply, now)
            if state.session is None:
                self._refused_until = now + REFUSAL_SECONDS

    def refused(self, state: RequestSessionState, reply: AuthenticationReply, now: float) -> RefusalReason:
        """Learn from a reply of failure: the request that it answers was not carried out."""
        if state.opens or state.session is None:
            return RefusalReason.CREDENTIALS
        if state.token is not None and find(reply.options, IdempotenceRejected) is not None:
            state.window = find(reply.options, IdempotenceWindow)
            self._take_window(state, state.session, now)
            state.session.rejections += 1
            if state.session.rejections > MAX_REJECTIONS:  # we count differently: that would never end
                self._forget(state.session, now)
            return RefusalReason.TOKEN
        # also without Session Invalid: credentials that the session stands for were accepted once
        self._forget(state.session, now)
        return RefusalReason.SESSION

    def end(self, state: RequestSessionState) -> None:
        """Have a request count no more as under way."""
        if state.opens and state.session is None:
            self._opening = False
        elif state.token is not None and state.session is not None:
            state.session.spending -= 1

    def begin_fetching(self, now: float) -> bool:
        """Return whether a NOOP should fetch tokens before a request that needs one; one does at a time."""
        live = self._live
        if self._fetching or self._opening or not self.enabled:
            return False
        if live is None:
            self._fetching = now >= self._refused_until
        else:
            self._fetching = not live.wallet.available and now >= live.tokens_after
        return self._fetching

    def end_fetching(self, now: float) -> None:
        """Note that the NOOP is over, and what came of it."""
        self._fetching = False
        live = self._live
        if live is None or live.wallet.available:
            return
        live.tokens_after = max(live.tokens_after, now + REFRESH_SECONDS)
        if live.windowed and not live.spending:  # the tokens were lost with requests that never arrived
            self._live = None

    def leave(self, now: float) -> tuple[Option, ...]:
        """Return what tears the session down, which is ours no more; nothing where that would cut streams off."""
        live = self._live
        if live is None or live.held or now < live.unsettled_until:
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
        self._opening = False
        state.lease = SessionLease(state.session)
        self._take_window(state, state.session, now)

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
            if (
                self._losses >= MAX_LOSSES
            ):  # a proxy that forgets at once is not worth a wasted request each time
                self._losses = 0
                self._refused_until = now + REFUSAL_SECONDS
