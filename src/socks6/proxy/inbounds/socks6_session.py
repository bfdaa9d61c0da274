"""The session and idempotence options of a request, and what is answered to them (§ Session options).

Everything here happens without waiting: between a token's being found good and its being spent nobody else
gets a turn, and it is spent before the request is honoured (§ Spending a token).
"""

from collections.abc import Iterable
from typing import Final

from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.policy.identity import Identity
from socks6.protocol.server import ServerConversation
from socks6.proxy.inbounds.base import Engine
from socks6.proxy.membership import SessionMembership
from socks6.proxy.sessions import Session
from socks6.telemetry import Ending

KINDS: Final = frozenset((SessionRequest.kind, SessionId.kind))  # all others count within a session only
CREDENTIALS: Final = (AuthenticationData, AuthenticationMethodAdvertisement)


class SessionNegotiation:
    """What one request says about sessions, and the answer to it.

    `refusal` is how the log has it end if it is refused: a client that comes with the id of a session that
    is over, or with a token that is spent, or that tears down its session and wants nothing else, is not
    guessing passwords.
    """

    __slots__ = ("_by_id", "_known", "_options", "_part", "refusal")

    def __init__(self, options: tuple[Option, ...], part: SessionMembership) -> None:
        self._options = options
        self._part = part
        self._by_id = False
        self._known: Identity | None = None  # who all of the connection is from
        self.refusal = Ending.UNAUTHENTICATED

    @classmethod
    def about(cls, options: tuple[Option, ...], engine: Engine) -> "SessionNegotiation | None":
        """Return the talk that a request calls for; None if it has nothing to do with sessions."""
        if engine.session is None and not any(option.kind in KINDS for option in options):
            return None
        part = engine.participate()
        return None if part is None else cls(options, part)

    @property
    def spent(self) -> bool:
        """Whether a token of the session was spent for the request."""
        return self._part.spent

    @property
    def session(self) -> Session | None:
        """The session that the request belongs to."""
        return self._part.session

    def begin(self, conversation: ServerConversation) -> None:
        """Let the request in on the strength of its session, or have its own credentials judged, or refuse it."""
        named = find(self._options, SessionId)
        if self._part.session is not None:
            self._known = self._part.session.identity
            if named is not None and find(self._options, SessionTeardown):
                self._part.tear_down_by_id(named.id)
            elif named is not None:  # it need not say so, but if it does and is right, it is told
                self._by_id = self._part.find(named.id) is self._part.session
            conversation.accept_session()
            return
        if named is None:
            conversation.authenticate()
            return
        session = self._part.find(named.id)
        if session is None:
            self.refusal = Ending.REFUSED
            conversation.refuse((SessionInvalid(),), reason="no such session")
        elif find(self._options, SessionTeardown):
            self._part.tear_down(session)  # § Tearing down the session: the request is part of none
            if not any(isinstance(option, CREDENTIALS) for option in self._options):
                self.refusal = Ending.DONE
            conversation.authenticate(known=True)
        else:
            self._by_id = True
            self._part.join(session)
            conversation.accept_session()

    def settle(self, conversation: ServerConversation, identity: Identity) -> Identity:
        """Answer a request that was let in, or refuse it for its token; return who it is from."""
        identity = self._known or identity
        new_id = self._open(identity)
        session = self._part.session
        if session is None:
            conversation.send_authenticated()
            return identity
        answer: list[Option] = [SessionOk()] if self._by_id else []
        rejected = _spends(self._options) and not self._part.spend(_token(self._options))
        if rejected and new_id:
            self._part.abandon()
        else:
            if asked := find(self._options, IdempotenceRequest):
                session.grant(min(asked.size, self._part.settings.window))
            answer += [session.window.option()] if session.window else []
        if rejected:
            self.refusal = Ending.REFUSED
            conversation.refuse((*answer, IdempotenceRejected()), reason="the token cannot be spent")
        else:
            answer += [IdempotenceAccepted()] if _spends(self._options) else []
            conversation.send_authenticated((*answer, *new_id), with_success=new_id)
        return session.identity

    def _open(self, identity: Identity) -> tuple[SessionId, ...]:
        """Open a session if the request asks for one and belongs to none; return its id."""
        if self._part.session is not None or find(self._options, SessionRequest) is None:
            return ()
        new_id = self._part.open(identity)
        return () if new_id is None else (SessionId(id=new_id),)


def _spends(options: Iterable[Option]) -> bool:
    """Return whether a token is to be spent, be it one that cannot be read: that must not pass as none."""
    kind = IdempotenceExpenditure.kind
    return any(option.kind == kind for option in options)


def _token(options: tuple[Option, ...]) -> int | None:
    expenditure = find(options, IdempotenceExpenditure)
    return None if expenditure is None else expenditure.token
