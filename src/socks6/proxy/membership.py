"""What connections have to do with sessions: one desk for all of them, one participation for each."""

import asyncio
from typing import Final

from typing_extensions import override

from socks6.net.stream import ByteStream
from socks6.policy.identity import Identity
from socks6.proxy.authentication.base import Authenticator, same_credentials
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.sessions import Session, SessionMember, SessionSettings, SessionStore

# A guesser of ids guesses a new one each time. But when a proxy has lost its sessions (a restart), each client
# behind an address that many share comes once with an id that nobody knows: that must not shut them all out.
ACCEPTED: Final = "accepted"
INVALID_ID_WEIGHT: Final = 1 / 16


class SessionManager:
    """The sessions of one worker: opens, finds and ends them for its connections, in time and within bounds."""

    def __init__(
        self,
        store: SessionStore,
        settings: SessionSettings,
        penalties: FailurePenalties,
        users: Authenticator,
    ) -> None:
        self.store: Final = store
        self.users = users
        self.settings: Final = settings
        self.penalties: Final = penalties
        self._timer: asyncio.TimerHandle | None = None

    def replace(self, users: Authenticator) -> None:
        """End the sessions of users who are gone, or whose password may be another, after a reload.

        Their connections go on, as all do that a reload finds.
        """
        old, self.users = self.users, users
        if old is users:
            return

        self.store.revoke(lambda identity: self.same_credentials(identity, old))

    def same_credentials(self, identity: Identity, old: Authenticator) -> bool:
        """Tell whether those who know the users now say of one what those did who let him in."""
        return same_credentials(self.users, old, identity)

    def expire_later(self) -> None:
        """Have idle sessions end in time: one timer for all, none while no session is idle."""
        if self._timer is None:
            self._expire()

    def close(self) -> None:
        """End all sessions. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.store.revoke(lambda _: False)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        due = self.store.expire(loop.time())
        self._timer = None if due is None else loop.call_at(due, self._expire)


class SessionMembership(SessionMember):
    """One connection's part in a session.

    `session` is the session that it belongs to, `note` and `token` are what the log says: neither ids nor
    tokens are kept here.
    """

    __slots__ = (
        "_baseline",
        "_certified",
        "_closed",
        "_manager",
        "_stream",
        "_task",
        "_users",
        "note",
        "session",
        "token",
    )

    def __init__(
        self,
        session_manager: SessionManager,
        stream: ByteStream,
        users: Authenticator,
        session: Session | None = None,
        *,
        certified: Identity | None = None,
    ) -> None:
        self._certified = certified  # whom the client's certificate names: nobody else's session is his
        self._manager = session_manager
        self._users = users  # who vouches for the client
        self._stream = stream
        self._task: asyncio.Task[object] | None = None
        self._baseline = 0  # cancellations of the task that are none of our business
        self._closed = False
        self.session: Session | None = None
        self.note = ""  # new, yes, invalid, ended
        self.token = ""  # accepted, rejected
        if session is not None:
            self.join(session)

    @property
    def settings(self) -> SessionSettings:
        """What sessions may have."""
        return self._manager.settings

    @property
    def user(self) -> str:
        """Whose session it is."""
        return self.session.identity.name if self.session else ""

    def find(self, session_id: bytes) -> Session | None:
        """Return the session of an id; None, and this source the worse for it, if there is none."""
        now = asyncio.get_running_loop().time()
        session = self._manager.store.find(session_id, self._stream.protection, now)
        if session is not None and self._certified not in {None, session.identity}:
            session = None
        if session is None:
            self.note = "invalid"
            if self._manager.store.note_unknown(session_id):
                self._manager.penalties.failed(self._stream.remote.host, now, weight=INVALID_ID_WEIGHT)
        return session

    def join(self, session: Session) -> None:
        """Belong to a session from now on: if it takes its connections along, the calling task is cancelled."""
        self._task = asyncio.current_task()
        self._baseline = self._task.cancelling() if self._task else 0
        self.session = session
        self.note = self.note or "yes"
        session.join(self)

    def open(self, identity: Identity) -> bytes | None:
        """Open a session and join it; return its id, None if there is none to be had."""
        if not self._manager.same_credentials(
            identity, self._users
        ):  # a reload came between: he is gone, or his password
            return None
        opened = self._manager.store.create(
            identity,
            source=self._stream.remote.host,
            protection=self._stream.protection,
            now=asyncio.get_running_loop().time(),
        )
        if opened is None:
            return None
        self.note = "new"
        self.join(opened.session)
        return opened.id

    def spend(self, token: int | None) -> bool:
        """Spend a token of the session; None is one that nobody can spend. Nothing may be awaited before."""
        spent = (
            token is not None and self.session is not None and self._manager.store.spend(self.session, token)
        )
        self.token = ACCEPTED if spent else "rejected"
        return spent

    @property
    def spent(self) -> bool:
        """Whether a token of the session was spent."""
        return self.token == ACCEPTED

    def tear_down(self, session: Session) -> None:
        """End a session at its client's wish, and its connections, but not this one."""
        self.note = "ended"
        self._manager.store.tear_down(session, close=self.settings.close_connections)

    def tear_down_by_id(self, session_id: bytes) -> None:
        """End the session of an id at its client's wish, which may be the one that all of its connection is in."""
        session = self.find(session_id)
        if session is None:
            return
        if session is self.session:
            session.leave(self, asyncio.get_running_loop().time())
            self.session = None
        self.tear_down(session)

    def abandon(self) -> None:
        """End the session that was just opened: its client will not hear of it."""
        session, self.session, self.note = self.session, None, ""
        if session is not None:
            self._manager.store.tear_down(session, close=False)

    def leave(self) -> None:
        """Belong to the session no more: the connection is over. Idempotent."""
        self._task = None
        if self.session is not None:
            self.session.leave(self, asyncio.get_running_loop().time())
            self._manager.expire_later()

    @override
    def session_ended(self) -> None:
        if self._task is not None and not self._closed:
            self._closed = True
            self._task.cancel()

    def was_closed(self) -> bool:
        """Tell, within the cancelled task, whether it was the session that cancelled it, and nobody else."""
        return self._closed and self._task is not None and self._task.uncancel() <= self._baseline
