"""Sessions, which span requests (§ Session options): what one is, and the store that keeps them within bounds."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from typing_extensions import override

from socks6.net.accept import source_of
from socks6.net.stream import Protection
from socks6.policy.identity import Identity
from socks6.protocol.tokens import MAX_GRANTED, TokenWindow
from socks6.proxy.contained import report
from socks6.setting import setting

ID_SIZE: Final = 16
KEY_SIZE: Final = 32
FIRST_TOKEN: Final = 1  # 0 is what a careless client takes for none
REMEMBERED_IDS: Final = 16_384  # that are no sessions, or no more
SESSION_BYTES: Final = 2048  # that one idle session takes at most, all its tokens spent unevenly


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How many sessions there may be, and for how long; 0 sets no limit but to `total` and `window`."""

    enabled: bool = setting(
        True,
        "sessions for SOCKS 6 clients that ask for one, so that passwords cross the wire once",
        flag="--sessions",
    )
    total: int = setting(100_000, "sessions at a time, 2 KiB each", flag="--max-sessions", positive=True)
    per_user: int = setting(1_000, "of one user; 0 for any number")
    per_source: int = setting(1_000, "of one IPv4 address or IPv6 /64 of another machine; 0 for any number")
    idle_timeout: float = setting(
        600.0,
        "without a connection, then a session ends",
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


class SessionMember(Protocol):
    """A connection that belongs to a session."""

    def session_ended(self) -> None:
        """Close: the session is over, and takes its connections along."""


class Watcher(Protocol):
    """Who wants to know whether a session has connections."""

    def session_busy(self, session: "Session") -> None:
        """The session has its first connection."""

    def session_idle(self, session: "Session", now: float) -> None:
        """The session has lost its last connection."""


class Session:
    """What a client's requests have in common: who it is, its tokens, its connections, what ends with it.

    A session of a store has an id, which only its client and, hashed, the store know. One without (such as
    all streams of a QUIC connection are) needs no store.
    """

    __slots__ = ("_callbacks", "_members", "_watcher", "ended", "identity", "protection", "window")

    def __init__(self, identity: Identity, protection: Protection, watcher: Watcher | None = None) -> None:
        self.identity: Final = identity
        self.protection: Final = protection
        self.window: TokenWindow | None = None
        self.ended = False
        self._watcher = watcher
        self._members: dict[SessionMember, None] | None = None
        self._callbacks: dict[Callable[[], None], None] | None = None

    @property
    def connections(self) -> int:
        """How many connections belong to it now."""
        return len(self._members) if self._members else 0

    def grant(self, size: int) -> None:
        """Issue a window of so many tokens, unless there is one already or none was asked for."""
        if size and self.window is None:
            self.window = TokenWindow(FIRST_TOKEN, min(size, MAX_GRANTED))

    def join(self, member: SessionMember) -> None:
        """Count a connection in."""
        if self._members is None:
            self._members = {}
            if self._watcher is not None:
                self._watcher.session_busy(self)
        self._members[member] = None

    def leave(self, member: SessionMember, now: float) -> None:
        """Count a connection out. Idempotent."""
        if self._members and member in self._members:
            del self._members[member]
            if not self._members:
                self._members = None
                if self._watcher is not None and not self.ended:
                    self._watcher.session_idle(self, now)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the session ends; at once if it has."""
        if self.ended:
            callback()
            return
        if self._callbacks is None:
            self._callbacks = {}
        self._callbacks[callback] = None

    def remove_on_end(self, callback: Callable[[], None]) -> None:
        """Have it called no more. Idempotent."""
        if self._callbacks:
            self._callbacks.pop(callback, None)

    def end(self, *, close: bool) -> None:
        """Have everything end that is tied to the session; its connections only if told to. Idempotent."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks or {}, None
        members = (member.session_ended for member in self._members or ()) if close else ()
        for callback in (*members, *callbacks):
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - none keeps the others from being called
                report("what was to be told of a session's end", error)


class OpenedSession(NamedTuple):
    """A new session, and the id by which its client will name it."""

    session: Session
    id: bytes


class SessionStore(Protocol):
    """Keeps the sessions of a proxy. All of it happens at once: nobody comes between. Times are a loop's."""

    def create(
        self, identity: Identity, *, source: str, protection: Protection, now: float
    ) -> OpenedSession | None:
        """Open a session; None if there is none to be had."""

    def find(self, session_id: bytes, protection: Protection, now: float) -> Session | None:
        """Return the session of an id that came over a stream so well protected; None if there is none."""

    def note_unknown(self, session_id: bytes) -> bool:
        """Note an id that was not found; return whether it is new here: neither outlived, nor tried before."""

    def spend(self, session: Session, token: int) -> bool:
        """Spend a token, for good; False if it cannot be spent (§ Spending a token)."""

    def tear_down(self, session: Session, *, close: bool) -> None:
        """End a session, and its connections if told to. Idempotent."""

    def revoke(self, stands: Callable[[Identity], bool]) -> None:
        """End the sessions of those who do not stand any more, without their connections."""

    def expire(self, now: float) -> float | None:
        """End what has been idle for too long; return when to call again, None for when a session is idle."""


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


class MemorySessionStore(SessionStore, Watcher):
    """Keeps sessions in the memory of this process: at most `total`, of SESSION_BYTES each.

    Who has as many as he may have loses the one that he has not used for longest, if it has no connection;
    nobody else's ever gives way. `random` is where ids come from. They are looked up by a keyed hash, so
    that the time it takes tells nothing about ids that are near.
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
            self.tear_down(session, close=False)  # others may have read the id: it is worth nothing any more
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
    def revoke(self, stands: Callable[[Identity], bool]) -> None:
        for session in list(self._kept):
            if not stands(session.identity):
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
        """Return whose session it would be; who has none yet is in no table yet."""
        owners = []
        network = source_of(source)
        if user and self._settings.per_user:
            owners.append(self._users.get(user) or _Owner(self._users, user, self._settings.per_user))
        if network and self._settings.per_source:
            fresh = _Owner(self._sources, network, self._settings.per_source)
            owners.append(self._sources.get(network) or fresh)
        return tuple(owners)

    def _make_room(self, owners: tuple[_Owner, ...]) -> bool:
        """End what must give way for one more session; False, and nothing ended, if there is no room."""
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
        """Note what is no session; return whether that is news."""
        news = name not in self._gone
        self._gone[name] = None
        self._gone.move_to_end(name)
        if len(self._gone) > REMEMBERED_IDS:
            self._gone.popitem(last=False)
        return news
