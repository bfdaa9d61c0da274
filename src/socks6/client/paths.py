"""The paths of an association's messages to the proxy and back: UDP datagrams, or the stream itself."""

import asyncio
import errno
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.message.datagrams import MAX_MESSAGE_LENGTH
from socks6.net.datagrams.shared import MAX_DATAGRAM_BYTES, MAX_READS, udp_socket
from socks6.net.scopes import time_limit
from socks6.net.stream import ByteStream

SOCKET_BUFFER_BYTES: Final = 1 << 20  # bytes asked of the kernel, each way; it may grant less
QUEUE_BYTES: Final = 1 << 20  # of messages that wait for the stream; beyond, the oldest are dropped
WRITE_BYTES: Final = 1 << 16  # bytes written to the stream at a time
LINGER_SECONDS: Final = 5.0  # what waits for the stream gets when an association is closed
CLOSED: Final = "the association was closed"

_HEADERS: Final = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}  # of IP and UDP
_LARGEST: Final = {socket.AF_INET: 0xFFFF - 28, socket.AF_INET6: 0xFFFF - 8}
_MTU: Final = {  # how Linux calls the path's MTU, as far as it is known (ip(7), ipv6(7))
    socket.AF_INET: (socket.IPPROTO_IP, 14),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 24),
}

PacketCallback: TypeAlias = Callable[[Sequence[bytes]], None]
RefusedCallback: TypeAlias = Callable[[], None]


class DatagramPath(ABC):
    """How an association's messages travel."""

    name: str
    """What it is called: "datagram", "dtls" or "stream"."""

    def __init__(self) -> None:
        self.dropped = 0  # messages, for want of room
        self._finished = asyncio.Event()
        self._closed = False

    async def handshake(self) -> None:
        """Agree with the proxy on keys, where there are any. Has no limit of its own. Raises TlsFailed."""
        return

    @property
    @abstractmethod
    def largest(self) -> int:
        """How long a message may be."""

    @property
    def unfragmented(self) -> int:
        """How long a message may be to reach the proxy in one packet, as far as is known."""
        return self.largest

    @abstractmethod
    def send_nowait(self, message: bytes) -> None:
        """Send without waiting; drops where there is no room. Raises OSError for what cannot be sent."""

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send, once there is room; any number of tasks may. Raises OSError for what cannot be sent.

        Raises OSError also in tasks that wait when the path is closed.
        """

    def finish(self) -> None:
        """Make `run` end when what was sent is on its way. Idempotent."""
        self._finished.set()

    async def run(self) -> None:
        """Carry messages until finished. Raises OSError when the path breaks."""
        await self._finished.wait()

    @abstractmethod
    def close(self) -> None:
        """Free what it holds. Idempotent."""

    def lend_socket(self) -> socket.socket | None:
        """Return a UDP socket that has whole messages, which the caller reads and closes from now on; None for others."""
        return None

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, CLOSED)


class UdpPath(DatagramPath):
    """Over UDP. The kernel hands over nothing but what the proxy's own address and port sent."""

    name = "datagram"

    def __init__(self, sock: socket.socket, *, on_packets: PacketCallback, refused: RefusedCallback) -> None:
        """Own `sock`, which is connected; `on_packets` gets the packets, `refused` is called if the port is closed."""
        super().__init__()
        self._socket = sock
        self._on_packets = on_packets
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._lent = False
        self._senders: deque[asyncio.Future[None]] = deque()  # that wait for room, in order
        self._loop.add_reader(sock.fileno(), self._on_readable)

    @property
    @override
    def largest(self) -> int:
        return _LARGEST[socket.AddressFamily(self._socket.family)]

    @property
    @override
    def unfragmented(self) -> int:
        family = socket.AddressFamily(self._socket.family)
        try:
            return min(_LARGEST[family], self._socket.getsockopt(*_MTU[family]) - _HEADERS[family])
        except OSError:  # no such thing on this system, or closed
            return _LARGEST[family]

    @override
    def send_nowait(self, message: bytes) -> None:
        if not self._sent(message):
            self.dropped += 1

    @override
    async def send(self, message: bytes) -> None:
        while not self._sent(message):
            await self._room()

    @override
    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake_senders()  # to find that it is closed
        if not self._lent:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    @override
    def lend_socket(self) -> socket.socket | None:
        self._lent = True
        self._loop.remove_reader(self._socket.fileno())
        return self._socket

    async def _room(self) -> None:
        """Wait until another attempt to send is worth while."""
        room = self._loop.create_future()
        if not self._senders:
            self._loop.add_writer(self._socket.fileno(), self._wake_senders)
        self._senders.append(room)
        try:
            await room
        finally:
            if room in self._senders:  # cancelled
                self._senders.remove(room)
                if not self._senders:
                    self._loop.remove_writer(self._socket.fileno())

    def _wake_senders(self) -> None:
        """Wake all senders that wait; those that find no room wait again."""
        if self._senders:
            self._loop.remove_writer(self._socket.fileno())
        while self._senders:
            room = self._senders.popleft()
            if not room.done():
                room.set_result(None)

    def _sent(self, message: bytes) -> bool:
        """Return whether the kernel has taken the message. Raises OSError."""
        self._check_open()
        for _ in range(2):
            try:
                self._socket.send(message)
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionRefusedError:  # about an earlier one: this one did not leave
                self._refused()
            else:
                break
        return True

    def _on_readable(self) -> None:
        packets: list[bytes] = []
        refused = False
        try:
            while len(packets) < MAX_READS:
                packets.append(self._socket.recv(MAX_DATAGRAM_BYTES))
        except (BlockingIOError, InterruptedError):
            if not packets:
                self._watch_again()
        except OSError as error:
            self._watch_again()
            refused = error.errno == errno.ECONNREFUSED
        if packets:
            self._on_packets(packets)
        if refused:
            self._refused()

    def _watch_again(self) -> None:
        """Watch the socket again: uvloop forgets it after reporting an error."""
        if self._lent or self._closed:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.add_reader(self._socket.fileno(), self._on_readable)


