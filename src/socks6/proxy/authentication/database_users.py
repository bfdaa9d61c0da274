"""The users of a database, who may change at any time: looked up at each login, and watched while they are here."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

from socks6.compat import override
from socks6.errors import AuthenticationBusy
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS, UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator, UserChange, UserUnknown
from socks6.proxy.authentication.hashes import PasswordHash, parse_hash
from socks6.proxy.authentication.table import UserTable, most_usual
from socks6.proxy.authentication.users_database import DatabaseUnavailable, UserRecord, UsersDatabase
from socks6.proxy.authentication.users_file import HashedUsers
from socks6.telemetry import AuthenticatorDown, AuthenticatorUp, EventHub, Observer

MAX_KNOWN_USERS: Final = 65_536  # that have logged in and are watched, 1 KiB each
SAMPLE_SIZE: Final = 200  # users whose hashes say what most of them cost
ResultT = TypeVar("ResultT")


class DatabaseUsers(UserTable):
    """Verifies the users of a database, each as it is when it logs in.

    Those that have logged in are remembered, at most MAX_KNOWN_USERS, and `changes` tells what has become of them. What
    blocks runs in a thread.
    """

    def __init__(
        self, database: UsersDatabase, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Raises ConfigurationError for a database that cannot be read."""
        super().__init__(HashedUsers(database.sample(SAMPLE_SIZE)))
        self.database = database
        self._clock = clock
        self._known = _KnownUsers()
        self._users = self._known
        self._number = database.change_number()
        database.close()  # until the first login
        self._thread: ThreadPoolExecutor | None = None
        self._events: Observer = EventHub(())
        self._fault = ""  # why the database cannot be read, as it was reported
        self._down_since = 0.0

    @property
    @override
    def watched(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        if not isinstance(credentials, UsernamePasswordCredentials):
            return None
        record = await self._look_up(credentials.username)
        if record is not None and self._refusal(record, source):
            # as a wrong password is refused, of the cache's as well: the time reveals nothing about it
            await self._check_stand_in(credentials.password)
            return None
        identity = await super().verify(credentials, source)
        if record is None:
            raise UserUnknown
        return identity

    async def _look_up(self, username: bytes) -> UserRecord | None:
        """Return what the database has on a user now. Raises AuthenticationBusy."""
        try:
            name = username.decode()
        except UnicodeDecodeError:
            return None
        record = (await self._in_thread(self.database.find, (name,))).get(name)
        self._known.add(name, record, self._clock())
        return record

    @override
    def knows(self, name: bytes) -> bool | None:
        return True if self._known.records.get(name.decode(errors="replace")) else None

    @property
    @override
    def user_count(self) -> int:
        return 1  # reading it takes time, and a reload does not change it

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        identity = super().cached_identity(credentials, source)
        record = None if identity is None else self._known.records.get(identity.name)
        return None if record is None or self._refusal(record, source) else identity

    @override
    def credential_version(self, identity: Identity) -> object:
        record = self._known.records.get(identity.name)
        return None if record is None or record.refusal(self._clock()) else record.hash

    @override
    def current_limits(self, identity: Identity) -> UserLimits | None:
        if identity.name not in self._known.records:  # forgotten, for others that came after it
            return identity.limits
        record = self._known.records[identity.name]
        return None if record is None or record.refusal(self._clock()) else record.limits

    @override
    def refusal(self, credentials: Credentials, source: str = "") -> str:
        record = self._known.records.get((credentials.subject or b"").decode(errors="replace"))
        reason = "" if record is None else self._refusal(record, source)
        return reason or super().refusal(credentials, source)

    @override
    async def changes(self) -> Sequence[UserChange]:
        found = await self._in_thread(self._read_changes, dict(self._known.records))
        return self._known.update(found, self._clock())

    def _read_changes(self, known: Mapping[str, UserRecord | None]) -> dict[str, UserRecord | None]:
        """Return those of the known users that are not what they were; in the thread."""
        number = self.database.change_number()
        if number == self._number:
            return {}
        found = self.database.find(known)
        self._number = number
        self._stand_in = most_usual(HashedUsers(self.database.sample(SAMPLE_SIZE)))
        return {name: found.get(name) for name, record in known.items() if found.get(name) != record}

    @override
    def inherit(self, old: Authenticator) -> None:
        super().inherit(old)
        if isinstance(old, DatabaseUsers) and old.database.path == self.database.path:
            # of the same class
            self.database, self._number = old.database, old._number  # noqa: SLF001
            self._known = self._users = old._known  # noqa: SLF001
            self._thread, old._thread = old._thread, None  # noqa: SLF001
            self._fault, self._down_since = old._fault, old._down_since  # noqa: SLF001

    @override
    def report_to(self, events: Observer) -> None:
        self._events = events

    @override
    def _find(self, username: bytes) -> tuple[Identity | None, PasswordHash]:
        identity, hashed = super()._find(username)
        record = None if identity is None else self._known.records.get(identity.name)
        return (identity if record is None else Identity(name=record.name, limits=record.limits)), hashed

    def _refusal(self, record: UserRecord, source: str) -> str:
        """Return why a user may not log in from there, whatever its password; "" if it may."""
        if not record.limits.allows_source(source):
            return "the user may not log in from there"
        return record.refusal(self._clock())

    @override
    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:  # else another has taken it over, and the database with it
            thread.submit(self.database.close)
            thread.shutdown(wait=False)

    async def _in_thread(self, call: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Call in the one thread of these users. Raises AuthenticationBusy for a database that cannot be read, which it reports."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="socks6-users")
        try:
            job = self._thread.submit(call, *arguments)
        except RuntimeError as error:
            raise AuthenticationBusy(f"no thread to look a user up in: {error}") from error
        loop = asyncio.get_running_loop()
        try:
            result = await asyncio.wrap_future(job)
        except DatabaseUnavailable as error:
            reason = str(error)
            if reason != self._fault:
                self._events.observe(AuthenticatorDown(authenticator="database", reason=reason))
            if not self._fault:
                self._down_since = loop.time()
            self._fault = reason
            raise AuthenticationBusy("the users database cannot be read", is_fault=True) from None
        if self._fault:
            self._fault = ""
            seconds = round(loop.time() - self._down_since, 3)
            self._events.observe(AuthenticatorUp(authenticator="database", down_for=seconds))
        return result


class _State(NamedTuple):
    """What others are told of, when it changes."""

    hash: str
    limits: UserLimits
    refusal: str


class _KnownUsers(Mapping[str, PasswordHash]):
    """The users that have logged in, by name; None in place of one that was removed since."""

    def __init__(self) -> None:
        self.records: Final[OrderedDict[str, UserRecord | None]] = OrderedDict()
        self._told: Final[dict[str, _State]] = {}  # as `update` has told last
        self._untold: Final[set[str]] = set()  # of whom a login has found more than `update` has told
        self._next_expiry: datetime | None = None

    @override
    def __getitem__(self, name: str) -> PasswordHash:
        record = self.records[name]
        if record is None:
            raise KeyError(name)
        self.records.move_to_end(name)
        return parse_hash(record.hash)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    @override
    def __len__(self) -> int:
        return len(self.records)

    def add(self, name: str, record: UserRecord | None, now: datetime) -> None:
        """Take over what the database has on a user now; forget the one that came first where there are too many."""
        state = _state(record, now)
        if record is None and self._told.get(name, state) == state:  # it is no user, or nobody's any more
            self.records.pop(name, None)
            self._told.pop(name, None)
            return
        self.records[name] = record
        if self._told.setdefault(name, state) != state:
            self._untold.add(name)
        self._note_expiry(record, now)
        if len(self.records) > MAX_KNOWN_USERS:
            forgotten, _ = self.records.popitem(last=False)
            del self._told[forgotten]

    def update(self, found: Mapping[str, UserRecord | None], now: datetime) -> list[UserChange]:
        """Take over what was found; return what has changed since the last time, by the time too."""
        for name, record in found.items():
            if name in self.records:
                self.records[name] = record
                self._note_expiry(record, now)
        expired = self._next_expiry is not None and now >= self._next_expiry
        if expired:
            self._next_expiry = None
            for record in self.records.values():
                self._note_expiry(record, now)
        changes = []
        for name in self.records if expired else self._untold.union(found):
            if name not in self.records:
                continue
            before, after = self._told[name], _state(self.records[name], now)
            if before != after:
                self._told[name] = after
                changes.append(
                    UserChange(name, refusal=after.refusal, new_password=before.hash != after.hash)
                )
        self._untold.clear()
        return changes

    def _note_expiry(self, record: UserRecord | None, now: datetime) -> None:
        expires = record.limits.expires if record is not None else None
        if expires is not None and expires > now:
            self._next_expiry = min(expires, self._next_expiry or expires)


def _state(record: UserRecord | None, now: datetime) -> _State:
    if record is None:
        return _State("", NO_LIMITS, "the user was removed")
    return _State(record.hash, record.limits, record.refusal(now))
