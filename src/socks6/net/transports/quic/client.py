"""Reaches one server over QUIC, and keeps reaching it when the network changes (RFC 9000 §9).

A client's UDP socket is connected, so that it takes packets of the server only, and reports ICMP errors. But then it keeps the
address that it was given at first, though that may be gone, or packets from there get lost. So there is a new one when
the kernel would choose another address by now, which is checked when the kernel reports a change or will not send;
and when probes stay unanswered, as the path may be lost without notice. The connection goes on: its
peer finds it by its id, and validates the new address before it sends much there.
"""

import asyncio
import errno
import functools
import socket
from collections.abc import Sequence
from typing import Final

from socks6.errors import CertificateRefused, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.net.datagrams.poller import FAILED, DatagramPoller
from socks6.net.datagrams.segments import SegmentSender, ask_for_segments, segment_size
from socks6.net.datagrams.shared import MAX_DATAGRAM_BYTES, udp_socket
from socks6.net.encryption.certificates import ServerVerifier, check_pin
from socks6.net.encryption.contexts import ALPN, TlsParameters
from socks6.net.network_changes import NetworkChanges
from socks6.net.scopes import on_failure
from socks6.net.sockets import endpoint
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import (
    ALERT,
    Backend,
    ClientParameters,
    HandshakeDone,
    QuicEngine,
    ServerIdentity,
    Terminated,
    Ticket,
)

READS_PER_TURN: Final = 32  # pieces taken from the socket before others have their turn
CONTROL_BYTES: Final = 64
PROBES_BEFORE_BELIEVING_ICMP: Final = 2  # unanswered in a row: then an ICMP error ends a connection
PROBES_BEFORE_MOVING: Final = (2, 4)  # probes in a row without an answer: then another socket is tried
LOOK_AGAIN_SECONDS: Final = 0.25  # seconds, while the kernel does not send
NO_ROUTE_ERRNOS: Final = frozenset((  # why it does not: there is no route from our address, or the address is gone
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENODEV,
    errno.EPERM, errno.EACCES,
))  # fmt: skip
NO_COMMON_VERSION: Final = "Could not find a common protocol version"  # as both libraries call it
NO_QUIC: Final = "that port speaks no QUIC of version 1"
NETWORK_CHANGED: Final = errno.ENETRESET  # of a connection whose path is lost while it begins


