"""Sessions, which span requests (§ Session options).

What a session is, the store that keeps sessions within bounds, the manager that one proxy has, and the membership of
one connection.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.net.accept import source_of
from socks6.net.stream import ByteStream, Protection
from socks6.policy.identity import Identity
from socks6.protocol.tokens import MAX_GRANTED, TokenWindow
from socks6.proxy.authentication.base import Authenticator, same_credentials
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.setting import setting
from socks6.telemetry import log_contained

ID_SIZE: Final = 16
KEY_SIZE: Final = 32
FIRST_TOKEN: Final = 1  # 0 is what a careless client takes for none
REMEMBERED_IDS: Final = 16_384  # that are no sessions, or no more
SESSION_BYTES: Final = 2048  # that one idle session takes at most, all its tokens spent unevenly
# A guesser of ids guesses a new one each time. But when a proxy has lost its sessions (a restart), each client
# behind an address that many share comes once with an unknown id: that must not shut them all out.
INVALID_ID_WEIGHT: Final = 1 / 16
TOKEN_ACCEPTED: Final = "accepted"  # noqa: S105 - a word of the log


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How many sessions there may be, and for how long; 0 sets no limit but to `total` and `window`."""

    enabled: bool = setting(
        True,
        "sessions for SOCKS 6 clients that ask for one, so that passwords cross the wire once",
        flag="--sessions",
    )
    total: int = setting(100_000, "sessions at a time, 2 KiB each", flag="--max-sessions", positive=True)
    per_user: int = setting(1_000, "sessions of one user; 0 for any number")
    per_source: int = setting(
        1_000, "sessions of one IPv4 address or IPv6 /64 of another machine; 0 for any number"
    )
    idle_timeout: float = setting(
        600.0,
        "seconds without a connection, then a session ends",
        key="idle",
        flag="--session-timeout",
        positive=True,
    )
    window: int = setting(
        MAX_GRANTED, "tokens that a session gets at a time; 0 for none", maximum=MAX_GRANTED
    )
    anonymous: bool = setting(False, "sessions also for clients that have no password")
    close_connections: bool = setting(
        True, "a client that tears a session down closes the session's other connections"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.window <= MAX_GRANTED:
            raise ValueError(f"a window of {self.window} tokens: 0 to {MAX_GRANTED}")


class Session:
    """What a client's requests have in common: the identity, the tokens, the connections, and what ends with it.

    A session of a store has an id, which only its client and, hashed, the store know. One without an id (that of all
    streams of a QUIC connection) needs no store.
    """

    __slots__ = ("_callbacks", "_members", "_store", "ended", "identity", "protection", "window")

    def __init__(
        self, identity: Identity, protection: Protection, store: "SessionStore | None" = None
    ) -> None:
        self.identity: Final = identity
        self.protection: Final = protection
        self.window: TokenWindow | None = None
        self.ended = False
        self._store = store
        self._members: dict[object, Callable[[], None]] | None = None  # what ends each connection
        self._callbacks: dict[Callable[[], None], None] | None = None

    @property
    def connections(self) -> int:
        """How many connections belong to it now."""
        return len(self._members) if self._members else 0

    def grant(self, size: int) -> None:
        """Issue a window of this many tokens, unless there is one already or none was asked for."""
        if size and self.window is None:
            self.window = TokenWindow(FIRST_TOKEN, min(size, MAX_GRANTED))

    def join(self, member: object, end_connection: Callable[[], None]) -> None:
        """Count a connection in; `end_connection` is called if the session takes its connections along."""
        if self._members is None:
            self._members = {}
            if self._store is not None:
                self._store.session_busy(self)
        self._members[member] = end_connection

    def leave(self, member: object, now: float) -> None:
        """Count a connection out. Idempotent."""
        if self._members and member in self._members:
            del self._members[member]
            if not self._members:
                self._members = None
                if self._store is not None and not self.ended:
                    self._store.session_idle(self, now)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the session ends; at once if it has."""
        if self.ended:
            callback()
            return
        if self._callbacks is None:
            self._callbacks = {}
        self._callbacks[callback] = None

    def remove_on_end(self, callback: Callable[[], None]) -> None:
        """Take it back. Idempotent."""
        if self._callbacks:
            self._callbacks.pop(callback, None)

    def end(self, *, close: bool) -> None:
        """End everything that is tied to the session; its connections only with `close`. Idempotent."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks or {}, None
        members = tuple(self._members.values()) if close and self._members else ()
        for callback in (*members, *callbacks):
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - none keeps the others from being called
                log_contained("a callback of a session's end", error)


class OpenedSession(NamedTuple):
    """A new session, and the id by which its client will name it."""

    session: Session
    id: bytes


class SessionStore(Protocol):
    """Keeps the sessions of a proxy. Each call is atomic. Times are a loop's."""

    def create(
        self, identity: Identity, *, source: str, protection: Protection, now: float
    ) -> OpenedSession | None:
        """Open a session; None if the limits allow none."""

    def find(self, session_id: bytes, protection: Protection, now: float) -> Session | None:
        """Return the session of an id that came over a stream so well protected; None if there is none."""

    def note_unknown(self, session_id: bytes) -> bool:
        """Note an id that was not found; return whether it is new: neither of an ended session, nor tried before."""

    def spend(self, session: Session, token: int) -> bool:
        """Spend a token, for good; False if it cannot be spent (§ Spending a token)."""

    def tear_down(self, session: Session, *, close: bool) -> None:
        """End a session, with `close` its connections too. Idempotent."""

    def revoke(self, is_valid: Callable[[Identity], bool]) -> None:
        """End the sessions of identities for which `is_valid` is false, without their connections."""

    def expire(self, now: float) -> float | None:
        """End what has been idle for too long; return when to call again, None for when a session is idle."""

    def sessions(self) -> Iterable[Session]:
        """Return the sessions that are kept in this process, for the live table."""
        return ()

    def session_busy(self, session: Session) -> None:
        """Record that a session, made with this store, has its first connection."""

    def session_idle(self, session: Session, now: float) -> None:
        """Record that a session has lost its last connection."""


class _Owner:
    """A user or a source: how many sessions it has, and those without connections, the longest idle first."""

    __slots__ = ("count", "idle", "key", "limit", "table")

    def __init__(self, table: "dict[str, _Owner]", key: str, limit: int) -> None:
        self.table = table
        self.key = key
        self.limit = limit
        self.count = 0
        self.idle: dict[Session, None] = {}

    @property
    def full(self) -> bool:
        return self.count >= self.limit > 0


class _Kept(NamedTuple):
    """What the store knows of a session."""

    name: bytes
    owners: tuple[_Owner, ...]


class MemorySessionStore(SessionStore):
    """Keeps sessions in the memory of this process: at most `total`, of SESSION_BYTES each.

    A user or source at its limit loses its own longest-idle session without connections; other users' sessions are never
    evicted. Ids come from `random`. They are looked up by a keyed hash, so that the time it takes reveals nothing about
    similar ids.
    """

    def __init__(
        self, settings: SessionSettings | None = None, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._settings = settings or SessionSettings()
        self._random = random
        self._key = random(KEY_SIZE)
        self._sessions: dict[bytes, Session] = {}
        self._kept: dict[Session, _Kept] = {}
        self._idle: OrderedDict[Session, float] = OrderedDict()  # since when; the longest idle first
        self._users: dict[str, _Owner] = {}
        self._sources: dict[str, _Owner] = {}
        self._gone: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    @override
    def sessions(self) -> Iterable[Session]:
        return tuple(self._kept)

    @override
    def create(
        self, identity: Identity, *, source: str, protection: Protection, now: float
    ) -> OpenedSession | None:
        if not (identity.name or self._settings.anonymous):
            return None
        self.expire(now)
        owners = self._owners(identity.name, source)
        if not self._make_room(owners):
            return None
        session_id = self._random(ID_SIZE)
        name = self._name(session_id)
        session = Session(identity, protection, self)
        self._sessions[name] = session
        self._kept[session] = _Kept(name, owners)
        for owner in owners:
            owner.table[owner.key] = owner
            owner.count += 1
        self.session_idle(session, now)
        return OpenedSession(session, session_id)

    @override
    def find(self, session_id: bytes, protection: Protection, now: float) -> Session | None:
        self.expire(now)
        session = self._sessions.get(self._name(session_id))
        if session is not None and protection < session.protection:
            self.tear_down(session, close=False)  # others may have read the id
            return None
        return session

    @override
    def note_unknown(self, session_id: bytes) -> bool:
        return self._remember(self._name(session_id))

    @override
    def spend(self, session: Session, token: int) -> bool:
        return session.window is not None and session.window.spend(token)

    @override
    def tear_down(self, session: Session, *, close: bool) -> None:
        kept = self._kept.pop(session, None)
        if kept is None:
            return
        del self._sessions[kept.name]
        self._idle.pop(session, None)
        for owner in kept.owners:
            owner.idle.pop(session, None)
            owner.count -= 1
            if not owner.count:
                del owner.table[owner.key]
        self._remember(kept.name)
        session.end(close=close)

    @override
    def revoke(self, is_valid: Callable[[Identity], bool]) -> None:
        for session in list(self._kept):
            if not is_valid(session.identity):
                self.tear_down(session, close=False)

    @override
    def expire(self, now: float) -> float | None:
        while self._idle:
            session, since = next(iter(self._idle.items()))
            due = since + self._settings.idle_timeout
            if now < due:
                return due
            self.tear_down(session, close=False)
        return None

    @override
    def session_busy(self, session: Session) -> None:
        kept = self._kept.get(session)
        if kept is not None:
            self._idle.pop(session, None)
            for owner in kept.owners:
                owner.idle.pop(session, None)

    @override
    def session_idle(self, session: Session, now: float) -> None:
        self._idle[session] = now
        for owner in self._kept[session].owners:
            owner.idle[session] = None

    def _owners(self, user: str, source: str) -> tuple[_Owner, ...]:
        """Return the owners of a session to be; a new owner is in no table yet."""
        owners = []
        network = source_of(source)
        if user and self._settings.per_user:
            owners.append(self._users.get(user) or _Owner(self._users, user, self._settings.per_user))
        if network and self._settings.per_source:
            fresh = _Owner(self._sources, network, self._settings.per_source)
            owners.append(self._sources.get(network) or fresh)
        return tuple(owners)

    def _make_room(self, owners: tuple[_Owner, ...]) -> bool:
        """Evict what one more session needs evicted; False, and nothing ended, if there is no room."""
        full = [owner for owner in owners if owner.full]
        leaving = [next(iter(owner.idle), None) for owner in full]
        if not full and len(self._sessions) >= self._settings.total:
            leaving = [next((session for owner in owners for session in owner.idle), None)]
        for session in leaving:
            if session is None:
                return False
        for session in leaving:
            if session is not None:
                self.tear_down(session, close=False)
        return True

    def _name(self, session_id: bytes) -> bytes:
        return blake2b(session_id, key=self._key, digest_size=ID_SIZE).digest()

    def _remember(self, name: bytes) -> bool:
        """Note what is no session; return whether it was not noted before."""
        news = name not in self._gone
        self._gone[name] = None
        self._gone.move_to_end(name)
        if len(self._gone) > REMEMBERED_IDS:
            self._gone.popitem(last=False)
        return news


@dataclass
class SessionManager:
    """The sessions of one proxy: opens, finds and ends them for its connections, in time and within bounds."""

    store: SessionStore
    settings: SessionSettings
    penalties: FailurePenalties
    authenticator: Authenticator
    _timer: asyncio.TimerHandle | None = None

    def replace(self, authenticator: Authenticator) -> None:
        """End the sessions of users that are gone, or have another password, after a reload.

        Their connections go on, as all do at a reload.
        """
        old, self.authenticator = self.authenticator, authenticator
        if old is not authenticator:
            self.store.revoke(lambda identity: same_credentials(authenticator, old, identity))

    def expire_later(self) -> None:
        """Start the one timer that ends idle sessions, unless it runs or no session is idle."""
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


@dataclass(slots=True, eq=False)
class SessionMembership:
    """The session that one connection belongs to, and what its record says of sessions.

    Neither ids nor tokens are kept here. A client whose certificate names it (`certified`) gets its own sessions alone.
    """

    _manager: SessionManager
    _stream: ByteStream
    _authenticator: Authenticator  # that admitted the client
    _end_connection: Callable[[], None]  # called when the session takes its connections along
    _on_event: Callable[
        [str, str], None
    ]  # gets "new", "ended", "accepted" or "rejected", and the session's user
    _: KW_ONLY
    session: Session | None = None
    certified: Identity | None = None
    note: str = ""  # or "new", "yes", "invalid", "ended"
    token: str = ""  # or "accepted", "rejected"

    def __post_init__(self) -> None:
        if self.session is not None:
            self.join(self.session)

    @property
    def settings(self) -> SessionSettings:
        """The limits of sessions."""
        return self._manager.settings

    @property
    def user(self) -> str:
        """The name of the session's user."""
        return self.session.identity.name if self.session else ""

    @property
    def token_spent(self) -> bool:
        """Whether a token of the session was spent."""
        return self.token == TOKEN_ACCEPTED

    def find(self, session_id: bytes) -> Session | None:
        """Return the session of an id; if there is none, return None and count a guess against the source."""
        now = asyncio.get_running_loop().time()
        session = self._manager.store.find(session_id, self._stream.protection, now)
        if session is not None and self.certified not in {None, session.identity}:
            session = None
        if session is None:
            self.note = "invalid"
            if self._manager.store.note_unknown(session_id):
                self._manager.penalties.failed(self._stream.remote.host, now, weight=INVALID_ID_WEIGHT)
        return session

    def join(self, session: Session) -> None:
        """Belong to a session from now on."""
        self.session = session
        self.note = self.note or "yes"
        session.join(self, self._end_connection)

    def open(self, identity: Identity) -> bytes | None:
        """Open a session and join it; return its id; None if there is no room for one.

        None also if a reload came since the client was admitted, and its user is gone or has another password.
        """
        if not same_credentials(self._manager.authenticator, self._authenticator, identity):
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
        self._on_event(self.note, self.user)
        return opened.id

    def spend(self, token: int | None) -> bool:
        """Spend a token of the session; None is one that cannot be read. Nothing may be awaited before."""
        spent = (
            token is not None and self.session is not None and self._manager.store.spend(self.session, token)
        )
        self.token = TOKEN_ACCEPTED if spent else "rejected"
        self._on_event(self.token, self.user)
        return spent

    def tear_down(self, session: Session) -> None:
        """End a session at its client's wish, and its connections, but not this one."""
        self.note = "ended"
        self._manager.store.tear_down(session, close=self.settings.close_connections)
        self._on_event(self.note, session.identity.name)

    def tear_down_by_id(self, session_id: bytes) -> None:
        """End the session of an id at its client's wish; it may be the one that this connection belongs to."""
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
        if self.session is not None:
            self.session.leave(self, asyncio.get_running_loop().time())
            self._manager.expire_later()
