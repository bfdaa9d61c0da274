"""Reaches one server over QUIC."""

import asyncio
import functools
import socket
from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from socks6.errors import CertificateRefused, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.net.datagrams.readiness import FAILED, Readiness
from socks6.net.datagrams.segments import SegmentSender, ask_for_segments, segment_size
from socks6.net.datagrams.shared import BUFFER, LONGEST
from socks6.net.encryption.pins import is_pinned
from socks6.net.encryption.settings import TlsParameters
from socks6.net.encryption.verification import ServerVerifier
from socks6.net.sockets import SocketAddress, endpoint
from socks6.net.stream import Endpoint
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.core import (
    ALERT,
    ALPN,
    Backend,
    ClientTerms,
    HandshakeDone,
    QuicCore,
    ServerIdentity,
    Terminated,
    Ticket,
)
from socks6.net.transports.quic.pump import Road

BATCH: Final = 32  # pieces taken from the socket before others have their turn
ROOM: Final = 64
BELIEVED: Final = 2  # probes in a row without an answer: then an ICMP error ends a connection
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
            ClientTerms(
                server_name=self._server_name,
                alpn=self._alpn,
                identity=self._identity,
                ticket=self._tickets.pop() if self._tickets else None,
                on_ticket=self._keep,
            )
        )
        road = _OwnSocket(address)
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
            await connection.proven()
        except OSError as error:
            raise failure_of(connection.terminated, error) from None

    def _judge(self, core: QuicCore, done: HandshakeDone) -> OSError | None:
        """Return why the server is not the right one, before anything more is sent to it; None if it is."""
        refusal = self._refusal(core, done)
        if refusal is not None:
            self._tickets.clear()
        return refusal

    def _refusal(self, core: QuicCore, done: HandshakeDone) -> OSError | None:
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


class _OwnSocket(Road):
    """A UDP socket for one connection, connected so that nobody else gets in, and that ICMP errors are told."""

    def __init__(self, address: SocketAddress) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._connection: QuicConnection | None = None
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            ask_for_segments(self._socket)
            self._socket.connect(address)
            self._local = endpoint(self._socket.getsockname())
        except BaseException:
            self._socket.close()
            raise
        self._address = address
        self._sender = SegmentSender(self._socket)
        self._readiness = Readiness(self._on_fault)
        self._readiness.add(self._socket.fileno(), self._ready)

    @property
    @override
    def local(self) -> Endpoint:
        return self._local

    @property
    @override
    def sock(self) -> socket.socket:
        return self._socket

    def serve(self, connection: QuicConnection) -> None:
        """Carry this connection's packets."""
        self._connection = connection
        connection.on_over = self._leave

    @override
    def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:
        if self._socket.fileno() >= 0:
            self._sender.send(packets, None, [])

    def close(self) -> None:
        """Close. Idempotent."""
        if self._socket.fileno() >= 0:
            self._sender.close()
            self._readiness.close()
            self._socket.close()

    def _leave(self) -> None:
        """Close once the last packet has left, which tells the peer."""
        asyncio.get_running_loop().call_soon(self.close)

    def _on_fault(self, error: Exception) -> None:
        if self._connection is not None:
            self._connection.fail(f"{type(error).__name__}: {error}")

    def _ready(self, _: int, events: int) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - it is served from the beginning
        if events & FAILED:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            # anybody may say so, but not prevent the peer's answers: one that still answers is there
            if number and (connection.handshake is None or connection.core.unanswered >= BELIEVED):
                connection.refused(number)
                return
        for _ in range(BATCH):
            try:
                data, control, _flags, _ = self._socket.recvmsg(LONGEST, ROOM)
            except BlockingIOError:
                break
            except OSError:
                continue
            if data:
                connection.packets_arrived(data, segment_size(control) or len(data), self._address)
        connection.turn_ended()
