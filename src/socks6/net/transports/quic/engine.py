"""What is needed of a library that speaks QUIC: one connection without I/O, and the maker of such.

Each library is an extra, and is imported when it is wanted.
"""

import importlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from socks6.dataclass import dataclass
from socks6.distribution import install_hint
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import ALPN, TlsParameters, client_context, server_context
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.libraries import DEFAULT, LIBRARIES

CID_BYTES: Final = 8  # of the connection ids that we choose
DATAGRAM_OVERHEAD: Final = 44  # of a packet with one DATAGRAM frame: a larger one blocks its connection
PACKET_BYTES: Final = 1350  # bytes of a server's packets, as Chrome's; clients may find that more pass
MAX_FRAME_BYTES: Final = 65_536  # of the peer's DATAGRAM frames
MAX_STREAMS: Final = 2_000  # of the peer, at the same time
STREAM_WINDOW_BYTES: Final = 1 << 21  # bytes of one stream that may be on their way to a server
CONNECTION_WINDOW_BYTES: Final = 1 << 22
CLIENT_STREAM_WINDOW_BYTES: Final = 1 << 22  # and to a client: 100 Mbit/s over a round trip of 0.3 s
CLIENT_CONNECTION_WINDOW_BYTES: Final = 1 << 23
MAX_UNREAD_BYTES: Final = 1 << 22  # unread bytes of a connection, beyond which no more are taken
MAX_UNREAD_FOR_OTHERS_BYTES: Final = 3 * MAX_UNREAD_BYTES  # to get at other streams' bytes behind them
ALERT: Final = 0x100  # QUIC's error codes for TLS's alerts begin here (RFC 9001 §4.8)

MAX_TICKETS: Final = 10_000  # beyond, the oldest go: their clients shake hands in full

Ticket: TypeAlias = object
"""What a later connection can resume; each library has its own."""


class StreamBytes(NamedTuple):
    """Bytes of a stream, and whether they are the last."""

    stream_id: int
    data: bytes
    ended: bool


class StreamReset(NamedTuple):
    """The peer reset a stream: no more bytes come."""

    stream_id: int
    code: int


class StreamStopped(NamedTuple):
    """The peer wants no more bytes of a stream."""

    stream_id: int
    code: int


class FrameArrived(NamedTuple):
    """A DATAGRAM frame."""

    data: bytes


class HandshakeDone(NamedTuple):
    """The handshake is confirmed; what came before may be a replay."""

    protocol: str | None  # ALPN
    early_accepted: bool
    resumed: bool


class PingAnswered(NamedTuple):
    """The peer has acknowledged a PING of ours."""

    number: int


class CidIssued(NamedTuple):
    """A further connection id of ours."""

    cid: bytes


class CidRetired(NamedTuple):
    """A connection id of ours that is no longer valid."""

    cid: bytes


class Terminated(NamedTuple):
    """The connection is over."""

    code: int
    reason: str


Event: TypeAlias = (
    StreamBytes
    | StreamReset
    | StreamStopped
    | FrameArrived
    | HandshakeDone
    | PingAnswered
    | CidIssued
    | CidRetired
    | Terminated
)


