"""Reaching a host: resolve its name, try its addresses, report the failure that explains most."""

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError, OperationFailed, TlsFailed, operation_failure
from socks6.message.codes import Leg, ReplyCode
from socks6.message.options import StackOption
from socks6.net.resolve import ResolvedAddress, Resolver, literal_address
from socks6.net.scopes import on_failure, time_limit
from socks6.net.sockets import connect_socket, wait_connected
from socks6.net.stackopts.connecting import ConnectedSocket, connect_with_options
from socks6.net.stream import Endpoint

ATTEMPT_DELAY: Final = 0.25  # RFC 8305 §5: the recommended Connection Attempt Delay
MAX_ADDRESSES: Final = 8  # of a name are tried; the owner of a name may give it any number of silent ones
MAX_ATTEMPTS: Final = 4  # of a race at a time, each with a descriptor and SYNs of its own
STALE_GRACE_SECONDS: Final = 0.5  # seconds that remembered addresses get before the name is looked up anew
FRESH_LOOKUP_SECONDS: Final = 1.0  # seconds between two such lookups while they are silent
ATTEMPT_SECONDS: Final = 10.0  # what an attempt gets where others wait and there is no deadline

# § Operation Replies; what is absent is a general failure
REPLY_FOR_ERRNO: Final[dict[int, ReplyCode]] = {
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyCode.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyCode.HOST_UNREACHABLE,
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.EAFNOSUPPORT: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    errno.ETIMEDOUT: ReplyCode.CONNECTION_TIMED_OUT,
    errno.EACCES: ReplyCode.NOT_ALLOWED,
    errno.EPERM: ReplyCode.NOT_ALLOWED,
}
REPLY_FOR_LOOKUP: Final[dict[int, ReplyCode]] = {
    socket.EAI_NONAME: ReplyCode.HOST_UNREACHABLE,
    socket.EAI_NODATA: ReplyCode.HOST_UNREACHABLE,
    socket.EAI_AGAIN: ReplyCode.HOST_UNREACHABLE,
    socket.EAI_FAIL: ReplyCode.HOST_UNREACHABLE,
    socket.EAI_ADDRFAMILY: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    socket.EAI_FAMILY: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
}
# Of the failures of several addresses the most informative one: first what a host answered, then what waiting
# showed, last what is a fault of this side.
MOST_INFORMATIVE: Final[tuple[int, ...]] = (
    ReplyCode.CONNECTION_REFUSED,
    ReplyCode.HOST_UNREACHABLE,
    ReplyCode.TTL_EXPIRED,
    ReplyCode.CONNECTION_TIMED_OUT,
    ReplyCode.NETWORK_UNREACHABLE,
    ReplyCode.NOT_ALLOWED,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    ReplyCode.GENERAL_FAILURE,
)


ReachedT = TypeVar("ReachedT")

Dial: TypeAlias = Callable[[ResolvedAddress], Awaitable[socket.socket]]


def reply_for(error: OSError) -> int:
    """Return the reply code for `error`."""
    match error:
        case OperationFailed():
            return error.code
        case socket.gaierror():
            return REPLY_FOR_LOOKUP.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)
        case TimeoutError():  # our own deadline carries no errno
            return ReplyCode.CONNECTION_TIMED_OUT
        case _:
            return REPLY_FOR_ERRNO.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)


def failure_for(error: OSError) -> OperationFailed:
    """Return what to raise for an error of the operating system, with the reply code to send."""
    if isinstance(error, OperationFailed):
        return error
    return operation_failure(reply_for(error), error.strerror or str(error) or "no answer in time")


def interleaved(
    addresses: Sequence[ResolvedAddress], first_family: int | None = None
) -> list[ResolvedAddress]:
    """Return the addresses to try, families taking turns (RFC 8305 §4), `first_family` going first: at most eight.

    Without a preference the family of the resolver's best address (RFC 6724) goes first.
    """
    if len(addresses) == 1:
        return list(addresses)
    if first_family is None and addresses:
        first_family = addresses[0].family
    first = [address for address in addresses if address.family == first_family]
    others = [address for address in addresses if address.family != first_family]
    pairs = itertools.zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None][:MAX_ADDRESSES]


def _always() -> bool:
    return True