class StreamPath(DatagramPath):
    """On the connection to the proxy itself, which the association reads."""

    name = "stream"
    largest: Final = MAX_MESSAGE_LENGTH

    def __init__(self, stream: ByteStream) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    @override
    def send_nowait(self, message: bytes) -> None:
        self._check_open()
        self._waiting.append(message)
        self._size += len(message)
        while self._size > QUEUE_BYTES:
            self._size -= len(self._waiting.popleft())
            self.dropped += 1
        self._filled.set()

    @override
    async def send(self, message: bytes) -> None:
        while self._size + len(message) > QUEUE_BYTES and not self._closed:
            self._room.clear()
            await self._room.wait()
        self.send_nowait(message)

    @override
    def finish(self) -> None:
        super().finish()
        self._filled.set()

    @override
    async def run(self) -> None:
        while not self._finished.is_set():
            await self._filled.wait()
            if not self._finished.is_set():
                await self._write()
        async with time_limit(LINGER_SECONDS):
            while self._waiting:
                await self._write()

    @override
    def close(self) -> None:
        """Free what it holds; the stream is its owner's."""
        self._closed = True
        self._waiting.clear()
        self._size = 0
        self._room.set()

    async def _write(self) -> None:
        """Write what waits, a piece at a time."""
        self._filled.clear()
        while self._waiting:
            taken: list[bytes] = []
            size = 0
            while self._waiting and size < WRITE_BYTES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1])
            self._size -= size
            self._room.set()
            await self._stream.send(b"".join(taken))


def socket_beside(raw: socket.socket | None) -> socket.socket | None:
    """Return a UDP socket connected to the host and port that a TCP socket leads to, from the same address.

    None where there is no such endpoint: no socket, or none of TCP. Raises OSError.
    """
    if raw is None or raw.family not in _LARGEST:
        return None
    host, _, *scope = raw.getsockname()
    return udp_socket(
        (host, 0, *scope), remote=raw.getpeername(), buffer_bytes=SOCKET_BUFFER_BYTES, only_ipv6=False
    )