class QuicEngine(Protocol):
    """One connection: packets and time in, events and packets out. Raises ConnectionError for what is too late."""

    @property
    def cid(self) -> bytes:
        """The connection id that the peer first has for us."""

    @property
    def certificate(self) -> bytes:
        """The peer's certificate in DER; b"" without one."""

    @property
    def issuers(self) -> Sequence[bytes]:
        """The certificates that the peer sent with its own, in DER: its issuers, unverified."""

    @property
    def stalled(self) -> bool:
        """Whether streams wait for others to be read, since too much is unread to take anything."""

    @property
    def unanswered_probes(self) -> int:
        """How many probes in a row the peer has left unanswered."""

    @property
    def quiet(self) -> bool:
        """Whether everything that was sent has arrived."""

    @property
    def credit_blocked(self) -> bool:
        """Whether bytes wait to leave though nothing is on its way: the peer gives no credit for them."""

    @property
    def round_trip(self) -> float:
        """How many seconds a round trip takes, smoothed; 0 before anything is known."""

    @property
    def received(self) -> tuple[int, int]:
        """How many packets have come since the handshake, and how many the peer has sent for that, as their numbers say."""

    @property
    def largest_frame(self) -> int:
        """How long a DATAGRAM frame's data may be; 0 where the peer takes none."""

    @property
    def room_for_frames(self) -> bool:
        """Whether DATAGRAM frames leave soon, as far as congestion lets them."""

    def connect(self, address: SocketAddress, now: float) -> None:
        """Begin, as the client."""

    def receive(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        """Take a packet, or several of `size` bytes each."""

    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return packets to send, and where to."""

    def timer(self) -> float | None:
        """Return when `handle_timer` is to be called."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def next_event(self) -> Event | None:
        """Return what happened next; None for nothing yet."""

    def open_stream(self) -> int | None:
        """Return the id of a new stream; None if the peer allows no more."""

    def send(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        """Send on a stream."""

    def unsent(self, stream_id: int | None = None) -> int:
        """Return how many bytes of a stream, or of all, have not left yet."""

    def unacknowledged(self, stream_id: int) -> int:
        """Return how many bytes of a stream the peer has not acknowledged; at least 1 while there may be some."""

    def consumed(self, stream_id: int, size: int) -> None:
        """Return credit for bytes of a stream that were read."""

    def reset(self, stream_id: int, code: int) -> None:
        """Send nothing more on a stream; what has not arrived is lost."""

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to send nothing more on a stream."""

    def send_frame(self, data: bytes) -> None:
        """Send a DATAGRAM frame of at most `largest_frame` bytes."""

    def ping(self, number: int = 0) -> None:
        """Send a PING; `PingAnswered` has this number."""

    def change_cid(self) -> None:
        """Use another of the peer's ids, so that observers cannot link our old address with the new one.

        Where the peer has given us no other, the one stays in use.
        """

    def close(self, code: int, reason: str) -> None:
        """End the connection. Idempotent."""

    def trust(self) -> None:
        """Allow the peer more, now that it has been admitted. Idempotent."""

    def suspect(self) -> None:
        """Lower a stranger's limits: its source is an offender. Idempotent."""

    def release(self) -> None:
        """Free what the connection holds, now that it is over and its last packets have left. Idempotent.

        The libraries' objects refer to each other in circles, which the collector of garbage may leave for hours:
        it does not know how much native memory hangs on them.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """A certificate with its chain, and its key, in PEM."""

    certificates: bytes
    key: bytes


class TicketStore:
    """A server's session tickets, each good for one connection: a replayed first flight finds its ticket used."""

    def __init__(self, size: int = MAX_TICKETS) -> None:
        self._size = size
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()

    def put(self, name: bytes, ticket: Ticket) -> None:
        self._tickets[name] = ticket
        if len(self._tickets) > self._size:
            self._tickets.popitem(last=False)

    def take(self, name: bytes) -> Ticket | None:
        """Return a ticket, once; None if there is none."""
        return self._tickets.pop(name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParameters:
    """How a client connects. The server's certificate is the caller's to check, before anything is sent.

    `identity` is shown to a server that asks for it.
    """

    server_name: str
    alpn: str = ALPN
    identity: ServerIdentity | None = None
    ticket: Ticket | None = None
    on_ticket: Callable[[Ticket], None] | None = None
    idle_timeout: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParameters:
    """How a server accepts a connection."""

    identity: ServerIdentity
    tickets: TicketStore
    first_cid: bytes  # the client's first destination id: before a Retry, if there was one
    retry_cid: bytes | None = None  # the connection id of our Retry
    reset_token: Callable[[bytes], bytes]  # for our first connection id
    alpn: str = ALPN
    idle_timeout: float = 30.0


class Backend(Protocol):
    """A library that speaks QUIC. Its server asks for no certificates of clients."""

    name: str
    """What it is called."""

    def client(self, parameters: ClientParameters) -> QuicEngine:
        """Return a client's end. Raises ConfigurationError for certificates that it cannot use."""

    def server(self, parameters: ServerParameters) -> QuicEngine:
        """Return a server's end."""

    def check(self, identity: ServerIdentity) -> None:
        """Raise ConfigurationError for a certificate or key that it cannot use."""

    def is_genuine(self, packet: bytes, destination: bytes, number_at: int) -> bool:
        """Return whether a client's Initial packet was encrypted with the keys of its destination id.

        Those keys are public (RFC 9001 §5.2), but noise fails: no state is kept for what only looks like one.
        """

    def retry_packet(
        self, version: int, source_cid: bytes, destination_cid: bytes, first_cid: bytes, token: bytes, /
    ) -> bytes:
        """Return a Retry packet (RFC 9000 §17.2.5)."""


_CERTIFICATES: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\r?\n?", re.DOTALL
)
_KEY: Final = re.compile(
    rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----\r?\n?", re.DOTALL
)


def read_identity(parameters: TlsParameters) -> ServerIdentity:
    """Return the certificate and key that a listener names. Raises ConfigurationError."""
    server_context(parameters)  # whose errors about the files are the clearest
    return _identity(parameters)


def read_own(parameters: TlsParameters) -> ServerIdentity | None:
    """Return the certificate and key that a client shows to a server that asks; None without. Raises ConfigurationError."""
    client_context(parameters)  # as above
    return None if parameters.certificate is None else _identity(parameters)


def certificates_in(pem: bytes) -> list[bytes]:
    """Return each certificate of a PEM file."""
    return _CERTIFICATES.findall(pem)


def _identity(parameters: TlsParameters) -> ServerIdentity:
    assert parameters.certificate is not None  # noqa: S101 - it was read
    certificates = _read(parameters.certificate)
    key = _KEY.search(certificates if parameters.key is None else _read(parameters.key))
    if key is None:
        raise ConfigurationError(f"{parameters.key or parameters.certificate}: no private key in PEM")
    return ServerIdentity(certificates=b"".join(certificates_in(certificates)), key=key[0])


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def load_backend(name: str = DEFAULT) -> Backend:
    """Return a backend. Raises ConfigurationError for an unknown one, and for one that is not installed."""
    library = LIBRARIES.get(name)
    if library is None:
        raise ConfigurationError(f"no QUIC backend {name!r}: one of {', '.join(LIBRARIES)}")
    try:
        module = importlib.import_module(f"socks6.net.transports.quic.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"QUIC by {name} needs an extra: {install_hint(library.extra)} ({error})"
        ) from error
    backend: Backend = getattr(module, library.backend)()
    return backend
