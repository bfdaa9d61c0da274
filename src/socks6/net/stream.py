"""What every transport gives and every layer above takes: streams, listeners, outbounds."""

import asyncio
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from socks6.dataclass import dataclass
from socks6.errors import LocalProtocolError, OutgoingAddressFailed
from socks6.message.datagrams import DatagramPrefix
from socks6.message.framing import Framing, NoFraming
from socks6.message.options import StackOption
from socks6.net.turns import EVENT, Turns
from socks6.net.upstream import UpstreamStatus
from socks6.telemetry import Observer

if sys.platform == "linux":
    from socks6.net.poller import Poller

AttributeT = TypeVar("AttributeT")
ErrorT = TypeVar("ErrorT", bound=Exception)

RECEIVES_ALREADY: Final = "another task receives from this stream already: one at a time, or each gets a part"
SENDS_ALREADY: Final = "another task sends on this stream already: one at a time, or the bytes would mix"


class Endpoint(NamedTuple):
    """A host and a port; ("", 0) where there is none, as on Unix sockets."""

    host: str
    port: int


NO_ENDPOINT = Endpoint("", 0)

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]  # as `getsockname` returns it


class Protection(IntEnum):
    """How well a stream is protected against others; a greater number is better."""

    CLEAR = 0
    MACHINE = 1  # never leaves this machine: Unix sockets, pipes, memory
    ENCRYPTED = 2


