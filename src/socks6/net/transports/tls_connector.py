"""Connecting over TLS, to one proxy again and again."""

import ssl
from collections.abc import Iterable

from socks6.errors import CertificateRefused, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.message.options import StackOption
from socks6.net.encryption.contexts import ALPN, client_context
from socks6.net.encryption.pins import is_pinned
from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters
from socks6.net.resolve import Resolver
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp
from socks6.net.transports.tls import TlsSession, TlsStream


class TlsConnector:
    """Connects to one proxy over TLS, each time going on with the keys of the last time if both sides can."""

    def __init__(
        self,
        host: str,
        port: int,
        said: TlsParameters = NOTHING_SAID,
        *,
        alpn: str = ALPN,
        require_alpn: bool = True,
        resolver: Resolver | None = None,
    ) -> None:
        """Read the files. Raises ConfigurationError.

        `alpn` is always offered; unless `require_alpn`, a server that says nothing of it will do.
        """
        self._resolver = resolver
        self._host = host
        self._port = port
        self._server_name = without_trailing_dot(said.sni or host)  # RFC 6066 §3
        self._said = said
        self._alpn = alpn
        self._requires_alpn = require_alpn and not said.alpn_optional
        self._context = client_context(said, alpn=(alpn,) if alpn else ())
        self._ticket: ssl.SSLSession | None = None

    async def connect(self, *, options: Iterable[StackOption] = (), fast_open: bool = False) -> TlsStream:
        """Return a stream, its handshake done. Raises TlsFailed, CertificateRefused, OSError.

        With `fast_open` the first bytes of TLS go within the SYN, which does no harm if it comes twice: they
        hold nothing of the application's (no early data).
        """
        session = TlsSession(self._context, server_hostname=self._server_name, session=self._ticket)
        hello = session.begin()
        raw = await connect_tcp(
            self._host,
            self._port,
            options=options,
            fast_open=hello if fast_open else None,
            resolver=self._resolver,
        )
        stream = TlsStream(raw, session)
        try:
            if not fast_open:
                await raw.send(hello)
            await stream.handshake()
            self._check(session)
        except BaseException:
            stream.abort()
            raise
        return stream

    def keep(self, stream: ByteStream) -> None:
        """Go on with this stream's keys the next time, if it has got a ticket by now."""
        session = stream.attribute(TlsSession)
        if session is not None and (ticket := session.ticket) is not None and ticket.has_ticket:
            self._ticket = ticket

    def _check(self, session: TlsSession) -> None:
        if self._said.pins and not is_pinned(session.certificate, self._said.pins):
            raise CertificateRefused(
                "the proxy's key is not the one of the pin: another server, or a new key"
            )
        if self._alpn and self._requires_alpn and session.protocol != self._alpn:
            raise TlsFailed(f"there is TLS, but nobody who speaks {self._alpn} (ALPN)")
