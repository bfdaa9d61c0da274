"""Opens a client's streams to its proxy: over TCP, TLS, QUIC, a Unix socket, or what the caller dials."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeAlias

from socks6.compat import override
from socks6.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    TlsFailed,
)
from socks6.message.codes import Leg
from socks6.message.dialect import DRAFT_12
from socks6.message.first_bytes import SPOKEN
from socks6.net.encryption.contexts import TLS_DEFAULTS
from socks6.net.resolve import FOR_ONE_NAME, Resolver
from socks6.net.silent_peers import SilentPeers
from socks6.net.stackopts.table import apply_options
from socks6.net.stream import ByteStream
from socks6.net.transports.base import (
    AnswerT,
    Connector,
    ConnectParameters,
    Polling,
    StreamRequest,
    Transport,
    send_first,
)
from socks6.net.transports.racing import RacingConnector
from socks6.net.transports.registry import AUTO, QUIC, TLS, TRANSPORTS
from socks6.net.url import ProxyUrl

# What a call waited for whose time ran out.
UNCONNECTED: Final = "nothing answers there: a wrong address, or a firewall that drops packets"
SILENT: Final = "something accepts connections there, but does not answer {}"
CLEAR_ENDED: Final = "does it speak {} in the clear there? If it speaks TLS: {}://"
UNTRUSTED: Final = (
    "; if it has one of its own: add ?pin-sha256=PIN, which it prints at its start (socks6 share)"
)
FALLBACK: Final = "; socks6+auto:// falls back to TLS"
NO_QUIC_ERRNOS: Final = frozenset((errno.ECONNREFUSED, errno.EPROTONOSUPPORT))
SECURED_ENDED: Final = "does it speak {} there?"


class PreviousHop(Protocol):
    """The proxy before another one in a chain."""

    @property
    def polling(self) -> Polling:
        """How its streams wait."""

    async def reach(self, host: str, port: int) -> ByteStream:
        """Open a stream through it. Raises AuthenticationFailed, ProxyUnreachable, RemoteProtocolError."""


DialFunction: TypeAlias = Callable[[], Awaitable[ByteStream]]


class ProxyConnector:
    """Opens the streams of one client; keeps its resolver, TLS sessions and QUIC connections."""

    def __init__(
        self,
        url: ProxyUrl,
        *,
        dial: DialFunction | None,
        fast_open: bool,
        timeout: float | None = None,
        resolver: Resolver | None = None,
        transports: Mapping[str, Transport] = TRANSPORTS,
        before: PreviousHop | None = None,
    ) -> None:
        """Read the files that the URL names. `timeout` is for connecting, in seconds. Raises ConfigurationError.

        `before` is the proxy that this one is reached through.
        """
        self._resolver = resolver or Resolver(lifetimes=FOR_ONE_NAME)
        self.url: Final = url
        self.polling: Final = Polling() if before is None else before.polling
        self._timeout: Final = timeout
        parameters = ConnectParameters(
            host=url.host,
            port=url.port,
            path=url.path,
            tls=url.tls,
            quic_backend=url.quic.backend,
            alpn=url.alpn,
            require_alpn=url.spoken == "socks6" and url.dialect == DRAFT_12,  # older servers know no ALPN
            fast_open=fast_open and before is None,
            congestion=url.congestion,
            spares=url.spares,
            resolver=self._resolver,
            polling=self.polling,
            through=None if before is None else before.reach,
        )
        transport = TLS if url.transport == AUTO and before is not None else url.transport
        row = transports.get(transport)
        if before is not None and (row is None or row.multiplexed or row.at_path):
            raise ConfigurationError(f"{url} cannot be reached through another proxy: name it first")
        names: tuple[str, ...] = (transport,)
        self._connector: Connector
        if dial is not None:
            self._connector = DialConnector(dial)
        elif transport == AUTO:
            tls, quic = transports[TLS].connect(parameters), _quic_if_installed(transports, parameters)
            self._connector = tls if quic is None else RacingConnector(quic, tls, parameters)
            names = (TLS,) if quic is None else (QUIC, TLS)
        else:
            self._connector = transports[transport].connect(parameters)
        self._is_dialled = dial is not None or before is not None
        self._in_syn = parameters.fast_open and dial is None and not url.transport
        self.multiplexed: Final = dial is None and any(transports[name].multiplexed for name in names)
        self._peers = SilentPeers()
        self.has_answered = False  # in its protocol, ever: then what ails it is something else
        self.heard_at = float("-inf")  # when it has begun to answer a request last, on the loop's clock

    def may_send_early(self, *, has_token: bool, doubling_is_safe: bool) -> bool:
        """Return whether a request may leave before there is a connection: in the SYN, or as QUIC's early data.

        Either may arrive twice (§ TCP Fast Open on the Client-Proxy Leg). Early data always wants a token.
        """
        return has_token if self.multiplexed else self._in_syn and doubling_is_safe

    async def connect(self, ask: StreamRequest) -> ByteStream:
        """Open a stream for a request. Raises ProxyUnreachable, ProxyTimedOut, TlsFailed, CertificateRefused."""
        unsent = not ask.early_data
        limit: asyncio.Timeout | None = None
        try:
            if self._timeout is None:
                stream = await self._connector.open(ask)
            else:
                async with asyncio.timeout(self._timeout) as limit:
                    stream = await self._connector.open(ask)
        except asyncio.CancelledError as error:
            error.add_note(UNCONNECTED)  # see `waited_for`
            raise
        except AuthenticationFailed:  # of a proxy before this one
            raise
        except TlsFailed as error:
            hint = UNTRUSTED if isinstance(error, CertificateRefused) and self.url.tls == TLS_DEFAULTS else ""
            raise type(error)(
                f"cannot reach the proxy {self.url.brief}: {error}{hint}", unsent=unsent
            ) from error
        except OSError as error:
            if limit is not None and limit.expired():
                seconds = f"within {self._timeout:g} s: {UNCONNECTED}"
                raise ProxyTimedOut(
                    f"cannot reach the proxy {self.url.brief} {seconds}", unsent=unsent
                ) from error
            absent = self.url.transport == QUIC and error.errno in NO_QUIC_ERRNOS
            raise ProxyUnreachable(
                f"cannot reach the proxy {self.url.brief}: {error.strerror or error}{FALLBACK if absent else ''}",
                errno=error.errno,
                unsent=unsent,
            ) from error
        if (sock := stream.attribute(socket.socket)) is not None:
            self._peers.watch(sock)
        return stream

    def first_answer(self, stream: ByteStream, answer: Awaitable[AnswerT]) -> Awaitable[AnswerT]:
        """See `Connector.first_answer`."""
        return self._connector.first_answer(stream, answer)

    def keep_spares(self) -> None:
        """Connect ahead of requests from now on, where that saves time; until `abandon` or `aclose`."""
        self._connector.keep_spares()

    def answered(self, stream: ByteStream) -> None:
        """Keep the TLS session of a stream on which the proxy has answered, for the next connection."""
        self.has_answered = True
        self._connector.answered(stream)

    def heard(self) -> None:
        """Record that the proxy has begun to answer a request."""
        self.heard_at = asyncio.get_running_loop().time()

    @property
    def silence(self) -> str:
        """What may be the matter where no answer comes; "" where the proxy has answered before."""
        return "" if self.has_answered else SILENT.format(SPOKEN[self.url.spoken])

    def explained(self, error: Socks6Error) -> ProxyUnreachable:
        """Return an error of a connection that ended without an answer, with what may be the matter."""
        spoken, reason = self.url.spoken, str(error)
        if not self.has_answered:
            secure = "https" if spoken == "http" else f"{self.url.protocol}+tls"
            hint = SECURED_ENDED if self.url.transport else CLEAR_ENDED
            reason = f"{reason}: {hint.format(SPOKEN[spoken], secure)}"
        return ProxyUnreachable(reason, errno=error.errno if isinstance(error, OSError) else None)

    def doubt(self) -> None:
        """Look the proxy's name up again for the next request: nothing answered at its last address."""
        if not self._is_dialled:
            self._resolver.doubt(self.url.host)

    def close(self) -> None:
        """Close each QUIC connection as soon as it has no streams. Idempotent."""
        self._connector.close()

    def abandon(self) -> None:
        """Close as `aclose` does, without waiting. Idempotent."""
        self._connector.abandon()

    async def aclose(self) -> None:
        """Close as `close` does; wait until connections without streams are closed. Idempotent."""
        await self._connector.aclose()


class DialConnector(Connector):
    """Reaches a proxy by what the caller of the library dials."""

    def __init__(self, dial: DialFunction) -> None:
        self._dial = dial

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        stream = await self._dial()
        if stream.raw_socket is not None:
            apply_options(stream.raw_socket, request.client_leg_options, Leg.CLIENT_PROXY)
        await send_first(stream, request.early_data)
        return stream


def _quic_if_installed(
    transports: Mapping[str, Transport], parameters: ConnectParameters
) -> Connector | None:
    """Return what connects over QUIC; None where its library is not installed. Raises ConfigurationError."""
    try:
        return transports[QUIC].connect(parameters)
    except ConfigurationError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        logging.getLogger("socks6").info("no QUIC, TLS alone reason=%r", str(error))
        return None
