"""The queue of credentials to be checked: a few at a time, source after source, and none for a client that is gone.

A check may cost a good part of a second of a core, and a client needs no account to ask for one. So each source has a
queue of its own, the queues take turns, and checks under way count against the source's penalty until they succeed.
Waiting is never punished: a client that cannot be served in time, or for want of room, learns that the proxy is busy.
"""

import asyncio
import errno
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import field
from enum import Enum
from typing import Final, TypeAlias

from socks6.dataclass import dataclass
from socks6.errors import AuthenticationBusy
from socks6.net.accept import source_of
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator, UserUnknown
from socks6.proxy.authentication.penalty import FailurePenalties, Network, networks_of

MAX_WAITING_CHECKS: Final = 1024  # checks that wait for their turn
CHECKS_PER_SOURCE: Final = 4  # under way at a time
REMEMBERED_DURATIONS: Final = 64  # of checks of wrong credentials: a refusal without a check takes as long
FIRST_DURATION: Final = 0.05  # seconds, as long as none is known
MAX_RECENT_USERS: Final = 8192  # users, by source
RECENT_SECONDS: Final = 300.0
# wrong passwords for a recent user of a source that is shut out, in RECENT_SECONDS
RECENT_USER_TRIES: Final = 100

GetAuthenticator: TypeAlias = Callable[[], Authenticator]


def _always() -> bool:
    return True


class _CheckResult(Enum):
    """What becomes of a check that has waited."""

    GO = "it is to be carried out"
    KNOWN = "another connection has proved it meanwhile"
    SHUT_OUT = "its source has failed too often meanwhile"
    GONE = "its client is gone"
    BUSY = "it has to make room"


@dataclass(slots=True, eq=False, kw_only=True)
class _Check:
    """Credentials that wait for their turn."""

    get_authenticator: GetAuthenticator
    credentials: Credentials
    source: str
    present: Callable[[], bool]
    identity: Identity | None = None  # whom it is known to prove
    result: _CheckResult = _CheckResult.GONE
    decided: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> bytes | None:
        return self.credentials.subject


@dataclass(slots=True)
class _SourceChecks:
    """The checks of one source."""

    waiting: dict[_Check, None] = field(default_factory=dict)  # an ordered set
    under_way: int = 0


