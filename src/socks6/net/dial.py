"""Reaching a host: resolve its name, try its addresses, say truthfully what went wrong."""

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from socks6.errors import OperationFailed, operation_failure
from socks6.message.codes import ReplyCode
from socks6.net.resolve import Address, Resolver
from socks6.net.sockets import connect_socket

__all__ = [
    "REPLY_FOR_ERRNO",
    "Address",
    "Resolver",
    "dial_address",
    "failure_for",
    "happy_eyeballs",
    "interleaved",
    "reply_for",
]

ATTEMPT_DELAY: Final = 0.25  # RFC 8305 §5: the recommended Connection Attempt Delay

# PROTOCOL.md §5; what is absent is a general failure
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
# Of the failures of several addresses the one that tells most: first what a host said, then what we found
# out by waiting, last what is a fault of this side.
MOST_TELLING: Final[tuple[int, ...]] = (
    ReplyCode.CONNECTION_REFUSED,
    ReplyCode.HOST_UNREACHABLE,
    ReplyCode.TTL_EXPIRED,
    ReplyCode.CONNECTION_TIMED_OUT,
    ReplyCode.NETWORK_UNREACHABLE,
    ReplyCode.NOT_ALLOWED,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    ReplyCode.GENERAL_FAILURE,
)


Dial: TypeAlias = Callable[[Address], Awaitable[socket.socket]]


def reply_for(error: OSError) -> int:
    """Return the reply code that tells of `error`."""
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


def interleaved(addresses: Sequence[Address], first_family: int | None = None) -> list[Address]:
    """Return the addresses with the families taking turns (RFC 8305 §4), `first_family` going first.

    Without a preference the family of the resolver's best address (RFC 6724) goes first.
    """
    if first_family is None and addresses:
        first_family = addresses[0].family
    first = [address for address in addresses if address.family == first_family]
    others = [address for address in addresses if address.family != first_family]
    pairs = itertools.zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


async def happy_eyeballs(
    addresses: Sequence[Address], dial: Dial, *, delay: float = ATTEMPT_DELAY
) -> socket.socket:
    """Return the socket of the first address that answers (RFC 8305 §5).

    An attempt starts when the one before has failed or `delay` seconds after it; losers are cancelled.
    Raises the most telling OSError when all fail.
    """
    if len(addresses) == 1:
        return await dial(addresses[0])
    race = _Race(dial)
    try:
        await race.run(addresses, delay)
    except BaseException:
        race.give_up()
        raise
    return race.result()


async def dial_address(address: Address, *, deadline: float | None = None) -> socket.socket:
    """Connect to one address. Raises OSError."""
    return await connect_socket(address.family, address.socket_address, deadline=deadline)


class _Race:
    """Attempts at several addresses, one of which wins."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._running = 0
        self._news = asyncio.Event()  # an attempt won or failed
        self._winner: socket.socket | None = None
        self._errors: list[OSError] = []

    async def run(self, addresses: Sequence[Address], delay: float) -> None:
        async with asyncio.TaskGroup() as group:
            attempts = []
            for address in addresses:
                self._news.clear()
                self._running += 1
                attempts.append(group.create_task(self._attempt(address)))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._news.wait()
                if self._winner is not None:
                    break
            while self._winner is None and self._running:
                self._news.clear()
                await self._news.wait()
            for attempt in attempts:
                attempt.cancel()

    def result(self) -> socket.socket:
        if self._winner is None:
            raise min(self._errors, key=lambda error: MOST_TELLING.index(reply_for(error)))
        return self._winner

    def give_up(self) -> None:
        if self._winner is not None:
            self._winner.close()

    async def _attempt(self, address: Address) -> None:
        try:
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
