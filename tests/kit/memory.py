"""Two streams joined in memory: for tests, and for serving a client within the process."""

import asyncio
import errno
import os
import socket
from typing import Final

from socks6.errors import LocalProtocolError
from socks6.net.stream import (
    NO_ENDPOINT,
    RECEIVES_ALREADY,
    SENDS_ALREADY,
    AttributeT,
    Endpoint,
    PollableStream,
    Protection,
)
from socks6.net.turns import EVENT, Turns

CAPACITY: Final = 65536  # bytes that one direction holds before its sender waits


def memory_stream_pair(capacity: int = CAPACITY) -> tuple[PollableStream, PollableStream]:
    """Return two streams; what is sent on one is received on the other."""
    there, back = _Lane(capacity), _Lane(capacity)
    return MemoryStream(incoming=there, outgoing=back), MemoryStream(incoming=back, outgoing=there)


class MemoryStream:
    """One end of a pair."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_incoming",
        "_outgoing",
        "_receives",
        "_sends",
        "_unwanted",
        "turns",
    )

    def __init__(self, *, incoming: "_Lane", outgoing: "_Lane") -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self._receives = False  # a call waits
        self._sends = False
        self.turns: Final = Turns()
        self._unwanted = False

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        return self if isinstance(self, kind) else None

    @property
    def unacknowledged(self) -> int:
        return 0

    @property
    def local(self) -> Endpoint:
        return NO_ENDPOINT

    @property
    def remote(self) -> Endpoint:
        return NO_ENDPOINT

    @property
    def protection(self) -> Protection:
        return Protection.MACHINE

    @property
    def raw_socket(self) -> socket.socket | None:
        return None

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        self._check_open()
        return b"" if self._unwanted else self._incoming.take(max_bytes)

    def stop_receiving(self) -> None:
        """Want nothing more of what comes: `receive` gives b"" from now on, and the peer's sending fails."""
        self._unwanted = True
        self._incoming.fail(errno.EPIPE)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._receives:
            raise LocalProtocolError(RECEIVES_ALREADY)
        if self.turns.left <= 0:
            await self.turns.take()
        while (data := self.receive_nowait(max_bytes)) is None:
            await self.wait_readable()
        self.turns.left -= EVENT + len(data)
        return data

    async def wait_readable(self) -> None:
        if self._receives:
            raise LocalProtocolError(RECEIVES_ALREADY)
        self._receives = True
        try:
            if not (self._unwanted or self._incoming.is_readable):
                await self._incoming.changed()
                self._check_open()
        finally:
            self._receives = False
        self.turns.waited()

    async def send(self, data: bytes | memoryview) -> None:
        self._check_sendable()
        rest = memoryview(data)
        self._sends = True
        try:
            while rest := rest[self._outgoing.put(rest) :]:
                await self._outgoing.changed()
                self._check_open()
        finally:
            self._sends = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        self._check_open()
        return self._outgoing.put(memoryview(data))

    async def wait_writable(self) -> None:
        if not self._outgoing.is_writable:
            await self._outgoing.changed()
            self._check_open()

    async def send_eof(self) -> None:
        self._check_sendable()
        self._outgoing.end()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._outgoing.end()
            self._leave()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._outgoing.fail(errno.ECONNRESET, keep=True)
            self._leave()

    def was_reset(self) -> bool:
        """Return whether the peer has aborted."""
        return self._closed or self._incoming.failed

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)

    def _leave(self) -> None:
        """Have the peer's sending fail, and our own pending calls look at the state again."""
        self._incoming.fail(errno.EPIPE)
        self._outgoing.wake()


class _Lane:
    """One direction: bytes in a bounded buffer, and how it ended."""

    __slots__ = ("_buffer", "_capacity", "_ended", "_failure", "_waiting")

    def __init__(self, capacity: int) -> None:
        self._buffer = bytearray()
        self._capacity = capacity
        self._ended = False
        self._failure = 0  # the errno that using the lane gives
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def failed(self) -> bool:
        """Whether using it gives an error."""
        return bool(self._failure)

    @property
    def is_readable(self) -> bool:
        """Whether `take` gives bytes, the end or an error."""
        return bool(self._buffer or self._ended or self._failure)

    @property
    def is_writable(self) -> bool:
        """Whether `put` takes bytes, or gives an error."""
        return len(self._buffer) < self._capacity or self._ended or bool(self._failure)

    def take(self, max_bytes: int) -> bytes | None:
        if not self._buffer:
            if self._ended:
                return b""
            self._check()
            return None
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        self.wake()
        return data

    def put(self, data: memoryview) -> int:
        self._check()
        if self._ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        room = self._capacity - len(self._buffer)
        self._buffer += data[:room]
        self.wake()
        return min(room, len(data))

    def end(self) -> None:
        self._ended = True
        self.wake()

    def fail(self, error: int, *, keep: bool = False) -> None:
        """Break; `keep` lets what is there be received first, as a reset does that comes over a network."""
        self._failure = self._failure or error
        if not keep:
            self._buffer.clear()
        self.wake()

    async def changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _check(self) -> None:
        if self._failure:
            raise OSError(self._failure, os.strerror(self._failure))
