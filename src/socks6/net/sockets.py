"""Streams and listeners over non-blocking sockets: TCP and Unix alike, the same on every event loop.

asyncio's transports are not used: a raw socket needs no protocol object, can be read without waiting when
bytes are there already, and can be handed to the kernel's data path.
"""

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from socks6.compat import override
from socks6.errors import LocalProtocolError, OutgoingAddressFailed
from socks6.net.eager import Signal
from socks6.net.stream import (
    NO_ENDPOINT,
    RECEIVES_ALREADY,
    SENDS_ALREADY,
    AttributeT,
    ClosableStream,
    Endpoint,
    Protection,
    SocketAddress,
    check_idle,
    receive_in_turn,
    same_error,
    wake,
)
from socks6.net.turns import Turns

if sys.platform == "linux":
    import fcntl
    import termios

    from socks6.net.poller import Poller

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds
ORDERLY_CLOSE: Final = struct.pack("ii", 0, 0)
TCP_CLOSE: Final = 7  # the state of a connection that is over (linux/tcp.h)
TCPI_BYTES_RECEIVED: Final = 128  # where struct tcp_info has it (linux/tcp.h, from 4.1)
SO_NWRITE: Final = 0x1024  # macOS: bytes in the send buffer
HINTS_FOR_BIND: Final = {
    errno.EADDRINUSE: "{kind} port {port}: another socks6? `ss -lntup` shows who has it",
    errno.EADDRNOTAVAIL: "this machine does not have {host}; listen on :{port}, where clients come from elsewhere",
    errno.EACCES: "{kind} ports below 1024 need root, or CAP_NET_BIND_SERVICE",
}
# of C: `close` of socket.socket is two Python calls more, for files that are made of it
close_descriptor: Final[Callable[[socket.socket], None]] = socket.SocketType.close
# of C, too, and as plain numbers: what sockets give as `family` and `type` costs eight Python calls
family_of: Final[Callable[[socket.socket], int]] = socket.SocketType.family.__get__
type_of: Final[Callable[[socket.socket], int]] = socket.SocketType.type.__get__
INHERITS_OPTIONS: Final = sys.platform == "linux"  # accepted sockets, from the listening one
NONBLOCKING: Final = socket.SOCK_NONBLOCK if sys.platform == "linux" else 0  # saves a call for each socket
IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h; Python has it since 3.12
NONBLOCKING_STREAM: Final = socket.SOCK_STREAM.value | NONBLOCKING
CONNECTING: Final = frozenset((errno.EINPROGRESS, errno.EALREADY))
CONNECTED: Final = frozenset((0, errno.EISCONN))


def endpoint(address: object) -> Endpoint:
    """Return the kernel's socket address as an Endpoint; NO_ENDPOINT for Unix sockets."""
    # as `Endpoint` does, less a Python call
    return tuple.__new__(Endpoint, address[:2]) if isinstance(address, tuple) else NO_ENDPOINT


def own_endpoint(sock: socket.socket) -> Endpoint:
    """Return our end of a socket; NO_ENDPOINT if it is closed, or a Unix socket."""
    try:
        return endpoint(sock.getsockname())
    except OSError:
        return NO_ENDPOINT


