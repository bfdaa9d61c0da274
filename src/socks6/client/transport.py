"""asyncio transports over any byte stream, with TLS inside where wanted.

A plain socket is given to the event loop. For any other stream a relay copies between it and one end of a socket pair.
"""

import asyncio
import contextlib
import os
import socket
import ssl as tls
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from socks6.client.stream import ProxiedStream
from socks6.compat import override
from socks6.errors import LocalProtocolError
from socks6.net.scopes import on_failure, time_limit
from socks6.net.sockets import SocketStream
from socks6.relay.streams import RelaySettings, StreamRelay

if TYPE_CHECKING:
    from socks6.client.sockets import SocketCarrier

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

LINGER_SECONDS: Final = 3.0  # for closed transports to deliver their last bytes when the client closes
CLOSED_CHECK_SECONDS: Final = 1.0  # between two checks for transports that were closed
OUTSIDE_OF_BLOCK: Final = "use the client as `async with Client(...)`"


class TransportFactory:
    """Makes asyncio transports over streams; where a stream is no plain socket, a task carries its bytes.

    Such tasks live from `enter` to `leave`. Blocks may be nested, and several tasks may have one each.
    """

    def __init__(self, *, linger: float = LINGER_SECONDS) -> None:
        """`linger` is for how many seconds `end` lets closed transports deliver."""
        self._linger = linger
        self._users = 0
        self._scope = _TransportScope()
        self._carrier: SocketCarrier | None = None

    def enter(self) -> None:
        """Allow transports that a task carries; `leave` must follow."""
        self._users += 1

    def leave(self) -> bool:
        """Undo one `enter`; return whether it was the last one: then the caller calls `end`."""
        self._users -= 1
        return not self._users

    async def end(self, *, deliver: bool) -> None:
        """Abort open transports; with `deliver`, let closed ones deliver their last bytes, for LINGER_SECONDS.

        When cancelled, it aborts all without waiting. Transports that are made meanwhile are not concerned.
        """
        scope, self._scope = self._scope, _TransportScope()
        carrier, self._carrier = self._carrier, None
        try:
            await scope.end(self._linger if deliver else 0.0)
            if carrier is not None and deliver:
                async with time_limit(self._linger):
                    await carrier.deliver()
        finally:
            if carrier is not None:
                await carrier.end()

    def check(self) -> None:
        """Raise LocalProtocolError outside of a block, where nothing would end the tasks."""
        if not self._users:
            raise LocalProtocolError(OUTSIDE_OF_BLOCK)

    def carry(self, carrying: Coroutine[Any, Any, None], transport: asyncio.DatagramTransport) -> None:
        """Run a coroutine that carries a transport's datagrams; the transport is aborted when the block ends."""
        self._scope.add(_CarriedTransport(carrying, transport.abort)).transport = transport

    def socket_of(self, stream: ProxiedStream) -> socket.socket:
        """Return a non-blocking socket, which owns the stream; one that is no plain socket ends with the block.

        Raises LocalProtocolError for such a one outside of a block, and OSError.
        """
        from socks6.client.sockets import SocketCarrier  # noqa: PLC0415 - few have a use for it

        with on_failure(stream.abort):
            if stream.raw_socket is None:
                self.check()
            if self._carrier is None:
                self._carrier = SocketCarrier(asyncio.get_running_loop())
            sock = self._carrier.socket_of(stream)
        sock.setblocking(False)
        return sock

    async def open(
        self,
        stream: ProxiedStream,
        protocol_factory: Callable[[], ProtocolT],
        *,
        ssl: tls.SSLContext | bool | None,
        server_hostname: str | None = None,
        server_side: bool = False,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Return a transport over the stream, and its protocol; the stream belongs to the transport from now on.

        `server_side` makes this end the server of TLS. A plain socket becomes the transport itself. Any other stream
        is joined to one end of a socket pair by a relay; outside `async with` that raises LocalProtocolError. Raises
        ssl.SSLError and OSError. The protocol's `connection_made` is called last, when nothing can be cancelled any
        more; what it raises goes to the loop's exception handler.
        """
        if stream.raw_socket is not None:
            return await _wrap(
                stream.detach_socket(), protocol_factory, ssl, server_hostname, server_side=server_side
            )
        if not self._users:
            stream.abort()
            raise LocalProtocolError(f"over this transport, {OUTSIDE_OF_BLOCK}")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        near = _SocketPairEnd(theirs)
        carried = self._scope.relay(stream, near)
        with on_failure(carried.task.cancel):
            carried.transport, protocol = await _wrap(
                ours, protocol_factory, ssl, server_hostname, server_side=server_side
            )
        near.transport = carried.transport
        return carried.transport, protocol


class _CarriedTransport:
    """A task that carries the bytes of one transport, which is set once it has been handed over."""

    def __init__(
        self,
        carrying: Coroutine[Any, Any, None],
        abort: Callable[[], object],
        *,
        stop_receiving: Callable[[], None] | None = None,
    ) -> None:
        """`abort` ends both sides, also where the task is cancelled before it began."""
        self.transport: asyncio.Transport | asyncio.DatagramTransport | None = None
        self.task = asyncio.create_task(carrying, name="socks6 carrier")  # until it ends, or its scope does
        self._abort = abort
        self._stop_receiving = stop_receiving
        self._was_closing = False

    @property
    def closing(self) -> bool:
        """Whether the transport was closed by its user."""
        return self.transport is not None and self.transport.is_closing()

    def stop_receiving(self) -> None:
        """Discard what the remote host sends, as a closed socket does; what was sent to it still goes there."""
        stop, self._stop_receiving = self._stop_receiving, None
        if stop is not None:
            stop()

    def check_closing(self) -> None:
        """Stop receiving once the transport was closed one check ago: TLS within it has had time to end."""
        if self.closing and self._was_closing:
            self.stop_receiving()
        self._was_closing = self.closing

    def ended(self) -> None:
        """Free what the task had, and report what it raised."""
        self._abort()
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None:
            report(error, "a carrier failed", self.transport)


class _TransportScope:
    """The tasks that carry transports, from the moment the client is entered until it is left."""

    def __init__(self) -> None:
        self._carried: dict[asyncio.Task[None], _CarriedTransport] = {}
        self._stream_relay = StreamRelay(RelaySettings(idle_timeout=0.0))
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def relay(self, remote: ProxiedStream, near: SocketStream) -> _CarriedTransport:
        """Relay between two streams, until both have ended or the scope has."""

        async def carry() -> None:
            await self._stream_relay.relay(near, remote)

        def abort() -> None:
            remote.abort()
            near.abort()

        return self.add(_CarriedTransport(carry(), abort, stop_receiving=remote.stop_receiving))

    def add(self, carried: _CarriedTransport) -> _CarriedTransport:
        """Keep a task until it ends, or the scope does."""
        self._carried[carried.task] = carried
        carried.task.add_done_callback(self._remove)
        if self._timer is None:
            self._check_later()
        return carried

    async def end(self, linger: float) -> None:
        """Cancel open transports at once, closed ones after `linger` seconds at most; wait for all to end."""
        try:
            for task, carried in self._carried.items() if linger else ():
                if carried.closing:
                    carried.stop_receiving()
                else:
                    task.cancel()
            if linger and self._carried:
                await asyncio.wait(tuple(self._carried), timeout=linger)
        finally:
            self._over = True
            for task in self._carried:
                task.cancel()
            self._free_if_unused()
        if self._carried:
            await asyncio.wait(tuple(self._carried))

    def _remove(self, task: asyncio.Task[None]) -> None:
        self._carried.pop(task).ended()
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._carried:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over:
            self._stream_relay.close()

    def _check(self) -> None:
        for carried in self._carried.values():
            carried.check_closing()
        self._check_later()

    def _check_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CLOSED_CHECK_SECONDS, self._check)


class _SocketPairEnd(SocketStream):
    """Our end of the socket pair between a relay and a transport.

    The transport's protocol must not take a truncated stream for a whole one. A Unix socket resets its peer only when
    it is closed with bytes unread, so `abort` first writes a byte into it from the transport's side. A transport that
    has ended its own direction cannot send one: it sees an end of stream.
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
    """The protocol of a transport until it is ready for its user's protocol; keeps what arrives meanwhile.

    A loop makes a transport in several turns, calls `connection_made` in one of them, and returns it in a later one.
    A caller that is cancelled in between would leave its protocol with a transport that is never returned; uvloop
    then does not call `connection_lost`.
    """

    def __init__(self, *, secured: bool) -> None:
        """`secured`: over TLS, where a transport closes at the peer's end of stream."""
        self._secured = secured
        self._early = bytearray()  # from uvloop, which may read on for a turn or two after pause_reading()
        self._ended = False
        self._lost = False
        self._protocol: asyncio.BaseProtocol | None = None

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
        if self._protocol is not None:  # it was on its way when the protocol took over
            self._protocol.connection_lost(exc)

    def give(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """Give the transport to its user's protocol, without a wait. Raises OSError if it was lost already."""
        if self._lost:
            raise ConnectionResetError("the connection was lost before it was handed over")
        self._protocol = protocol
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
    """Report to the loop's exception handler what a user's protocol raised, or one of our tasks."""
    context = {"message": f"socks6: {message}", "exception": error, "transport": transport}
    if protocol is not None:
        context["protocol"] = protocol
    asyncio.get_running_loop().call_exception_handler(context)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Give bytes to a protocol of either kind, as a loop does."""
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
    handover = _ProtocolHandover(secured=bool(ssl))
    with on_failure(raw.close):
        raw.setblocking(False)
        protocol = protocol_factory()  # a caller's code, which may raise anything
    try:
        if server_side:
            context = ssl if isinstance(ssl, tls.SSLContext) else None
            transport, _ = await loop.connect_accepted_socket(lambda: handover, raw, ssl=context)
        else:
            transport, _ = await loop.create_connection(
                lambda: handover, sock=raw, ssl=ssl, server_hostname=server_hostname
            )
    except (OSError, asyncio.CancelledError):  # the descriptor was the transport's by then, which closes it
        _detach(raw, loop)
        raise
    except BaseException:
        raw.close()
        raise
    _detach(raw, loop)
    with on_failure(transport.abort):
        handover.give(transport, protocol)
    return transport, protocol


def _detach(raw: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Leave it to the loop's transport alone to close the descriptor.

    uvloop's transports own the bare descriptor. One that closes while it is being made does not detach the socket
    object, which then, when it is collected, closes whatever has got the same number meanwhile.
    """
    if not isinstance(loop, asyncio.BaseEventLoop):  # asyncio's own transports close the object
        raw.detach()
