"""Streams through a proxy as sockets that block: a plain one is the socket itself, any other one end of a socket pair.

Between the other end and the stream a relay in the loop moves the bytes, as fast as both sides take them.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from socks6.client.stream import ProxiedStream
from socks6.compat import override
from socks6.net.sockets import SocketStream
from socks6.net.stream import Endpoint
from socks6.relay.joined import FLOWING, JoinedStreams
from socks6.relay.streams import RelaySettings, StreamRelay

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CLOSED_CHECK_SECONDS: Final = 1.0  # between two looks for sockets that were closed
# Each way, of what waits for a slow side. With what Linux gives (208 KiB, without doubling it as it does what is asked for) a
# download over TLS takes 4.2 s of CPU per GB in both threads instead of 2.5 (median of 4, load 9): fewer wake-ups.
BUFFER_BYTES: Final = 262_144
ABOUT_TCP: Final = frozenset((socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6))
RESET: Final = "the connection to the proxy or beyond it broke"


class SocketPairState:
    """How the stream behind a socket has ended, and which descriptor the socket has."""

    def __init__(self, descriptor: int = -1) -> None:
        self.broken = False
        self.descriptor = descriptor


class ProxiedSocket(socket.socket):
    """A socket to a remote host that is no TCP socket of this machine: its bytes travel within TLS, QUIC or a Unix socket.

    It blocks, has time-outs, `makefile`, and can be given to `ssl.SSLContext.wrap_socket`, as any other. `getpeername` is
    the remote host, `getsockname` the proxy's address as that host sees it. Options of IP and TCP, such as TCP_NODELAY, are
    taken and do nothing.
    """

    _bound: Endpoint = Endpoint("", 0)
    _peer: Endpoint = Endpoint("", 0)
    _ending = SocketPairState()
    _is_tcp = False  # of subclasses, before they are connected

    @classmethod
    def over(cls, sock: socket.socket, stream: ProxiedStream, ending: SocketPairState) -> "ProxiedSocket":
        """Return a socket that takes the descriptor of `sock` over."""
        made = cls(fileno=sock.detach())
        made._bound, made._peer, made._ending = stream.bound, stream.peer, ending
        return made

    @override
    def dup(self) -> "ProxiedSocket":
        copy = ProxiedSocket(fileno=os.dup(self.fileno()))
        copy.settimeout(self.gettimeout())
        copy._bound, copy._peer, copy._ending = self._bound, self._peer, self._ending
        return copy

    @override
    def getpeername(self) -> tuple[str, int] | tuple[str, int, int, int]:
        super().getpeername()  # raises OSError where it is not connected any more
        return _address(self._peer)

    @override
    def getsockname(self) -> tuple[str, int] | tuple[str, int, int, int]:
        super().getsockname()
        return _address(self._bound)

    @override
    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        if not data and bufsize:
            self._check()
        return data

    @override
    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        size = super().recv_into(buffer, nbytes, flags)
        if not size and memoryview(buffer):
            self._check()
        return size

    @override
    def setsockopt(self, level: int, optname: int, *value: Any) -> None:  # in any of its forms
        if self._is_tcp or level not in ABOUT_TCP:
            super().setsockopt(level, optname, *value)

    @override
    def getsockopt(self, level: int, optname: int, *size: SupportsIndex) -> Any:
        ignored = level in ABOUT_TCP and not self._is_tcp
        return 0 if ignored else super().getsockopt(level, optname, *size)

    def _become(self, made: socket.socket) -> tuple[str, int] | None:
        """Take the connection of another socket over, under this one's descriptor; return its address at the proxy, if known."""
        os.dup2(made.fileno(), self.fileno(), inheritable=False)
        self.settimeout(self.gettimeout())
        self._is_tcp = type(made) is not ProxiedSocket
        if type(made) is not ProxiedSocket:
            return None
        self._ending, self._bound, self._peer = made._ending, made._bound, made._peer  # noqa: SLF001 - of this class
        self._ending.descriptor = self.fileno()
        return self._bound

    def _check(self) -> None:
        """Raise ConnectionResetError where the end is none in order: a kernel tells only who can still be sent to."""
        if self._ending.broken:
            raise ConnectionResetError(errno.ECONNRESET, RESET)