class SocketStream(ClosableStream):
    """A ByteStream over a connected stream socket, which it owns.

    A kernel that closes a socket with unread bytes resets the connection, and what was sent last may be lost:
    where an answer must arrive, call `send_eof` and receive to the end before closing.

    The loop watches the socket only while a task waits. uvloop forgets a socket once it has reported an
    error on it, so a registration that outlives its wait could not be relied upon.
    """

    __slots__ = (
        "_ended",
        "_failure",
        "_loop",
        "_poller",
        "_readable",
        "_receiving",
        "_remote",
        "_sending",
        "_sends",
        "on_readable",
        "raw_socket",
        "turns",
    )

    def __init__(
        self,
        sock: socket.socket,
        remote: object = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`remote` is the peer's address in the kernel's form, where that is known already."""
        self.raw_socket: Final = sock
        self._loop = loop or asyncio.get_running_loop()
        self._remote = None if remote is None else endpoint(remote)
        self._poller: Poller | None = None  # instead of the loop, for receiving
        self._readable: Signal | None = None  # by the poller
        self.on_readable: Callable[[], None] | None = None  # see `watch_readable`
        self._receiving: asyncio.Future[None] | None = None
        self._sending: asyncio.Future[None] | None = None
        self._sends = False  # a call of `send` waits for room now and then
        self._ended = False  # our side has ended: nothing more is sent
        self.turns: Final = Turns()
        self._failure: OSError | None = None  # how the connection broke, when it was sending that learned it
        if sock.gettimeout() != 0:
            sock.setblocking(False)

    @property
    def local(self) -> Endpoint:
        return own_endpoint(self.raw_socket)

    @property
    def remote(self) -> Endpoint:
        if self._remote is not None:
            return self._remote
        try:
            return endpoint(self.raw_socket.getpeername())
        except OSError:  # closed, or gone
            return NO_ENDPOINT

    @property
    def protection(self) -> Protection:
        return Protection.MACHINE if self.raw_socket.family == socket.AF_UNIX else Protection.CLEAR

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        if isinstance(self.raw_socket, kind):
            return self.raw_socket
        return self if isinstance(self, kind) else None

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        try:
            data = self.raw_socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        if not data and self._failure is not None:
            raise same_error(self._failure)
        return data

    receive = receive_in_turn

    def poll_with(self, poller: "Poller") -> None:
        """Wait for bytes by a poller: one system call, once, instead of uvloop's ten for each wait."""
        self._poller = poller

    def wait_readable(self) -> Awaitable[None]:
        poller, readable = self._poller, self._readable
        if poller is None:
            return self._wait_in_loop()
        if readable is None:
            readable = self._readable = Signal(self._loop)
        elif readable.waiter is not None:
            raise LocalProtocolError(RECEIVES_ALREADY)
        poller.ensure(self.raw_socket.fileno(), self)
        self.turns.waited()
        return readable

    async def _wait_in_loop(self) -> None:
        check_idle(self._receiving, RECEIVES_ALREADY)
        waiter = self._loop.create_future()
        self._loop.add_reader(self.raw_socket.fileno(), self._wake_receiver)
        self._receiving = waiter
        try:
            await waiter
        finally:
            if self._receiving is waiter:
                self._wake_receiver()
        self.turns.waited()

    async def connect(self, address: SocketAddress, seconds: float) -> int:
        """Connect, for so many seconds at the most; return the error number, one of CONNECTING if that was not enough."""
        sock, loop = self.raw_socket, self._loop
        error = begin_connecting(sock, address)
        if error not in CONNECTING:
            return error
        changed = Signal(loop)
        expired = False

        def expire() -> (
            None
        ):  # asked for, not computed: uvloop's timers come up to a millisecond before `loop.time` says so
            nonlocal expired
            expired = True
            changed.set()

        timer = loop.call_later(seconds, expire)
        if self._poller is not None:
            self._readable = changed
            self._poller.add(sock.fileno(), self)
            self._poller.add_writable(sock.fileno())
        else:
            loop.add_writer(sock.fileno(), changed.set)
        try:
            while error in CONNECTING and not expired:
                await changed
                error = sock.connect_ex(address)
        finally:
            timer.cancel()
            if self._poller is None:
                loop.remove_writer(sock.fileno())
        return error

    def watch_readable(self, poller: "Poller", on_readable: Callable[[], None]) -> None:
        """Call `on_readable` when `receive_nowait` is worth a call, and when the stream is closed, until it is None.

        What is there is reported, too, also an end that came together with bytes that were read. Raises OSError.
        """
        self._poller = poller
        self.on_readable = on_readable
        poller.add(self.raw_socket.fileno(), self)

    def on_events(self, events: int) -> None:  # noqa: ARG002 - whatever it is, receiving shows it
        if self.on_readable is not None:
            self.on_readable()
        elif self._readable is not None:
            self._readable.set()

    def go_on(self) -> None:
        """See EventHandler: is not asked for."""

    def fail(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a task could not end", "exception": error})

    async def send(self, data: bytes | memoryview) -> None:
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        self._sends = True
        try:
            while rest:
                await self.wait_writable()
                rest = rest[self.send_nowait(rest) :]
        finally:
            self._sends = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        try:
            return self.raw_socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if breaks_receiving(error):
                self._failure = error
            raise

    @property
    def unacknowledged(self) -> int:
        """How many bytes that were sent the peer has not acknowledged, as far as the kernel reports it."""
        return unacknowledged_by(self.raw_socket)

    async def wait_writable(self) -> None:
        check_idle(self._sending, SENDS_ALREADY)
        waiter = self._loop.create_future()
        self._loop.add_writer(self.raw_socket.fileno(), self._wake_sender)
        self._sending = waiter
        try:
            await waiter
        finally:
            if self._sending is waiter:
                self._wake_sender()

    async def send_eof(self) -> None:
        if self._ended:
            return
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)
        try:
            self.raw_socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # gone already: receiving reports how
                raise
        self._ended = True

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Close, having what was sent delivered. Idempotent."""
        if self.raw_socket.fileno() >= 0:
            self._break_off()
            close_descriptor(self.raw_socket)
            if self._poller is not None:
                self._wake_polled()

    @override
    def close_nowait(self) -> bool:
        self.close()
        return True

    def abort(self) -> None:
        if self.raw_socket.fileno() >= 0:
            reset_on_close(self.raw_socket)
            self.close()

    def was_reset(self) -> bool:
        """Return whether the peer has reset the connection, or it is closed; looks without taking anything."""
        if self.raw_socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.raw_socket, 0)  # errors and the end of both directions are reported in any case
        return bool(poll.poll(0))

    def stop_receiving(self) -> None:
        """Do nothing: a socket's peer may send until the stream is closed."""

    def detach_socket(self) -> socket.socket:
        """Return the socket, which is the caller's now: non-blocking, watched by no loop. The stream is closed."""
        if self._poller is not None:
            self._poller.remove(self.raw_socket.fileno(), self)
        self._break_off()
        detached = socket.socket(fileno=self.raw_socket.detach())
        detached.setblocking(False)
        return detached

    def _wake_receiver(self, error: OSError | None = None) -> None:
        waiter, self._receiving = self._receiving, None
        if waiter is not None:
            self._loop.remove_reader(self.raw_socket.fileno())
            wake(waiter, error)

    def _wake_sender(self, error: OSError | None = None) -> None:
        waiter, self._sending = self._sending, None
        if waiter is not None:
            self._loop.remove_writer(self.raw_socket.fileno())
            wake(waiter, error)

    def _break_off(self) -> None:
        """Fail pending calls, and take the socket from the loop: always before it is closed."""
        if self._poller is not None:
            self._poller.forget(self.raw_socket.fileno(), self)
        if self._receiving is not None or self._sending is not None:
            closed = OSError(errno.EBADF, "the stream was closed")
            self._wake_receiver(closed)
            self._wake_sender(closed)

    def _wake_polled(self) -> None:
        """Wake what waits for the poller: the socket is closed."""
        if self.on_readable is not None:
            self.on_readable()
        elif self._readable is not None and self._readable.waiter is not None:
            self._readable.set()


class SocketListener:
    """A Listener over a listening stream socket, which it owns.

    The loop watches it all the time while a task accepts: on uvloop every registration costs ten
    system calls, half as much as all the rest of accepting (benchmarks/load, CONNECT rate).

    `on_arrival`, if there is one, is called where a task waits and something has arrived; the task is woken only if
    it returns False.
    """

    def __init__(self, sock: socket.socket, *, url: str, on_close: Callable[[], None] | None = None) -> None:
        """`on_close` runs once, right before the socket is closed."""
        self._socket = sock
        self._kind = int(sock.family), int(sock.type), sock.proto  # of what it accepts, too
        self.on_arrival: Callable[[], bool] | None = None
        self._loop = asyncio.get_running_loop()
        self.url = url
        self._on_close = on_close
        self._arrival = Signal(self._loop)
        self._watched = False
        self._missed = 0  # times that the loop reported arrivals while no task waited
        sock.setblocking(False)

    @property
    def local(self) -> Endpoint:
        """Where it listens; `NO_ENDPOINT` for a Unix socket."""
        return own_endpoint(self._socket)

    def accept_nowait(self) -> SocketStream | None:
        try:
            # as `accept` does, less its conversions of enums: ten Python calls
            descriptor, address = self._socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - of C
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self._unwatch()  # uvloop may have forgotten the socket over it
            raise
        family, kind, protocol = self._kind
        sock = socket.socket(family, kind, protocol, fileno=descriptor)
        if not INHERITS_OPTIONS and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketStream(sock, address, self._loop)

    def reset_accepted(self) -> None:
        """Set that accepted sockets are reset by closing them, until `close_in_order`: a system call less for each."""
        reset_on_close(self._socket)

    async def wait_readable(self) -> None:
        if self._arrival.waiter is not None:
            raise LocalProtocolError("another task waits for this listener already")
        self._check_open()
        self._missed = 0
        if not self._watched:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
            self._watched = True
        await self._arrival
        self._check_open()

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise OSError(errno.EBADF, "the listener was closed")

    async def aclose(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._unwatch()
        try:
            if self._on_close is not None:
                self._on_close()
        finally:
            self._socket.close()
            if self._arrival.waiter is not None:
                self._arrival.set()

    def _on_readable(self) -> None:
        if self._arrival.waiter is not None:
            if self.on_arrival is None or not self.on_arrival():
                self._arrival.set()
            return
        # asyncio polls once more before the waiting task runs; more often means that no task accepts
        self._missed += 1
        if self._missed > 1:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.fileno())


class WrappingListener:
    """Base of listeners whose streams are carried by those of a SocketListener, which it owns."""

    def __init__(self, listener: SocketListener) -> None:
        self.url = listener.url
        self.local = listener.local
        self.beneath: Final = listener

    async def wait_readable(self) -> None:
        await self.beneath.wait_readable()

    async def aclose(self) -> None:
        await self.beneath.aclose()


def stream_socket(family: int, protocol: int = 0, *, tuned: bool = True) -> socket.socket:
    """Return a non-blocking stream socket, set up as all that connect are. Raises OSError.

    Unless `tuned`, the caller calls `tune` when that begins to matter.
    """
    sock = socket.socket(family, NONBLOCKING_STREAM, protocol)
    try:
        if not NONBLOCKING:
            sock.setblocking(False)
        if tuned and family != socket.AF_UNIX:
            tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock


async def connect_socket(
    family: int, address: SocketAddress | str, *, deadline: float | None = None
) -> socket.socket:
    """Return a non-blocking socket connected to a numeric address. Raises OSError.

    `deadline` is on the loop's clock; the timer that it costs is set only when there is something to wait for.
    """
    sock = stream_socket(family, 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP)
    try:
        await finish_connecting(sock, address, begin_connecting(sock, address), deadline)
    except BaseException:
        sock.close()
        raise
    return sock


def begin_connecting(sock: socket.socket, address: SocketAddress | str) -> int:
    """Begin to connect; return the error number, one of CONNECTING where the outcome must be waited for."""
    error = sock.connect_ex(address)
    # Loopback has answered by now. Asking once more costs 0.5 µs, a needless wait in the loop 10 µs.
    return sock.connect_ex(address) if error == errno.EINPROGRESS else error


def bind_outgoing(sock: socket.socket, address: str) -> None:
    """Bind a socket to the address of this machine that it connects from.

    Raises OutgoingAddressFailed, and OSError for an address of the other family.
    """
    if (":" in address) != (sock.family == socket.AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, f"the outgoing address {address} is of the other family")
    try:
        if (
            sys.platform == "linux"
        ):  # the port is chosen when it connects: as many as there are for each remote
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((address, 0))
    except OSError as error:
        raise OutgoingAddressFailed(f"outgoing address {address}: {error.strerror}") from error


async def finish_connecting(
    sock: socket.socket, address: SocketAddress | str, error: int, deadline: float | None
) -> None:
    """Wait for a connection that was begun with this error number. Raises OSError."""
    if error == errno.EINPROGRESS:
        error = begin_connecting(sock, address)
    if error in CONNECTING:
        await wait_connected(sock, deadline)
    elif error not in CONNECTED:
        raise OSError(error, os.strerror(error))


async def wait_connected(sock: socket.socket, deadline: float | None) -> None:
    """Wait until a socket that connects has done so. Raises OSError."""
    async with asyncio.timeout_at(deadline):
        await _writable(sock)
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


def probe_when_idle(sock: socket.socket, seconds: int) -> None:
    """Enable keep-alives: the kernel probes a silent peer, and breaks the connection after four times `seconds`."""
    if sys.platform != "linux" or family_of(sock) == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):  # gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def bind_explained(sock: socket.socket, address: SocketAddress) -> None:
    """Bind a socket that others shall reach. Raises OSError, whose words say what may be done."""
    try:
        sock.bind(address)
    except OSError as error:
        kind = "UDP" if sock.type == socket.SOCK_DGRAM else "TCP"
        hint = HINTS_FOR_BIND.get(error.errno or 0)
        if hint is None:
            raise
        words = hint.format(kind=kind, host=address[0], port=address[1])
        raise OSError(error.errno, f"{error.strerror} ({words})") from error


