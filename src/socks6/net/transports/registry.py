"""All transports, one row each: the only module that distinguishes transports."""

from collections.abc import Mapping
from typing import Final

from socks6.net.transports import tcp, tls, unix
from socks6.net.transports.base import Transport
from socks6.net.transports.quic.listener import listen as listen_quic
from socks6.net.transports.quic.pool import QuicConnectionPool

UNIX: Final = "unix"
TLS: Final = "tls"
QUIC: Final = "quic"
AUTO: Final = "auto"  # no transport, but a client's choice of two: QUIC, or else TLS

TRANSPORTS: Final[Mapping[str, Transport]] = {
    "": Transport(connect=tcp.TcpConnector, listen=tcp.listen, datagrams="datagram"),
    UNIX: Transport(connect=unix.UnixConnector, listen=unix.listen, at_path=True),
    TLS: Transport(connect=tls.TlsConnector, listen=tls.listen, encrypted=True, datagrams="dtls"),
    QUIC: Transport(
        connect=QuicConnectionPool,
        listen_for_connections=listen_quic,
        encrypted=True,
        datagrams="quic",
        protocols=("socks6",),  # its streams are SOCKS 6 by themselves (ALPN)
    ),
}
"""By what stands behind the + of a URL's scheme; "" is TCP."""