class SocketCarrier:
    """Makes sockets of streams, and has their bytes carried for as long as either side is open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._relay: Final = StreamRelay(RelaySettings(idle_timeout=0.0, fin_timeout=0.0))
        self._carried: dict[asyncio.Task[None], _Carried] = {}
        self._timer: asyncio.TimerHandle | None = None

    def socket_of(self, stream: ProxiedStream) -> socket.socket:
        """Return a blocking socket, which owns the stream from now on. Raises OSError."""
        if stream.raw_socket is None:
            sock: socket.socket = self._carry(stream)
        elif stream.raw_socket.family == getattr(socket, "AF_UNIX", None):
            sock = ProxiedSocket.over(stream.detach_socket(), stream, SocketPairState())
        else:
            sock = stream.detach_socket()
        sock.settimeout(socket.getdefaulttimeout())
        return sock

    async def deliver(self) -> None:
        """Close every socket, and wait until what was written has gone."""
        for carried in self._carried.values():
            carried.hang_up()
        if self._carried:
            await asyncio.wait(tuple(self._carried))

    async def end(self) -> None:
        """Reset what is still there, and free everything."""
        tasks = tuple(self._carried)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._relay.close()

    def forsake(self) -> None:
        """Close this process's copies of sockets that another one uses."""
        for carried in self._carried.values():
            carried.forsake()

    def _carry(self, stream: ProxiedStream) -> ProxiedSocket:
        try:
            ours, theirs = socket.socketpair()
        except OSError:  # no descriptor is left
            stream.abort()
            raise
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        ending = SocketPairState(theirs.fileno())
        carried = _Carried(stream, _ProxiedSocketPeer(ours, ending))
        sock = ProxiedSocket.over(theirs, stream, ending)
        task = self._loop.create_task(carried.run(self._relay), name="socks6 carrier")
        self._carried[task] = carried
        task.add_done_callback(self._forget)
        if self._timer is None:
            self._timer = self._loop.call_later(CLOSED_CHECK_SECONDS, self._check)
        return sock

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._carried.pop(task).abort()  # where it was cancelled before it began
        if not self._carried and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._loop.call_exception_handler({"message": "socks6: a carrier failed", "exception": error})

    def _check(self) -> None:
        for carried in self._carried.values():
            carried.check()
        self._timer = self._loop.call_later(CLOSED_CHECK_SECONDS, self._check)


class _Carried:
    """A stream and the socket pair that its user has the other end of."""

    def __init__(self, stream: ProxiedStream, near: "_ProxiedSocketPeer") -> None:
        self._stream = stream
        self._near = near
        self._joined: JoinedStreams | None = None
        self._was_closed = False

    def run(self, relay: StreamRelay) -> Coroutine[Any, Any, None]:
        """Carry until both sides have ended."""

        async def carry() -> None:
            await relay.relay(self._near, self._stream, on_joined=self._on_joined)

        return carry()

    def _on_joined(self, joined: JoinedStreams) -> None:
        self._joined = joined

    def check(self) -> None:
        """End the stream of a socket that was closed one check ago: TLS within it has had time to end."""
        if self._joined is None or self._joined.up.state is FLOWING:
            return
        closed = self._near.was_reset()  # not only its direction was ended
        if closed and self._was_closed:
            self._stream.stop_receiving()
        self._was_closed = closed

    def hang_up(self) -> None:
        """End as if the user had closed the socket: what it has written is still delivered."""
        with contextlib.suppress(OSError):
            self._near.raw_socket.shutdown(socket.SHUT_RD)
        self._stream.stop_receiving()

    def abort(self) -> None:
        """End both sides at once. Idempotent."""
        self._stream.abort()
        self._near.abort()

    def forsake(self) -> None:
        """Close our copies of the descriptors, and nothing but them."""
        self._near.raw_socket.close()
        beneath = self._stream.attribute(socket.socket)
        if beneath is not None:
            beneath.close()


class _ProxiedSocketPeer(SocketStream):
    """Our end of a socket pair.

    A Unix socket resets its peer only when it is closed with bytes unread. So `abort` first writes one into it from the user's
    side, whose descriptor is known by its number and inode: the user may have closed it, or wrapped it in TLS.
    """

    __slots__ = ("_ending", "_inode")

    def __init__(self, ours: socket.socket, ending: SocketPairState) -> None:
        super().__init__(ours)
        self._inode = _inode(ending.descriptor)
        self._ending: SocketPairState | None = ending

    @override
    def abort(self) -> None:
        """Close at once; the user's side sees a reset."""
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.broken = True
            with contextlib.suppress(OSError):
                copy = _copy_if(ending.descriptor, self._inode)
                with socket.socket(fileno=copy) as theirs:
                    theirs.send(b"\0", socket.MSG_DONTWAIT)
        super().abort()

    @override
    async def aclose(self) -> None:
        """Close in order."""
        self._ending = None
        await super().aclose()


def _inode(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _copy_if(number: int, inode: tuple[int, int]) -> int:
    """Return a copy of a descriptor. Raises OSError if it is not that of this inode any more."""
    copy = os.dup(number)
    if _inode(copy) != inode:
        os.close(copy)
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return copy


def _address(endpoint: Endpoint) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return an address as Python's sockets write it."""
    return (endpoint.host, endpoint.port, 0, 0) if ":" in endpoint.host else (endpoint.host, endpoint.port)
