"""Reaching a host: resolve its name, try its addresses, report the failure that explains most."""

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from socks6.errors import ConfigurationError, OperationFailed, TlsFailed, operation_failure
from socks6.message.codes import Leg, ReplyCode
from socks6.message.options import StackOption
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.scopes import time_limit
from socks6.net.sockets import connect_socket
from socks6.net.stackopts.connecting import ConnectedSocket, connect_with_options

__all__ = [
    "REPLY_FOR_ERRNO",
    "Dialler",
    "ResolvedAddress",
    "Resolver",
    "connect_in_turn",
    "dial_address",
    "failure_for",
    "happy_eyeballs",
    "interleaved",
    "most_informative",
    "reach_known_or_fresh",
    "reply_for",
]

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
    race = _Race(dial, deadline, room)
    try:
        await race.run(addresses, delay)
    except BaseException:
        race.give_up()
        raise
    return race.result()


async def reach_known_or_fresh(
    known: Sequence[ResolvedAddress],
    newer: Callable[[], Awaitable[Sequence[ResolvedAddress]]],
    reach: Callable[[Sequence[ResolvedAddress]], Awaitable[ReachedT]],
    discard: Callable[[ReachedT], None],
) -> ReachedT:
    """Return what `reach` reaches at addresses that were remembered, or at newer ones of the same name.

    A host that has moved may leave silence behind: when the known ones have failed, or have not answered for a
    moment, the name is looked up anew, and what is reached first is returned; `discard` gets what comes second. Raises
    what `reach` raises.
    """
    race = _FreshAddressRace(known, newer, reach, discard)
    try:
        await race.run()
    except BaseException:
        race.give_up()
        raise
    return race.result()


class _FreshAddressRace(Generic[ReachedT]):
    """An attempt at known addresses, and another at newer ones."""

    def __init__(
        self,
        known: Sequence[ResolvedAddress],
        newer: Callable[[], Awaitable[Sequence[ResolvedAddress]]],
        reach: Callable[[Sequence[ResolvedAddress]], Awaitable[ReachedT]],
        discard: Callable[[ReachedT], None],
    ) -> None:
        self._known = known
        self._newer = newer
        self._reach = reach
        self._discard = discard
        self._reached: list[ReachedT] = []
        self._failures: list[OSError | ConfigurationError] = []
        self._known_over = asyncio.Event()
        self._news = asyncio.Event()  # an attempt is over

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            attempts = [group.create_task(self._attempt_known())]
            async with time_limit(STALE_GRACE_SECONDS):
                await self._news.wait()
            if not self._is_settled():
                attempts.append(group.create_task(self._attempt_newer()))
            while not (self._is_settled() or all(attempt.done() for attempt in attempts)):
                self._news.clear()
                await self._news.wait()
            for attempt in attempts:
                attempt.cancel()

    def give_up(self) -> None:
        for one in self._reached:
            self._discard(one)

    def result(self) -> ReachedT:
        if self._reached:
            return self._reached[0]
        raise self._decisive_failure() or most_informative(
            [one for one in self._failures if isinstance(one, OSError)]
        )

    def _is_settled(self) -> bool:
        return bool(self._reached or self._decisive_failure())

    def _decisive_failure(self) -> OSError | ConfigurationError | None:
        """Return a failure that no other address can mend: a server answers, but not the right one."""
        return next((one for one in self._failures if isinstance(one, TlsFailed | ConfigurationError)), None)

    async def _attempt_known(self) -> None:
        try:
            await self._attempt(self._known)
        finally:
            self._known_over.set()
            self._news.set()

    async def _attempt_newer(self) -> None:
        """Look the name up, again and again while no host answers at the known addresses."""
        try:
            with contextlib.suppress(OSError):  # there is nothing newer to be had
                while not (newer := await self._newer()) and not self._known_over.is_set():
                    async with time_limit(FRESH_LOOKUP_SECONDS):
                        await self._known_over.wait()
                if newer:
                    await self._attempt(newer)
        finally:
            self._news.set()

    async def _attempt(self, addresses: Sequence[ResolvedAddress]) -> None:
        try:
            reached = await self._reach(addresses)
        except (OSError, ConfigurationError) as error:
            self._failures.append(error)
            return
        if self._reached:
            self._discard(reached)
        else:
            self._reached.append(reached)


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


