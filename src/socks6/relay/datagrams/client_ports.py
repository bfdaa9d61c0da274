"""Where clients send their datagrams: UDP sockets in clear text, with DTLS, and the DATAGRAM frames of QUIC.

DTLS ports and QUIC connections have forwarders of their own, in Python, with tables of their own: an association that
was opened within TLS is in no table of a port in clear text, and one of a connection in none of another's.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from socks6.compat import override
from socks6.message.options import StackOption, Tos, Ttl
from socks6.net.accept import ConnectionLimits
from socks6.net.datagrams.packet_info import Control
from socks6.net.datagrams.shared import DTLS_BYTES, SharedPort
from socks6.net.stream import FrameSink, MultiplexedConnection, SocketAddress
from socks6.net.transports.dtls_contexts import DtlsContexts
from socks6.relay.datagrams.forwarder import DatagramForwarder, PythonForwarder

if TYPE_CHECKING:
    from socks6.net.transports.dtls_server import DtlsPeer

PATH_LOST: Final = "its connection is over"
INT: Final = Struct("=i")
IPV6_TCLASS: Final = 67  # linux/in6.h
IPV6_HOPLIMIT: Final = 52


class ClientPort(Protocol):
    """Where clients send to, beside a TCP listener or within a QUIC connection."""

    @property
    def sock(self) -> socket.socket:
        """The socket."""

    @property
    def forwarder(self) -> DatagramForwarder:
        """What forwards the datagrams that come there."""

    def close(self) -> None:
        """Take nothing any more. Idempotent."""


class UdpClientPort:
    """The `ClientPort` of a socket for datagrams in clear text, which it owns."""

    def __init__(
        self, sock: socket.socket, forwarder: DatagramForwarder, forget: Callable[[socket.socket], None]
    ) -> None:
        """`forget` is called with the socket before it is closed."""
        self.sock: Final = sock
        self.forwarder: Final = forwarder
        self._forget = forget

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self._forget(self.sock)
            self.sock.close()


class DtlsClientPort:
    """A `ClientPort` whose DTLS is ours; `shared` may have other protocols too. Owns it."""

    def __init__(
        self,
        shared: SharedPort,
        contexts: DtlsContexts,
        *,
        limits: ConnectionLimits,
        refused: Callable[[str, str], None],
        wants_certificate: bool,
    ) -> None:
        """See `DtlsServer`. To be made within the loop."""
        from socks6.net.transports.dtls_server import DtlsServer  # noqa: PLC0415 - needs an extra

        self.shared: Final = shared
        self.sock: Final = shared.sock
        self.forwarder: Final = PythonForwarder()
        self._loop = asyncio.get_running_loop()
        self._dtls = DtlsServer(
            shared,
            contexts,
            deliver=self._deliver,
            limits=limits,
            refused=refused,
            wants_certificate=wants_certificate,
        )
        shared.register(DTLS_BYTES, self._dtls.datagrams_received)

    def close(self) -> None:
        self._dtls.close()
        self.shared.close()

    def _deliver(self, peer: "DtlsPeer", message: bytes) -> None:
        self.forwarder.forward_message(message, peer, self._loop.time())


class QuicClientPort(FrameSink):
    """The `ClientPort` of a connection's frames, and the one `ClientPath` that these have."""

    local: Final = b""  # the connection knows
    shares_stream: Final = True

    def __init__(self, connection: MultiplexedConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._lost: dict[Callable[[str], None], None] = {}
        self.forwarder: Final = PythonForwarder()
        connection.set_frame_sink(self)

    @property
    def sock(self) -> socket.socket:
        """The socket under the connection."""
        return self._connection.carrier_socket

    port = sock

    @property
    def source(self) -> SocketAddress:
        """Where the client is, as far as is known."""
        return self._connection.remote

    def close(self) -> None:
        self._connection.set_frame_sink(None)

    def send(self, message: bytes, control: Control) -> bool:  # noqa: ARG002 - the connection's packets have their own
        return self._connection.send_frame(message)

    def join(self, user: str, lost: Callable[[str], None]) -> bool:  # noqa: ARG002 - the connection is one user's
        self._lost[lost] = None
        return True

    def leave(self, lost: Callable[[str], None]) -> None:
        self._lost.pop(lost, None)

    @override
    def frame_received(self, data: bytes) -> None:
        self.forwarder.forward_message(data, self, self._loop.time())

    @override
    def connection_lost(self) -> None:
        lost, self._lost = self._lost, {}
        for callback in lost:
            callback(PATH_LOST)


def client_control(options: Iterable[StackOption], family: int) -> Control:
    """Return ancillary data that gives one datagram these options, as far as options can be set by datagram."""
    ipv4 = family == socket.AF_INET
    control: Control = []
    for option in options:
        match option:
            case Tos():
                kind = (socket.IPPROTO_IP, socket.IP_TOS) if ipv4 else (socket.IPPROTO_IPV6, IPV6_TCLASS)
                control.append((*kind, INT.pack(option.tos)))
            case Ttl():
                kind = (socket.IPPROTO_IP, socket.IP_TTL) if ipv4 else (socket.IPPROTO_IPV6, IPV6_HOPLIMIT)
                control.append((*kind, INT.pack(option.ttl)))
            case _:
                pass
    return control