class VerificationQueue:
    """Asks authenticators, fairly and within bounds. Belongs to a worker: it outlives reloads."""

    def __init__(
        self,
        penalties: FailurePenalties,
        *,
        queue: int = MAX_WAITING_CHECKS,
        per_source: int = CHECKS_PER_SOURCE,
    ) -> None:
        self._penalties = penalties
        self._max_waiting = queue
        self._per_source = per_source
        self._sources: OrderedDict[str, _SourceChecks] = OrderedDict()  # the next one's turn comes first
        self._waiting = 0
        self._under_way = 0
        self._concurrency = 1  # as the authenticator sets it
        self._durations: deque[float] = deque(maxlen=REMEMBERED_DURATIONS)
        self._recent = _RecentUsers()

    def __len__(self) -> int:
        """Return how many checks wait for their turn."""
        return self._waiting

    async def verify(
        self,
        get_authenticator: GetAuthenticator,
        credentials: Credentials,
        *,
        source: str = "",
        deadline: float | None = None,
        present: Callable[[], bool] = _always,
    ) -> Identity | None:
        """Return who the credentials prove to be there; None if they prove nothing, or if the source is shut out.

        `get_authenticator` returns the authenticator in use when the turn has come; `present` returns whether the client
        is still there. Raises AuthenticationBusy if there is no room, or no answer by the `deadline` (of the loop's
        clock); OSError when the client is gone.
        """
        began = _now()
        name = credentials.subject
        self._concurrency = get_authenticator().concurrency
        shut_out = self._penalties.blocked(source, began, name=name)
        if not shut_out or self._recent.may_pass(source, name, began):
            # goes first, whatever others at the source do
            identity = get_authenticator().cached_identity(credentials, source)
            if identity is not None:
                self._recent.note_login(source, name, began)
                return identity
        check = _Check(
            get_authenticator=get_authenticator, credentials=credentials, source=source, present=present
        )
        try:
            async with asyncio.timeout_at(deadline) as time_limit:
                result = _CheckResult.SHUT_OUT if shut_out else await self._wait_for_turn(check)
                return await self._answer(check, result, began, time_limit)
        except TimeoutError:
            raise AuthenticationBusy("the credentials could not be checked in time") from None

    def known(self, authenticator: Authenticator, credentials: Credentials, source: str) -> Identity | None:
        """Return who the credentials prove to be there, if that is known at once and the source is not shut out."""
        now = _now()
        if self._penalties.blocked(source, now, name=credentials.subject):
            return None
        identity = authenticator.cached_identity(credentials, source)
        if identity is not None:
            self._recent.note_login(source, credentials.subject, now)
        return identity

    def shuts_out(self, credentials: Credentials, source: str) -> bool:
        """Return whether such credentials from there are refused without being looked at."""
        return self._penalties.blocked(source, _now(), name=credentials.subject)

    async def _answer(
        self, check: _Check, result: _CheckResult, began: float, time_limit: asyncio.Timeout
    ) -> Identity | None:
        """Return the identity that a check gives once its wait is over."""
        match result:
            case _CheckResult.GO:
                identity = await self._carry_out(check, time_limit)
                if identity is None:
                    self._durations.append(_now() - began)
            case _CheckResult.KNOWN:
                identity = check.identity
            case _CheckResult.SHUT_OUT:
                # as long as a wrong password takes: the time does not reveal that guesses are not looked at
                await asyncio.sleep(began + self._usual_duration() - _now())
                return None
            case _CheckResult.GONE:
                raise ConnectionResetError(errno.ECONNRESET, "the client is gone")
            case _CheckResult.BUSY:
                raise AuthenticationBusy("too many credentials wait to be checked")
        if identity is not None:
            self._recent.note_login(check.source, check.name, _now())
        return identity

    async def _carry_out(self, check: _Check, time_limit: asyncio.Timeout) -> Identity | None:
        """Ask the authenticator: it is the check's turn."""
        failed = True  # a client that leaves while its check is under way has had its guess
        try:
            identity = await check.get_authenticator().verify(check.credentials, check.source)
            failed = identity is None
        except UserUnknown:
            identity = None
        except AuthenticationBusy:
            failed = False
            raise
        except asyncio.CancelledError:
            failed = not time_limit.expired()  # a client whose time is up has not left
            raise
        except Exception as error:
            failed = False  # nobody has looked at the guess
            raise AuthenticationBusy("the authenticator failed", is_fault=True) from error
        finally:
            self._penalties.settle(check.source, _now(), name=check.name, failed=failed)
            self._leave(check)
        return identity

    async def _wait_for_turn(self, check: _Check) -> _CheckResult:
        """Wait in line."""
        key = source_of(check.source)
        checks = self._sources.setdefault(key, _SourceChecks())
        if not checks.waiting:  # it was not in the rotation, though a check of it may be under way
            self._sources.move_to_end(key)
        checks.waiting[check] = None
        self._waiting += 1
        self._make_room()
        self._dispatch()
        try:
            await check.decided.wait()
        except asyncio.CancelledError:
            if check in checks.waiting:
                self._end_wait(checks, check, _CheckResult.GONE)
                self._tidy(key, checks)
            elif check.result is _CheckResult.GO:
                self._penalties.settle(check.source, _now(), name=check.name, failed=False)
                self._leave(check)
            raise
        return check.result

    def _make_room(self) -> None:
        """Refuse the last check of the source that has most, if too many wait."""
        if self._waiting > self._max_waiting:
            key, longest = max(self._sources.items(), key=lambda item: len(item[1].waiting))
            check = next(reversed(longest.waiting))
            self._end_wait(longest, check, _CheckResult.BUSY)
            self._tidy(key, longest)

    def _dispatch(self) -> None:
        """Start the checks that may start now: one of each source, and then the next of each."""
        going = True
        while going:
            going = False
            for key, checks in list(self._sources.items()):
                if self._under_way >= self._concurrency:
                    return
                if self._advance(key, checks):
                    self._sources.move_to_end(key)
                    going = True
                self._tidy(key, checks)

    def _advance(self, key: str, checks: _SourceChecks) -> bool:
        """Start the first check of a source, if it may start; return whether it has."""
        self._answer_early(checks)
        if not checks.waiting or (key and checks.under_way >= self._per_source):
            return False
        check = next(iter(checks.waiting))
        if not self._penalties.reserve(check.source, _now(), name=check.name):
            return False
        self._under_way += 1
        checks.under_way += 1
        self._end_wait(checks, check, _CheckResult.GO)
        return True

    def _answer_early(self, checks: _SourceChecks) -> None:
        """Answer the first checks of a source that need not be carried out any more."""
        while checks.waiting:
            check = next(iter(checks.waiting))
            result = self._early_result(check)
            if result is None:
                return
            self._end_wait(checks, check, result)

    def _early_result(self, check: _Check) -> _CheckResult | None:
        """Return the result that a check has without being carried out; None if there is none."""
        if not check.present():
            return _CheckResult.GONE
        check.identity = check.get_authenticator().cached_identity(check.credentials, check.source)
        if check.identity is not None:
            return _CheckResult.KNOWN
        if self._penalties.blocked(check.source, _now(), name=check.name):
            return _CheckResult.SHUT_OUT
        return None

    def _end_wait(self, checks: _SourceChecks, check: _Check, result: _CheckResult) -> None:
        del checks.waiting[check]
        self._waiting -= 1
        check.result = result
        check.decided.set()

    def _leave(self, check: _Check) -> None:
        """Count out a check that was under way, and start the next."""
        key = source_of(check.source)
        checks = self._sources[key]
        checks.under_way -= 1
        self._under_way -= 1
        self._answer_early(checks)
        self._tidy(key, checks)
        self._dispatch()

    def _tidy(self, key: str, checks: _SourceChecks) -> None:
        if not checks.waiting and not checks.under_way:
            self._sources.pop(key, None)

    def _usual_duration(self) -> float:
        """Return how long a check of wrong credentials took, each of the remembered ones in turn."""
        if not self._durations:
            return FIRST_DURATION
        self._durations.rotate()
        return self._durations[0]


