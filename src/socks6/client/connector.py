"""Opens a client's streams to its proxy: over TCP, TLS, QUIC, a Unix socket, or what the caller dials."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from socks6.errors import ProxyUnreachable, TlsFailed
from socks6.message.codes import Leg
from socks6.message.dialect import DRAFT_12
from socks6.net.resolve import FOR_ONE_NAME, Resolver
from socks6.net.silent_peers import SilentPeers
from socks6.net.stackopts.table import apply_options
from socks6.net.stream import ByteStream
from socks6.net.transports.base import Connector, ConnectParameters, StreamRequest, Transport, send_first
from socks6.net.transports.registry import AUTO, QUIC, TLS, TRANSPORTS
from socks6.net.url import ProxyUrl

QUIC_ATTEMPT_SECONDS: Final = 3.0  # for QUIC to connect before TLS is tried
QUIC_BLOCKED_SECONDS: Final = 300.0  # for which QUIC is not tried again

DialFunction: TypeAlias = Callable[[], Awaitable[ByteStream]]


class ProxyConnector:
    """Opens the streams of one client; keeps its resolver, TLS sessions and QUIC connections."""

    def __init__(
        self,
        url: ProxyUrl,
        *,
        dial: DialFunction | None,
        fast_open: bool,
        resolver: Resolver | None = None,
        transports: Mapping[str, Transport] = TRANSPORTS,
    ) -> None:
        """Read the files that the URL names. Raises ConfigurationError."""
        self._resolver = resolver or Resolver(lifetimes=FOR_ONE_NAME)
        self.url: Final = url
        self._dial = dial
        parameters = ConnectParameters(
            host=url.host,
            port=url.port,
            path=url.path,
            tls=url.tls,
            quic_backend=url.quic.backend,
            require_alpn=url.dialect == DRAFT_12,  # older servers know no ALPN
            fast_open=fast_open,
            resolver=self._resolver,
        )
        names = (QUIC, TLS) if url.transport == AUTO else (url.transport,)
        rows = () if dial else tuple(transports[name] for name in names)
        connectors = tuple(row.connect(parameters) for row in rows)
        self._preferred = connectors[0] if len(connectors) > 1 else None
        self._connectors: tuple[Connector, ...] = connectors
        self._blocked_until = 0.0  # the preferred one is not tried before
        self._in_syn = fast_open and dial is None and not url.transport
        self.multiplexed: Final = any(row.multiplexed for row in rows)
        self._peers = SilentPeers()

    def may_send_early(self, *, has_token: bool, doubling_is_safe: bool) -> bool:
        """Return whether a request may leave before there is a connection: in the SYN, or as QUIC's early data.

        Either may arrive twice (§ TCP Fast Open on the Client-Proxy Leg). Early data always wants a token.
        """
        return has_token if self.multiplexed else self._in_syn and doubling_is_safe

    async def connect(self, ask: StreamRequest) -> ByteStream:
        """Open a stream for a request. Raises ProxyUnreachable, TlsFailed, CertificateRefused."""
        try:
            stream = await self._open(ask)
        except TlsFailed as error:
            raise type(error)(f"cannot reach the proxy {self.url.brief}: {error}") from error
        except OSError as error:
            raise ProxyUnreachable(
                f"cannot reach the proxy {self.url.brief}: {error.strerror or error}"
            ) from error
        if (sock := stream.attribute(socket.socket)) is not None:
            self._peers.watch(sock)
        return stream

    def answered(self, stream: ByteStream) -> None:
        """Keep the TLS session of a stream on which the proxy has answered, for the next connection."""
        for connector in self._connectors:
            connector.answered(stream)

    def doubt(self) -> None:
        """Look the proxy's name up again for the next request: nothing answered at its last address."""
        if not self._dial:
            self._resolver.doubt(self.url.host)

    def close(self) -> None:
        """Close each QUIC connection as soon as it has no streams. Idempotent."""
        for connector in self._connectors:
            connector.close()

    def abandon(self) -> None:
        """Close as `aclose` does, without waiting. Idempotent."""
        for connector in self._connectors:
            connector.abandon()

    async def aclose(self) -> None:
        """Close as `close` does; wait until connections without streams are closed. Idempotent."""
        for connector in self._connectors:
            await connector.aclose()

    async def _open(self, ask: StreamRequest) -> ByteStream:
        if self._preferred is not None:
            stream = await self._try_preferred(self._preferred, ask)
            if stream is not None:
                return stream
        if self._dial is None:
            return await self._connectors[-1].open(ask)
        stream = await self._dial()
        if stream.raw_socket is not None:
            apply_options(stream.raw_socket, ask.client_leg_options, Leg.CLIENT_PROXY)
        await send_first(stream, ask.early_data)
        return stream

    async def _try_preferred(self, connector: Connector, ask: StreamRequest) -> ByteStream | None:
        """Return a stream over QUIC; None where TLS is to be used instead. Raises TlsFailed, OSError.

        A proxy whose certificate is refused over QUIC is not tried over TLS.
        """
        now = asyncio.get_running_loop().time
        if now() < self._blocked_until:
            return None
        try:
            async with asyncio.timeout(QUIC_ATTEMPT_SECONDS):
                return await connector.open(ask)
        except TlsFailed:
            raise
        except OSError as error:  # TimeoutError is one
            self._blocked_until = now() + QUIC_BLOCKED_SECONDS
            logging.getLogger("socks6").warning(
                "QUIC unreachable, falling back to TLS for %d s proxy=%s reason=%r",
                QUIC_BLOCKED_SECONDS,
                self.url,
                error.strerror or str(error) or "no answer",
            )
            return None