async def happy_eyeballs(
    addresses: Sequence[ResolvedAddress],
    dial: Dial,
    *,
    delay: float = ATTEMPT_DELAY,
    deadline: float | None = None,
    room: Callable[[], bool] = _always,
) -> socket.socket:
    """Return the socket of the first address that answers (RFC 8305 §5).

    An attempt starts when the one before has failed or `delay` seconds after it; losers are cancelled. At most four
    are under way: a silent one is replaced by the next address after its part of the time until `deadline`.
    While `room` says that there is none, there is one attempt at a time. Raises the most informative OSError when
    all fail.
    """
    if len(addresses) == 1:
        return await dial(addresses[0])
    race = _Race[socket.socket](socket.socket.close)

    async def attempt(address: ResolvedAddress, left: int) -> socket.socket:
        async with asyncio.timeout(_seconds(left, deadline)):
            return await dial(address)

    async def begin_attempts() -> None:
        for index, address in enumerate(addresses):
            race.begin(partial(attempt, address, len(addresses) - index))
            await race.news(delay)
            while race.is_open() and (race.running >= MAX_ATTEMPTS or not room()):
                await race.news()
            if race.is_settled():
                break

    return await race.run(begin_attempts)


async def reach_known_or_fresh(
    resolver: Resolver,
    target: Endpoint,
    reach: Callable[[Sequence[ResolvedAddress]], Awaitable[ReachedT]],
    discard: Callable[[ReachedT], object],
    *,
    deadline: float | None = None,
) -> ReachedT:
    """Return what `reach` reaches at the addresses that a resolver remembers for a host, or at newer ones.

    A host that has moved may leave silence behind: when the known ones have failed, or have not answered for a
    moment, the name is looked up anew, and what is reached first is returned; `discard` gets what comes second.
    `deadline` is for lookups. Raises OSError, and what `reach` raises.
    """
    async with asyncio.timeout_at(deadline):
        known = await resolver.resolve(*target)
    if literal_address(*target):
        return await reach(known)
    race = _Race(discard)
    known_over = asyncio.Event()

    async def reach_known() -> ReachedT:
        try:
            return await reach(known)
        finally:
            known_over.set()

    async def reach_newer() -> ReachedT | None:
        newer: Sequence[ResolvedAddress] = ()
        with contextlib.suppress(OSError):  # there is nothing newer to be had
            async with asyncio.timeout_at(deadline):
                newer = await _newer(resolver, target, known, known_over)
        return await reach(newer) if newer else None

    async def begin_attempts() -> None:
        race.begin(reach_known)
        await race.news(STALE_GRACE_SECONDS)
        if not race.is_settled():
            race.begin(reach_newer)

    try:
        return await race.run(begin_attempts)
    except asyncio.CancelledError:
        resolver.doubt(target.host)  # the caller may have given up because it took too long
        raise


async def connect_in_turn(
    addresses: Sequence[ResolvedAddress], dial: Dial, *, deadline: float | None = None
) -> socket.socket:
    """Return the socket of the first address that answers, each being tried when the one before has failed.

    Those left share the time until `deadline` evenly, so that a silent one does not use it all up. Raises the
    most informative OSError when all fail.
    """
    if len(addresses) == 1:
        return await dial(addresses[0])
    errors: list[OSError] = []
    for left in range(len(addresses), 0, -1):
        try:
            async with _attempt_timeout(left, deadline):
                return await dial(addresses[-left])
        except OSError as error:
            errors.append(error)
    raise most_informative(errors)


async def dial_address(address: ResolvedAddress, *, deadline: float | None = None) -> socket.socket:
    """Connect to one address. Raises OSError."""
    return await connect_socket(address.family, address.socket_address, deadline=deadline)


@dataclass(slots=True, eq=False)
class Dialler:
    """Dials addresses of one host, with the same stack options for each.

    Only the SYN to the first address carries `syn_data`: two hosts, or one twice, must not get it. None is no TCP Fast
    Open; empty data has the kernel ask for a cookie.
    """

    wanted: Sequence[StackOption] = ()
    _: KW_ONLY
    leg: Leg = Leg.PROXY_REMOTE
    syn_data: bytes | None = None
    deadline: float | None = None
    local_address: str = ""  # to connect from
    begun: tuple[ResolvedAddress, socket.socket] | None = (
        None  # an address that is being connected to already
    )
    _first: ConnectedSocket | None = None

    async def dial(self, address: ResolvedAddress) -> socket.socket:
        """Connect to one address. Raises OSError."""
        if self.begun is not None and self.begun[0] == address:
            sock, self.begun = self.begun[1], None
            with on_failure(sock.close):
                await wait_connected(sock, self.deadline)
            return sock
        syn_data, self.syn_data = self.syn_data, None
        if not self.wanted and syn_data is None and not self.local_address:
            return await dial_address(address, deadline=self.deadline)
        dialled = await connect_with_options(
            address.family,
            address.socket_address,
            self.wanted,
            leg=self.leg,
            syn_data=syn_data,
            deadline=self.deadline,
            local_address=self.local_address,
        )
        if syn_data is not None:
            self._first = dialled
        return dialled.sock

    def discard_begun(self) -> None:
        """Close what connects to `begun`, unless it was dialled."""
        if self.begun is not None:
            self.begun[1].close()
            self.begun = None

    def syn_bytes(self, sock: socket.socket) -> int:
        """Return how many bytes went into the SYN of a connection that was dialled here."""
        return self._first.syn_bytes if self._first is not None and self._first.sock is sock else 0


