"""Opens a client's streams to its proxy: over TCP, TLS, QUIC, a Unix socket, or what the caller dials."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from socks6.client.quic_pool import QuicConnectionPool, StreamRequest
from socks6.errors import ProxyUnreachable, TlsFailed
from socks6.message.codes import Leg
from socks6.message.dialect import DRAFT_12
from socks6.message.options import StackOption
from socks6.net.resolve import FOR_ONE_NAME, Resolver
from socks6.net.silent_peers import SilentPeers
from socks6.net.stackopts import apply_options
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp
from socks6.net.transports.tls import TlsConnector
from socks6.net.transports.unix import connect_unix
from socks6.net.url import AUTO, QUIC, TLS, ProxyUrl

QUIC_ATTEMPT_SECONDS: Final = 3.0  # for QUIC to connect before TLS is tried
QUIC_BLOCKED_SECONDS: Final = 300.0  # for which QUIC is not tried again

DialFunction: TypeAlias = Callable[[], Awaitable[ByteStream]]


class ProxyConnector:
    """Opens the streams of one client; keeps its resolver, TLS sessions and QUIC connections."""

    def __init__(
        self, url: ProxyUrl, *, dial: DialFunction | None, fast_open: bool, resolver: Resolver | None = None
    ) -> None:
        """Read the files that the URL names. Raises ConfigurationError."""
        self._resolver = resolver or Resolver(lifetimes=FOR_ONE_NAME)
        self.url: Final = url
        self._dial = dial
        self._fast_open = fast_open
        transport = "" if dial else url.transport
        self._tls = (
            TlsConnector(
                url.host,
                url.port,
                url.tls,
                require_alpn=url.dialect == DRAFT_12,  # older servers know no ALPN
                resolver=self._resolver,
            )
            if transport in {TLS, AUTO}
            else None
        )
        self._quic = QuicConnectionPool(url, self._resolver) if transport in {QUIC, AUTO} else None
        self._quic_blocked_until = 0.0
        self._in_syn = fast_open and dial is None and not (url.path or url.transport)
        self._peers = SilentPeers()

    def may_send_early(self, *, has_token: bool, doubling_is_safe: bool) -> bool:
        """Return whether a request may leave before there is a connection: in the SYN, or as QUIC's early data.

        Either may arrive twice (§ TCP Fast Open on the Client-Proxy Leg). Early data always wants a token.
        """
        return has_token if self._quic is not None else self._in_syn and doubling_is_safe

    async def connect(self, ask: StreamRequest) -> ByteStream:
        """Open a stream for a request. Raises ProxyUnreachable, TlsFailed, CertificateRefused."""
        try:
            if self._quic is not None:
                stream = await self._by_quic(self._quic, ask)
                if stream is not None:
                    return stream
            stream = await self._reach(ask.client_leg_options, ask.early_data)
        except TlsFailed as error:
            raise type(error)(f"cannot reach the proxy {self.url}: {error}") from error
        except OSError as error:
            raise ProxyUnreachable(f"cannot reach the proxy {self.url}: {error.strerror or error}") from error
        if (sock := stream.attribute(socket.socket)) is not None:
            self._peers.watch(sock)
        return stream

    def answered(self, stream: ByteStream) -> None:
        """Keep the TLS session of a stream on which the proxy has answered, for the next connection."""
        if self._tls is not None:
            self._tls.keep(stream)  # tickets come ahead of the answers

    def doubt(self) -> None:
        """Look the proxy's name up again for the next request: nothing answered at its last address."""
        if not self._dial:
            self._resolver.doubt(self.url.host)

    def close(self) -> None:
        """Close each QUIC connection as soon as it has no streams. Idempotent."""
        self._resolver.close()
        if self._quic is not None:
            self._quic.close()

    def abandon(self) -> None:
        """Close as `aclose` does, without waiting. Idempotent."""
        if self._quic is not None:
            self._quic.abandon()

    async def aclose(self) -> None:
        """Close as `close` does; wait until connections without streams are closed. Idempotent."""
        self._resolver.close()
        if self._quic is not None:
            await self._quic.aclose()

    async def _reach(
        self, client_leg_options: tuple[StackOption, ...], early_data: bytes | None
    ) -> ByteStream:
        stream: ByteStream
        if self._tls is not None:
            stream = await self._tls.connect(options=client_leg_options, fast_open=self._fast_open)
        elif self._dial is None and not self.url.path:
            return await connect_tcp(
                self.url.host,
                self.url.port,
                options=client_leg_options,
                fast_open=early_data,
                resolver=self._resolver,
            )
        else:
            stream = await (self._dial() if self._dial else connect_unix(self.url.path))
            if stream.raw_socket is not None:
                apply_options(stream.raw_socket, client_leg_options, Leg.CLIENT_PROXY)
        try:
            await stream.send(early_data or b"")
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _by_quic(self, quic: QuicConnectionPool, ask: StreamRequest) -> ByteStream | None:
        """Return a stream over QUIC; None where TLS is to be used instead. Raises TlsFailed, OSError.

        A proxy whose certificate is refused over QUIC is not tried over TLS.
        """
        if self._tls is None:
            return await quic.open(ask)
        now = asyncio.get_running_loop().time
        if now() < self._quic_blocked_until:
            return None
        try:
            async with asyncio.timeout(QUIC_ATTEMPT_SECONDS):
                return await quic.open(ask)
        except TlsFailed:
            raise
        except OSError as error:  # TimeoutError is one
            self._quic_blocked_until = now() + QUIC_BLOCKED_SECONDS
            logging.getLogger("socks6").warning(
                "QUIC unreachable, falling back to TLS for %d s proxy=%s reason=%r",
                QUIC_BLOCKED_SECONDS,
                self.url,
                error.strerror or str(error) or "no answer",
            )
            return None
