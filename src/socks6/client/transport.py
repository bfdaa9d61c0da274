"""Turns any byte stream into an asyncio transport, with TLS inside it where wanted."""

import asyncio
import contextlib
import os
import socket
import ssl as tls
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from typing_extensions import override

from socks6.client.stream import ProxiedStream
from socks6.errors import LocalProtocolError
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import SocketStream
from socks6.relay.streams import RelaySettings, StreamRelay

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

LINGER_SECONDS: Final = 3.0  # what closed transports get to deliver their last bytes when the client closes
CLOSED_CHECK_SECONDS: Final = 1.0  # between two looks for transports that were closed
OUTSIDE_OF_BLOCK: Final = "use the client as `async with Client(...)`"


class TransportFactory:
    """Makes transports; carries the bytes of those that are no plain sockets, in tasks of its own.

    In use from the first `enter` to the `leave` that answers it; blocks may be nested, and several tasks have one each.
    """

    def __init__(self, *, linger: float = LINGER_SECONDS) -> None:
        """`linger` is for how many seconds `end` lets closed transports deliver."""
        self._linger = linger
        self._users = 0
        self._block = _TransportScope()

    def enter(self) -> None:
        """Get ready to carry; `leave` must follow."""
        self._users += 1

    def leave(self) -> bool:
        """Take note that one who entered has left; return whether it was the last one, who then says `end`."""
        self._users -= 1
        return not self._users

    async def end(self, *, deliver: bool) -> None:
        """Cut off transports left open; with `deliver`, let closed ones deliver their last bytes, for a moment.

        Cancelling cuts short nothing but the waiting. Whoever enters meanwhile is not concerned.
        """
        block, self._block = self._block, _TransportScope()
        try:
            if deliver:
                await block.deliver(self._linger)
        finally:
            block.end()
        await block.ended()

    def check(self) -> None:
        """Raise LocalProtocolError unless there is a block that tasks can live in."""
        if not self._users:
            raise LocalProtocolError(OUTSIDE_OF_BLOCK)

    def carry(self, carrying: Coroutine[Any, Any, None], transport: asyncio.DatagramTransport) -> None:
        """Have a transport's datagrams carried; what is left of it when the block ends is aborted."""
        self._block.add(_CarriedTransport(carrying, transport.abort)).transport = transport

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
        LocalProtocolError. Raises ssl.SSLError and OSError. The protocol hears of the transport when all is
        ready, after which nothing can be cancelled; what it raises goes to the loop's exception handler.
        """
        if stream.raw_socket is not None:
            return await _wrap(
                stream.detach_socket(), protocol_factory, ssl, server_hostname, server_side=server_side
            )
        if not self._users:
            stream.abort()
            raise LocalProtocolError(f"over this way to the proxy, {OUTSIDE_OF_BLOCK}")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        near = _SocketPairEnd(theirs)
        carried = self._block.join(stream, near)
        try:
            carried.transport, protocol = await _wrap(
                ours, protocol_factory, ssl, server_hostname, server_side=server_side
            )
        except BaseException:
            carried.task.cancel()
            raise
        near.transport = carried.transport
        return carried.transport, protocol


class _CarriedTransport:
    """What is carried for one transport, which is there once it has been handed over."""

    def __init__(
        self,
        carrying: Coroutine[Any, Any, None],
        abort: Callable[[], object],
        *,
        stop_receiving: Callable[[], None] | None = None,
    ) -> None:
        """`abort` ends both sides, also when there was no time to begin."""
        self.transport: asyncio.Transport | asyncio.DatagramTransport | None = None
        self.task = asyncio.create_task(carrying, name="socks6 carrier")  # until it ends, or its block does
        self._abort = abort
        self._stop_receiving = stop_receiving
        self._seen_closing = False

    @property
    def closing(self) -> bool:
        """Whether the transport was closed by its user."""
        return self.transport is not None and self.transport.is_closing()

    def wants_nothing_more(self) -> None:
        """Have the far host's bytes be wanted no more, as a closed socket would; what was sent still goes there."""
        stop, self._stop_receiving = self._stop_receiving, None
        if stop is not None:
            stop()

    def look(self) -> None:
        """See to a transport that was closed a while ago: TLS within it has had its time to say goodbye."""
        if self.closing and self._seen_closing:
            self.wants_nothing_more()
        self._seen_closing = self.closing

    def ended(self) -> None:
        """Free what the task had, and tell what it raised."""
        self._abort()
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None:
            report(error, "a carrier failed", self.transport)


