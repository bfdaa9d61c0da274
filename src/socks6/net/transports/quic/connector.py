"""Reaches one server over QUIC."""

import functools
from typing import Final

from socks6.errors import CertificateRefused, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.net.encryption.pins import is_pinned
from socks6.net.encryption.settings import TlsParameters
from socks6.net.encryption.verification import ServerVerifier
from socks6.net.sockets import SocketAddress
from socks6.net.transports.quic.client_socket import ClientSocket
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.core import (
    ALERT,
    ALPN,
    Backend,
    ClientParameters,
    HandshakeDone,
    QuicEngine,
    ServerIdentity,
    Terminated,
    Ticket,
)

TICKETS: Final = 8  # kept for later connections
# Alerts of TLS (RFC 8446 §6.2): what the peer said of us, or we of it.
BAD_CERTIFICATE: Final = frozenset((42, 43, 44, 45, 46, 48))
WORDS: Final = {
    40: "the peer finds nothing in common with us: does it speak SOCKS 6 here?",
    70: "the peer speaks no version of TLS that we do",
    116: "the peer wants a client certificate, and there is none (cert=)",
    120: "the peer does not speak SOCKS 6 here",
}


class QuicConnector:
    """Makes connections to one server. Keeps the tickets that it is given, and uses each once."""

    def __init__(
        self,
        host: str,
        said: TlsParameters,
        backend: Backend,
        *,
        identity: ServerIdentity | None = None,
        alpn: str = ALPN,
    ) -> None:
        """`identity` is ours, for a server that asks for it."""
        self._said = said
        self._server_name = without_trailing_dot(said.sni or host)
        self._backend = backend
        self._identity = identity
        self._verifier = ServerVerifier(said, self._server_name)
        self._alpn = alpn
        self._tickets: list[Ticket] = []

    @property
    def has_ticket(self) -> bool:
        """Whether the next connection can carry early data."""
        return bool(self._tickets)

    def begin(self, address: SocketAddress) -> QuicConnection:
        """Begin a connection; `ready` waits for it. Raises OSError, ConfigurationError.

        What is sent before it is ready goes as early data, if there was a ticket: whoever sends must know that
        it may come twice.
        """
        core = self._backend.client(
            ClientParameters(
                server_name=self._server_name,
                alpn=self._alpn,
                identity=self._identity,
                ticket=self._tickets.pop() if self._tickets else None,
                on_ticket=self._keep,
            )
        )
        road = ClientSocket(address)
        try:
            connection = QuicConnection(core, road, address, is_client=True)
            road.serve(connection)
            connection.judge = functools.partial(self._judge, core)
            connection.connect()
        except BaseException:
            road.close()
            raise
        return connection

    async def ready(self, connection: QuicConnection) -> None:
        """Wait until the server is known to be the right one. Raises TlsFailed, CertificateRefused, OSError."""
        try:
            await connection.wait_handshake_confirmed()
        except OSError as error:
            raise failure_of(connection.terminated, error) from None

    def _judge(self, core: QuicEngine, done: HandshakeDone) -> OSError | None:
        """Return why the server is not the right one, before anything more is sent to it; None if it is."""
        refusal = self._refusal(core, done)
        if refusal is not None:
            self._tickets.clear()
        return refusal

    def _refusal(self, core: QuicEngine, done: HandshakeDone) -> OSError | None:
        if done.protocol != self._alpn:
            return TlsFailed(f"there is QUIC, but nobody who speaks {self._alpn} (ALPN)")
        if done.resumed:  # no certificate is shown: the connection that got the ticket saw one
            return None
        if fault := self._verifier.fault(core.certificate, core.issuers):
            return CertificateRefused(f"the certificate does not hold: {fault}")
        if self._said.pins and not is_pinned(core.certificate, self._said.pins):
            return CertificateRefused(
                "the proxy's key is not the one of the pin: another server, or a new key"
            )
        return None

    def _keep(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)
        del self._tickets[:-TICKETS]


def failure_of(terminated: Terminated | None, error: OSError) -> OSError:
    """Return what the end of a connection means that has not been ready."""
    if terminated is None or not ALERT <= terminated.code < ALERT + 256:
        return error
    alert = terminated.code - ALERT
    if alert in BAD_CERTIFICATE:
        return CertificateRefused(f"the certificate does not hold: {terminated.reason or f'alert {alert}'}")
    return TlsFailed(f"QUIC failed: {WORDS.get(alert) or terminated.reason or f'alert {alert}'}")