def most_informative(errors: Sequence[OSError]) -> OSError:
    """Return the most informative of several failures."""
    return min(errors, key=lambda error: MOST_INFORMATIVE.index(reply_for(error)))


async def _newer(
    resolver: Resolver, target: Endpoint, known: Sequence[ResolvedAddress], known_over: asyncio.Event
) -> Sequence[ResolvedAddress]:
    """Look a name up, again and again until no attempt is made at the known addresses any more."""
    while not (newer := await resolver.newer(*target, known)) and not known_over.is_set():
        async with time_limit(FRESH_LOOKUP_SECONDS):
            await known_over.wait()
    return newer


class _Race(Generic[ReachedT]):
    """Attempts under way at the same time: the first to reach something wins, `discard` gets what others reach."""

    def __init__(self, discard: Callable[[ReachedT], object]) -> None:
        self.running = 0
        self._discard = discard
        self._group = asyncio.TaskGroup()
        self._attempts: list[asyncio.Task[None]] = []
        self._reached: list[ReachedT] = []
        self._failures: list[OSError | ConfigurationError] = []
        self._news = asyncio.Event()  # an attempt is over

    async def run(self, begin_attempts: Callable[[], Awaitable[None]]) -> ReachedT:
        """Return what is reached first. Raises a decisive failure, or the most informative one when all have failed."""
        with on_failure(self._give_up):
            async with self._group:
                await begin_attempts()
                while self.is_open():
                    await self.news()
                for attempt in self._attempts:
                    attempt.cancel()
        if self._reached:
            return self._reached[0]
        raise self._decisive_failure() or most_informative(
            [one for one in self._failures if isinstance(one, OSError)]
        )

    def begin(self, attempt: Callable[[], Awaitable[ReachedT | None]]) -> None:
        """Begin an attempt, which returns None if there was nothing to try."""
        self.running += 1
        self._attempts.append(self._group.create_task(self._carry_out(attempt)))

    async def news(self, seconds: float | None = None) -> None:
        """Wait until an attempt is over, at most so many seconds."""
        self._news.clear()
        async with time_limit(seconds):
            await self._news.wait()

    def is_settled(self) -> bool:
        return bool(self._reached or self._decisive_failure())

    def is_open(self) -> bool:
        return bool(self.running) and not self.is_settled()

    def _decisive_failure(self) -> OSError | ConfigurationError | None:
        """Return a failure that no other address can mend: a server answers, but not the right one."""
        return next((one for one in self._failures if isinstance(one, TlsFailed | ConfigurationError)), None)

    def _give_up(self) -> None:
        for one in self._reached:
            self._discard(one)

    async def _carry_out(self, attempt: Callable[[], Awaitable[ReachedT | None]]) -> None:
        try:
            reached = await attempt()
            if reached is not None and self._reached:
                self._discard(reached)  # two answered at once
            elif reached is not None:
                self._reached.append(reached)
        except (OSError, ConfigurationError) as error:
            self._failures.append(error)
        finally:
            self.running -= 1
            self._news.set()


def _seconds(left: int, deadline: float | None) -> float | None:
    """Return how long an attempt of a race may take, given how many addresses are left; None for all the time there is."""
    if left <= MAX_ATTEMPTS:
        return None
    if deadline is None:
        return ATTEMPT_SECONDS
    return (deadline - asyncio.get_running_loop().time()) / -(-left // MAX_ATTEMPTS)


def _attempt_timeout(left: int, deadline: float | None) -> contextlib.AbstractAsyncContextManager[object]:
    """Return the time-out of the next attempt, given how many are left; the last has only its own."""
    if left == 1 or deadline is None:
        return contextlib.nullcontext()
    return asyncio.timeout((deadline - asyncio.get_running_loop().time()) / left)
