"""The one loop that runs any machine over any stream."""

import asyncio
import contextlib
import socket
from typing import Final, TypeVar

from socks6.net.stream import ByteStream, PushbackStream
from socks6.net.turns import EVENT
from socks6.protocol.machine import Delimited, Machine

READ_SIZE: Final = 65536  # more than the longest handshake: 20 KiB of options and 16 KiB of initial data

EventT = TypeVar("EventT")


async def next_event(machine: Machine[EventT], stream: ByteStream, *, exact: bool = False) -> EventT | None:
    """Return what happens next in a conversation; None when it is over.

    What the machine has to send is written only when it has no event left, so that answers to several events
    leave in one piece. `exact` leaves bytes that come after the conversation in the stream: reads never more than the
    machine wants, or gives a `PushbackStream` back what is left; for a `Delimited` machine it looks ahead in a plain
    socket. Raises OSError when the stream breaks.

    However much a peer sends, others get their turns (`net.turns`), and the machine's deadline holds: bytes that
    come after it are not taken.
    """
    turns = stream.turns
    if turns.left <= 0:
        await turns.take()
    turns.left -= EVENT
    ended = False
    pushback = stream if exact and isinstance(stream, PushbackStream) else None
    while (event := machine.next_event()) is None:
        broken = await _try_to_flush(machine, stream)
        wanted = machine.bytes_wanted()
        if ended or not wanted:
            if broken is not None:
                raise broken
            return None
        size = _exact_size(machine, stream, wanted) if exact and pushback is None else READ_SIZE
        if broken is None:
            data = await _receive(machine, stream, size)
        elif (data := stream.receive_nowait(size)) is None:
            raise broken
        feed(machine, data)
        ended = data == b""
    if pushback is not None and not machine.bytes_wanted() and (rest := machine.unread()):
        pushback.unread(rest)
    return event


def _exact_size(machine: Machine[EventT], stream: ByteStream, wanted: int) -> int:
    """Return how much may be read and is the machine's; that is what it wants, unless more can be seen to be its own."""
    if isinstance(machine, Delimited) and (raw := stream.raw_socket) is not None:
        with contextlib.suppress(OSError):  # nothing is there, or nothing more will be: receiving shows which
            if ahead := raw.recv(READ_SIZE, socket.MSG_PEEK):
                return machine.size_within(ahead)
    return wanted


def feed(machine: Machine[EventT], data: bytes | None) -> None:
    """Give a machine bytes, the end, or with None the time-out; the time-out also where bytes come too late."""
    now = asyncio.get_running_loop().time()
    deadline = machine.next_timeout()
    if data is None or (data and deadline is not None and deadline <= now):
        # a loop's timer may fire, by its own clock, a little early
        machine.handle_timeout(max(now, deadline or now))
    elif data:
        machine.receive_data(data, now)
    else:
        machine.receive_eof(now)


async def _try_to_flush(machine: Machine[EventT], stream: ByteStream) -> OSError | None:
    """Write what the machine has to send; return why it cannot be: an answer may have come before the stream broke."""
    try:
        await flush(machine, stream)
    except OSError as error:
        return error
    return None


async def flush(machine: Machine[EventT], stream: ByteStream) -> None:
    """Write what the machine has to send. Raises OSError."""
    if data := machine.data_to_send():
        await stream.send(data)


class DeferredWrite:
    """What a machine has to send, held back until the loop's next turn so that more may join it.

    An answer whose continuation is worked out without waiting leaves with it in one packet (8 % of the CPU of
    a CONNECT; benchmarks/load, suite connect); one whose continuation takes time leaves at once all the same.
    Only where a plain socket can be written to from a callback; elsewhere nothing is held back.
    """

    __slots__ = ("_handle", "_machine", "_rest", "_stream")

    def __init__(self, machine: Machine[EventT], stream: ByteStream) -> None:
        self._machine = machine
        self._stream = stream
        self._rest = b""
        raw = stream.raw_socket
        self._handle = None if raw is None else asyncio.get_running_loop().call_soon(self._write, raw)

    async def begin(self) -> "DeferredWrite":
        """Write at once what cannot be held back. Raises OSError."""
        if self._handle is None:
            await flush(self._machine, self._stream)
        return self

    async def flush(self) -> None:
        """Write what is left, and what the machine has to send since. Raises OSError."""
        self.cancel()
        if data := self._rest + self._machine.data_to_send():
            self._rest = b""
            await self._stream.send(data)

    def cancel(self) -> None:
        """Write nothing by itself any more. Idempotent."""
        if self._handle is not None:
            self._handle.cancel()

    def _write(self, raw: socket.socket) -> None:
        data = self._machine.data_to_send()
        try:
            sent = raw.send(data)
        except OSError:  # the socket takes nothing now, or never will: flushing shows which
            sent = 0
        self._rest = data[sent:]


async def _receive(machine: Machine[EventT], stream: ByteStream, max_bytes: int) -> bytes | None:
    """Return bytes, b"" at the end, or None when the machine's time is up."""
    turns = stream.turns
    if turns.left <= 0:
        await turns.take()
    data = stream.receive_nowait(max_bytes)
    if data is not None:
        turns.left -= EVENT + len(data)
        return data
    deadline = machine.next_timeout()
    if deadline is None:
        return await stream.receive(max_bytes)
    limit = asyncio.timeout_at(deadline)  # costs 5 µs and a timer, so only when there is nothing to read
    try:
        async with limit:
            return await stream.receive(max_bytes)
    except TimeoutError:
        if limit.expired():
            return None
        raise  # TCP's own, of a connection that broke