class Dialler:
    """Dials addresses of one host, with the same stack options for each.

    Only the SYN to the first address carries `syn_data`: two hosts, or one twice, must not get it.
    """

    def __init__(
        self,
        wanted: Sequence[StackOption] = (),
        *,
        leg: Leg = Leg.PROXY_REMOTE,
        syn_data: bytes | None = None,
        deadline: float | None = None,
    ) -> None:
        """`syn_data` of None is no TCP Fast Open; empty data has the kernel ask for a cookie."""
        self._wanted = wanted
        self._leg = leg
        self._syn_data = syn_data
        self._deadline = deadline
        self._first: ConnectedSocket | None = None

    async def dial(self, address: ResolvedAddress) -> socket.socket:
        """Connect to one address. Raises OSError."""
        syn_data, self._syn_data = self._syn_data, None
        if not self._wanted and syn_data is None:
            return await dial_address(address, deadline=self._deadline)
        dialled = await connect_with_options(
            address.family,
            address.socket_address,
            self._wanted,
            leg=self._leg,
            syn_data=syn_data,
            deadline=self._deadline,
        )
        if syn_data is not None:
            self._first = dialled
        return dialled.sock

    def syn_bytes(self, sock: socket.socket) -> int:
        """Return how many bytes went into the SYN of a connection that was dialled here."""
        return self._first.syn_bytes if self._first is not None and self._first.sock is sock else 0


def most_informative(errors: Sequence[OSError]) -> OSError:
    """Return the most informative of several failures."""
    return min(errors, key=lambda error: MOST_INFORMATIVE.index(reply_for(error)))


class _Race:
    """Attempts at several addresses, one of which wins."""

    def __init__(self, dial: Dial, deadline: float | None, room: Callable[[], bool]) -> None:
        self._dial = dial
        self._deadline = deadline
        self._room = room
        self._running = 0
        self._news = asyncio.Event()  # an attempt won or failed
        self._winner: socket.socket | None = None
        self._errors: list[OSError] = []

    async def run(self, addresses: Sequence[ResolvedAddress], delay: float) -> None:
        async with asyncio.TaskGroup() as group:
            attempts = []
            for index, address in enumerate(addresses):
                self._news.clear()
                self._running += 1
                seconds = self._seconds(len(addresses) - index)
                attempts.append(group.create_task(self._attempt(address, seconds)))
                async with time_limit(delay):
                    await self._news.wait()
                while self._must_wait():
                    await self._next_news()
                if self._winner is not None:
                    break
            while self._winner is None and self._running:
                await self._next_news()
            for attempt in attempts:
                attempt.cancel()

    def result(self) -> socket.socket:
        if self._winner is None:
            raise most_informative(self._errors)
        return self._winner

    def give_up(self) -> None:
        if self._winner is not None:
            self._winner.close()

    def _must_wait(self) -> bool:
        """Return whether no more attempts may be under way than there are."""
        if self._winner is not None or not self._running:
            return False
        return self._running >= MAX_ATTEMPTS or not self._room()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _seconds(self, left: int) -> float | None:
        """Return how long an attempt may take, given how many addresses are left; None for all the time there is."""
        if left <= MAX_ATTEMPTS:
            return None
        if self._deadline is None:
            return ATTEMPT_SECONDS
        turns = -(-left // MAX_ATTEMPTS)
        return (self._deadline - asyncio.get_running_loop().time()) / turns

    async def _attempt(self, address: ResolvedAddress, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                sock = await self._dial(address)
        except OSError as error:
            self._errors.append(error)
        else:
            if self._winner is None:
                self._winner = sock
            else:
                sock.close()  # two answered at once
        finally:
            self._running -= 1
            self._news.set()


def _attempt_timeout(left: int, deadline: float | None) -> contextlib.AbstractAsyncContextManager[object]:
    """Return the time-out of the next attempt, given how many are left; the last has only its own."""
    if left == 1 or deadline is None:
        return contextlib.nullcontext()
    return asyncio.timeout((deadline - asyncio.get_running_loop().time()) / left)