class _TransportScope:
    """What is carried from the moment the client is entered until it is left."""

    def __init__(self) -> None:
        self._carried: dict[asyncio.Task[None], _CarriedTransport] = {}
        self._plane = StreamRelay(RelaySettings(idle_timeout=0.0))
        self._looking: asyncio.TimerHandle | None = None
        self._over = False

    def join(self, far: ProxiedStream, near: SocketStream) -> _CarriedTransport:
        """Relay between two streams, until both have ended or the block has."""

        def abort() -> None:
            far.abort()
            near.abort()

        return self.add(_CarriedTransport(self._relay(far, near), abort, stop_receiving=far.stop_receiving))

    def add(self, carried: _CarriedTransport) -> _CarriedTransport:
        """Keep a task until it ends, or the block does."""
        self._carried[carried.task] = carried
        carried.task.add_done_callback(self._forget)
        if self._looking is None:
            self._look_later()
        return carried

    async def deliver(self, seconds: float) -> None:
        """Cut off what is open or not ready yet, and wait for the rest, for a moment."""
        for task, carried in self._carried.items():
            if carried.closing:
                carried.wants_nothing_more()
            else:
                task.cancel()
        if self._carried:
            await asyncio.wait(tuple(self._carried), timeout=seconds)

    def end(self) -> None:
        """Cancel what there is; what the tasks shared is freed by the last one. Idempotent."""
        self._over = True
        for task in self._carried:
            task.cancel()
        self._free_if_unused()

    async def ended(self) -> None:
        """Wait for what was cancelled, which takes a few turns of the loop."""
        if self._carried:
            await asyncio.wait(tuple(self._carried))

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._carried.pop(task).ended()
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._carried:
            return
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._over:
            self._plane.close()

    def _look(self) -> None:
        for carried in self._carried.values():
            carried.look()
        self._look_later()

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(CLOSED_CHECK_SECONDS, self._look)

    async def _relay(self, far: ByteStream, near: ByteStream) -> None:
        await self._plane.relay(near, far)


class _SocketPairEnd(SocketStream):
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


class _ProtocolHandover(asyncio.Protocol):
    """Has a transport until it is ready for its user's protocol, and keeps what comes meanwhile.

    A loop makes a transport in several turns, tells its protocol in one of them, and returns it in a later one.
    Whoever is cancelled in between would have a protocol that was told of a transport which nobody has; uvloop
    then forgets to tell it of the end.
    """

    def __init__(self, *, secured: bool) -> None:
        """`secured` tells of TLS, where a transport does not outlive the peer's end of stream."""
        self._secured = secured
        self._early = bytearray()  # from uvloop, which reads on whatever we say: what comes in a turn or two
        self._ended = False
        self._lost = False
        self._heir: asyncio.BaseProtocol | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.pause_reading()  # type: ignore[attr-defined]  # of a stream; uvloop's is no asyncio.Transport

    @override
    def data_received(self, data: bytes) -> None:
        self._early += data

    @override
    def eof_received(self) -> bool:
        self._ended = True
        return not self._secured

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._heir is not None:  # it was on its way when the protocol took over
            self._heir.connection_lost(exc)

    def give(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """Give the transport to its user's protocol, all at once. Raises OSError if it was lost already."""
        if self._lost:
            raise ConnectionResetError("the connection was lost before anybody had it")
        self._heir = protocol
        transport.set_protocol(protocol)
        transport.resume_reading()
        try:
            protocol.connection_made(transport)
            if self._early:
                _feed(protocol, bytes(self._early))
            if self._ended and not protocol.eof_received():  # type: ignore[attr-defined]  # it is of a stream
                transport.close()
        except Exception as error:  # noqa: BLE001 - a user's code: it costs this transport alone
            report(error, "a protocol failed when it was given its transport", transport, protocol)
            transport.abort()


def report(
    error: BaseException,
    message: str,
    transport: asyncio.BaseTransport | None,
    protocol: asyncio.BaseProtocol | None = None,
) -> None:
    """Tell the loop's exception handler what a user's protocol raised, or a task of ours."""
    context = {"message": f"socks6: {message}", "exception": error, "transport": transport}
    if protocol is not None:
        context["protocol"] = protocol
    asyncio.get_running_loop().call_exception_handler(context)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Have a protocol of either kind take bytes, as a loop does."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        protocol.data_received(data)  # type: ignore[attr-defined]  # it is of a stream
        return
    while data:
        buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


async def _wrap(
    raw: socket.socket,
    protocol_factory: Callable[[], ProtocolT],
    ssl: tls.SSLContext | bool | None,
    server_hostname: str | None,
    *,
    server_side: bool,
) -> tuple[asyncio.Transport, ProtocolT]:
    loop = asyncio.get_running_loop()
    newcomer = _ProtocolHandover(secured=bool(ssl))
    try:
        raw.setblocking(False)
        protocol = protocol_factory()  # a caller's code, which may raise anything
    except BaseException:
        raw.close()
        raise
    try:
        if server_side:
            context = ssl if isinstance(ssl, tls.SSLContext) else None
            transport, _ = await loop.connect_accepted_socket(lambda: newcomer, raw, ssl=context)
        else:
            transport, _ = await loop.create_connection(
                lambda: newcomer, sock=raw, ssl=ssl, server_hostname=server_hostname
            )
    except (OSError, asyncio.CancelledError):  # the descriptor was the transport's by then, which closes it
        _let_go(raw, loop)
        raise
    except BaseException:
        raw.close()
        raise
    _let_go(raw, loop)
    try:
        newcomer.give(transport, protocol)
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


def _let_go(raw: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Have the descriptor closed by none but the loop's transport.

    uvloop's transports own the bare descriptor. One that closes while it is being made forgets to tell the
    socket object, which then, when it is collected, closes whatever has got the same number meanwhile.
    """
    if not isinstance(loop, asyncio.BaseEventLoop):  # asyncio's own transports close the object
        raw.detach()