class ClientSocket:
    """Carries the packets of one connection."""

    def __init__(self, address: SocketAddress) -> None:
        """Open a socket for what is at an address. Raises OSError."""
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._connection: QuicConnection | None = None
        self._unsendable = False  # since the last look
        self._sockets_for_probes = 0  # that were tried, since the peer has answered last
        self._timer: asyncio.TimerHandle | None = None
        self.sock = _connected(address)
        self.local = endpoint(self.sock.getsockname())
        self._poller = DatagramPoller(self._on_fault)
        self._watch()
        self._changes = NetworkChanges(self._look, self._poller)

    def serve(self, connection: QuicConnection) -> None:
        """Carry this connection's packets."""
        self._connection = connection
        connection.on_over = self._leave

    def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:  # noqa: ARG002 - it is connected
        if self.sock.fileno() >= 0:
            self._sender.send(packets, None, [])
            self._count_probes()

    def close(self) -> None:
        """Close. Idempotent."""
        if self.sock.fileno() >= 0:
            if self._timer is not None:
                self._timer.cancel()
            self._changes.close()
            self._sender.close()
            self._poller.close()
            self.sock.close()

    # Another socket.

    def _look(self) -> None:
        """Move to another socket if the kernel would choose another address now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_over():
            return
        unsendable, self._unsendable = self._unsendable, False
        try:
            sock = _connected(self._address)
        except OSError:  # there is no route at all for now
            if unsendable:
                self._look_later(LOOK_AGAIN_SECONDS)
            return
        if sock.getsockname()[0] != self.local.host:
            self._move(sock)
            return
        sock.close()
        if unsendable and self._connection is not None and self._connection.handshake is not None:
            self._connection.ask()  # its answer, or that it cannot be sent either, shows whether this one will do

    def _cannot_send(self, error: OSError) -> None:
        """Check soon why the kernel did not take a packet, if the route may be the cause."""
        if error.errno not in NO_ROUTE_ERRNOS:
            return
        self._look_later(LOOK_AGAIN_SECONDS if self._unsendable else 0.0)
        self._unsendable = True

    def _count_probes(self) -> None:
        """Move to another socket after unanswered probes."""
        unanswered = self._connection.engine.unanswered_probes if self._connection is not None else 0
        tried = self._sockets_for_probes
        if unanswered < PROBES_BEFORE_MOVING[0]:
            self._sockets_for_probes = 0
        elif tried < len(PROBES_BEFORE_MOVING) and unanswered >= PROBES_BEFORE_MOVING[tried]:
            self._sockets_for_probes += 1
            self._loop.call_soon(self._replace)

    def _replace(self) -> None:
        if self._is_over() or self._connection is None or self._connection.handshake is None:
            return
        try:
            sock = _connected(self._address)
        except OSError:
            return
        self._move(sock)

    def _move(self, sock: socket.socket) -> None:
        """Go on with another socket."""
        connection = self._connection
        if connection is None or connection.handshake is None:  # RFC 9000 §9: only once it is confirmed
            sock.close()
            if connection is not None:
                connection.fail_unreachable(NETWORK_CHANGED)
            return
        self._sender.close()
        self._poller.remove(self.sock.fileno())
        self.sock.close()
        self.sock = sock
        self.local = endpoint(sock.getsockname())
        self._watch()
        connection.path_changed()

    def _look_later(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._look)

    def _is_over(self) -> bool:
        return self.sock.fileno() < 0 or (self._connection is not None and self._connection.over is not None)

    # Inside.

    def _watch(self) -> None:
        self._sender = SegmentSender(self.sock, on_error=self._cannot_send)
        self._poller.add(self.sock.fileno(), self._ready)

    def _leave(self) -> None:
        """Close once the last packet, with CONNECTION_CLOSE, has left."""
        self._loop.call_soon(self.close)

    def _on_fault(self, error: Exception) -> None:
        if self._connection is not None:
            self._connection.fail(f"{type(error).__name__}: {error}")

    def _ready(self, _: int, events: int) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - it is served from the beginning
        if events & FAILED and self._is_refused(connection):
            return
        for _ in range(READS_PER_TURN):
            try:
                data, control, _flags, _ = self.sock.recvmsg(MAX_DATAGRAM_BYTES, CONTROL_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue
            if data:
                connection.packets_received(data, segment_size(control) or len(data), self._address)
        connection.batch_ended()

    def _is_refused(self, connection: QuicConnection) -> bool:
        """Return whether an error ends the connection."""
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number in NO_ROUTE_ERRNOS and connection.handshake is not None:
            # the network may be another by now: the idle time-out decides
            self._cannot_send(OSError(number, ""))
            return False
        # ICMP errors can be forged, the peer's answers cannot: one that still answers is there
        if number and (
            connection.handshake is None
            or connection.engine.unanswered_probes >= PROBES_BEFORE_BELIEVING_ICMP
        ):
            connection.fail_unreachable(number)
            return True
        return False


def _connected(address: SocketAddress) -> socket.socket:
    """Return a socket for what is at an address. Raises OSError."""
    sock = udp_socket(None, remote=address)
    ask_for_segments(sock)
    return sock


TICKETS: Final = 8  # kept for later connections
# Alerts of TLS (RFC 8446 §6.2), of either side.
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
        parameters: TlsParameters,
        backend: Backend,
        *,
        identity: ServerIdentity | None = None,
        alpn: str = ALPN,
    ) -> None:
        """`identity` is ours, for a server that asks for it."""
        self._parameters = parameters
        self._server_name = without_trailing_dot(parameters.sni or host)
        self._backend = backend
        self._identity = identity
        self._verifier = ServerVerifier(parameters, self._server_name)
        self._alpn = alpn
        self._tickets: list[Ticket] = []

    @property
    def has_ticket(self) -> bool:
        """Whether the next connection can carry early data."""
        return bool(self._tickets)

    def begin(self, address: SocketAddress) -> QuicConnection:
        """Begin a connection; `ready` waits for it. Raises OSError, ConfigurationError.

        What is sent before it is ready goes as early data, if there was a ticket: the sender must accept that
        it may come twice.
        """
        engine = self._backend.client(
            ClientParameters(
                server_name=self._server_name,
                alpn=self._alpn,
                identity=self._identity,
                ticket=self._tickets.pop() if self._tickets else None,
                on_ticket=self._keep,
            )
        )
        packet_transport = ClientSocket(address)
        with on_failure(packet_transport.close):
            connection = QuicConnection(engine, packet_transport, address, is_client=True)
            packet_transport.serve(connection)
            connection.judge = functools.partial(self._judge, engine)
            connection.connect()
        return connection

    async def ready(self, connection: QuicConnection) -> None:
        """Wait until the server is known to be the right one. Raises TlsFailed, CertificateRefused, OSError."""
        try:
            await connection.wait_handshake_confirmed()
        except OSError as error:
            raise failure_of(connection.terminated, error) from None

    def _judge(self, engine: QuicEngine, done: HandshakeDone) -> OSError | None:
        """Return why the server is not the right one, before anything more is sent to it; None if it is."""
        try:
            self._check(engine, done)
        except TlsFailed as error:
            self._tickets.clear()
            return error.with_traceback(None)
        return None

    def _check(self, engine: QuicEngine, done: HandshakeDone) -> None:
        if done.protocol != self._alpn:
            raise TlsFailed(f"there is QUIC, but no {self._alpn} (ALPN)")
        if done.resumed:  # no certificate is shown: the connection that got the ticket saw one
            return
        if fault := self._verifier.fault(engine.certificate, engine.issuers):
            raise CertificateRefused(f"the certificate does not hold: {fault}")
        check_pin(engine.certificate, self._parameters.pins)

    def _keep(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)
        del self._tickets[:-TICKETS]


def failure_of(terminated: Terminated | None, error: OSError) -> OSError:
    """Return what the end of a connection means that has not been ready."""
    if terminated is not None and terminated.reason == NO_COMMON_VERSION:
        return OSError(errno.EPROTONOSUPPORT, NO_QUIC)
    if terminated is None or not ALERT <= terminated.code < ALERT + 256:
        return error
    alert = terminated.code - ALERT
    if alert in BAD_CERTIFICATE:
        return CertificateRefused(f"the certificate does not hold: {terminated.reason or f'alert {alert}'}")
    return TlsFailed(f"QUIC failed: {WORDS.get(alert) or terminated.reason or f'alert {alert}'}")
