"""What a transport is: how to listen, how to connect, and what the layers above ask about it.

A transport is one file with the two, and one row of `registry.TRANSPORTS`. Proxies' URLs, the server and the client know
transports by their rows alone.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import Final, NamedTuple, NoReturn, Protocol, TypeAlias, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError, ProxyUnreachable
from socks6.message.options import StackOption
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.encryption.contexts import ALPN, TLS_DEFAULTS, ReloadCallback, TlsParameters
from socks6.net.resolve import Resolver
from socks6.net.scopes import on_failure
from socks6.net.stream import ByteStream, Endpoint, Listener, MultiplexedConnection

if sys.platform == "linux":
    from socks6.net.poller import Poller

AnswerT = TypeVar("AnswerT")
MAX_SPARES: Final = 4  # connections that a client makes ahead, unless its URL says another number


@dataclass(slots=True)
class Polling:
    """By what connections over TCP and TLS wait for bytes: a server's poller, where the client is a server's; else the event loop."""

    poller: "Poller | None" = None


ReachFunction: TypeAlias = Callable[[str, int], Awaitable[ByteStream]]
"""Opens a stream to a host and port. Raises OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectParameters:
    """Where a client's proxy is, and what its URL says about reaching it."""

    host: str = ""
    port: int = 0
    path: str = ""  # of a Unix socket
    tls: TlsParameters = TLS_DEFAULTS
    quic_backend: str = ""
    alpn: str = ALPN  # what TLS offers; "" for nothing
    require_alpn: bool = True  # refuse a proxy that names no protocol (ALPN)
    fast_open: bool = False  # TCP Fast Open is wanted
    congestion: str = ""  # TCP's congestion control; "" for the system's
    spares: int = MAX_SPARES  # the most connections to be made ahead of requests
    resolver: Resolver
    through: ReachFunction | None = (
        None  # opens streams to the host and port instead of TCP: by another proxy
    )
    polling: Polling = field(default_factory=Polling)


class StreamRequest(NamedTuple):
    """What a request wants of its stream."""

    command: int
    client_leg_options: tuple[StackOption, ...] = ()  # over QUIC, for all packets of the stream's connection
    early_data: bytes | None = None  # sent first, in the SYN or as early data if possible: it may come twice
    new_connection: bool = False  # where multiplexed: as the first stream of a new connection
    repeatable: bool = False  # it may be made twice, on another connection too
    repeated: bool = False  # its first connection was lost: one that was made ahead may be lost, too


class NotAnswered(ProxyUnreachable):
    """A request's connection was lost before anything came back, and the request may be made once more."""


class Connector(Protocol):
    """Reaches one proxy again and again, and keeps what the streams have in common."""

    async def open(self, request: StreamRequest) -> ByteStream:
        """Return a stream whose first bytes, if the request has any, are sent. Raises TlsFailed, OSError."""

    def first_answer(self, stream: ByteStream, answer: Awaitable[AnswerT]) -> Awaitable[AnswerT]:  # noqa: ARG002 - not here
        """Return what `answer` does, which waits for the first bytes on the stream of a request that may be made twice.

        Raises NotAnswered if nothing has come of them and the connection is lost, but a new one may do.
        """
        return answer

    def loses_packets(self) -> bool:
        """Return whether many packets were found to get lost since this was last asked, which holds up all streams."""
        return False

    def keep_spares(self) -> None:
        """Connect ahead of requests from now on, where that saves time; until `abandon` or `aclose`."""
        return

    def answered(self, stream: ByteStream) -> None:  # noqa: ARG002 - most have nothing to learn
        """Learn from a stream on which the proxy has answered."""
        return

    def close(self) -> None:
        """Close connections that no stream uses, and others when none does any more. Idempotent."""
        return

    def abandon(self) -> None:
        """As `aclose`, without waiting. Idempotent."""
        return

    async def aclose(self) -> None:
        """As `close`; unused connections are closed then. Idempotent."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenParameters:
    """Where a server listens, and what its URL and the settings say about it."""

    url: str  # as it was given, for messages
    scheme: str
    host: str = ""  # "" is every address of this machine
    port: int = 0
    path: str = ""  # of a Unix socket
    is_local: bool = True  # only this machine reaches it
    alpn: tuple[str, ...] = ()
    tls: TlsParameters = TLS_DEFAULTS
    quic_backend: str = ""
    fast_open: int = 0  # clients whose data may come within their SYN at the same time
    congestion: str = ""  # TCP's congestion control; "" for the system's
    on_reload: ReloadCallback = lambda _path, _fault: None


class ConnectionListener(Protocol):
    """Accepts connections of many streams."""

    on_refused: Callable[[str, str], None]
    """Called with the source of a connection that came to nothing, and why."""

    @property
    def url(self) -> str:
        """Where it listens, as a URL, with the real port."""

    @property
    def local(self) -> Endpoint:
        """Where it listens."""

    async def accept(self) -> MultiplexedConnection:
        """Wait for the next connection. Raises OSError once the listener is stopped."""

    def stop(self) -> None:
        """Accept nothing more; connections end with their last stream. Idempotent."""

    async def aclose(self) -> None:
        """Close every connection, and the port. Idempotent."""


OpenListeners: TypeAlias = Callable[[SharedPorts], Awaitable[Sequence[Listener]]]
"""Listens, at each address of the host. Raises OSError, and ConfigurationError where a certificate is missing."""

OpenConnectionListeners: TypeAlias = Callable[[SharedPorts], Awaitable[Sequence[ConnectionListener]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """A row of the registry. All transports are reliable: they carry streams."""

    connect: Callable[[ConnectParameters], Connector]
    """Return what reaches a proxy. Reads the files that are named. Raises ConfigurationError."""

    listen: Callable[[ListenParameters], OpenListeners] | None = None
    """Return what listens. Reads the files that are named. Raises ConfigurationError."""

    listen_for_connections: Callable[[ListenParameters], OpenConnectionListeners] | None = None
    """The same for a multiplexed transport, whose connections have many streams each."""

    encrypted: bool = False  # a listener needs a certificate; URLs say what is to be known of the other side
    at_path: bool = False  # URLs name a file, not a host
    datagrams: str = ""  # what carries these beside it: "datagram" (plain UDP), "dtls", "quic"; or nothing
    protocols: tuple[str, ...] = ()  # what may be spoken over it; () for everything

    @property
    def multiplexed(self) -> bool:
        """Whether one connection has many streams, and early data."""
        return self.listen_for_connections is not None


async def send_first(stream: ByteStream, data: bytes | None) -> None:
    """Send the first bytes of a new stream, which is aborted if that fails. Raises OSError."""
    with on_failure(stream.abort):
        await stream.send(data or b"")


def refuse_without_certificate(url: str) -> Callable[[SharedPorts], Awaitable[NoReturn]]:
    """Return what listens for an encrypted transport without a certificate: it raises ConfigurationError."""

    async def refuse(_: SharedPorts) -> NoReturn:
        raise ConfigurationError(f"{url} has no certificate: name one (cert=, --tls-cert)")

    return refuse