class ByteStream(Protocol):
    """A two-way stream of bytes. Failing calls raise OSError.

    One task may receive while another sends. While one waits, a second call of the same kind raises
    LocalProtocolError at once. After `aclose` or `abort`, a pending call and every later one raise OSError.

    Classes of your own derive from this one: a method with a body here has the answer of streams that have no such fact.
    """

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:  # noqa: ARG002 - of streams without any
        """Return what the stream, or one that it runs over, has of this kind; None if there is no such thing.

        Kinds are the socket whose packets carry it, in whatever form (`socket.socket`: for options of these, never
        for bytes), its layers (`TlsStream`, `SocketStream`), what TLS knows (`TlsSession`), and the connection that it
        is one stream of (`Substream`).
        """
        return None

    @property
    def local(self) -> Endpoint:
        """Our end."""

    @property
    def remote(self) -> Endpoint:
        """The peer's end."""

    @property
    def protection(self) -> Protection:
        """How well the stream is protected."""

    @property
    def raw_socket(self) -> socket.socket | None:
        """The non-blocking socket whose bytes are the stream's own, for the kernel's data path; else None."""

    @property
    def turns(self) -> Turns:
        """What the stream may give before the event loop goes round; one that does not count has nothing left."""
        return Turns(0)

    @property
    def unacknowledged(self) -> int:
        """How many bytes sent the peer has not acknowledged, which closing or aborting may lose; 0 if unknown."""
        return 0

    def was_reset(self) -> bool:
        """Return whether it is known, without reading, that the peer has reset the stream."""
        return False

    def stop_receiving(self) -> None:
        """Refuse what comes from now on, where the transport can: `receive` then gives b""."""
        return

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """Return what is there, without waiting: up to `max_bytes`, b"" at the end, None for nothing yet."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte and at most `max_bytes`; b"" at the peer's end of stream, ever again.

        Now and then others get a turn first even if bytes are there: no peer keeps the event loop to itself.
        """

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`; wait while the peer takes none."""

    async def send_eof(self) -> None:
        """End our direction; receiving goes on. Idempotent.

        May wait for the peer to take what a cancelled `send` left, where half of it would mean nothing.
        """

    async def aclose(self) -> None:
        """Close, having what was sent delivered. Idempotent."""

    def abort(self) -> None:
        """Close at once; the peer sees a reset where the transport has such a thing. Idempotent."""


@runtime_checkable
class PollableStream(ByteStream, Protocol):
    """A stream that is also used without waiting: what TLS needs beneath it."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send what is taken without waiting; return how much that was. If it was none, repeat it, or `send`, with the same data."""

    def wait_readable(self) -> Awaitable[None]:
        """Wait until `receive_nowait` is worth a call. Raises OSError when the stream is closed meanwhile."""

    async def wait_writable(self) -> None:
        """Wait until `send_nowait` is worth a call. Raises OSError when the stream is closed meanwhile."""


class AbortCode(IntEnum):
    """Why a stream was aborted, as the other side may learn it (QUIC: the code of RESET_STREAM and STOP_SENDING)."""

    GIVEN_UP = 1
    KICKED = 0x10
    QUOTA = 0x11


ABORT_REASONS: Final[Mapping[int, str]] = {
    AbortCode.GIVEN_UP: "the peer gave the stream up",
    AbortCode.KICKED: "an operator of the proxy ended the connection",
    AbortCode.QUOTA: "the user's quota at the proxy is used up",
}


class CodedAbortStream:
    """Base of streams whose `abort` gives the other side a code."""

    __slots__ = ("abort_code",)

    abort_code: int


class PushbackStream(ABC):
    """Base of streams that take received bytes back: one read of all that is there costs less than several exact ones."""

    __slots__ = ()

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Give bytes back, which are received again before all others."""


class ClosableStream:
    """Base of streams that can be closed without a wait, mostly."""

    __slots__ = ()

    def close_nowait(self) -> bool:
        """Close as `aclose` does, if that waits for nothing; return whether it was done. Idempotent."""
        return False


class EventStream(ClosableStream, ABC):
    """Base of streams without a socket of their own that report their events: what serving and relaying by callbacks needs."""

    __slots__ = ()

    @abstractmethod
    def report_to(self, on_event: Callable[[], None] | None) -> None:
        """Call `on_event`, which must not raise, when receiving or sending is worth a call again, and when the stream is closed.

        What is the case already is not reported (`readable` says it).
        """

    @property
    @abstractmethod
    def readable(self) -> bool:
        """Whether `receive_nowait` has something to give or to raise."""

    @property
    @abstractmethod
    def refusal(self) -> OSError | None:
        """Why the peer takes no more bytes, if there were more to send; None while it does."""

    @abstractmethod
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """See `ByteStream`."""

    @abstractmethod
    def send_nowait(self, data: bytes | memoryview) -> int:
        """See `PollableStream`."""

    @abstractmethod
    def end_nowait(self) -> None:
        """Do as `send_eof`, which waits for nothing here. Raises OSError."""


async def receive_in_turn(self: PollableStream, max_bytes: int = 65536) -> bytes:
    """Be the `receive` of a class of streams which counts what it gives."""
    turns = self.turns
    if turns.left <= 0:
        await turns.take()
    while (data := self.receive_nowait(max_bytes)) is None:
        await self.wait_readable()
    turns.left -= EVENT + len(data)
    return data


def check_idle(waiter: "asyncio.Future[None] | None", complaint: str) -> None:
    """Raise LocalProtocolError if a task waits for this."""
    if waiter is not None and not waiter.done():
        raise LocalProtocolError(complaint)


def wake(waiter: "asyncio.Future[None] | None", error: OSError | None = None) -> None:
    """Wake the task that waits for this, if one does; it goes on, or raises `error`."""
    if waiter is None or waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


def same_error(error: ErrorT) -> ErrorT:
    """Return a copy of an error: one object raised over and over would collect all tracebacks."""
    return type(error)(*error.args) if isinstance(error, OSError) else error


class FrameSink(Protocol):
    """Receives a connection's DATAGRAM frames. Called by the loop; must return quickly and not raise."""

    def frame_received(self, data: bytes) -> None:
        """Take a frame's data."""

    def connection_lost(self) -> None:
        """Called once when no more will come."""


class MultiplexedConnection(Protocol):
    """A connection of many streams, either side's, and of datagrams: QUIC. Its streams have it as their `Substream`."""

    @property
    def local(self) -> Endpoint:
        """Our end."""

    @property
    def remote(self) -> Endpoint:
        """The peer's end."""

    @property
    def protection(self) -> Protection:
        """How well its streams are protected."""

    @property
    def carrier_socket(self) -> socket.socket:
        """The UDP socket whose packets carry it, and perhaps others."""

    @property
    def started(self) -> float:
        """When its first packet came or left, on the loop's clock."""

    def trust(self) -> None:
        """Allow the peer more, now that it has been admitted: of what it may send, and of what may be on its way."""

    async def accept(self) -> ByteStream:
        """Wait for the next stream that the peer opens. Raises OSError when the connection is over."""

    async def serve_streams(self, on_stream: Callable[[ByteStream], None]) -> None:
        """Call `on_stream` with each stream that the peer opens, once its first bytes are there, until the connection is over."""

    @property
    def is_confirmed(self) -> bool:
        """Whether `wait_handshake_confirmed` need not wait."""

    def allow_peer_streams(self, wanted: bool) -> None:
        """Accept streams that the peer opens, or refuse them, also those that were not accepted yet."""

    async def open(self) -> ByteStream:
        """Open a stream, once the peer allows one more. Raises OSError when the connection is over."""

    async def wait_handshake_confirmed(self) -> None:
        """Wait until the handshake is confirmed: what came before may be a replay. Raises OSError."""

    @property
    def largest_frame(self) -> int:
        """How long a DATAGRAM frame's data may be; 0 where the peer takes none."""

    def send_frame(self, data: bytes) -> bool:
        """Send a DATAGRAM frame, without waiting; the oldest are dropped where too many wait. False if too long."""

    async def wait_frame_room(self) -> None:
        """Wait until frames that are sent now will not have others dropped. Raises OSError when it is over."""

    def set_frame_sink(self, sink: FrameSink | None) -> None:
        """Deliver DATAGRAM frames to `sink`; before, they are dropped."""

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the connection and all its streams. Idempotent."""


@dataclass(frozen=True, slots=True)
class Substream:
    """The attribute of a stream that is one of many of a connection."""

    connection: MultiplexedConnection


class Listener(Protocol):
    """Accepts streams."""

    @property
    def url(self) -> str:
        """Where it listens, as a URL, with the real port."""

    @property
    def local(self) -> Endpoint:
        """Where it listens; ("", 0) for what is no address."""

    def accept_nowait(self) -> ByteStream | None:
        """Return a stream that has arrived; None if none has. Raises OSError (EMFILE, ENOMEM, ...)."""

    async def wait_readable(self) -> None:
        """Wait until `accept_nowait` is worth a call."""

    async def aclose(self) -> None:
        """Accept nothing more, free the address. Idempotent."""


Judge: TypeAlias = Callable[[str, int], bool]
"""Decides whether an address, a literal, may be reached on a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectResult:
    """What came of a CONNECT."""

    stream: ByteStream
    bound: Endpoint  # the proxy's end of the far leg
    options: tuple[StackOption, ...] = ()  # what is in force
    first_data_sent: int = 0  # so many bytes of the first data are on their way already
    outbound: str = ""  # of several proxies, the one that it goes through, as `Outbound.name`


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedPeer:
    """A peer that connected to a binding."""

    stream: ByteStream
    peer: Endpoint
    options: tuple[StackOption, ...] = ()  # what is in force on its connection


class Binding(Protocol):
    """What was bound for a client (§ Handling BIND); its holder closes it."""

    @property
    def bound(self) -> Endpoint:
        """Where peers connect to; an unspecified host where no certain address of its family was asked for."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens: each address of its own, or an unspecified one."""
        return (self.bound,)

    @property
    def options(self) -> tuple[StackOption, ...]:
        """What is in force for peers to come; the backlog is not among them."""

    @property
    def backlog(self) -> int:
        """How many peers may wait, at most as many as asked for; 0: one peer comes, and no other."""

    async def accept(self) -> AcceptedPeer:
        """Wait for the next peer; one task at a time. Cancelling loses no peer that waits.

        Has no limit of its own. Raises OperationFailed; with a backlog of 0 also once the one peer has come.
        """

    async def aclose(self) -> None:
        """Stop listening at once; waiting peers are reset, accepted ones stay connected. Idempotent."""


Packet: TypeAlias = tuple[bytes, str, int]
"""Data, and the host and port that it is for or comes from; a plain tuple, since there are many of them."""


class DatagramReport(NamedTuple):
    """An ICMP error about a datagram that was sent to `host` and `port` (§ Reporting ICMP Errors)."""

    host: str  # an address, like the reporter's
    port: int
    code: int  # socks6.message.codes.DatagramErrorCode
    reporter: str


class DatagramJudge(Protocol):
    """Decides where datagrams may go to and come from. Asked now and then for each host, not for each datagram."""

    def judge_place(self, host: str, address: str, port: int) -> bool:
        """Return True if a port may be opened at `address`, a literal that `host` led to; port 0 is any."""

    def judge_name(self, host: str, port: int) -> bool:
        """Return True if `host`, as it was written, may be reached on `port` or one of its addresses may."""

    def judge_address(self, host: str, address: str, port: int) -> bool:
        """Return True if `address`, a literal that `host` led to, may be reached on `port`."""

    def judge_source(self, address: str, port: int) -> bool:
        """Return True if a peer may send from there."""


class DatagramSink(Protocol):
    """Receives what arrives at a DatagramChannel. Called by the loop; must return quickly and not raise."""

    def datagrams_received(self, packets: Sequence[Packet]) -> None:
        """Take datagrams from remote hosts, the hosts being addresses."""

    def error_reported(self, report: DatagramReport) -> None:
        """Take an ICMP error; they come only where a UDPError option asked for them."""

    def channel_closed(self, reason: str) -> None:
        """Called when the channel ended by itself: an upstream went away. Not called after `aclose`."""


class DatagramRoute(NamedTuple):
    """How datagrams reach a remote host: a socket, an address unless it is connected, and what stands before the data."""

    sock: socket.socket
    address: SocketAddress | None
    until: float  # on the loop's clock
    prefix: DatagramPrefix = (b"", b"")


class ReceivedFrom(NamedTuple):
    """A datagram's data, and the remote host that it came from; until `until` all with this key may go to the client."""

    data: bytes
    host: str
    port: int
    key: bytes | SocketAddress
    until: float


class DatagramChannel(Protocol):
    """An association: one port of its own for any number of remote hosts, over IPv4 and IPv6."""

    bound: Endpoint
    """Where remote hosts reach it; an unspecified host is every address of this machine, of either family."""

    options: tuple[StackOption, ...]
    """What is in force of the options asked for."""

    framing: Framing = NoFraming()
    """How datagrams are framed on the sockets that `start` has watched: not at all, where remote hosts send."""

    def start(self, sink: DatagramSink, watch: Callable[[socket.socket], None]) -> None:
        """Begin to receive. What arrives before is kept within the bounds of a socket's buffer.

        `watch` is called with each UDP socket of the channel, also with those made later: it is to read them until
        `aclose`, and to ask `receive` about what came. Whatever else arrives goes to `sink` alone.
        """

    def route(self, host: str, port: int) -> DatagramRoute | None:  # noqa: ARG002 - of channels on sockets
        """Return how datagrams reach a remote host at present, by one of the sockets; None if they do not yet."""
        return None

    def receive(self, data: bytes, source: SocketAddress) -> ReceivedFrom | None:  # noqa: ARG002 - as above
        """Return what came to one of the sockets; None if it is not for the client."""
        return None

    def read_error_queue(self, sock: socket.socket) -> None:
        """Take the errors that wait at one of the sockets."""
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def send(self, packets: Sequence[Packet]) -> None:
        """Send datagrams to names or addresses; without waiting and without raising.

        What may not be sent, is too long, or finds buffers full is dropped, as networks do. Datagrams for a
        name may be overtaken while it is looked up.
        """

    async def aclose(self) -> None:
        """Free the port. Idempotent."""


class Outbound(Protocol):
    """How remotes are reached: directly, or through another proxy."""

    @property
    def resolves(self) -> bool:
        """Whether names are resolved here, so that `judge` is asked; else the next proxy resolves them."""

    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        """Connect to a name or literal address.

        `holder` is the user, or source, whose share of lookups and of descriptors it takes; None is one more.
        `first_data` is what the client already sent: it may go out with the connection's first packet, and
        then counts in `first_data_sent`; the caller sends the rest. Raises OperationFailed.
        """

    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        """Bind a name or literal address; an unspecified one is every address of its family, port 0 a free one.

        On this machine, `instead` are better than every address: the first of these lists that has addresses
        of this machine, each of which gets a socket.
        `judge` says whether an address of ours may be bound, `judge_peer` whether a peer may connect; peers
        that may not are dropped silently. `backlog` of 0 takes one peer; more keep so many waiting between
        calls of `accept`. `holder` is as for `connect`. Raises OperationFailed.
        """

    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        """Open a port for datagrams, at `host` and `port`; no certain one where these are zero.

        Its address is an unspecified one where that was asked for and it is this machine's. `owner` is who may
        claim a port that was reserved for an equal one (§ Port Parity options). `holder` is as for `connect`. Raises
        OperationFailed.
        """

    def from_address(self, address: str) -> "Outbound":
        """Return an outbound that connects, and opens ports for datagrams, from this address of the machine.

        Raises OutgoingAddressFailed where another proxy does so.
        """
        raise OutgoingAddressFailed(f"outgoing address {address}: another proxy does the connecting")

    @property
    def name(self) -> str:
        """What events call it: "direct", or host:port of the next proxy; "" where there are several."""
        return "direct"

    @property
    def upstream(self) -> UpstreamStatus | None:
        """What is known of the next proxy; None where there is none."""
        return None

    @property
    def upstreams(self) -> tuple[UpstreamStatus, ...]:
        """What is known of each proxy that may be the next one."""
        return () if self.upstream is None else (self.upstream,)

    def refresh(self, max_age: float) -> None:  # noqa: ARG002 - as below
        """Ask for news of the next proxy, if the last are this old, in seconds; they will be in `upstream`."""
        return

    def poll_with(self, poller: "Poller") -> None:  # noqa: ARG002 - for those that go through a proxy
        """Wait by a server's poller for what comes, where that is possible; called before the first client is served."""
        return

    def report_to(self, observer: Observer) -> None:  # noqa: ARG002 - for those that go through a proxy
        """Let an observer know when the next proxy, if there is one, goes down or comes up again."""
        return

    async def aclose(self) -> None:
        """Free what is shared between connections. Idempotent."""
