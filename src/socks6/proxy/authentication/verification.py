"""Whose credentials are checked when: a few at a time, source after source, and never for whoever is gone.

A check may cost a good part of a second of a core, and whoever asks for one need not have an account. So each
source has a queue of its own, the queues take turns, and what a source has under way counts against its penalty
until it turns out to be right. Nobody is punished for having to wait: who cannot be served in time, or for want
of room, is told that the proxy is busy.
"""

import asyncio
import errno
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from socks6.errors import AuthenticationBusy
from socks6.net.accept import source_of
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.penalty import FailurePenalties, Network, networks_of

QUEUE: Final = 1024  # checks that wait for their turn
CHECKS_PER_SOURCE: Final = 4  # under way at a time
DURATIONS: Final = 64  # of wrong credentials, remembered to let the others that are refused take as long
FIRST_DURATION: Final = 0.05  # seconds, as long as none is known
KNOWN: Final = 8192  # users, by source
KNOWN_SECONDS: Final = 300.0
KNOWN_TRIES: Final = 100  # wrong passwords for a known user of a source that is shut out, in KNOWN_SECONDS

Users: TypeAlias = Callable[[], Authenticator]


def _everybody() -> bool:
    return True


class _Turn(Enum):
    """What becomes of a check that has waited."""

    GO = "it is to be carried out"
    KNOWN = "another connection has proved it meanwhile"
    SHUT_OUT = "its source has failed too often meanwhile"
    GONE = "its client is gone"
    BUSY = "it has to make room"


@dataclass(slots=True, eq=False, kw_only=True)
class _Check:
    """Credentials that wait for their turn."""

    users: Users
    credentials: Credentials
    source: str
    present: Callable[[], bool]
    identity: Identity | None = None  # whom it is known to prove
    turn: _Turn = _Turn.GONE
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> bytes | None:
        return self.credentials.subject


@dataclass(slots=True)
class _Line:
    """The checks of one source."""

    waiting: dict[_Check, None] = field(default_factory=dict)  # an ordered set
    under_way: int = 0