def tune(sock: socket.socket) -> None:
    """Send small pieces without delay, and ask a silent peer, in hours, whether it is still there. Raises OSError."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reset_on_close(sock: socket.socket) -> None:
    """Make closing `sock` reset the connection; no matter if it is gone already."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    except OSError:
        return


def close_in_order(sock: socket.socket) -> None:
    """Make closing `sock` end its stream in order again, after `reset_on_close`."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ORDERLY_CLOSE)
    except OSError:
        return


def breaks_receiving(error: OSError) -> bool:
    """Return whether an error of sending means that the end of what is received is a break.

    The kernel reports each error once: after a reset that `send` has reported, `recv` returns what came before it and
    then b"", as if the peer had ended its stream. EPIPE comes of sending to a peer that has ended, or to a connection
    whose error was reported already.
    """
    return error.errno != errno.EPIPE


def unacknowledged_by(sock: socket.socket) -> int:
    """Return how many bytes sent on a stream socket the peer's kernel has not acknowledged; 0 where that is unknown.

    What was sent on a Unix socket is with its peer already. A connection that is over has nothing to wait for.
    """
    if sock.family == socket.AF_UNIX or sock.fileno() < 0:
        return 0
    left = 0
    with contextlib.suppress(OSError):  # it is gone
        if sys.platform == "linux":
            (left,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
            if left and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
                left = 0
        elif sys.platform == "darwin":
            left = sock.getsockopt(socket.SOL_SOCKET, SO_NWRITE)
    return left


def bytes_received_by(sock: socket.socket) -> int | None:
    """Return how many bytes a TCP connection has received, read or not; None where the system does not say."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return None
    with contextlib.suppress(OSError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCPI_BYTES_RECEIVED + 8)
        return int(struct.unpack_from("=Q", info, TCPI_BYTES_RECEIVED)[0])
    return None


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_writer(sock.fileno(), wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_writer(sock.fileno())