@dataclass(slots=True)
class _RecentUser:
    """A user that has logged in from a source."""

    until: float
    tries: int  # left
    tries_until: float


class _RecentUsers:
    """Which users have logged in from which sources lately: others' guesses do not keep these out.

    As nothing else bounds guesses at a source that is shut out, a recent user gets only so many tries.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[Network, bytes | None], _RecentUser] = OrderedDict()

    def note_login(self, source: str, name: bytes | None, now: float) -> None:
        """Remember a user."""
        network = next(networks_of(source), None)
        if network is None:
            return
        key = network[0], name
        recent = self._recent.get(key)
        if recent is None or recent.tries_until <= now:
            recent = _RecentUser(now, RECENT_USER_TRIES, now + RECENT_SECONDS)
        recent.until = now + RECENT_SECONDS
        self._recent[key] = recent
        self._recent.move_to_end(key)
        if len(self._recent) > MAX_RECENT_USERS:
            self._recent.popitem(last=False)

    def may_pass(self, source: str, name: bytes | None, now: float) -> bool:
        """Return whether a user's cached credentials may be looked at; that counts as a try."""
        network = next(networks_of(source), None)
        recent = self._recent.get((network[0], name)) if network is not None else None
        if recent is None or recent.until <= now or recent.tries <= 0:
            return False
        recent.tries -= 1
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
