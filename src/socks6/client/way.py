"""How a client reaches its proxy: over TCP, TLS, a Unix socket, or whatever a caller dials."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from socks6.errors import ProxyUnreachable, TlsFailed
from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.net.stackopts import prepare
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp
from socks6.net.transports.tls import TlsStream
from socks6.net.transports.tls_connector import TlsConnector
from socks6.net.transports.unix import connect_unix
from socks6.net.url import TLS, ProxyURL

Dial: TypeAlias = Callable[[], Awaitable[ByteStream]]


class WayToProxy:
    """Makes the streams of one client, and keeps what they have in common."""

    def __init__(self, url: ProxyURL, *, dial: Dial | None, fast_open: bool) -> None:
        """Read the files that the URL names. Raises ConfigurationError."""
        self._url = url
        self._dial = dial
        self._fast_open = fast_open
        self._tls = TlsConnector(url.host, url.port, url.tls) if url.transport == TLS and not dial else None

    async def go(self, near: tuple[StackOption, ...], opening: bytes | None = None) -> ByteStream:
        """Reach the proxy, with stack options for our leg; `opening` is sent first, in the SYN if that can be.

        Raises ProxyUnreachable.
        """
        try:
            return await self._reach(near, opening)
        except TlsFailed as error:
            raise type(error)(f"cannot reach the proxy {self._url}: {error}") from error
        except OSError as error:
            raise ProxyUnreachable(
                f"cannot reach the proxy {self._url}: {error.strerror or error}"
            ) from error

    def answered(self, stream: ByteStream) -> None:
        """Learn from a stream on which the proxy has answered."""
        if self._tls is not None and isinstance(stream, TlsStream):
            self._tls.keep(stream)  # tickets come ahead of the answers

    async def _reach(self, near: tuple[StackOption, ...], opening: bytes | None) -> ByteStream:
        stream: ByteStream
        if self._tls is not None:
            stream = await self._tls.connect(options=near, fast_open=self._fast_open)
        elif self._dial is None and not self._url.path:
            return await connect_tcp(self._url.host, self._url.port, options=near, fast_open=opening)
        else:
            stream = await (self._dial() if self._dial else connect_unix(self._url.path))
            if stream.raw_socket is not None:
                prepare(stream.raw_socket, near, Leg.CLIENT_PROXY)
        try:
            await stream.send(opening or b"")
        except BaseException:
            stream.abort()
            raise
        return stream
