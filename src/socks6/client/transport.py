"""Turns any byte stream into an asyncio transport, with TLS inside it where wanted."""

import asyncio
import contextlib
import os
import socket
import ssl as tls
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar

from typing_extensions import override

from socks6.client.stream import ProxiedStream
from socks6.errors import LocalProtocolError
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import SocketStream
from socks6.relay.plane import RelayPlane, RelaySettings

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


LINGER_SECONDS: Final = 5.0  # what closed transports get to deliver their last bytes when the client closes


class Carriers:
    """Makes transports; carries the bytes of those that are no plain sockets, in tasks of its own."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.BaseTransport] = {}
        self._plane = RelayPlane(RelaySettings(idle_timeout=0.0))

    async def __aenter__(self) -> "Carriers":
        """Get ready to carry."""
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut off transports left open; give closed ones a moment to deliver their last bytes."""
        group, self._group = self._group, None
        if group is None:
            return
        for task, transport in self._tasks.items():
            if not transport.is_closing():
                task.cancel()
        if self._tasks and kind is None:
            await asyncio.wait(self._tasks, timeout=LINGER_SECONDS)
        for task in self._tasks:
            task.cancel()
        cancelled = isinstance(error, asyncio.CancelledError)
        # any other exception is the caller's own: it goes its way without a group around it
        try:
            await (group.__aexit__(kind, error, trace) if cancelled else group.__aexit__(None, None, None))
        finally:
            self._plane.close()

    def check(self) -> None:
        """Raise LocalProtocolError unless there is a block that tasks can live in."""
        if self._group is None:
            raise LocalProtocolError("use the client as `async with Client(...)`")

    def carry(self, carrying: Coroutine[Any, Any, None], transport: asyncio.DatagramTransport) -> None:
        """Have a transport's datagrams carried; what is left of it when the block ends is aborted."""
        assert self._group is not None  # noqa: S101 - it was checked
        task = self._group.create_task(carrying, name="socks6 carrier")
        self._tasks[task] = transport
        task.add_done_callback(self._tasks.pop)
        task.add_done_callback(lambda _: transport.abort())  # also when it had no time to begin

    async def open(
        self,
        stream: ProxiedStream,
        protocol_factory: Callable[[], ProtocolT],
        *,
        ssl: tls.SSLContext | bool | None,
        server_hostname: str | None = None,
        server_side: bool = False,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Return a transport over the stream and its protocol; the stream is the transport's from now on.

        `server_side` makes ours the server's end of TLS. A plain socket becomes the transport itself. Anything
        else is joined to one end of a socket pair by a relay: outside `async with` that raises
        LocalProtocolError. Raises ssl.SSLError and OSError.
        """
        if stream.raw_socket is not None:
            return await _wrap(
                stream.detach_socket(), protocol_factory, ssl, server_hostname, server_side=server_side
            )
        if self._group is None:
            stream.abort()
            raise LocalProtocolError("over this way to the proxy, use the client as `async with Client(...)`")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        near = _NearEnd(theirs)
        task = self._group.create_task(self._relay(stream, near), name="socks6 carrier")

        def end(_: object) -> None:  # also when it had no time to begin
            stream.abort()
            near.abort()

        task.add_done_callback(end)
        try:
            transport, protocol = await _wrap(
                ours, protocol_factory, ssl, server_hostname, server_side=server_side
            )
        except BaseException:
            task.cancel()
            raise
        near.transport = transport
        self._tasks[task] = transport
        task.add_done_callback(self._tasks.pop)
        return transport, protocol

    async def _relay(self, far: ByteStream, near: ByteStream) -> None:
        await self._plane.relay(near, far)


class _NearEnd(SocketStream):
    """Our end of the socket pair between a relay and a transport.

    The transport's protocol must not take a stream that was cut short for a whole one. A Unix socket resets its peer
    only when it is closed with bytes unread, so a byte is sent to it as if by the transport, which has none left to
    send to anybody. A transport that has ended its own direction can send none: it sees an end.
    """

    __slots__ = ("transport",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.transport: asyncio.BaseTransport | None = None

    @override
    def abort(self) -> None:
        """Close at once; the transport sees a reset."""
        transport, self.transport = self.transport, None
        if transport is not None and not transport.is_closing():
            with contextlib.suppress(OSError):
                descriptor = os.dup(transport.get_extra_info("socket").fileno())
                with socket.socket(fileno=descriptor) as theirs:
                    theirs.send(b"\0")
        super().abort()

    @override
    async def aclose(self) -> None:
        """Close in order."""
        self.transport = None
        await super().aclose()


async def _wrap(
    raw: socket.socket,
    protocol_factory: Callable[[], ProtocolT],
    ssl: tls.SSLContext | bool | None,
    server_hostname: str | None,
    *,
    server_side: bool,
) -> tuple[asyncio.Transport, ProtocolT]:
    loop = asyncio.get_running_loop()
    try:
        raw.setblocking(False)
        protocol = protocol_factory()  # a caller's code, which may raise anything
    except BaseException:
        raw.close()
        raise
    try:
        if server_side:
            context = ssl if isinstance(ssl, tls.SSLContext) else None
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, raw, ssl=context)
        else:
            transport, _ = await loop.create_connection(
                lambda: protocol, sock=raw, ssl=ssl, server_hostname=server_hostname
            )
    except (OSError, asyncio.CancelledError):  # the descriptor was the transport's by then, which closes it
        _let_go(raw, loop)
        raise
    except BaseException:
        raw.close()
        raise
    _let_go(raw, loop)
    return transport, protocol


def _let_go(raw: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Have the descriptor closed by none but the loop's transport.

    uvloop's transports own the bare descriptor. One that closes while it is being made forgets to tell the
    socket object, which then, when it is collected, closes whatever has got the same number meanwhile.
    """
    if not isinstance(loop, asyncio.BaseEventLoop):  # asyncio's own transports close the object
        raw.detach()