class VerificationQueue:
    """Has authenticators asked, fairly and within bounds. Belongs to a worker: it outlives reloads."""

    def __init__(
        self, penalties: FailurePenalties, *, queue: int = QUEUE, per_source: int = CHECKS_PER_SOURCE
    ) -> None:
        self._penalties = penalties
        self._room = queue
        self._per_source = per_source
        self._lines: OrderedDict[str, _Line] = OrderedDict()  # whose turn is next comes first
        self._waiting = 0
        self._under_way = 0
        self._concurrency = 1  # what the authenticator says
        self._durations: deque[float] = deque(maxlen=DURATIONS)
        self._known = _KnownUsers()

    def __len__(self) -> int:
        """Return how many checks wait for their turn."""
        return self._waiting

    async def verify(
        self,
        users: Users,
        credentials: Credentials,
        *,
        source: str = "",
        deadline: float | None = None,
        present: Callable[[], bool] = _everybody,
    ) -> Identity | None:
        """Return who the credentials prove to be there; None if they prove nothing, or if the source is shut out.

        `users` gives those who know the users when the turn has come. `present` tells whether the client is there
        still. Raises AuthenticationBusy where there is no room, or no answer by the `deadline` (of the loop's
        clock); OSError when the client is gone.
        """
        began = _now()
        name = credentials.subject
        self._concurrency = users().concurrency
        shut_out = self._penalties.blocked(source, began, name=name)
        if not shut_out or self._known.may_pass(source, name, began):
            identity = users().cached_identity(
                credentials
            )  # proofs go first, whatever others at the source do
            if identity is not None:
                self._known.came_in(source, name, began)
                return identity
        check = _Check(users=users, credentials=credentials, source=source, present=present)
        try:
            async with asyncio.timeout_at(deadline) as time_limit:
                turn = _Turn.SHUT_OUT if shut_out else await self._wait_for_turn(check)
                return await self._answer(check, turn, began, time_limit)
        except TimeoutError:
            raise AuthenticationBusy("the credentials could not be checked in time") from None

    def shuts_out(self, credentials: Credentials, source: str) -> bool:
        """Return whether such credentials from there are refused without being looked at."""
        return self._penalties.blocked(source, _now(), name=credentials.subject)

    async def _answer(
        self, check: _Check, turn: _Turn, began: float, time_limit: asyncio.Timeout
    ) -> Identity | None:
        """Return what comes of a check whose wait is over."""
        match turn:
            case _Turn.GO:
                identity = await self._carry_out(check, time_limit)
                if identity is None:
                    self._durations.append(_now() - began)
            case _Turn.KNOWN:
                identity = check.identity
            case _Turn.SHUT_OUT:
                # as long as a wrong password takes: nobody learns from the time that its guesses are not looked at
                await asyncio.sleep(began + self._usual_duration() - _now())
                return None
            case _Turn.GONE:
                raise ConnectionResetError(errno.ECONNRESET, "the client is gone")
            case _Turn.BUSY:
                raise AuthenticationBusy("too many credentials wait to be checked")
        if identity is not None:
            self._known.came_in(check.source, check.name, _now())
        return identity

    async def _carry_out(self, check: _Check, time_limit: asyncio.Timeout) -> Identity | None:
        """Ask, now that it is the check's turn."""
        failed = True  # who goes away while its check is under way has had its guess
        try:
            identity = await check.users().verify(check.credentials)
            failed = identity is None
        except AuthenticationBusy:
            failed = False
            raise
        except asyncio.CancelledError:
            failed = not time_limit.expired()  # whose time is up has not gone away
            raise
        finally:
            self._penalties.settle(check.source, _now(), name=check.name, failed=failed)
            self._leave(check)
        return identity

    async def _wait_for_turn(self, check: _Check) -> _Turn:
        """Wait in line."""
        key = source_of(check.source)
        line = self._lines.setdefault(key, _Line())
        if not line.waiting:  # it was not in the rotation, though a check of it may be under way
            self._lines.move_to_end(key)
        line.waiting[check] = None
        self._waiting += 1
        self._make_room()
        self._dispatch()
        try:
            await check.told.wait()
        except asyncio.CancelledError:
            if check in line.waiting:
                self._end_wait(line, check, _Turn.GONE)
                self._tidy(key, line)
            elif check.turn is _Turn.GO:
                self._penalties.settle(check.source, _now(), name=check.name, failed=False)
                self._leave(check)
            raise
        return check.turn

    def _make_room(self) -> None:
        """Turn away who came last at the source with most, if too many wait."""
        if self._waiting > self._room:
            key, longest = max(self._lines.items(), key=lambda item: len(item[1].waiting))
            check = next(reversed(longest.waiting))
            self._end_wait(longest, check, _Turn.BUSY)
            self._tidy(key, longest)

    def _dispatch(self) -> None:
        """Let begin what may begin now: one check of each source, and then the next of each."""
        going = True
        while going:
            going = False
            for key, line in list(self._lines.items()):
                if self._under_way >= self._concurrency:
                    return
                if self._advance(key, line):
                    self._lines.move_to_end(key)
                    going = True
                self._tidy(key, line)

    def _advance(self, key: str, line: _Line) -> bool:
        """Let the first check of a line begin, if it may; return whether it has."""
        self._answer_early(line)
        if not line.waiting or (key and line.under_way >= self._per_source):
            return False
        check = next(iter(line.waiting))
        if not self._penalties.reserve(check.source, _now(), name=check.name):
            return False
        self._under_way += 1
        line.under_way += 1
        self._end_wait(line, check, _Turn.GO)
        return True

    def _answer_early(self, line: _Line) -> None:
        """Have those at the head of a line leave it that need not be looked at any more."""
        while line.waiting:
            check = next(iter(line.waiting))
            turn = self._turn_of(check)
            if turn is None:
                return
            self._end_wait(line, check, turn)

    def _turn_of(self, check: _Check) -> _Turn | None:
        """Return what a check can be told without being carried out."""
        if not check.present():
            return _Turn.GONE
        check.identity = check.users().cached_identity(check.credentials)
        if check.identity is not None:
            return _Turn.KNOWN
        if self._penalties.blocked(check.source, _now(), name=check.name):
            return _Turn.SHUT_OUT
        return None

    def _end_wait(self, line: _Line, check: _Check, turn: _Turn) -> None:
        del line.waiting[check]
        self._waiting -= 1
        check.turn = turn
        check.told.set()

    def _leave(self, check: _Check) -> None:
        """Count out a check that was under way; the next one's turn."""
        key = source_of(check.source)
        line = self._lines[key]
        line.under_way -= 1
        self._under_way -= 1
        self._answer_early(line)
        self._tidy(key, line)
        self._dispatch()

    def _tidy(self, key: str, line: _Line) -> None:
        if not line.waiting and not line.under_way:
            self._lines.pop(key, None)

    def _usual_duration(self) -> float:
        """Return how long wrong credentials took, each time as long as another time."""
        if not self._durations:
            return FIRST_DURATION
        self._durations.rotate()
        return self._durations[0]


@dataclass(slots=True)
class _Known:
    """A user that has come in from a source."""

    until: float
    tries: int  # left
    tries_until: float


class _KnownUsers:
    """Which users have come in from which sources of late: others' guesses do not keep these out.

    As nothing else bounds guesses at a source that is shut out, a known user gets only so many tries.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Network, bytes | None], _Known] = OrderedDict()

    def came_in(self, source: str, name: bytes | None, now: float) -> None:
        """Remember a user."""
        network = next(networks_of(source), None)
        if network is None:
            return
        key = network[0], name
        known = self._known.get(key)
        if known is None or known.tries_until <= now:
            known = _Known(now, KNOWN_TRIES, now + KNOWN_SECONDS)
        known.until = now + KNOWN_SECONDS
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def may_pass(self, source: str, name: bytes | None, now: float) -> bool:
        """Return whether what is remembered of a user's proofs is to be looked at; that is a try."""
        network = next(networks_of(source), None)
        known = self._known.get((network[0], name)) if network is not None else None
        if known is None or known.until <= now or known.tries <= 0:
            return False
        known.tries -= 1
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
